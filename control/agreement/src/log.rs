//! The log in memory: entries from op 1 of the era.

use alloc::vec::Vec;
use wire::{Entry, Op, Term};

/// Entries 1..=op.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Log(Vec<Entry>);

impl Log {
    /// The last op; 0 for an empty log.
    #[must_use]
    pub fn op(&self) -> Op {
        Op(self.0.len() as u64)
    }
    /// Term of the last entry.
    #[must_use]
    pub fn last_term(&self) -> Term {
        self.0.last().map_or(Term::NONE, |entry| entry.term)
    }
    /// The entry at `op`.
    #[must_use]
    pub fn get(&self, op: Op) -> Option<&Entry> {
        self.0.get(usize::try_from(op.0).ok()?.checked_sub(1)?)
    }
    /// Term of the entry at `op`; [`Term::NONE`] before the log, `None` after its end.
    #[must_use]
    pub fn term_at(&self, op: Op) -> Option<Term> {
        if op == Op::ZERO { Some(Term::NONE) } else { self.get(op).map(|entry| entry.term) }
    }
    /// Entries after `op`, with their ops.
    pub fn after(&self, op: Op) -> impl Iterator<Item = (Op, &Entry)> {
        let from = usize::try_from(op.0).unwrap_or(usize::MAX).min(self.0.len());
        self.0[from..].iter().enumerate().map(move |(i, e)| (Op((from + i) as u64 + 1), e))
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
    /// Appends one entry and returns its op.
    pub fn push(&mut self, entry: Entry) -> Op {
        self.0.push(entry);
        self.op()
    }
    /// Drops everything after `op` and returns it.
    pub fn truncate(&mut self, op: Op) -> Vec<Entry> {
        let keep = usize::try_from(op.0).unwrap_or(usize::MAX).min(self.0.len());
        self.0.split_off(keep)
    }
}
