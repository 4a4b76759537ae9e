//! What the operator asks of a node, and what it answers.

use agreement::{ConfigureRefused, FenceRefused, OverrideRefused};
use alloc::string::String;
use services::Refusal;
use wire::{Life, NodeId, Op, ServiceId};

/// An order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// Moves a service.
    Move {
        /// The service.
        service: ServiceId,
        /// To this node.
        to: NodeId,
    },
    /// The operator asserts that a node is switched off.
    ConfirmOff {
        /// The node.
        node: NodeId,
    },
    /// Nodes where the service failed are tried again.
    ClearFailures {
        /// The service.
        service: ServiceId,
    },
    /// An entry that changes nothing, for measurements and tests.
    Probe {
        /// How large its body is.
        bytes: u32,
    },
}

/// An order that is in the agreed log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommandDone {
    /// The service is to stop at `from` and then to start at `to`.
    Moved {
        /// Who had it.
        from: Option<NodeId>,
        /// Who gets it.
        to: NodeId,
        /// Where in the log.
        op: Op,
    },
    /// The assertion is agreed.
    ConfirmedOff {
        /// The life it is about.
        life: Life,
        /// Where in the log.
        op: Op,
    },
    /// The failures are forgotten; the probe is agreed.
    Cleared {
        /// Where in the log.
        op: Op,
    },
    /// The configuration is agreed; votes follow.
    Configured {
        /// The version of the epoch that it made.
        version: u32,
        /// Where in the log.
        op: Op,
    },
    /// The assertion is noted; an era begins when a majority of the other voters is fresh.
    OverrideTaken,
}

/// An order that was not done.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommandRefused {
    /// No majority (S8), or this node is no member.
    #[error("no quorum: {why}")]
    NoQuorum {
        /// What is missing.
        why: String,
    },
    /// The planner refuses it.
    #[error(transparent)]
    Service(#[from] Refusal),
    /// Who is a member, or is heard, cannot be off.
    #[error("the node is heard or still a member: it cannot be off")]
    NodeIsAlive(NodeId),
    /// This life of one of a pair has no vote: what it is told gives it none.
    #[error("{0}")]
    NoMemory(FenceRefused),
    /// The configuration cannot be taken.
    #[error("{0}")]
    Configuration(#[from] ConfigureRefused),
    /// The assertion cannot be taken.
    #[error("{0}")]
    Override(#[from] OverrideRefused),
    /// No such node is configured.
    #[error("there is no such node")]
    UnknownNode(NodeId),
    /// The agreement does not take it: more than it may hold waits to be agreed already.
    #[error("{0}")]
    NotTaken(agreement::Refusal),
    /// It was agreed while this node was behind and was brought up to date by a snapshot, which does not say what came of
    /// each order.
    #[error("it was agreed, and this node did not see what came of it")]
    Unknown,
    /// Too many orders wait already.
    #[error("too many orders wait already")]
    Busy,
    /// It was not agreed in time; it may still be.
    #[error("it was not agreed in time; it may still be")]
    Timeout,
}
