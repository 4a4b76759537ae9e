//! The stream over loopback sockets: between two threads of ours, and against peers that do it wrong.

use super::worker::sealed;
use super::{Limits, Local, Peer, Plan, Stream, listen};
use crate::system::Wake;
use base::Duration;
use link::Destination;
use shm::Counter;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use wire::codec::Writer;
use wire::entry::BODY_MAX;
use wire::frame::{HEADER_LEN, Header, Kind, Seal};
use wire::{ClientId, ClusterId, Incarnation, Life, LinkId, Message, NodeId, Nonce, Reject, Seq};

const LIMIT: std::time::Duration = std::time::Duration::from_secs(20);

pub(super) fn node(id: u8) -> NodeId {
    NodeId::new(id).unwrap()
}

pub(super) fn life(id: u8, incarnation: u32) -> Life {
    Life { node: node(id), incarnation: Incarnation(incarnation) }
}

fn address(id: u8, link: u8, port: u16) -> SocketAddr {
    (Ipv4Addr::new(127, 0, link, id), port).into()
}

fn seal() -> Seal {
    let (cluster, key_id) = (ClusterId(7), 1);
    Seal { cluster, key: [9; 32], key_id, config_hash: 5, level: 1 }
}

/// Patient enough for a loaded machine.
const LIMITS: Limits =
    Limits { greet: Duration::from_millis(5_000), stall: Duration::from_millis(5_000) };

/// The stream of node `id`: two links, three nodes.
fn stream_with(id: u8, port: u16, incarnation: u32, limits: Limits) -> Stream {
    let local = |link| Local { own: address(id, link, port), interface: 0 };
    let locals = vec![local(1), local(2)];
    let listeners = locals.iter().map(|local| listen(*local).unwrap()).collect();
    let others = (1..=3).filter(|other| *other != id);
    let peer = |other| {
        let addresses = vec![Some(address(other, 1, port)), Some(address(other, 2, port))];
        Peer { node: node(other), addresses }
    };
    let plan = Plan { locals, listeners, peers: others.map(peer).collect(), limits };
    let wake = Arc::new(Wake::new().unwrap());
    let who = (seal(), life(id, incarnation), Nonce(u64::from(incarnation)));
    Stream::start(plan, who, None, wake).unwrap()
}

pub(super) fn stream(id: u8, port: u16, incarnation: u32) -> Stream {
    stream_with(id, port, incarnation, LIMITS)
}

/// A request of `length` bytes, told apart by its number.
fn large(seq: u64, length: usize) -> Message {
    let body = vec![seq as u8; length].into();
    Message::Request { client: ClientId(4), seq: Seq(seq), first: Seq(1), body }
}

/// Waits for a condition.
pub(super) fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < LIMIT, "{what}");
        std::thread::park_timeout(std::time::Duration::from_millis(1));
    }
}

/// Waits for the next message.
fn next(stream: &Stream) -> (Life, Message) {
    let mut taken = None;
    wait_for("no message came", || {
        taken = stream.poll();
        taken.is_some()
    });
    taken.map(|(header, message)| (header.from, message)).unwrap()
}

fn to(id: u8) -> Destination {
    Destination::Node(node(id))
}

/// A frame with its length, as node 1 would send it.
fn framed(by: &Seal, kind: Kind, incarnation: u32, seq: u64, body: &[u8]) -> Vec<u8> {
    let (from, nonce) = (life(1, incarnation), Nonce(u64::from(incarnation)));
    let header = Header { kind, from, nonce, link: LinkId(0), seq: Seq(seq) };
    sealed(by, &header, body).unwrap()
}

fn encoded(message: &Message) -> Vec<u8> {
    let mut writer = Writer::new();
    message.encode(&mut writer);
    writer.0
}

