//! What an instance is told when it is started.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// One service on one node.
#[derive(Clone, Debug, clap::Args)]
pub struct Settings {
    /// The service.
    #[arg(long)]
    pub service: String,
    /// The node's interface to the clients; the service's own is a macvlan on it.
    #[arg(long, default_value = "eth0")]
    pub parent: String,
    /// The service's address.
    #[arg(long)]
    pub address: Ipv4Addr,
    /// Number of its DRBD device.
    #[arg(long)]
    pub minor: u32,
    /// Its file system.
    #[arg(long, default_value = "ext4")]
    pub filesystem: String,
    /// The number that goes into its file handles: the same on both nodes, and of no other service.
    #[arg(long)]
    pub fsid: u32,
    /// Its clients.
    #[arg(long = "client")]
    pub clients: Vec<Ipv4Addr>,
    /// NFSv4's lease in seconds; grace after a takeover lasts twice as long at most.
    #[arg(long, default_value_t = 10)]
    pub lease: u32,
    /// Where the owner's list of connections comes in, on the node's own address.
    #[arg(long)]
    pub listen: SocketAddr,
    /// Where the connections are told to: the peer's `listen`.
    #[arg(long)]
    pub tell: SocketAddr,
}

impl Settings {
    /// Where the volume is mounted, in the service's own mount namespace.
    #[must_use]
    pub fn volume(&self) -> PathBuf {
        Path::new("/srv").join(&self.service)
    }

    /// What is exported: not the whole volume, because the ledger is on it too.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.volume().join("data")
    }

    /// The ledger.
    #[must_use]
    pub fn ledger(&self) -> PathBuf {
        self.volume().join("netguard.ledger")
    }
}
