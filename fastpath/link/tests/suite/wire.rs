//! What loopback cannot show: groups, broadcast, interfaces that go down, and those that stand on others.

use crate::cable::Cable;
use crate::fixture::{BackEnd, End, SOON, node, pause};
use ng_link::{Destination, Mode, OpenError, Source};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// How long one of several attempts may take.
const ATTEMPT: Duration = Duration::from_millis(100);

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn group() -> Mode {
    Mode::Multicast(address("239.99.1.1"))
}

/// Sends as beats are sent, again and again, until one is heard: who sent it. An interface that has just come up swallows
/// frames until the kernel has looked at its carrier, IPv6 has no route before that, and a bond or a bridge takes its
/// time too.
#[track_caller]
fn until_heard(a: &mut End, b: &mut End, frame: &[u8]) -> Source {
    let heard = (0..50).find_map(|_| {
        a.send(Destination::All, frame);
        b.take(1, ATTEMPT).into_iter().find(|came| came.frame == frame)
    });
    let heard = heard.unwrap_or_else(|| panic!("{:?} {:?}", a.counts(), b.counts()));
    while !b.take(1, Duration::ZERO).is_empty() {}
    heard.source
}

/// Both directions, to all and to one; and nobody hears itself.
#[track_caller]
fn assert_joined(a: &mut End, b: &mut End) {
    a.set_peer(node(2), b.local);
    b.set_peer(node(1), a.local);
    until_heard(a, b, b"there");
    until_heard(b, a, b"back");
    assert!(a.send(Destination::Node(node(2)), b"answer"), "{:?}", a.counts());
    assert_eq!(b.frames(1), [b"answer"]);
    a.assert_silent();
}

fn each_way_to_all_peers_crosses_the_cable_and_does_not_come_back(x: &BackEnd, y: &BackEnd) {
    let Some(cable) = Cable::new() else { return };
    let cases = [
        (group(), "10.99.0.1:4801", "10.99.0.2:4801"),
        (Mode::Broadcast(address("10.99.0.255")), "10.99.0.1:4802", "10.99.0.2:4802"),
        (Mode::Multicast(address("ff02::4e47")), "[fd99::1]:4803", "[fd99::2]:4803"),
        (Mode::Unicast, "10.99.0.1:4804", "10.99.0.2:4804"),
        (Mode::Unicast, "[fd99::1]:4805", "[fd99::2]:4805"),
    ];
    for (mode, one, two) in cases {
        if mode == Mode::Unicast && !x.unicast {
            continue;
        }
        let mut a = cable.open(x, 1, "l0", mode, one).unwrap();
        let mut b = cable.open(y, 2, "l0", mode, two).unwrap();
        let (one, two): (SocketAddr, SocketAddr) = (one.parse().unwrap(), two.parse().unwrap());
        a.set_peer(node(2), two);
        let source = until_heard(&mut a, &mut b, b"beat");
        if !matches!(mode, Mode::Multicast(IpAddr::V6(_)))
            && let Source::Ip(source) = source
        {
            assert_eq!(source.ip(), one.ip(), "{mode:?}");
        }
        assert!(a.send(Destination::Node(node(2)), b"answer"), "{mode:?}");
        assert_eq!(b.frames(1), [b"answer"]);
        a.assert_silent();
        // Broadcast comes back and is dropped here; multicast must not come back at all.
        if !matches!(mode, Mode::Broadcast(_)) {
            assert_eq!(a.counts().received, 0, "{mode:?}");
        }
    }
}

fn links_with_one_port_on_two_interfaces_do_not_meet(x: &BackEnd, y: &BackEnd) {
    let Some(cable) = Cable::new() else { return };
    cable.join("l1");
    cable.address(1, "l1", 1);
    cable.address(2, "l1", 1);
    let mut a0 = cable.open(x, 1, "l0", group(), "10.99.0.1:4801").unwrap();
    let mut a1 = cable.open(x, 1, "l1", group(), "10.99.1.1:4801").unwrap();
    let mut b0 = cable.open(y, 2, "l0", group(), "10.99.0.2:4801").unwrap();
    let mut b1 = cable.open(y, 2, "l1", group(), "10.99.1.2:4801").unwrap();
    until_heard(&mut a0, &mut b0, b"there");
    until_heard(&mut a1, &mut b1, b"there");
    assert!(a0.send(Destination::All, b"zero"));
    assert!(a1.send(Destination::All, b"one"));
    assert_eq!(b0.frames(1), [b"zero"]);
    assert_eq!(b1.frames(1), [b"one"]);
    b0.assert_silent();
    b1.assert_silent();
}

