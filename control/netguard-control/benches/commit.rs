//! What a commit costs without the kernel: a primary and two followers in one thread, each with the exchange and the node
//! of the daemon, over links in memory. `cargo bench -p netguard-control --bench commit [COUNT]`.
//!
//! One commit is: the primary takes a 64-byte request and sends a Prepare, both followers take it and acknowledge, the
//! primary takes the first acknowledgement and answers, then the second. A row per stage and its nanoseconds per commit;
//! what is marked `*` lies between a request and its answer (the followers' work once, since they do it side by side).
//! All of it runs in warm caches: a daemon that slept since the last message takes longer for each.

use base::{Duration, Instant};
use heartbeat::board::Frozen;
use heartbeat::{Event, EventKind};
use link::{Arrival, BATCH, Counts, Destination, Hear, Link, Source};
use membership::Names;
use netguard_control::exchange::{Exchange, Said};
use node::{Action, Command, Node};
use shm::Map;
use std::collections::VecDeque;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex};
use std::time::Instant as Clock;
use wire::frame::Seal;
use wire::{Charter, ClusterId, Configuration, Incarnation, Life, LinkId, NodeId, NodeSet, Nonce};

const NODES: u8 = 3;
const LINKS: u8 = 2;
const INTERVAL: Duration = Duration::from_millis(10);
/// Virtual time from commit to commit.
const STEP: Duration = Duration::from_micros(50);
/// Commits before the first one that counts.
const WARM: u32 = 2_000;
/// Bytes of a request.
const BYTES: u32 = 64;

/// Datagrams on their way, by receiver and link.
type Wires = Arc<Mutex<Vec<VecDeque<Vec<u8>>>>>;

/// A link in memory.
struct Memory {
    me: u8,
    id: LinkId,
    wires: Wires,
    nobody: File,
}

const fn place(node: u8, link: LinkId) -> usize {
    (node as usize - 1) * LINKS as usize + link.0 as usize
}

impl Link for Memory {
    fn id(&self) -> LinkId {
        self.id
    }
    fn send(&mut self, to: Destination, frame: &[u8]) -> bool {
        let mut wires = self.wires.lock().unwrap();
        for node in (1..=NODES).filter(|node| *node != self.me) {
            if to == Destination::All || to == Destination::Node(id(node)) {
                wires[place(node, self.id)].push_back(frame.to_vec());
            }
        }
        true
    }
    fn receive(&mut self, each: &mut Hear<'_>) -> usize {
        let source = Source::Ip((Ipv4Addr::LOCALHOST, 1).into());
        for taken in 0..BATCH {
            let frame = self.wires.lock().unwrap()[place(self.me, self.id)].pop_front();
            let Some(frame) = frame else { return taken };
            each(Arrival { frame: &frame, source, waited: None });
        }
        BATCH
    }
    fn set_peer(&mut self, _: NodeId, _: Option<SocketAddr>) {}
    fn fd(&self) -> BorrowedFd<'_> {
        self.nobody.as_fd()
    }
    fn counts(&self) -> Counts {
        Counts::default()
    }
}

fn id(n: u8) -> NodeId {
    NodeId::new(n).unwrap()
}

fn life(n: u8) -> Life {
    Life { node: id(n), incarnation: Incarnation(1) }
}

/// One daemon without its kernel.
struct Part {
    node: Node,
    exchange: Exchange,
    map: Map,
    replies: u32,
}

