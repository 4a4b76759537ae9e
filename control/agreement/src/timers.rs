//! Everything that waits for a moment, in one table.

use crate::api::Status;
use crate::replica::Agreement;
use base::Instant;

/// What waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Timer {
    /// Primary: bare Prepare, retransmission, progress. Candidate: ask again.
    Beacon,
    /// No first Prepare of the promised term: try the next candidate.
    Change,
    /// Not a member: ask to be admitted; fresh: begin or ask for an era.
    Join,
    /// Suspicions are told again.
    Suspect,
    /// Requests and orders on their way to the primary are sent again.
    Resend,
    /// The primary of the term says nothing: fetch from others.
    Lull,
    /// The disk has not answered: store the charter again.
    Store,
    /// A removal may be acknowledged (R-ACK 2), or a member that is configured no more is to be removed.
    Seal,
    /// Slices of a snapshot that did not come are asked for again.
    Pull,
    /// The beginning of the log may be forgotten.
    Trim,
}

const COUNT: usize = 10;
/// Whose vote is not needed asks others for what the primary does not say after so many deadlines.
const LULL_OF_STRANGERS: u64 = 8;
/// Deadlines after which a store that was not answered is ordered again.
const STORE_AGAIN: u64 = 8;

/// One moment for each [`Timer`].
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Timers([Option<Instant>; COUNT]);

impl Timers {
    pub(crate) const fn get(&self, timer: Timer) -> Option<Instant> {
        self.0[timer as usize]
    }
    pub(crate) const fn set(&mut self, timer: Timer, at: Instant) {
        self.0[timer as usize] = Some(at);
    }
    pub(crate) const fn clear(&mut self, timer: Timer) {
        self.0[timer as usize] = None;
    }
    /// True once if the moment has come.
    fn take(&mut self, timer: Timer, now: Instant) -> bool {
        let due = self.get(timer).is_some_and(|at| at <= now);
        if due {
            self.clear(timer);
        }
        due
    }
}

impl Agreement {
    /// When [`Agreement::handle_timeout`] must be called at the latest.
    #[must_use]
    pub fn poll_deadline(&self) -> Option<Instant> {
        if self.has_ended() {
            return None;
        }
        self.timers.0.iter().copied().flatten().min()
    }

    pub(crate) fn fire(&mut self, now: Instant) {
        if self.timers.take(Timer::Beacon, now) {
            match self.status {
                Status::Primary => self.beacon(now),
                Status::Candidate => self.ask_again(),
                _ => {}
            }
        }
        if self.timers.take(Timer::Change, now) {
            self.try_next(now);
        }
        if self.timers.take(Timer::Join, now) {
            self.send_join(now);
        }
        if self.timers.take(Timer::Suspect, now) {
            self.repeat_suspicions(now);
        }
        if self.timers.take(Timer::Resend, now) {
            self.requests.resend();
            self.conf.resend();
        }
        if self.timers.take(Timer::Store, now) {
            self.store_again();
        }
        if self.timers.take(Timer::Lull, now) {
            self.fetch_elsewhere();
        }
        if self.timers.take(Timer::Pull, now) {
            self.pull_again(now);
        }
        if self.timers.take(Timer::Trim, now) {
            self.trim_log(now);
        }
        // What may be acknowledged now is what `settle` looks at next.
        self.timers.take(Timer::Seal, now);
    }

    /// Starts every timer that should run and does not, and stops those that should not.
    pub(crate) fn arm(&mut self, now: Instant) {
        let waits = self.status == Status::Follower && self.heard_primary.is_none();
        self.awaits_primary = waits.then(|| self.awaits_primary.unwrap_or(now));
        let (interval, deadline) = (self.settings.interval, self.deadline());
        let change = self.patience();
        let open_change = matches!(self.status, Status::Silent | Status::Candidate) && self.votes();
        // Who promised another's term may be the one that does not know how far the log is committed; and a learner of an era
        // may have been admitted without knowing it, by a primary that is gone.
        let following = match self.status {
            Status::Learner => self.heard_primary.is_some() || self.term.era > 0,
            Status::Follower | Status::Silent => true,
            Status::Candidate | Status::Primary => false,
        };
        // The next primary tells all others soon; asked by a hundred nodes at once, nobody would hear the voters.
        let electorate = self.committed.voters.union(self.conf.held.electorate);
        let needed = electorate.contains(self.me.node);
        let lull = self.slowest() * if needed { 1 } else { LULL_OF_STRANGERS };
        let table = [
            (Timer::Beacon, interval, matches!(self.status, Status::Primary | Status::Candidate)),
            (Timer::Change, change, open_change),
            (Timer::Join, interval, !self.is_member()),
            (Timer::Suspect, interval, !self.suspicions.is_quiet()),
            (Timer::Resend, deadline, self.requests.is_waiting() || self.conf.is_waiting()),
            (Timer::Store, deadline * STORE_AGAIN, self.conf.is_storing()),
            (Timer::Lull, lull, following),
            (Timer::Pull, interval, self.is_pulling()),
            (Timer::Trim, deadline, self.may_trim()),
        ];
        for (timer, after, wanted) in table {
            match (wanted, self.timers.get(timer)) {
                (true, None) => self.timers.set(timer, now + after),
                (false, Some(_)) => self.timers.clear(timer),
                _ => {}
            }
        }
        let drop = self.drop_deadline().filter(|at| *at > now);
        match self.seal_deadline(now).into_iter().chain(drop).min() {
            Some(at) => self.timers.set(Timer::Seal, at),
            None => self.timers.clear(Timer::Seal),
        }
    }
}