/// UDP only: Ethernet has no ports to take.
fn the_same_interface_and_port_again_is_taken(x: &BackEnd, y: &BackEnd) {
    let Some(cable) = Cable::new() else { return };
    let _a = cable.open(x, 1, "l0", group(), "10.99.0.1:4801").unwrap();
    let again = cable.open(y, 1, "l0", group(), "10.99.0.1:4801");
    assert!(matches!(again, Err(OpenError::InUse { .. })));
}

fn an_interface_that_is_down_is_counted_and_comes_back(x: &BackEnd, y: &BackEnd) {
    let Some(cable) = Cable::new() else { return };
    let mut a = cable.open(x, 1, "l0", group(), "10.99.0.1:4801").unwrap();
    let mut b = cable.open(y, 2, "l0", group(), "10.99.0.2:4801").unwrap();
    a.set_peer(node(2), b.local);
    b.set_peer(node(1), a.local);
    for lost in 1..=2 {
        cable.must(1, "link set l0 down");
        assert!(!a.send(Destination::All, b"lost"));
        assert_eq!(a.counts().unreachable, lost, "{:?}", a.counts());
        cable.must(1, "link set l0 up");
        until_heard(&mut a, &mut b, b"back");
        // And its own ear works again.
        until_heard(&mut b, &mut a, b"heard");
    }
}

fn a_vlan_carries_frames_and_the_untagged_wire_hears_none(x: &BackEnd, y: &BackEnd) {
    let Some(cable) = Cable::new() else { return };
    for n in [1, 2] {
        if !cable.can(n, "link add link l0 name v7 type vlan id 7", "8021q") {
            return;
        }
        cable.address(n, "v7", 7);
    }
    let mut below = cable.open(y, 2, "l0", group(), "10.99.0.2:4801").unwrap();
    let mut a = cable.open(x, 1, "v7", group(), "10.99.7.1:4801").unwrap();
    let mut b = cable.open(y, 2, "v7", group(), "10.99.7.2:4801").unwrap();
    assert_joined(&mut a, &mut b);
    below.assert_silent();
}

fn a_macvlan_carries_frames(x: &BackEnd, y: &BackEnd) {
    let Some(cable) = Cable::new() else { return };
    if !cable.can(1, "link add link l0 name m0 type macvlan mode bridge", "macvlan") {
        return;
    }
    cable.address(1, "m0", 8);
    cable.must(2, "addr add 10.99.8.2/24 brd + dev l0");
    let mut a = cable.open(x, 1, "m0", group(), "10.99.8.1:4801").unwrap();
    let mut b = cable.open(y, 2, "l0", group(), "10.99.8.2:4801").unwrap();
    assert_joined(&mut a, &mut b);
}

fn a_bond_goes_on_when_its_active_slave_is_cut(x: &BackEnd, y: &BackEnd) {
    let Some(cable) = Cable::new() else { return };
    // Side 1 has a bond over two cables, side 2 a bridge over their other ends, as a switch would be.
    cable.join("s1");
    cable.join("s2");
    if !cable.can(1, "link add b0 type bond mode active-backup miimon 10", "bonding") {
        return;
    }
    cable.must(2, "link add br0 type bridge");
    for slave in ["s1", "s2"] {
        cable.must(1, &format!("link set {slave} master b0"));
        cable.must(2, &format!("link set {slave} master br0"));
        cable.must(2, &format!("link set {slave} up"));
    }
    cable.address(1, "b0", 9);
    cable.address(2, "br0", 9);
    let mut a = cable.open(x, 1, "b0", group(), "10.99.9.1:4801").unwrap();
    let mut b = cable.open(y, 2, "br0", group(), "10.99.9.2:4801").unwrap();
    assert_joined(&mut a, &mut b);
    for cut in ["s1", "s2"] {
        cable.must(2, &format!("link set {cut} down"));
        until_heard(&mut a, &mut b, b"other slave");
        until_heard(&mut b, &mut a, b"other way");
        cable.must(2, &format!("link set {cut} up"));
        // It is the back-up when the other is cut.
        pause(ATTEMPT);
    }
    assert!(a.send(Destination::Node(node(2)), b"answer"));
    assert_eq!(b.take(1, SOON).len(), 1);
}

