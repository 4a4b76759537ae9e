//! UDP over loopback: no root, no interface. Each case runs between two of the same kind and between mixed ones.

use crate::fixture::{BackEnd, End, SOON, node, pause};
use ng_link::{BATCH, Destination, Mode, OpenError, Settings, Source};
use std::net::UdpSocket;
use std::time::Duration;
use wire::LinkId;

fn settings(own: &str) -> Settings {
    Settings {
        id: LinkId(0),
        mode: Mode::Unicast,
        own: own.parse().unwrap(),
        interface: 0,
        peers: Vec::new(),
        frame_max: 100,
        stamped: true,
    }
}

/// One end on a free port.
fn open(back_end: &BackEnd) -> End {
    (back_end.open)(&settings("127.0.0.1:0")).unwrap()
}

fn a_frame_to_all_reaches_each_peer_and_one_to_a_node_only_that(x: &BackEnd, y: &BackEnd) {
    for own in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(mut a) = (x.open)(&settings(own)) else {
            assert!(own.contains('['), "IPv4 loopback must work");
            continue;
        };
        let mut b = (y.open)(&settings(own)).unwrap();
        let mut c = (x.open)(&settings(own)).unwrap();
        a.set_peer(node(2), b.local);
        a.set_peer(node(128), c.local);
        assert!(a.send(Destination::All, b"all"));
        assert!(a.send(Destination::Node(node(128)), b"three"));
        let came = b.take(1, SOON);
        assert_eq!((&*came[0].frame, came[0].source), (&b"all"[..], Source::Ip(a.local)));
        assert_eq!(c.frames(2), [&b"all"[..], b"three"]);
        b.assert_silent();
        assert_eq!(a.counts().sent, 3);
        assert_eq!(c.counts().received, 2);
    }
}

fn more_than_a_batch_comes_in_several_calls_and_in_order(x: &BackEnd, y: &BackEnd) {
    let (mut a, mut b) = (open(x), open(y));
    a.set_peer(node(2), b.local);
    let all: Vec<u8> = (0..2 * BATCH as u8 + 1).collect();
    for n in &all {
        assert!(a.send(Destination::All, &[*n]));
    }
    assert!((b.wait)(&*b.link, SOON));
    let (taken, first) = b.receive();
    assert_eq!((taken, first.len()), (BATCH, BATCH));
    let rest = b.frames(BATCH + 1);
    let got: Vec<u8> = first.iter().map(|c| c.frame[0]).chain(rest.iter().map(|f| f[0])).collect();
    assert_eq!(got, all);
    b.assert_silent();
}

fn a_frame_to_more_peers_than_a_batch_reaches_all(x: &BackEnd, y: &BackEnd) {
    let (mut a, mut b) = (open(x), open(y));
    for n in 2..=128 {
        a.set_peer(node(n), b.local);
    }
    assert!(a.send(Destination::All, b"x"));
    assert_eq!(a.counts().sent, 127);
    assert_eq!(b.frames(127), vec![b"x"; 127]);
}

fn a_datagram_longer_than_a_frame_is_dropped_and_counted(_: &BackEnd, y: &BackEnd) {
    let mut end = open(y);
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.set_write_timeout(Some(SOON)).unwrap();
    for (content, length) in [(6, 65_000), (7, 101), (8, 100), (9, 0)] {
        stranger.send_to(&vec![content; length], end.local).unwrap();
    }
    assert_eq!(end.frames(2), [vec![8; 100], vec![]]);
    assert_eq!((end.counts().oversize, end.counts().received), (2, 4));
}

fn what_cannot_be_sent_is_counted_and_the_rest_still_goes(x: &BackEnd, y: &BackEnd) {
    let (mut a, mut b) = (open(x), open(y));
    // Port 0 cannot be sent to; the peers before and after it can.
    a.set_peer(node(2), b.local);
    a.set_peer(node(3), Some("127.0.0.1:0".parse().unwrap()));
    a.set_peer(node(4), b.local);
    assert!(!a.send(Destination::All, b"x"));
    assert_eq!(b.frames(2).len(), 2);
    assert_eq!((a.counts().sent, a.counts().send_failed), (2, 1));
    assert_eq!(a.counts().last_errno, libc::EINVAL);
    assert!(!a.send(Destination::Node(node(9)), b"x"));
    a.set_peer(node(2), None);
    assert!(!a.send(Destination::Node(node(2)), b"x"));
    assert_eq!(a.counts().no_address, 2);
    b.assert_silent();
}

