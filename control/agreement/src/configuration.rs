//! Changing members online (PROTOCOL 8).
//!
//! A `Configure` states what is wanted. It is in force from the next entry on, except for votes: those follow one at a
//! time, each by a `Vote` that the electorate before it commits. Two electorates that follow each other differ in one
//! vote, so that any two of their majorities share a node; and R-BARRIER sees to it that every member holds one before
//! the next is proposed. So an old and a new majority can never act side by side: not for entries (R-PROMISE-QUORUM), not
//! for leases (R-LEASE-CONF).
//!
//! **R-CONF-DURABLE.** Nobody acknowledges a `Configure` or `Vote` before its charter is stored durably. Then a cold start
//! cannot rest on an electorate that is over: electorate k+1 was acknowledged, hence stored, by a majority of k, so that a
//! majority of k contains somebody who knows k+1, and fresh lives promise only for the charter that they hold themselves
//! (`cold_start`). Of two entries of one version at most the one of the later term was committed: a later primary has
//! every committed one, and proposes only the version after the last. What is committed elsewhere was stored by a majority,
//! so that an entry that is known to be committed needs no store of this life's.
//!
//! *The vote that makes something else of a pair* is stored when it is known to be committed, and not before. Of a pair one
//! life may go on alone with evidence that the other's is over (R-FENCE); the other's next life, had it stored a vote that
//! the survivor never saw, could begin an era beside it, alone or with whom that vote was for. Nothing is lost by it: a
//! cold start by the pair takes both nodes, so that nothing of what the pair agreed can have a majority any more, and the
//! next charter is stored by a majority of the electorate that the vote makes, one of the pair among them.

use crate::api::{Action, ConfigureRefused, Destination, Status};
use crate::fence::PAIR;
use crate::replica::Agreement;
use crate::roster::{majority, roster_at};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use base::{Duration, Instant};
use wire::configuration::DOCUMENT_MAX;
use wire::message::MESSAGE_MAX;
use wire::{
    Charter, Configuration, Edition, EntryKind, Incarnation, Life, Message, NodeId, NodeSet, Op,
    Term,
};

/// How long a wanted configuration is repeated before it is dropped.
const PATIENCE: Duration = Duration::from_millis(2_000);
/// A member that is configured no more leaves by itself; after this long it is removed. Longer than a node waits for others
/// to take its services over.
const DROP_PATIENCE: Duration = Duration::from_millis(3_000);
/// How long a member's disk may take to store a charter.
pub(crate) const STORE_PATIENCE: Duration = Duration::from_millis(3_000);
/// What a message has besides the document that it carries.
const AROUND_DOCUMENT: usize = 512;
/// Longest document that can be agreed.
const DOCUMENT_LIMIT: usize = if DOCUMENT_MAX < MESSAGE_MAX - AROUND_DOCUMENT {
    DOCUMENT_MAX
} else {
    MESSAGE_MAX - AROUND_DOCUMENT
};

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Wanted {
    configuration: Arc<Configuration>,
    until: Instant,
    told: Option<Term>,
}

/// What a life knows about the configuration besides its log.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Conf {
    /// What this node holds durably.
    pub(crate) held: Charter,
    /// On its way to the disk.
    storing: Option<Charter>,
    /// Entries that make a charter and are not known to be committed.
    open: BTreeMap<Op, Edition>,
    /// Votes that make something else of a pair, and are not known to be committed.
    parting: BTreeSet<Op>,
    /// What the operator wants.
    wanted: Option<Wanted>,
    /// Feature levels that lives have shown.
    levels: BTreeMap<NodeId, (Incarnation, u16)>,
    /// When the last `Configure` was committed here.
    configured: Instant,
    /// What the board was told is the electorate of an appended `Vote`.
    pub(crate) told_next: Option<NodeSet>,
    /// As primary: since when every member holds this electorate.
    held_since: Option<(NodeSet, Instant)>,
}

