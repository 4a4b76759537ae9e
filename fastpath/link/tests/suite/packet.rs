//! What only links of Ethernet frames do: places that are learned, the kernel's filter, the ring.

use crate::allocations;
use crate::cable::{Cable, index};
use crate::fixture::{CLUSTER, framed, node, pause};
use ng_link::{
    BATCH, Counts, Destination, Faults, Link, Mode, OpenError, PacketLink, Settings, Source,
};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};
use wire::ethernet::{BROADCAST, ETHERTYPE, Envelope};
use wire::{ClusterId, LinkId, NodeId};

const PORT: u16 = 4801;
const GROUP: [u8; 6] = [0x01, 0x00, 0x5E, 0x63, 0x01, 0x01];

/// Makes other settings of them.
type Change = fn(&mut Settings);

/// Node `n` of the two on an interface, with the settings changed.
fn try_open(cable: &Cable, n: u8, on: &str, change: Change) -> Result<PacketLink, OpenError> {
    cable.inside(n, || {
        let mut settings = settings(n, index(on));
        change(&mut settings);
        PacketLink::open(&settings, node(n), CLUSTER)
    })
}

/// Node `n` of the two, on the cable.
fn open(cable: &Cable, n: u8) -> PacketLink {
    try_open(cable, n, "l0", |_| ()).unwrap()
}

/// A socket that sends and hears whole Ethernet frames, as they are.
struct Tap(OwnedFd);

impl Tap {
    /// On side `n` of the cable.
    fn on(cable: &Cable, n: u8) -> Self {
        Self(cable.inside(n, || {
            let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK;
            let all = (libc::ETH_P_ALL as u16).to_be();
            // SAFETY: takes integers; a new descriptor that nobody else owns.
            let fd = unsafe { libc::socket(libc::AF_PACKET, kind, all.into()) };
            assert!(fd >= 0);
            // SAFETY: as above.
            let fd = unsafe { OwnedFd::from_raw_fd(fd) };
            // SAFETY: an address of integers, for which zero is a valid value.
            let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = all;
            address.sll_ifindex = index("l0") as i32;
            let length = size_of::<libc::sockaddr_ll>() as u32;
            // SAFETY: a valid address with its length.
            let bound = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) };
            assert_eq!(bound, 0);
            fd
        }))
    }

    fn send(&self, frame: &[u8]) {
        // SAFETY: pointer and length describe the frame.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        assert_eq!(sent, frame.len() as isize);
    }

    /// The next frame of our ethertype.
    fn hear(&self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 2_000];
        while wait(self.0.as_raw_fd(), 1_000) {
            // SAFETY: pointer and length describe the buffer.
            let count = unsafe {
                libc::recv(self.0.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0)
            };
            let frame = &buffer[..usize::try_from(count).unwrap()];
            if frame[12..14] == ETHERTYPE.to_be_bytes() {
                return Some(frame.to_vec());
            }
        }
        None
    }
}

/// What node `n` has: the other of the two is its peer.
fn settings(n: u8, interface: u32) -> Settings {
    let at = |n: u8| ([10, 99, 0, n], PORT).into();
    Settings {
        id: LinkId(0),
        mode: Mode::Multicast("239.99.1.1".parse().unwrap()),
        own: at(n),
        interface,
        peers: vec![(node(3 - n), at(3 - n))],
        frame_max: 1_000,
        stamped: true,
    }
}

fn wait(fd: i32, wait_ms: i32) -> bool {
    let mut waiting = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd, alive during the call.
    unsafe { libc::poll(&raw mut waiting, 1, wait_ms) == 1 }
}

fn frame(text: &str) -> Vec<u8> {
    framed(CLUSTER, text.as_bytes())
}

