//! A hand-driven cluster: agreements, wires with a delay, a stand-in for the fast path, checkers.
//!
//! Two ways to drive it: [`Cluster::run`] lets time and messages flow; scripts deliver single messages with
//! [`Cluster::deliver`] and call the agreements themselves.

use base::{Duration, Instant, Prng};
use ng_agreement::{Action, Agreement, Destination, Limits, Roster, Settings, Status};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use wire::codec::{Reader, Writer};
use wire::{
    Charter, ClientId, Edition, Entry, EntryKind, Incarnation, Life, Message, NodeId, NodeSet, Op,
    Seq, Stint, Term,
};

pub(crate) const INTERVAL: Duration = Duration::from_millis(10);
pub(crate) const D: Duration = Duration::from_millis(30);
/// Length of the lease: D·(1−2ρ) less the margin.
const L: Duration = Duration::from_micros(29_890);
const STEP: Duration = Duration::from_micros(100);

pub(crate) fn id(n: u8) -> NodeId {
    NodeId::new(n).unwrap()
}

/// Of a file that was never agreed.
pub(crate) const fn edition() -> Edition {
    Edition { version: 0, term: Term::NONE, digest: 0 }
}

/// One machine: what survives its lives, and the present life.
pub(crate) struct Machine {
    pub(crate) life: Life,
    pub(crate) agreement: Agreement,
    /// Last beat of each peer that was made echoable here.
    heard: BTreeMap<NodeId, (Instant, Life)>,
    suspected: BTreeSet<NodeId>,
    frozen: BTreeMap<NodeId, Stint>,
    roster: Option<Roster>,
    pub(crate) closed: Stint,
    /// Newest own beat that each peer echoed, with the stint it carried and the peer's life.
    echoes: BTreeMap<NodeId, (Instant, Stint, Life)>,
    pub(crate) committed: Vec<(Op, Entry)>,
    /// Snapshots installed.
    pub(crate) installs: usize,
    pub(crate) reflexes: Vec<Op>,
    pub(crate) ended: Option<Action>,
}

impl Machine {
    fn stint_of(&self, life: Life) -> Stint {
        self.roster.as_ref().map_or(Stint::NONE, |roster| roster.stint(life))
    }

    /// PROTOCOL 5.1, by the words that the board has.
    pub(crate) fn holds_lease(&self, now: Instant) -> bool {
        let stint = self.stint_of(self.life);
        let Some(roster) = self.roster.as_ref().filter(|_| stint.is_member()) else { return false };
        let echoed = self.echoes.values().filter(|(_, carried, by)| {
            *carried == stint && roster.votes(*by) && !roster.is_void(by.node)
        });
        let given = roster.void().iter().map(|_| now);
        let mut sent: Vec<Instant> = echoed.map(|(sent, _, _)| *sent).chain(given).collect();
        if roster.votes(self.life) {
            sent.push(now);
        }
        sent.sort_unstable();
        let needed = roster.majority();
        let renewed = sent.iter().rev().nth(needed - 1);
        // R-LEASE-CONF: the same by the electorate of an appended Vote.
        let next = roster.next.map(|voters| {
            let own = voters.contains(self.life.node).then_some(now);
            let echoed = self.echoes.iter().filter(|(node, (_, carried, by))| {
                *carried == stint
                    && voters.contains(**node)
                    && roster.seat(**node).is_some_and(|seat| seat.life(**node) == *by)
            });
            let mut sent: Vec<Instant> = echoed.map(|(_, (sent, ..))| *sent).chain(own).collect();
            sent.sort_unstable();
            sent.iter().rev().nth(voters.len() / 2).copied()
        });
        if next.is_some_and(|renewed| renewed.is_none_or(|sent| now >= sent + L)) {
            return false;
        }
        self.closed != stint && renewed.is_some_and(|sent| now < *sent + L)
    }
}

/// The state machine of these tests is the list of committed entries; one slice each.
fn encode_state(committed: &[(Op, Entry)]) -> Vec<Arc<[u8]>> {
    let slice = |(op, entry): &(Op, Entry)| {
        let mut to = Writer::new();
        to.op(*op);
        entry.encode(&mut to);
        Arc::from(to.0)
    };
    committed.iter().map(slice).collect()
}