impl Conf {
    pub(crate) const fn new(held: Charter, now: Instant) -> Self {
        Self {
            held,
            storing: None,
            open: BTreeMap::new(),
            parting: BTreeSet::new(),
            wanted: None,
            levels: BTreeMap::new(),
            configured: now,
            told_next: None,
            held_since: None,
        }
    }
    /// True if something waits to be told to the primary.
    pub(crate) const fn is_waiting(&self) -> bool {
        self.wanted.is_some()
    }
    /// What waits for the primary is told again.
    pub(crate) fn resend(&mut self) {
        if let Some(wanted) = &mut self.wanted {
            wanted.told = None;
        }
    }
    /// True if nothing is wanted, on its way to the disk, or uncommitted.
    pub(crate) fn is_idle(&self) -> bool {
        !self.is_waiting() && !self.is_storing() && self.open.is_empty() && self.parting.is_empty()
    }
    /// True while something is on its way to the disk.
    pub(crate) const fn is_storing(&self) -> bool {
        self.storing.is_some()
    }
    /// The own log is forgotten.
    pub(crate) fn forget_log(&mut self) {
        self.open.clear();
        self.parting.clear();
        self.told_next = None;
        self.held_since = None;
    }
}

impl Agreement {
    /// The operator wants another configuration. Once it is taken it is an entry or nothing: `Committed` tells.
    pub fn handle_configure(
        &mut self,
        now: Instant,
        configuration: Configuration,
    ) -> Result<(), ConfigureRefused> {
        self.check_configure(now, &configuration)?;
        if !self.has_ended() {
            self.want(now, Arc::new(configuration));
            self.settle(now);
        }
        Ok(())
    }

    pub(crate) fn on_configure(&mut self, now: Instant, configuration: Arc<Configuration>) {
        if self.status == Status::Primary {
            self.want(now, configuration);
        }
    }

    fn want(&mut self, now: Instant, configuration: Arc<Configuration>) {
        let until = now + PATIENCE;
        self.conf.wanted = Some(Wanted { configuration, until, told: None });
    }

    /// Whether a configuration can be taken now, by the committed log.
    pub fn check_configure(
        &self,
        now: Instant,
        wanted: &Configuration,
    ) -> Result<(), ConfigureRefused> {
        let in_force = self.committed.version();
        if wanted.version != in_force.saturating_add(1) {
            return Err(ConfigureRefused::Version { in_force });
        }
        let strangers = wanted.voters.union(wanted.witnesses).minus(wanted.nodes);
        if !strangers.is_empty() {
            return Err(ConfigureRefused::NotConfigured(strangers));
        }
        if wanted.voters.minus(wanted.witnesses).is_empty() {
            return Err(ConfigureRefused::NobodyLeads);
        }
        if wanted.interval_us == 0 || wanted.misses == 0 {
            return Err(ConfigureRefused::Timing);
        }
        if wanted.document.len() > DOCUMENT_LIMIT {
            return Err(ConfigureRefused::TooLarge);
        }
        // Who is to get a vote first may come later; who has one and keeps it must be here.
        let silent: NodeSet = wanted
            .voters
            .iter()
            .filter(|node| self.committed.voters.contains(*node) && !self.lives(now, *node))
            .collect();
        let need = majority(wanted.voters);
        if wanted.voters.len() - silent.len() < need {
            return Err(ConfigureRefused::Majority { silent, need });
        }
        self.check_level(wanted)
    }

    /// The level rises only when every member's release understands it.
    fn check_level(&self, wanted: &Configuration) -> Result<(), ConfigureRefused> {
        let level = self.committed.configuration().level;
        if wanted.level < level {
            return Err(ConfigureRefused::LevelFalls { level });
        }
        let lacks = |life: &Life| match self.level_of(*life) {
            Some(known) => known < wanted.level,
            // Everybody is heard by the primary, which judges it again.
            None => self.status == Status::Primary,
        };
        let mut members = self.committed.members().map(|(life, _)| life);
        match members.find(lacks).filter(|_| wanted.level > level) {
            Some(life) => Err(ConfigureRefused::LevelTooHigh(life.node)),
            None => Ok(()),
        }
    }