/// Everything that comes until a `wait_ms` passes without a frame, each with where it came from. `from` is whose the frames are.
fn take(link: &mut dyn Link, wait_ms: i32, from: Option<NodeId>) -> Vec<(String, [u8; 6])> {
    let mut all = Vec::new();
    while wait(link.fd().as_raw_fd(), wait_ms) {
        link.receive(&mut |arrival| {
            let Source::Mac(source) = arrival.source else { panic!("{arrival:?}") };
            all.push((String::from_utf8_lossy(&arrival.frame[16..]).into_owned(), source));
            from
        });
    }
    all
}

/// The texts of what came.
fn texts(link: &mut dyn Link) -> Vec<String> {
    take(link, 100, None).into_iter().map(|(text, _)| text).collect()
}

#[test]
fn a_frame_to_all_crosses_the_cable_by_group_and_broadcast_and_does_not_come_back() {
    let Some(cable) = Cable::new() else { return };
    let group6: Change = |it| {
        it.mode = Mode::Multicast("ff02::4e47".parse().unwrap());
        it.own = ("fd99::1".parse::<IpAddr>().unwrap(), PORT).into();
        it.peers.clear();
    };
    let broadcast: Change = |it| it.mode = Mode::Broadcast([10, 99, 0, 255].into());
    let cases: [(Change, [u8; 6]); 3] =
        [(|_| (), GROUP), (group6, [0x33, 0x33, 0, 0, 0x4E, 0x47]), (broadcast, BROADCAST)];
    let tap = Tap::on(&cable, 2);
    for (change, to) in cases {
        let mut a = try_open(&cable, 1, "l0", change).unwrap();
        let mut b = try_open(&cable, 2, "l0", change).unwrap();
        assert!(a.send(Destination::All, &frame("beat")), "{:?}", a.counts());
        assert_eq!(take(&mut b, 100, None), [("beat".to_owned(), cable.mac(1, "l0"))]);
        assert_eq!(tap.hear().unwrap()[..6], to);
        assert_eq!(texts(&mut a), [""; 0]);
        assert_eq!((a.counts().sent, a.counts().received, b.counts().received), (1, 0, 1));
    }
}

#[test]
fn a_frame_to_a_node_goes_to_all_until_it_was_heard_and_then_where_it_was_heard() {
    let Some(cable) = Cable::new() else { return };
    let (mut a, mut b, tap) = (open(&cable, 1), open(&cable, 2), Tap::on(&cable, 2));
    let place = |tap: &Tap| tap.hear().map(|frame| frame[..6].to_vec()).unwrap();
    assert!(!a.send(Destination::Node(node(3)), &frame("x")), "it is not on this link");
    assert_eq!(a.counts().no_address, 1);
    assert!(a.send(Destination::Node(node(2)), &frame("first")));
    assert_eq!(place(&tap), GROUP);
    assert_eq!(texts(&mut b), ["first"]);
    // A frame that nobody can open teaches nothing.
    b.send(Destination::All, &frame("beat"));
    assert_eq!(take(&mut a, 100, None).len(), 1);
    a.send(Destination::Node(node(2)), &frame("second"));
    assert_eq!(place(&tap), GROUP);
    b.send(Destination::All, &frame("beat"));
    assert_eq!(take(&mut a, 100, Some(node(2))).len(), 1);
    a.send(Destination::Node(node(2)), &frame("third"));
    assert_eq!(place(&tap), cable.mac(2, "l0"));
    assert_eq!(texts(&mut b), ["second", "third"]);
    // The peer gets another address, as by a bond's fail-over; its beats say so.
    cable.must(2, "link set l0 address 02:00:00:00:00:77");
    b.send(Destination::All, &frame("beat"));
    assert_eq!(take(&mut a, 100, Some(node(2)))[0].1, [2, 0, 0, 0, 0, 0x77]);
    a.send(Destination::Node(node(2)), &frame("fourth"));
    assert_eq!(place(&tap), [2, 0, 0, 0, 0, 0x77]);
    assert_eq!(texts(&mut b), ["fourth"]);
    // Dropped from the configuration, and taken in again: nothing is known of it.
    a.set_peer(node(2), None);
    assert!(!a.send(Destination::Node(node(2)), &frame("x")));
    b.send(Destination::All, &frame("beat"));
    assert_eq!(take(&mut a, 100, Some(node(2))).len(), 1);
    assert!(!a.send(Destination::Node(node(2)), &frame("x")), "what is heard configures nobody");
    a.set_peer(node(2), Some(([10, 99, 0, 2], PORT).into()));
    assert!(a.send(Destination::Node(node(2)), &frame("fifth")));
    assert_eq!(place(&tap), GROUP);
    assert_eq!(a.counts().no_address, 3);
}

