//! The log in memory: a *base*, below which only a snapshot says what was, and the entries after it.
//!
//! Two ends can be cut, and they are two things: [`Log::cut_tail`] takes back what never was committed, because a later
//! primary's log differs; [`Log::drop_head`] forgets what is committed and stands in a snapshot.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use wire::{Entry, EntryKind, Op, Term};

/// Entries base+1..=op.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Log {
    base: Op,
    base_term: Term,
    /// Term of the era's first entry.
    begun: Option<Term>,
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl Default for Log {
    fn default() -> Self {
        let (base, base_term, begun) = (Op::ZERO, Term::NONE, None);
        Self { base, base_term, begun, entries: VecDeque::new(), bytes: 0 }
    }
}

impl Log {
    /// The log after a snapshot at `base`, whose entry is of `base_term`; the era's first entry was of `begun`.
    #[must_use]
    pub fn after_snapshot(base: Op, base_term: Term, begun: Term) -> Self {
        Self { base, base_term, begun: Some(begun), entries: VecDeque::new(), bytes: 0 }
    }
    /// Entries up to here are not in memory: they are committed, and a snapshot has what they did. 0 = all are here.
    #[must_use]
    pub const fn base(&self) -> Op {
        self.base
    }
    /// The last op; 0 for an empty log.
    #[must_use]
    pub fn op(&self) -> Op {
        Op(self.base.0.saturating_add(self.entries.len() as u64))
    }
    /// Term of the last entry.
    #[must_use]
    pub fn last_term(&self) -> Term {
        self.entries.back().map_or(self.base_term, |entry| entry.term)
    }
    /// Its era, if it has one: that of every entry.
    #[must_use]
    pub fn era(&self) -> Option<u32> {
        self.begun.map(|term| term.era)
    }
    /// Term of the era's first entry: it names the batch that began the era.
    #[must_use]
    pub const fn begun(&self) -> Option<Term> {
        self.begun
    }
    /// Upper bound of the entries' encoded bytes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
    /// How many entries are in memory.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }
    /// True if no entry is in memory.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
    /// The entry at `op`, if it is in memory.
    #[must_use]
    pub fn get(&self, op: Op) -> Option<&Entry> {
        let index = op.0.checked_sub(self.base.0)?.checked_sub(1)?;
        self.entries.get(usize::try_from(index).ok()?)
    }
    /// Term of the entry at `op`; [`Term::NONE`] before the log, `None` below the base and after the end.
    #[must_use]
    pub fn term_at(&self, op: Op) -> Option<Term> {
        if op == self.base { Some(self.base_term) } else { self.get(op).map(|entry| entry.term) }
    }
    /// Last op of the batch that begins the era (Cold, its Admits, a Fenced for each absent voter, a Configure); 0 if the log
    /// does not begin with one, or the batch is below the base: there it is committed.
    #[must_use]
    pub fn batch_end(&self) -> Op {
        match self.get(Op(1)).map(|entry| &entry.kind) {
            Some(EntryKind::Cold { admits, absent, .. }) => {
                Op(2 + u64::from(*admits) + absent.len() as u64)
            }
            _ => Op::ZERO,
        }
    }
    /// Entries in memory after `op`, with their ops.
    pub fn after(&self, op: Op) -> impl Iterator<Item = (Op, &Entry)> {
        let from = self.index_after(op);
        let first = self.base.0.saturating_add(from as u64).saturating_add(1);
        (first..).map(Op).zip(self.entries.range(from..))
    }
    /// Entries after `op` whose bytes together stay under `budget` (at least one, if there is one).
    #[must_use]
    pub fn cut_after(&self, op: Op, budget: usize) -> Vec<Entry> {
        let mut used = 0;
        let fits = |entry: &&Entry| {
            let first = used == 0;
            used += entry.size();
            first || used <= budget
        };
        self.after(op).map(|(_, entry)| entry).take_while(fits).cloned().collect()
    }
    /// The op after which the last entries lie whose bytes together stay under `budget`.
    #[must_use]
    pub fn start_of_last(&self, budget: usize) -> Op {
        let mut used = 0;
        let fits = |entry: &&Entry| {
            used += entry.size();
            used <= budget
        };
        let count = self.entries.iter().rev().take_while(fits).count();
        Op(self.op().0 - count as u64)
    }
    /// Appends one entry and returns its op.
    pub fn push(&mut self, entry: Entry) -> Op {
        if self.op() == Op::ZERO {
            self.begun = Some(entry.term);
        }
        self.bytes = self.bytes.saturating_add(entry.size());
        self.entries.push_back(entry);
        self.op()
    }
    /// Takes back everything after `op` and returns it. What is below the base stays.
    pub fn cut_tail(&mut self, op: Op) -> Vec<Entry> {
        let cut: Vec<Entry> = self.entries.split_off(self.index_after(op)).into();
        let size: usize = cut.iter().map(Entry::size).sum();
        self.bytes = self.bytes.saturating_sub(size);
        if self.op() == Op::ZERO {
            self.begun = None;
        }
        cut
    }
    /// Forgets the entries up to `op`; whoever asks for them needs the snapshot.
    pub fn drop_head(&mut self, op: Op) {
        while self.base < op.min(self.op()) {
            let Some(entry) = self.entries.pop_front() else { return };
            self.bytes = self.bytes.saturating_sub(entry.size());
            self.base_term = entry.term;
            self.base = self.base.next();
        }
    }

