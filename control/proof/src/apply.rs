//! Entries through the committed path of several nodes: agreement, membership, planner. The entries
//! are arbitrary; a primary that says so makes them agreed, whatever they are. Each node gets them in
//! batches of its own, at times of its own, some twice, with its own timers and its own lease in
//! between. At every position of the log that two nodes have both applied, their state is the same.

use crate::arbitrary::{self, LEVEL};
use crate::choices::Choices;
use base::{Duration, Instant, Prng};
use driver::FencePolicy;
use heartbeat::board::Frozen;
use membership::Names;
use node::{Action, Node};
use services::{Placement, ResourceSpec, ServiceSpec};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use wire::entry::FenceProof;
use wire::{
    Charter, Configuration, Entry, EntryKind, Incarnation, Life, Message, NodeId, NodeSet, Op,
    ServiceId, Term,
};

/// Longest log of one era.
const LOG_MAX: u64 = 40;
/// Who leads; no entry ends this life.
const PRIMARY: u8 = 6;
/// Who applies: a voter, a witness, and a node without a vote.
const APPLIERS: [u8; 3] = [2, 3, 5];
/// A node that knows nothing yet.
pub const LEARNER: u8 = 4;
/// A snapshot is made where the op is a multiple of this.
const SNAPSHOT_EVERY: u64 = 16;
const VOTERS: [u8; 4] = [1, 2, 3, 6];

/// A node of a test.
///
/// # Panics
/// If there can be no such node: the numbers are ours.
#[must_use]
pub fn id(n: u8) -> NodeId {
    NodeId::new(n).expect("a number of 1 to 128")
}

/// Six nodes, some of them voters.
fn configuration(version: u32, voters: NodeSet) -> Configuration {
    let nodes = (1..=6).map(id).collect();
    let witnesses = [id(3)].into_iter().filter(|node| voters.contains(*node)).collect();
    Configuration { version, nodes, ..Configuration::plain(voters, witnesses) }
}

/// The first and the last entry of the batch that begins an era.
fn batch(era: u32, admits: u8, absent: NodeSet) -> (EntryKind, EntryKind) {
    let electorate: NodeSet = VOTERS.into_iter().map(id).collect();
    let cold = EntryKind::Cold { era, admits, version: 0, electorate, absent };
    (cold, EntryKind::Configure { configuration: Arc::new(configuration(1, electorate)) })
}

/// The entries with which the era of `term` begins: these nodes are admitted, each with its life 2.
#[must_use]
pub fn beginning(term: Term, admits: NodeSet) -> Vec<Entry> {
    let (cold, configure) = batch(term.era, admits.len() as u8, NodeSet::EMPTY);
    let admit = |node| EntryKind::Admit { node, incarnation: Incarnation(2) };
    let kinds = [cold].into_iter().chain(admits.iter().map(admit)).chain([configure]);
    kinds.map(|kind| Entry { term, level: 1, kind }).collect()
}

/// The services that some bytes stand for, as a document would have them: the same everywhere, in any order, with
/// resources of their own.
#[must_use]
pub fn services_of(settings: &node::Settings, document: &[u8]) -> Vec<ServiceSpec> {
    let sum = document.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31) + u64::from(*byte));
    let there = |(place, _): &(usize, ServiceSpec)| sum >> place & 1 == 0;
    let services = settings.services.iter().cloned().enumerate().filter(there);
    let mut services: Vec<ServiceSpec> =
        services.map(|(_, spec)| ServiceSpec { revision: sum >> 4 & 3, ..spec }).collect();
    if sum >> 8 & 1 == 1 {
        services.reverse();
    }
    services
}

/// Settings of one life in a cluster of six nodes, some of them voters, and three services.
#[must_use]
pub fn settings_of(me: Life, voters: NodeSet) -> node::Settings {
    let service = |n: u16, fence, placement, nodes: &[u8]| ServiceSpec {
        id: ServiceId(n),
        name: format!("s{n}"),
        nodes: nodes.iter().copied().map(id).collect(),
        placement,
        fence,
        resources: vec![ResourceSpec {
            name: "r".into(),
            kind: "k".into(),
            lease_bound: fence == FencePolicy::Lease,
        }],
        revision: 0,
    };
    node::Settings {
        agreement: agreement::Settings {
            me,
            charter: Charter::of_file(configuration(0, voters)),
            interval: Duration::from_millis(10),
            misses: 3,
            rate_ppm: 1_000,
            longest: Duration::from_millis(30),
            era_promised: 0,
            level: LEVEL,
            limits: agreement::Limits {
                snapshot_every: SNAPSHOT_EVERY,
                ..agreement::Limits::default()
            },
            #[cfg(feature = "mutations")]
            mutations: Vec::new(),
        },
        services: vec![
            service(0, FencePolicy::Lease, Placement::FailBack, &[2, 1, 5]),
            service(1, FencePolicy::Fenced, Placement::Sticky, &[1, 2, 4]),
            service(2, FencePolicy::Lease, Placement::Sticky, &[5, 4, 2, 1]),
        ],
        names: Names::new((1..=6).map(|n| (id(n), format!("n{n}")))),
    }
}