#[test]
fn what_is_not_for_this_link_does_not_wake_it() {
    let Some(cable) = Cable::new() else { return };
    let (mut b, tap) = (open(&cable, 2), Tap::on(&cable, 1));
    let whole = |to: Option<u8>, port: u16, cluster: ClusterId, text: &str| {
        let inner = framed(cluster, text.as_bytes());
        let envelope = Envelope { to: to.and_then(NodeId::new), port };
        let kind = ETHERTYPE.to_be_bytes();
        let from = [2, 0, 0, 0, 0, 9];
        [&GROUP[..], &from, &kind, &envelope.encode(inner.len()).unwrap(), &inner].concat()
    };
    tap.send(&whole(None, PORT, ClusterId(CLUSTER.0 ^ 1), "cluster"));
    tap.send(&whole(None, PORT + 1, CLUSTER, "port"));
    tap.send(&whole(Some(3), PORT, CLUSTER, "node"));
    let mut other = whole(None, PORT, CLUSTER, "station");
    other[..6].copy_from_slice(&[2, 0, 0, 0, 0, 0x55]);
    tap.send(&other);
    assert!(!wait(b.fd().as_raw_fd(), 100));
    tap.send(&whole(None, PORT, CLUSTER, "all"));
    tap.send(&whole(Some(2), PORT, CLUSTER, "me"));
    // Padding, and a priority tag (VLAN 0), change nothing; a tag of a VLAN that has no interface here is not for us.
    let mut padded = whole(None, PORT, CLUSTER, "padded");
    padded.resize(100, 0);
    tap.send(&padded);
    let tagged = |vlan: u8, text| {
        let mut frame = whole(None, PORT, CLUSTER, text);
        frame.splice(12..12, [0x81, 0, 0xC0, vlan]);
        frame
    };
    tap.send(&tagged(5, "vlan"));
    tap.send(&tagged(0, "priority"));
    // What no envelope can be read from is given as it is, for whoever counts garbage.
    let mut version = whole(None, PORT, CLUSTER, "version");
    version[14] = 9;
    tap.send(&version);
    assert_eq!(texts(&mut b)[..4], ["all", "me", "padded", "priority"]);
    let Counts { received, own, oversize, receive_failed, .. } = b.counts();
    assert_eq!((received, own, oversize, receive_failed), (5, 0, 0, 0));
    // Longer than any frame, and longer than the ring's slots.
    for length in [1_001, 1_400] {
        let inner = [frame(""), vec![7; length - 16]].concat();
        let envelope = Envelope { to: None, port: PORT }.encode(inner.len()).unwrap();
        tap.send(&[&whole(None, PORT, CLUSTER, "")[..14], &envelope, &inner].concat());
    }
    assert_eq!(texts(&mut b), [""; 0]);
    assert_eq!(b.counts().oversize, 2);
}