    /// Place of the first entry after `op`.
    fn index_after(&self, op: Op) -> usize {
        let index = usize::try_from(op.0.saturating_sub(self.base.0)).unwrap_or(usize::MAX);
        index.min(self.entries.len())
    }
}

#[cfg(test)]
mod tests {
    use super::Log;
    use wire::{Entry, EntryKind, Incarnation, Life, NodeId, Op, Term};

    fn term(counter: u32) -> Term {
        let life = Life { node: NodeId::new(1).unwrap(), incarnation: Incarnation(1) };
        Term { era: 3, counter, life }
    }

    fn entry(counter: u32) -> Entry {
        Entry { term: term(counter), level: 1, kind: EntryKind::Noop }
    }

    /// Entries 1..=n, the entry at op k of term k.
    fn log(n: u32) -> Log {
        let mut log = Log::default();
        for counter in 1..=n {
            assert_eq!(log.push(entry(counter)), Op(u64::from(counter)));
        }
        log
    }

    #[test]
    fn without_its_head_it_is_the_same_log() {
        let (whole, mut log) = (log(10), log(10));
        log.drop_head(Op(4));
        assert_eq!((log.base(), log.op(), log.last_term()), (Op(4), Op(10), term(10)));
        assert_eq!((log.era(), log.begun()), (Some(3), Some(term(1))));
        assert_eq!((log.get(Op(4)), log.get(Op(5))), (None, whole.get(Op(5))));
        assert_eq!(log.term_at(Op(3)), None);
        assert_eq!((log.term_at(Op(4)), log.term_at(Op(11))), (Some(term(4)), None));
        assert!(log.after(Op(6)).eq(whole.after(Op(6))));
        assert!(log.after(Op::ZERO).eq(whole.after(Op(4))), "what is gone is left out");
        assert_eq!(log.bytes() + 4 * entry(1).size(), whole.bytes());
        log.drop_head(Op(2));
        assert_eq!(log.base(), Op(4), "what is dropped stays dropped");
    }

    #[test]
    fn the_tail_is_cut_down_to_the_base_at_most() {
        let mut log = log(10);
        log.drop_head(Op(4));
        assert_eq!(log.cut_tail(Op(8)), [entry(9), entry(10)]);
        assert_eq!(log.cut_tail(Op(2)).len(), 4);
        assert_eq!((log.op(), log.last_term(), log.bytes()), (Op(4), term(4), 0));
        assert_eq!(log.push(entry(7)), Op(5));
        log.drop_head(Op(9));
        assert_eq!((log.base(), log.len(), log.last_term()), (Op(5), 0, term(7)));
    }

    #[test]
    fn its_last_entries_are_found_by_their_bytes() {
        let (mut log, size) = (log(10), entry(1).size());
        assert_eq!(log.start_of_last(0), Op(10));
        assert_eq!(log.start_of_last(3 * size), Op(7));
        assert_eq!(log.start_of_last(4 * size - 1), Op(7));
        log.drop_head(Op(4));
        assert_eq!(log.start_of_last(usize::MAX), Op(4), "what is gone is left out");
    }

    #[test]
    fn an_era_ends_with_its_first_entry() {
        let mut log = log(2);
        log.cut_tail(Op::ZERO);
        assert_eq!((log.era(), log.op(), log.last_term()), (None, Op::ZERO, Term::NONE));
        let after = Log::after_snapshot(Op(9), term(4), term(1));
        assert_eq!(
            (after.era(), after.op(), after.term_at(Op(9))),
            (Some(3), Op(9), Some(term(4)))
        );
        assert_eq!(after.batch_end(), Op::ZERO);
    }
}
