//! What a life tells about itself; nothing here changes anything.

use crate::api::{Status, Waiting};
use crate::replica::Agreement;
use crate::roster::Roster;
use base::Instant;
use wire::{Life, NodeSet, Op, Term};

impl Agreement {
    /// This life.
    #[must_use]
    pub const fn life(&self) -> Life {
        self.me
    }
    /// What it is at the moment.
    #[must_use]
    pub const fn status(&self) -> Status {
        self.status
    }
    /// Highest term promised or followed.
    #[must_use]
    pub const fn term(&self) -> Term {
        self.term
    }
    /// Committed up to here.
    #[must_use]
    pub const fn commit(&self) -> Op {
        self.commit
    }
    /// Released up to here (PROTOCOL 9).
    #[must_use]
    pub const fn release(&self) -> Op {
        self.release
    }
    /// Last entry of the log.
    #[must_use]
    pub fn op(&self) -> Op {
        self.log.op()
    }
    /// Lives and stints by the committed log.
    #[must_use]
    pub const fn roster(&self) -> &Roster {
        &self.committed
    }
    /// Members that are known to have acknowledged, hence stored, the charter in force (R-CONF-DURABLE): as far as a
    /// primary knows; another one knows only about itself.
    #[must_use]
    pub fn charter_holders(&self) -> NodeSet {
        let mut holders = NodeSet::EMPTY;
        if self.held_charter().edition() >= self.committed.charter().edition() {
            holders.insert(self.me.node);
        }
        if self.status == Status::Primary {
            let at = self.committed.changed_op();
            let others = self.committed.members().filter(|(life, _)| *life != self.me);
            let have = others.filter(|(life, _)| self.matched_by(*life) >= at);
            have.for_each(|(life, _)| holders.insert(life.node));
        }
        holders
    }
    /// The log; the simulator's checkers read it.
    #[must_use]
    pub const fn log(&self) -> &crate::log::Log {
        &self.log
    }
    /// Terms tried since an entry committed.
    #[must_use]
    pub const fn attempt(&self) -> u64 {
        self.change.attempt
    }

    /// Who may begin an era: a majority of fresh lives without any of these waits for one.
    #[must_use]
    pub fn era_leaders(&self) -> NodeSet {
        self.conf.held.configuration.leaders(self.era_electorate(self.settled))
    }

    /// What keeps this life from acting; `None` if nothing does.
    #[must_use]
    pub fn waiting(&self) -> Option<Waiting> {
        let now = self.settled;
        let need = self.committed.majority();
        if self.lives_have_ended() {
            let seats = self.committed.seats().map(|(node, seat)| seat.life(node));
            let ended = seats.filter(|life| self.is_over(*life)).map(|l| l.node).collect();
            return Some(Waiting::LivesEnded { ended, need });
        }
        if let Some(about) = self.lacks_evidence(now) {
            return Some(Waiting::Evidence { about });
        }
        match self.status {
            Status::Learner if !self.hears_no_primary(now) && self.is_member() => None,
            Status::Learner if !self.hears_no_primary(now) => Some(Waiting::Admission),
            Status::Learner => {
                let (fresh, need) = (self.fresh_lives(now), self.cold_majority(now));
                Some(Waiting::ColdStart { fresh, need })
            }
            Status::Candidate | Status::Silent => {
                // The own vote is never what is missing.
                let mut promised = self.promised_by();
                promised.insert(self.me.node);
                Some(Waiting::Primary { promised, need })
            }
            Status::Primary if self.is_stuck(now) => {
                Some(Waiting::Acknowledgements { have: self.holders_now(now), need })
            }
            Status::Follower if !self.is_member() => Some(Waiting::Readmission),
            Status::Follower | Status::Primary => None,
        }
    }

    /// The silent other half of a pair, whose vote this voter lacks.
    fn lacks_evidence(&self, now: Instant) -> Option<Life> {
        let seats = self.committed.seats().map(|(node, seat)| seat.life(node));
        let mut silent = seats.filter(|life| self.suspects_life(now, *life));
        silent.find(|life| self.votes() && self.needs_evidence(life.node))
    }

    /// A primary whose last entry has no majority, and not only because it has just been sent.
    fn is_stuck(&self, now: Instant) -> bool {
        let holders = self.holders_now(now);
        let soon = self.committed.voters.minus(holders).iter();
        let soon = soon.filter(|node| !self.owes_long(now, *node)).count();
        self.commit < self.log.op() && holders.len() + soon < self.committed.majority()
    }
}