    /// The highest level that a life's release understands, if it has shown it.
    #[must_use]
    pub fn level_of(&self, life: Life) -> Option<u16> {
        if life == self.me {
            return Some(self.settings.level);
        }
        let (incarnation, known) = self.conf.levels.get(&life.node)?;
        (*incarnation == life.incarnation).then_some(*known)
    }

    /// The highest feature level that a life's release understands; each of its frames says so.
    pub fn handle_level(&mut self, life: Life, level: u16) {
        let known = self.conf.levels.entry(life.node).or_insert((life.incarnation, level));
        if life.incarnation >= known.0 {
            *known = (life.incarnation, level);
        }
    }

    /// Feature level of what is proposed now.
    pub(crate) fn level(&self) -> u16 {
        self.latest.configuration().level.min(self.settings.level)
    }

    // Durability.

    /// An entry that makes a charter stands in the log: it is stored before it is acknowledged, and its electorate bounds
    /// the lease from now on.
    pub(crate) fn note_charter(&mut self, op: Op, before: NodeSet) {
        if !self.latest.was_changed_by(op) {
            return;
        }
        let parts = before.len() == PAIR && self.latest.voters != before;
        if parts && !self.off("pair-store") {
            self.conf.parting.insert(op);
        } else {
            self.conf.open.insert(op, self.latest.charter().edition());
        }
        self.store_newest();
        self.publish_next();
    }

    /// Has the newest charter stored that this life knows; one is on its way at a time.
    fn store_newest(&mut self) {
        let newest = if self.parts_a_pair() {
            let before = Op(self.latest.changed_op().0 - 1);
            roster_at(&self.committed, &self.log, before).charter()
        } else {
            self.latest.charter()
        };
        if self.conf.storing.is_none() && newest.edition() > self.conf.held.edition() {
            self.store(newest);
        }
    }

    /// True if the last charter of the log is that of a vote that makes something else of a pair, and not known to be
    /// committed.
    fn parts_a_pair(&self) -> bool {
        let op = self.latest.changed_op();
        op > self.commit && self.conf.parting.contains(&op)
    }

    pub(crate) fn store(&mut self, charter: Charter) {
        self.conf.storing = Some(charter.clone());
        self.actions.push_back(Action::StoreConfiguration { charter });
    }

    /// The disk has not answered for long: the order may have been lost.
    pub(crate) fn store_again(&mut self) {
        if let Some(charter) = self.conf.storing.clone() {
            self.actions.push_back(Action::StoreConfiguration { charter });
        }
    }

    /// Answer to [`Action::StoreConfiguration`].
    pub fn handle_configuration_stored(&mut self, now: Instant, edition: Edition) {
        if self.has_ended() {
            return;
        }
        if let Some(charter) = self.conf.storing.take_if(|c| c.edition() == edition) {
            self.conf.held = charter;
            self.charter_changed();
            self.store_newest();
        }
        self.settle(now);
    }

    /// R-CONF-DURABLE: how far the log may be acknowledged.
    pub(crate) fn stored_up_to(&self, top: Op) -> Op {
        let held = self.conf.held.edition();
        let lacks = |(op, edition): (&Op, &Edition)| {
            (*op > self.commit && *edition > held).then_some(Op(op.0 - 1))
        };
        let before = self.conf.open.iter().find_map(lacks).filter(|_| !self.off("conf-durable"));
        before.map_or(top, |before| before.min(top))
    }

    /// A `Configure` or `Vote` is committed.
    pub(crate) fn charter_committed(&mut self, op: Op) {
        self.conf.open.remove(&op);
        self.conf.parting.remove(&op);
        let (interval, misses) = {
            let wanted = self.committed.configuration();
            (Duration::from_micros(u64::from(wanted.interval_us)), wanted.misses)
        };
        if interval > Duration::ZERO && misses > 0 {
            // What was declared before is waited for as long as this life lasts.
            self.settings.longest = self.settings.longest();
            (self.settings.interval, self.settings.misses) = (interval, misses);
        }
        self.conf.configured = self.settled;
        self.store_newest();
        let version = self.committed.version();
        if self.conf.wanted.as_ref().is_some_and(|w| w.configuration.version <= version) {
            self.conf.wanted = None;
        }
    }

