//! The decision: configuration, log state and membership in, placement and its reason out. Pure,
//! so that every node decides the same, and `why` can ask again without doing anything.
//!
//! The order of questions: may the owner keep it? If not, is its end proven well enough for the
//! service's policy (S3)? If so, which node comes first that is a member (S8) and not barred?

use crate::model::{FencePolicy, Placement, ServiceSpec};
use crate::phase::Phase;
use crate::reason::{Bar, Choice, Reason, Trigger};
use crate::state::{Owner, ServiceState, Wish};
use alloc::collections::BTreeMap;
use alloc::string::ToString;
use alloc::vec::Vec;
use driver::Evidence;
use membership::Membership;
use wire::{NodeId, NodeSet, Stint};

/// What the plan looks at besides the service itself.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// Who is a member, and what is known of those who were.
    pub membership: &'a Membership,
    /// Voters that own nothing.
    pub witnesses: NodeSet,
    /// Who is configured: a member that is not any more is about to leave.
    pub configured: NodeSet,
    /// Members that are about to end, with the stint in which they said so.
    pub leaving: &'a BTreeMap<NodeId, Stint>,
    /// Nodes on which nothing of an earlier era can run.
    pub clean: NodeSet,
    /// Members whose kernel gate is not whole, with the stint in which they said so.
    pub ungated: &'a BTreeMap<NodeId, Stint>,
}

/// What is to be done with one service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Nothing.
    Keep,
    /// The owner is to stop it.
    Release(Trigger),
    /// The next generation starts.
    Start {
        /// Here.
        owner: Owner,
        /// This is known of the last owner.
        evidence: Evidence,
        /// Why this node.
        choice: Choice,
    },
    /// Nobody may start it now.
    Hold(Phase, Reason),
}

/// Decides for one service.
#[must_use]
pub fn plan(spec: &ServiceSpec, state: &ServiceState, scene: &Scene<'_>) -> Decision {
    // What runs with other resources is stopped first.
    let runs = || state.outdated && proof(spec, state, scene).is_none();
    if let Some(resource) = spec.misfit()
        && !runs()
    {
        return Decision::Hold(Phase::Failed, Reason::Misfit(resource.to_string()));
    }
    match proof(spec, state, scene) {
        Some(evidence) => start(spec, state, scene, evidence),
        None => match state.owner {
            None => Decision::Hold(Phase::Idle, Reason::WaitsForNodes(missing(spec, scene))),
            Some(owner) if keeps(state, owner, scene) => stay(spec, state, owner, scene),
            Some(owner) => waits_for_proof(state, owner),
        },
    }
}

/// What bars `node` from having the service, if anything does.
#[must_use]
pub fn bar(state: &ServiceState, scene: &Scene<'_>, node: NodeId) -> Option<Bar> {
    let Some(member) = scene.membership.view().member(node) else {
        return Some(Bar::NotAMember);
    };
    if scene.witnesses.contains(node) {
        Some(Bar::Witness)
    } else if state.failures.contains_key(&node) {
        Some(Bar::Failed)
    } else if scene.leaving.get(&node) == Some(&member.stint) || !scene.configured.contains(node) {
        Some(Bar::Leaving)
    } else {
        None
    }
}

/// What bars `node` from starting the service: a `lease` service also needs the gate there. Who
/// loses the gate while it runs the service keeps it, but its death then wants proof (S2b).
#[must_use]
pub fn start_bar(
    spec: &ServiceSpec,
    state: &ServiceState,
    scene: &Scene<'_>,
    node: NodeId,
) -> Option<Bar> {
    let gate = || spec.fence == FencePolicy::Lease && scene.ungated.contains_key(&node);
    let listed = || spec.rank(node).is_none().then_some(Bar::NotListed);
    bar(state, scene, node).or_else(listed).or_else(|| gate().then_some(Bar::NoGate))
}

/// Decides for a service that is not configured any more: whoever has it stops it, and nobody starts it.
#[must_use]
pub fn retire(spec: &ServiceSpec, state: &ServiceState, scene: &Scene<'_>) -> Decision {
    let gone = || Decision::Hold(Phase::Idle, Reason::NotConfigured);
    match state.owner {
        None => gone(),
        Some(_) if proof(spec, state, scene).is_some() => gone(),
        Some(owner) if keeps(state, owner, scene) => match state.phase {
            Phase::Starting | Phase::Running => Decision::Release(Trigger::NotConfigured),
            _ => Decision::Keep,
        },
        Some(owner) => waits_for_proof(state, owner),
    }
}

fn waits_for_proof(state: &ServiceState, owner: Owner) -> Decision {
    let trigger = state.ending.trigger.clone().unwrap_or(Trigger::Stopped);
    let (node, ungated) = (owner.life.node, state.ending.ungated);
    Decision::Hold(Phase::WaitingForFence, Reason::WaitsForProof { node, trigger, ungated })
}

