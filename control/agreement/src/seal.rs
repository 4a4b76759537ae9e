//! Appending a removal and acknowledging it are two things (R-ACK, S2).
//!
//! On appending `Remove{n,i,stint}` the fast path is told to echo that stint no more, and answers with the moment until
//! which a lease can last that rests on what it echoed before: each beat declares its deadline, and the latest sum of
//! receipt and deadline counts. The entry is acknowledged only when that has passed. An obituary of exactly that stint, or
//! a frame of a newer life of the node, says the same sooner. The own removal closes the own lease at once (R-SELF).

use crate::api::Action;
use crate::replica::Agreement;
use crate::roster::Roster;
use alloc::collections::BTreeMap;
use base::Instant;
use wire::{Life, NodeId, Op, Stint};

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Seal {
    life: Life,
    stint: Stint,
    /// Until when a lease can last that rests on the own echoes, once the fast path has said it.
    end: Option<Instant>,
}

/// Removals in the log that are not known to be committed, by op.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Seals(BTreeMap<Op, Seal>);

impl Seals {
    /// True if a removal of this life stands in the log uncommitted.
    pub(crate) fn name(&self, life: Life) -> bool {
        self.0.values().any(|seal| seal.life == life)
    }
    /// True if the fast path has answered every freeze, as it does at once.
    pub(crate) fn are_answered(&self, me: Life) -> bool {
        self.0.values().all(|seal| seal.end.is_some() || seal.life == me)
    }
}

impl Agreement {
    /// Answer to [`Action::Freeze`]: no beat was or will be echoed for this stint by which a lease can last beyond `end`.
    pub fn handle_frozen(&mut self, now: Instant, node: NodeId, stint: Stint, end: Instant) {
        if self.has_ended() {
            return;
        }
        for seal in self.seals.0.values_mut() {
            if seal.life.node == node && seal.stint == stint {
                seal.end = Some(end);
            }
        }
        self.settle(now);
    }

    pub(crate) fn seal(&mut self, now: Instant, op: Op, life: Life, stint: Stint) {
        let mut end = None;
        if life == self.me {
            if !self.off("self-remove") {
                self.actions.push_back(Action::CloseLease { stint });
            }
        } else if self.off("freeze-echo") {
            end = Some(now);
        } else {
            self.actions.push_back(Action::Freeze { node: life.node, stint });
        }
        self.seals.0.insert(op, Seal { life, stint, end });
    }

    /// R-ACK 3: what was truncated can never commit any more; echoing resumes.
    pub(crate) fn unseal_after(&mut self, op: Op) {
        for (_, seal) in self.seals.0.split_off(&op.next()) {
            self.actions.push_back(if seal.life == self.me {
                Action::ReopenLease
            } else {
                Action::Unfreeze { node: seal.life.node }
            });
        }
    }

    /// A snapshot takes the place of the log: a removal that its roster knows is committed, every other one never was.
    pub(crate) fn unseal_for(&mut self, roster: &Roster) {
        for (_, seal) in core::mem::take(&mut self.seals.0) {
            if roster.stint(seal.life) != seal.stint {
                continue;
            }
            self.actions.push_back(if seal.life == self.me {
                Action::ReopenLease
            } else {
                Action::Unfreeze { node: seal.life.node }
            });
        }
    }

    /// How far the log may be acknowledged, by R-ACK; `top` is how far it is appended and matched.
    pub(crate) fn sealed_up_to(&self, now: Instant, top: Op) -> Op {
        let open = |(op, seal): (&Op, &Seal)| {
            (*op > self.commit && !self.is_sealed(now, seal)).then_some(Op(op.0 - 1))
        };
        let top = self.stored_up_to(top);
        self.seals.0.iter().find_map(open).map_or(top, |before| before.min(top))
    }

    fn is_sealed(&self, now: Instant, seal: &Seal) -> bool {
        let Some(end) = self.seal_end(seal) else { return seal.life == self.me };
        now >= end
            || self.off("own-deadline")
            || self.has_obituary(seal.life, seal.stint)
            || self.is_over(seal.life)
            || self.off("fence-deadline") && self.latest.is_void(seal.life.node)
    }

    /// When the deadline has passed; `None` until the fast path has answered, before which nothing is acknowledged.
    /// Deadlines begin afresh with each life: what an earlier one echoed has ended by then, whatever it declared (5.3 b).
    fn seal_end(&self, seal: &Seal) -> Option<Instant> {
        let afresh =
            if self.off("afresh") { Instant::ZERO } else { self.started + self.settings.longest() };
        seal.end.map(|end| end.max(afresh))
    }

    /// When the last removal may be acknowledged here, or could be: about when it may elsewhere. Who has not acknowledged
    /// before owes nothing (R-PROGRESS).
    pub(crate) fn last_seal_end(&self) -> Instant {
        let open = self.seals.0.values().filter_map(|seal| self.seal_end(seal));
        open.fold(self.sealed, Instant::max)
    }

    /// A removal is committed: its stint is over for everybody. Who waited for it acknowledges from now on.
    pub(crate) fn forget_seal(&mut self, op: Op) {
        if let Some(end) = self.seals.0.remove(&op).and_then(|seal| self.seal_end(&seal)) {
            self.sealed = self.sealed.max(end.min(self.settled));
        }
    }

    /// When the next removal may be acknowledged.
    pub(crate) fn seal_deadline(&self, now: Instant) -> Option<Instant> {
        self.seals.0.values().filter_map(|seal| self.seal_end(seal)).filter(|at| *at > now).min()
    }
}
