//! I1: no op has two different committed entries in one era, at any node. I2: a new primary's log
//! has every entry committed in terms up to its own. I8: it was promised by roster lives. I9: no
//! commit in an era after a later one has begun. I10: no commit without a majority of slots, each by
//! its roster life in force.
//!
//! The first commit that is seen anywhere makes the committed log; everything else is compared with
//! it.

use super::Violation;
use super::evidence::given;
use super::promise::Promises;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use wire::entry::RemovalCause;
use wire::{Configuration, Entry, EntryKind, Incarnation, Life, NodeId, NodeSet, Op, Stint, Term};

/// Who holds a slot's vote, and the stint, by a prefix of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seats {
    seats: BTreeMap<NodeId, (Incarnation, Stint)>,
    /// Whose votes count after it.
    pub electorate: NodeSet,
    /// What is wanted.
    pub wanted: Option<Arc<Configuration>>,
    /// Version of the epoch.
    pub version: u32,
    /// The version that a majority has stored before it was agreed: all but a vote that makes something else of a pair.
    stored: u32,
    /// Slots of a pair whose vote is given: by evidence about the life that holds it (R-FENCE).
    pub given: NodeSet,
    /// Lives that were proven ended in a pair that is none any more: they have no vote, and nothing is given for them.
    ended: BTreeMap<NodeId, Incarnation>,
}

/// Voters of which one may go on alone.
const PAIR: usize = 2;

impl Seats {
    /// Takes the next entry.
    pub fn apply(&mut self, op: Op, entry: &Entry) {
        match &entry.kind {
            EntryKind::Cold { electorate, version, .. } => {
                self.seats.clear();
                self.ended.clear();
                self.given = NodeSet::EMPTY;
                (self.electorate, self.version) = (*electorate, *version);
                self.stored = *version;
            }
            EntryKind::Configure { configuration } if configuration.version == self.version + 1 => {
                self.version += 1;
                self.stored = self.version;
                self.wanted = Some(Arc::clone(configuration));
                self.forget();
            }
            EntryKind::Vote { version, node, incarnation, votes }
                if *version == self.version + 1 =>
            {
                self.version += 1;
                let before = self.electorate;
                if before.len() != PAIR {
                    self.stored = self.version;
                }
                let seat = self.seats.get(node).is_some_and(|(i, _)| i == incarnation);
                if *votes && seat {
                    self.electorate.insert(*node);
                } else if !*votes && self.electorate.len() > 1 {
                    self.electorate.remove(*node);
                }
                if self.electorate != before {
                    self.part();
                }
                self.forget();
            }
            EntryKind::Configure { .. } | EntryKind::Vote { .. } => {}
            EntryKind::Admit { node, incarnation } => {
                self.seats.insert(*node, (*incarnation, Stint::of(entry.term.era, op)));
                self.given.remove(*node);
                self.ended.remove(node);
            }
            EntryKind::Remove { node, incarnation, stint, .. } => {
                let ended = (*incarnation, *stint);
                if let Some(seat) = self.seats.get_mut(node).filter(|s| **s == ended) {
                    seat.1 = Stint::NONE;
                }
                self.forget();
            }
            EntryKind::Fenced { node, incarnation, .. } => {
                let life = Life { node: *node, incarnation: *incarnation };
                if self.electorate.len() == PAIR && self.votes(life) {
                    self.given.insert(*node);
                }
            }
            EntryKind::Noop | EntryKind::Request { .. } => {}
        }
    }
    /// What was given in a pair is given in that pair only: its lives stay ended.
    fn part(&mut self) {
        for node in std::mem::take(&mut self.given).iter() {
            if let Some((incarnation, _)) = self.seats.get(&node) {
                self.ended.insert(node, *incarnation);
            }
        }
    }
    /// Slots that are configured no more, without a vote and without a member, are forgotten.
    fn forget(&mut self) {
        let Some(wanted) = &self.wanted else { return };
        let known = wanted.nodes.union(self.electorate);
        self.seats.retain(|node, (_, stint)| known.contains(*node) || stint.is_member());
        self.ended.retain(|node, _| known.contains(*node));
    }
    /// Who is configured, if that is agreed.
    #[must_use]
    pub fn configured(&self) -> Option<NodeSet> {
        self.wanted.as_ref().map(|wanted| wanted.nodes)
    }
    /// How many votes decide.
    #[must_use]
    pub const fn majority(&self) -> usize {
        self.electorate.len() / 2 + 1
    }
    /// True if `life` holds its slot's vote, the slot has one, and it was not given away.
    #[must_use]
    pub fn votes(&self, life: Life) -> bool {
        self.electorate.contains(life.node)
            && !self.given.contains(life.node)
            && !self.ended.contains_key(&life.node)
            && self.seats.get(&life.node).is_some_and(|(i, _)| *i == life.incarnation)
    }
    /// The stint of `life`.
    #[must_use]
    pub fn stint(&self, life: Life) -> Stint {
        match self.seats.get(&life.node) {
            Some((incarnation, stint)) if *incarnation == life.incarnation => *stint,
            _ => Stint::NONE,
        }
    }
    /// The lives that hold a vote.
    pub fn lives(&self) -> impl Iterator<Item = Life> + '_ {
        self.seats
            .iter()
            .filter(|(node, _)| self.electorate.contains(**node))
            .map(|(node, (incarnation, _))| Life { node: *node, incarnation: *incarnation })
    }
    /// The members.
    pub fn members(&self) -> impl Iterator<Item = (Life, Stint)> + '_ {
        let life = |(node, (incarnation, _)): (&NodeId, &(Incarnation, Stint))| Life {
            node: *node,
            incarnation: *incarnation,
        };
        self.seats.iter().filter(|(_, (_, stint))| stint.is_member()).map(move |s| (life(s), s.1.1))
    }
}

