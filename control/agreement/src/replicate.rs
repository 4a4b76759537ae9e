//! Normal operation (PROTOCOL 2): Prepare, PrepareOk, commit, retransmission, progress.

use crate::api::{Destination, Status, StatusEvent};
use crate::log::Log;
use crate::pace::{Again, BURST, BURST_BYTES, Burst, OWN_BYTE, SLOWEST_BYTE};
use crate::replica::Agreement;
use crate::roster::{Roster, roster_at};
use crate::suspicion::PROGRESS;
use crate::timers::Timer;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use base::{Duration, Instant};
use wire::entry::RemovalCause;
use wire::message::{DATAGRAM_MAX, PREPARE_TARGET};
use wire::{Entry, EntryKind, Incarnation, Life, Message, NodeId, NodeSet, Op, Stint, Term};

/// A question for entries that is open: until it is answered, or an interval has passed, there is no other.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Asked {
    term: Term,
    /// The highest entry that was known to be missing.
    until: Op,
    at: Instant,
    /// Messages that have brought entries since, and the bytes of these.
    answers: usize,
    bytes: usize,
}

/// What a primary knows of one peer in its term.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Peer {
    /// The life that acknowledged.
    pub(crate) incarnation: Incarnation,
    /// Highest op that it acknowledged in this term.
    pub(crate) matched: Op,
    /// Since when it owes an acknowledgement without making progress.
    behind: Option<Instant>,
}

/// What a primary knows in its term.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Office {
    pub(crate) peers: BTreeMap<NodeId, Peer>,
    /// Everybody that promised has all up to here: retransmission begins after it.
    pub(crate) base: Op,
    /// First entry of the term: the primary serves once it is committed.
    pub(crate) first: Op,
    /// Acknowledged by this primary itself up to here.
    held: Op,
    /// Sent to all up to here.
    sent: Op,
    /// Commit that all were told.
    announced: Op,
    /// Voters that have promised a higher term, with that term.
    pub(crate) rejected: BTreeMap<NodeId, Term>,
}

impl Office {
    /// A new term's office; everything after `base` goes to all.
    pub(crate) fn new(base: Op) -> Self {
        Self { base, sent: base, ..Self::default() }
    }
    /// All are sent only what lies above `op`, whatever lies between it and the base.
    pub(crate) fn begin_sending_at(&mut self, op: Op) {
        self.sent = self.sent.max(op);
    }
    /// Everybody who owes something owes it from now on.
    pub(crate) fn forgive(&mut self, now: Instant) {
        self.peers.values_mut().for_each(|peer| peer.behind = peer.behind.map(|_| now));
    }
}

impl Agreement {
    pub(crate) fn on_prepare(
        &mut self,
        now: Instant,
        from: Life,
        term: Term,
        prev: (Op, Term),
        entries: Vec<Entry>,
        (commit, release, held): (Op, Op, Op),
    ) {
        if term.life == self.me {
            return;
        }
        if term.era < self.term.era {
            self.ask_for_release();
            return;
        }
        if term < self.term && !self.off("promise-binds") {
            self.send(Destination::Node(from.node), Message::Reject { term: self.term });
            return;
        }
        let begins = self.era() != Some(term.era);
        if begins && !self.begins_era(now, from, term, prev.0, &entries) {
            return;
        }
        if begins || from == term.life {
            // An entry that another one passes on says nothing about the primary: an era may have to begin all the same.
            self.cold.follow();
        }
        if term != self.term {
            self.enter(term);
        }
        let event = if self.votes() { StatusEvent::FollowPrimary } else { StatusEvent::LearnFrom };
        self.turn(event);
        if from == term.life {
            self.heard_primary = Some(now);
            self.timers.clear(Timer::Lull);
        }
        let (prev_op, prev_term) = prev;
        let news = !entries.is_empty();
        let bytes = entries.iter().map(Entry::size).sum();
        let end = Op(prev_op.0.saturating_add(entries.len() as u64));
        if end < self.log.base() {
            // All of it is committed here, and nothing of it can be compared: the primary's next Prepare begins higher.
            return;
        }
        let known = prev_op < self.log.base() || self.log.term_at(prev_op) == Some(prev_term);
        if !known {
            self.fetch(now, from.node, prev_op);
            return;
        }
        if !self.adopt(now, prev_op, entries) {
            return;
        }
        if end > self.matched {
            self.matched = end;
            self.note_answer(bytes);
        }
        self.commit_to(commit.min(self.matched));
        self.release = self.release.max(release.min(self.commit));
        self.primary_holds = self.primary_holds.max(held);
        if news {
            self.acknowledge(now, true);
        }
        if self.log.op() < commit {
            self.fetch(now, from.node, commit);
        }
    }