#[test]
fn an_interface_that_is_down_is_counted_and_both_ways_come_back() {
    let Some(cable) = Cable::new() else { return };
    let (mut a, mut b) = (open(&cable, 1), open(&cable, 2));
    cable.must(1, "link set l0 down");
    assert!(!a.send(Destination::All, &frame("lost")));
    assert_eq!((a.counts().unreachable, a.counts().last_errno), (1, libc::ENETDOWN));
    // The socket says so once, and does not keep the loop awake.
    assert_eq!(texts(&mut a), [""; 0]);
    assert_eq!(a.counts().receive_failed, 1);
    assert!(!wait(a.fd().as_raw_fd(), 0));
    cable.must(1, "link set l0 up");
    assert!(a.send(Destination::All, &frame("back")), "{:?}", a.counts());
    assert_eq!(texts(&mut b), ["back"]);
    b.send(Destination::All, &frame("heard"));
    assert_eq!(texts(&mut a), ["heard"]);
    // No carrier: it goes into the queues, as UDP does.
    cable.must(2, "link set l0 down");
    a.send(Destination::All, &frame("nobody"));
    cable.must(2, "link set l0 up");
    let start = Instant::now();
    while !texts(&mut b).contains(&"again".to_owned()) {
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", a.counts());
        a.send(Destination::All, &frame("again"));
    }
}

#[test]
fn an_interface_that_is_gone_is_counted_and_nothing_is_awake() {
    let Some(cable) = Cable::new() else { return };
    let (mut a, mut b) = (open(&cable, 1), open(&cable, 2));
    cable.must(1, "link del l0");
    for link in [&mut a, &mut b] {
        assert!(!link.send(Destination::All, &frame("lost")));
        assert_eq!(link.counts().unreachable, 1, "{:?}", link.counts());
        assert_eq!(texts(link), [""; 0]);
        assert!(!wait(link.fd().as_raw_fd(), 0));
    }
    // Made again under the same name it is another one, as for UDP: the daemon is restarted.
    cable.join("l0");
    cable.must(1, "link set l0 up");
    assert!(!a.send(Destination::All, &frame("lost")));
    assert!(open(&cable, 1).send(Destination::All, &frame("new")));
}

#[test]
fn a_ring_that_is_full_keeps_the_oldest_counts_the_rest_and_goes_on() {
    let Some(cable) = Cable::new() else { return };
    let (mut a, mut b) = (open(&cable, 1), open(&cable, 2));
    let (room, sent) = (8 * 256, 8 * 256 + 500);
    for n in 0..sent {
        assert!(a.send(Destination::All, &frame(&n.to_string())));
    }
    let mut turns = Vec::new();
    let mut all = Vec::new();
    while turns.last() != Some(&0) {
        turns.push(b.receive(&mut |arrival| {
            all.push(String::from_utf8_lossy(&arrival.frame[16..]).parse::<usize>().unwrap());
            None
        }));
    }
    assert!(all.len() >= room && all.len() < room + 10, "{}", all.len());
    assert_eq!(all, (0..all.len()).collect::<Vec<_>>());
    assert!(turns.iter().all(|taken| *taken <= BATCH));
    // Whoever finds room after a loss carries the mark of it.
    a.send(Destination::All, &frame("later"));
    assert_eq!(texts(&mut b), ["later"]);
    assert_eq!(b.counts().receive_failed as usize, sent - all.len());
    assert_eq!(b.counts().last_errno, libc::ENOBUFS);
    a.send(Destination::All, &frame("and on"));
    assert_eq!(texts(&mut b), ["and on"]);
    assert_eq!(b.counts().receive_failed as usize, sent - all.len());
}

#[test]
fn a_frame_says_how_long_it_waited() {
    let Some(cable) = Cable::new() else { return };
    let (mut a, mut b) = (open(&cable, 1), open(&cable, 2));
    a.send(Destination::All, &frame("one"));
    pause(Duration::from_millis(30));
    a.send(Destination::All, &frame("two"));
    let mut waited = Vec::new();
    b.receive(&mut |arrival| {
        waited.push(arrival.waited.unwrap().millis());
        None
    });
    assert_eq!(waited.len(), 2);
    assert!((30..5_000).contains(&waited[0]) && waited[1] + 30 <= waited[0] + 1, "{waited:?}");
}