/// The same with four voters, one of them a witness.
#[must_use]
pub fn settings(me: Life) -> node::Settings {
    settings_of(me, VOTERS.into_iter().map(id).collect())
}

/// The state that the committed entries have made, by the bytes of a snapshot, as one number.
#[must_use]
pub fn state_hash(node: &Node) -> u64 {
    let mut hasher = DefaultHasher::new();
    node.encode_state().hash(&mut hasher);
    hasher.finish()
}

/// What each position of the log means, by the first node that came there.
#[derive(Debug, Default)]
struct Truth {
    first: BTreeMap<(u32, Op), (Life, u64)>,
    /// Where another node came, too.
    again: BTreeSet<(u32, Op)>,
}

struct Applier {
    life: Life,
    node: Node,
    now: Instant,
    /// Own timing and batches: not the entries' choices, so that a smaller case keeps them.
    dice: Prng,
    frozen: Vec<(NodeId, wire::Stint)>,
    outdated: bool,
}

/// The life of a node that applies what it is told: no entry is likely to name it.
#[must_use]
pub fn life(n: u8) -> Life {
    Life { node: id(n), incarnation: Incarnation(u32::MAX - u32::from(n)) }
}

impl Applier {
    fn new(n: u8, dice: &mut Prng) -> Self {
        let life = life(n);
        let now = Instant(1_000_000_000 + dice.below(1 << 40));
        let node = Node::new(settings(life), now);
        Self {
            life,
            node,
            now,
            dice: Prng::new(dice.next_u64()),
            frozen: Vec::new(),
            outdated: false,
        }
    }

    /// Performs what it wants, or a part of it later.
    fn perform(&mut self) {
        let (mut eras, mut charters) = (Vec::new(), Vec::new());
        while let Some(action) = self.node.poll_action() {
            match action {
                Action::Freeze { node, stint } => self.frozen.push((node, stint)),
                Action::StoreEra { era } => eras.push(era),
                Action::StoreConfiguration { charter } => charters.push(charter.edition()),
                Action::Configured(configuration) => self.take(&configuration.document),
                Action::Outdated { .. } => self.outdated = true,
                _ => {}
            }
        }
        if self.dice.chance(2, 3) {
            for (node, stint) in std::mem::take(&mut self.frozen) {
                let frozen = Frozen { heard: self.now, end: self.now };
                self.node.handle_frozen(self.now, node, stint, frozen);
            }
        }
        for era in eras {
            self.node.handle_era_stored(self.now, era);
        }
        for edition in charters {
            self.node.handle_configuration_stored(self.now, edition);
        }
        while let Some(action) = self.node.poll_action() {
            if let Action::Configured(configuration) = action {
                self.take(&configuration.document);
            }
        }
    }

    /// The edge reads a document.
    fn take(&mut self, document: &[u8]) {
        let settings = settings(self.life);
        self.node.handle_document(self.now, services_of(&settings, document), settings.names);
    }

    /// Something of its own happens.
    fn live(&mut self) {
        self.now += Duration(self.dice.below(20_000_000));
        match self.dice.below(4) {
            0 => self.node.handle_timeout(self.now),
            1 => self.node.handle_lease(self.now, self.now + Duration(self.dice.below(30_000_000))),
            _ => return,
        }
        self.perform();
    }

    /// One Prepare, as the wire carries it.
    fn hear(&mut self, from: Life, message: &Message) -> Result<(), String> {
        let mut bytes = wire::codec::Writer::new();
        message.encode(&mut bytes);
        let message = Message::decode(&bytes.0).map_err(|e| format!("{message:?}: {e}"))?;
        self.node.handle_message(self.now, from, message);
        self.perform();
        Ok(())
    }

    fn compare(&self, truth: &mut Truth) -> Result<(), String> {
        let agreement = self.node.agreement();
        let at = (agreement.term().era, agreement.commit());
        if at.1 == Op::ZERO {
            return Ok(());
        }
        let mine = (self.life, state_hash(&self.node));
        let first = *truth.first.entry(at).or_insert(mine);
        if first.0 != mine.0 {
            truth.again.insert(at);
        }
        if first.1 == mine.1 {
            return Ok(());
        }
        let (era, op) = at;
        let state = format!("{:?} {:?}", self.node.membership(), self.node.planner());
        Err(format!("{:?} after era {era}, {op:?} differs from {:?}: {state}", self.life, first.0))
    }
}

