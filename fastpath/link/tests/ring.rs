//! What only the ring has: one call for all links, buffers that run out, requests that outlive their caller. Loopback, no
//! root; says SKIPPED where there is no io_uring.

use base::{Duration, Instant};
use ng_link::{Destination, Link, Mode, OpenError, Ring, Settings, Unusable, UringLink};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use wire::{LinkId, NodeId};

const PORT: &str = "NG_LINK_TEST_PORT";

fn ring() -> Option<Ring> {
    let ring = Ring::open(100);
    match &ring {
        Ok(_) => {}
        Err(Unusable::Failed { step, source }) => panic!("a ring that is there: {step}: {source}"),
        Err(why) => println!("SKIPPED: {why}"),
    }
    ring.ok()
}

fn settings(own: &str) -> Settings {
    Settings {
        id: LinkId(3),
        mode: Mode::Unicast,
        own: own.parse().unwrap(),
        interface: 0,
        peers: Vec::new(),
        frame_max: 100,
        stamped: true,
    }
}

fn open(ring: &Ring, own: &str) -> UringLink {
    UringLink::open(&settings(own), ring).unwrap()
}

fn node(n: u8) -> NodeId {
    NodeId::new(n).unwrap()
}

fn now() -> Instant {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a timespec, alive during the call.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    Instant(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

fn wait(ring: &Ring, ms: u64) {
    let now = now();
    ring.wait(now, now + Duration::from_millis(ms)).unwrap();
}

/// Waits without anything to wait for. The end of another ring of this thread interrupts a call, but not often.
fn sleep(ring: &Ring, ms: u64) {
    let until = now() + Duration::from_millis(ms);
    let mut waits = 0;
    while now() < until {
        ring.wait(now(), until).unwrap();
        waits += 1;
    }
    assert!(waits < 4 && !ring.has_arrivals(), "{waits} waits");
}

fn take(link: &mut UringLink) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while link.receive(&mut |arrival| {
        all.push(arrival.frame.to_vec());
        None
    }) > 0
    {}
    all
}

/// A socket outside the ring.
fn outside() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
    let at = socket.local_addr().unwrap();
    (socket, at)
}

fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> usize {
    loop {
        match socket.recv(buffer) {
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            got => return got.unwrap(),
        }
    }
}

#[test]
fn what_goes_out_with_a_wait_does_not_end_it_but_what_fails_does() {
    let Some(ring) = ring() else { return };
    let mut link = open(&ring, "127.0.0.1:0");
    let (peer, at) = outside();
    link.set_peer(node(2), Some(at));
    assert!(link.send(Destination::All, b"beat"));
    sleep(&ring, 20);
    assert_eq!(receive(&peer, &mut [0; 9]), 4, "it went out");
    assert_eq!(link.counts().sent, 1);
    link.set_peer(node(2), Some(SocketAddr::new(at.ip(), 0)));
    assert!(link.send(Destination::All, b"beat"), "nothing is known yet");
    let began = now();
    wait(&ring, 60_000);
    assert!(now() < began + Duration::from_millis(60_000), "the failure is news");
    assert_eq!((link.counts().sent, link.counts().send_failed), (1, 1));
}

#[test]
fn more_than_the_slab_holds_goes_out_in_one_turn_all_the_same() {
    let Some(ring) = ring() else { return };
    let mut link = open(&ring, "127.0.0.1:0");
    // Several, because none has room for all.
    let peers: Vec<_> = (0..8).map(|_| outside()).collect();
    let place = |n| usize::from(n) % peers.len();
    for n in 2..=128 {
        link.set_peer(node(n), Some(peers[place(n)].1));
    }
    let mut buffer = [0; 9];
    for round in 0..20_u8 {
        // More messages than it has room for, then more frames.
        for n in 0..3 {
            assert!(link.send(Destination::All, &[round, n]));
        }
        for n in 0..100 {
            assert!(link.send(Destination::Node(node(5)), &[round, 3 + n]));
        }
        ring.gather();
        for (at, (peer, _)) in peers.iter().enumerate() {
            let copies = (2..=128).filter(|n| place(*n) == at).count();
            let alone = if place(5) == at { 100 } else { 0 };
            for frame in (0..3).flat_map(|n| vec![n; copies]).chain((0..alone).map(|n| 3 + n)) {
                assert_eq!(receive(peer, &mut buffer), 2);
                assert_eq!(buffer[..2], [round, frame], "in the order in which they were sent");
            }
        }
    }
    assert_eq!(link.counts().sent, 20 * (3 * 127 + 100));
    assert_eq!(link.counts().unsent(), 0);
    assert!(!link.send(Destination::All, &[0; 101]), "longer than any frame");
    assert_eq!(link.counts().send_failed, 127);
}