/// As above, where each slave keeps an address of its own: the bond's changes with the slave, and who answers must follow.
fn a_bond_that_changes_its_address_is_found_again(x: &BackEnd, y: &BackEnd) {
    let Some(cable) = Cable::new() else { return };
    cable.join("s1");
    cable.join("s2");
    let bond = "link add b0 type bond mode active-backup miimon 10 fail_over_mac active";
    if !cable.can(1, bond, "bonding") {
        return;
    }
    cable.must(2, "link add br0 type bridge");
    for slave in ["s1", "s2"] {
        cable.must(1, &format!("link set {slave} master b0"));
        cable.must(2, &format!("link set {slave} master br0"));
        cable.must(2, &format!("link set {slave} up"));
    }
    cable.address(1, "b0", 9);
    cable.address(2, "br0", 9);
    let mut a = cable.open(x, 1, "b0", group(), "10.99.9.1:4801").unwrap();
    let mut b = cable.open(y, 2, "br0", group(), "10.99.9.2:4801").unwrap();
    assert_joined(&mut a, &mut b);
    let before = cable.mac(1, "b0");
    cable.must(2, "link set s1 down");
    until_heard(&mut a, &mut b, b"other slave");
    assert_ne!(cable.mac(1, "b0"), before);
    // UDP asks for the neighbour's address again; until then answers go astray.
    let answered = (0..100).any(|_| {
        b.send(Destination::Node(node(1)), b"answer");
        !a.take(1, ATTEMPT).is_empty()
    });
    assert!(answered, "{:?}", b.counts());
}

/// The cases between each pair of back ends.
macro_rules! cases {
    ($(($pair:ident, $x:expr, $y:expr))* => $list:tt) => {
        $(mod $pair { cases!(@ $x, $y, $list); })*
    };
    (@ $x:expr, $y:expr, [$($case:ident,)*]) => {
        #[allow(unused_imports, reason = "no pair has all")]
        use crate::fixture::{IO_URING, PACKET, RECVMMSG, can};
        $(#[test] fn $case() { if can(&[&$x, &$y]) { super::$case(&$x, &$y) } })*
    };
}

cases!(
    (recvmmsg, RECVMMSG, RECVMMSG)
    (io_uring, IO_URING, IO_URING)
    (recvmmsg_to_io_uring, RECVMMSG, IO_URING)
    (io_uring_to_recvmmsg, IO_URING, RECVMMSG) => [
        each_way_to_all_peers_crosses_the_cable_and_does_not_come_back,
        links_with_one_port_on_two_interfaces_do_not_meet,
        the_same_interface_and_port_again_is_taken,
        an_interface_that_is_down_is_counted_and_comes_back,
        a_vlan_carries_frames_and_the_untagged_wire_hears_none,
        a_macvlan_carries_frames,
        a_bond_goes_on_when_its_active_slave_is_cut,
        a_bond_that_changes_its_address_is_found_again,
    ]
);

cases!(
    (packet, PACKET, PACKET) => [
        each_way_to_all_peers_crosses_the_cable_and_does_not_come_back,
        links_with_one_port_on_two_interfaces_do_not_meet,
        an_interface_that_is_down_is_counted_and_comes_back,
        a_vlan_carries_frames_and_the_untagged_wire_hears_none,
        a_macvlan_carries_frames,
        a_bond_goes_on_when_its_active_slave_is_cut,
        a_bond_that_changes_its_address_is_found_again,
    ]
);