    /// Log and roster come from a snapshot: all of it is committed.
    pub(crate) fn charter_installed(&mut self) {
        self.conf.open.clear();
        self.conf.parting.clear();
        self.charter_committed(Op::ZERO);
        self.store_newest();
    }

    /// What stood above `op` is gone.
    pub(crate) fn charter_truncated(&mut self, op: Op) {
        self.conf.open.split_off(&op.next());
        self.conf.parting.split_off(&op.next());
        self.publish_next();
    }

    /// R-LEASE-CONF: the board learns of the electorate of an appended `Vote` before anything is acknowledged.
    fn publish_next(&mut self) {
        if self.next_voters() != self.conf.told_next {
            self.publish();
        }
    }

    fn next_voters(&self) -> Option<NodeSet> {
        let next = self.latest.voters;
        (next != self.committed.voters && !self.off("lease-conf")).then_some(next)
    }

    /// Says who votes now, and who may next.
    pub(crate) fn publish(&mut self) {
        let mut roster = self.committed.clone();
        roster.next = self.next_voters();
        self.conf.told_next = roster.next;
        self.actions.push_back(Action::Publish(roster));
    }

    // As primary.

    /// R-BARRIER: after a `Configure`, a `Vote` or a given vote nothing but a Remove is proposed until that is committed
    /// and every member holds it or is removed.
    pub(crate) fn is_barred(&self) -> bool {
        let lacks = |op: Op| {
            let mut others = self.committed.members().filter(|(life, _)| *life != self.me);
            op > self.commit || others.any(|(life, _)| self.matched_by(life) < op)
        };
        let changed = self.latest.changed_at().is_some_and(lacks);
        let uncommitted = self.latest.changed_at().is_some_and(|op| op > self.commit);
        let given = self.latest.voids().any(|(_, void)| lacks(void.op));
        if self.off("barrier") { uncommitted } else { changed || given }
    }

    /// As primary in office, and not barred: takes what the operator wants, then lets one vote follow.
    pub(crate) fn propose_configuration(&mut self, now: Instant) {
        if let Some(wanted) = self.conf.wanted.take().filter(|w| w.until > now)
            && self.check_configure(now, &wanted.configuration).is_ok()
        {
            let configuration = wanted.configuration;
            self.propose(now, EntryKind::Configure { configuration });
            return;
        }
        let over = self.old_leases_are_over(now);
        let next = self.next_vote(now).filter(|_| over);
        if let Some((Life { node, incarnation }, votes)) = next {
            let version = self.latest.version().saturating_add(1);
            self.propose(now, EntryKind::Vote { version, node, incarnation, votes });
        }
    }

    /// R-PROGRESS: who has acknowledged all below a charter may be waiting for its disk.
    pub(crate) fn patience_with(&self, life: Life, limit: Duration) -> Duration {
        let below = |op: Op| self.matched_by(life).next() == op;
        let stores = self.latest.changed_at().is_some_and(below);
        if stores { limit.max(STORE_PATIENCE) } else { limit }
    }

    /// A lease that was renewed before its holder had the last vote may rest on a majority of the electorate before it,
    /// which a majority of the electorate after the next vote need not meet. R-LEASE-CONF ends its renewal, and R-BARRIER
    /// waits for that; it has run out one deadline of the slowest later. So long a vote waits after another.
    fn old_leases_are_over(&mut self, now: Instant) -> bool {
        let voters = self.latest.voters;
        let since = match self.conf.held_since {
            Some((held, since)) if held == voters => since,
            _ => now,
        };
        self.conf.held_since = Some((voters, since));
        now.since(since) >= self.slowest() || self.off("old-leases")
    }

