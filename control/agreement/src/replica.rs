//! The state of one life, and where its inputs go.
//!
//! Every input is first recorded, then [`Agreement::settle`] does what follows from all that is known: a replica that
//! may acknowledge acknowledges, a primary proposes and commits, a voter whose primary is gone promises. So no
//! consequence depends on which input came last, and a lost or repeated input costs time at most.

use crate::admission::Joins;
use crate::api::{Action, Destination, Settings, Status, StatusEvent};
use crate::calm::{is_plain, is_routine};
use crate::cold_start::Cold;
use crate::configuration::Conf;
use crate::log::Log;
use crate::pace::Pace;
use crate::replicate::{Asked, Office};
use crate::requests::Requests;
use crate::roster::{Roster, roster_at};
use crate::seal::Seals;
use crate::snapshot::Snapshots;
use crate::suspicion::Suspicions;
use crate::term_change::Change;
use crate::timers::{Timer, Timers};
use crate::transfer::Pull;
use alloc::collections::{BTreeMap, VecDeque};
use base::{Duration, Instant};
use wire::{Entry, EntryKind, Incarnation, Life, Message, NodeId, Op, Term};

/// Rounds of consequences per input: each makes progress in log, commit, term or status, few are ever needed.
const ROUNDS_MAX: usize = 16;

/// One life of the agreement.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Agreement {
    pub(crate) settings: Settings,
    pub(crate) me: Life,
    pub(crate) started: Instant,
    pub(crate) status: Status,
    /// Highest term promised or followed.
    pub(crate) term: Term,
    pub(crate) log: Log,
    /// Bytes of the entries above the commit.
    pub(crate) tail_bytes: usize,
    pub(crate) snapshots: Snapshots,
    pub(crate) pull: Option<Pull>,
    /// Op of the last snapshot that was installed.
    pub(crate) installed: Op,
    pub(crate) commit: Op,
    pub(crate) release: Op,
    /// Known equal to the log of this term's primary up to here.
    pub(crate) matched: Op,
    /// By log[..commit].
    pub(crate) committed: Roster,
    /// By the whole log.
    pub(crate) latest: Roster,
    /// Highest incarnation of each node that spoke or stands in the log (R-LIFE).
    pub(crate) highest: BTreeMap<NodeId, Incarnation>,
    /// When the newest life of each node last sent a message.
    pub(crate) spoke: BTreeMap<NodeId, Instant>,
    pub(crate) seals: Seals,
    /// When the last seal of a committed removal was over.
    pub(crate) sealed: Instant,
    /// Lives that the operator said are off, not heard since (R-FENCE).
    pub(crate) said_off: BTreeMap<NodeId, Life>,
    pub(crate) suspicions: Suspicions,
    pub(crate) change: Change,
    pub(crate) office: Office,
    pub(crate) pace: Pace,
    pub(crate) joins: Joins,
    pub(crate) cold: Cold,
    pub(crate) conf: Conf,
    pub(crate) requests: Requests,
    pub(crate) timers: Timers,
    pub(crate) actions: VecDeque<Action>,
    /// Last message of this term's primary itself.
    pub(crate) heard_primary: Option<Instant>,
    /// Since when a follower waits for the first one.
    pub(crate) awaits_primary: Option<Instant>,
    /// What this term's primary has acknowledged itself.
    pub(crate) primary_holds: Op,
    /// Op acknowledged last in this term.
    pub(crate) acknowledged: Option<Op>,
    /// The last question for entries.
    pub(crate) asked: Option<Asked>,
    /// This life has voted, promised or stood in a roster (R-RENUMBER).
    pub(crate) voted: bool,
    /// Superseded, said to be off, or to be renumbered: nothing more is said.
    ended: bool,
    faults: u64,
    /// The last `settle` found nothing that could become due by a routine message.
    pub(crate) calm: bool,
    /// Moment of the last input.
    pub(crate) settled: Instant,
    /// The longest deadline that a peer declares which is heard.
    declared: Duration,
}

