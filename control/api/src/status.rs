//! The state of a node, and of the cluster as that node sees it.

use crate::Configuration;
use serde::{Deserialize, Serialize};

/// Everything an operator asks first.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Name of the cluster.
    pub cluster: String,
    /// Name of the answering node.
    pub node: String,
    /// Its id.
    pub node_id: u8,
    /// Its life: which run of its daemons this is.
    pub life: u32,
    /// Log position of the admission that began its membership; absent while it is no member.
    pub stint: Option<u64>,
    /// Version of the daemon.
    pub daemon_version: String,
    /// Hash of the cluster-wide part of its configuration, 16 hex digits; equal on all nodes.
    pub config_hash: String,
    /// When this was read, CLOCK_BOOTTIME.
    pub now_ns: u64,
    /// When this was read, wall clock.
    pub unix_ms: u64,
    /// How long this life has run.
    pub uptime_ms: u64,
    /// The interval between heartbeats.
    pub heartbeat_interval_ns: u64,
    /// Silence that makes a peer suspect: interval times misses.
    pub deadline_ns: u64,
    /// By what its heartbeats go: `recvmmsg` or `io_uring`; empty before the links are open.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub network_io: String,
    /// The agreed log.
    pub agreement: Agreement,
    /// The agreed configuration.
    pub configuration: Configuration,
    /// Votes.
    pub quorum: Quorum,
    /// The right to act as a member.
    pub lease: Lease,
    /// The kernel's gate on this node (S2b).
    pub gate: Gate,
    /// How long the peers may have to wait for its beats; absent while too little is measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detection: Option<Detection>,
    /// All configured nodes, by id.
    pub members: Vec<Member>,
    /// All configured services, in the order of the file.
    pub services: Vec<Service>,
    /// What needs attention now, worst first.
    pub alarms: Vec<Alarm>,
}

/// The agreed log as this node sees it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Agreement {
    /// Grows by a cold start only.
    pub era: u32,
    /// The term's counter within the era.
    pub term: u32,
    /// What this node is in that term.
    pub role: Role,
    /// The term's primary, once it is known.
    pub primary: Option<String>,
    /// Number of the current view: log position of the last change of members.
    pub view: u64,
    /// Last committed position.
    pub commit_op: u64,
    /// Last position in this node's log.
    pub last_op: u64,
}

/// What a node is in a term.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A new life without a vote that catches up.
    Learner,
    /// Follows the primary.
    Follower,
    /// Collects promises to become primary.
    Candidate,
    /// Orders the entries.
    Primary,
    /// Takes no part: superseded or stopped.
    Silent,
    /// A role of a newer daemon.
    #[default]
    #[serde(other)]
    Unknown,
}

/// Votes (S8).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Quorum {
    /// True if there is a majority: the cluster can act.
    pub held: bool,
    /// Votes that this node hears, its own included.
    pub have: u32,
    /// Votes that make the majority.
    pub need: u32,
    /// Why it is, or is not, held.
    pub why: String,
}

/// A node's right to act as a member, bounded by its own clock (S2).
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Lease {
    /// True while it runs.
    pub held: bool,
    /// How much of it is left; 0 when not held.
    pub left_ms: f64,
    /// How often it lapsed while this node was a member.
    pub lapses: u64,
}

/// How long the peers may have to wait for this node's next beat, by what its fast path measured of the last minutes. A
/// deadline below the budget makes them suspect a node that lives.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Detection {
    /// Interval, lateness and jitter together.
    pub budget_ms: f64,
    /// Wake-ups of the fast path are not later in 99.99 % of all cases.
    pub late_ms: f64,
    /// The way to the peer for which it varies most does not vary more in 99.9 % of all cases.
    pub jitter_ms: f64,
    /// Interval times misses.
    pub deadline_ms: f64,
}

/// The kernel's gate: passes packets of floating addresses only while this node may own them (S2b).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Gate {
    /// True if every interface has it (or no floating address is configured).
    pub whole: bool,
    /// What it lacks, or empty.
    pub lack: String,
    /// How often something that another tool took away was put back.
    pub cured: u64,
}

/// A daemon that tells nothing about a gate has none.
impl Default for Gate {
    fn default() -> Self {
        Self { whole: false, lack: "not told".into(), cured: 0 }
    }
}

/// Answer to `members`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Members {
    /// The answering node.
    pub node: String,
    /// Number of the view.
    pub view: u64,
    /// The agreed configuration.
    pub configuration: Configuration,
    /// Votes.
    pub quorum: Quorum,
    /// All configured nodes, by id.
    pub members: Vec<Member>,
}

