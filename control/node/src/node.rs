//! The state of one life, and where its inputs go.
//!
//! Every input ends in `Node::settle`: what the agreement has to say is taken in order (committed entries go through
//! membership and planner), and requests that wait are given to it. What runs here follows the log after that, in
//! [`Node::follow_up`]: when the actions so far have been taken, acknowledgements and answers among them, at which others
//! wait.

use crate::action::Action;
use crate::command::{Command, CommandDone, CommandRefused};
use crate::configure::Dropped;
use crate::fail_back::FailBack;
use crate::gate::{GateState, GateWatch};
use crate::here::{Here, Moment, Step};
use crate::lease::Lease;
use crate::outbox;
use crate::peers::Peers;
use crate::requests::Requests;
use crate::timeline::{Failover, Timelines};
use agreement::{Agreement, Destination};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::{Duration, Instant};
use driver::{FencePolicy, Job, Outcome};
use heartbeat::board::Frozen;
use heartbeat::{Event, EventKind};
use membership::{Member, Membership, Names};
use services::{Accepted, Applied, Body, Phase, Planner, ServiceSpec, ServiceState, Why};
use wire::message::SLICE_MAX;
use wire::{
    Edition, Entry, EntryKind, Generation, Life, Message, NodeId, Op, Seq, ServiceId, Stint,
};

/// Rounds of "take, follow, ask" per input; what is left comes with the next.
const ROUNDS_MAX: usize = 8;
/// How long a leaving node waits for others to take its services over before it just stops them.
pub const LEAVE_PATIENCE: Duration = Duration::from_millis(2_000);

/// What one life is told at its start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// For the agreement: this life, the voters, the interval.
    pub agreement: agreement::Settings,
    /// The services; all nodes have the same ones in the same order.
    pub services: Vec<ServiceSpec>,
    /// The names of all configured nodes.
    pub names: Names,
}

/// One life of a node's control part.
#[derive(Debug)]
pub struct Node {
    pub(crate) me: Life,
    pub(crate) names: Names,
    pub(crate) deadline: Duration,
    pub(crate) agreement: Agreement,
    pub(crate) membership: Membership,
    pub(crate) planner: Planner,
    pub(crate) here: Here,
    pub(crate) lease: Lease,
    pub(crate) gate: GateWatch,
    pub(crate) peers: Peers,
    pub(crate) requests: Requests,
    pub(crate) timelines: Timelines,
    fail_back: FailBack,
    /// When this node saw each service's phase and generation begin.
    pub(crate) since: BTreeMap<ServiceId, ((Phase, Generation), Instant)>,
    pub(crate) actions: VecDeque<Action>,
    late: Option<(Destination, Message)>,
    /// The moment of the last input, until what runs here has followed it.
    unsettled: Option<Instant>,
    owner: bool,
    pub(crate) leaving: Option<Instant>,
    /// How far it has come, if it leaves because it is configured no more.
    pub(crate) dropped: Dropped,
    /// It leaves without waiting for others any more.
    hasty: bool,
    pub(crate) ended: bool,
    /// A committed configuration whose document is not known yet.
    document: Option<(Op, Entry)>,
    /// The stint in which this life said that it is clean.
    said_clean: Stint,
    /// The stint in which this life said that it leaves.
    said_leave: Stint,
    /// Era and number of the last view that was told.
    pub(crate) told: (u32, Op),
    /// Largest slice of a snapshot in bytes.
    pub(crate) slice: usize,
}

impl Node {
    /// A new life.
    #[must_use]
    pub fn new(settings: Settings, now: Instant) -> Self {
        let Settings { agreement, services, names } = settings;
        let (me, deadline) = (agreement.me, agreement.deadline());
        let witnesses = agreement.charter.configuration.witnesses;
        let slice = agreement.limits.slice.clamp(1, SLICE_MAX);
        let mut node = Self {
            me,
            names,
            deadline,
            agreement: Agreement::new(agreement, now),
            membership: Membership::new(),
            here: Here::new(),
            planner: Planner::new(services, witnesses),
            lease: Lease::default(),
            gate: GateWatch::default(),
            peers: Peers::default(),
            requests: Requests::new(me),
            timelines: Timelines::default(),
            fail_back: FailBack::default(),
            since: BTreeMap::new(),
            actions: VecDeque::new(),
            late: None,
            unsettled: None,
            owner: false,
            leaving: None,
            dropped: Dropped::default(),
            hasty: false,
            ended: false,
            document: None,
            said_clean: Stint::NONE,
            said_leave: Stint::NONE,
            told: (0, Op::ZERO),
            slice,
        };
        node.settle(now);
        node
    }

