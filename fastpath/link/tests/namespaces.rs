//! Two namespaces and a cable: what loopback cannot show. Needs root; says SKIPPED without.

use ng_link::{Destination, Link, Mode, OpenError, Settings, Source, UdpLink};
use std::ffi::CStr;
use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::process::Command;
use wire::{LinkId, NodeId};

/// Two namespaces, joined by a pair of interfaces `l0` with 10.99.0.N/24 and fd99::N/64.
struct Cable([String; 2]);

impl Cable {
    fn new(test: &str) -> Option<Self> {
        // SAFETY: takes nothing, cannot fail.
        if unsafe { libc::geteuid() } != 0 || !ip("netns list") {
            println!("SKIPPED: needs root and iproute2");
            assert!(std::env::var_os("CI").is_none(), "must not be skipped in CI");
            return None;
        }
        let name = |n| format!("ngl{}{test}{n}", std::process::id());
        let cable = Self([name(1), name(2)]);
        let [one, two] = &cable.0;
        for name in &cable.0 {
            assert!(ip(&format!("netns add {name}")));
            assert!(ip(&format!("-n {name} link set lo up")));
        }
        assert!(ip(&format!("-n {one} link add l0 type veth peer name l0 netns {two}")));
        for (n, name) in [(1, one), (2, two)] {
            assert!(ip(&format!("-n {name} addr add 10.99.0.{n}/24 brd + dev l0")));
            assert!(ip(&format!("-n {name} addr add fd99::{n}/64 dev l0 nodad")));
            assert!(ip(&format!("-n {name} link set l0 up")));
        }
        Some(cable)
    }

    /// Opens a link inside one of the two; sockets stay in the namespace in which they were made.
    fn open(&self, n: u8, mode: Mode, own: &str) -> Result<UdpLink, OpenError> {
        self.open_on(c"l0", n, mode, own)
    }

    fn open_on(&self, on: &CStr, n: u8, mode: Mode, own: &str) -> Result<UdpLink, OpenError> {
        let on = on.to_owned();
        let file = File::open(format!("/run/netns/{}", self.0[usize::from(n) - 1])).unwrap();
        let own: SocketAddr = own.parse().unwrap();
        std::thread::spawn(move || {
            // SAFETY: takes a descriptor that is open; moves only this thread.
            assert_eq!(unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) }, 0);
            // SAFETY: a C string, alive during the call.
            let interface = unsafe { libc::if_nametoindex(on.as_ptr()) };
            assert_ne!(interface, 0);
            let (id, frame_max) = (LinkId(0), 1500);
            let peers = Vec::new();
            UdpLink::open(&Settings { id, mode, own, interface, peers, frame_max, stamped: true })
        })
        .join()
        .unwrap()
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for name in &self.0 {
            ip(&format!("netns del {name}"));
        }
    }
}

fn ip(arguments: &str) -> bool {
    Command::new("ip").args(arguments.split(' ')).output().is_ok_and(|out| out.status.success())
}