/// A node that commits.
#[derive(Clone, Debug)]
pub struct Committer<'a> {
    /// Which life.
    pub life: Life,
    /// Era of its log.
    pub era: u32,
    /// The term that it is in.
    pub term: Term,
    /// The evidence in its log that counts: what is committed, and what is of its term.
    pub fenced: Vec<(Op, &'a Entry)>,
}

/// A node that has become primary.
#[derive(Clone, Debug)]
pub struct Elected<'a> {
    /// Which life.
    pub life: Life,
    /// Of which term.
    pub term: Term,
    /// Committed in its log before it took office.
    pub stood: Op,
    /// Committed in its log of what others have led to.
    pub commit: Op,
    /// Whose votes begin the era, by its first entry.
    pub electorate: NodeSet,
    /// The evidence in its log that counts: what is committed, and what is of its term.
    pub fenced: Vec<(Op, &'a Entry)>,
}

#[derive(Clone, Debug)]
struct Committed {
    entry: Entry,
    /// Term of the node that was first seen to have committed it.
    term: Term,
}

#[derive(Debug, Default)]
struct Era {
    entries: Vec<Committed>,
    /// Seats after each op; the first is "before the log".
    seats: Vec<Seats>,
    /// Last op of the batch that begins it.
    batch: u64,
}

/// The log that the nodes have committed, by era.
#[derive(Debug, Default)]
pub struct CommittedLog {
    eras: BTreeMap<u32, Era>,
    removals: u64,
    /// Removals of nodes that were configured, but for a lack of progress.
    unwished: u64,
}

impl CommittedLog {
    /// A node has committed an entry of its log; true if nobody had before. `by` is in `term`.
    pub fn committed(
        &mut self,
        by: &Committer<'_>,
        op: Op,
        entry: &Entry,
        promises: &Promises,
    ) -> Result<bool, Violation> {
        let Committer { life, era, term, .. } = *by;
        let newest = self.era();
        let latest = self.seats(newest).map_or(0, |seats| seats.stored);
        let record = self.eras.entry(era).or_default();
        if record.seats.is_empty() {
            record.seats.push(Seats::default());
        }
        let index = op.0 as usize - 1;
        if let Some(known) = record.entries.get(index) {
            if known.entry != *entry {
                let text = format!(
                    "era {era}, {op:?}: {life:?} commits {entry:?}, committed before: {:?}",
                    known.entry
                );
                return Violation::found("I1 agreement", text);
            }
            return Ok(false);
        }
        if index != record.entries.len() {
            let text = format!("era {era}: {life:?} commits {op:?} out of order");
            return Violation::found("I1 agreement", text);
        }
        if era < newest {
            let text = format!("{life:?} commits {op:?} of era {era}: era {newest} has begun");
            return Violation::found("I9 one era", text);
        }
        if let EntryKind::Cold { admits, absent, version, .. } = entry.kind {
            record.batch = 2 + u64::from(admits) + absent.len() as u64;
            // An operator who overrides says that nobody is there any more who knew better.
            if version < latest && absent.is_empty() {
                let text = format!("era {era} rests on version {version}; agreed was {latest}");
                return Violation::found("R-CONF-DURABLE", text);
            }
        }
        let mut seats = record.seats.last().cloned().unwrap_or_default();
        if let EntryKind::Remove { node, cause, .. } = entry.kind {
            self.removals += 1;
            let configured = seats.configured().is_none_or(|nodes| nodes.contains(node));
            self.unwished += u64::from(configured && cause != RemovalCause::Progress);
        }
        seats.apply(op, entry);
        record.seats.push(seats);
        record.entries.push(Committed { entry: entry.clone(), term });
        if op.0 >= record.batch {
            let from = if op.0 == record.batch { 1 } else { op.0 };
            for at in from..=op.0 {
                self.check_quorum(by, Op(at), promises)?;
            }
        }
        Ok(true)
    }