    /// A message of the agreement came; its sender is authenticated.
    pub fn handle_message(&mut self, now: Instant, from: Life, message: Message) {
        self.agreement.handle_message(now, from, message);
        self.settle(now);
    }

    /// The fast path saw something.
    pub fn handle_event(&mut self, now: Instant, event: Event) {
        self.peers.note(&event);
        match event.kind {
            EventKind::Suspected { life, stint, heard, deadline } => {
                if self.membership.view().has(Member { life, stint }) {
                    self.timelines.suspected(event.at, life, stint, (heard, deadline));
                }
                self.agreement.handle_suspected(now, life, stint);
            }
            EventKind::Trusted { life, stint } => {
                self.timelines.trusted(life);
                self.agreement.handle_trusted(now, life, stint);
            }
            EventKind::Obituary { life, stint } => {
                if self.membership.view().has(Member { life, stint }) {
                    self.timelines.obituary(event.at, life, stint);
                }
                self.agreement.handle_obituary(now, life, stint);
            }
            EventKind::Appeared { life } => self.agreement.handle_appeared(now, life),
            EventKind::LeaseGained
            | EventKind::LeaseLost
            | EventKind::Stalled { .. }
            | EventKind::LinkDown { .. }
            | EventKind::LinkPoor { .. }
            | EventKind::LinkGood { .. }
            | EventKind::LinkUp { .. }
            | EventKind::Impostor { .. } => {}
        }
        self.settle(now);
    }

    /// The end of the own lease as the board has it. The edge calls this in every cycle before all
    /// other inputs: an event about a lapse may come late, and no start may rest on a lease that
    /// is over.
    pub fn handle_lease(&mut self, now: Instant, end: Instant) {
        self.lease.set_end(end);
        if self.lease_held(now) != self.lease.was_held() {
            self.settle(now);
        }
    }

    /// The longest deadline that this node or a peer that is heard declares, as the board has it. The edge calls this in
    /// every cycle before all other inputs.
    pub const fn handle_slowest(&mut self, deadline: Duration) {
        self.agreement.handle_slowest(deadline);
    }

    /// What the edge sees of the kernel gate; it tells before anything else, and with every change.
    pub fn handle_gate(&mut self, now: Instant, state: GateState) {
        self.gate.note(now, state);
        self.settle(now);
    }

    /// True if the kernel's gate closes every floating address on this node.
    #[must_use]
    pub fn gate_is_whole(&self) -> bool {
        self.gate.lack().is_none()
    }

    /// The gate saw the first packets of a generation: a question, an answer.
    pub fn handle_answered(
        &mut self,
        service: ServiceId,
        generation: Generation,
        asked: Option<Instant>,
        answered: Instant,
    ) {
        self.timelines.answered(service, generation, asked, answered);
    }

    /// Answer to [`Action::Freeze`]: what `Board::freeze` found is final from now on.
    pub fn handle_frozen(&mut self, now: Instant, node: NodeId, stint: Stint, frozen: Frozen) {
        let member = self.membership.view().member(node).filter(|m| m.stint == stint);
        if let Some(member) = member {
            self.timelines.frozen(now, member.life, stint, frozen);
        }
        self.agreement.handle_frozen(now, node, stint, frozen.end);
        self.settle(now);
    }

    /// Answer to [`Action::StoreEra`].
    pub fn handle_era_stored(&mut self, now: Instant, era: u32) {
        self.agreement.handle_era_stored(now, era);
        self.settle(now);
    }

    /// Answer to [`Action::StoreConfiguration`].
    pub fn handle_configuration_stored(&mut self, now: Instant, edition: Edition) {
        self.agreement.handle_configuration_stored(now, edition);
        self.settle(now);
    }

    /// The highest feature level that a life's release understands; each of its frames says so.
    pub fn handle_level(&mut self, life: Life, level: u16) {
        self.agreement.handle_level(life, level);
    }