/// A connection to node 2 from an address of ours.
fn connect(from: SocketAddr, port: u16) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(from.ip(), 0).into()).unwrap();
    socket.connect(&address(2, 1, port).into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

/// True once the other side has closed.
fn is_closed(stream: &mut TcpStream) -> bool {
    !matches!(stream.read(&mut [0; 8]), Ok(n) if n > 0)
}

#[test]
fn messages_of_any_size_come_whole_and_in_order_and_both_ways() {
    let (one, two) = (stream(1, 46_201, 3), stream(2, 46_201, 4));
    let sizes = [20_000, BODY_MAX, 65_536 - HEADER_LEN, 1, BODY_MAX];
    for (seq, size) in (1..).zip(sizes) {
        one.send(to(2), large(seq, size));
        two.send(to(1), large(seq + 10, size));
    }
    for (seq, size) in (1..).zip(sizes) {
        assert_eq!(next(&two), (life(1, 3), large(seq, size)));
        assert_eq!(next(&one), (life(2, 4), large(seq + 10, size)));
    }
    assert_eq!(one.shared.get(Counter::StreamConnected), 1, "one connection for all of them");
    assert_eq!(one.shared.get(Counter::StreamDropped), 0);
}

#[test]
fn all_is_every_peer_that_is_there_and_a_repetition_on_its_way_is_not_sent() {
    let (one, two) = (stream(1, 46_211, 3), stream(2, 46_211, 4));
    for _ in 0..3 {
        one.send(Destination::All, large(1, BODY_MAX));
    }
    assert_eq!(next(&two).1, large(1, BODY_MAX));
    wait_for("nobody listens at node 3", || one.shared.get(Counter::StreamDropped) > 0);
    assert!(one.shared.get(Counter::StreamRepeated) >= 2);
    assert!(two.poll().is_none());
}

#[test]
fn what_no_connection_takes_goes_over_the_next_link() {
    let one = stream(1, 46_221, 3);
    let second = listen(Local { own: address(2, 2, 46_221), interface: 0 }).unwrap();
    one.send(to(2), large(1, 30_000));
    let mut accepted = None;
    wait_for("no connection on the second link", || {
        accepted = second.accept().ok();
        accepted.is_some()
    });
    let (mut socket, _) = accepted.unwrap();
    socket.set_nonblocking(false).unwrap();
    let mut greeting = [0; 4 + HEADER_LEN];
    socket.read_exact(&mut greeting).unwrap();
    assert_eq!(greeting[..4], (HEADER_LEN as u32).to_le_bytes());
    let (header, body) = wire::frame::open(&seal(), LinkId(0), &greeting[4..]).unwrap();
    assert_eq!((header.kind, header.from, body.len()), (Kind::Bulk, life(1, 3), 0));
}

#[test]
fn a_peer_that_comes_back_is_found_again() {
    let one = stream(1, 46_231, 3);
    let two = stream(2, 46_231, 4);
    one.send(to(2), large(1, 30_000));
    assert_eq!(next(&two).1, large(1, 30_000));
    drop(two);
    let again = || TcpListener::bind(address(2, 1, 46_231)).map(drop).is_ok();
    wait_for("the port is not given back", again);
    let two = stream(2, 46_231, 5);
    let mut seq = 1;
    let mut heard = None;
    wait_for("it is not found again", || {
        // The agreement repeats.
        seq += 1;
        one.send(to(2), large(seq, 30_000));
        heard = two.poll();
        heard.is_some()
    });
    let (header, message) = heard.unwrap();
    assert_eq!(header.from, life(1, 3));
    assert!(matches!(message, Message::Request { .. }));
}

#[test]
fn who_does_not_read_is_disconnected_and_holds_up_nobody() {
    let stall = Duration::from_millis(100);
    let one = stream_with(1, 46_241, 3, Limits { stall, ..LIMITS });
    let three = stream(3, 46_241, 4);
    let deaf = listen(Local { own: address(2, 1, 46_241), interface: 0 }).unwrap();
    for seq in 1..=40 {
        one.send(to(2), large(seq, BODY_MAX));
    }
    one.send(to(3), large(41, BODY_MAX));
    assert_eq!(next(&three).1, large(41, BODY_MAX));
    wait_for("it is not disconnected", || one.shared.get(Counter::StreamStalled) > 0);
    // Eight of forty fit, of which the kernel takes one or two; the rest goes with the last link.
    wait_for("its messages are kept", || {
        let gone = one.shared.get(Counter::StreamDropped);
        gone >= 32 && gone + one.shared.get(Counter::StreamSent) == 41
    });
    drop(deaf);
}

/// As a primary does for a follower that lacks much: far more than the connection takes, again and again.
#[test]
fn whoever_is_given_more_than_it_can_send_still_serves_its_connections() {
    let one = stream(1, 46_461, 3);
    let deaf = listen(Local { own: address(2, 1, 46_461), interface: 0 }).unwrap();
    for seq in 1..=40 {
        one.send(to(2), large(seq, BODY_MAX));
    }
    let three = stream(3, 46_461, 4);
    let (over, body) = (AtomicBool::new(false), vec![5; BODY_MAX].into());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for seq in (100..).take_while(|_| !over.load(Ordering::Relaxed)) {
                let (client, body) = (ClientId(4), Arc::clone(&body));
                one.send(to(2), Message::Request { client, seq: Seq(seq), first: Seq(1), body });
            }
        });
        let begin = Instant::now();
        let (mut seq, mut heard) = (41, None);
        while heard.is_none() && begin.elapsed() < LIMIT {
            // The agreement repeats.
            one.send(to(3), large(seq, 30_000));
            std::thread::park_timeout(std::time::Duration::from_millis(1));
            heard = three.poll();
            seq += 1;
        }
        over.store(true, Ordering::Relaxed);
        assert!(heard.is_some(), "nothing is written any more");
    });
    drop(deaf);
}