fn a_taken_port_and_a_foreign_address_are_named_with_the_remedy(x: &BackEnd, y: &BackEnd) {
    let first = open(x);
    let taken = settings(&first.local.to_string());
    let error = (y.open)(&taken).err().unwrap();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    assert!(error.to_string().contains(&taken.own.port().to_string()), "{error}");
    let error = (y.open)(&settings("192.0.2.1:0")).err().unwrap();
    assert!(matches!(error, OpenError::NotLocal { .. }), "{error}");
    let mode = Mode::Multicast("ff02::1".parse().unwrap());
    let mixed = Settings { mode, ..taken.clone() };
    assert!(matches!((y.open)(&mixed), Err(OpenError::Mismatch { .. })));
    drop(first);
    (y.open)(&taken).map(drop).unwrap_or_else(|e| panic!("free at once: {e}"));
}

fn a_stamp_says_how_long_a_frame_has_waited(x: &BackEnd, y: &BackEnd) {
    let (mut a, mut b) = (open(x), open(y));
    let mut plain = (y.open)(&Settings { stamped: false, ..settings("127.0.0.1:0") }).unwrap();
    a.set_peer(node(2), b.local);
    a.set_peer(node(3), plain.local);
    // The kernel begins to stamp a moment after the first socket has asked for it; until then it stamps what is read.
    let stamped = (0..20).find_map(|_| {
        assert!(a.send(Destination::All, b"x"));
        pause(Duration::from_millis(30));
        b.take(1, SOON)[0].waited.filter(|waited| *waited >= base::Duration::from_millis(29))
    });
    assert!(stamped.is_some_and(|waited| waited < base::Duration::from_millis(10_000)));
    assert_eq!(plain.take(1, SOON)[0].waited, None);
}

fn a_flood_is_taken_in_order_and_the_link_works_on(x: &BackEnd, y: &BackEnd) {
    let (mut a, mut b) = (open(x), open(y));
    a.set_peer(node(2), b.local);
    for round in 0..3_u32 {
        // More than any number of buffers that a back end may have; what the socket has no room for is lost.
        for n in 0..4_000_u32 {
            a.send(Destination::All, &[round.to_le_bytes(), n.to_le_bytes()].concat());
        }
        let got: Vec<u64> = b
            .take(4_000, Duration::from_millis(200))
            .iter()
            .map(|came| {
                let word = |at| u32::from_le_bytes(came.frame[at..at + 4].try_into().unwrap());
                u64::from(word(0)) << 32 | u64::from(word(4))
            })
            .collect();
        assert!(got.len() > 100, "{}", got.len());
        assert!(got.is_sorted_by(|a, b| a < b), "in order, none twice");
        assert!(got.iter().all(|n| n >> 32 == u64::from(round)), "none is left from before");
    }
    assert!(a.send(Destination::All, b"after"));
    assert_eq!(b.frames(1), [b"after"]);
    assert_eq!(b.counts().receive_failed, 0);
}

/// The cases between each pair of back ends.
macro_rules! cases {
    ($(($pair:ident, $x:expr, $y:expr))* => $list:tt) => {
        $(mod $pair { cases!(@ $x, $y, $list); })*
    };
    (@ $x:expr, $y:expr, [$($case:ident,)*]) => {
        #[allow(unused_imports, reason = "not every pair has both")]
        use crate::fixture::{IO_URING, RECVMMSG, can};
        $(#[test] fn $case() { if can(&[&$x, &$y]) { super::$case(&$x, &$y) } })*
    };
}

cases!(
    (recvmmsg, RECVMMSG, RECVMMSG)
    (io_uring, IO_URING, IO_URING)
    (recvmmsg_to_io_uring, RECVMMSG, IO_URING)
    (io_uring_to_recvmmsg, IO_URING, RECVMMSG) => [
        a_frame_to_all_reaches_each_peer_and_one_to_a_node_only_that,
        more_than_a_batch_comes_in_several_calls_and_in_order,
        a_frame_to_more_peers_than_a_batch_reaches_all,
        a_datagram_longer_than_a_frame_is_dropped_and_counted,
        what_cannot_be_sent_is_counted_and_the_rest_still_goes,
        a_taken_port_and_a_foreign_address_are_named_with_the_remedy,
        a_stamp_says_how_long_a_frame_has_waited,
        a_flood_is_taken_in_order_and_the_link_works_on,
    ]
);