    /// I10, and that only roster lives in force were counted (I8). A follower that commits counts
    /// itself: its acknowledgement may still be on its way out.
    fn check_quorum(
        &self,
        by: &Committer<'_>,
        op: Op,
        promises: &Promises,
    ) -> Result<(), Violation> {
        let era = by.era;
        let Some(record) = self.eras.get(&era) else { return Ok(()) };
        let in_force = record.seats.get(op.0.max(record.batch + 1) as usize - 1);
        let (Some(seats), Some(known)) = (in_force, record.entries.get(op.0 as usize - 1)) else {
            return Ok(());
        };
        // By who votes at that op: an entry that changes it is in force only for those above it.
        let given = given(seats, op, by.fenced.iter().copied());
        let counts = |life: Life| seats.votes(life) && !given.contains(life.node);
        let need = seats.majority();
        let acknowledged =
            promises.most_acknowledged(known.entry.term, known.term, op, by.life, counts);
        let have = acknowledged + given.len();
        if have >= need {
            return Ok(());
        }
        let text = format!("era {era}, {op:?} is committed with {have} of {need} votes: {known:?}");
        Violation::found("I10 quorum", text)
    }

    /// I8, of promises: a term is led by promises of a majority of the slots in force at the commit
    /// that the candidate learned, each by its roster life; an era by a majority of the voters.
    pub fn elected(&self, by: &Elected<'_>, promised: &BTreeSet<Life>) -> Result<(), Violation> {
        let Elected { life, term, stood, commit, electorate, .. } = *by;
        let mut lives = promised.clone();
        lives.insert(life);
        let seats = self.seats_at(term.era, commit).filter(|_| term.counter > 0);
        let Some(seats) = seats else {
            // Whoever begins an era: by lives that nobody has seated yet.
            let fresh = lives.iter().map(|life| life.node).filter(|n| electorate.contains(*n));
            let nodes: NodeSet = fresh.collect();
            return Self::enough(by, nodes, electorate.len() / 2 + 1);
        };
        // It stood at one of these; a turn may commit before that, and as the term begins.
        let is_witness = |at: u64| {
            let wanted = self.seats_at(term.era, Op(at)).and_then(|seats| seats.wanted.as_ref());
            wanted.is_some_and(|wanted| wanted.witnesses.contains(life.node))
        };
        if (stood.0..=commit.0.max(stood.0)).all(is_witness) {
            let text = format!("{life:?} leads {term:?} from {stood:?}, where it is a witness");
            return Violation::found("a witness leads nothing", text);
        }
        // One of two may have evidence instead (R-FENCE): what it says is checked where it commits.
        let given = given(seats, commit.next(), by.fenced.iter().copied());
        let nodes = lives.iter().filter(|l| seats.votes(**l)).map(|life| life.node);
        Self::enough(by, nodes.chain(given.iter()).collect(), seats.majority())
    }

    fn enough(by: &Elected<'_>, nodes: NodeSet, need: usize) -> Result<(), Violation> {
        if nodes.len() >= need {
            return Ok(());
        }
        let Elected { life, term, commit, .. } = by;
        let text = format!("{life:?} leads {term:?} from {commit:?} by {nodes:?}, needs {need}");
        Violation::found("I8 voter life", text)
    }

