//! Another primary (PROTOCOL 3): promises go unsolicited to the next unsuspected member, which begins its term with
//! what they hold.

use crate::api::{Destination, Status, StatusEvent};
use crate::pace::{BURST_BYTES, Burst};
use crate::promises::{Promised, Promises};
use crate::replica::Agreement;
use crate::replicate::Office;
use crate::roster::Roster;
use crate::timers::Timer;
use alloc::vec::Vec;
use base::{Duration, Instant};
use wire::message::PREPARE_TARGET;
use wire::{Entry, EntryKind, Life, Message, NodeId, NodeSet, Op, Stint, Term};

/// The wait for a first Prepare grows up to this many attempts.
const ATTEMPTS_MAX: u64 = 15;

/// A change of primary under way.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Change {
    /// As candidate: what was promised.
    pub(crate) promises: Promises,
    /// Terms tried since an entry committed.
    pub(crate) attempt: u64,
}

impl Change {
    /// Another term is entered.
    pub(crate) fn leave(&mut self) {
        self.promises = Promises::default();
    }
}

impl Agreement {
    /// How long a promised term may stay without its first Prepare: grows, so that one term finishes.
    pub(crate) fn patience(&self) -> Duration {
        self.deadline() / 2 * (1 + self.change.attempt.min(ATTEMPTS_MAX))
    }

    /// When to promise: (a) this node and a majority call the primary silent, (c) its life or stint has ended.
    pub(crate) fn consider_change(&mut self, now: Instant) {
        if !self.votes() || self.lives_have_ended() {
            return;
        }
        let primary = self.term.life;
        let stint = self.committed.stint(primary);
        let ended = self.is_over(primary) || self.has_obituary(primary, stint);
        let silent = self.suspects_life(now, primary) && self.majority_names(now, primary, stint);
        if primary != self.me && (ended || silent) {
            self.promise_next(now);
        }
    }

    /// The promised term has no first Prepare yet: the next candidate.
    pub(crate) fn try_next(&mut self, now: Instant) {
        if self.lives_have_ended() {
            return;
        }
        self.change.attempt += 1;
        self.promise_next(now);
    }

    /// Promises the next term to whoever comes next in rank. Without a majority in sight the counter stays: it would
    /// only depose the next primary once more when this node is heard again.
    fn promise_next(&mut self, now: Instant) {
        if self.unsuspected_voters(now).len() < self.committed.majority() {
            return;
        }
        let Some(life) = self.next_candidate(now) else { return };
        let term = Term { era: self.term.era, counter: self.term.counter.saturating_add(1), life };
        if life == self.me {
            self.stand(now, term);
        } else {
            self.promise(term);
        }
    }

    /// First member after the present primary in rank order that neither this node nor a majority suspects. When no
    /// member is left, a removed life that lives takes over, to admit the others: it has its memory and its vote, and
    /// a primary needs no lease. (Otherwise votes enough could be alive and nobody allowed to lead them.)
    fn next_candidate(&self, now: Instant) -> Option<Life> {
        let candidates = || self.candidates(now);
        let member = |(_, stint): &(Life, Stint)| stint.is_member();
        // Rather one that will keep its vote.
        let kept =
            |(life, _): &(Life, Stint)| self.committed.configuration().voters.contains(life.node);
        let found = candidates().filter(member).find(kept);
        found
            .or_else(|| candidates().find(member))
            .or_else(|| candidates().next())
            .map(|(life, _)| life)
    }

    /// Lives with a vote that may lead and are not suspected, beginning after the present primary.
    pub(crate) fn candidates(&self, now: Instant) -> impl Iterator<Item = (Life, Stint)> {
        let after = self.term.life.node;
        let leaders = self.committed.leaders();
        let ranks = || leaders.iter();
        ranks()
            .filter(move |node| *node > after)
            .chain(ranks().filter(move |node| *node <= after))
            .filter_map(|node| self.committed.seat(node).map(|seat| (seat.life(node), seat.stint)))
            .filter(move |(life, stint)| {
                (*life == self.me || !self.suspects_life(now, *life))
                    && !self.was_ended(*life)
                    && !self.majority_names(now, *life, *stint)
            })
    }

    /// True if this life may become primary: a voter that may lead, and a member unless no member is left.
    fn may_stand(&self, now: Instant) -> bool {
        (self.votes() || self.off("evidence-member"))
            && self.committed.leaders().contains(self.me.node)
            && (self.is_member() || !self.member_may_lead(now))
    }

    /// True if a member other than this life may lead.
    fn member_may_lead(&self, now: Instant) -> bool {
        self.candidates(now).any(|(life, stint)| stint.is_member() && life != self.me)
    }

