//! What a client may ask.

use serde::{Deserialize, Serialize};

/// One line from the client.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RequestLine {
    /// Must be [`crate::VERSION`].
    pub version: u32,
    /// Chosen by the client, repeated in the reply and in every event that follows from it.
    pub id: u64,
    /// What is asked.
    pub request: Request,
}

/// One question or order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Request {
    /// Everything about this node and the cluster as it sees it: [`crate::Status`].
    Status,
    /// The configured nodes and their links: [`crate::Members`].
    Members,
    /// Timelines of the latest failovers, newest first: [`crate::Failovers`].
    Failovers {
        /// At most so many; more than [`crate::FAILOVERS_MAX`] means that.
        limit: u32,
    },
    /// Moves a service to another node, without a trace that would hold it there: [`crate::Moved`].
    Move {
        /// The service.
        service: String,
        /// The node that is to own it.
        to: String,
    },
    /// Why a service is where it is: [`crate::Why`].
    Why {
        /// The service; all services if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<String>,
    },
    /// The operator asserts that a node is switched off (evidence for S3 and S8):
    /// [`crate::ConfirmedOff`].
    ConfirmOff {
        /// The node that is off.
        node: String,
    },
    /// The agreed document, who has it, and which votes have not followed it yet:
    /// [`crate::ConfigurationAnswer`].
    Configuration,
    /// Agrees on another document, all or nothing: [`crate::Configured`].
    Configure {
        /// The version that the change was made from; refused if another was agreed since.
        base: u64,
        /// The whole text.
        document: String,
    },
    /// Raises the feature level of the agreed configuration to what every member's release understands:
    /// [`crate::Configured`].
    Upgrade,
    /// The operator asserts that voters are off, so that those who are left can begin anew although they are no
    /// majority: [`crate::Overridden`].
    Override {
        /// The nodes that are off.
        absent: Vec<String>,
    },
    /// Entries that change nothing, measured by the daemon: [`crate::Probed`]. More than 500 at a time, longer than 64 bytes or
    /// side by side are only for a daemon that was started for tests.
    Probe {
        /// How large each is.
        bytes: u32,
        /// How many.
        count: u32,
        /// How many are under way at a time.
        window: u32,
    },
    /// A stream of [`crate::Event`]s on this connection, beginning now.
    Watch,
}

impl Request {
    /// The kinds, as they stand in `"kind"`.
    pub const KINDS: [&'static str; 11] = [
        "status",
        "members",
        "failovers",
        "move",
        "why",
        "confirm-off",
        "configuration",
        "configure",
        "override",
        "probe",
        "watch",
    ];
}