impl Part {
    fn new(n: u8, wires: &Wires, now: Instant) -> Self {
        let voters: NodeSet = (1..=NODES).map(id).collect();
        let agreement = agreement::Settings {
            me: life(n),
            charter: Charter::of_file(Configuration::plain(voters, NodeSet::EMPTY)),
            interval: INTERVAL,
            misses: 3,
            longest: INTERVAL * 3,
            rate_ppm: 1_000,
            era_promised: 0,
            level: 1,
            limits: agreement::Limits::default(),
        };
        let names = Names::new((1..=NODES).map(|n| (id(n), format!("n{n}"))));
        let services = Vec::new();
        let node = Node::new(node::Settings { agreement, services, names }, now);
        let link = |link| -> Box<dyn Link> {
            let (wires, nobody) = (Arc::clone(wires), File::open("/dev/null").unwrap());
            Box::new(Memory { me: n, id: LinkId(link), wires, nobody })
        };
        let (cluster, key) = (ClusterId(7), [9; 32]);
        let seal = Seal { cluster, key, key_id: 1, config_hash: 5, level: 1 };
        let links = (0..LINKS).map(link).collect();
        let mut exchange = Exchange::over(links, id(n), voters, seal, Nonce(u64::from(n)));
        exchange.begin(life(n));
        Self { node, exchange, map: Map::nameless().unwrap(), replies: 0 }
    }

    /// What waits on the links: opened, decoded, handled.
    fn receive(&mut self, now: Instant) {
        let Self { node, exchange, map, .. } = self;
        exchange.receive(now, map.counters(), |_| true, true, &mut |from, said| match said {
            Said::Message(message) => node.handle_message(now, from, message),
            Said::Level(level) => node.handle_level(from, level),
            Said::Obituary(_) => {}
        });
    }

    /// What others wait for: encoded, sealed, sent.
    fn perform(&mut self, now: Instant) {
        while let Some(action) = self.node.poll_urgent() {
            match action {
                Action::Send { to, message } => self.send(now, to, message),
                Action::Freeze { node, stint } => {
                    let frozen = Frozen { heard: Instant::ZERO, end: Instant::ZERO };
                    self.node.handle_frozen(now, node, stint, frozen);
                }
                Action::StoreEra { era } => self.node.handle_era_stored(now, era),
                Action::StoreConfiguration { charter } => {
                    self.node.handle_configuration_stored(now, charter.edition());
                }
                Action::Configured(_) => {
                    let names = Names::new((1..=NODES).map(|n| (id(n), format!("n{n}"))));
                    self.node.handle_document(now, Vec::new(), names);
                }
                Action::Reply { result, .. } => {
                    result.expect("agreed");
                    self.replies += 1;
                }
                _ => {}
            }
        }
    }

    fn send(&mut self, now: Instant, to: node::Destination, message: wire::Message) {
        let to = match to {
            node::Destination::All => Destination::All,
            node::Destination::Node(node) => Destination::Node(node),
        };
        self.exchange.send(now, to, message);
    }

    /// What nobody waits for, as at the end of a turn.
    fn rest(&mut self, now: Instant) {
        while self.node.follow_up() {
            self.perform(now);
        }
        if let Some((to, message)) = self.node.poll_late() {
            self.send(now, to, message);
        }
        self.exchange.send_copies(now);
    }

    /// A whole turn.
    fn turn(&mut self, now: Instant) {
        self.receive(now);
        if self.node.poll_deadline().is_some_and(|at| at <= now) {
            self.node.handle_timeout(now);
        }
        self.perform(now);
        self.rest(now);
    }
}

/// What a commit consists of, in its order.
const STAGES: [&str; 8] = [
    "* primary: request to Prepare",
    "  primary: the rest of that turn",
    "* follower: Prepare handled",
    "* follower: acknowledgement out",
    "  follower: the rest of that turn",
    "* primary: first acknowledgement to answer",
    "  primary: the rest of that turn",
    "  primary: second acknowledgement",
];

/// Nanoseconds by stage.
struct Costs([u64; STAGES.len()]);

impl Costs {
    fn take(&mut self, stage: usize, work: impl FnOnce()) {
        let begin = Clock::now();
        work();
        self.0[stage] += begin.elapsed().as_nanos() as u64;
    }
}