    /// Promises a term to its owner, with the log's tail.
    fn promise(&mut self, term: Term) {
        let was_primary = self.status == Status::Primary || self.term.life == self.me;
        self.enter(term);
        self.turn(StatusEvent::PromiseOther);
        self.voted = true;
        if was_primary {
            // Hand-over: the followers learn from this that nobody leads the old term (c).
            self.send(Destination::All, Message::Reject { term });
        }
        self.send_promise(self.commit);
    }

    /// Sends the promised log after `after` to the candidate, in as many messages as a burst has; it asks for the rest.
    pub(crate) fn send_promise(&mut self, after: Op) {
        let (term, commit) = (self.term, self.commit);
        let (last_op, last_term) = (self.log.op(), self.log.last_term());
        let mut prev_op = after.min(last_op);
        let (begin, mut burst) = (prev_op, Burst::promise());
        while burst.goes_on() {
            let tail = self.log.cut_after(prev_op, PREPARE_TARGET);
            let end = Op(prev_op.0 + tail.len() as u64);
            let Some(prev_term) = self.log.term_at(prev_op) else { break };
            burst.add(tail.iter().map(Entry::size).sum());
            let message =
                Message::Promise { term, commit, last_op, last_term, prev_op, prev_term, tail };
            self.send(Destination::Node(term.life.node), message);
            prev_op = end;
            if prev_op >= last_op {
                break;
            }
        }
        // What takes the stream is not sent again while it may be on its way.
        self.pace.note_flight(self.settled, term.life, (begin, prev_op), burst, self.deadline());
    }

    /// Stands for a term of its own: promises to itself and asks the others.
    pub(crate) fn stand(&mut self, now: Instant, term: Term) {
        self.enter(term);
        if self.off("evidence-member") && self.status == Status::Learner {
            self.status = Status::Candidate;
        } else {
            self.turn(StatusEvent::Stand);
        }
        self.voted = true;
        self.change.promises = Promises::new(self.commit);
        self.send(Destination::All, Message::PromiseRequest { term });
        self.try_office(now);
    }

    /// Every interval as candidate: asks who has not promised, for what is missing of a promise, and for what anybody knows
    /// to be committed. (Whose vote was taken by that promises nothing, and may be the last one who knows it.)
    pub(crate) fn ask_again(&mut self) {
        let term = self.term;
        self.send(Destination::All, Message::PromiseRequest { term });
        self.send(Destination::All, Message::Fetch { term, from: self.commit.next() });
        for (node, from) in self.change.promises.missing(self.commit) {
            self.send(Destination::Node(node), Message::Fetch { term, from });
        }
    }

    pub(crate) fn on_promise_request(&mut self, now: Instant, from: Life, term: Term) {
        let ended = self.has_obituary(from, self.committed.stint(from));
        let blank = self.off("incarnation-vote") && self.term == Term::NONE;
        let other_era = self.term.era != term.era && !blank;
        if from != term.life || other_era || !self.votes() || ended {
            self.learn_era(now, from, term);
            return;
        }
        if term == self.term && self.status == Status::Silent {
            if !self.is_under_way(now, from, self.commit.next()) {
                self.send_promise(self.commit);
            }
        } else if term < self.term {
            self.send(Destination::Node(from.node), Message::Reject { term: self.term });
        } else if term > self.term && self.may_leave(now, from) {
            self.promise(term);
        } else if term > self.term && self.status == Status::Primary {
            self.on_reject(now, from, term);
        }
    }

    /// Without a log of the era in which somebody stands: the candidate may know that this life has a vote in it.
    fn learn_era(&mut self, now: Instant, from: Life, term: Term) {
        if from == term.life && self.is_without_log() && self.hears_no_primary(now) {
            let message = Message::Fetch { term, from: self.commit.next() };
            self.send(Destination::Node(from.node), message);
        }
    }

    /// Guards of a promise that was asked for. For stability only: safety does not rest on them.
    fn may_leave(&self, now: Instant, asker: Life) -> bool {
        match self.status {
            Status::Silent | Status::Candidate => true,
            Status::Follower => asker == self.term.life || self.suspects_life(now, self.term.life),
            Status::Learner => self.off("incarnation-vote"),
            Status::Primary => false,
        }
    }