fn decode_state(slices: &[Arc<[u8]>]) -> Vec<(Op, Entry)> {
    let entry = |slice: &Arc<[u8]>| {
        let mut from = Reader::new(slice);
        (from.op().unwrap(), Entry::decode(&mut from).unwrap())
    };
    slices.iter().map(entry).collect()
}

/// A message on its way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Packet {
    at: Instant,
    pub(crate) from: Life,
    pub(crate) to: NodeId,
    pub(crate) message: Message,
}

pub(crate) struct Cluster {
    pub(crate) now: Instant,
    pub(crate) machines: BTreeMap<NodeId, Machine>,
    incarnations: BTreeMap<NodeId, u32>,
    eras: BTreeMap<NodeId, u32>,
    voters: NodeSet,
    witnesses: NodeSet,
    /// What the file says, if not that all vote.
    pub(crate) file: Option<Charter>,
    /// Feature level of the release that is started.
    pub(crate) level: u16,
    /// What each node has stored of the configuration.
    pub(crate) charters: BTreeMap<NodeId, Charter>,
    /// Nodes whose disk does not answer, with what they were to store.
    pub(crate) slow: BTreeMap<NodeId, Option<Charter>>,
    pub(crate) packets: Vec<Packet>,
    /// Directed links of the agreement that carry nothing.
    pub(crate) cut: BTreeSet<(NodeId, NodeId)>,
    /// Directed links that carry no beats.
    pub(crate) deaf: BTreeSet<(NodeId, NodeId)>,
    /// What the beats of some nodes declared once, where it is longer than D: removing them waits as long.
    pub(crate) declared: BTreeMap<NodeId, Duration>,
    /// Time of one hop.
    pub(crate) hop: Duration,
    pub(crate) loss_percent: u64,
    pub(crate) duplicate_percent: u64,
    pub(crate) jitter: Duration,
    prng: Prng,
    pub(crate) sent: usize,
    /// Questions for entries, of them.
    pub(crate) fetches: usize,
    /// Suspicions told by each node.
    pub(crate) suspects: BTreeMap<NodeId, usize>,
    /// What is committed anywhere, of the newest era.
    pub(crate) truth: Vec<Entry>,
    true_roster: Roster,
    pub(crate) off: Vec<&'static str>,
    pub(crate) limits: Limits,
    era_of_truth: u32,
    seq: u64,
}

impl Cluster {
    /// `n` configured voters, none started.
    pub(crate) fn empty(n: u8, witnesses: &[u8]) -> Self {
        Self {
            now: Instant(1_000_000_000),
            machines: BTreeMap::new(),
            incarnations: BTreeMap::new(),
            eras: BTreeMap::new(),
            voters: (1..=n).map(id).collect(),
            witnesses: witnesses.iter().copied().map(id).collect(),
            file: None,
            level: 1,
            charters: BTreeMap::new(),
            slow: BTreeMap::new(),
            packets: Vec::new(),
            cut: BTreeSet::new(),
            deaf: BTreeSet::new(),
            declared: BTreeMap::new(),
            hop: STEP,
            loss_percent: 0,
            duplicate_percent: 0,
            jitter: Duration::ZERO,
            prng: Prng::new(1),
            sent: 0,
            fetches: 0,
            suspects: BTreeMap::new(),
            truth: Vec::new(),
            true_roster: Roster::empty((1..=n).map(id).collect()),
            off: Vec::new(),
            limits: Limits::default(),
            era_of_truth: 0,
            seq: 0,
        }
    }

    /// `n` nodes that started at once and have begun their era.
    pub(crate) fn running(n: u8) -> Self {
        Self::running_without(n, &[])
    }