#[test]
fn a_frame_that_is_cut_is_gone_and_the_next_connection_is_taken() {
    let two = stream(2, 46_251, 4);
    let message = large(1, 50_000);
    let whole = framed(&seal(), Kind::Bulk, 3, 2, &encoded(&message));
    let mut first = connect(address(1, 1, 0), 46_251);
    first.write_all(&framed(&seal(), Kind::Bulk, 3, 1, &[])).unwrap();
    first.write_all(&whole[..30_000]).unwrap();
    drop(first);
    let mut second = connect(address(1, 2, 0), 46_251);
    second.write_all(&framed(&seal(), Kind::Bulk, 3, 3, &[])).unwrap();
    // One byte at a time over the length, then in pieces.
    for byte in &whole[..70] {
        second.write_all(&[*byte]).unwrap();
    }
    second.write_all(&whole[70..]).unwrap();
    assert_eq!(next(&two), (life(1, 3), message));
    assert!(two.poll().is_none());
}

/// What node 1 says on a connection, and the reason for which it ends.
fn refused(port: u16, said: &[Vec<u8>], reason: Reject) {
    let two = stream(2, port, 4);
    let mut socket = connect(address(1, 1, 0), port);
    for bytes in said {
        // It may be closed before all is said.
        let _ = socket.write_all(bytes);
    }
    assert!(is_closed(&mut socket), "{reason:?}");
    assert_eq!(two.shared.rejected(reason), 1, "{reason:?}");
    assert!(two.poll().is_none(), "{reason:?}");
}

#[test]
fn the_first_bad_frame_ends_a_connection_and_is_counted_by_its_reason() {
    let ours = seal();
    let hello = || framed(&ours, Kind::Bulk, 3, 1, &[]);
    let good = encoded(&large(1, 20_000));
    let frame = |seq| framed(&ours, Kind::Bulk, 3, seq, &good);
    let other = Seal { key: [8; 32], ..ours };
    refused(46_301, &[framed(&other, Kind::Bulk, 3, 1, &[])], Reject::Forged);
    refused(46_311, &[vec![0x55; 68]], Reject::Garbage);
    refused(46_321, &[vec![0; 68]], Reject::Truncated);
    // Nobody has said who speaks: nothing longer is taken.
    refused(46_331, &[frame(1)], Reject::Malformed);
    refused(46_341, &[framed(&ours, Kind::Agreement, 3, 1, &[])], Reject::Malformed);
    refused(46_351, &[hello(), frame(1)], Reject::Duplicate);
    refused(46_361, &[hello(), framed(&ours, Kind::Bulk, 4, 2, &good)], Reject::Malformed);
    refused(46_371, &[hello(), framed(&ours, Kind::Bulk, 3, 2, &[99; 70])], Reject::Malformed);
    refused(46_381, &[hello(), framed(&other, Kind::Bulk, 3, 2, &good)], Reject::Forged);
    refused(46_391, &[hello(), vec![0xFF; 4]], Reject::Garbage);
    let mut turned = frame(2);
    turned[9_000] ^= 1;
    refused(46_401, &[hello(), turned], Reject::Forged);
}