    /// A peer has promised a higher term.
    pub(crate) fn on_reject(&mut self, now: Instant, from: Life, term: Term) {
        if term <= self.term || self.term.era != term.era {
            return;
        }
        if !self.counts(&self.committed, from) {
            self.return_to(now, from, term);
            return;
        }
        match self.status {
            Status::Primary => {
                self.office.rejected.insert(from.node, term);
                let mut gone: NodeSet = self.office.rejected.keys().copied().collect();
                gone.insert(term.life.node);
                let own = self.committed.stint(self.me);
                self.named_by(now, self.me, own).iter().for_each(|node| gone.insert(node));
                if gone.len() >= self.committed.majority() {
                    self.promise(term);
                } else if self.may_stand(now) {
                    // A minority left a healthy primary.
                    self.stand_above(now, term);
                } else {
                    self.promise(term);
                }
            }
            Status::Candidate if term.life != self.me => self.promise(term),
            Status::Follower | Status::Silent if from == self.term.life && term.life != self.me => {
                self.promise(term);
            }
            Status::Follower | Status::Silent if from == self.term.life && self.may_stand(now) => {
                self.stand(now, term);
            }
            _ => {}
        }
    }

    /// Comes back under a term above one that was promised to another.
    fn stand_above(&mut self, now: Instant, term: Term) {
        let counter = term.counter.saturating_add(1);
        self.stand(now, Term { era: term.era, counter, life: self.me });
    }

    /// A life without a vote promised a later term before it knew that its vote was taken. The promise binds it all the
    /// same (it may get its vote back), so that it follows nobody below: the primary comes back above it.
    fn return_to(&mut self, now: Instant, from: Life, term: Term) {
        let seated = self.committed.seat(from.node);
        let seated = seated.is_some_and(|seat| seat.incarnation == from.incarnation);
        if self.status == Status::Primary && seated && self.may_stand(now) {
            self.stand_above(now, term);
        }
    }

    pub(crate) fn on_promise(
        &mut self,
        now: Instant,
        from: Life,
        term: Term,
        claim: (Op, Op, Term),
        prev: (Op, Term),
        tail: Vec<Entry>,
    ) {
        if term.life != self.me || self.term.era != term.era {
            return;
        }
        if term < self.term {
            self.send(Destination::Node(from.node), Message::Reject { term: self.term });
            return;
        }
        if term > self.term {
            if !self.counts(&self.committed, from) || !self.may_stand(now) {
                return;
            }
            self.stand(now, term);
        }
        if self.status == Status::Candidate && term == self.term {
            self.change.promises.add(from, claim, prev, tail);
        }
    }

    /// Becomes primary when the promises suffice.
    pub(crate) fn try_office(&mut self, now: Instant) {
        if !self.learn_commit(now) {
            return;
        }
        if !self.may_stand(now) {
            // It was removed meanwhile, and learns it only from the promises.
            self.promise_next(now);
            return;
        }
        if !self.promises_suffice(now) {
            return;
        }
        let own = (self.log.last_term(), self.log.op());
        let best = self.change.promises.best(own, self.off("select-term"));
        if let Some(best) = best
            && !self.adopt_tail(now, &best)
        {
            return;
        }
        self.take_office(now);
    }

    /// Commits up to the highest commit among the promises. False while its entries are missing.
    fn learn_commit(&mut self, now: Instant) -> bool {
        let Some(ahead) = self.change.promises.ahead(self.commit) else { return true };
        // Who has the entry before the first one that was sent has all below it, too.
        let joined = self.log.term_at(ahead.prev_op) == Some(ahead.prev_term);
        if ahead.prev_op > self.commit && !joined {
            for (node, from) in self.change.promises.missing_once(self.commit) {
                let message = Message::Fetch { term: self.term, from };
                self.send(Destination::Node(node), message);
            }
            return false;
        }
        let commit = ahead.commit;
        let known = usize::try_from(commit.0 - ahead.prev_op.0).unwrap_or(usize::MAX);
        let entries = ahead.tail.iter().take(known).cloned();
        if !self.adopt(now, ahead.prev_op, entries) {
            return false;
        }
        self.commit_to(commit);
        self.commit >= commit
    }

    /// R-PROMISE-QUORUM: a majority in the roster at the highest commit, and in every later one that any promised
    /// log contains, each slot by exactly that roster's life.
    fn promises_suffice(&self, now: Instant) -> bool {
        let promises = &self.change.promises;
        if self.off("promise-roster") {
            let given = self.given(now, &self.committed).len();
            return promises.complete().count() + 1 + given >= self.committed.majority();
        }
        let enough = |roster: &Roster| {
            let mut votes = self.given(now, roster);
            let promised = promises.complete().filter(|p| self.counts(roster, p.life));
            promised.for_each(|p| votes.insert(p.life.node));
            if roster.votes(self.me) || self.off("evidence-member") {
                votes.insert(self.me.node);
            }
            votes.len() + usize::from(self.off("promise-majority")) >= roster.majority()
        };
        enough(&self.committed)
            && every_later(&self.committed, self.log.after(self.commit), enough)
            && promises.complete().all(|p| {
                // A log that contradicts what is committed cannot commit anything later: its roster never is in force.
                let agrees = p
                    .term_at(self.commit)
                    .is_none_or(|term| term == self.log.term_at(self.commit).unwrap_or(Term::NONE));
                !agrees || every_later(&self.committed, p.after(self.commit), enough)
            })
    }

