//! Ethernet frames between two namespaces and a cable. Needs root; says SKIPPED without.

use ng_link::{
    BATCH, Counts, Destination, Faults, Link, Mode, OpenError, PacketLink, Settings, Source,
};
use std::ffi::CString;
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};
use wire::ethernet::{BROADCAST, ETHERTYPE, Envelope};
use wire::{ClusterId, LinkId, NodeId};

const CLUSTER: ClusterId = ClusterId(0x0102_0304_A5B6_C7D8);
const PORT: u16 = 4801;
const GROUP: [u8; 6] = [0x01, 0x00, 0x5E, 0x63, 0x01, 0x01];

/// Two namespaces, joined by a pair of interfaces `l0`. There are no IP addresses: none are needed.
struct Cable([String; 2]);

impl Cable {
    fn new(test: &str) -> Option<Self> {
        // SAFETY: takes nothing, cannot fail.
        if unsafe { libc::geteuid() } != 0 || !ip("netns list") {
            println!("SKIPPED: needs root and iproute2");
            assert!(std::env::var_os("CI").is_none(), "must not be skipped in CI");
            return None;
        }
        let name = |n| format!("ngp{}{test}{n}", std::process::id());
        let cable = Self([name(1), name(2)]);
        for name in &cable.0 {
            assert!(ip(&format!("netns add {name}")));
            assert!(ip(&format!("-n {name} link set lo up")));
        }
        cable.plug("l0");
        Some(cable)
    }

    /// Joins the two by one more pair.
    fn plug(&self, interface: &str) {
        let [one, two] = &self.0;
        assert!(ip(&format!(
            "-n {one} link add {interface} type veth peer name {interface} netns {two}"
        )));
        for n in [1, 2] {
            self.ip(n, &format!("link set {interface} up"));
        }
    }

    fn ip(&self, n: u8, arguments: &str) {
        assert!(self.try_ip(n, arguments), "ip {arguments}");
    }

    fn try_ip(&self, n: u8, arguments: &str) -> bool {
        ip(&format!("-n {} {arguments}", self.0[usize::from(n) - 1]))
    }

