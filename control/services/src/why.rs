//! "Why is it there, what was weighed, what would change it": answers for `ng why`.

use crate::model::ServiceSpec;
use crate::phase::Phase;
use crate::plan::{self, Scene};
use crate::reason::{Bar, Reason};
use crate::state::{ServiceState, Wish};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use driver::Evidence;
use membership::Names;
use wire::NodeId;

/// The explanation of one placement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Why {
    /// The decision in one sentence.
    pub summary: String,
    /// The service's nodes in order of preference.
    pub candidates: Vec<WhyNode>,
    /// What would change it; empty if nothing need change.
    pub remedies: Vec<String>,
}

/// What the plan thinks of one node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WhyNode {
    /// The node.
    pub node: NodeId,
    /// True if it could have the service now.
    pub eligible: bool,
    /// Why, or why not.
    pub reason: String,
}

/// Explains the placement of one service.
#[must_use]
pub fn why(spec: &ServiceSpec, state: &ServiceState, scene: &Scene<'_>, names: &Names) -> Why {
    let owner = state.holder().map(|o| o.life.node);
    let candidates = spec.nodes.iter().map(|node| {
        let bar = plan::start_bar(spec, state, scene, *node);
        let reason = candidate_words(state, scene, *node, owner == Some(*node), bar);
        WhyNode { node: *node, eligible: bar.is_none(), reason }
    });
    Why {
        summary: summary(state, names),
        candidates: candidates.collect(),
        remedies: remedies(spec, state, names),
    }
}

/// What `evidence` says, with the place in the log where anybody can look.
#[must_use]
pub fn evidence_words(evidence: Evidence) -> String {
    match evidence {
        Evidence::NeverOwned => "nobody had owned it".into(),
        Evidence::Stopped(op) => format!("the last owner had stopped it (op {op})"),
        Evidence::LeaseEnded(op) => format!("the last owner's lease had ended (op {op})"),
        Evidence::NewLife(op) => format!("the last owner's life was over (op {op})"),
        Evidence::Operator(op) => format!("the operator said that it is off (op {op})"),
    }
}

fn summary(state: &ServiceState, names: &Names) -> String {
    let holder = state.holder().map(|o| names.of(o.life.node));
    let reason = state.reason.words(names);
    match (state.phase, holder) {
        (Phase::Starting | Phase::Running, Some(owner)) => {
            let verb = if state.phase == Phase::Running { "runs" } else { "starts" };
            let evidence = state.evidence.map(evidence_words).unwrap_or_default();
            let generation = state.generation;
            format!("{verb} on {owner} as generation {generation}: {reason}; {evidence}")
        }
        (Phase::Stopping, Some(owner)) => format!("stops on {owner}: {reason}"),
        (Phase::WaitingForFence, _) => format!("waits for proof: {reason}"),
        (Phase::Failed, _) => format!("failed: {reason}"),
        _ => format!("does not run: {reason}"),
    }
}

fn candidate_words(
    state: &ServiceState,
    scene: &Scene<'_>,
    node: NodeId,
    owns: bool,
    bar: Option<Bar>,
) -> String {
    match bar {
        Some(Bar::Failed) => match state.failures.get(&node) {
            Some(f) => format!("failed with it at op {}: {}", f.op, f.reason),
            None => Bar::Failed.words().into(),
        },
        Some(Bar::NotAMember) => match scene.membership.removal(node) {
            Some(removal) => format!(
                "is not a member: removed at op {} ({})",
                removal.op,
                crate::reason::removal_words(removal.cause)
            ),
            None => "is not a member".into(),
        },
        Some(Bar::NoGate) if owns => {
            "owns it, but its gate is not whole: its death will want proof".into()
        }
        Some(other) => other.words().into(),
        None if owns => "owns it".into(),
        None if state.wish == Some(Wish::Operator(node)) => "the operator wants it here".into(),
        None => "could have it".into(),
    }
}

fn remedies(spec: &ServiceSpec, state: &ServiceState, names: &Names) -> Vec<String> {
    let name = &spec.name;
    match &state.reason {
        Reason::Misfit(resource) => vec![format!(
            "set `fence = \"fenced\"` for service {name}, or move {resource} to another service"
        )],
        Reason::WaitsForProof { node, .. } => {
            let node = names.of(*node);
            vec![
                format!("start {node} again"),
                format!("or switch {node} off and then say so: `ng fence confirm {node}`"),
            ]
        }
        Reason::WaitsForNodes(nodes) => {
            let off = |node: &NodeId| {
                let node = names.of(*node);
                format!("start {node}, or, if it is switched off: `ng fence confirm {node}`")
            };
            nodes.iter().map(off).collect()
        }
        Reason::AllFailed => {
            let first = spec.nodes.first().map(|n| format!("{}", names.of(*n))).unwrap_or_default();
            vec![format!(
                "repair what the drivers report, then try again: `ng service move {name} {first}`"
            )]
        }
        Reason::NoCandidate(barred) => {
            let absent = barred.iter().filter(|(_, b)| *b != Bar::Failed).map(|(n, _)| *n);
            let absent = names.list(absent);
            vec![format!("start one of its nodes, or repair the links to it: {absent}")]
        }
        Reason::NoView => vec!["see why there is no quorum: `ng status`".into()],
        Reason::Placed { .. } | Reason::Releasing { .. } | Reason::NotConfigured => Vec::new(),
    }
}
