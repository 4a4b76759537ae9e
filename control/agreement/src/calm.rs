//! What follows from a routine message while all is calm.
//!
//! `settle` asks everything that could follow from all that is known: whom to suspect, to remove, to admit, whether to
//! resign, what to configure. While nobody is suspected, nobody wants to join, the log holds nothing uncommitted but
//! requests, and configuration and roster agree, the answer is "nothing" each time, and asking is most of what a commit
//! costs. So `settle` notes that it found all calm; then requests, their Prepares and acknowledgements have their own
//! consequences only. Everything else that comes, above all the timers and the primary's word of every interval, asks
//! everything again, so that what time alone makes due is seen as soon as in a cluster where nothing is written.

use crate::api::Status;
use crate::replica::Agreement;
use base::Instant;
use wire::{Entry, EntryKind, Life, Message};

/// True for entries that change neither lives nor votes nor what is wanted.
pub(crate) const fn is_plain(entry: &Entry) -> bool {
    matches!(entry.kind, EntryKind::Request { .. } | EntryKind::Noop)
}

/// True for messages that nothing follows from but commits and acknowledgements. (An entry that another one passes on is
/// no word of the primary, which may have been mute for long.)
pub(crate) fn is_routine(from: Life, message: &Message) -> bool {
    match message {
        Message::Prepare { term, entries, .. } => {
            from == term.life && !entries.is_empty() && entries.iter().all(is_plain)
        }
        Message::PrepareOk { .. } | Message::Request { .. } => true,
        _ => false,
    }
}

impl Agreement {
    /// At the end of `settle`: true if a routine message changes the answer to none of its questions.
    pub(crate) fn is_calm(&self, now: Instant) -> bool {
        let in_office = match self.status {
            Status::Primary => self.commit >= self.office.first,
            Status::Follower => true,
            Status::Learner | Status::Candidate | Status::Silent => false,
        };
        let (committed, latest) = (&self.committed, &self.latest);
        in_office
            && self.is_whole()
            && !self.has_ended()
            && self.is_member()
            && committed.votes(self.me)
            && self.suspicions.is_silent()
            && self.said_off.is_empty()
            && !self.requests.has_orders()
            && !self.requests.is_holding()
            && self.conf.is_idle()
            && !self.is_pulling()
            && latest.changed_at().is_none()
            && committed.voters == latest.voters
            && latest.configuration().voters == latest.voters
            && latest.void().is_empty()
            && committed.void().is_empty()
            && latest.members().all(|(life, _)| latest.configuration().nodes.contains(life.node))
            && !self.joins.is_asked(now, self.slowest())
            // (A removal that is not sealed is none of these.)
            && self.log.after(self.commit).all(|(_, entry)| is_plain(entry))
            && !self.is_owed_for_long(now)
    }

    /// As primary: a member will soon have owed its acknowledgement for too long (R-PROGRESS), by time alone. Asked each
    /// interval at least, so that three deadlines never pass while all is calm.
    fn is_owed_for_long(&self, now: Instant) -> bool {
        let mut others = self.latest.members().filter(|(life, _)| *life != self.me);
        self.status == Status::Primary && others.any(|(life, _)| self.owes_long(now, life.node))
    }

    /// What follows from a routine message, or from a request of this node.
    pub(crate) fn settle_calmly(&mut self, now: Instant) {
        if !self.calm {
            self.settle(now);
            return;
        }
        self.forgive_stall(now);
        self.pace.forget(now);
        if self.status == Status::Primary {
            self.propose_requests(now);
            self.advance_commit(now);
            self.watch_peers(now);
            self.broadcast();
        }
        // A follower has acknowledged with the Prepare itself: nothing is sealed, and nothing on its way to the disk.
        self.forward_requests(now);
        self.arm(now);
    }
}