    /// A log of another era is taken only from its first entry on: the own one is kept until that is here, and a
    /// batch that this life was released from is none.
    fn begins_era(
        &mut self,
        now: Instant,
        from: Life,
        term: Term,
        prev_op: Op,
        entries: &[Entry],
    ) -> bool {
        if from == term.life {
            self.heard_primary = Some(now);
        }
        let Some(first) = entries.first().filter(|_| prev_op == Op::ZERO) else {
            if !self.is_pulling() {
                self.ask(now, from.node, (term, Op(1)), prev_op.max(Op(1)));
            }
            return false;
        };
        if self.cold.was_released_from(first.term) && self.may_be_named_in(entries) {
            // It counted on this life, which has not kept to it since: only the next life may follow.
            self.renumber(self.me.incarnation);
            return false;
        }
        if self.log.op() > Op::ZERO {
            self.forget_era(term.era);
        }
        true
    }

    /// True if the batch that begins an era admits this life, or not all of the batch is here.
    fn may_be_named_in(&self, entries: &[Entry]) -> bool {
        let mut log = Log::default();
        entries.iter().for_each(|entry| {
            log.push(entry.clone());
        });
        let end = log.batch_end();
        let whole = end > Op::ZERO && log.op() >= end;
        !whole || roster_at(&Roster::before(&self.conf.held), &log, end).votes(self.me)
    }

    /// Asks for what lies after the last entry known to be right; the log is known to go on to `until`.
    fn fetch(&mut self, now: Instant, from: NodeId, until: Op) {
        let first = self.commit.max(self.matched).next();
        if self.is_pulling() {
            return;
        }
        self.ask(now, from, (self.term, first), until);
    }

    /// Entries came that were not here: the open question is answered, or one message nearer to the end of its answer.
    fn note_answer(&mut self, bytes: usize) {
        let (term, matched) = (self.term, self.matched);
        self.asked.take_if(|asked| asked.term == term && asked.until <= matched);
        if let Some(asked) = &mut self.asked {
            asked.answers += 1;
            asked.bytes = asked.bytes.saturating_add(bytes);
        }
    }

    /// Asks for entries, unless a question for them is open. The answer is many messages and may come late: what comes
    /// before it, and each of its own messages but the last, would ask again, and each answer again be many messages.
    fn ask(&mut self, now: Instant, whom: NodeId, (term, first): (Term, Op), until: Op) {
        let have = if term == self.term { self.commit.max(self.matched) } else { Op::ZERO };
        let open = |asked: &Asked| {
            // An answer ends after so many messages or bytes.
            let more = asked.answers < BURST && asked.bytes < BURST_BYTES;
            let waits = asked.until > have && more;
            asked.term == term && waits && now < asked.at + self.settings.interval
        };
        if self.asked.as_ref().is_some_and(open) {
            return;
        }
        self.asked = Some(Asked { term, until, at: now, answers: 0, bytes: 0 });
        self.send(Destination::Node(whom), Message::Fetch { term, from: first });
    }

    /// The primary says nothing: others may have its entries, or know that they are committed.
    pub(crate) fn fetch_elsewhere(&mut self) {
        if self.is_pulling() {
            return;
        }
        let first = self.commit.next();
        self.send(Destination::All, Message::Fetch { term: self.term, from: first });
    }

    /// True if what this life lacks first takes the stream and may still be on its way. (A datagram in the middle of what is
    /// large is there at once or not at all.)
    pub(crate) fn is_under_way(&self, now: Instant, to: Life, first: Op) -> bool {
        self.pace.is_under_way(now, to, first)
            && self.log.get(first).is_none_or(|entry| entry.size() > DATAGRAM_MAX)
    }