/// The next frame, or nothing after `wait_ms`.
fn next(link: &mut UdpLink, wait_ms: i32) -> Option<(IpAddr, Vec<u8>)> {
    let mut waiting = libc::pollfd { fd: link.fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut frame = None;
    // SAFETY: one pollfd, alive during the call.
    if unsafe { libc::poll(&raw mut waiting, 1, wait_ms) } == 1 {
        link.receive(&mut |arrival| {
            let Source::Ip(source) = arrival.source else { panic!("{arrival:?}") };
            frame = Some((source.ip(), arrival.frame.to_vec()));
            None
        });
    }
    frame
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn each_way_to_all_peers_crosses_the_cable_and_does_not_come_back() {
    let Some(cable) = Cable::new("all") else { return };
    let group4 = Mode::Multicast(address("239.99.1.1"));
    let group6 = Mode::Multicast(address("ff02::4e47"));
    let broadcast = Mode::Broadcast(address("10.99.0.255"));
    let cases = [
        (group4, "10.99.0.1:4801", "10.99.0.2:4801"),
        (broadcast, "10.99.0.1:4802", "10.99.0.2:4802"),
        (group6, "[fd99::1]:4803", "[fd99::2]:4803"),
        (Mode::Unicast, "10.99.0.1:4804", "10.99.0.2:4804"),
        (Mode::Unicast, "[fd99::1]:4805", "[fd99::2]:4805"),
    ];
    for (mode, one, two) in cases {
        let mut a = cable.open(1, mode, one).unwrap();
        let mut b = cable.open(2, mode, two).unwrap();
        let peer = NodeId::new(2).unwrap();
        a.set_peer(peer, Some(two.parse().unwrap()));
        // As beats are: repeated. IPv6 has no route for some 100 ms after the interface came up.
        let (source, frame) = (0..50)
            .find_map(|_| {
                a.send(Destination::All, b"beat");
                next(&mut b, 100)
            })
            .unwrap_or_else(|| panic!("{mode:?} {:?}", a.counts()));
        while next(&mut b, 0).is_some() {}
        assert_eq!(frame, b"beat");
        if !matches!(mode, Mode::Multicast(IpAddr::V6(_))) {
            assert_eq!(source, one.parse::<SocketAddr>().unwrap().ip(), "{mode:?}");
        }
        assert!(a.send(Destination::Node(peer), b"answer"), "{mode:?}");
        assert_eq!(next(&mut b, 1_000).map(|(_, frame)| frame), Some(b"answer".to_vec()));
        assert_eq!(next(&mut a, 0), None, "{mode:?} heard itself");
        // Broadcast comes back and is dropped here; multicast must not come back at all.
        if !matches!(mode, Mode::Broadcast(_)) {
            assert_eq!(a.counts().received, 0, "{mode:?}");
        }
    }
}

#[test]
fn links_with_one_port_on_two_interfaces_do_not_meet() {
    let Some(cable) = Cable::new("two") else { return };
    let [one, two] = &cable.0;
    assert!(ip(&format!("-n {one} link add l1 type veth peer name l1 netns {two}")));
    for (n, name) in [(1, one), (2, two)] {
        assert!(ip(&format!("-n {name} addr add 10.99.1.{n}/24 dev l1")));
        assert!(ip(&format!("-n {name} link set l1 up")));
    }
    let mode = Mode::Multicast(address("239.99.1.1"));
    let open = |on, n, own| cable.open_on(on, n, mode, own);
    let mut a0 = open(c"l0", 1, "10.99.0.1:4801").unwrap();
    let mut a1 = open(c"l1", 1, "10.99.1.1:4801").unwrap();
    let mut b0 = open(c"l0", 2, "10.99.0.2:4801").unwrap();
    let mut b1 = open(c"l1", 2, "10.99.1.2:4801").unwrap();
    // The same interface and port again: taken.
    assert!(matches!(open(c"l0", 1, "10.99.0.1:4801"), Err(OpenError::InUse { .. })));
    assert!(a0.send(Destination::All, b"zero"));
    assert!(a1.send(Destination::All, b"one"));
    let got = |link: &mut UdpLink| next(link, 1_000).map(|(_, frame)| frame);
    assert_eq!(got(&mut b0), Some(b"zero".to_vec()));
    assert_eq!(got(&mut b1), Some(b"one".to_vec()));
    assert_eq!((next(&mut b0, 0), next(&mut b1, 0)), (None, None));
}

#[test]
fn an_interface_that_is_down_is_counted_and_comes_back() {
    let Some(cable) = Cable::new("dn") else { return };
    let mode = Mode::Multicast(address("239.99.1.1"));
    let mut a = cable.open(1, mode, "10.99.0.1:4801").unwrap();
    let mut b = cable.open(2, mode, "10.99.0.2:4801").unwrap();
    assert!(ip(&format!("-n {} link set l0 down", cable.0[0])));
    assert!(!a.send(Destination::All, b"lost"));
    assert_eq!(a.counts().unreachable, 1, "{:?}", a.counts());
    assert!(ip(&format!("-n {} link set l0 up", cable.0[0])));
    assert!(a.send(Destination::All, b"back"), "{:?}", a.counts());
    assert_eq!(next(&mut b, 1_000).map(|(_, frame)| frame), Some(b"back".to_vec()));
}
