//! Values of the wire, by choices. What they say need not make sense; what cannot be said on the wire
//! does not come.

use crate::choices::Choices;
use base::{Duration, Instant};
use heartbeat::EventKind;
use services::{Body, Report};
use std::sync::Arc;
use wire::entry::{FenceProof, RemovalCause};
use wire::message::{Order, Suspicion};
use wire::{
    Beat, Charter, ClientId, Configuration, Echo, EchoBody, Edition, Entry, EntryKind, Generation,
    Incarnation, Life, LinkId, Message, NodeId, NodeSet, Obituary, Op, Seq, ServiceId, Stint, Term,
};

/// What the fast path may tell, of a life and its stint, or of a link to some node.
pub fn event(c: &mut Choices<'_>, life: Life, stint: Stint) -> EventKind {
    let (node, link) = (node(c), LinkId(c.byte()));
    match c.below(9) {
        0 => EventKind::Suspected {
            life,
            stint,
            heard: Instant(c.edge(64)),
            deadline: Instant(c.edge(64)),
        },
        1 => EventKind::Trusted { life, stint },
        2 => EventKind::Obituary { life, stint },
        3 => EventKind::Appeared { life },
        4 => EventKind::LeaseGained,
        5 => EventKind::Stalled { lost: Duration(c.edge(64)) },
        6 => EventKind::LinkDown { node, link },
        7 => EventKind::Impostor { node, incarnation: life.incarnation },
        _ => EventKind::LinkUp { node, link },
    }
}

/// A few nodes.
pub fn nodes(c: &mut Choices<'_>) -> NodeSet {
    (0..c.below(6)).map(|_| node(c)).collect()
}

/// What somebody may want.
pub fn configuration(c: &mut Choices<'_>) -> Configuration {
    Configuration {
        version: c.below(8) as u32,
        nodes: nodes(c),
        interval_us: c.below(3) as u32 * 5_000,
        misses: c.below(5) as u32,
        level: level(c),
        digest: c.below(2),
        document: c.bytes(20).into(),
        ..Configuration::plain(nodes(c), nodes(c))
    }
}

/// A charter: an agreed configuration with the votes that follow from it.
pub fn charter(c: &mut Choices<'_>, era: u32) -> Charter {
    let (version, term, electorate) = (c.below(8) as u32, term(c, era), nodes(c));
    Charter { version, term, electorate, configuration: Arc::new(configuration(c)) }
}

/// Which charter somebody may hold.
pub fn edition(c: &mut Choices<'_>, era: u32) -> Edition {
    Edition { version: c.below(4) as u32, term: term(c, era), digest: c.below(2) }
}

/// The nodes that are spoken of most.
const NODES_NEAR: u64 = 6;
/// The highest feature level that the nodes of these tests understand.
pub const LEVEL: u16 = 3;
const CAUSES: &[RemovalCause] = &[
    RemovalCause::Silent,
    RemovalCause::Obituary,
    RemovalCause::Progress,
    RemovalCause::Superseded,
    RemovalCause::Operator,
];

/// A node: mostly one of the first few.
///
/// # Panics
/// Never: the number is one that a node can have.
pub fn node(c: &mut Choices<'_>) -> NodeId {
    let near = if c.chance(1, 8) { 128 } else { NODES_NEAR };
    let number = 1 + c.below(near) as u8;
    NodeId::new(number).expect("a number of 1 to 128")
}

/// A life.
pub fn life(c: &mut Choices<'_>) -> Life {
    Life { node: node(c), incarnation: incarnation(c) }
}

/// A life's number: mostly a small one.
pub fn incarnation(c: &mut Choices<'_>) -> Incarnation {
    Incarnation(if c.chance(1, 8) { c.edge(32) as u32 } else { 1 + c.below(4) as u32 })
}

/// A feature level: now and then one that a node of level [`LEVEL`] does not understand, and then it applies nothing more.
pub fn level(c: &mut Choices<'_>) -> u16 {
    if c.chance(1, 60) { c.edge(16) as u16 } else { 1 + c.below(u64::from(LEVEL)) as u16 }
}

/// A term; `era` is the likely one.
pub fn term(c: &mut Choices<'_>, era: u32) -> Term {
    let era = if c.chance(1, 8) { c.edge(32) as u32 } else { era };
    let counter = if c.chance(1, 8) { c.edge(32) as u32 } else { c.below(6) as u32 };
    Term { era, counter, life: life(c) }
}

/// A position: mostly near `about`.
pub fn op(c: &mut Choices<'_>, about: u64) -> Op {
    if c.chance(1, 8) {
        return Op(c.edge(64));
    }
    Op(about.saturating_add(c.below(5)).saturating_sub(2))
}