    pub(crate) fn on_fetch(&mut self, now: Instant, from: Life, term: Term, first: Op) {
        let after = Op(first.0.saturating_sub(1));
        if after < self.log.base() {
            if term.era <= self.term.era || self.off("install-era") {
                self.offer(now, from.node);
            }
            return;
        }
        if self.is_under_way(now, from, first) {
            return;
        }
        if self.status == Status::Silent && term == self.term && term.life == from {
            self.send_promise(after);
            return;
        }
        // Only the primary knows that an older or newer asker follows nobody better.
        let limit = match self.status {
            Status::Primary if term <= self.term => self.log.op(),
            Status::Follower | Status::Learner if term == self.term && term.life != from => {
                self.matched
            }
            _ => return self.send_committed(now, from, term.era, after),
        };
        if let Some(burst) = self.pace.burst(now, Again::Answer, 1) {
            self.send_again(now, (from, Again::Answer), after, limit, burst);
        }
    }

    /// Tells an asker of another term what is committed. A life that does not know its own Admit is committed has no
    /// vote, by itself; when the primary is gone it may be just the vote that the next one needs.
    fn send_committed(&mut self, now: Instant, asker: Life, era: u32, after: Op) {
        if era != self.term.era || after >= self.commit && !self.lives_have_ended() {
            return;
        }
        // Without entries it says: nothing more is committed here, and a majority of lives is over.
        let prev_op = after.min(self.commit);
        let Some(prev_term) = self.log.term_at(prev_op) else { return };
        let Some(mut burst) = self.pace.burst(now, Again::Answer, 1) else { return };
        let mut entries = self.log.cut_after(prev_op, PREPARE_TARGET);
        entries.truncate(usize::try_from(self.commit.0 - prev_op.0).unwrap_or(usize::MAX));
        burst.add(entries.iter().map(Entry::size).sum());
        // Whoever got it asks for the next at once; only what takes the stream is not sent twice meanwhile.
        let end = Op(prev_op.0 + entries.len() as u64);
        self.pace.sent(now, (asker, Again::Answer), (prev_op, end), burst, self.deadline());
        let message = Message::Committed { prev_op, prev_term, entries };
        self.send(Destination::Node(asker.node), message);
    }

    /// Entries that are committed in the own era. What contradicts them here can never commit, in whichever term it
    /// was acknowledged.
    pub(crate) fn on_committed(
        &mut self,
        now: Instant,
        from: Life,
        (prev_op, prev_term): (Op, Term),
        entries: Vec<Entry>,
    ) {
        if entries.is_empty() {
            self.note_hopeless(now, from, prev_op);
            return;
        }
        let leads = self.status == Status::Primary;
        let era = entries.first().map(|entry| entry.term.era);
        if leads || entries.iter().any(|entry| Some(entry.term.era) != era) {
            return;
        }
        if self.era() != era && !self.begins_committed_era(prev_op, &entries) {
            return;
        }
        if self.log.term_at(prev_op) != Some(prev_term) {
            return;
        }
        let before = self.commit;
        let end = Op(prev_op.0.saturating_add(entries.len() as u64));
        let differs = |(op, entry): &(u64, &Entry)| {
            self.log.term_at(Op(*op)).is_some_and(|term| term != entry.term)
        };
        let first = (prev_op.0 + 1..).zip(&entries).find(differs).map(|(op, _)| op);
        if let Some(op) = first {
            self.matched = self.matched.min(Op(op - 1));
        }
        if self.adopt(now, prev_op, entries) {
            self.commit_to(end);
        }
        if self.commit > before && self.hears_no_primary(now) {
            // There may be more where this came from.
            self.asked = None;
            self.fetch(now, from.node, end.next());
        }
    }