/// One configured node.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Member {
    /// Its id.
    pub id: u8,
    /// Its name.
    pub name: String,
    /// True for the answering node itself.
    pub me: bool,
    /// A voter that holds no services.
    pub witness: bool,
    /// True if its present life holds its vote.
    pub voter: bool,
    /// What it is now.
    pub state: MemberState,
    /// Its newest known life, 0 = never heard.
    pub life: u32,
    /// Log position of the admission that began its membership; absent while it is no member.
    pub stint: Option<u64>,
    /// Why it is in that state, or empty.
    pub reason: String,
    /// When the last beat was heard on any link, milliseconds ago; absent for the node itself or if
    /// never.
    pub heard_ms_ago: Option<f64>,
    /// Per link, in the order of the configuration; empty for the node itself.
    pub links: Vec<LinkState>,
}

/// What a configured node is now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemberState {
    /// In the current view.
    Member,
    /// In the view, but silent for this node: its own, revocable opinion.
    Suspect,
    /// Heard, not in the view: it catches up or waits to be admitted.
    Joining,
    /// Not in the view and not heard.
    Down,
    /// A state of a newer daemon.
    #[default]
    #[serde(other)]
    Unknown,
}

/// One link to one peer.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LinkState {
    /// The link's name.
    pub link: String,
    /// True if the peer is heard on it.
    pub up: bool,
    /// What it does to the peer's beats though it is up; empty if nothing.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub trouble: String,
}

/// One configured service.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub phase: Phase,
    /// The node that owns it, or owned it last while nobody may start it yet.
    pub owner: Option<String>,
    /// Its ownership counter: the fencing token. 0 = never owned.
    pub generation: u64,
    /// What must be known of a dead owner before the next one starts (S3).
    pub fence: Fence,
    /// Whether it goes back to a preferred node.
    pub placement: Placement,
    /// Its nodes in order of preference.
    pub nodes: Vec<String>,
    /// Its resources, in the order they start.
    pub resources: Vec<Resource>,
    /// Why it is where it is, one sentence.
    pub reason: String,
    /// When the phase began, wall clock; absent if this node did not see it begin.
    pub since_unix_ms: Option<u64>,
    /// Nodes where it failed, until an operator clears that.
    pub failed_on: Vec<NodeFailure>,
}

/// Where a service stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Nobody owns it, and nobody is to start it now.
    Idle,
    /// Its owner is starting it.
    Starting,
    /// It runs.
    Running,
    /// Its owner is stopping it.
    Stopping,
    /// Its owner is gone, and the policy wants proof before the next one starts.
    WaitingForFence,
    /// It failed on every node that may run it, or could not be stopped.
    Failed,
    /// A phase of a newer daemon.
    #[default]
    #[serde(other)]
    Unknown,
}

/// What must be known of a dead owner before the next one starts (S3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fence {
    /// Proof that it can do nothing any more.
    #[default]
    Fenced,
    /// The end of its lease.
    Lease,
    /// A policy of a newer daemon.
    #[serde(other)]
    Unknown,
}

/// Whether a service goes back to a preferred node that returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// It stays where it is.
    #[default]
    Sticky,
    /// It goes back.
    FailBack,
    /// A rule of a newer daemon.
    #[serde(other)]
    Unknown,
}

/// One resource of a service.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Resource {
    /// `address` or `command`.
    pub kind: String,
    /// What it is in one line: the address, the command line.
    pub name: String,
    /// True if it ends with the lease of its node by itself.
    pub lease_bound: bool,
}

/// A node where a service failed.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeFailure {
    /// The node.
    pub node: String,
    /// What its driver reported.
    pub reason: String,
}

/// Something that needs attention.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Alarm {
    /// Stable name for programs, e.g. `link-down`.
    pub code: String,
    /// How bad.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remedy: String,
    /// Since when, wall clock.
    pub since_unix_ms: u64,
}

/// How bad an alarm is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing; changes nothing that the cluster promises. Does not make `ng status` fail.
    Notice,
    /// A service does not run, or the promise is broken.
    Critical,
    /// Something is lost that the next failure would need; what a newer daemon calls otherwise is
    /// read as this.
    #[serde(other)]
    Warning,
}

impl Severity {
    /// Critical first: what to sort by.
    #[must_use]
    pub const fn rank(self) -> u8 {
        match self {
            Self::Critical => 0,
            Self::Warning => 1,
            Self::Notice => 2,
        }
    }
}