/// A stint: mostly of a position near `about`.
pub fn stint(c: &mut Choices<'_>, era: u32, about: u64) -> Stint {
    if c.chance(1, 6) { Stint(c.edge(64)) } else { Stint::of(era, op(c, about)) }
}

/// A request to the planner.
pub fn body(c: &mut Choices<'_>) -> Body {
    let service = ServiceId(if c.chance(1, 8) { c.edge(16) as u16 } else { c.below(4) as u16 });
    let generation = Generation(if c.chance(1, 4) { c.edge(64) } else { c.below(5) });
    match c.below(8) {
        0 => Body::Move { service, to: node(c) },
        1 => Body::ClearFailures { service },
        2 => Body::FailBack { service, generation, to: node(c) },
        3 => Body::Leave { life: life(c) },
        4 => Body::Clean { life: life(c) },
        5 => Body::Gate { life: life(c), whole: c.chance(1, 2) },
        6 => Body::probe(c.below(300) as u32),
        _ => Body::Outcome { service, generation, report: report(c) },
    }
}

fn report(c: &mut Choices<'_>) -> Report {
    match c.below(5) {
        0 => Report::Started,
        1 => Report::Stopped,
        2 => Report::Failed(c.text(60)),
        3 => Report::Stuck(c.text(60)),
        _ => Report::Died(c.text(60)),
    }
}

/// What an entry at `at` of `era` says, if it says anything.
pub fn kind(c: &mut Choices<'_>, era: u32, at: u64) -> EntryKind {
    match c.below(14) {
        0 => EntryKind::Noop,
        1 | 2 => {
            let Life { node, incarnation } = life(c);
            EntryKind::Admit { node, incarnation }
        }
        3 | 4 => {
            let Life { node, incarnation } = life(c);
            let about = at.saturating_sub(c.below(8));
            let stint = stint(c, era, about);
            let cause = c.pick(CAUSES).unwrap_or(RemovalCause::Silent);
            EntryKind::Remove { node, incarnation, stint, cause }
        }
        5 => {
            let Life { node, incarnation } = life(c);
            let proof = c.pick(&[FenceProof::Operator, FenceProof::NewLife]);
            let proof = proof.unwrap_or(FenceProof::Operator);
            EntryKind::Fenced { node, incarnation, proof }
        }
        6 if c.chance(1, 4) => EntryKind::Cold {
            era,
            admits: c.below(129) as u8,
            version: c.below(4) as u32,
            electorate: nodes(c),
            absent: absent(c),
        },
        6 | 7 => EntryKind::Configure { configuration: Arc::new(configuration(c)) },
        8 => {
            let Life { node, incarnation } = life(c);
            let version = c.below(8) as u32;
            EntryKind::Vote { version, node, incarnation, votes: c.chance(1, 2) }
        }
        9 => {
            let (client, seq) = (ClientId(c.edge(64)), Seq(c.edge(64)));
            EntryKind::Request { client, seq, body: c.bytes(40).into() }
        }
        _ => {
            let by = life(c);
            let client =
                if c.chance(1, 6) { ClientId(c.edge(64)) } else { services::client_of(by) };
            let seq = Seq(if c.chance(1, 6) { c.edge(64) } else { at.saturating_add(c.below(4)) });
            let mut body = body(c).encode();
            if c.chance(1, 8) {
                body.truncate(c.below(body.len() as u64) as usize);
            }
            EntryKind::Request { client, seq, body: body.into() }
        }
    }
}

/// Voters whom an operator said to be off: mostly none.
pub fn absent(c: &mut Choices<'_>) -> NodeSet {
    if c.chance(1, 2) { nodes(c) } else { NodeSet::EMPTY }
}

/// Lets a configuration or a vote mostly follow the version before it: another has no effect.
pub fn follow(c: &mut Choices<'_>, kind: &mut EntryKind, version: &mut u32) {
    let next = version.saturating_add(1);
    let said = match kind {
        EntryKind::Configure { configuration } => &mut Arc::make_mut(configuration).version,
        EntryKind::Vote { version, .. } => version,
        _ => return,
    };
    if !c.chance(1, 6) {
        *said = next;
    }
    if *said == next {
        *version = next;
    }
}

/// An entry at `at`.
pub fn entry(c: &mut Choices<'_>, era: u32, at: u64) -> Entry {
    Entry { term: term(c, era), level: level(c), kind: kind(c, era, at) }
}