    /// A node has become primary of `term`; `entry` reads its log, of which everything up to `base`, whose entry is of
    /// `base_term`, is in a snapshot only. (Snapshots are compared by themselves.)
    pub fn became_primary<'a>(
        &self,
        life: Life,
        term: Term,
        (base, base_term): (Op, Term),
        entry: impl Fn(Op) -> Option<&'a Entry>,
    ) -> Result<(), Violation> {
        let Some(record) = self.eras.get(&term.era) else { return Ok(()) };
        for (index, known) in record.entries.iter().enumerate() {
            let op = Op(index as u64 + 1);
            if op < base || op == base && known.entry.term == base_term {
                continue;
            }
            if known.term <= term && entry(op) != Some(&known.entry) {
                let has = entry(op);
                let text = format!(
                    "{life:?} is primary in {term:?}, its log has at {op:?} {has:?}, not {known:?}"
                );
                return Violation::found("I2 survival", text);
            }
        }
        Ok(())
    }

    /// The latest era whose first batch is committed.
    #[must_use]
    pub fn era(&self) -> u32 {
        let begun = |(_, e): &(&u32, &Era)| e.batch > 0 && e.entries.len() as u64 >= e.batch;
        self.eras.iter().rev().find(begun).map_or(0, |(era, _)| *era)
    }
    /// How many entries of an era are committed.
    #[must_use]
    pub fn length(&self, era: u32) -> u64 {
        self.eras.get(&era).map_or(0, |e| e.entries.len() as u64)
    }
    /// The seats by all that is committed in an era.
    #[must_use]
    pub fn seats(&self, era: u32) -> Option<&Seats> {
        self.eras.get(&era)?.seats.last()
    }
    /// The seats after `op` of an era.
    #[must_use]
    pub fn seats_at(&self, era: u32, op: Op) -> Option<&Seats> {
        self.eras.get(&era)?.seats.get(usize::try_from(op.0).ok()?)
    }
    /// Those of them whose node was configured: the operator wanted it to stay. Whether one that made no progress was given
    /// the time that its stream takes is for `needless` to judge: a segment that is lost costs TCP 200 ms.
    #[must_use]
    pub const fn unwished(&self) -> u64 {
        self.unwished
    }
    /// Removals committed so far.
    #[must_use]
    pub const fn removals(&self) -> u64 {
        self.removals
    }
    /// What is committed of `Fenced` up to `op`.
    #[must_use]
    pub fn fenced(&self, era: u32, op: Op) -> Vec<(Op, Entry)> {
        let entries = self.eras.get(&era).into_iter().flat_map(|e| e.entries.iter());
        let numbered = (1..=op.0).map(Op).zip(entries).map(|(at, known)| (at, &known.entry));
        let fenced = numbered.filter(|(_, e)| matches!(e.kind, EntryKind::Fenced { .. }));
        fenced.map(|(at, entry)| (at, entry.clone())).collect()
    }
    /// A committed entry.
    #[must_use]
    pub fn entry(&self, era: u32, op: Op) -> Option<&Entry> {
        let index = usize::try_from(op.0).ok()?.checked_sub(1)?;
        self.eras.get(&era)?.entries.get(index).map(|c| &c.entry)
    }
}

/// A committed log for tests.
#[cfg(test)]
pub(crate) mod testing {
    use super::super::Violation;
    use super::{CommittedLog, Committer};
    use crate::checkers::promise::Promises;
    use crate::shape::id;
    use std::sync::Arc;
    use wire::{Configuration, Entry, EntryKind, Incarnation, Life, Message, NodeSet, Op, Term};

