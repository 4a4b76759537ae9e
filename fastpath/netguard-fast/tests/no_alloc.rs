//! No allocation after the start: two engines run the real loop over loopback for a second, under
//! an allocator that counts.

use base::Duration;
use heartbeat::EventKind;
use link::{Link, Mode, Ring, Settings, UdpLink, Unusable, UringLink};
use netguard_fast::control::{Control, Places};
use netguard_fast::engine::{Engine, FRAME_MAX};
use netguard_fast::kernel::{EventFd, Signals, Waiter};
use netguard_fast::watch::{self, Phase};
use shm::{
    Change, ChangeWriter, Core, Counter, Frames, Key, LinkSetup, Map, NetworkIo, Setup, Side,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use wire::{ClusterId, Incarnation, Life, LinkId, NodeId, NodeSet, Nonce, Stint};

thread_local! {
    static ARMED: Cell<bool> = const { Cell::new(false) };
}
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// Counts what an armed thread allocates.
struct Counting;

impl Counting {
    fn count() {
        if ARMED.try_with(Cell::get).unwrap_or(false) {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
    }
}

// SAFETY: everything is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::count();
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(block, layout, size) }
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const INTERVAL: Duration = Duration::from_millis(10);

fn node(n: u8) -> NodeId {
    NodeId::new(n).unwrap()
}

fn life(n: u8) -> Life {
    Life { node: node(n), incarnation: Incarnation(1) }
}

fn nodes() -> NodeSet {
    [node(1), node(2)].into_iter().collect()
}

fn setup(n: u8, own: SocketAddr) -> Setup {
    let link = LinkSetup {
        mode: shm::Mode::Unicast,
        frames: Frames::Udp,
        own: own.ip(),
        interface: 0,
        target: None,
        port: own.port(),
        peers: Vec::new(),
    };
    Setup {
        me: life(n),
        nonce: Nonce(n.into()),
        cluster: ClusterId(1),
        key: Key([7; 32]),
        key_id: 1,
        feature: 1,
        config_hash: 5,
        interval: INTERVAL,
        misses: 10,
        rate_ppm: 1_000,
        margin: Duration::from_micros(50),
        nodes: nodes(),
        priority: 0,
        core: Core::None,
        network_io: NetworkIo::Auto,
        links: vec![link],
    }
}

/// Each node has an address of its own; the port is the same on all.
fn open(
    own: SocketAddr,
    (peer, address): (NodeId, SocketAddr),
    ring: Option<&Ring>,
) -> Box<dyn Link> {
    let settings = Settings {
        id: LinkId(0),
        mode: Mode::Unicast,
        own,
        interface: 0,
        peers: vec![(peer, address)],
        frame_max: FRAME_MAX,
        stamped: true,
    };
    match ring {
        Some(ring) => Box::new(UringLink::open(&settings, ring).unwrap()),
        None => Box::new(UdpLink::open(&settings).unwrap()),
    }
}

/// A port that is free on both addresses.
fn free_port() -> u16 {
    let one = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = one.local_addr().unwrap().port();
    std::net::UdpSocket::bind(("127.0.0.2", port)).map_or_else(|_| free_port(), |_| port)
}

/// A map as control sees it, with both nodes members and this one an owner.
fn board(map: &Map) -> Map {
    let control = Map::attach(map.as_fd().try_clone_to_owned().unwrap()).unwrap();
    let board = control.board();
    for n in [1, 2] {
        board.set_roster(node(n), Incarnation(1));
        board.set_peer_stint(node(n), Stint(n.into()));
    }
    board.set_voters(nodes());
    board.set_owner(true);
    control
}

/// A change for node 1, with or without a third node; the interval stays about what it is.
fn change(interval_ms: u64, third: bool) -> Change {
    let mut nodes = nodes();
    let mut peers = vec![(node(2), "127.0.0.2".parse().unwrap())];
    if third {
        nodes.insert(node(3));
        peers.push((node(3), "127.0.0.3".parse().unwrap()));
    }
    Change {
        interval: Duration::from_millis(interval_ms),
        misses: 10,
        rate_ppm: 1_000,
        margin: Duration::from_micros(50),
        nodes,
        peers: vec![peers],
    }
}

/// Runs one engine in a thread until its control makes no progress any more; a child stands in for
/// control, and `other` is control's end of the set-up socket `own`.
fn run(
    n: u8,
    map: Map,
    [me, peer]: [SocketAddr; 2],
    io: NetworkIo,
    (own, other): (UnixStream, UnixStream),
) -> thread::JoinHandle<Phase> {
    thread::spawn(move || {
        let program = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/child.sh"));
        let place = || "x".into();
        let places =
            Places { config: place(), node: "sleep".into(), run_dir: place(), state_dir: place() };
        let events = EventFd::new().unwrap();
        let control = Control::start(program, &places, map.as_fd(), &events, &other, None).unwrap();
        let signals = Signals::collect().unwrap();
        let setup = setup(n, me);
        let ring = (io == NetworkIo::IoUring).then(|| Ring::open(FRAME_MAX).unwrap());
        let links = vec![open(me, (node(3 - n), peer), ring.as_ref())];
        let mut engine = Engine::new(&setup, map, events, links, gate::Words::create().ok());
        ARMED.set(true);
        let phase = watch::run(&mut engine, Waiter::new(ring), &control, own.as_fd(), &signals);
        ARMED.set(false);
        phase
    })
}

#[test]
fn the_loop_allocates_nothing_while_two_nodes_beat_answer_and_end() {
    beat_answer_and_end(NetworkIo::Recvmmsg);
    match Ring::open(FRAME_MAX) {
        Ok(_) => beat_answer_and_end(NetworkIo::IoUring),
        Err(Unusable::Failed { step, source }) => panic!("a ring that is there: {step}: {source}"),
        Err(why) => println!("SKIPPED: {why}"),
    }
}

fn beat_answer_and_end(io: NetworkIo) {
    let port = free_port();
    let [a, b] = [1, 2].map(|n| SocketAddr::from(([127, 0, 0, n], port)));
    let (map_a, map_b) = (Map::nameless().unwrap(), Map::nameless().unwrap());
    let (control_a, control_b) = (board(&map_a), board(&map_b));
    control_a.board().set_stint(Stint(1));
    control_b.board().set_stint(Stint(2));
    let pair = || UnixStream::pair().unwrap();
    let ((own_a, other_a), ends_b) = (pair(), pair());
    let setup_a = setup(1, a);
    let mut tells = other_a.try_clone().unwrap();
    let run_a = run(1, map_a, [a, b], io, (own_a, other_a));
    let run_b = run(2, map_b, [b, a], io, ends_b);
    for n in 0..500_u64 {
        // Other settings and peers, again and again.
        if n % 50 == 49 {
            let mut writer = ChangeWriter::new(&setup_a);
            writer.push(&change(5 + n % 3, n % 100 == 49)).unwrap();
            writer.flush(&tells).unwrap();
        }
        if n == 300 {
            // And something that cannot be.
            let mut writer = ChangeWriter::new(&setup_a);
            writer.push(&change(5, false)).unwrap();
            let mut bytes = Vec::new();
            writer.flush(&mut bytes).unwrap();
            bytes[16..24].fill(0);
            tells.write_all(&bytes).unwrap();
        }
        control_a.board().make_progress();
        control_b.board().make_progress();
        thread::sleep(std::time::Duration::from_millis(2));
    }
    // From here a makes no progress, b still does.
    while !run_a.is_finished() {
        control_b.board().make_progress();
        thread::sleep(std::time::Duration::from_millis(2));
    }
    assert_eq!(run_a.join().unwrap(), Phase::Running);
    assert_eq!(run_b.join().unwrap(), Phase::Running);

    assert_eq!(ALLOCATIONS.load(Ordering::Relaxed), 0, "the loop allocated");
    // And it did run: beats, answers, a lease, an obituary that the other heard.
    let counted = |map: &Map, counter| map.counters().get(Side::Fast, counter);
    assert!(counted(&control_a, Counter::Beats) > 50);
    assert!(counted(&control_b, Counter::Answers) > 50);
    assert_eq!(counted(&control_a, Counter::Obituaries), 3);
    assert_eq!(counted(&control_a, Counter::Changes), 10);
    assert_eq!(counted(&control_a, Counter::BadChanges), 1);
    let told: Vec<_> =
        std::iter::from_fn(|| control_b.events().pop()).map(|event| event.kind).collect();
    assert!(told.contains(&EventKind::Appeared { life: life(1) }), "{told:?}");
    assert!(told.contains(&EventKind::LeaseGained), "{told:?}");
    assert!(told.contains(&EventKind::Obituary { life: life(1), stint: Stint(1) }), "{told:?}");
    assert_eq!(control_a.board().lease_end(), base::Instant::ZERO);
    let refused: u64 = wire::Reject::ALL
        .iter()
        .map(|&reason| control_b.counters().rejected(Side::Fast, reason))
        .sum();
    assert_eq!(refused, 0);
}
