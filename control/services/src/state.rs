//! What the agreed log says about one service.

use crate::phase::Phase;
use crate::reason::{Reason, Trigger};
use alloc::collections::BTreeMap;
use alloc::string::String;
use driver::Evidence;
pub use membership::Member as Owner;
use wire::{Generation, Incarnation, NodeId, Op};

/// Generations of era `e` are `e` times this and more: an era forgets all earlier ones, and the
/// fencing token must grow all the same. In decimal the two parts can still be told apart.
pub const GENERATIONS_PER_ERA: u64 = 1_000_000_000;

/// Where somebody wants the service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wish {
    /// The operator; holds off fail-back until the node can have the service no more.
    Operator(NodeId),
    /// The preferred node is back; met by the next start.
    FailBack(NodeId),
}

impl Wish {
    /// The node.
    #[must_use]
    pub const fn node(self) -> NodeId {
        match self {
            Self::Operator(node) | Self::FailBack(node) => node,
        }
    }
}

/// The service failed on a node; stands until the operator clears it or a new life of the node
/// comes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The life it failed on.
    pub incarnation: Incarnation,
    /// The report's place in the log.
    pub op: Op,
    /// What the driver said.
    pub reason: String,
}

/// What the log shows about the end of the present generation (S3). Each field is its own fact;
/// which of them suffices is for [`crate::plan`] to say.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ending {
    /// What began it.
    pub trigger: Option<Trigger>,
    /// The owner reported that nothing is left.
    pub stopped: Option<Op>,
    /// The owner's stint is over, and with it its lease (S2).
    pub lease_ended: Option<Op>,
    /// A newer life of the owner's node was admitted, or seen (R-FENCE).
    pub new_life: Option<Op>,
    /// The operator asserts that the owner is off.
    pub operator: Option<Op>,
    /// The owner reported that it cannot stop it: then the end of its lease proves nothing.
    pub stuck: bool,
    /// The owner's gate was not whole when its stint ended: then the end of its lease proves nothing
    /// either (S2b).
    pub ungated: bool,
}

/// One service, by the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceState {
    /// The present (or last) generation.
    pub generation: Generation,
    /// Who owns that generation; stays when it has ended. Nobody before the era's first start.
    pub owner: Option<Owner>,
    /// Where it stands.
    pub phase: Phase,
    /// What the present generation's start rests on.
    pub evidence: Option<Evidence>,
    /// How the present generation ends, as far as it does.
    pub ending: Ending,
    /// Where it is wanted.
    pub wish: Option<Wish>,
    /// Where it failed.
    pub failures: BTreeMap<NodeId, Failure>,
    /// Log position of the last change of phase.
    pub since: Op,
    /// Why it is where it is.
    pub reason: Reason,
    /// Its owner has it with resources that are not configured any more.
    pub outdated: bool,
    /// Everything of the present generation ends with a lease: what it was started with, not what is configured now.
    pub bound: bool,
    /// The service was configured in the middle of this era: nobody can have run it before.
    pub is_new: bool,
}

impl ServiceState {
    /// The state at the beginning of an era.
    #[must_use]
    pub fn at_era(era: u32) -> Self {
        Self {
            generation: Generation(u64::from(era) * GENERATIONS_PER_ERA),
            owner: None,
            phase: Phase::Idle,
            evidence: None,
            ending: Ending::default(),
            wish: None,
            failures: BTreeMap::new(),
            since: Op::ZERO,
            reason: Reason::NoView,
            outdated: false,
            bound: true,
            is_new: false,
        }
    }

    /// Who is responsible for the service now: starts it, runs it, stops it, or cannot be proven
    /// to have ended.
    #[must_use]
    pub fn holder(&self) -> Option<Owner> {
        match self.phase {
            Phase::Starting | Phase::Running | Phase::Stopping | Phase::WaitingForFence => {
                self.owner
            }
            Phase::Idle | Phase::Failed => None,
        }
    }
}