    /// A learner that was told nothing yet takes the committed beginning of an era, batch and all: its primary may have
    /// admitted this life in it and be gone, and then its vote may be just the one that the next primary needs.
    fn begins_committed_era(&mut self, prev_op: Op, entries: &[Entry]) -> bool {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return false };
        let era = first.term.era;
        let newer = era >= self.term.era && self.era().is_none_or(|own| own < era);
        let batch = match first.kind {
            EntryKind::Cold { admits, .. } => 1 + usize::from(admits),
            _ => usize::MAX,
        };
        if self.status != Status::Learner || prev_op != Op::ZERO || !newer || entries.len() < batch
        {
            return false;
        }
        if self.cold.was_released_from(first.term) && self.may_be_named_in(entries) {
            self.renumber(self.me.incarnation);
            return false;
        }
        self.cold.follow();
        if self.log.op() > Op::ZERO {
            self.forget_era(era);
        }
        self.enter(last.term);
        true
    }

    /// Sends what lies after `after`, in as many Prepares as it takes and `burst` allows. Returns how far it came.
    fn send_entries(&mut self, to: Destination, after: Op, limit: Op, burst: &mut Burst) -> Op {
        let mut prev_op = after;
        while burst.goes_on() && prev_op < limit {
            let Some(prev_term) = self.log.term_at(prev_op) else { break };
            let mut entries = self.log.cut_after(prev_op, PREPARE_TARGET);
            let room = usize::try_from(limit.0 - prev_op.0).unwrap_or(usize::MAX);
            entries.truncate(room);
            burst.add(entries.iter().map(Entry::size).sum());
            let end = Op(prev_op.0 + entries.len() as u64);
            self.send_prepare(to, prev_op, prev_term, entries);
            prev_op = end;
        }
        prev_op
    }

    /// Sends one life what it lacks, and notes that it is on its way.
    fn send_again(
        &mut self,
        now: Instant,
        (to, again): (Life, Again),
        after: Op,
        limit: Op,
        mut burst: Burst,
    ) {
        let end = self.send_entries(Destination::Node(to.node), after, limit, &mut burst);
        self.pace.sent(now, (to, again), (after, end), burst, self.deadline());
    }

    fn send_prepare(&mut self, to: Destination, prev_op: Op, prev_term: Term, entries: Vec<Entry>) {
        let (term, commit, release) = (self.term, self.commit, self.release);
        let held = self.office.held;
        let message = Message::Prepare { term, prev_op, prev_term, entries, commit, release, held };
        self.send(to, message);
    }

    /// Tells the primary how far this log may be counted. `again`: also if that is nothing new.
    pub(crate) fn acknowledge(&mut self, now: Instant, again: bool) {
        if self.matched == Op::ZERO || !matches!(self.status, Status::Follower | Status::Learner) {
            return;
        }
        // Only what came from this primary: a commit may have been learned from a later term, whose entries a primary of
        // an earlier one does not have at these ops.
        let op = self.sealed_up_to(now, self.matched);
        if again || self.acknowledged.is_none_or(|before| op > before) {
            self.acknowledged = Some(op);
            let to = Destination::Node(self.term.life.node);
            self.send(to, Message::PrepareOk { term: self.term, op });
        }
        if self.status == Status::Follower && self.primary_holds > self.commit {
            self.commit_with_primary(op);
        }
    }

    pub(crate) fn on_prepare_ok(&mut self, now: Instant, from: Life, term: Term, op: Op) {
        if self.status != Status::Primary || term != self.term || op > self.log.op() {
            return;
        }
        let peer = Peer { incarnation: from.incarnation, matched: Op::ZERO, behind: None };
        let known = self.office.peers.entry(from.node).or_insert(peer);
        if known.incarnation < from.incarnation {
            *known = peer;
        }
        if op > known.matched {
            known.matched = op;
            known.behind = (op < self.log.op()).then_some(now);
        }
    }

    /// True if an acknowledgement of this life can do no more than release something. In a large cluster nearly all are such:
    /// what follows from everything else is looked at with the next input that is none, a timer at the latest.
    pub(crate) fn only_releases(&self, from: Life) -> bool {
        let voters = self.committed.voters.union(self.latest.voters);
        let member = |roster: &Roster| roster.stint(from).is_member();
        self.status == Status::Primary
            && self.commit >= self.office.first
            && !voters.contains(from.node)
            && member(&self.committed)
            && member(&self.latest)
            && self.latest.configuration().voters == self.latest.voters
            && !self.is_barred()
            && !self.requests.is_holding()
            && !self.conf.is_waiting()
    }

    /// What every member holds is released.
    pub(crate) fn advance_release(&mut self) {
        self.release = self.release.max(self.held_by_members());
    }

    /// What a primary does whenever something has changed. A removal is sent when the fast path has answered, which it
    /// does at once: so `held` is true to the entry when it leaves, and a follower of three knows the commit a hop sooner.
    pub(crate) fn lead(&mut self, now: Instant) {
        self.give_up_lost_batch(now);
        if self.has_ended() {
            return;
        }
        if self.must_resign(now) {
            self.resign(now);
            return;
        }
        self.propose_removals(now);
        if self.commit >= self.office.first && !self.is_barred() {
            self.propose_configuration(now);
        }
        if self.commit >= self.office.first && !self.is_barred() {
            self.propose_admissions(now);
            self.propose_requests(now);
            self.propose_orders(now);
        }
        self.advance_commit(now);
        self.watch_peers(now);
        if self.seals.are_answered(self.me) {
            self.broadcast();
        }
    }

    /// Appends an entry of the own term.
    pub(crate) fn propose(&mut self, now: Instant, kind: EntryKind) -> Op {
        let (term, level) = (self.term, self.level());
        self.append(now, Entry { term, level, kind })
    }

    /// Sends what is new to all: entries, or a bare Prepare for a new commit.
    pub(crate) fn broadcast(&mut self) {
        let (sent, op) = (self.office.sent.max(self.log.base()), self.log.op());
        if sent < op {
            let mut burst = Burst::news();
            self.office.sent = self.send_entries(Destination::All, sent, op, &mut burst);
            self.office.announced = self.commit;
        } else if self.office.announced < self.commit {
            self.send_bare();
        }
    }

    fn send_bare(&mut self) {
        let (prev_op, prev_term) = (self.log.op(), self.log.last_term());
        self.send_prepare(Destination::All, prev_op, prev_term, Vec::new());
        self.office.announced = self.commit;
    }

    /// Every interval: all learn that the primary is there, and who is behind gets of what it lacks ([`crate::pace`]).
    pub(crate) fn beacon(&mut self, now: Instant) {
        self.send_bare();
        let (op, interval) = (self.log.op(), self.settings.interval);
        let owes = |peer: &Peer| peer.behind.is_some_and(|since| now.since(since) >= interval);
        // A removed life that lives keeps its vote, so that its acknowledgement may be the one that is missing.
        let mut behind: Vec<(Life, Op)> = self
            .latest
            .seats()
            .map(|(node, seat)| (seat.life(node), seat.stint))
            .filter(|(life, stint)| {
                *life != self.me && (stint.is_member() || !self.suspects_life(now, *life))
            })
            .filter(|(life, _)| self.office.peers.get(&life.node).is_none_or(owes))
            .map(|(life, _)| (life, self.matched_by(life).max(self.office.base)))
            // Who lacks what is below asks for it, and is offered a snapshot.
            .map(|(life, matched)| (life, matched.max(self.log.base())))
            .filter(|(_, matched)| *matched < op)
            .filter(|(life, matched)| !self.is_under_way(now, *life, matched.next()))
            .collect();
        let voters = self.latest.voters;
        behind.sort_by_key(|(life, _)| (!voters.contains(life.node), self.pace.place(life.node)));
        let count = behind.len();
        for (life, matched) in behind {
            let Some(burst) = self.pace.burst(now, Again::Repetition, count) else { break };
            self.send_again(now, (life, Again::Repetition), matched, op, burst);
        }
    }

    /// Highest op that this life acknowledged in this term.
    pub(crate) fn matched_by(&self, life: Life) -> Op {
        match self.office.peers.get(&life.node) {
            Some(peer) if peer.incarnation == life.incarnation => peer.matched,
            _ => Op::ZERO,
        }
    }

    /// Notes since when each member owes an acknowledgement (R-PROGRESS).
    pub(crate) fn watch_peers(&mut self, now: Instant) {
        let op = self.log.op();
        for (life, _) in self.latest.members().filter(|(life, _)| *life != self.me) {
            let fresh = Peer { incarnation: life.incarnation, matched: Op::ZERO, behind: None };
            let peer = self.office.peers.entry(life.node).or_insert(fresh);
            if peer.incarnation < life.incarnation {
                *peer = fresh;
            }
            if peer.matched >= op {
                peer.behind = None;
            } else if peer.behind.is_none() {
                peer.behind = Some(now);
            }
        }
    }

    /// A member owes acknowledgements from its admission on: what it lacked before is nobody's business (a learner's disk
    /// may be slow to store a charter).
    pub(crate) fn owes_from(&mut self, now: Instant, node: NodeId) {
        if let Some(peer) = self.office.peers.get_mut(&node) {
            peer.behind = Some(now);
        }
    }

    /// True if this node has owed an acknowledgement for a deadline, or acknowledges nothing in this term.
    pub(crate) fn owes_long(&self, now: Instant, node: NodeId) -> bool {
        let since = self.office.peers.get(&node).map(|peer| peer.behind);
        since.is_none_or(|behind| behind.is_some_and(|at| now.since(at) >= self.deadline()))
    }

    /// Why a primary must remove this member, if it must.
    fn removal_cause(
        &self,
        now: Instant,
        (life, stint): (Life, Stint),
        named: &BTreeSet<(Life, Stint)>,
    ) -> Option<RemovalCause> {
        let limit = self.patience_with(life, self.slowest() * PROGRESS);
        let sealed = self.last_seal_end();
        let stuck = |peer: &Peer| {
            peer.behind.is_some_and(|since| {
                let waited = now.since(since.max(sealed));
                waited >= limit
                    && waited >= limit + self.time_to_carry(peer.matched)
                    && waited >= limit + self.time_to_carry_all()
            })
        };
        if self.has_obituary(life, stint) {
            Some(RemovalCause::Obituary)
        } else if self.is_over(life) {
            Some(RemovalCause::Superseded)
        } else if self.latest.is_void(life.node) {
            Some(RemovalCause::Operator)
        } else if named.contains(&(life, stint)) {
            Some(RemovalCause::Silent)
        } else if self.office.peers.get(&life.node).is_some_and(stuck) {
            Some(RemovalCause::Progress)
        } else if self.requests.wants_removed(life) || self.is_dropped(now, life) {
            Some(RemovalCause::Operator)
        } else {
            None
        }
    }

    /// What is large may take longer to arrive than a member may be silent: nobody is removed for the width of its link.
    fn time_to_carry(&self, after: Op) -> Duration {
        let sizes = self.log.after(after).map(|(_, entry)| entry.size());
        let large: usize = sizes.filter(|size| *size > DATAGRAM_MAX).sum();
        Duration(SLOWEST_BYTE.0.saturating_mul(large as u64))
    }

    /// Nor for the width of this node's own link, when that has to carry the same to many members.
    fn time_to_carry_all(&self) -> Duration {
        let life = |(life, _): (Life, Stint)| life;
        let others = self.latest.members().map(life).filter(|life| *life != self.me);
        let mut matched: Vec<Op> = others.map(|life| self.matched_by(life)).collect();
        matched.sort_unstable();
        let Some(first) = matched.first() else { return Duration::ZERO };
        let tail = self.log.after(*first);
        let large = tail.map(|(op, entry)| (op, entry.size())).filter(|(_, s)| *s > DATAGRAM_MAX);
        let (mut lack, mut bytes) = (0, 0_u64);
        for (op, size) in large {
            while matched.get(lack).is_some_and(|matched| *matched < op) {
                lack += 1;
            }
            bytes = bytes.saturating_add((size as u64).saturating_mul(lack as u64));
        }
        Duration(OWN_BYTE.0.saturating_mul(bytes))
    }

    /// Proposes every removal that is due; never the own one (PROTOCOL 4).
    pub(crate) fn propose_removals(&mut self, now: Instant) {
        let named = self.named(now);
        let due: Vec<EntryKind> = self
            .latest
            .members()
            .filter(|(life, _)| *life != self.me)
            .filter_map(|(life, stint)| {
                let cause = self.removal_cause(now, (life, stint), &named)?;
                let Life { node, incarnation } = life;
                Some(EntryKind::Remove { node, incarnation, stint, cause })
            })
            .collect();
        for kind in due {
            self.propose(now, kind);
        }
    }

    /// Commits what a majority has acknowledged.
    pub(crate) fn advance_commit(&mut self, now: Instant) {
        let top = self.log.op();
        self.office.held = if self.off("primary-ack") { top } else { self.sealed_up_to(now, top) };
        let own = self.office.held;
        let target = self.held_up_to(|roster, op| self.is_held(roster, op, own));
        self.commit_to(target);
        self.advance_release();
    }

    /// With three voters a follower that has acknowledged what the primary has acknowledged knows that it is committed.
    /// Whoever is being removed itself waits for the primary's word: it has closed its lease, nothing is urgent.
    fn commit_with_primary(&mut self, own: Op) {
        if self.seals.name(self.me) {
            return;
        }
        let (primary, held) = (self.term.life, self.primary_holds);
        let target = self.held_up_to(|roster, op| {
            let votes = usize::from(held >= op && roster.votes(primary))
                + usize::from(own >= op && roster.votes(self.me));
            votes >= roster.majority()
        });
        self.commit_to(target);
    }

    /// How far the log is held by enough: each op by the roster in force at it, the last one of the own term.
    fn held_up_to(&self, enough: impl Fn(&Roster, Op) -> bool) -> Op {
        let mut target = self.commit;
        if self.log.op() == target {
            return target;
        }
        let batch = self.log.batch_end();
        // Most entries change nothing in the roster, and copying it is the dearest part of a commit.
        let mut roster = self.with_early(&self.committed);
        let changes =
            |kind: &EntryKind| !matches!(kind, EntryKind::Request { .. } | EntryKind::Noop);
        for (op, entry) in self.log.after(self.commit) {
            if self.off("admit-by-old-roster") {
                roster.to_mut().apply(op, entry);
            }
            // The batch that begins an era commits whole, by the roster after it (PROTOCOL 6).
            let counted = if op <= batch {
                enough(&roster_at(&roster, &self.log, batch), batch)
            } else {
                enough(&roster, op)
            };
            if !counted {
                break;
            }
            if entry.term == self.term || self.off("own-term-commit") {
                target = op;
            }
            if changes(&entry.kind) {
                roster.to_mut().apply(op, entry);
            }
        }
        target
    }

    /// True if a majority of this roster's lives has acknowledged `op`.
    fn is_held(&self, roster: &Roster, op: Op, own: Op) -> bool {
        let fewer =
            self.off("commit-majority") || self.off("cold-majority") && op <= self.log.batch_end();
        self.holders(roster, op, own).len() + usize::from(fewer) >= roster.majority()
    }

    /// Voters of `roster` that have acknowledged `op`, and those whose vote is given: only the roster's own lives count.
    fn holders(&self, roster: &Roster, op: Op, own: Op) -> NodeSet {
        let peer = |node| Some((node, self.office.peers.get(&node)?));
        let mut holders: NodeSet = roster
            .voters
            .iter()
            .filter_map(peer)
            .filter(|(_, peer)| peer.matched >= op)
            .map(|(node, peer)| Life { node, incarnation: peer.incarnation })
            .filter(|life| self.counts(roster, *life))
            .map(|life| life.node)
            .collect();
        if own >= op && roster.votes(self.me) {
            holders.insert(self.me.node);
        }
        roster.void().iter().for_each(|node| holders.insert(node));
        holders
    }

    /// Voters that have acknowledged everything, for the operator.
    pub(crate) fn holders_now(&self, now: Instant) -> NodeSet {
        let own = self.sealed_up_to(now, self.log.op());
        self.holders(&self.committed, self.log.op(), own)
    }

    /// R-RELEASE: what every member but the witnesses has.
    fn held_by_members(&self) -> Op {
        if self.release == self.commit {
            return self.commit;
        }
        self.committed
            .members()
            .filter(|(life, _)| *life != self.me)
            .filter(|(life, _)| !self.committed.witnesses().contains(life.node))
            .map(|(life, _)| self.matched_by(life))
            .fold(self.commit, Op::min)
    }
}