#[test]
fn nothing_is_allocated_once_it_is_open() {
    let Some(cable) = Cable::new() else { return };
    let (mut a, mut b) = (open(&cable, 1), open(&cable, 2));
    let beat = frame("beat");
    let talk = |a: &mut PacketLink, b: &mut PacketLink| {
        for _ in 0..3_000 {
            a.send(Destination::All, &beat);
        }
        a.send(Destination::Node(node(2)), &beat);
        while b.receive(&mut |_| Some(node(1))) > 0 {}
        b.send(Destination::Node(node(1)), &beat);
        while a.receive(&mut |_| Some(node(2))) > 0 {}
        a.set_peer(node(2), None);
        a.send(Destination::Node(node(2)), &beat);
        a.set_peer(node(2), Some(([10, 99, 0, 2], PORT).into()));
    };
    for _ in 0..2 {
        assert_eq!(allocations::counted(|| talk(&mut a, &mut b)), 0);
    }
    cable.must(1, "link set l0 down");
    assert_eq!(allocations::counted(|| talk(&mut a, &mut b)), 0);
    // All of it really happened: a full ring, a refused peer, an interface that is down.
    assert!(b.counts().received > 2_000 && b.counts().receive_failed > 0, "{:?}", b.counts());
    assert!(a.counts().unreachable > 3_000 && a.counts().no_address == 3, "{:?}", a.counts());
}

#[test]
fn frames_can_be_lost_on_purpose() {
    let Some(cable) = Cable::new() else { return };
    let (mut a, b) = (open(&cable, 1), open(&cable, 2));
    let mut b = Faults::parse("seed=3,loss=0.5").unwrap().over(Box::new(b), 1_000, 2);
    for n in 0..100 {
        a.send(Destination::All, &frame(&n.to_string()));
    }
    let heard = texts(&mut *b).len() as u64;
    assert!((25..75).contains(&heard), "{heard}");
    assert_eq!((b.counts().received, b.counts().disturbed), (100, 100 - heard));
}

#[test]
fn what_cannot_be_opened_is_named_with_the_remedy() {
    let Some(cable) = Cable::new() else { return };
    let error = |on: &str, change| try_open(&cable, 1, on, change).unwrap_err();
    cable.must(1, "link set l0 mtu 1005");
    let small = error("l0", |_| ());
    assert!(matches!(small, OpenError::SmallMtu { mtu: 1005, needed: 1006, .. }), "{small}");
    assert!(small.to_string().contains("ip link set l0 mtu 1500"), "{small}");
    cable.must(1, "link set l0 mtu 1006");
    open(&cable, 1);
    let lo = error("lo", |_| ());
    assert!(matches!(lo, OpenError::NotEthernet { .. }), "{lo}");
    assert!(lo.to_string().contains("lo is no Ethernet interface"), "{lo}");
    let unicast = error("l0", |it| it.mode = Mode::Unicast);
    assert!(matches!(unicast, OpenError::Mismatch { .. }), "{unicast}");
    for gone in [|it: &mut Settings| it.interface = 0, |it: &mut Settings| it.interface = 9_999] {
        let error = error("l0", gone);
        assert!(matches!(error, OpenError::NoInterface { .. }), "{error}");
    }
    // A thread without rights, begun where this one is.
    let forbidden = cable.inside(1, || std::thread::spawn(open_without_rights).join().unwrap());
    assert!(matches!(forbidden, OpenError::Forbidden { .. }), "{forbidden}");
    assert!(forbidden.to_string().contains("CAP_NET_RAW"), "{forbidden}");
}

fn open_without_rights() -> OpenError {
    // SAFETY: takes integers; by the system call, and not the library's function, it concerns this thread only.
    assert_eq!(unsafe { libc::syscall(libc::SYS_setresuid, 65_534, 65_534, 65_534) }, 0);
    PacketLink::open(&settings(1, index("l0")), node(1), CLUSTER).unwrap_err()
}