/// What a case came to, so that a test can see that cases come to anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reached {
    /// Positions of the log at which nodes were compared.
    pub positions: usize,
    /// Positions that a second node came to.
    pub compared: usize,
    /// Configurations and votes in force in the last era, the one of its beginning not counted.
    pub versions: u32,
    /// Evidence that stands in the last era's committed log.
    pub fenced: usize,
    /// Somebody stopped at a feature level that it does not understand.
    pub outdated: bool,
}

/// [`run`], for those who want to know only whether something is wrong.
pub fn check(input: &[u8]) -> Result<(), String> {
    run(input).map(drop)
}

/// Reads the input as eras of entries and applies them.
pub fn run(input: &[u8]) -> Result<Reached, String> {
    let mut c = Choices::new(input);
    let mut dice = Prng::new(c.below(1 << 16));
    let mut appliers: Vec<Applier> =
        APPLIERS.into_iter().map(|n| Applier::new(n, &mut dice)).collect();
    let mut truth = Truth::default();
    let mut eras: Vec<(u32, Vec<Entry>)> = Vec::new();
    for _ in 0..=c.below(3) {
        let last = eras.last().map_or(0, |(era, _)| *era);
        // Now and then an era that is over, or one far away.
        let era = if c.chance(1, 8) { c.edge(32) as u32 } else { last.saturating_add(1) };
        let log = log(&mut c, era, eras.is_empty());
        eras.push((era, log));
    }
    for (era, log) in &eras {
        for applier in &mut appliers {
            tell(applier, *era, log, &mut truth)?;
        }
    }
    let mut reached = Reached { positions: truth.first.len(), ..Reached::default() };
    reached.compared = truth.again.len();
    for applier in &appliers {
        let agreement = applier.node.agreement();
        let committed = agreement.log().after(Op::ZERO);
        let committed = committed.take_while(|(op, _)| *op <= agreement.commit());
        let fenced = committed.filter(|(_, it)| matches!(it.kind, EntryKind::Fenced { .. }));
        reached.fenced = reached.fenced.max(fenced.count());
        reached.versions = reached.versions.max(agreement.roster().version().saturating_sub(1));
        reached.outdated |= applier.outdated;
    }
    Ok(reached)
}

/// The log of one era. It begins with `Cold`, which makes every node forget the era before; only of
/// the first one that is known the beginning may be anything.
fn log(c: &mut Choices<'_>, era: u32, first: bool) -> Vec<Entry> {
    let count = 1 + c.below(LOG_MAX);
    let plain = Term { era, counter: 0, life: primary() };
    let (mut log, mut version) = (Vec::new(), 0);
    if !(first && c.chance(1, 6)) {
        let admits: NodeSet = (0..c.below(5)).map(|_| arbitrary::node(c)).collect();
        // Who was said to be off is fenced, each by an entry of the batch.
        let absent = if c.chance(1, 4) { arbitrary::absent(c) } else { NodeSet::EMPTY };
        let (cold, configure) = batch(era, admits.len() as u8, absent);
        let admit = |node| EntryKind::Admit { node, incarnation: Incarnation(1) };
        let proof = FenceProof::Operator;
        let fenced = |node| EntryKind::Fenced { node, incarnation: Incarnation(1), proof };
        let kinds = [cold].into_iter().chain(absent.iter().map(fenced));
        for kind in kinds.chain(admits.iter().map(admit)).chain([configure]) {
            log.push(Entry { term: plain, level: 1, kind });
        }
        version = 1;
    }
    while (log.len() as u64) < count {
        let mut entry = arbitrary::entry(c, era, log.len() as u64 + 1);
        arbitrary::follow(c, &mut entry.kind, &mut version);
        if log.is_empty() {
            // Whose log it is, is in its first entry.
            entry.term.era = era;
        }
        log.push(entry);
    }
    log
}

/// A snapshot that a node made of some entries: how many slices are the agreement's own, and all of them.
pub fn snapshot(c: &mut Choices<'_>) -> (usize, Vec<Arc<[u8]>>) {
    let Some(made) = donor(c).agreement().snapshot().cloned() else { return (0, Vec::new()) };
    (made.heads, made.slices)
}

/// A node that has applied the entries of an era as far as a snapshot goes.
fn donor(c: &mut Choices<'_>) -> Node {
    let mut donor = Applier::new(APPLIERS[0], &mut Prng::new(1));
    let mut log = log(c, 1, false);
    // Nobody stops at a level that is too high here.
    log.iter_mut().for_each(|entry| entry.level = 1);
    while log.len() < SNAPSHOT_EVERY as usize {
        log.push(Entry {
            term: Term { era: 1, counter: 0, life: primary() },
            level: 1,
            kind: EntryKind::Noop,
        });
    }
    let _ = tell(&mut donor, 1, &log, &mut Truth::default());
    donor.node
}