    /// The next vote to give or to take: given first, so that there are many; of those to take the silent ones first,
    /// the own one never (another one leads then).
    fn next_vote(&self, now: Instant) -> Option<(Life, bool)> {
        let (have, wanted) = (self.latest.voters, self.latest.configuration().voters);
        if have == wanted {
            return None;
        }
        let given = wanted.minus(have).iter().filter_map(|node| self.may_vote(now, node));
        let mut given = given.filter(|life| self.majority_lives(now, have.with(life.node)));
        if let Some(life) = given.next() {
            return Some((life, true));
        }
        let taken = || have.minus(wanted).iter().filter(|node| *node != self.me.node);
        let may = |node: &NodeId| self.majority_lives(now, have.without(*node));
        let silent = taken().filter(|node| !self.lives(now, *node)).find(may);
        let node = silent.or_else(|| taken().find(may))?;
        let incarnation = self.latest.seat(node).map(|seat| seat.incarnation).unwrap_or_default();
        Some((Life { node, incarnation }, false))
    }

    /// The life of a node that may get a vote: a member that has what is committed.
    fn may_vote(&self, now: Instant, node: NodeId) -> Option<Life> {
        if self.off("vote-before-log") {
            return Some(self.latest.seat(node).map_or(self.newest(node), |seat| seat.life(node)));
        }
        let life = self.latest.seat(node).filter(|seat| seat.stint.is_member())?.life(node);
        let holds = life == self.me || self.matched_by(life) >= self.commit;
        (holds && (life == self.me || !self.suspects_life(now, life))).then_some(life)
    }

    /// True if the life of this slot is not known to be silent or over.
    fn lives(&self, now: Instant, node: NodeId) -> bool {
        let life = self.latest.seat(node).map(|seat| seat.life(node));
        life.is_some_and(|life| {
            life == self.me
                || !self.latest.has_ended(node)
                    && !self.suspects_life(now, life)
                    && !self.is_over(life)
        })
    }

    /// True if a majority of these voters lives.
    fn majority_lives(&self, now: Instant, voters: NodeSet) -> bool {
        voters.iter().filter(|node| self.lives(now, *node)).count() >= majority(voters)
            || self.off("vote-before-log")
    }

    /// A primary whose vote is to be taken, or that is to be a witness, hands over before that.
    pub(crate) fn should_hand_over(&self, now: Instant) -> bool {
        let wanted = self.committed.configuration();
        let leads = wanted.voters.minus(wanted.witnesses);
        self.commit > Op::ZERO
            && !leads.contains(self.me.node)
            && self.candidates(now).any(|(life, stint)| {
                life != self.me && stint.is_member() && leads.contains(life.node)
            })
    }

    /// True if a member is configured no more and did not leave by itself.
    pub(crate) fn is_dropped(&self, now: Instant, life: Life) -> bool {
        !self.committed.configuration().nodes.contains(life.node)
            && now.since(self.conf.configured) >= DROP_PATIENCE
    }

    /// When a member that is configured no more is removed at the latest.
    pub(crate) fn drop_deadline(&self) -> Option<Instant> {
        let nodes = self.committed.configuration().nodes;
        let stays = self.committed.members().any(|(life, _)| !nodes.contains(life.node));
        (stays && self.status == Status::Primary).then(|| self.conf.configured + DROP_PATIENCE)
    }

    /// Sends a wanted configuration to the primary, if that is another.
    pub(crate) fn forward_configuration(&mut self, now: Instant) {
        self.conf.wanted.take_if(|wanted| wanted.until <= now);
        let (primary, term) = (self.primary_elsewhere(), Some(self.term));
        let Some(node) = primary else { return };
        let Some(wanted) = self.conf.wanted.as_mut().filter(|w| w.told != term) else { return };
        wanted.told = term;
        let configuration = Arc::clone(&wanted.configuration);
        self.send(Destination::Node(node), Message::Configure { configuration });
    }

    /// What this node holds durably of the configuration.
    #[must_use]
    pub const fn held_charter(&self) -> &Charter {
        &self.conf.held
    }
}
