//! What others feel while one node is brought up to date by 64 MiB: three agreements, what is large between them through
//! real sockets, what fits a datagram from hand to hand.
//!
//! Node 1 is primary and *holds* what is pulled, node 2 is its other voter, a *bystander* that commits small entries all
//! the time, node 3 *pulls*. What is asserted does not depend on the machine: how much any one call may hand over, and
//! within how many turns of the loops a small entry is agreed. A turn takes what the daemon's takes. What is handed over is
//! shared, so that a message costs some microseconds whatever its size (sealing is the stream's thread's business): 501
//! messages in one call, the most that [`agreement`]'s pace allows, are far from 10 ms. The longest call is printed beside it.

use super::Stream;
use super::tests::{life, node, stream, wait_for};
use crate::system;
use agreement::{Action, Agreement, Limits, Settings, Status};
use base::{Duration, Instant};
use link::Destination;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use wire::message::SLICE_MAX;
use wire::{Charter, ClientId, Configuration, Life, Message, NodeSet, Op, Seq};

const PULLED: usize = 64 * 1024 * 1024;
const SLICES: usize = PULLED / SLICE_MAX;
const ENTRY: usize = 1024 * 1024;
/// Most messages that a call of the holder hands over while somebody pulls: a burst of what is sent again, and some few.
const MESSAGES_MAX: usize = 500 + 16;
/// Most bytes: 2 MiB and the entry that crosses that line, and some small messages.
const BYTES_MAX: usize = 3 * ENTRY + 64 * 1024;
/// Messages of the stream that a turn takes, as the daemon's.
const FROM_STREAM: usize = crate::exchange::FROM_STREAM_MAX;
/// Turns of all loops within which a small entry is agreed: to the primary, to all, back, and the commit's way out.
const TURNS_MAX: u64 = 8;

/// What calls took and handed over, the most of each.
#[derive(Clone, Copy, Default, Debug)]
struct Most {
    time: Duration,
    messages: usize,
    bytes: usize,
}

struct End {
    id: u8,
    agreement: Agreement,
    stream: Stream,
    /// Datagrams for each node.
    out: Vec<(u8, Message)>,
    /// What the state machines say for each snapshot.
    state: Vec<Arc<[u8]>>,
    installed: Option<Vec<Arc<[u8]>>>,
    committed: Op,
    most: Most,
}

fn end(id: u8, port: u16, limits: Limits, state: Vec<Arc<[u8]>>) -> End {
    let nodes: NodeSet = [1, 2, 3].map(node).into_iter().collect();
    let voters: NodeSet = [1, 2].map(node).into_iter().collect();
    let file = Configuration { nodes, ..Configuration::plain(voters, NodeSet::EMPTY) };
    let settings = Settings {
        me: life(id, 1),
        charter: Charter::of_file(file),
        interval: Duration::from_millis(10),
        misses: 3,
        longest: Duration::from_millis(30),
        rate_ppm: 1_000,
        era_promised: 0,
        level: 1,
        limits,
    };
    let agreement = Agreement::new(settings, system::now());
    let (stream, out, installed) = (stream(id, port, 1), Vec::new(), None);
    let (committed, most) = (Op::ZERO, Most::default());
    End { id, agreement, stream, out, state, installed, committed, most }
}

impl End {
    /// One input, and everything that follows from it.
    fn call(&mut self, f: impl FnOnce(&mut Agreement, Instant)) {
        let begin = system::now();
        f(&mut self.agreement, begin);
        let (mut messages, mut bytes) = (0, 0);
        while let Some(action) = self.agreement.poll_action() {
            let now = system::now();
            match action {
                Action::Send { to, message } => {
                    messages += 1;
                    bytes += message.size();
                    self.send(to, message);
                }
                Action::Freeze { node, stint } => {
                    self.agreement.handle_frozen(now, node, stint, now);
                }
                Action::StoreEra { era } => self.agreement.handle_era_stored(now, era),
                Action::StoreConfiguration { charter } => {
                    self.agreement.handle_configuration_stored(now, charter.edition());
                }
                Action::Snapshot { op } => {
                    self.agreement.handle_snapshot(now, op, self.state.clone());
                }
                Action::Install { slices, .. } => self.installed = Some(slices),
                Action::Committed { op, .. } => self.committed = op,
                _ => {}
            }
        }
        self.most = Most {
            time: self.most.time.max(system::now().since(begin)),
            messages: self.most.messages.max(messages),
            bytes: self.most.bytes.max(bytes),
        };
    }

    fn send(&mut self, to: agreement::Destination, message: Message) {
        let others = (1..=3).filter(|other| *other != self.id);
        match to {
            agreement::Destination::Node(to) if message.is_large() => {
                self.stream.send(Destination::Node(to), message);
            }
            agreement::Destination::All if message.is_large() => {
                self.stream.send(Destination::All, message);
            }
            agreement::Destination::Node(to) => self.out.push((to.get(), message)),
            agreement::Destination::All => {
                self.out.extend(others.map(|other| (other, message.clone())));
            }
        }
    }

    fn turn(&mut self, datagrams: Vec<(Life, Message)>) {
        if self.agreement.poll_deadline().is_some_and(|at| at <= system::now()) {
            self.call(Agreement::handle_timeout);
        }
        for (from, message) in datagrams {
            self.call(|a, now| a.handle_message(now, from, message));
        }
        for _ in 0..FROM_STREAM {
            let Some((header, message)) = self.stream.poll() else { break };
            self.call(|a, now| a.handle_message(now, header.from, message));
        }
    }
}