    /// Runs something inside one of the two; sockets stay in the namespace in which they were made.
    fn inside<T: Send + 'static>(&self, n: u8, run: impl FnOnce() -> T + Send + 'static) -> T {
        let file = File::open(format!("/run/netns/{}", self.0[usize::from(n) - 1])).unwrap();
        let inside = move || {
            // SAFETY: takes a descriptor that is open; moves only this thread.
            assert_eq!(unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) }, 0);
            run()
        };
        std::thread::spawn(inside).join().unwrap()
    }

    fn try_open(&self, n: u8, on: &str, change: fn(&mut Settings)) -> Result<PacketLink, OpenError> {
        let on = on.to_owned();
        self.inside(n, move || {
            let mut settings = settings(n, index(&on));
            change(&mut settings);
            PacketLink::open(&settings, node(n), CLUSTER)
        })
    }

    /// Node `n` of the two, on the cable.
    fn open(&self, n: u8) -> PacketLink {
        self.try_open(n, "l0", |_| ()).unwrap()
    }

    /// A socket that sends and hears whole Ethernet frames on the cable, as they are.
    fn tap(&self, n: u8) -> Tap {
        Tap(self.inside(n, || {
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

    /// The Ethernet address of an interface.
    fn mac(&self, n: u8, on: &str) -> [u8; 6] {
        let name = &self.0[usize::from(n) - 1];
        let output = Command::new("ip").args(["-n", name, "-br", "link", "show", on]).output();
        let text = String::from_utf8(output.unwrap().stdout).unwrap();
        let text = text.split_whitespace().find(|it| it.len() == 17).unwrap().to_owned();
        let mut bytes = text.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap());
        std::array::from_fn(|_| bytes.next().unwrap())
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for name in &self.0 {
            ip(&format!("netns del {name}"));
        }
    }
}

struct Tap(OwnedFd);

impl Tap {
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

fn index(name: &str) -> u32 {
    let name = CString::new(name).unwrap();
    // SAFETY: a C string, alive during the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    assert_ne!(index, 0);
    index
}

fn node(n: u8) -> NodeId {
    NodeId::new(n).unwrap()
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

fn ip(arguments: &str) -> bool {
    Command::new("ip").args(arguments.split(' ')).output().is_ok_and(|out| out.status.success())
}

fn wait(fd: i32, wait_ms: i32) -> bool {
    let mut waiting = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd, alive during the call.
    unsafe { libc::poll(&raw mut waiting, 1, wait_ms) == 1 }
}

/// A frame as far as the kernel's filter looks: of a cluster, and with something to tell it by.
fn frame_of(ClusterId(cluster): ClusterId, text: &str) -> Vec<u8> {
    [b"NG\x02\x01\0\0\x01\0", &cluster.to_le_bytes()[..], text.as_bytes()].concat()
}

fn frame(text: &str) -> Vec<u8> {
    frame_of(CLUSTER, text)
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
    let Some(cable) = Cable::new("all") else { return };
    let group6: fn(&mut Settings) = |it| {
        it.mode = Mode::Multicast("ff02::4e47".parse().unwrap());
        it.own = ("fd99::1".parse::<IpAddr>().unwrap(), PORT).into();
        it.peers.clear();
    };
    let broadcast: fn(&mut Settings) = |it| it.mode = Mode::Broadcast([10, 99, 0, 255].into());
    let cases: [(fn(&mut Settings), [u8; 6]); 3] = [
        (|_| (), GROUP),
        (group6, [0x33, 0x33, 0, 0, 0x4E, 0x47]),
        (broadcast, BROADCAST),
    ];
    let tap = cable.tap(2);
    for (change, to) in cases {
        let mut a = cable.try_open(1, "l0", change).unwrap();
        let mut b = cable.try_open(2, "l0", change).unwrap();
        assert!(a.send(Destination::All, &frame("beat")), "{:?}", a.counts());
        assert_eq!(take(&mut b, 100, None), [("beat".to_owned(), cable.mac(1, "l0"))]);
        assert_eq!(tap.hear().unwrap()[..6], to);
        assert_eq!(texts(&mut a), [""; 0]);
        assert_eq!((a.counts().sent, a.counts().received, b.counts().received), (1, 0, 1));
    }
}

#[test]
fn a_frame_to_a_node_goes_to_all_until_it_was_heard_and_then_where_it_was_heard() {
    let Some(cable) = Cable::new("one") else { return };
    let (mut a, mut b, tap) = (cable.open(1), cable.open(2), cable.tap(2));
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
    cable.ip(2, "link set l0 address 02:00:00:00:00:77");
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
    let Some(cable) = Cable::new("flt") else { return };
    let (mut b, tap) = (cable.open(2), cable.tap(1));
    let whole = |to: Option<u8>, port: u16, cluster: ClusterId, text: &str| {
        let inner = frame_of(cluster, text);
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
    let Some(cable) = Cable::new("dn") else { return };
    let (mut a, mut b) = (cable.open(1), cable.open(2));
    cable.ip(1, "link set l0 down");
    assert!(!a.send(Destination::All, &frame("lost")));
    assert_eq!((a.counts().unreachable, a.counts().last_errno), (1, libc::ENETDOWN));
    // The socket says so once, and does not keep the loop awake.
    assert_eq!(texts(&mut a), [""; 0]);
    assert_eq!(a.counts().receive_failed, 1);
    assert!(!wait(a.fd().as_raw_fd(), 0));
    cable.ip(1, "link set l0 up");
    assert!(a.send(Destination::All, &frame("back")), "{:?}", a.counts());
    assert_eq!(texts(&mut b), ["back"]);
    b.send(Destination::All, &frame("heard"));
    assert_eq!(texts(&mut a), ["heard"]);
    // No carrier: it goes into the queues, as UDP does.
    cable.ip(2, "link set l0 down");
    a.send(Destination::All, &frame("nobody"));
    cable.ip(2, "link set l0 up");
    let start = Instant::now();
    while !texts(&mut b).contains(&"again".to_owned()) {
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", a.counts());
        a.send(Destination::All, &frame("again"));
    }
}

#[test]
fn an_interface_that_is_gone_is_counted_and_nothing_is_awake() {
    let Some(cable) = Cable::new("gone") else { return };
    let (mut a, mut b) = (cable.open(1), cable.open(2));
    cable.ip(1, "link del l0");
    for link in [&mut a, &mut b] {
        assert!(!link.send(Destination::All, &frame("lost")));
        assert_eq!(link.counts().unreachable, 1, "{:?}", link.counts());
        assert_eq!(texts(link), [""; 0]);
        assert!(!wait(link.fd().as_raw_fd(), 0));
    }
    // Made again under the same name it is another one, as for UDP: the daemon is restarted.
    cable.plug("l0");
    assert!(!a.send(Destination::All, &frame("lost")));
    assert!(cable.open(1).send(Destination::All, &frame("new")));
}

#[test]
fn a_ring_that_is_full_keeps_the_oldest_counts_the_rest_and_goes_on() {
    let Some(cable) = Cable::new("full") else { return };
    let (mut a, mut b) = (cable.open(1), cable.open(2));
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
    let Some(cable) = Cable::new("age") else { return };
    let (mut a, mut b) = (cable.open(1), cable.open(2));
    a.send(Destination::All, &frame("one"));
    std::thread::sleep(Duration::from_millis(30));
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
fn frames_can_be_lost_on_purpose() {
    let Some(cable) = Cable::new("loss") else { return };
    let (mut a, b) = (cable.open(1), cable.open(2));
    let mut b = Faults::parse("seed=3,loss=0.5").unwrap().over(Box::new(b), 1_000, 2);
    for n in 0..100 {
        a.send(Destination::All, &frame(&n.to_string()));
    }
    let heard = texts(&mut *b).len() as u64;
    assert!((25..75).contains(&heard), "{heard}");
    assert_eq!((b.counts().received, b.counts().disturbed), (100, 100 - heard));
}

#[test]
fn on_a_macvlan_a_vlan_and_a_bond() {
    let Some(cable) = Cable::new("up") else { return };
    cable.plug("l1");
    let on_both = |add: &str, name: &str| {
        let made = [1, 2].iter().all(|n| cable.try_ip(*n, &format!("link add {add}")));
        if made {
            for n in [1, 2] {
                cable.ip(n, &format!("link set {name} up"));
            }
            return true;
        }
        println!("SKIPPED: this kernel makes no {add}");
        false
    };
    let talk = |on: &str| {
        let open = |n| cable.try_open(n, on, |_| ()).unwrap();
        let (mut a, mut b) = (open(1), open(2));
        assert!(a.send(Destination::All, &frame("beat")), "{on}: {:?}", a.counts());
        let heard = take(&mut b, 100, Some(node(1)));
        assert_eq!(heard, [("beat".to_owned(), cable.mac(1, on))], "{on}");
        assert!(b.send(Destination::Node(node(1)), &frame("answer")));
        assert_eq!(texts(&mut a), ["answer"], "{on}");
        assert_eq!((a.counts().own, b.counts().own), (0, 0), "{on}");
        (a, b)
    };
    assert!(on_both("link l0 name m0 type macvlan mode bridge", "m0"));
    talk("m0");
    if on_both("link l0 name v5 type vlan id 5", "v5") {
        let _both = talk("v5");
        // Beside it, the untagged link is another one.
        let mut untagged = cable.open(2);
        cable.try_open(1, "v5", |_| ()).unwrap().send(Destination::All, &frame("tagged"));
        assert_eq!(texts(&mut untagged), [""; 0]);
    }
    if on_both("name b0 type bond mode active-backup miimon 10 fail_over_mac active", "b0") {
        for n in [1, 2] {
            for slave in ["l0", "l1"] {
                cable.ip(n, &format!("link set {slave} down"));
                cable.ip(n, &format!("link set {slave} master b0"));
                cable.ip(n, &format!("link set {slave} up"));
            }
        }
        std::thread::sleep(Duration::from_millis(200));
        let (mut a, mut b) = talk("b0");
        // The active cable fails: the other one carries the next beats, which come from another address.
        cable.ip(1, "link set l0 down");
        let start = Instant::now();
        while take(&mut b, 100, Some(node(1))).is_empty() {
            assert!(start.elapsed() < Duration::from_secs(5), "{:?}", a.counts());
            a.send(Destination::All, &frame("beat"));
        }
        assert!(b.send(Destination::Node(node(1)), &frame("answer")));
        assert_eq!(texts(&mut a), ["answer"]);
    }
}

#[test]
fn what_cannot_be_opened_is_named_with_the_remedy() {
    let Some(cable) = Cable::new("err") else { return };
    let error = |on: &str, change| cable.try_open(1, on, change).unwrap_err();
    cable.ip(1, "link set l0 mtu 1005");
    let small = error("l0", |_| ());
    assert!(matches!(small, OpenError::SmallMtu { mtu: 1005, needed: 1006, .. }), "{small}");
    assert!(small.to_string().contains("ip link set l0 mtu 1500"), "{small}");
    cable.ip(1, "link set l0 mtu 1006");
    cable.open(1);
    let lo = error("lo", |_| ());
    assert!(matches!(lo, OpenError::NotEthernet { .. }), "{lo}");
    assert!(lo.to_string().contains("lo is no Ethernet interface"), "{lo}");
    let unicast = error("l0", |it| it.mode = Mode::Unicast);
    assert!(matches!(unicast, OpenError::Mismatch { .. }), "{unicast}");
    for gone in [|it: &mut Settings| it.interface = 0, |it: &mut Settings| it.interface = 9_999] {
        let error = error("l0", gone);
        assert!(matches!(error, OpenError::NoInterface { .. }), "{error}");
    }
    let forbidden = cable.inside(1, || {
        // SAFETY: takes integers; by the system call, and not the library's function, it concerns this thread only.
        assert_eq!(unsafe { libc::syscall(libc::SYS_setresuid, 65_534, 65_534, 65_534) }, 0);
        PacketLink::open(&settings(1, index("l0")), node(1), CLUSTER).unwrap_err()
    });
    assert!(matches!(forbidden, OpenError::Forbidden { .. }), "{forbidden}");
    assert!(forbidden.to_string().contains("CAP_NET_RAW"), "{forbidden}");
}
