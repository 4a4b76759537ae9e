//! Applies committed entries, runs the plan after each, keeps the states. Total: no entry, however
//! wrong, panics it, because it would take all nodes at once; a report or an order that does not
//! fit the state changes nothing.

use crate::body::{Body, Report, client_of};
use crate::model::{Placement, ServiceSpec};
use crate::phase::{Phase, PhaseEvent};
use crate::plan::{self, Decision, Scene};
use crate::reason::{Bar, Reason, Trigger};
use crate::state::{Ending, Failure, ServiceState, Wish};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use membership::{Fence, Membership};
use wire::entry::{FenceProof, RemovalCause};
use wire::{ClientId, Entry, EntryKind, Generation, Life, NodeId, NodeSet, Op, ServiceId, Stint};

/// What an entry did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Applied {
    /// Services whose phase, owner, generation or reason changed.
    pub changed: Vec<ServiceId>,
    /// The answer, if the entry was a request to the planner.
    pub answer: Option<Result<Accepted, Refusal>>,
}

/// A request that was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accepted {
    /// The report, or the owner's own order, is noted.
    Noted,
    /// The service moves.
    Moved {
        /// Who had it.
        from: Option<NodeId>,
        /// Who gets it.
        to: NodeId,
    },
    /// The nodes will be tried again.
    Cleared,
}

/// A request that changes nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// No such service.
    #[error("there is no such service")]
    UnknownService,
    /// The service may not run there.
    #[error("the node is not among the service's nodes")]
    NotEligible(NodeId),
    /// Witnesses own nothing.
    #[error("the node is a witness and owns nothing")]
    Witness(NodeId),
    /// Only members act (S8).
    #[error("the node is not a member")]
    NotAMember(NodeId),
    /// It is about to end.
    #[error("the node is leaving")]
    Leaving(NodeId),
    /// A `lease` service needs the kernel's gate (S2b).
    #[error("the node's gate is not whole, and the service's fence policy is `lease`")]
    NoGate(NodeId),
    /// The service is there, or on its way there.
    #[error("the service already is there")]
    AlreadyThere(NodeId),
    /// The configuration of the service is refused.
    #[error("the service's fence policy does not fit its resources")]
    Misfit,
    /// A report about another generation, or not from its owner; an order that came too late.
    #[error("the request does not fit the state any more")]
    OutOfDate,
    /// Bytes that are no request.
    #[error("the request cannot be read")]
    Malformed,
}

#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) spec: ServiceSpec,
    pub(crate) state: ServiceState,
    /// Not configured any more; here until its end is proven.
    pub(crate) retired: bool,
}

/// All services by the committed log.
#[derive(Clone, Debug)]
pub struct Planner {
    pub(crate) services: Vec<Service>,
    /// What an era begins with until an entry of it states the services: what an earlier era had is nobody's business, as
    /// not every life has seen it.
    first: Vec<ServiceSpec>,
    pub(crate) witnesses: NodeSet,
    pub(crate) configured: NodeSet,
    pub(crate) era: u32,
    /// The era has begun, and no entry of it has stated the configuration yet.
    pub(crate) era_begins: bool,
    /// The highest generation of services that were forgotten in this era.
    pub(crate) spent: Generation,
    pub(crate) leaving: BTreeMap<NodeId, Stint>,
    pub(crate) clean: NodeSet,
    pub(crate) ungated: BTreeMap<NodeId, Stint>,
}

impl Planner {
    /// The services before the first entry.
    #[must_use]
    pub fn new(specs: Vec<ServiceSpec>, witnesses: NodeSet) -> Self {
        let services = Self::at_era(&specs, 0);
        let (leaving, ungated) = (BTreeMap::new(), BTreeMap::new());
        // Until a configuration is agreed nobody is a stranger.
        let (configured, clean) = (NodeSet(u128::MAX), NodeSet::EMPTY);
        let (era, era_begins, spent) = (0, true, Generation(0));
        Self {
            services,
            first: specs,
            witnesses,
            configured,
            era,
            era_begins,
            spent,
            leaving,
            clean,
            ungated,
        }
    }

