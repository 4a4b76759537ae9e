//! What the daemon answers.

use crate::{
    ConfigurationAnswer, Configured, Event, Failovers, Members, Overridden, Service, Status,
};
use serde::{Deserialize, Serialize};

/// One line from the daemon.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Reply {
    /// [`crate::VERSION`] of the daemon.
    pub version: u32,
    /// The `id` of the request; 0 if the line could not be read that far.
    pub id: u64,
    /// `answer`, `error` or `event`.
    #[serde(flatten)]
    pub body: ReplyBody,
}

/// The three things a line can carry.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplyBody {
    /// The request was done.
    Answer(Answer),
    /// It was not.
    Error(Refusal),
    /// Something happened (only after `watch`).
    Event(Event),
}

/// The answer to one kind of request.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Answer {
    /// To `status`.
    Status(Box<Status>),
    /// To `members`.
    Members(Members),
    /// To `failovers`.
    Failovers(Failovers),
    /// To `move`.
    Moved(Moved),
    /// To `why`.
    Why(Why),
    /// To `confirm-off`.
    ConfirmedOff(ConfirmedOff),
    /// To `configuration`.
    Configuration(ConfigurationAnswer),
    /// To `configure`.
    Configured(Configured),
    /// To `override`.
    Overridden(Overridden),
    /// To `probe`.
    Probed(Probed),
    /// To `watch`: events follow.
    Watching,
}

/// What probes took at the daemon that was asked.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Probed {
    /// Of each that was agreed: from its way into the agreement until its commit was known there.
    pub nanos: Vec<u64>,
    /// From the first to the last.
    pub took_ns: u64,
    /// How many were refused.
    pub refused: u32,
    /// How many were not agreed in time.
    pub open: u32,
}

/// The move is agreed; the service starts at its new owner when the old one has stopped.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Moved {
    /// The service.
    pub service: String,
    /// Who owned it when the move was agreed.
    pub from: Option<String>,
    /// Who is to own it.
    pub to: String,
    /// Position in the agreed log of the order.
    pub op: u64,
}

/// The assertion is in the agreed log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConfirmedOff {
    /// The node.
    pub node: String,
    /// The life that the assertion ends; a later one is not touched by it.
    pub life: u32,
    /// Position in the agreed log.
    pub op: u64,
}

/// Why services are where they are.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Why {
    /// The node that answers.
    pub node: String,
    /// One for each service asked for.
    pub services: Vec<WhyService>,
}

/// Why one service is where it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WhyService {
    /// Its state.
    pub service: Service,
    /// The decision in one sentence.
    pub summary: String,
    /// What was weighed for each node, in order of preference.
    pub candidates: Vec<WhyNode>,
    /// What would change the decision, in operator's words; empty if nothing need change.
    pub remedies: Vec<String>,
}

/// What the planner thinks of one node for one service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WhyNode {
    /// The node.
    pub node: String,
    /// True if it could own the service now.
    pub eligible: bool,
    /// Why, or why not.
    pub reason: String,
}

/// A request that was not done, and what to do about it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// For programs.
    pub code: ErrorCode,
    /// What is wrong, one sentence.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(code: ErrorCode, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { code, message: message.into(), remedy: remedy.into() }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

/// Why a request was refused, for programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// The line is no request: no JSON, a field missing or of the wrong type, too long.
    BadRequest,
    /// The daemon speaks another [`crate::VERSION`].
    Version,
    /// The daemon does not know this kind of request.
    UnknownRequest,
    /// No service of that name.
    UnknownService,
    /// No node of that name.
    UnknownNode,
    /// The node is not in the current view.
    NotAMember,
    /// The node is not among the service's nodes, or a witness.
    NotEligible,
    /// The service already is there.
    AlreadyThere,
    /// No majority of the configured votes (S8).
    NoQuorum,
    /// The node is a member: it cannot be off.
    NodeIsAlive,
    /// Another change of the configuration was agreed in between, or is under way.
    Changed,
    /// The document has errors.
    BadDocument,
    /// The change or the override cannot be carried out as things are.
    NotPossible,
    /// Another order for the same thing is under way, or the daemon has too many clients.
    Busy,
    /// It was not agreed in time; it may still be.
    Timeout,
    /// The user may not do this.
    Permission,
    /// A defect of the daemon.
    Internal,
    /// A code of a newer daemon.
    #[serde(other)]
    Unknown,
}

impl ErrorCode {
    /// The code as it stands in the message.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::Version => "version",
            Self::UnknownRequest => "unknown-request",
            Self::UnknownService => "unknown-service",
            Self::UnknownNode => "unknown-node",
            Self::NotAMember => "not-a-member",
            Self::NotEligible => "not-eligible",
            Self::AlreadyThere => "already-there",
            Self::NoQuorum => "no-quorum",
            Self::NodeIsAlive => "node-is-alive",
            Self::Changed => "changed",
            Self::BadDocument => "bad-document",
            Self::NotPossible => "not-possible",
            Self::Busy => "busy",
            Self::Timeout => "timeout",
            Self::Permission => "permission",
            Self::Internal => "internal",
            Self::Unknown => "unknown",
        }
    }
}