/// A learner is offered these slices, of which the first `heads` are the agreement's own, and pulls each. If it takes them:
/// whether its state is then what they say. (It may be another where they contradict each other.)
#[must_use]
pub fn offer(heads: usize, slices: &[&[u8]]) -> Option<bool> {
    let (from, me) = (primary(), life(LEARNER));
    let mut node = Node::new(settings(me), Instant(1_000_000_000));
    let count = slices.len() as u32;
    let head: Vec<u8> = slices.iter().take(heads).flat_map(|slice| slice.iter().copied()).collect();
    // Its name stands in the head, behind the version.
    let mut name = wire::codec::Reader::new(head.get(1..).unwrap_or_default());
    let (op, op_term) = (name.op().ok()?, name.term().ok()?);
    // No snapshot is of the time before the first entry, where the learner is.
    if op == Op::ZERO {
        return None;
    }
    let mut now = Instant(2_000_000_000);
    let bytes = slices.iter().map(|slice| slice.len() as u64).sum();
    node.handle_message(
        now,
        from,
        Message::Offer { op, op_term, heads: heads as u32, slices: count, bytes },
    );
    let mut unreadable = false;
    for _ in 0..=slices.len() {
        let mut wanted = Vec::new();
        while let Some(action) = node.poll_action() {
            match action {
                Action::Send { message: Message::FetchSlice { index, .. }, .. } => {
                    wanted.push(index)
                }
                Action::Unreadable { .. } => unreadable = true,
                Action::Configured(configuration) => {
                    let settings = settings(me);
                    let services = services_of(&settings, &configuration.document);
                    node.handle_document(now, services, settings.names);
                }
                _ => {}
            }
        }
        for index in wanted {
            now += Duration(1_000);
            let bytes = slices.get(index as usize).copied().unwrap_or_default().into();
            node.handle_message(now, from, Message::Slice { op, op_term, index, bytes });
        }
    }
    let state: Vec<u8> =
        slices.iter().skip(heads).flat_map(|slice| slice.iter().copied()).collect();
    let installed = node.agreement().commit() == op && !unreadable;
    installed.then(|| node.encode_state() == state)
}

fn primary() -> Life {
    Life { node: id(PRIMARY), incarnation: Incarnation(u32::MAX) }
}

/// Gives one node the log of an era, in pieces.
fn tell(applier: &mut Applier, era: u32, log: &[Entry], truth: &mut Truth) -> Result<(), String> {
    let term = Term { era, counter: 1, life: primary() };
    let mut sent = 0;
    while sent < log.len() {
        // Sometimes a piece comes again, or only commits what is there.
        let from = sent - applier.dice.below(4.min(sent as u64 + 1)) as usize;
        let end = (from + 1 + applier.dice.below(5) as usize).min(log.len());
        let commit = end as u64 - applier.dice.below(3).min(end as u64);
        let prev_term = from.checked_sub(1).map_or(Term::NONE, |last| log[last].term);
        let message = Message::Prepare {
            term,
            prev_op: Op(from as u64),
            prev_term,
            entries: log[from..end].to_vec(),
            commit: Op(commit),
            release: Op::ZERO,
            held: Op::ZERO,
        };
        applier.hear(term.life, &message)?;
        applier.compare(truth)?;
        applier.live();
        applier.compare(truth)?;
        sent = sent.max(end);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Applier, Truth, batch, id, primary, tell};
    use base::Prng;
    use wire::{Entry, EntryKind, Incarnation, NodeSet, Op, Term};

    /// If the nodes did not take what they are told, the comparison would compare nothing.
    #[test]
    fn what_the_nodes_are_told_is_applied() {
        let mut dice = Prng::new(3);
        let mut applier = Applier::new(5, &mut dice);
        let term = Term { era: 1, counter: 0, life: primary() };
        let admit = |n| EntryKind::Admit { node: id(n), incarnation: Incarnation(1) };
        let (cold, configure) = batch(1, 2, NodeSet::EMPTY);
        let kinds = [cold, admit(1), admit(2), configure, admit(4)];
        let mut log: Vec<Entry> =
            kinds.into_iter().map(|kind| Entry { term, level: 1, kind }).collect();
        log.extend((0..20).map(|_| Entry { term, level: 1, kind: EntryKind::Noop }));
        let mut truth = Truth::default();
        tell(&mut applier, 1, &log, &mut truth).unwrap();
        assert!(applier.node.agreement().commit() >= Op(20));
        assert_eq!(applier.node.membership().view().members.len(), 3);
        assert!(truth.first.len() > 5, "{truth:?}");
    }
}