#[test]
fn strangers_are_not_listened_to_and_whoever_says_nothing_is_dropped() {
    let greet = Duration::from_millis(50);
    let two = stream_with(2, 46_411, 4, Limits { greet, ..LIMITS });
    let strangers = || two.shared.get(Counter::StreamStrangers);
    assert!(is_closed(&mut connect(address(9, 1, 0), 46_411)), "no configured address");
    assert_eq!(strangers(), 1);
    let mut silent: Vec<_> = (0..3).map(|_| connect(address(1, 1, 0), 46_411)).collect();
    wait_for("two of one address wait, no more", || strangers() >= 2);
    assert!(silent.iter_mut().all(is_closed), "after a while none");
    assert_eq!(strangers(), 4);
    // A peer is still taken.
    let one = stream(1, 46_411, 3);
    one.send(to(2), large(1, 20_000));
    assert_eq!(next(&two).1, large(1, 20_000));
}

#[test]
fn a_life_that_is_over_and_a_second_connection_of_a_node_end() {
    let two = stream(2, 46_421, 4);
    let mut first = connect(address(1, 1, 0), 46_421);
    first.write_all(&framed(&seal(), Kind::Bulk, 3, 1, &[])).unwrap();
    first.write_all(&framed(&seal(), Kind::Bulk, 3, 2, &encoded(&large(1, 20_000)))).unwrap();
    assert_eq!(next(&two).0, life(1, 3));
    let mut newer = connect(address(1, 1, 0), 46_421);
    newer.write_all(&framed(&seal(), Kind::Bulk, 5, 1, &[])).unwrap();
    assert!(is_closed(&mut first), "one connection per node");
    let mut older = connect(address(1, 1, 0), 46_421);
    older.write_all(&framed(&seal(), Kind::Bulk, 3, 9, &[])).unwrap();
    assert!(is_closed(&mut older));
    assert_eq!(two.shared.rejected(Reject::Stale), 1);
}

#[test]
fn a_loop_that_does_not_take_holds_the_peers_back_and_loses_nothing() {
    let (one, two) = (stream(1, 46_431, 3), stream(2, 46_431, 4));
    let mut sent = 0;
    wait_for("it is never held back", || {
        if one.shared.get(Counter::StreamSent) + 4 > sent {
            sent += 1;
            one.send(to(2), large(sent, BODY_MAX));
        }
        two.shared.held_back.load(Ordering::Acquire)
    });
    for seq in 1..=sent {
        assert_eq!(next(&two).1, large(seq, BODY_MAX));
    }
}

#[test]
fn peers_may_change() {
    let (one, two) = (stream(1, 46_441, 3), stream(2, 46_441, 4));
    one.set_peers(vec![Peer { node: node(3), addresses: vec![] }]);
    one.send(to(2), large(1, 20_000));
    let addresses = vec![None, Some(address(2, 2, 46_441))];
    one.set_peers(vec![Peer { node: node(2), addresses }]);
    one.send(to(2), large(2, 20_000));
    assert_eq!(next(&two).1, large(2, 20_000), "only from then on");
}

#[test]
fn a_port_that_is_taken_is_told() {
    let taken = TcpListener::bind(address(1, 1, 46_451)).unwrap();
    let error = listen(Local { own: address(1, 1, 46_451), interface: 0 }).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    drop(taken);
}