impl Agreement {
    /// A new life: learner, no log, no vote.
    #[must_use]
    pub fn new(settings: Settings, now: Instant) -> Self {
        let me = settings.me;
        let cold = Cold::new(settings.era_promised);
        let before = Roster::before(&settings.charter);
        let conf = Conf::new(settings.charter.clone(), now);
        let mut agreement = Self {
            me,
            started: now,
            status: Status::Learner,
            term: Term::NONE,
            log: Log::default(),
            tail_bytes: 0,
            snapshots: Snapshots::default(),
            pull: None,
            installed: Op::ZERO,
            commit: Op::ZERO,
            release: Op::ZERO,
            matched: Op::ZERO,
            committed: before.clone(),
            latest: before,
            highest: BTreeMap::from([(me.node, me.incarnation)]),
            spoke: BTreeMap::new(),
            seals: Seals::default(),
            sealed: Instant::ZERO,
            said_off: BTreeMap::new(),
            suspicions: Suspicions::default(),
            change: Change::default(),
            office: Office::default(),
            pace: Pace::default(),
            joins: Joins::default(),
            cold,
            conf,
            requests: Requests::default(),
            timers: Timers::default(),
            actions: VecDeque::new(),
            heard_primary: None,
            awaits_primary: None,
            primary_holds: Op::ZERO,
            acknowledged: None,
            asked: None,
            voted: false,
            ended: false,
            faults: 0,
            calm: false,
            settled: now,
            declared: Duration::ZERO,
            settings,
        };
        agreement.settle(now);
        agreement
    }

    /// A message came; its sender is authenticated.
    pub fn handle_message(&mut self, now: Instant, from: Life, message: Message) {
        if self.ended || !self.admit_frame(now, from) {
            return;
        }
        if let Message::Ended { life } = message {
            self.on_ended(from, life);
        }
        if self.ended || self.refuse_ended(from) {
            return;
        }
        self.forget_evidence(from);
        self.spoke.insert(from.node, now);
        let routine = is_routine(from, &message);
        match message {
            Message::Prepare { term, prev_op, prev_term, entries, commit, release, held } => {
                let limits = (commit, release, held);
                self.on_prepare(now, from, term, (prev_op, prev_term), entries, limits);
            }
            Message::PrepareOk { term, op } => {
                self.on_prepare_ok(now, from, term, op);
                if self.only_releases(from) {
                    self.advance_release();
                    return;
                }
            }
            Message::Reject { term } => self.on_reject(now, from, term),
            Message::Fetch { term, from: first } => self.on_fetch(now, from, term, first),
            Message::Suspect { number, set, .. } => self.on_suspect(now, from, number, set),
            Message::PromiseRequest { term } => self.on_promise_request(now, from, term),
            Message::Promise { term, commit, last_op, last_term, prev_op, prev_term, tail } => {
                let claim = (commit, last_op, last_term);
                self.on_promise(now, from, term, claim, (prev_op, prev_term), tail);
            }
            Message::Join { removed_at, op: _, fresh, era, edition } => {
                self.on_join(now, from, removed_at, (fresh, era), edition);
            }
            Message::Stale { node, highest } => {
                if node == self.me.node {
                    self.outlived(highest);
                }
            }
            Message::Request { client, seq, first, body } => {
                self.on_request(now, (client, seq, first), body);
            }
            Message::ColdRequest { term, edition } => {
                self.on_cold_request(now, from, term, edition);
            }
            Message::ColdPromise { term, edition } => self.on_cold_promise(from, term, edition),
            Message::ColdRelease { term } => self.on_cold_release(from, term),
            Message::Committed { prev_op, prev_term, entries } => {
                self.on_committed(now, from, (prev_op, prev_term), entries);
            }
            Message::Order { life, order } => self.on_order(now, life, order),
            Message::Offer { op, op_term, heads, slices, bytes: _ } => {
                self.on_offer(now, from, (op, op_term), heads, slices);
            }
            Message::FetchSlice { op, op_term, index } => {
                self.on_fetch_slice(now, from, (op, op_term), index);
            }
            Message::Slice { op, op_term, index, bytes } => {
                self.on_slice(now, (op, op_term), index, bytes);
            }
            Message::Configure { configuration } => self.on_configure(now, configuration),
            Message::Charter { charter } => self.on_charter(now, charter),
            // Taken before, also from a life that was said to be off itself.
            Message::Ended { .. } => {}
        }
        if routine {
            self.settle_calmly(now);
        } else {
            self.settle(now);
        }
    }