/// The node to which the service should go back, if its policy and the state want that.
#[must_use]
pub fn fail_back(spec: &ServiceSpec, state: &ServiceState, scene: &Scene<'_>) -> Option<NodeId> {
    let owner = state.owner?;
    let settled = state.phase == Phase::Running && state.wish.is_none();
    if spec.placement != Placement::FailBack || !settled {
        return None;
    }
    let better = spec.rank(owner.life.node).unwrap_or(spec.nodes.len());
    spec.nodes.iter().take(better).copied().find(|n| start_bar(spec, state, scene, *n).is_none())
}

/// What is known of the last owner that suffices for the next one to start (S3).
fn proof(spec: &ServiceSpec, state: &ServiceState, scene: &Scene<'_>) -> Option<Evidence> {
    if state.owner.is_none() {
        let known =
            spec.fence == FencePolicy::Lease || state.is_new || missing(spec, scene).is_empty();
        return known.then_some(Evidence::NeverOwned);
    }
    let ending = &state.ending;
    // What the generation was started with decides, besides the policy of now: a new policy ends nothing that runs.
    let lease = spec.fence == FencePolicy::Lease && state.bound && !ending.stuck && !ending.ungated;
    let stopped = ending.stopped.map(Evidence::Stopped);
    stopped
        .or(ending.new_life.map(Evidence::NewLife))
        .or(ending.operator.map(Evidence::Operator))
        .or(ending.lease_ended.filter(|_| lease).map(Evidence::LeaseEnded))
}

/// Nodes that may have run the service before this era and of which nothing is known since. The
/// era's cold start waited for one lease, so that this matters only for services that outlive a
/// lease.
fn missing(spec: &ServiceSpec, scene: &Scene<'_>) -> Vec<NodeId> {
    let fenced = |n| scene.membership.fence(n).is_some();
    spec.nodes.iter().copied().filter(|n| !scene.clean.contains(*n) && !fenced(*n)).collect()
}

fn keeps(state: &ServiceState, owner: Owner, scene: &Scene<'_>) -> bool {
    scene.membership.view().has(owner) && !state.ending.stuck
}

/// The owner lives. Does anything want it to give the service up?
fn stay(spec: &ServiceSpec, state: &ServiceState, owner: Owner, scene: &Scene<'_>) -> Decision {
    if !matches!(state.phase, Phase::Starting | Phase::Running) {
        return Decision::Keep;
    }
    let node = owner.life.node;
    let can = |n| n != node && start_bar(spec, state, scene, n).is_none();
    let wish = state.wish.filter(|w| can(w.node()));
    match (bar(state, scene, node), wish) {
        (Some(Bar::Failed), _) => {
            let reason = state.failures.get(&node).map(|f| f.reason.clone()).unwrap_or_default();
            Decision::Release(Trigger::Died(reason))
        }
        (Some(_), _) => Decision::Release(Trigger::Leaving),
        (None, _) if state.outdated => Decision::Release(Trigger::Changed),
        (None, _) if spec.rank(node).is_none() => Decision::Release(Trigger::NotListed),
        (None, Some(Wish::Operator(to))) => Decision::Release(Trigger::Moved(to)),
        (None, Some(Wish::FailBack(to))) if spec.placement == Placement::FailBack => {
            Decision::Release(Trigger::FailBack(to))
        }
        (None, _) => Decision::Keep,
    }
}

fn start(
    spec: &ServiceSpec,
    state: &ServiceState,
    scene: &Scene<'_>,
    evidence: Evidence,
) -> Decision {
    let view = scene.membership.view();
    let at = |node: NodeId, choice| {
        let owner = view.member(node)?;
        Some(Decision::Start { owner, evidence, choice })
    };
    let mut barred = Vec::new();
    let wished = state.wish.map(Wish::node).filter(|n| start_bar(spec, state, scene, *n).is_none());
    if let Some(decision) = wished.and_then(|node| at(node, Choice::Wished)) {
        return decision;
    }
    // Other resources are no reason to move.
    let had = state.owner.filter(|_| state.outdated).map(|owner| owner.life.node);
    let had = had.filter(|node| start_bar(spec, state, scene, *node).is_none());
    if let Some(decision) = had.and_then(|node| at(node, Choice::Stays)) {
        return decision;
    }
    for node in spec.nodes.iter().copied() {
        match start_bar(spec, state, scene, node) {
            Some(why) => barred.push((node, why)),
            None => {
                let choice = Choice::Preferred { barred };
                return at(node, choice).unwrap_or(Decision::Keep);
            }
        }
    }
    let all_failed = !barred.is_empty() && barred.iter().all(|(_, b)| *b == Bar::Failed);
    if all_failed {
        Decision::Hold(Phase::Failed, Reason::AllFailed)
    } else {
        Decision::Hold(Phase::Idle, Reason::NoCandidate(barred))
    }
}