/// The three loops, in turn; who was not started hears nothing.
struct Loops {
    ends: Vec<End>,
    datagrams: VecDeque<(u8, Life, Message)>,
    turns: u64,
}

impl Loops {
    fn turn(&mut self) {
        self.turns += 1;
        let all = std::mem::take(&mut self.datagrams);
        for end in &mut self.ends {
            let mine = all.iter().filter(|(to, ..)| *to == end.id);
            end.turn(mine.map(|(_, from, message)| (*from, message.clone())).collect());
            let from = life(end.id, 1);
            self.datagrams.extend(end.out.drain(..).map(|(to, message)| (to, from, message)));
        }
    }

    fn describe(&self) -> String {
        let of = |end: &End| {
            let (log, commit) = (end.agreement.log(), end.agreement.commit());
            let (op, base, installed) = (log.op(), log.base(), end.agreement.installed());
            format!(
                "n{}: {commit} of {op} after {base}, installed {installed}; {:?}; ",
                end.id, end.most
            )
        };
        self.ends.iter().map(of).collect()
    }

    /// Waits until all are members and what `at` asks is agreed there.
    fn write(&mut self, at: usize, seq: u64, body: Vec<u8>) -> u64 {
        let (begin, client) = (self.turns, ClientId(at as u64 + 1));
        self.ends[at].call(|a, now| a.handle_request(now, client, Seq(seq), body).unwrap());
        wait_for("it is agreed", || {
            // A large one takes as long as the sockets need, so not every turn is worth a pause.
            (0..64).any(|_| {
                self.turn();
                self.ends[at].agreement.applied(client) >= Seq(seq)
            })
        });
        self.turns - begin
    }
}

/// Two voters with `count` entries of `size` bytes, then the third comes; it is admitted while small entries are agreed.
fn bring_up(port: u16, limits: Limits, state: &[Arc<[u8]>], (count, size): (u64, usize)) -> Loops {
    let pair = [1, 2].map(|id| end(id, port, limits, state.to_vec()));
    let mut loops = Loops { ends: pair.into(), datagrams: VecDeque::new(), turns: 0 };
    wait_for("two begin", || {
        loops.turn();
        let member = |end: &End| end.agreement.roster().stint(life(end.id, 1)).is_member();
        loops.ends[0].agreement.status() == Status::Primary && loops.ends.iter().all(member)
    });
    for seq in 1..=count {
        loops.write(0, seq, vec![1; size]);
    }
    if !state.is_empty() {
        wait_for("the log has lost its beginning", || {
            loops.turn();
            loops.ends[0].agreement.log().base() > Op::ZERO
        });
    }
    loops.ends.push(end(3, port, limits, Vec::new()));
    loops.ends.iter_mut().for_each(|end| end.most = Most::default());
    let (begin, mut seq, mut slowest) = (system::now(), 0, 0);
    let is_in = |loops: &Loops| {
        let in_view = |end: &End| end.agreement.roster().stint(life(3, 1)).is_member();
        loops.ends.iter().all(in_view)
    };
    while !is_in(&loops) {
        seq += 1;
        slowest = slowest.max(loops.write(1, seq, vec![2; 64]));
        let waited = system::now().since(begin);
        assert!(waited < Duration::from_millis(60_000), "not admitted: {}", loops.describe());
    }
    let took = system::now().since(begin);
    println!(
        "64 MiB pulled in {took}: {} MiB/s; {seq} small entries meanwhile, each within {slowest} turns",
        64_000_000_000 / took.nanos().max(1)
    );
    for (end, name) in loops.ends.iter().zip(["holder", "bystander", "puller"]) {
        let Most { time, messages, bytes } = end.most;
        println!(
            "the longest call of the {name}: {time}; the most handed over in one: {messages} messages, {bytes} bytes"
        );
    }
    assert!(seq > 20, "{seq} small entries");
    assert!(slowest <= TURNS_MAX, "a small entry took {slowest} turns");
    for end in &loops.ends {
        let Most { messages, bytes, .. } = end.most;
        assert!(messages <= MESSAGES_MAX && bytes <= BYTES_MAX, "n{}: {:?}", end.id, end.most);
    }
    loops
}

/// One at a time: they want the machine.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn a_snapshot_of_sixty_four_megabytes_holds_up_nobody() {
    let _alone = ALONE.lock();
    let slice = |n: usize| Arc::from(vec![n as u8; SLICE_MAX]);
    let state: Vec<Arc<[u8]>> = (0..SLICES).map(slice).collect();
    // By the bytes of the first entries there is a snapshot, and the log loses its beginning; the small entries that follow
    // make no other, and are kept.
    let (snapshot_every, snapshot_bytes, kept_bytes) = (1 << 20, 2 * ENTRY, 4 * ENTRY);
    let limits = Limits { snapshot_every, snapshot_bytes, kept_bytes, ..Limits::default() };
    let loops = bring_up(46_500, limits, &state, (8, ENTRY - 64));
    assert!(loops.ends[2].installed.as_ref().is_some_and(|slices| *slices == state));
    // One message answers one message.
    assert!(loops.ends[0].most.bytes < 3 * SLICE_MAX, "{:?}", loops.ends[0].most);
}

#[test]
fn sixty_four_megabytes_of_entries_hold_up_nobody() {
    let _alone = ALONE.lock();
    // However many small entries follow meanwhile, on however fast a machine: the log keeps its beginning.
    let limits = Limits { kept: u64::MAX, kept_bytes: 4 * PULLED, ..Limits::default() };
    let loops = bring_up(46_510, limits, &[], ((PULLED / ENTRY) as u64 - 2, ENTRY - 64));
    assert!(loops.ends[2].installed.is_none(), "entry by entry");
}
