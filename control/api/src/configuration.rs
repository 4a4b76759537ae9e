//! The document that the cluster has agreed on, and orders that change it.

use serde::{Deserialize, Serialize};

/// The agreed configuration as a node knows it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Configuration {
    /// Grows by one with every change of the document and with every vote that is given or taken. 0 = nothing was agreed yet: the
    /// node runs with its own file.
    pub version: u64,
    /// Hash of what the document means, 16 hex digits; equal on all nodes that have the same.
    pub hash: String,
    /// Nodes whose votes are in force, by id.
    pub voters: Vec<String>,
    /// Nodes that are to have one.
    pub wanted: Vec<String>,
    /// Votes that have not followed the document yet.
    pub pending: Vec<PendingVote>,
    /// Feature level in force: what all members' releases agreed to understand. 0 = a node too old to say.
    pub level: u16,
    /// The highest level that every member that this node has heard understands: above `level` after an upgrade of all.
    pub understood: u16,
}

/// A vote that has not followed the document yet.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PendingVote {
    /// Whose.
    pub node: String,
    /// True if it is to be given, false if taken.
    pub gives: bool,
    /// What it waits for.
    pub why: String,
}

impl PendingVote {
    /// In one line.
    #[must_use]
    pub fn line(&self) -> String {
        let (node, why) = (&self.node, &self.why);
        let what = if self.gives { "waits for its vote" } else { "still has its vote" };
        if why.is_empty() { format!("{node} {what}") } else { format!("{node} {what}: {why}") }
    }
}

/// Answer to `configuration`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ConfigurationAnswer {
    /// The answering node.
    pub node: String,
    /// What is agreed.
    #[serde(flatten)]
    pub configuration: Configuration,
    /// The text. `[local]` is not part of it.
    pub document: String,
    /// True if the node's own file means something else; it is not used then, but for `[local]`.
    pub file_differs: bool,
    /// Who has it, as far as this node knows.
    pub held_by: Vec<Holder>,
}

/// What is known of one node's copy.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Holder {
    /// The node.
    pub node: String,
    /// True if it has acknowledged this version: then it has stored it.
    pub has: bool,
    /// What is known instead, or empty.
    pub note: String,
}

/// The change is agreed, and stored by a majority; votes follow.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Configured {
    /// The version that the document has.
    pub version: u64,
    /// Hash of what it means.
    pub hash: String,
}

/// The cluster begins anew without those who were named.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Overridden {
    /// The nodes that were asserted to be off.
    pub absent: Vec<String>,
}