    /// Answer to [`Action::Configured`], at once: the services that the document has, in its order, and the nodes' names.
    /// Only then the entry is applied that states it, and whatever comes after it.
    pub fn handle_document(&mut self, now: Instant, services: Vec<ServiceSpec>, names: Names) {
        self.names = names;
        // After a snapshot the services are what it has.
        let Some((op, entry)) = self.document.take() else { return };
        self.planner.take_services(services);
        self.apply(now, op, &entry);
        self.settle(now);
    }

    /// The drivers did a job, or found something dead.
    pub fn handle_outcome(&mut self, now: Instant, outcome: &Outcome) {
        if outcome.result == driver::Done::Started {
            let (service, generation) = (outcome.service, outcome.generation);
            self.timelines.driven(service, generation, outcome.began, outcome.ended);
        }
        self.here.handle_outcome(outcome);
        self.settle(now);
    }

    /// The operator orders something; the answer is [`Action::Reply`] with this tag.
    pub fn handle_command(&mut self, now: Instant, tag: u64, command: Command) {
        if let Err(refused) = self.order(now, tag, command) {
            self.reply(tag, Err(refused));
        }
        self.settle(now);
    }

    /// The daemon is to end in good order: its services go elsewhere first, or just stop when that
    /// takes too long. [`Node::has_left`] tells when it may go.
    pub fn handle_leave(&mut self, now: Instant) {
        if self.leaving.is_none() {
            self.leaving = Some(now);
        }
        // Who is told to end waits for nobody to take its vote.
        if self.dropped != Dropped::Goes {
            self.dropped = Dropped::No;
        }
        self.settle(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.agreement.handle_timeout(now);
        self.settle(now);
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        let late = |(to, message)| Action::Send { to, message };
        loop {
            if let Some(action) = self.poll_urgent() {
                return Some(action);
            }
            if !self.follow_up() {
                return self.poll_late().map(late);
            }
        }
    }

    /// Has what runs here follow the inputs so far; true if there is something to do now. Whoever polls by
    /// [`Node::poll_urgent`] calls this when that has nothing more, and polls again while it is true.
    pub fn follow_up(&mut self) -> bool {
        if let Some(now) = self.unsettled.take() {
            for _ in 0..ROUNDS_MAX {
                self.follow(now);
                self.propose_fail_back(now);
                if !self.ask(now) {
                    break;
                }
                self.take(now);
            }
            for tag in self.requests.expired(now) {
                self.reply(tag, Err(CommandRefused::Timeout));
            }
        }
        !self.actions.is_empty()
    }

    /// False while [`Node::follow_up`] has something to do, or actions wait.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.unsettled.is_none() && self.actions.is_empty()
    }

    /// The next thing to do but for what [`Node::follow_up`] and [`Node::poll_late`] give. Who answers callers before those
    /// has their next requests go out first.
    pub fn poll_urgent(&mut self) -> Option<Action> {
        outbox::next(&mut self.actions, &mut self.late)
    }

    /// A Prepare without entries: nobody waits for it, and the next one with entries says as much.
    pub const fn poll_late(&mut self) -> Option<(Destination, Message)> {
        self.late.take()
    }