    pub(crate) fn life(n: u8) -> Life {
        Life { node: id(n), incarnation: Incarnation(1) }
    }
    pub(crate) fn term(counter: u32) -> Term {
        Term { era: 1, counter, life: life(1) }
    }
    pub(crate) fn by(n: u8) -> Committer<'static> {
        Committer { life: life(n), era: 1, term: term(1), fenced: Vec::new() }
    }
    pub(crate) fn entry(kind: EntryKind) -> Entry {
        Entry { term: term(1), level: 1, kind }
    }

    /// An era of three nodes, acknowledged by `acks`.
    pub(crate) fn begun(acks: &[u8]) -> Result<(CommittedLog, Promises), Violation> {
        let (mut log, mut promises) = (CommittedLog::default(), Promises::default());
        for ack in acks {
            promises.sent(life(*ack), &Message::PrepareOk { term: term(1), op: Op(6) })?;
        }
        let (electorate, absent) = (NodeSet(7), NodeSet::EMPTY);
        let cold = EntryKind::Cold { era: 1, admits: 3, version: 0, electorate, absent };
        let mut kinds = vec![cold];
        kinds.extend(
            [1, 2, 3].map(|n| EntryKind::Admit { node: id(n), incarnation: Incarnation(1) }),
        );
        let file = Configuration { version: 1, ..Configuration::plain(electorate, absent) };
        kinds.push(EntryKind::Configure { configuration: Arc::new(file) });
        for (op, kind) in (1..).zip(kinds) {
            log.committed(&by(1), Op(op), &entry(kind), &promises)?;
        }
        Ok((log, promises))
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{begun, by, entry, life, term};
    use super::{Committer, Elected};
    use crate::shape::id;
    use std::sync::Arc;
    use wire::{Configuration, Entry, EntryKind, Incarnation, Life, Message, NodeSet, Op, Term};

    #[test]
    fn two_entries_at_one_op_are_seen() {
        let (mut log, promises) = begun(&[2]).unwrap();
        let mut commit = |n, kind| log.committed(&by(n), Op(6), &entry(kind), &promises);
        assert_eq!(commit(1, EntryKind::Noop), Ok(true));
        assert_eq!(commit(2, EntryKind::Noop), Ok(false));
        let other = EntryKind::Admit { node: id(2), incarnation: Incarnation(2) };
        assert_eq!(commit(3, other).unwrap_err().rule, "I1 agreement");
    }

    #[test]
    fn a_commit_with_one_vote_of_three_is_seen() {
        assert_eq!(begun(&[]).unwrap_err().rule, "I10 quorum");
    }

    #[test]
    fn a_primary_by_lives_that_do_not_vote_is_seen() {
        let (log, _) = begun(&[2]).unwrap();
        let later = |n| Life { incarnation: Incarnation(2), ..life(n) };
        let elected = |promised: &[Life]| {
            let (electorate, fenced) = (NodeSet(7), Vec::new());
            let (life, term, stood, commit) = (life(1), term(2), Op(5), Op(5));
            let by = Elected { life, term, stood, commit, electorate, fenced };
            log.elected(&by, &promised.iter().copied().collect())
        };
        assert_eq!(elected(&[life(3)]), Ok(()));
        assert_eq!(elected(&[later(3), later(2)]).unwrap_err().rule, "I8 voter life");
    }

    #[test]
    fn a_commit_in_an_era_that_is_over_is_seen() {
        let (mut log, mut promises) = begun(&[2]).unwrap();
        let term = Term { era: 2, ..term(0) };
        promises.sent(life(2), &Message::PrepareOk { term, op: Op(5) }).unwrap();
        let admit = |n| EntryKind::Admit { node: id(n), incarnation: Incarnation(1) };
        let (electorate, absent) = (NodeSet(7), NodeSet::EMPTY);
        let cold = EntryKind::Cold { era: 2, admits: 2, version: 1, electorate, absent };
        let file = Configuration { version: 2, ..Configuration::plain(electorate, absent) };
        let configure = EntryKind::Configure { configuration: Arc::new(file) };
        let kinds = [cold, admit(1), admit(2), configure];
        for (op, kind) in (1..).map(Op).zip(kinds) {
            let by = Committer { era: 2, term, ..by(1) };
            let entry = Entry { term, level: 1, kind };
            assert_eq!(log.committed(&by, op, &entry, &promises), Ok(true));
        }
        let found = log.committed(&by(1), Op(6), &entry(EntryKind::Noop), &promises);
        assert_eq!(found.unwrap_err().rule, "I9 one era");
    }

    #[test]
    fn a_primary_without_a_committed_entry_is_seen() {
        let (log, _) = begun(&[2]).unwrap();
        let nothing = (Op::ZERO, Term::NONE);
        let found = log.became_primary(life(1), term(2), nothing, |_| None);
        assert_eq!(found.unwrap_err().rule, "I2 survival");
        let own = |op| log.entry(1, op);
        assert_eq!(log.became_primary(life(1), term(2), nothing, own), Ok(()));
        let based =
            |term_there| log.became_primary(life(1), term(2), (Op(5), term_there), |_| None);
        assert_eq!(based(term(1)), Ok(()));
        assert_eq!(based(term(2)).unwrap_err().rule, "I2 survival");
    }
}
