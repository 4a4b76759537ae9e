//! The first entry of an era (PROTOCOL 6, cold start), which is also the first start of a cluster.
//!
//! Fresh lives announce themselves with Join. When a majority of the configured voters is fresh and no primary speaks,
//! the first of them in rank takes a new era number, stores it durably, and asks the others, which do the same before
//! they promise. A node promises each number once, over all its lives (R-ERA): so of two candidates with the same
//! number at most one gets a majority, and a promise to the other binds nobody any more once that one's batch is seen.
//!
//! A promise binds its life to refuse older eras until the candidate says that it gave up, or its life is over: then
//! nobody can begin that era with it. A new life of the promiser is not bound: the batch would need the acknowledgement
//! of the life that promised. (Without a release, one candidate that lost would keep its promisers out for ever.)
//!
//! *Whose majority.* Fresh lives promise only for the charter that they hold durably themselves, and first give each other
//! the latest one that any of them has. So an era rests on the latest electorate that any of its promisers knows
//! (R-CONF-DURABLE, `configuration`), and the document in its batch is that of all of them.

use crate::api::{Action, Destination, Status, StatusEvent};
use crate::configuration::STORE_PATIENCE;
use crate::fence::PAIR;
use crate::replica::{Agreement, floor};
use crate::replicate::Office;
use crate::roster::{Roster, majority};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::Instant;
use wire::entry::FenceProof;
use wire::{
    Charter, Configuration, Edition, Entry, EntryKind, Incarnation, Life, Message, NodeId, NodeSet,
    Op, Term,
};

/// A majority waits this many deadlines for the other voters before it begins without them.
const PATIENCE: u64 = 4;
/// After this many deadlines without a word the batch of a begun era will not be committed.
const LOST: u64 = 8;

/// An override begins an era so far above the last one known.
pub(crate) const LEAP: u32 = 1_000;

/// Most released promises remembered: the batch of an older one would be of an older era than any that is followed.
const RELEASED_MAX: usize = 64;

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
enum Phase {
    #[default]
    Idle,
    /// The era is being stored; then it is promised to this term's life.
    Storing(Term),
    /// Asks for promises of its own era.
    Standing { term: Term, promised: BTreeMap<NodeId, Incarnation>, since: Instant },
    /// Has promised this term.
    Promised { term: Term, since: Instant },
}

/// What a life knows about beginning an era.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Cold {
    phase: Phase,
    /// Highest era promised, durably.
    promised: u32,
    /// Eras that this life has promised to others and that may still begin.
    bound: BTreeSet<Term>,
    /// Terms of such promises that were released: their batch is not this life's any more.
    released: BTreeSet<Term>,
    /// Highest era that this life has begun itself.
    begun_era: u32,
    /// Since when a majority of fresh lives is there.
    since: Option<Instant>,
    /// Eras tried.
    attempt: u64,
    /// Lives that say that nothing above this op is committed and that a majority of lives is over.
    hopeless: BTreeMap<NodeId, (Life, Op, Instant)>,
    /// When the own era began.
    begun: Option<Instant>,
    /// Voters that the operator asserted to be off, and until when that is used to begin an era.
    pub(crate) absent: Option<(NodeSet, Instant)>,
    /// When the own charter was last told to each node.
    told_charter: BTreeMap<NodeId, Instant>,
}

impl Cold {
    pub(crate) fn new(promised: u32) -> Self {
        Self { promised, ..Self::default() }
    }
    /// A primary of some era is followed: nothing is begun.
    pub(crate) fn follow(&mut self) {
        (self.phase, self.since, self.attempt) = (Phase::Idle, None, 0);
        self.bound.clear();
    }
    /// A batch that began with this term counted on a promise that binds no more.
    pub(crate) fn was_released_from(&self, term: Term) -> bool {
        self.released.contains(&term)
    }
    /// Highest era promised or seen.
    pub(crate) fn known_era(&self, log: Option<u32>) -> u32 {
        self.promised.max(log.unwrap_or(0))
    }
}