    /// Applies one committed entry; `membership` has applied it already.
    pub fn apply(&mut self, op: Op, entry: &Entry, membership: &Membership) -> Applied {
        let answer = match &entry.kind {
            EntryKind::Cold { era, .. } => {
                self.begin_era(*era);
                None
            }
            EntryKind::Remove { node, cause, .. } => {
                self.note_removal(op, *node, *cause, membership);
                None
            }
            EntryKind::Admit { node, incarnation } => {
                let life = Life { node: *node, incarnation: *incarnation };
                self.note_admission(op, life, membership);
                None
            }
            EntryKind::Fenced { node, .. } => {
                self.note_fence(*node, membership);
                None
            }
            EntryKind::Request { client, body, .. } => {
                Some(self.request(op, *client, body, membership))
            }
            EntryKind::Configure { configuration } => {
                (self.witnesses, self.configured) = (configuration.witnesses, configuration.nodes);
                self.era_begins = false;
                None
            }
            EntryKind::Noop | EntryKind::Vote { .. } => None,
        };
        let changed =
            if membership.is_forming() { Vec::new() } else { self.settle(op, membership) };
        Applied { changed, answer }
    }

    /// The configured services with their states, in configured order.
    /// Those that are not configured any more, and not proven to have ended yet, come last.
    pub fn services(&self) -> impl Iterator<Item = (&ServiceSpec, &ServiceState)> {
        self.services.iter().map(|s| (&s.spec, &s.state))
    }
    /// One service.
    #[must_use]
    pub fn service(&self, id: ServiceId) -> Option<(&ServiceSpec, &ServiceState)> {
        self.services().find(|(spec, _)| spec.id == id)
    }
    /// What the plan looks at besides a service itself.
    #[must_use]
    pub const fn scene<'a>(&'a self, membership: &'a Membership) -> Scene<'a> {
        let (witnesses, leaving, clean) = (self.witnesses, &self.leaving, self.clean);
        let configured = self.configured;
        Scene { membership, witnesses, configured, leaving, clean, ungated: &self.ungated }
    }
    /// True if the service is not configured any more, and only waits for its end.
    #[must_use]
    pub fn is_retired(&self, id: ServiceId) -> bool {
        self.services.iter().any(|it| it.spec.id == id && it.retired)
    }
    /// Members whose kernel gate is not whole, as they said themselves.
    pub fn ungated(&self) -> impl Iterator<Item = NodeId> {
        self.ungated.keys().copied()
    }
    /// True if nothing of an earlier era can run on `node`.
    #[must_use]
    pub const fn is_clean(&self, node: NodeId) -> bool {
        self.clean.contains(node)
    }
    /// The node to which a service should go back now (policy fail-back), if there is one.
    #[must_use]
    pub fn fail_back(&self, id: ServiceId, membership: &Membership) -> Option<NodeId> {
        let (spec, state) = self.service(id)?;
        plan::fail_back(spec, state, &self.scene(membership))
    }

    /// Whether the operator may move a service to a node now.
    pub fn check_move(
        &self,
        id: ServiceId,
        to: NodeId,
        membership: &Membership,
    ) -> Result<(), Refusal> {
        let (spec, state) = self.service(id).ok_or(Refusal::UnknownService)?;
        if self.is_retired(id) {
            return Err(Refusal::UnknownService);
        }
        if spec.misfit().is_some() {
            return Err(Refusal::Misfit);
        }
        if self.witnesses.contains(to) {
            return Err(Refusal::Witness(to));
        }
        if spec.rank(to).is_none() {
            return Err(Refusal::NotEligible(to));
        }
        match plan::start_bar(spec, state, &self.scene(membership), to) {
            Some(Bar::NotAMember) => return Err(Refusal::NotAMember(to)),
            Some(Bar::Leaving) => return Err(Refusal::Leaving(to)),
            Some(Bar::NoGate) => return Err(Refusal::NoGate(to)),
            // An order to go where it failed is an order to try again.
            Some(Bar::Failed | Bar::Witness | Bar::NotListed) | None => {}
        }
        let runs = matches!(state.phase, Phase::Starting | Phase::Running);
        let there = runs && state.owner.is_some_and(|o| o.life.node == to);
        let underway = state.phase == Phase::Stopping && state.wish == Some(Wish::Operator(to));
        if there || underway { Err(Refusal::AlreadyThere(to)) } else { Ok(()) }
    }

    fn begin_era(&mut self, era: u32) {
        self.leaving.clear();
        self.ungated.clear();
        self.clean = NodeSet::EMPTY;
        (self.era, self.era_begins, self.spent) = (era, true, Generation(0));
        self.services = Self::at_era(&self.first, era);
    }

    fn at_era(specs: &[ServiceSpec], era: u32) -> Vec<Service> {
        let state = ServiceState::at_era(era);
        let service = |spec: &ServiceSpec| Service {
            spec: spec.clone(),
            state: state.clone(),
            retired: false,
        };
        specs.iter().map(service).collect()
    }

