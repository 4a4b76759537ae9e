//! Why a service is where it is, as values that are equal on all nodes, and as sentences.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use membership::Names;
use wire::NodeId;
use wire::entry::RemovalCause;

/// What ended a generation, or made the first one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trigger {
    /// Nobody owned the service in this era.
    EraBegan,
    /// The owner was removed from the view.
    Removed(RemovalCause),
    /// A newer life of the owner's node came.
    Restarted,
    /// The operator ordered a move.
    Moved(NodeId),
    /// A more preferred node is back.
    FailBack(NodeId),
    /// The owner is about to end in good order.
    Leaving,
    /// The owner could not start it.
    StartFailed(String),
    /// A running resource was found dead.
    Died(String),
    /// The owner could not stop it.
    Stuck(String),
    /// The owner stopped it unasked.
    Stopped,
    /// Its resources are configured otherwise.
    Changed,
    /// The owner is not among its nodes any more.
    NotListed,
    /// The service is not configured any more.
    NotConfigured,
}

/// Why a node cannot have a service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bar {
    /// Not in the view (S8).
    NotAMember,
    /// A witness owns nothing.
    Witness,
    /// The service failed there.
    Failed,
    /// It is about to end.
    Leaving,
    /// Its kernel gate is not whole, and the service's policy is `lease` (S2b).
    NoGate,
    /// It is not among the service's nodes any more.
    NotListed,
}

/// Why that node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Choice {
    /// It can have the service, and no node that can is more preferred; those before it cannot.
    Preferred {
        /// The more preferred ones and what bars them.
        barred: Vec<(NodeId, Bar)>,
    },
    /// It was asked for.
    Wished,
    /// It had it, and only the resources are others.
    Stays,
}

/// Why a service is where it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reason {
    /// No view yet.
    NoView,
    /// It has an owner.
    Placed {
        /// The owner.
        node: NodeId,
        /// Who had it before in this era.
        from: Option<NodeId>,
        /// Why it needed a new owner.
        trigger: Trigger,
        /// Why this one.
        choice: Choice,
    },
    /// The owner stops it.
    Releasing {
        /// The owner.
        node: NodeId,
        /// Why.
        trigger: Trigger,
    },
    /// These nodes may have run it before this era, and nothing is known of them.
    WaitsForNodes(Vec<NodeId>),
    /// The owner's end is not proven.
    WaitsForProof {
        /// The owner.
        node: NodeId,
        /// How it was lost.
        trigger: Trigger,
        /// Its gate was not whole, so that the end of its lease is no proof.
        ungated: bool,
    },
    /// No node that may run it can have it now.
    NoCandidate(Vec<(NodeId, Bar)>),
    /// It failed on every node that may run it.
    AllFailed,
    /// Nobody owns it, and it is to be forgotten.
    NotConfigured,
    /// Policy `lease`, but this resource goes on without a lease (S3).
    Misfit(String),
}

/// `cause` in words.
#[must_use]
pub const fn removal_words(cause: RemovalCause) -> &'static str {
    match cause {
        RemovalCause::Silent => "silent on all links for the whole deadline",
        RemovalCause::Obituary => "it said that it ends",
        RemovalCause::Progress => "it beats, but does not acknowledge",
        RemovalCause::Superseded => "a newer life of it came",
        RemovalCause::Operator => "by the operator's order",
    }
}

impl Bar {
    /// In words, after the node's name.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::NotAMember => "is not a member",
            Self::Witness => "is a witness and owns nothing",
            Self::Failed => "failed with it",
            Self::Leaving => "is leaving",
            Self::NoGate => "has no whole gate, which policy `lease` needs",
            Self::NotListed => "is not among its nodes any more",
        }
    }
}

impl Trigger {
    /// In words; `from` is the owner it happened to.
    #[must_use]
    pub fn words(&self, from: Option<NodeId>, names: &Names) -> String {
        let from = from.map_or_else(|| String::from("its owner"), |n| format!("{}", names.of(n)));
        match self {
            Self::EraBegan => "nobody owned it since the cluster started".into(),
            Self::Removed(cause) => format!("{from} was removed ({})", removal_words(*cause)),
            Self::Restarted => format!("{from} restarted"),
            Self::Moved(to) => format!("the operator moved it from {from} to {}", names.of(*to)),
            Self::FailBack(to) => {
                format!("{} is preferred to {from} and has been back for a while", names.of(*to))
            }
            Self::Leaving => format!("{from} is leaving"),
            Self::StartFailed(why) => format!("it failed to start on {from}: {why}"),
            Self::Died(why) => format!("it died on {from}: {why}"),
            Self::Stuck(why) => format!("it could not be stopped on {from}: {why}"),
            Self::Stopped => format!("{from} stopped it"),
            Self::Changed => "its resources were configured otherwise".into(),
            Self::NotListed => format!("{from} is not among its nodes any more"),
            Self::NotConfigured => "it is not configured any more".into(),
        }
    }
}

impl Reason {
    /// One sentence.
    #[must_use]
    pub fn words(&self, names: &Names) -> String {
        match self {
            Self::NoView => "this node knows no view yet".into(),
            Self::Placed { node, from, trigger, choice } => {
                let trigger = trigger.words(*from, names);
                format!("{trigger}; {}", choice.words(*node, names))
            }
            Self::Releasing { node, trigger } => {
                let trigger = trigger.words(Some(*node), names);
                format!("{trigger}; {} stops it first", names.of(*node))
            }
            Self::WaitsForNodes(nodes) => format!(
                "nothing is known since the start of nodes that may have run it before: {}",
                names.list(nodes.iter().copied())
            ),
            Self::WaitsForProof { node, trigger, ungated } => {
                let trigger = trigger.words(Some(*node), names);
                let gate =
                    if *ungated { "; its gate was not whole, so its lease is none" } else { "" };
                let node = names.of(*node);
                format!("{trigger}; nothing proves yet that {node} does no more with it{gate}")
            }
            Self::NoCandidate(barred) => {
                format!("no node can have it now: {}", barred_words(barred, names))
            }
            Self::AllFailed => "it failed on every node that may run it".into(),
            Self::NotConfigured => "it is not configured any more".into(),
            Self::Misfit(resource) => format!(
                "fence policy `lease` is refused: resource {resource} does not end with the lease"
            ),
        }
    }
}

impl Choice {
    fn words(&self, node: NodeId, names: &Names) -> String {
        let node = names.of(node);
        match self {
            Self::Wished => format!("{node} was asked for"),
            Self::Stays => format!("it stays on {node}"),
            Self::Preferred { barred } if barred.is_empty() => format!("{node} comes first"),
            Self::Preferred { barred } => {
                format!("{node} is next: {}", barred_words(barred, names))
            }
        }
    }
}

fn barred_words(barred: &[(NodeId, Bar)], names: &Names) -> String {
    let mut text = String::new();
    for (i, (node, bar)) in barred.iter().enumerate() {
        let comma = if i == 0 { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(text, "{comma}{} {}", names.of(*node), bar.words());
    }
    text
}