    /// The same with rules switched off.
    pub(crate) fn running_without(n: u8, off: &[&'static str]) -> Self {
        let mut cluster = Self::empty(n, &[]);
        cluster.off = off.to_vec();
        (1..=n).for_each(|n| cluster.start(n));
        cluster.until("all are members", 200, |c| c.all_are_members());
        cluster.run(20);
        cluster
    }

    pub(crate) fn seed(&mut self, seed: u64) {
        self.prng = Prng::new(seed);
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.prng.below(bound)
    }

    /// What a node holds of the configuration.
    pub(crate) fn charter(&self, node: NodeId) -> Charter {
        let plain = || Charter::plain(self.voters, self.witnesses);
        let file = self.file.clone().unwrap_or_else(plain);
        self.charters.get(&node).cloned().unwrap_or(file)
    }

    pub(crate) fn start(&mut self, n: u8) {
        let node = id(n);
        let incarnation = self.incarnations.entry(node).or_insert(0);
        *incarnation += 1;
        let life = Life { node, incarnation: Incarnation(*incarnation) };
        let settings = Settings {
            me: life,
            charter: self.charter(node),
            interval: INTERVAL,
            misses: 3,
            longest: D,
            rate_ppm: 1_000,
            era_promised: self.eras.get(&node).copied().unwrap_or(0),
            level: self.level,
            limits: self.limits,
            #[cfg(feature = "mutations")]
            mutations: self.off.clone(),
        };
        let machine = Machine {
            life,
            agreement: Agreement::new(settings, self.now),
            heard: BTreeMap::new(),
            suspected: BTreeSet::new(),
            frozen: BTreeMap::new(),
            roster: None,
            closed: Stint::NONE,
            echoes: BTreeMap::new(),
            committed: Vec::new(),
            installs: 0,
            reflexes: Vec::new(),
            ended: None,
        };
        self.machines.insert(node, machine);
        self.perform(node);
    }

    /// The disk of `n` answers what it was asked.
    pub(crate) fn disk_answers(&mut self, n: u8) {
        let waits = self.slow.get_mut(&id(n)).and_then(Option::take);
        if let Some(charter) = waits {
            let edition = charter.edition();
            self.charters.insert(id(n), charter);
            self.call(n, |a, now| a.handle_configuration_stored(now, edition));
        }
    }

    /// The electorate of an appended Vote, as the board of `n` has it.
    pub(crate) fn next_voters(&self, n: u8) -> Option<NodeSet> {
        self.machines[&id(n)].roster.as_ref().and_then(|roster| roster.next)
    }

    /// Power off.
    pub(crate) fn kill(&mut self, n: u8) {
        self.machines.remove(&id(n));
    }

    /// Nothing passes between `n` and the others, in both directions.
    pub(crate) fn isolate(&mut self, n: u8) {
        for other in self.voters.iter().filter(|other| *other != id(n)) {
            for pair in [(id(n), other), (other, id(n))] {
                self.cut.insert(pair);
                self.deaf.insert(pair);
            }
        }
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
        self.deaf.clear();
    }

    pub(crate) fn agreement(&self, n: u8) -> &Agreement {
        &self.machines[&id(n)].agreement
    }

    /// Calls an agreement by hand and performs what it wants.
    pub(crate) fn call(&mut self, n: u8, f: impl FnOnce(&mut Agreement, Instant)) {
        let now = self.now;
        f(&mut self.machines.get_mut(&id(n)).unwrap().agreement, now);
        self.perform(id(n));
    }

    pub(crate) fn life(&self, n: u8) -> Life {
        self.machines[&id(n)].life
    }

    pub(crate) fn stint(&self, n: u8) -> Stint {
        let life = self.life(n);
        let rosters = self.machines.values().map(|m| m.agreement.roster());
        let newest = rosters.max_by_key(|r| r.op).unwrap();
        newest.stint(life)
    }

    pub(crate) fn term(&self) -> Term {
        self.machines.values().map(|m| m.agreement.term()).max().unwrap()
    }

    pub(crate) fn primary(&self) -> Option<u8> {
        let mut primaries: Vec<&Machine> =
            self.machines.values().filter(|m| m.agreement.status() == Status::Primary).collect();
        primaries.sort_by_key(|m| m.agreement.term());
        primaries.last().map(|m| m.life.node.get())
    }

    /// A write with a fresh number from `n`.
    pub(crate) fn write(&mut self, n: u8, body: &[u8]) -> Seq {
        self.seq += 1;
        let seq = Seq(self.seq);
        self.ask(n, seq, body);
        seq
    }

    pub(crate) fn ask(&mut self, n: u8, seq: Seq, body: &[u8]) {
        let body = body.to_vec();
        self.call(n, |a, now| a.handle_request(now, ClientId(9), seq, body).unwrap());
    }

    /// Bodies of the requests applied at `n`, in order.
    pub(crate) fn applied(&self, n: u8) -> Vec<Vec<u8>> {
        let body = |(_, entry): &(Op, Entry)| match &entry.kind {
            EntryKind::Request { body, .. } => Some(body.to_vec()),
            _ => None,
        };
        self.machines[&id(n)].committed.iter().filter_map(body).collect()
    }

    /// True if `n` has committed the removal of `victim`.
    pub(crate) fn knows_removed(&self, n: u8, victim: Life) -> bool {
        !self.agreement(n).roster().stint(victim).is_member()
            && self.agreement(n).roster().seat(victim.node).is_some()
    }

    pub(crate) fn all_are_members(&self) -> bool {
        self.machines.len() == self.voters.len()
            && self.machines.values().all(|m| {
                let members = m.agreement.roster().members().count();
                members == self.voters.len() && m.agreement.roster().stint(m.life).is_member()
            })
    }

    // Automatic: time, wires, beats.

    /// Lets `ms` milliseconds pass.
    pub(crate) fn run(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        while self.now < end {
            self.step();
        }
    }

    /// Runs until `holds`; fails after `ms`. Returns how long it took.
    pub(crate) fn until(&mut self, what: &str, ms: u64, holds: impl Fn(&Self) -> bool) -> Duration {
        let begin = self.now;
        while !holds(self) {
            let waited = self.now.since(begin);
            assert!(
                waited < Duration::from_millis(ms),
                "{what}: not in {ms} ms\n{}",
                self.describe()
            );
            self.step();
        }
        self.now.since(begin)
    }

    pub(crate) fn step(&mut self) {
        self.now += STEP;
        if self.now.0.is_multiple_of(INTERVAL.0) {
            self.beat();
        }
        let (due, later) =
            std::mem::take(&mut self.packets).into_iter().partition(|p| p.at <= self.now);
        self.packets = later;
        let due: Vec<Packet> = due;
        for packet in due {
            self.arrive(packet);
        }
        let nodes: Vec<NodeId> = self.machines.keys().copied().collect();
        for node in nodes {
            self.detect(node);
            let (now, machine) = (self.now, self.machines.get_mut(&node).unwrap());
            if machine.agreement.poll_deadline().is_some_and(|at| at <= now) {
                machine.agreement.handle_timeout(now);
                let next = machine.agreement.poll_deadline();
                assert!(next.is_none_or(|at| at > now), "a timer that is due stays due: it spins");
            }
            self.perform(node);
        }
        self.check();
    }

    fn arrive(&mut self, packet: Packet) {
        let now = self.now;
        if let Some(machine) = self.machines.get_mut(&packet.to) {
            machine.agreement.handle_message(now, packet.from, packet.message);
            self.perform(packet.to);
        }
    }

    /// One beat of each node to each other, answered at once.
    fn beat(&mut self) {
        let now = self.now;
        let lives: Vec<Life> = self.machines.values().map(|m| m.life).collect();
        for from in &lives {
            let stint = self.machines[&from.node].stint_of(*from);
            for to in lives.iter().filter(|to| to.node != from.node) {
                if self.deaf.contains(&(from.node, to.node)) {
                    continue;
                }
                let echoed = self.hear(*from, stint, to.node);
                self.perform(to.node);
                if echoed && !self.deaf.contains(&(to.node, from.node)) {
                    let echo = (now, stint, *to);
                    self.machines.get_mut(&from.node).unwrap().echoes.insert(to.node, echo);
                }
            }
        }
    }

    /// True if the beat is echoed: R-STINT, not frozen, and the hearer votes.
    fn hear(&mut self, from: Life, stint: Stint, to: NodeId) -> bool {
        let now = self.now;
        let machine = self.machines.get_mut(&to).unwrap();
        let before = machine.heard.get(&from.node).copied();
        let appeared = before.is_none_or(|(_, life)| life != from);
        let trusted = machine.suspected.remove(&from.node);
        let frozen = stint.is_member() && machine.frozen.get(&from.node) == Some(&stint);
        machine.heard.insert(from.node, (now, from));
        if appeared {
            machine.agreement.handle_appeared(now, from);
        } else if trusted {
            machine.agreement.handle_trusted(now, from, stint);
        }
        let votes = machine.roster.as_ref().is_some_and(|r| r.votes(machine.life));
        stint.is_member() && machine.stint_of(from) == stint && !frozen && votes
    }

    /// `n` calls another one silent until it hears its next beat.
    #[cfg(feature = "mutations")]
    pub(crate) fn accuse(&mut self, n: u8, other: u8) {
        let (now, machine) = (self.now, self.machines.get_mut(&id(n)).unwrap());
        if let Some((_, life)) = machine.heard.get(&id(other)).copied()
            && machine.suspected.insert(id(other))
        {
            let stint = machine.stint_of(life);
            machine.agreement.handle_suspected(now, life, stint);
            self.perform(id(n));
        }
    }

    fn detect(&mut self, node: NodeId) {
        let now = self.now;
        let machine = self.machines.get_mut(&node).unwrap();
        for (peer, (at, life)) in machine.heard.clone() {
            if now.since(at) >= D && machine.suspected.insert(peer) {
                let stint = machine.stint_of(life);
                machine.agreement.handle_suspected(now, life, stint);
            }
        }
    }

    /// Performs every action of a node, in order.
    pub(crate) fn perform(&mut self, node: NodeId) {
        let now = self.now;
        while let Some(machine) = self.machines.get_mut(&node) {
            let Some(action) = machine.agreement.poll_action() else { break };
            match action {
                Action::Send { to, message } => self.post(node, to, message),
                Action::Freeze { node: victim, stint } => {
                    machine.frozen.insert(victim, stint);
                    // A beat is echoed in the step in which it is heard.
                    let deadline = self.declared.get(&victim).copied().unwrap_or(D);
                    let heard = machine.heard.get(&victim);
                    let end = heard.map_or(Instant::ZERO, |(at, _)| *at + deadline);
                    machine.agreement.handle_frozen(now, victim, stint, end);
                }
                Action::Unfreeze { node: victim } => {
                    machine.frozen.remove(&victim);
                }
                Action::CloseLease { stint } => machine.closed = stint,
                Action::ReopenLease => machine.closed = Stint::NONE,
                Action::StoreEra { era } => {
                    self.eras.insert(node, era);
                    machine.agreement.handle_era_stored(now, era);
                }
                Action::StoreConfiguration { charter } => {
                    if let Some(waits) = self.slow.get_mut(&node) {
                        *waits = Some(charter);
                    } else {
                        let edition = charter.edition();
                        self.charters.insert(node, charter);
                        machine.agreement.handle_configuration_stored(now, edition);
                    }
                }
                Action::Publish(roster) => machine.roster = Some(roster),
                Action::Snapshot { op } => {
                    assert_eq!(machine.committed.last().map(|(at, _)| *at), Some(op));
                    let slices = encode_state(&machine.committed);
                    machine.agreement.handle_snapshot(now, op, slices);
                }
                Action::Install { op, slices } => {
                    machine.committed = decode_state(&slices);
                    machine.installs += 1;
                    assert_eq!(machine.committed.last().map(|(at, _)| *at), Some(op));
                }
                Action::Committed { op, entry } => {
                    machine.committed.push((op, entry));
                    self.note_commit(node, op);
                }
                Action::Reflex { removed_at } => machine.reflexes.push(removed_at),
                Action::Superseded { .. }
                | Action::Renumber { .. }
                | Action::Outdated { .. }
                | Action::SaidOff => {
                    machine.ended = Some(action);
                }
            }
        }
    }

    fn post(&mut self, from: NodeId, to: Destination, message: Message) {
        self.sent += 1;
        self.fetches += usize::from(matches!(message, Message::Fetch { .. }));
        if matches!(message, Message::Suspect { .. }) {
            *self.suspects.entry(from).or_default() += 1;
        }
        // What leaves is what arrives after a trip through its bytes.
        let mut bytes = Writer::new();
        message.encode(&mut bytes);
        let message = Message::decode(&bytes.0).expect("every message can be read");
        let life = self.machines[&from].life;
        let to: Vec<NodeId> = match to {
            Destination::All => self.voters.iter().filter(|node| *node != from).collect(),
            Destination::Node(node) => vec![node],
        };
        for to in to.into_iter().filter(|to| !self.cut.contains(&(from, *to))) {
            if self.prng.chance(self.loss_percent, 100) {
                continue;
            }
            let copies = if self.prng.chance(self.duplicate_percent, 100) { 2 } else { 1 };
            for _ in 0..copies {
                let late = Duration(self.prng.below(self.jitter.0 + 1));
                let at = self.now + self.hop + late;
                self.packets.push(Packet { at, from: life, to, message: message.clone() });
            }
        }
    }

    // By hand.

    /// Delivers the newest message of a kind on its way from one node to another; false if there is none.
    pub(crate) fn deliver(&mut self, from: u8, to: u8, kind: impl Fn(&Message) -> bool) -> bool {
        let fits = |p: &Packet| p.from.node == id(from) && p.to == id(to) && kind(&p.message);
        let Some(at) = self.packets.iter().rposition(fits) else { return false };
        let packet = self.packets.remove(at);
        self.arrive(packet);
        true
    }

    /// Delivers a message of whoever it pretends to be from.
    pub(crate) fn forge(&mut self, from: Life, to: u8, message: Message) {
        let at = self.now;
        self.arrive(Packet { at, from, to: id(to), message });
    }

    /// Loses what is on its way and fits.
    pub(crate) fn lose(&mut self, fits: impl Fn(&Packet) -> bool) {
        self.packets.retain(|p| !fits(p));
    }

    // Checkers.

    /// I1: no op gets two different committed entries in one era.
    fn note_commit(&mut self, node: NodeId, op: Op) {
        let machine = &self.machines[&node];
        let entry =
            machine.agreement.log().get(op).expect("a committed entry is in the log").clone();
        let era = machine.agreement.era().unwrap();
        if era > self.era_of_truth {
            self.truth.clear();
            self.true_roster = Roster::empty(self.voters);
            self.era_of_truth = era;
        } else if era < self.era_of_truth {
            let old = machine.agreement.status() != Status::Primary;
            assert!(old, "I9: {node} commits in era {era} after one in era {}", self.era_of_truth);
            return;
        }
        match self.truth.get(op.0 as usize - 1) {
            Some(known) => assert_eq!(*known, entry, "I1: op {op} at {node}\n{}", self.describe()),
            None => {
                assert_eq!(self.truth.len() as u64 + 1, op.0, "commits are in order");
                self.true_roster.apply(op, &entry);
                self.truth.push(entry);
            }
        }
    }

    /// I4: who holds a lease is a member, life and stint, by the globally committed log.
    pub(crate) fn check(&self) {
        for machine in self.machines.values().filter(|m| m.holds_lease(self.now)) {
            let own = machine.agreement.roster().stint(machine.life);
            let member = self.true_roster.stint(machine.life);
            assert_eq!(own, member, "I4: {:?} holds a lease\n{}", machine.life, self.describe());
        }
    }

    /// All live nodes have committed the same.
    pub(crate) fn agrees(&self) -> bool {
        let mut commits = self.machines.values().map(|m| m.agreement.commit());
        let first = commits.next();
        commits.all(|commit| Some(commit) == first) && first == Some(Op(self.truth.len() as u64))
    }

    pub(crate) fn describe(&self) -> String {
        let mut text = format!("at {:?}, {} entries committed\n", self.now, self.truth.len());
        for m in self.machines.values() {
            let a = &m.agreement;
            text += &format!(
                "{:?} {:?} {:?} commit {} of {} lease {} faults {} {:?} {:?}\n",
                m.life,
                a.status(),
                a.term(),
                a.commit(),
                a.op(),
                m.holds_lease(self.now),
                a.faults(),
                a.waiting(),
                a.roster().seats().collect::<Vec<_>>(),
            );
        }
        for (at, entry) in self.truth.iter().enumerate().rev().take(6) {
            text += &format!("  op {} {:?} {:?}\n", at + 1, entry.term, entry.kind);
        }
        text
    }
}