    /// A removal that membership did not accept ended nothing.
    fn note_removal(&mut self, op: Op, node: NodeId, cause: RemovalCause, membership: &Membership) {
        let Some(removal) = membership.removal(node).filter(|r| r.op == op) else {
            return;
        };
        self.leaving.remove(&node);
        let ungated = self.ungated.remove(&node).is_some();
        for Service { state, .. } in &mut self.services {
            if state.owner == Some(removal.member) {
                state.ending.lease_ended = Some(op);
                state.ending.ungated |= ungated;
                state.ending.trigger.get_or_insert(Trigger::Removed(cause));
            }
        }
        // Of a pair the proof comes first and the removal follows (R-FENCE).
        self.note_fence(node, membership);
    }

    fn note_admission(&mut self, op: Op, life: Life, membership: &Membership) {
        self.leaving.remove(&life.node);
        self.ungated.remove(&life.node);
        if membership.view().began_with(life) {
            self.clean.insert(life.node);
        }
        for Service { state, .. } in &mut self.services {
            state.failures.retain(|node, failure| {
                *node != life.node || failure.incarnation == life.incarnation
            });
            let Some(owner) = state.owner.filter(|o| o.life.node == life.node) else {
                continue;
            };
            if life.incarnation > owner.life.incarnation {
                state.ending.new_life = Some(op);
                state.ending.trigger.get_or_insert(Trigger::Restarted);
            } else {
                // The life that was said to be off speaks: the assertion was wrong, and ends here.
                state.ending.operator = None;
            }
        }
    }

    /// What membership takes as proof: about a member there is none, it may do a great deal after it was said to be off.
    fn note_fence(&mut self, node: NodeId, membership: &Membership) {
        let Some(Fence { life, op, proof }) = membership.fence(node) else { return };
        for Service { state, .. } in &mut self.services {
            let ended = |owner: &membership::Member| {
                owner.life.node == life.node
                    && owner.life.incarnation <= life.incarnation
                    && !membership.view().has(*owner)
            };
            if state.owner.as_ref().is_some_and(ended) {
                match proof {
                    FenceProof::Operator => state.ending.operator = Some(op),
                    FenceProof::NewLife => state.ending.new_life = Some(op),
                }
            }
        }
    }

    fn request(
        &mut self,
        op: Op,
        client: ClientId,
        body: &[u8],
        membership: &Membership,
    ) -> Result<Accepted, Refusal> {
        match Body::decode(body).map_err(|_| Refusal::Malformed)? {
            Body::Outcome { service, generation, report } => {
                self.report(op, client, service, generation, report)
            }
            Body::Probe { .. } => Ok(Accepted::Noted),
            Body::Move { service, to } => self.order_move(service, to, membership),
            Body::ClearFailures { service } => {
                let state = self.state_mut(service).ok_or(Refusal::UnknownService)?;
                state.failures.clear();
                Ok(Accepted::Cleared)
            }
            Body::FailBack { service, generation, to } => {
                let target = self.fail_back(service, membership);
                let state = self.state_mut(service).ok_or(Refusal::UnknownService)?;
                if state.generation != generation || target != Some(to) {
                    return Err(Refusal::OutOfDate);
                }
                state.wish = Some(Wish::FailBack(to));
                Ok(Accepted::Noted)
            }
            Body::Leave { life } => {
                let stint = own_stint(client, life, membership).ok_or(Refusal::OutOfDate)?;
                self.leaving.insert(life.node, stint);
                Ok(Accepted::Noted)
            }
            Body::Clean { life } => {
                own_stint(client, life, membership).ok_or(Refusal::OutOfDate)?;
                self.clean.insert(life.node);
                Ok(Accepted::Noted)
            }
            Body::Gate { life, whole } => {
                let stint = own_stint(client, life, membership).ok_or(Refusal::OutOfDate)?;
                if whole {
                    self.ungated.remove(&life.node);
                } else {
                    self.ungated.insert(life.node, stint);
                }
                Ok(Accepted::Noted)
            }
        }
    }

    fn order_move(
        &mut self,
        service: ServiceId,
        to: NodeId,
        membership: &Membership,
    ) -> Result<Accepted, Refusal> {
        self.check_move(service, to, membership)?;
        let state = self.state_mut(service).ok_or(Refusal::UnknownService)?;
        state.failures.remove(&to);
        state.wish = Some(Wish::Operator(to));
        Ok(Accepted::Moved { from: state.holder().map(|o| o.life.node), to })
    }