    /// When [`Node::handle_timeout`] must be called at the latest.
    #[must_use]
    pub fn poll_deadline(&self) -> Option<Instant> {
        let leave = self.leaving.filter(|_| !self.hasty).map(|at| at + LEAVE_PATIENCE);
        [
            self.agreement.poll_deadline(),
            self.here.deadline(&self.lease, self.deadline),
            self.fail_back.deadline(),
            self.requests.deadline(),
            self.dropped_deadline(),
            leave,
            self.unsettled,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// True when a leaving node has nothing left to stop or to say, or has waited long enough.
    #[must_use]
    pub fn has_left(&self, now: Instant) -> bool {
        let Some(since) = self.leaving.filter(|_| !self.waits_to_be_dropped()) else {
            return false;
        };
        // What a life that is over by the log still has to say nobody takes any more.
        let heard = !self.ended && self.own_member().is_some();
        let said = self.requests.outstanding() == 0 || !heard;
        !self.here.anything() && (said || now.since(since) >= LEAVE_PATIENCE)
    }

    /// Timelines of removals, newest first.
    pub fn timelines(&self) -> impl Iterator<Item = &Failover> {
        self.timelines.newest_first()
    }

    /// Why a service is where it is.
    #[must_use]
    pub fn why(&self, service: ServiceId) -> Option<Why> {
        let (spec, state) = self.planner.service(service)?;
        Some(services::why::why(spec, state, &self.planner.scene(&self.membership), &self.names))
    }

    /// The services and their states by the committed log.
    #[must_use]
    pub const fn planner(&self) -> &Planner {
        &self.planner
    }

    /// Membership by the committed log.
    #[must_use]
    pub const fn membership(&self) -> &Membership {
        &self.membership
    }

    /// The agreement.
    #[must_use]
    pub const fn agreement(&self) -> &Agreement {
        &self.agreement
    }

    /// This life's membership by the committed log.
    #[must_use]
    pub fn own_member(&self) -> Option<Member> {
        self.membership.view().member(self.me.node).filter(|m| m.life == self.me)
    }

    /// True while this node may act as a member.
    #[must_use]
    pub fn lease_held(&self, now: Instant) -> bool {
        self.lease.holds(now, self.own_member().map(|m| m.stint).unwrap_or_default())
    }

    pub(crate) fn settle(&mut self, now: Instant) {
        self.unsettled = Some(now);
        for _ in 0..ROUNDS_MAX {
            self.take(now);
            if !self.ask(now) {
                break;
            }
        }
    }

    /// Takes what the agreement has to say, in order.
    fn take(&mut self, now: Instant) {
        // What follows a document is decided by it: nothing is taken before it is known.
        while self.document.is_none()
            && let Some(action) = self.agreement.poll_action()
        {
            match action {
                agreement::Action::Send { to, message } => {
                    self.actions.push_back(Action::Send { to, message });
                }
                agreement::Action::Freeze { node, stint } => {
                    self.actions.push_back(Action::Freeze { node, stint });
                }
                agreement::Action::Unfreeze { node } => {
                    self.timelines.unfrozen(node);
                    self.actions.push_back(Action::Unfreeze { node });
                }
                agreement::Action::CloseLease { stint } => {
                    self.lease.close(stint);
                    self.actions.push_back(Action::CloseLease { stint });
                }
                agreement::Action::ReopenLease => {
                    self.lease.reopen();
                    self.actions.push_back(Action::ReopenLease);
                }
                agreement::Action::StoreEra { era } => {
                    self.actions.push_back(Action::StoreEra { era });
                }
                agreement::Action::StoreConfiguration { charter } => {
                    self.actions.push_back(Action::StoreConfiguration { charter });
                }
                agreement::Action::Committed { op, entry } => self.commit(now, op, &entry),
                agreement::Action::Snapshot { op } => self.take_snapshot(now, op),
                agreement::Action::Install { op, slices } => self.install(now, op, &slices),
                agreement::Action::Publish(roster) => {
                    self.actions.push_back(Action::Publish(roster));
                }
                agreement::Action::Reflex { removed_at } => self.reflex(now, removed_at),
                agreement::Action::Superseded { highest } => {
                    self.ended = true;
                    self.follow(now);
                    self.actions.push_back(Action::Superseded { highest });
                }
                agreement::Action::SaidOff => {
                    self.ended = true;
                    self.follow(now);
                    self.actions.push_back(Action::SaidOff);
                }
                agreement::Action::Outdated { level } => {
                    self.ended = true;
                    self.follow(now);
                    self.actions.push_back(Action::Outdated { level });
                }
                agreement::Action::Renumber { above } => {
                    self.actions.push_back(Action::Renumber { above });
                }
            }
        }
    }

    /// The own membership is over. By a removal the view says so; when the era ended there is no
    /// view any more.
    fn reflex(&mut self, now: Instant, removed_at: Op) {
        if removed_at == Op::ZERO {
            self.membership = Membership::new();
            self.actions.push_back(Action::ViewChanged(self.membership.view().clone()));
        }
        self.follow(now);
    }

    pub(crate) fn commit(&mut self, now: Instant, op: Op, entry: &Entry) {
        if let EntryKind::Configure { configuration } = &entry.kind
            && !configuration.document.is_empty()
        {
            self.document = Some((op, entry.clone()));
            self.actions.push_back(Action::Configured(Arc::clone(configuration)));
            return;
        }
        self.apply(now, op, entry);
    }

    /// Applies a committed entry whose document, if it has one, is known.
    pub(crate) fn apply(&mut self, now: Instant, op: Op, entry: &Entry) {
        let before = self.membership.view().nodes();
        let owned = match entry.kind {
            EntryKind::Remove { node, .. } if before.contains(node) => self.owned_by(node),
            _ => Vec::new(),
        };
        if self.membership.apply(op, entry).is_some() {
            self.tell_view();
        }
        let applied = self.planner.apply(op, entry, &self.membership);
        if let EntryKind::Remove { node, .. } = entry.kind
            && let Some(removal) = self.membership.removal(node).filter(|r| r.op == op)
        {
            self.timelines.removed(now, &removal, owned.into_iter());
        }
        for id in &applied.changed {
            self.note_change(now, *id);
        }
        if let EntryKind::Configure { configuration } = &entry.kind {
            self.configured(now, op, configuration);
        }
        self.answer(op, entry, &applied);
    }

    fn owned_by(&self, node: NodeId) -> Vec<(ServiceId, Generation)> {
        let states = self.planner.services();
        let owned = states.filter(|(_, state)| state.holder().is_some_and(|o| o.life.node == node));
        owned.map(|(spec, state)| (spec.id, state.generation)).collect()
    }

    pub(crate) fn note_change(&mut self, now: Instant, id: ServiceId) {
        let Some((spec, state)) = self.planner.service(id) else {
            // Configured no more, and proven to have ended.
            self.since.remove(&id);
            self.actions.push_back(Action::ServiceChanged(id));
            return;
        };
        self.timelines.planned(now, spec, state);
        let key = (state.phase, state.generation);
        let since = self.since.entry(id).or_insert((key, now));
        if since.0 != key {
            *since = (key, now);
        }
        self.actions.push_back(Action::ServiceChanged(id));
    }

    /// Answers the callers whose request this entry was.
    fn answer(&mut self, op: Op, entry: &Entry, applied: &Applied) {
        match &entry.kind {
            EntryKind::Request { client, seq, .. } => {
                let Some(tag) = self.requests.committed(*client, *seq) else { return };
                let result = match applied.answer {
                    Some(Ok(Accepted::Moved { from, to })) => {
                        Ok(CommandDone::Moved { from, to, op })
                    }
                    Some(Err(refusal)) => Err(refusal.into()),
                    Some(Ok(Accepted::Cleared | Accepted::Noted)) | None => {
                        Ok(CommandDone::Cleared { op })
                    }
                };
                self.reply(tag, result);
            }
            EntryKind::Fenced { node, incarnation, .. } => {
                let life = Life { node: *node, incarnation: *incarnation };
                for tag in self.requests.fenced(*node) {
                    self.reply(tag, Ok(CommandDone::ConfirmedOff { life, op }));
                }
            }
            _ => {}
        }
    }

    /// Drives what runs here towards what the log says.
    pub(crate) fn follow(&mut self, now: Instant) {
        self.consider_leaving(now);
        let member = self.own_member();
        let held = self.lease.observe(now, member.map(|m| m.stint).unwrap_or_default());
        // Who leaves says so in each stint (it may be removed and admitted while it goes), so that it gets nothing more. It
        // hands over by the log while it can, and just stops what it has when it cannot.
        if let Some(member) = member.filter(|m| self.says_leave() && m.stint != self.said_leave) {
            self.said_leave = member.stint;
            self.requests.say(&Body::Leave { life: self.me });
        }
        self.hasty = self.leaving.is_some_and(|at| !held || now.since(at) >= LEAVE_PATIENCE);
        let me = member.filter(|_| !self.ended && !self.hasty);
        let life = self.me;
        // Before a start is refused for it, so that the log does not give the service here again.
        self.say_gate(member);
        let (lease, deadline, lack) = (&self.lease, self.deadline, self.gate.lack());
        let moment = Moment { now, me, lease, deadline, lack };
        self.here.follow(self.planner.services(), |owner| owner.life == life, &moment);
        for step in self.here.take_steps() {
            self.perform(now, step);
        }
        self.say_clean(member);
        let mine = |owner: Option<Member>| owner.is_some() && owner == member;
        let owner =
            self.here.anything() || self.planner.services().any(|(_, state)| mine(state.holder()));
        if owner != self.owner {
            self.owner = owner;
            self.actions.push_back(Action::Owner(owner));
        }
    }

    fn perform(&mut self, now: Instant, step: Step) {
        match step {
            Step::Open(service, generation) => {
                self.actions.push_back(Action::Open { service, generation });
            }
            Step::Run(job) => {
                if let Job::Start(right) = &job {
                    self.timelines.run(now, right.service(), right.generation());
                }
                self.actions.push_back(Action::Run(job));
            }
            Step::Report(service, generation, report) => {
                self.requests.say(&Body::Outcome { service, generation, report });
            }
        }
    }

    /// A life that joins an era late tells once that nothing of an earlier era is left here:
    /// fenced services wait for that before their first start.
    fn say_clean(&mut self, member: Option<Member>) {
        let Some(member) = member else { return };
        let fenced = |spec: &ServiceSpec| {
            spec.fence == FencePolicy::Fenced && spec.rank(self.me.node).is_some()
        };
        let era = ServiceState::at_era(self.membership.view().era).generation;
        if self.said_clean == member.stint
            || self.here.anything_before(era)
            || self.membership.is_forming()
            || self.planner.is_clean(self.me.node)
            || !self.planner.services().any(|(spec, _)| fenced(spec))
        {
            return;
        }
        self.said_clean = member.stint;
        self.requests.say(&Body::Clean { life: self.me });
    }

    /// A member whose gate is not whole says so: its end of lease proves nothing then (S2b).
    fn say_gate(&mut self, member: Option<Member>) {
        let Some(member) = member.filter(|_| !self.membership.is_forming()) else { return };
        if let Some(whole) = self.gate.news(member.stint) {
            self.requests.say(&Body::Gate { life: self.me, whole });
        }
    }

    fn propose_fail_back(&mut self, now: Instant) {
        let me = self.own_member();
        let ids: Vec<_> = self.planner.services().map(|(spec, _)| spec.id).collect();
        for service in ids {
            let Some((_, state)) = self.planner.service(service) else { continue };
            let generation = state.generation;
            let mine = state.owner.is_some() && state.owner == me && self.leaving.is_none();
            let to = self.planner.fail_back(service, &self.membership).filter(|_| mine);
            if self.fail_back.watch(now, service, to.map(|to| (generation, to)))
                && let Some(to) = to
            {
                self.requests.say(&Body::FailBack { service, generation, to });
            }
        }
    }

    /// Hands waiting requests to the agreement; true if it took one.
    fn ask(&mut self, now: Instant) -> bool {
        let mut took = false;
        loop {
            let agreement = &mut self.agreement;
            let take =
                |client, seq: Seq, body| agreement.handle_request(now, client, seq, body).is_ok();
            if !self.requests.offer(take) {
                return took;
            }
            took = true;
        }
    }

    fn order(&mut self, now: Instant, tag: u64, command: Command) -> Result<(), CommandRefused> {
        if let Command::ConfirmOff { node } = command {
            return self.confirm_off(now, tag, node);
        }
        if let Command::Probe { bytes } = command {
            // Several are under way at a time: what is not acknowledged yet is no lack of quorum.
            return self.requests.ask(now, tag, &Body::probe(bytes));
        }
        let quorum = self.quorum();
        if !quorum.held {
            return Err(CommandRefused::NoQuorum { why: quorum.why });
        }
        if self.agreement.is_busy() {
            return Err(CommandRefused::NotTaken(agreement::Refusal::Busy));
        }
        match command {
            Command::Move { service, to } => {
                self.planner.check_move(service, to, &self.membership)?;
                self.requests.ask(now, tag, &Body::Move { service, to })
            }
            Command::ClearFailures { service } => {
                self.planner.service(service).ok_or(services::Refusal::UnknownService)?;
                self.requests.ask(now, tag, &Body::ClearFailures { service })
            }
            Command::Probe { bytes } => self.requests.ask(now, tag, &Body::probe(bytes)),
            Command::ConfirmOff { node } => self.confirm_off(now, tag, node),
        }
    }

    pub(crate) fn reply(&mut self, tag: u64, result: Result<CommandDone, CommandRefused>) {
        self.actions.push_back(Action::Reply { tag, result });
    }
}