#[test]
fn a_flood_on_one_link_does_not_hold_up_another() {
    let Some(ring) = ring() else { return };
    let (mut flooded, mut other) = (open(&ring, "127.0.0.1:0"), open(&ring, "127.0.0.1:0"));
    let (peer, _) = outside();
    let mut turns = 0;
    for round in 0..50_u8 {
        for _ in 0..1_000 {
            peer.send_to(b"flood", flooded.local().unwrap()).unwrap();
        }
        peer.send_to(&[round], other.local().unwrap()).unwrap();
        // The flood is never over, and yet each turn brings what came for the other.
        wait(&ring, 1_000);
        turns += 1;
        assert_eq!(take(&mut other), [[round]], "turn {turns}");
        take(&mut flooded);
    }
    assert_eq!(other.counts().receive_failed + flooded.counts().receive_failed, 0);
}

#[test]
fn what_is_not_taken_is_not_slept_over_and_comes_before_what_is_newer() {
    let Some(ring) = ring() else { return };
    let mut link = open(&ring, "127.0.0.1:0");
    let (peer, _) = outside();
    for n in 0..100_u8 {
        peer.send_to(&[n], link.local().unwrap()).unwrap();
        // The first of these sleeps, none after it.
        wait(&ring, 60_000);
        assert!(ring.has_arrivals());
    }
    assert_eq!(take(&mut link), (0..100).map(|n| vec![n]).collect::<Vec<_>>());
    sleep(&ring, 5);
}

#[test]
fn links_come_and_go_and_each_hears_only_its_own() {
    let Some(ring) = ring() else { return };
    let (peer, _) = outside();
    for round in 0..50_u8 {
        let mut links: Vec<_> = (0..8).map(|_| open(&ring, "127.0.0.1:0")).collect();
        for (n, link) in (0..).zip(&links) {
            peer.send_to(&[round, n], link.local().unwrap()).unwrap();
        }
        // Half of them go with what came for them.
        let gone = links.split_off(4);
        if round % 2 == 0 {
            ring.gather();
        }
        drop(gone);
        let mut again: Vec<_> = (0..4).map(|_| open(&ring, "127.0.0.1:0")).collect();
        ring.gather();
        for (n, link) in (0..).zip(&mut links) {
            assert_eq!(take(link), [[round, n]]);
        }
        assert!(again.iter_mut().all(|link| take(link).is_empty()));
    }
}

#[test]
fn a_ring_has_room_for_so_many_links_and_says_so() {
    let Some(ring) = ring() else { return };
    let links: Vec<_> = (0..8).map(|_| open(&ring, "127.0.0.1:0")).collect();
    let error = UringLink::open(&settings("127.0.0.1:0"), &ring).unwrap_err().to_string();
    assert!(error.contains("link 3"), "{error}");
    drop(links);
    open(&ring, "127.0.0.1:0");
}

#[test]
fn a_descriptor_that_is_closed_or_cannot_be_polled_is_told_once_and_keeps_nobody_awake() {
    let Some(ring) = ring() else { return };
    let (reader, mut writer) = UnixStream::pair().unwrap();
    assert!(ring.watch(0, reader.as_fd()));
    assert!(!ring.watch(99, reader.as_fd()));
    writer.write_all(b"x").unwrap();
    wait(&ring, 60_000);
    assert!(ring.ready(0));
    // No request holds the socket now.
    drop(reader);
    wait(&ring, 60_000);
    assert!(ring.ready(0), "it has failed");
    sleep(&ring, 5);
    assert!(!ring.ready(0));
}

/// Not a test: what the next one starts, to hold a port until it is killed.
#[test]
fn child_that_holds_a_port() {
    let Ok(port) = std::env::var(PORT) else { return };
    let ring = Ring::open(100).unwrap();
    let _link = open(&ring, &format!("127.0.0.1:{port}"));
    println!("\nbound");
    std::io::stdout().flush().unwrap();
    wait(&ring, 60_000);
}

#[test]
fn the_port_is_free_soon_after_the_process_has_been_killed() {
    let Some(ring) = ring() else { return };
    let port = outside().1.port();
    for _ in 0..10 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_holds_a_port", "--nocapture"])
            .env(PORT, port.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "bound"));
        child.kill().unwrap();
        child.wait().unwrap();
        // Not at once: the kernel's worker has to come round first.
        let began = now();
        loop {
            match UringLink::open(&settings(&format!("127.0.0.1:{port}")), &ring) {
                Ok(_) => break,
                Err(OpenError::InUse { .. }) => {
                    assert!(now() < began + Duration::from_millis(10_000), "still taken");
                }
                Err(e) => panic!("{e}"),
            }
        }
        println!("{:?}", now().since(began));
    }
}
