//! Why the daemon ends, each with one message and a documented exit code.

use crate::state::StateError;
use config::{Report, UnknownNode};
use driver_address::AddressError;
use driver_command::CommandError;
use link::OpenError;
use std::io;
use std::net::{IpAddr, SocketAddr};

/// Everything that ends a start or a run.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration or the key is not usable. The report has places and remedies.
    #[error("{0}")]
    Config(Report),
    /// The configuration has no node of that name.
    #[error("{0}; {remedy}", remedy = .0.remedy())]
    UnknownNode(#[from] UnknownNode),
    /// A number that the configuration should have refused.
    #[error("node id {id} is not in 1..=128: correct `id`")]
    NodeNumber {
        /// The number.
        id: u8,
    },
    /// The node's address is not on this machine.
    #[error(
        "{address}, the address of node {node} on link {link}, is not on this machine: {}",
        which_node(candidates)
    )]
    NotHere {
        /// The node that was asked for.
        node: String,
        /// Its address.
        address: IpAddr,
        /// The link.
        link: String,
        /// Nodes that have an address here.
        candidates: Vec<String>,
    },
    /// Not started by netguard-fast, or by one of another release.
    #[error(
        "{what}: netguard-control is started by netguard-fast, which hands it these descriptors; \
         start netguard-fast instead"
    )]
    NotInherited {
        /// What is wrong.
        what: String,
    },
    /// The shared map does not fit.
    #[error("{0}")]
    Map(#[from] shm::MapError),
    /// Fast does not take the set-up.
    #[error("{0}")]
    Setup(#[from] shm::SetupError),
    /// A link of the agreement cannot be opened.
    #[error("{0}")]
    Link(#[from] OpenError),
    /// The port of the stream cannot be had.
    #[error(
        "cannot listen on TCP {address}: {source}; stop the program that has the port \
         (ss -ltnp shows it), or set another port in netguard.toml on all nodes"
    )]
    Listen {
        /// What was to be bound.
        address: SocketAddr,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The faults that a test asks for are not understood.
    #[error("{0}")]
    Faults(String),
    /// Durable state.
    #[error("{0}")]
    State(#[from] StateError),
    /// Addresses could not be listed or removed.
    #[error("{0}")]
    Address(#[from] AddressError),
    /// Left-over processes could not be removed.
    #[error("{0}")]
    Command(#[from] CommandError),
    /// The local socket cannot be opened.
    #[error("cannot open {path}: {source}; check the run directory and its owner")]
    Socket {
        /// The socket.
        path: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A newer life of this node is known: this one must not go on (R-LIFE).
    #[error(
        "the cluster knows a newer life of this node (number {highest}): is the same node id or a \
         copy of its state directory in use on another machine?"
    )]
    Superseded {
        /// The highest known life.
        highest: u32,
    },
    /// Somebody said that this life is off, and the other node went on alone (R-FENCE).
    #[error(
        "the other node was told that this one is off, and went on alone: this life is over, and joins \
         as a new one when it is started again"
    )]
    SaidOff,
    /// Another release wrote the agreed state.
    #[error(
        "the agreed state of the cluster (at entry {op}) cannot be read by this release: update this \
         node, then start it again"
    )]
    Unreadable {
        /// Where in the log.
        op: u64,
    },
    /// The state directory is behind what the cluster knows (R-RENUMBER).
    #[error(
        "the cluster knows life {highest} of this node, the state directory was behind; it is \
         corrected, start again"
    )]
    Renumbered {
        /// The highest known life.
        highest: u32,
    },
    /// This node is configured no more.
    #[error(
        "this node is not part of the agreed configuration any more: its services have moved; do not start it again, or \
         add it with `ng node add`"
    )]
    Dropped,
    /// What is agreed needs a newer release.
    #[error(
        "the cluster has agreed on feature level {level}, which this release does not understand: install the release that \
         the other nodes run"
    )]
    Outdated {
        /// That level.
        level: u16,
    },
    /// Fast is gone; everything has been stopped.
    #[error("netguard-fast ended; everything of this node is stopped")]
    Orphaned,
    /// A defect; everything has been stopped.
    #[error("a defect in this program (see the panic message above): report it")]
    Panic,
    /// The kernel refused something that never fails.
    #[error("cannot {doing}: {source}")]
    Kernel {
        /// What was tried.
        doing: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
}

impl Failure {
    /// 1 internal, 2 configuration or usage, 3 socket or address taken, 4 privilege missing, 5 run
    /// or state directory or map unusable, 6 superseded by a newer life, 7 no part of the cluster any more, or only with a
    /// newer release.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_)
            | Self::UnknownNode(_)
            | Self::NodeNumber { .. }
            | Self::NotHere { .. }
            | Self::Faults(_)
            | Self::Link(OpenError::NotLocal { .. } | OpenError::Mismatch { .. })
            | Self::Unreadable { .. }
            | Self::NotInherited { .. } => 2,
            Self::Link(OpenError::InUse { .. }) => 3,
            Self::Link(OpenError::Forbidden { .. }) => 4,
            Self::Link(_) => 1,
            Self::Socket { source, .. } | Self::Listen { source, .. }
                if source.kind() == io::ErrorKind::AddrInUse =>
            {
                3
            }
            Self::Address(AddressError::Privilege { .. }) => 4,
            Self::Map(_) | Self::State(_) | Self::Socket { .. } => 5,
            Self::Command(CommandError::Record { .. }) => 5,
            Self::Superseded { .. } | Self::SaidOff | Self::Renumbered { .. } => 6,
            Self::Dropped | Self::Outdated { .. } => 7,
            Self::Address(_)
            | Self::Command(_)
            | Self::Setup(_)
            | Self::Listen { .. }
            | Self::Orphaned
            | Self::Panic
            | Self::Kernel { .. } => 1,
        }
    }

    /// For `map_err`.
    pub fn kernel(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Kernel { doing, source }
    }
}

fn which_node(candidates: &[String]) -> String {
    match candidates {
        [] => "correct `addresses`, or add the address to its interface first".into(),
        [one] => format!("this machine has addresses of node {one}; was --node {one} meant?"),
        several => format!("this machine has addresses of nodes {}", several.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::Failure;

    #[test]
    fn a_wrong_node_name_is_told_with_the_one_that_was_meant() {
        let failure = |candidates: &[&str]| Failure::NotHere {
            node: "n2".into(),
            address: "10.77.1.2".parse().unwrap(),
            link: "blue".into(),
            candidates: candidates.iter().map(|c| (*c).to_owned()).collect(),
        };
        let text = failure(&["n1"]).to_string();
        assert!(text.contains("10.77.1.2") && text.contains("--node n1"), "{text}");
        assert!(failure(&[]).to_string().contains("add the address"));
        assert_eq!(failure(&[]).exit_code(), 2);
    }
}
