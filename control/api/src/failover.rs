//! Timelines: what happened when, for each node that went down.

use serde::{Deserialize, Serialize};

/// Answer to `failovers`, newest first.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Failovers {
    /// The node whose stamps these are.
    pub node: String,
    /// The timelines.
    pub failovers: Vec<Failover>,
}

/// One node's end as the answering node saw it. All `_ns` are its CLOCK_BOOTTIME; a stamp is absent
/// if the node did not see that step (it was not alive then, or the step has not come yet).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Failover {
    /// Log position of the removal; names the failover on all nodes. Absent until it is agreed.
    pub op: Option<u64>,
    /// The node that was removed.
    pub victim: String,
    /// Its life.
    pub life: u32,
    /// Why.
    pub cause: FailoverCause,
    /// When it was agreed (or, before that, suspected), wall clock.
    pub unix_ms: u64,
    /// The last beat that was heard.
    pub last_heard_ns: Option<u64>,
    /// When the silence became too long.
    pub deadline_ns: Option<u64>,
    /// When this node's fast path said so.
    pub suspected_ns: Option<u64>,
    /// When this node could acknowledge the removal (S2, R-ACK): the victim's lease has ended.
    pub sealed_ns: Option<u64>,
    /// When the removal was agreed, as this node learned it.
    pub agreed_ns: Option<u64>,
    /// The services that the victim owned.
    pub services: Vec<FailoverService>,
}

/// Why a node was removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailoverCause {
    /// Silent on all links.
    Silent,
    /// It said itself that it ends.
    Obituary,
    /// A newer life of the node came.
    NewLife,
    /// It beat, but did not acknowledge (R-PROGRESS).
    NoProgress,
    /// The operator's order or assertion.
    Operator,
    /// A cause of a newer daemon, or not known to this node.
    #[default]
    #[serde(other)]
    Unknown,
}

/// One service of the victim.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FailoverService {
    /// Its name.
    pub name: String,
    /// The generation that started in place of the victim's; the victim's own while none has.
    pub generation: u64,
    /// The new owner.
    pub to: Option<String>,
    /// What the right to start rests on (S3).
    pub evidence: Option<Evidence>,
    /// When the new owner told its drivers to start. Known on the new owner only, as the two that
    /// follow.
    pub run_ns: Option<u64>,
    /// When the drivers began.
    pub driver_began_ns: Option<u64>,
    /// When they were done: the address answers.
    pub driver_ended_ns: Option<u64>,
    /// When it was agreed that the service runs.
    pub started_ns: Option<u64>,
    /// When the kernel's gate let the first question to the new owner pass.
    pub asked_ns: Option<u64>,
    /// When its first answer passed: for whoever asked, the takeover was over.
    pub answered_ns: Option<u64>,
}

/// What is known of the previous owner, with the log position that shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Evidence {
    /// Nobody ever owned the service in this era.
    NeverOwned,
    /// The owner itself reported that it has stopped.
    Stopped {
        /// Log position.
        op: u64,
    },
    /// The owner was removed; its lease had ended before.
    LeaseEnded {
        /// Log position.
        op: u64,
    },
    /// A newer life of the owner was admitted.
    NewLife {
        /// Log position.
        op: u64,
    },
    /// The operator asserts that it is off.
    Operator {
        /// Log position.
        op: u64,
    },
    /// A kind of a newer daemon.
    #[serde(other)]
    Unknown,
}