    /// R-SELECT: the log of this promise becomes the own one.
    fn adopt_tail(&mut self, now: Instant, best: &Promised) -> bool {
        let skip = usize::try_from(self.commit.0.saturating_sub(best.prev_op.0));
        let entries: Vec<Entry> =
            best.tail.iter().skip(skip.unwrap_or(usize::MAX)).cloned().collect();
        let from = best.prev_op.max(self.commit);
        if !self.adopt(now, from, entries) {
            return false;
        }
        self.truncate(best.last_op);
        true
    }

    /// The first entry of the term removes whom a majority names (the last primary included); before it stands the
    /// evidence that the term rests on, if it does.
    fn take_office(&mut self, now: Instant) {
        let base = self.change.promises.lowest_commit().max(self.log.base());
        self.change.leave();
        self.turn(StatusEvent::Win);
        self.office = Office::new(base);
        // A promiser may lag by the whole log: all get what is not committed, and below that a burst. Who lacks more asks.
        let recent = self.log.start_of_last(BURST_BYTES).min(self.commit);
        self.office.begin_sending_at(recent);
        self.office.first = self.log.op().next();
        self.timers.clear(Timer::Change);
        self.propose_fence(now);
        self.propose_removals(now);
        if self.log.op() < self.office.first {
            self.propose(now, EntryKind::Noop);
        }
        self.lead(now);
    }

    /// A primary that hears no majority can agree nothing; one that a majority names hands over.
    pub(crate) fn must_resign(&self, now: Instant) -> bool {
        let own = self.committed.stint(self.me);
        // Until the batch of an era is committed there is no roster to lose.
        self.commit > Op::ZERO
            && (!self.is_member() && self.member_may_lead(now)
                || self.lives_have_ended()
                || self.unsuspected_voters(now).len() < self.committed.majority()
                || self.majority_names(now, self.me, own)
                || self.requests.wants_removed(self.me)
                || self.should_hand_over(now))
    }

    /// Leaves office. With a majority in sight the next one is promised to at once.
    pub(crate) fn resign(&mut self, now: Instant) {
        self.office = Office::default();
        self.turn(StatusEvent::PromiseOther);
        if !self.lives_have_ended() {
            self.promise_next(now);
        }
    }

    /// True if a majority of the roster's lives is over: nobody can be admitted any more, only a cold start helps.
    pub(crate) fn lives_have_ended(&self) -> bool {
        let voters = self.committed.voters.iter();
        let seats = voters.filter_map(|node| Some(self.committed.seat(node)?.life(node)));
        let living = seats.filter(|l| self.committed.votes(*l) && !self.is_over(*l)).count();
        let given = self.given(self.settled, &self.committed).len();
        let whoever = self.off("incarnation-vote");
        self.commit > Op::ZERO && living + given < self.committed.majority() && !whoever
    }

    /// Nodes that promised the own candidacy, for the operator.
    pub(crate) fn promised_by(&self) -> NodeSet {
        let mut nodes: NodeSet =
            self.change.promises.complete().map(|p| p.life.node).collect::<NodeSet>();
        if self.status == Status::Candidate {
            nodes.insert(self.me.node);
        }
        nodes
    }

    /// The primary that this life knows of.
    #[must_use]
    pub fn primary(&self) -> Option<Life> {
        match self.status {
            Status::Primary => Some(self.me),
            Status::Follower | Status::Learner => self.heard_primary.map(|_| self.term.life),
            Status::Candidate | Status::Silent => None,
        }
    }

    /// Node of the primary, when it is another.
    pub(crate) fn primary_elsewhere(&self) -> Option<NodeId> {
        self.primary().map(|life| life.node).filter(|node| *node != self.me.node)
    }
}

/// True if `enough` holds for the roster after every entry that changes votes among `entries`, which follow `base`.
fn every_later<'a>(
    base: &Roster,
    entries: impl Iterator<Item = (Op, &'a Entry)>,
    enough: impl Fn(&Roster) -> bool,
) -> bool {
    let mut roster = base.clone();
    for (op, entry) in entries {
        roster.apply(op, entry);
        let votes = matches!(
            entry.kind,
            EntryKind::Admit { .. }
                | EntryKind::Fenced { .. }
                | EntryKind::Configure { .. }
                | EntryKind::Vote { .. }
        );
        if votes && !enough(&roster) {
            return false;
        }
    }
    true
}