fn commit(
    parts: &mut [Part],
    wires: &Wires,
    primary: usize,
    (now, tag): (Instant, u64),
    costs: &mut Costs,
) {
    let first = &mut parts[primary];
    costs.take(0, || {
        first.node.handle_command(now, tag, Command::Probe { bytes: BYTES });
        first.perform(now);
    });
    costs.take(1, || first.rest(now));
    for (number, follower) in
        parts.iter_mut().enumerate().filter(|(at, _)| *at != primary).map(|(_, it)| it).enumerate()
    {
        // They work side by side: the second one is another machine's time.
        let mut other = Costs([0; STAGES.len()]);
        let costs = if number == 0 { &mut *costs } else { &mut other };
        costs.take(2, || follower.receive(now));
        costs.take(3, || follower.perform(now));
        costs.take(4, || follower.rest(now));
    }
    // Both acknowledgements have come; they are taken in two turns, as when one comes first.
    let first = &mut parts[primary];
    let at = |link: u8| place(primary as u8 + 1, LinkId(link));
    let late = (0..LINKS).find_map(|link| {
        let late = wires.lock().unwrap()[at(link)].pop_back();
        late.map(|frame| (at(link), frame))
    });
    let replies = first.replies;
    costs.take(5, || {
        first.receive(now);
        first.perform(now);
    });
    assert_eq!(first.replies, replies + 1, "one acknowledgement of two makes a majority of three");
    costs.take(6, || first.rest(now));
    if let Some((at, frame)) = late {
        wires.lock().unwrap()[at].push_back(frame);
    }
    costs.take(7, || first.turn(now));
}

fn main() {
    let count = std::env::args().filter_map(|it| it.parse().ok()).next().unwrap_or(100_000u32);
    let wires: Wires =
        Arc::new(Mutex::new(vec![VecDeque::new(); usize::from(NODES) * usize::from(LINKS)]));
    let mut now = Instant(1_000_000_000);
    let mut parts: Vec<Part> = (1..=NODES).map(|n| Part::new(n, &wires, now)).collect();
    for (part, me) in parts.iter_mut().zip(1..) {
        for peer in (1..=NODES).filter(|peer| *peer != me) {
            let kind = EventKind::Appeared { life: life(peer) };
            part.node.handle_event(now, Event { at: now, kind });
        }
    }
    let all_in = |parts: &[Part]| {
        let members = |part: &Part| part.node.membership().view().nodes().len();
        parts.iter().all(|part| members(part) == usize::from(NODES))
    };
    let is_primary = |part: &Part| part.node.agreement().status() == agreement::Status::Primary;
    while !all_in(&parts) || now < Instant(1_500_000_000) {
        now += Duration::from_micros(100);
        assert!(now < Instant(10_000_000_000), "no cluster came to be");
        parts.iter_mut().for_each(|part| part.turn(now));
    }
    let primary = parts.iter().position(is_primary).expect("somebody leads");
    let mut costs = Costs([0; STAGES.len()]);
    for number in 0..WARM + count {
        if number == WARM {
            costs = Costs([0; STAGES.len()]);
        }
        now += STEP;
        // Beacons and the like belong to nobody's commit.
        let due = |part: &Part| part.node.poll_deadline().is_some_and(|at| at <= now);
        if parts.iter().any(due) {
            for _ in 0..4 {
                parts.iter_mut().for_each(|part| part.turn(now));
            }
        }
        commit(&mut parts, &wires, primary, (now, u64::from(number) + 1), &mut costs);
    }
    let each = |ns: u64| ns / u64::from(count.max(1));
    for (stage, ns) in STAGES.iter().zip(costs.0) {
        println!("{stage:<45} {:>6} ns", each(ns));
    }
    let marked = STAGES.iter().zip(costs.0).filter(|(stage, _)| stage.starts_with('*'));
    println!(
        "{:<45} {:>6} ns",
        "between a request and its answer",
        each(marked.map(|it| it.1).sum())
    );
}