    /// An owner's report. Only the owner of this very generation is believed (S3).
    fn report(
        &mut self,
        op: Op,
        client: ClientId,
        service: ServiceId,
        generation: Generation,
        report: Report,
    ) -> Result<Accepted, Refusal> {
        let state = self.state_mut(service).ok_or(Refusal::UnknownService)?;
        let owner = state.owner.filter(|o| client_of(o.life) == client);
        let owner = owner.filter(|_| state.generation == generation).ok_or(Refusal::OutOfDate)?;
        let mark = |state: &mut ServiceState, reason: &String| {
            let incarnation = owner.life.incarnation;
            let failure = Failure { incarnation, op, reason: reason.clone() };
            state.failures.insert(owner.life.node, failure);
        };
        match report {
            Report::Started => {
                state.phase =
                    state.phase.on(PhaseEvent::Started).map_err(|_| Refusal::OutOfDate)?;
                state.since = op;
            }
            Report::Stopped => {
                state.ending.stopped.get_or_insert(op);
                state.ending.trigger.get_or_insert(Trigger::Stopped);
            }
            Report::Failed(reason) => {
                mark(state, &reason);
                state.ending.stopped.get_or_insert(op);
                state.ending.trigger.get_or_insert(Trigger::StartFailed(reason));
            }
            Report::Died(reason) => {
                mark(state, &reason);
                state.ending.trigger.get_or_insert(Trigger::Died(reason));
            }
            Report::Stuck(reason) => {
                mark(state, &reason);
                state.ending.stuck = true;
                state.ending.trigger = Some(Trigger::Stuck(reason));
            }
        }
        Ok(Accepted::Noted)
    }

    fn state_mut(&mut self, id: ServiceId) -> Option<&mut ServiceState> {
        self.services.iter_mut().find(|s| s.spec.id == id).map(|s| &mut s.state)
    }

    /// Runs the plan for every service.
    fn settle(&mut self, op: Op, membership: &Membership) -> Vec<ServiceId> {
        let (witnesses, leaving, clean) = (self.witnesses, &self.leaving, self.clean);
        let (configured, ungated) = (self.configured, &self.ungated);
        let scene = Scene { membership, witnesses, configured, leaving, clean, ungated };
        let mut changed = Vec::new();
        for Service { spec, state, retired } in &mut self.services {
            // A wish lasts while it can be met.
            state.wish =
                state.wish.filter(|w| plan::start_bar(spec, state, &scene, w.node()).is_none());
            let before = (state.phase, state.generation, state.since);
            let decision = if *retired {
                plan::retire(spec, state, &scene)
            } else {
                plan::plan(spec, state, &scene)
            };
            let new_reason = carry_out(state, op, spec, decision);
            if new_reason
                || before != (state.phase, state.generation, state.since)
                || state.since == op
            {
                changed.push(spec.id);
            }
        }
        self.forget_retired();
        changed
    }
}

/// The stint of `life` if it is a member and speaks for itself.
fn own_stint(client: ClientId, life: Life, membership: &Membership) -> Option<Stint> {
    let member = membership.view().member(life.node)?;
    (member.life == life && client == client_of(life)).then_some(member.stint)
}

/// Writes a decision into the state; true if that changed it. A decision that the table of phases
/// does not allow is a defect of the plan; it changes nothing, on all nodes alike.
fn carry_out(state: &mut ServiceState, op: Op, spec: &ServiceSpec, decision: Decision) -> bool {
    let (event, reason) = match decision {
        Decision::Keep => return false,
        Decision::Release(trigger) => {
            let node = state.owner.map(|o| o.life.node);
            let Some(node) = node else { return false };
            state.ending.trigger = Some(trigger.clone());
            (PhaseEvent::Released, Reason::Releasing { node, trigger })
        }
        Decision::Start { owner, evidence, choice } => {
            let Ok(phase) = state.phase.on(PhaseEvent::Assigned) else { return false };
            let from = state.owner.map(|o| o.life.node);
            let trigger = state.ending.trigger.take().unwrap_or(Trigger::EraBegan);
            let node = owner.life.node;
            state.phase = phase;
            state.since = op;
            state.generation = Generation(state.generation.0.saturating_add(1));
            state.owner = Some(owner);
            state.evidence = Some(evidence);
            state.ending = Ending::default();
            (state.outdated, state.is_new, state.bound) = (false, false, spec.unbound().is_none());
            state.wish = state.wish.filter(|w| {
                spec.placement == Placement::FailBack && *w == Wish::Operator(owner.life.node)
            });
            state.reason = Reason::Placed { node, from, trigger, choice };
            return true;
        }
        Decision::Hold(phase, reason) => {
            let event = match phase {
                Phase::WaitingForFence => PhaseEvent::Unproven,
                Phase::Failed => PhaseEvent::Exhausted,
                _ => PhaseEvent::Unplaced,
            };
            (event, reason)
        }
    };
    if let Ok(phase) = state.phase.on(event) {
        state.phase = phase;
        state.since = op;
    }
    let new = state.reason != reason;
    state.reason = reason;
    new
}