impl Agreement {
    /// R-FRESH and R-COLD-WAIT: no entry of the own log, committed or not, gives this life a vote, and every lease
    /// that an earlier life of this node echoed has ended.
    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        let log = if self.off("fresh-by-commit") { &self.committed } else { &self.latest };
        let seat = log.seat(self.me.node);
        let unknown = seat.is_none_or(|seat| seat.incarnation != self.me.incarnation);
        self.conf.held.electorate.contains(self.me.node)
            && (unknown || self.off("cold-voters"))
            && now >= self.started + self.settings.cold_wait()
    }

    /// No primary spoke for a while: beginning an era while one does would throw its log away.
    pub(crate) fn hears_no_primary(&self, now: Instant) -> bool {
        self.heard_primary.is_none_or(|at| now.since(at) >= self.slowest() * 2)
    }

    /// Highest era that this node knows of. Who got its vote in the middle of one has promised none: but the charter that it
    /// stored says in which era it was agreed.
    pub(crate) fn known_era(&self) -> u32 {
        self.cold.known_era(self.era()).max(self.conf.held.term.era)
    }

    /// Fresh lives that are there, this one included.
    pub(crate) fn fresh_lives(&self, now: Instant) -> NodeSet {
        let (electorate, own) = (self.conf.held.electorate, self.conf.held.edition());
        let mut fresh: NodeSet = self
            .joins
            .fresh(now, self.slowest())
            .filter(|(node, _)| electorate.contains(*node))
            .filter(|(_, edition)| *edition == own || self.off("cold-version"))
            .map(|(node, _)| node)
            .collect();
        if self.is_fresh(now) {
            fresh.insert(self.me.node);
        }
        if self.off("cold-voters") {
            let there = self.spoke.iter().filter(|(_, at)| now.since(**at) <= self.deadline());
            there.for_each(|(node, _)| fresh.insert(*node));
        }
        fresh
    }

    /// How many fresh lives begin an era.
    pub(crate) fn cold_majority(&self, now: Instant) -> usize {
        majority(self.era_electorate(now)) - usize::from(self.off("cold-majority"))
    }

    /// As learner: begins an era when that is due. Looked at with every input; Joins come every interval.
    pub(crate) fn cold_start(&mut self, now: Instant) {
        self.forget_ended_candidates();
        if !self.is_fresh(now) {
            self.give_up_lost_batch(now);
            self.give_up_lost_admit(now);
            return;
        }
        if !self.hears_no_primary(now) {
            self.cold.since = None;
            return;
        }
        let fresh = self.fresh_lives(now);
        let need = self.cold_majority(now);
        if fresh.len() < need {
            self.cold.since = None;
        }
        match &self.cold.phase {
            Phase::Standing { term, promised, since } => {
                let (term, since) = (*term, *since);
                let have: NodeSet = promised.keys().copied().collect();
                let enough = have.len() >= need;
                let all = fresh.iter().all(|node| have.contains(node));
                if enough && (all || now.since(since) >= self.slowest()) {
                    self.begin_era(now, term);
                } else if now.since(since) >= self.cold_patience() {
                    self.give_up_era(term);
                }
            }
            Phase::Promised { since, .. } if now.since(*since) >= self.cold_patience() => {
                self.cold.phase = Phase::Idle;
            }
            Phase::Idle if fresh.len() >= need => {
                self.consider_standing(now, fresh);
            }
            _ => {}
        }
    }

    fn cold_patience(&self) -> base::Duration {
        self.slowest() * (2 + self.cold.attempt.min(8))
    }

    /// Stands if it is its turn: the first in rank at once, the others one deadline after the one before.
    fn consider_standing(&mut self, now: Instant, fresh: NodeSet) {
        let since = *self.cold.since.get_or_insert(now);
        let leaders = self.conf.held.configuration.leaders(self.era_electorate(now));
        let eligible = || fresh.iter().filter(|n| leaders.contains(*n));
        if !eligible().any(|node| node == self.me.node) {
            return;
        }
        // Who was told by an operator stands at once.
        let told = self.absent_now(now).is_some();
        let ahead = eligible().take_while(|node| *node != self.me.node).count() as u64;
        let place = if told { 0 } else { ahead };
        let whole = fresh == self.era_electorate(now);
        let patience = if whole { 0 } else { PATIENCE };
        if now.since(since) < self.slowest() * (patience + place * 2) {
            return;
        }
        let known = self.known_era().max(self.joins.highest_era());
        // The absent may have begun eras that nobody here has heard of: no number is begun twice (R-ERA).
        let Some(era) = known.checked_add(if told { LEAP } else { 1 }) else { return };
        self.store_era(Term { era, counter: 0, life: self.me });
    }

    /// Only who has no vote helps to begin an era.
    fn may_begin(&self) -> bool {
        self.status == Status::Learner || self.off("cold-voters") && self.status != Status::Primary
    }

    fn store_era(&mut self, term: Term) {
        self.cold.phase = Phase::Storing(term);
        self.actions.push_back(Action::StoreEra { era: term.era });
    }

    /// Answer to [`Action::StoreEra`]: the promise may leave.
    pub fn handle_era_stored(&mut self, now: Instant, era: u32) {
        if self.has_ended() {
            return;
        }
        self.cold.promised = self.cold.promised.max(era);
        if let Phase::Storing(term) = self.cold.phase
            && term.era == era
        {
            self.promise_era(now, term);
        }
        self.settle(now);
    }

    fn promise_era(&mut self, now: Instant, term: Term) {
        if !self.is_fresh(now) || !self.may_begin() {
            self.cold.phase = Phase::Idle;
            return;
        }
        self.voted = true;
        if term.life == self.me || !self.off("cold-binds") {
            self.forget_era(term.era);
        }
        if term.life == self.me {
            let promised = BTreeMap::from([(self.me.node, self.me.incarnation)]);
            self.cold.phase = Phase::Standing { term, promised, since: now };
            let edition = self.conf.held.edition();
            self.send(Destination::All, Message::ColdRequest { term, edition });
        } else {
            self.cold.bound.insert(term);
            if self.cold.bound.len() > RELEASED_MAX {
                self.cold.bound.pop_first();
            }
            self.cold.phase = Phase::Promised { term, since: now };
            self.send_cold_promise(term);
        }
    }

    fn send_cold_promise(&mut self, term: Term) {
        let edition = self.conf.held.edition();
        self.send(Destination::Node(term.life.node), Message::ColdPromise { term, edition });
    }

    pub(crate) fn on_cold_request(
        &mut self,
        now: Instant,
        from: Life,
        term: Term,
        edition: Edition,
    ) {
        self.tell_charter(now, from, edition);
        if from != term.life || term.counter != 0 || !self.may_begin() {
            return;
        }
        let again = self.off("era-twice") && term.era == self.cold.promised;
        match &self.cold.phase {
            // Asked again: the promise was lost.
            Phase::Promised { term: promised, .. } if *promised == term => {
                self.send_cold_promise(term);
            }
            Phase::Idle
                if (edition == self.conf.held.edition() || self.off("cold-version"))
                    && (again || term.era > self.known_era() && term.era > self.term.era)
                    && self.is_fresh(now)
                    && self.hears_no_primary(now) =>
            {
                self.store_era(term);
            }
            _ => {}
        }
    }

    pub(crate) fn on_cold_promise(&mut self, from: Life, term: Term, edition: Edition) {
        let same = edition == self.conf.held.edition() || self.off("cold-version");
        if let Phase::Standing { term: own, promised, .. } = &mut self.cold.phase
            && *own == term
            && self.conf.held.electorate.contains(from.node)
            && same
        {
            promised.insert(from.node, from.incarnation);
        } else if term.life == self.me && term.era > self.cold.begun_era {
            self.send(Destination::Node(from.node), Message::ColdRelease { term });
        }
    }

    /// What this life stands for is not what the operator wants now.
    pub(crate) fn stand_anew(&mut self) {
        match self.cold.phase {
            Phase::Standing { term, .. } => self.give_up_era(term),
            Phase::Storing(term) if term.life == self.me => self.cold.phase = Phase::Idle,
            _ => {}
        }
    }

    /// The own candidacy found no majority in time. It never stands for this era again, so that nobody is bound by it.
    fn give_up_era(&mut self, term: Term) {
        self.cold.phase = Phase::Idle;
        self.cold.since = None;
        self.cold.attempt += 1;
        self.send(Destination::All, Message::ColdRelease { term });
        self.lower_floor();
    }

    pub(crate) fn on_cold_release(&mut self, from: Life, term: Term) {
        if from == term.life && self.cold.bound.remove(&term) {
            self.cold.released.insert(term);
            if self.cold.released.len() > RELEASED_MAX {
                self.cold.released.pop_first();
            }
            if matches!(self.cold.phase, Phase::Promised { term: promised, .. } if promised == term)
            {
                self.cold.phase = Phase::Idle;
            }
            self.lower_floor();
        }
    }

    /// As far as older eras are refused because of promises that bind nobody any more, they are followed again.
    fn lower_floor(&mut self) {
        let own = match self.cold.phase {
            Phase::Standing { term, .. } => Some(term.era),
            _ => None,
        };
        if self.log.op() == Op::ZERO && self.status == Status::Learner {
            let bound = self.cold.bound.iter().map(|term| term.era).max();
            self.enter(own.max(bound).map_or(Term::NONE, floor));
        }
    }

    /// Lives that are over begin nothing.
    fn forget_ended_candidates(&mut self) {
        let ended: Vec<Term> =
            self.cold.bound.iter().filter(|term| self.is_over(term.life)).copied().collect();
        for term in ended {
            self.on_cold_release(term.life, term);
        }
    }

    /// A primary of an older era was refused: has the candidate that holds the promise given up?
    pub(crate) fn ask_for_release(&mut self) {
        for term in self.cold.bound.clone() {
            self.send_cold_promise(term);
        }
    }

    /// Every interval while standing: the request or a promise may be lost.
    pub(crate) fn ask_for_era_again(&mut self) {
        if let Phase::Standing { term, .. } = self.cold.phase {
            let edition = self.conf.held.edition();
            self.send(Destination::All, Message::ColdRequest { term, edition });
        }
    }

    /// A life without a log that tells of an earlier charter than this one's gets it: it may be one that a cold start needs.
    pub(crate) fn tell_charter(&mut self, now: Instant, to: Life, edition: Edition) {
        let held = &self.conf.held;
        let told = self.cold.told_charter.get(&to.node);
        let due = told.is_none_or(|at| now.since(*at) >= self.deadline());
        if edition < held.edition()
            && !edition.contradicts(&held.edition())
            && due
            && self.is_without_log()
            && self.hears_no_primary(now)
        {
            let charter = held.clone();
            self.cold.told_charter.insert(to.node, now);
            self.send(Destination::Node(to.node), Message::Charter { charter });
        }
    }

    /// Another life without a log holds a later charter: it is stored before anything rests on it.
    pub(crate) fn on_charter(&mut self, now: Instant, charter: Charter) {
        let (held, offered) = (self.conf.held.edition(), charter.edition());
        if offered > held
            && !offered.contradicts(&held)
            && self.is_without_log()
            && self.hears_no_primary(now)
            && !self.conf.is_storing()
            && !self.off("cold-version")
        {
            self.store(charter);
        }
    }

    /// True if this life's log gives it nothing to lose: it is new, and follows nobody.
    pub(crate) fn is_without_log(&self) -> bool {
        let seat = self.latest.seat(self.me.node);
        self.status == Status::Learner
            && seat.is_none_or(|seat| seat.incarnation != self.me.incarnation)
    }

    /// Another charter is held durably: a candidacy that rests on the one before is given up.
    pub(crate) fn charter_changed(&mut self) {
        if self.log.op() == Op::ZERO {
            self.committed = Roster::before(&self.conf.held);
            self.latest = self.committed.clone();
        }
        if let Phase::Standing { term, .. } = self.cold.phase {
            self.give_up_era(term);
        }
    }

    /// Whose votes begin an era: the electorate of the own charter, less those that an operator asserted to be off.
    pub(crate) fn era_electorate(&self, now: Instant) -> NodeSet {
        let absent = self.absent_now(now).unwrap_or_default();
        self.conf.held.electorate.minus(absent)
    }

    /// The log of the era begins with one batch: Cold, an Admit of each life that promised, a Fenced for each voter that is
    /// asserted to be off, and the document.
    fn begin_era(&mut self, now: Instant, term: Term) {
        let Phase::Standing { promised, .. } = core::mem::take(&mut self.cold.phase) else {
            return;
        };
        self.enter(term);
        self.turn(StatusEvent::BeginEra);
        self.office = Office::new(Op::ZERO);
        let (electorate, era) = (self.era_electorate(now), term.era);
        let (admits, held) = (promised.len() as u8, self.conf.held.clone());
        let (version, absent) = (held.version, held.electorate.minus(electorate));
        self.propose(now, EntryKind::Cold { era, admits, version, electorate, absent });
        for (node, incarnation) in promised {
            self.propose(now, EntryKind::Admit { node, incarnation });
        }
        for node in absent.iter() {
            let Life { incarnation, .. } = self.newest(node);
            let proof = FenceProof::Operator;
            self.propose(now, EntryKind::Fenced { node, incarnation, proof });
        }
        let version = version.saturating_add(1);
        let again = Configuration { version, ..Configuration::clone(&held.configuration) };
        self.propose(now, EntryKind::Configure { configuration: Arc::new(again) });
        self.cold.absent = None;
        self.office.first = self.log.op();
        self.cold.follow();
        self.cold.begun_era = term.era;
        self.cold.begun = Some(now);
        self.lead(now);
    }

    /// A life that holds the batch of an era uncommitted is not fresh, so it could never help to begin another. When
    /// the batch does not commit for long, this life ends and the next one is fresh.
    pub(crate) fn give_up_lost_batch(&mut self, now: Instant) {
        let last =
            if self.status == Status::Primary { self.cold.begun } else { self.heard_primary };
        let patience = self.slowest() * LOST;
        let patience =
            if self.waits_for_disks(now) { patience.max(STORE_PATIENCE) } else { patience };
        let lost = last.is_some_and(|at| now.since(at) >= patience);
        let batch = self.commit == Op::ZERO && self.log.op() > Op::ZERO;
        if batch && lost && self.voted {
            self.renumber(self.me.incarnation);
        }
    }

    /// As primary of a batch: this life, or a majority with it, has all of it but perhaps what its disk has not stored yet.
    fn waits_for_disks(&self, now: Instant) -> bool {
        let charter = self.latest.changed_op();
        let stores = |life: Life| life == self.me || self.matched_by(life).next() >= charter;
        let lives = self.latest.seats().map(|(node, seat)| seat.life(node));
        let there = lives.filter(|l| !self.suspects_life(now, *l) && stores(*l)).count();
        self.status == Status::Primary
            && (self.conf.is_storing() || there >= self.latest.majority())
    }

    /// A life says how far its log is committed, and that a majority of lives is over.
    pub(crate) fn note_hopeless(&mut self, now: Instant, from: Life, commit: Op) {
        self.cold.hopeless.insert(from.node, (from, commit, now));
    }

    /// A life whose Admit is in its log uncommitted is neither voter nor fresh. When a majority of lives is over and all
    /// that are left say that the Admit is not committed, it never will be: this life ends, and the next one is fresh.
    /// (Not sooner: with the Admit committed this life's memory may be what a quorum needs. In a pair nobody is left to
    /// say it when the other life is over.)
    fn give_up_lost_admit(&mut self, now: Instant) {
        let own = |entry: &Entry| match entry.kind {
            EntryKind::Admit { node, incarnation } => Life { node, incarnation } == self.me,
            _ => false,
        };
        let uncommitted = self.log.after(self.commit).find(|(_, entry)| own(entry));
        let Some((admit, _)) = uncommitted.filter(|_| self.lives_have_ended()) else { return };
        let says_so = |life: Life| {
            self.cold.hopeless.get(&life.node).is_some_and(|(by, commit, at)| {
                *by == life && *commit < admit && now.since(*at) <= self.slowest() * 2
            })
        };
        let seats = self.committed.seats().map(|(node, seat)| seat.life(node));
        let living: Vec<Life> =
            seats.filter(|l| self.committed.votes(*l) && !self.is_over(*l)).collect();
        let asked = !living.is_empty() || self.committed.voters.len() == PAIR;
        if asked && living.into_iter().all(says_so) {
            self.renumber(self.me.incarnation);
        }
    }

    /// Highest era that any life of this node has promised.
    #[must_use]
    pub fn promised_era(&self) -> u32 {
        self.cold.promised
    }
}