    /// The fast path saw an authenticated frame of a life for the first time.
    pub fn handle_appeared(&mut self, now: Instant, life: Life) {
        if !self.ended {
            self.meet(life);
            self.settle(now);
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.ended {
            return;
        }
        self.fire(now);
        self.settle(now);
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// R-LIFE: false for a frame of a life that is over; its sender is told.
    fn admit_frame(&mut self, now: Instant, from: Life) -> bool {
        if from.node == self.me.node {
            self.meet(from);
            self.settle(now);
            return false;
        }
        match self.highest.get(&from.node) {
            Some(highest) if *highest > from.incarnation && !self.off("life-frame") => {
                let message = Message::Stale { node: from.node, highest: *highest };
                self.send(Destination::Node(from.node), message);
                false
            }
            _ => {
                self.meet(from);
                true
            }
        }
    }

    /// Notes that a life exists. A newer one proves that every earlier one is over (R-ACK 5).
    pub(crate) fn meet(&mut self, life: Life) {
        let known = self.highest.entry(life.node).or_insert(life.incarnation);
        if life.incarnation > *known {
            *known = life.incarnation;
            self.calm = false;
        }
        if life.node == self.me.node && life.incarnation > self.me.incarnation {
            self.outlived(life.incarnation);
        }
    }

    /// The newest life known of a node; number 0 if none is.
    pub(crate) fn newest(&self, node: NodeId) -> Life {
        let incarnation = self.highest.get(&node).copied().unwrap_or_default();
        Life { node, incarnation }
    }

    /// True if a newer life of the node is known.
    pub(crate) fn is_over(&self, life: Life) -> bool {
        self.highest.get(&life.node).is_some_and(|highest| *highest > life.incarnation)
    }

    fn outlived(&mut self, highest: Incarnation) {
        if highest <= self.me.incarnation || self.ended {
            return;
        }
        if self.status == Status::Learner && !self.voted {
            self.renumber(highest);
        } else {
            self.end_with(Action::Superseded { highest });
        }
    }

    /// This life says nothing more; why is its last action.
    pub(crate) fn end_with(&mut self, last: Action) {
        self.ended = true;
        self.calm = false;
        self.actions.push_back(last);
    }

    /// An entry of a level that this release does not understand ends it before anything of it is applied.
    fn outdated(&mut self, level: u16) -> bool {
        let too_new = level > self.settings.level;
        if too_new && !self.ended {
            self.end_with(Action::Outdated { level });
        }
        too_new
    }

    /// Ends this life in favour of one above `above`.
    pub(crate) fn renumber(&mut self, above: Incarnation) {
        self.end_with(Action::Renumber { above });
    }

    /// Does what follows from all that is known.
    pub(crate) fn settle(&mut self, now: Instant) {
        self.forgive_stall(now);
        self.pace.forget(now);
        for _ in 0..ROUNDS_MAX {
            if self.ended {
                break;
            }
            let before = (self.log.op(), self.commit, self.term, self.status);
            self.gain_vote();
            self.use_evidence(now);
            self.announce_suspicions(now);
            match self.status {
                Status::Primary => self.lead(now),
                Status::Candidate => self.try_office(now),
                Status::Follower | Status::Silent => {
                    self.consider_change(now);
                    if self.off("cold-voters") {
                        self.cold_start(now);
                    }
                }
                Status::Learner => self.cold_start(now),
            }
            if self.status != Status::Primary {
                self.acknowledge(now, false);
            }
            if before == (self.log.op(), self.commit, self.term, self.status) {
                break;
            }
        }
        self.calm = self.is_calm(now);
        self.forward_requests(now);
        self.arm(now);
    }

    /// S10: who did not run itself accuses nobody of having said nothing meanwhile.
    pub(crate) fn forgive_stall(&mut self, now: Instant) {
        let gap = now.since(self.settled);
        self.settled = now;
        if gap > self.deadline() + self.settings.interval {
            self.heard_primary = self.heard_primary.map(|_| now);
            self.awaits_primary = self.awaits_primary.map(|_| now);
            self.office.forgive(now);
        }
    }

    /// R-VOTE: a learner votes from the moment its own commit covers its Admit.
    fn gain_vote(&mut self) {
        if self.latest.seat(self.me.node).is_some_and(|s| s.incarnation == self.me.incarnation) {
            self.voted = true;
        }
        let early = self.off("admit-by-old-roster") && self.latest.votes(self.me);
        if self.status == Status::Learner && (self.committed.votes(self.me) || early) {
            self.turn(StatusEvent::FollowPrimary);
        }
        let voteless = self.commit > Op::ZERO && !self.committed.voters.contains(self.me.node);
        let acting = matches!(self.status, Status::Follower | Status::Silent | Status::Candidate);
        if voteless && acting && !self.off("incarnation-vote") {
            self.turn(StatusEvent::LoseVote);
        }
    }

    /// R-VOTE, by this life's own commit.
    pub(crate) fn votes(&self) -> bool {
        if self.off("incarnation-vote") {
            return self.committed.voters.contains(self.me.node);
        }
        let roster = if self.off("admit-by-old-roster") { &self.latest } else { &self.committed };
        roster.votes(self.me)
    }

    /// True if the vote of `life` counts: it is the roster's life of its slot.
    pub(crate) fn counts(&self, roster: &Roster, life: Life) -> bool {
        roster.votes(life) || self.off("incarnation-vote") && roster.voters.contains(life.node)
    }

    /// True if this life is a member by its own commit.
    pub(crate) fn is_member(&self) -> bool {
        self.committed.stint(self.me).is_member()
    }

    /// True if no rule is switched off.
    pub(crate) fn is_whole(&self) -> bool {
        self.settings.is_whole()
    }

    /// A rule that is switched off to see the checkers bite.
    pub(crate) fn off(&self, rule: &str) -> bool {
        self.settings.off(rule)
    }

    /// The longest deadline that this node or a peer that is heard declares, by the fast path: before any other input of a
    /// turn.
    pub const fn handle_slowest(&mut self, deadline: Duration) {
        self.declared = deadline;
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.settings.deadline()
    }
    /// The deadline of the slowest: what others do at their own intervals is waited for that long.
    pub(crate) fn slowest(&self) -> Duration {
        self.settings.longest().max(self.declared)
    }

    pub(crate) fn turn(&mut self, event: StatusEvent) {
        match self.status.on(event) {
            Ok(status) => {
                self.calm &= status == self.status;
                self.status = status;
            }
            Err(_) => self.fault(),
        }
    }

    /// Something that the protocol excludes came in; it is counted and not acted on.
    pub(crate) const fn fault(&mut self) {
        self.faults += 1;
    }

    /// How often a peer said what the protocol excludes.
    #[must_use]
    pub const fn faults(&self) -> u64 {
        self.faults
    }

    pub(crate) const fn has_ended(&self) -> bool {
        self.ended
    }

    pub(crate) fn send(&mut self, to: Destination, message: Message) {
        self.actions.push_back(Action::Send { to, message });
    }

    /// Enters another term: what was acknowledged in the last one says nothing in it.
    pub(crate) fn enter(&mut self, term: Term) {
        self.calm = false;
        self.term = term;
        self.matched = Op::ZERO;
        self.acknowledged = None;
        self.primary_holds = Op::ZERO;
        self.heard_primary = None;
        self.awaits_primary = None;
        self.office = Office::default();
        self.pace.enter_term();
        self.requests.leave_office();
        self.change.leave();
        self.timers.clear(Timer::Change);
        self.timers.clear(Timer::Lull);
    }

    /// Era of the own log, if it has one.
    #[must_use]
    pub fn era(&self) -> Option<u32> {
        self.log.era()
    }

    /// Appends one entry; freezes and closes what it ends, before anything about it is sent (R-ACK 1, R-SELF).
    pub(crate) fn append(&mut self, now: Instant, entry: Entry) -> Op {
        let effective = match entry.kind {
            EntryKind::Remove { node, incarnation, stint, .. } => {
                let life = Life { node, incarnation };
                let ends = stint.is_member() && self.latest.stint(life) == stint;
                ends.then_some((life, stint))
            }
            EntryKind::Admit { node, incarnation } => {
                self.meet(Life { node, incarnation });
                None
            }
            _ => None,
        };
        self.calm &= is_plain(&entry);
        self.requests.appended(&entry);
        self.tail_bytes = self.tail_bytes.saturating_add(entry.size());
        let op = self.log.push(entry);
        let before = self.latest.voters;
        let mut charter = false;
        if let Some(entry) = self.log.get(op) {
            self.latest.apply(op, entry);
            charter = matches!(entry.kind, EntryKind::Configure { .. } | EntryKind::Vote { .. });
        }
        if let Some((life, stint)) = effective {
            self.seal(now, op, life, stint);
        }
        if charter {
            self.note_charter(op, before);
        }
        op
    }

    /// Drops uncommitted entries after `op`.
    pub(crate) fn truncate(&mut self, op: Op) {
        if op < self.commit {
            self.fault();
            return;
        }
        let cut = self.log.cut_tail(op);
        if cut.is_empty() {
            return;
        }
        self.calm = false;
        let cut: usize = cut.iter().map(Entry::size).sum();
        self.tail_bytes = self.tail_bytes.saturating_sub(cut);
        self.latest = roster_at(&self.committed, &self.log, op);
        self.requests.truncated(self.log.after(self.commit).map(|(_, entry)| entry));
        self.unseal_after(op);
        self.charter_truncated(op);
    }

    /// Follows a log that is known to hold what is committed: keeps what agrees, replaces what does not.
    /// False if it contradicts something committed or already matched, which the protocol excludes.
    pub(crate) fn adopt(
        &mut self,
        now: Instant,
        prev: Op,
        entries: impl IntoIterator<Item = Entry>,
    ) -> bool {
        let mut op = prev;
        for entry in entries {
            if self.outdated(entry.level) {
                return false;
            }
            op = op.next();
            if op < self.log.base() {
                // Committed here; at the base the terms are compared.
                continue;
            }
            match self.log.term_at(op) {
                Some(term) if term == entry.term => {}
                Some(_) if op <= self.commit || op <= self.matched => {
                    self.fault();
                    return false;
                }
                Some(_) => {
                    self.truncate(Op(op.0 - 1));
                    self.append(now, entry);
                }
                None if op == self.log.op().next() => {
                    self.append(now, entry);
                }
                None => {
                    self.fault();
                    return false;
                }
            }
        }
        true
    }

    /// Commits up to `target`: each entry once, in order. The batch that begins an era commits whole or not at all.
    pub(crate) fn commit_to(&mut self, target: Op) {
        let target = target.min(self.log.op());
        if target <= self.commit || target < self.log.batch_end() {
            return;
        }
        let (mut published, mut reflex) = (false, None);
        while self.commit < target {
            let op = self.commit.next();
            let Some(entry) = self.log.get(op) else { break };
            let was_member = self.is_member();
            let mut entry = entry.clone();
            let size = entry.size();
            self.tail_bytes = self.tail_bytes.saturating_sub(size);
            self.commit = op;
            published |= self.committed.apply(op, &entry);
            if matches!(entry.kind, EntryKind::Configure { .. } | EntryKind::Vote { .. }) {
                if self.committed.was_changed_by(op) {
                    self.charter_committed(op);
                } else {
                    // Not of the next version: it says nothing to anybody.
                    entry.kind = EntryKind::Noop;
                }
            }
            self.requests.committed(op, &mut entry);
            self.forget_seal(op);
            if entry.term == self.term {
                self.change.attempt = 0;
            }
            if was_member && !self.is_member() {
                reflex = Some(op);
            } else if self.is_member() {
                reflex = None;
            }
            self.actions.push_back(Action::Committed { op, entry });
            self.consider_snapshot(op, size, target);
        }
        if published {
            self.publish();
        }
        if let Some(removed_at) = reflex {
            self.actions.push_back(Action::Reflex { removed_at });
        }
        if self.was_ended(self.me) {
            self.said_to_be_off();
        }
    }

    /// Forgets the log for era `era` (R-ERA): nothing of an older era is acted on from here on.
    pub(crate) fn forget_era(&mut self, era: u32) {
        let stint = self.committed.stint(self.me);
        if stint.is_member() {
            self.actions.push_back(Action::CloseLease { stint });
        }
        let known = self.log.op() != Op::ZERO;
        self.seals = Seals::default();
        self.log = Log::default();
        self.tail_bytes = 0;
        if !self.off("install-era") {
            self.snapshots = Snapshots::default();
        }
        self.pull = None;
        self.installed = Op::ZERO;
        (self.commit, self.release) = (Op::ZERO, Op::ZERO);
        self.committed = Roster::before(&self.conf.held);
        self.conf.forget_log();
        self.latest = self.committed.clone();
        self.requests.new_era();
        self.enter(floor(era));
        self.turn(StatusEvent::ForgetEra);
        if known || stint.is_member() {
            self.publish();
        }
        if stint.is_member() {
            self.actions.push_back(Action::Reflex { removed_at: Op::ZERO });
        }
    }
}

/// Below every term of an era, so that a promise of the era refuses older ones and follows whoever begins it.
pub(crate) const fn floor(era: u32) -> Term {
    Term { era, counter: 0, life: Term::NONE.life }
}
