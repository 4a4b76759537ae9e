//! What the file says, once it is known to be right.

use crate::suggest::did_you_mean;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A checked `netguard.toml`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// `[cluster]`.
    pub cluster: Cluster,
    /// `[[link]]`, 1 to 4, in the order of the file.
    pub links: Vec<Link>,
    /// `[[node]]`, 1 to 128, by id.
    pub nodes: Vec<Node>,
    /// `[[service]]`, in the order of the file: the place is the service's number.
    pub services: Vec<Service>,
    /// `[local]`.
    pub local: Local,
}

/// What holds for the whole cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// Where the key is; a relative path in the file counts from the file's folder.
    pub key_file: PathBuf,
    /// Time between two beats.
    pub heartbeat_interval: Duration,
    /// So many intervals of silence make a peer suspect.
    pub heartbeat_misses: u32,
}

/// A network that carries heartbeats and the agreement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// How one frame reaches all.
    pub mode: Mode,
    /// What carries the heartbeats.
    pub frames: Frames,
    /// Heartbeats; the next one carries the agreement.
    pub port: u16,
}

/// What carries the heartbeats of a link. The agreement always goes by IP.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Frames {
    /// UDP.
    #[default]
    Udp,
    /// Ethernet frames of their own, without IP: multicast or broadcast.
    Ethernet,
}

/// How this machine's kernel is asked for what comes by UDP. Both speak the same on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum NetworkIo {
    /// By io_uring where the kernel allows it, else by recvmmsg.
    #[default]
    Auto,
    /// recvmmsg(2) and sendmmsg(2).
    Recvmmsg,
    /// io_uring(7); the daemon does not start without.
    IoUring,
}

/// How one frame reaches all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// To a group.
    Multicast {
        /// The group, of the family of the link's addresses.
        group: IpAddr,
    },
    /// To the broadcast address of the interface (IPv4).
    Broadcast,
    /// To each peer.
    Unicast,
}

/// A configured node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// 1 to 128.
    pub id: u8,
    /// Its name.
    pub name: String,
    /// Its own address on each link, in the links' order.
    pub addresses: Vec<IpAddr>,
    /// It votes and holds no services.
    pub witness: bool,
    /// It has a vote. One without holds services like any other, and does not count for a majority.
    pub vote: bool,
}

/// What fails over as one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Ids of the nodes that may own it, the preferred first.
    pub nodes: Vec<u8>,
    /// Whether it goes back.
    pub placement: Placement,
    /// What must be known of a dead owner (S3).
    pub fence: Fence,
    /// Its parts, in the order they start.
    pub resources: Vec<Resource>,
}

/// Whether a service goes back to a preferred node that returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Placement {
    /// It stays.
    #[default]
    Sticky,
    /// It goes back.
    FailBack,
}

/// What must be known of a dead owner before the next one starts (S3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Fence {
    /// Proof that it can do nothing any more.
    #[default]
    Fenced,
    /// The end of its lease.
    Lease,
}

/// One part of a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Resource {
    /// A floating address.
    Address {
        /// The address.
        address: IpAddr,
        /// Length of its network prefix.
        prefix: u8,
        /// Where it goes; without: the interface that holds the node's address on the first link.
        interface: Option<String>,
    },
    /// A program that runs as long as the service.
    Command {
        /// Program (absolute path) and arguments.
        run: Vec<String>,
        /// How long it may take to end after SIGTERM.
        stop_timeout: Duration,
    },
}

impl Resource {
    /// `address` or `command`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Address { .. } => "address",
            Self::Command { .. } => "command",
        }
    }

    /// The floating address, if it is one.
    #[must_use]
    pub const fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Address { address, .. } => Some(*address),
            Self::Command { .. } => None,
        }
    }

    /// What it is, in one line.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Address { address, prefix, .. } => format!("{address}/{prefix}"),
            Self::Command { run, .. } => run.join(" "),
        }
    }

    /// True if it ends with the lease of its node by itself (S3): a process does not.
    #[must_use]
    pub const fn lease_bound(&self) -> bool {
        matches!(self, Self::Address { .. })
    }
}

/// What may differ from node to node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Local {
    /// Where the fast path runs.
    pub core: Core,
    /// SCHED_FIFO priority of the fast path.
    pub realtime_priority: u8,
    /// How far the gate's second line reaches.
    pub gate_sockets: GateSockets,
    /// How the kernel is asked for what comes.
    pub network_io: NetworkIo,
}

impl Default for Local {
    fn default() -> Self {
        Self {
            core: Core::Auto,
            realtime_priority: 50,
            gate_sockets: GateSockets::Auto,
            network_io: NetworkIo::Auto,
        }
    }
}

/// The gate's second line: the same judgement at sockets, for what filters that somebody deleted
/// would let through (S2b).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum GateSockets {
    /// Those of the machine, unless this node shares it with others (it runs in a network namespace
    /// that is not the machine's own).
    #[default]
    Auto,
    /// Those of the machine: one node on it.
    Machine,
    /// None.
    None,
}

/// Where the fast path runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Core {
    /// The daemon chooses.
    #[default]
    Auto,
    /// It is not pinned.
    None,
    /// This one.
    Number(u16),
}

impl Config {
    /// The node of that name.
    pub fn for_node(&self, name: &str) -> Result<&Node, UnknownNode> {
        self.nodes.iter().find(|node| node.name == name).ok_or_else(|| UnknownNode {
            name: name.to_owned(),
            known: self.nodes.iter().map(|node| node.name.clone()).collect(),
        })
    }

    /// The node with that id.
    #[must_use]
    pub fn node(&self, id: u8) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id == id)
    }

    /// Silence that makes a peer suspect.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.cluster.heartbeat_interval.saturating_mul(self.cluster.heartbeat_misses)
    }
}

/// The file has no node of the name that was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownNode {
    /// What was asked for.
    pub name: String,
    /// What there is.
    pub known: Vec<String>,
}

impl UnknownNode {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match did_you_mean(&self.name, self.known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean \"{near}\"? give the name with --node"),
            None => {
                let shown: Vec<&str> = self.known.iter().take(8).map(String::as_str).collect();
                format!("give one of the names in the file with --node: {}", shown.join(", "))
            }
        }
    }
}

impl fmt::Display for UnknownNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no [[node]] named \"{}\" in the configuration", self.name)
    }
}

impl std::error::Error for UnknownNode {}
