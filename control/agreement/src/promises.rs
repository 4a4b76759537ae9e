//! What a candidate has been promised: one log tail per voter, put together from its pieces.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use wire::{Entry, Life, NodeId, Op, Term};

/// One voter's promise.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Promised {
    /// Who promised.
    pub(crate) life: Life,
    /// Its commit.
    pub(crate) commit: Op,
    /// Its last entry.
    pub(crate) last_op: Op,
    last_term: Term,
    /// Op before the first entry of `tail`.
    pub(crate) prev_op: Op,
    /// Term of the entry there.
    pub(crate) prev_term: Term,
    /// Its entries after `prev_op`, as far as they are here.
    pub(crate) tail: Vec<Entry>,
    /// The candidate has asked for what is missing.
    asked: bool,
}

impl Promised {
    fn end(&self) -> Op {
        Op(self.prev_op.0.saturating_add(self.tail.len() as u64))
    }
    /// All above its commit is here.
    fn is_complete(&self) -> bool {
        let last = self.tail.last().map(|entry| entry.term);
        self.prev_op <= self.commit
            && self.commit <= self.last_op
            && self.end() == self.last_op
            && last.is_none_or(|term| term == self.last_term)
    }
    /// Term of its entry at `op`, if that is here.
    pub(crate) fn term_at(&self, op: Op) -> Option<Term> {
        let at = op.0.checked_sub(self.prev_op.0)?.checked_sub(1)?;
        self.tail.get(usize::try_from(at).ok()?).map(|entry| entry.term)
    }
    /// Its entries after `op`.
    pub(crate) fn after(&self, op: Op) -> impl Iterator<Item = (Op, &Entry)> {
        let ops = self.prev_op.0.saturating_add(1)..;
        ops.map(Op).zip(self.tail.iter()).skip_while(move |(at, _)| *at <= op)
    }
    /// Takes one more piece.
    fn extend(&mut self, (prev_op, prev_term): (Op, Term), piece: Vec<Entry>) {
        if prev_op < self.prev_op {
            (self.prev_op, self.prev_term, self.tail) = (prev_op, prev_term, piece);
        } else if prev_op <= self.end() {
            let known = usize::try_from(self.end().0 - prev_op.0).unwrap_or(usize::MAX);
            self.tail.extend(piece.into_iter().skip(known));
        }
    }
}

/// All promises of one candidacy, without the candidate's own.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Promises {
    own_commit: Op,
    by: BTreeMap<NodeId, Promised>,
}

impl Promises {
    pub(crate) fn new(own_commit: Op) -> Self {
        Self { own_commit, by: BTreeMap::new() }
    }

    /// Takes one piece of a promise; a newer life's replaces an older one's.
    pub(crate) fn add(
        &mut self,
        life: Life,
        (commit, last_op, last_term): (Op, Op, Term),
        prev: (Op, Term),
        piece: Vec<Entry>,
    ) {
        match self.by.get_mut(&life.node) {
            Some(known) if known.life == life && known.last_op == last_op => {
                known.commit = known.commit.max(commit);
                known.extend(prev, piece);
            }
            Some(known) if known.life.incarnation > life.incarnation => {}
            _ => {
                let ((prev_op, prev_term), tail, asked) = (prev, piece, false);
                let promised =
                    Promised { life, commit, last_op, last_term, prev_op, prev_term, tail, asked };
                self.by.insert(life.node, promised);
            }
        }
    }

    /// Promises that are here whole: only these count.
    pub(crate) fn complete(&self) -> impl Iterator<Item = &Promised> {
        self.by.values().filter(|promised| promised.is_complete())
    }

    /// The promise with the highest commit, if that is above `commit`.
    pub(crate) fn ahead(&self, commit: Op) -> Option<Promised> {
        self.complete().filter(|p| p.commit > commit).max_by_key(|p| p.commit).cloned()
    }

    /// R-SELECT: the promise with the highest (last term, op), unless the own log has it.
    pub(crate) fn best(&self, own: (Term, Op), op_only: bool) -> Option<Promised> {
        let key = |(term, op): (Term, Op)| if op_only { (Term::NONE, op) } else { (term, op) };
        let of = |p: &Promised| key((p.last_term, p.last_op));
        self.complete().max_by_key(|p| of(p)).filter(|p| of(p) > key(own)).cloned()
    }

    /// Lowest commit among all promises: everybody that promised has all up to there.
    pub(crate) fn lowest_commit(&self) -> Op {
        self.complete().map(|p| p.commit).fold(self.own_commit, Op::min)
    }

    /// The same for those that were not asked yet.
    pub(crate) fn missing_once(&mut self, commit: Op) -> Vec<(NodeId, Op)> {
        let mut missing = self.missing(commit);
        missing.retain(|(node, _)| {
            self.by.get_mut(node).is_some_and(|p| !core::mem::replace(&mut p.asked, true))
        });
        missing
    }

    /// The own log has changed: whoever was asked for what it lacks is asked again.
    pub(crate) fn ask_anew(&mut self) {
        self.by.values_mut().for_each(|promised| promised.asked = false);
    }

    /// First op that is missing of each promise, seen from a candidate that has committed up to `commit`.
    pub(crate) fn missing(&self, commit: Op) -> Vec<(NodeId, Op)> {
        let from = |p: &Promised| {
            if p.prev_op > commit.min(p.commit) {
                Some(commit.min(p.commit).next())
            } else {
                (p.end() < p.last_op).then(|| p.end().next())
            }
        };
        self.by.iter().filter_map(|(node, p)| from(p).map(|op| (*node, op))).collect()
    }
}