/// A few entries that follow `after`.
pub fn entries(c: &mut Choices<'_>, era: u32, after: Op) -> Vec<Entry> {
    let count = c.below(7);
    (0..count).map(|i| entry(c, era, after.0.saturating_add(1 + i))).collect()
}

/// A message of the agreement, of a cluster whose log is about `about` long.
pub fn message(c: &mut Choices<'_>, era: u32, about: u64) -> Message {
    let term = term(c, era);
    let prev_op = op(c, about);
    match c.below(21) {
        0..=3 => Message::Prepare {
            term,
            prev_op,
            prev_term: self::term(c, era),
            entries: entries(c, era, prev_op),
            commit: op(c, about),
            release: op(c, about),
            held: op(c, about),
        },
        4 => Message::PrepareOk { term, op: prev_op },
        5 => Message::Reject { term },
        6 => Message::Fetch { term, from: prev_op },
        7 => {
            let count = c.below(4);
            let mut suspicion = || Suspicion {
                life: life(c),
                stint: stint(c, era, about),
                obituary: c.chance(1, 3),
            };
            let set = (0..count).map(|_| suspicion()).collect();
            Message::Suspect { term, number: c.edge(64), set }
        }
        8 => Message::PromiseRequest { term },
        9 | 10 => Message::Promise {
            term,
            commit: op(c, about),
            last_op: op(c, about),
            last_term: self::term(c, era),
            prev_op,
            prev_term: self::term(c, era),
            tail: entries(c, era, prev_op),
        },
        11 => Message::Join {
            removed_at: prev_op,
            op: op(c, about),
            fresh: c.chance(1, 2),
            era,
            edition: edition(c, era),
        },
        12 => Message::Stale { node: node(c), highest: incarnation(c) },
        13 => {
            let (client, seq, first) = (ClientId(c.edge(64)), Seq(c.edge(64)), Seq(c.edge(64)));
            Message::Request { client, seq, first, body: body(c).encode().into() }
        }
        14 => match c.below(5) {
            0 => Message::ColdRequest { term, edition: edition(c, era) },
            1 => Message::ColdPromise { term, edition: edition(c, era) },
            2 => Message::Configure { configuration: Arc::new(configuration(c)) },
            3 => Message::Charter { charter: charter(c, era) },
            _ => Message::ColdRelease { term },
        },
        15 => {
            let order = if c.chance(1, 2) { Order::Fenced } else { Order::Remove };
            Message::Order { life: life(c), order }
        }
        16 => Message::Ended { life: life(c) },
        // Small numbers of slices, so that now and then one is here whole.
        17 => {
            let slices = 1 + c.below(3) as u32;
            let heads = 1 + c.below(u64::from(slices)) as u32;
            Message::Offer { op: prev_op, op_term: term, heads, slices, bytes: c.edge(64) }
        }
        18 => Message::FetchSlice { op: prev_op, op_term: term, index: c.below(4) as u32 },
        19 => {
            let length = c.below(64);
            let bytes: Vec<u8> = (0..length).map(|_| c.edge(8) as u8).collect();
            Message::Slice {
                op: prev_op,
                op_term: term,
                index: c.below(4) as u32,
                bytes: bytes.into(),
            }
        }
        _ => Message::Committed {
            prev_op,
            prev_term: self::term(c, era),
            entries: entries(c, era, prev_op),
        },
    }
}

/// An echo that the wire can say: held in units of 4 µs.
pub fn echo(c: &mut Choices<'_>) -> Echo {
    let held = Duration::from_micros(c.edge(16) * 4);
    Echo::new(Seq(c.edge(64)), Incarnation(c.edge(32) as u32), held)
}

/// A beat.
pub fn beat(c: &mut Choices<'_>) -> Beat {
    let micros = |c: &mut Choices<'_>| Duration::from_micros(c.edge(32));
    let (deadline, interval) = (micros(c), micros(c));
    let mut beat = Beat::new(Stint(c.edge(64)), Instant(c.edge(64)), deadline, interval);
    (beat.owner, beat.probe) = (c.chance(1, 2), c.chance(1, 2));
    for _ in 0..c.below(9) {
        let (node, echo) = (node(c), echo(c));
        beat.set_echo(node, echo);
    }
    beat
}

/// An answer to a beat.
pub fn echo_body(c: &mut Choices<'_>) -> EchoBody {
    EchoBody { to: node(c), stint: Stint(c.edge(64)), echo: echo(c) }
}

/// The last frame of a stint.
pub fn obituary(c: &mut Choices<'_>) -> Obituary {
    Obituary { stint: Stint(c.edge(64)) }
}
