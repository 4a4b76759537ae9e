//! What a lab is made of. The addresses are the same in every lab: each has a network of its own.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The bridge that clients see.
pub const SERVICE: &str = "service";
/// The bridge that only nodes see: replication and the second heartbeat link.
pub const STORAGE: &str = "storage";
/// Both, in the order of a node's interfaces `eth0` and `eth1`.
pub const BRIDGES: [&str; 2] = [SERVICE, STORAGE];

/// One lab.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// Its name; labs with different names run side by side.
    pub name: String,
    /// The root tree of the guests ([`crate::image`]).
    pub image: PathBuf,
    /// The folder of programs that guests see as `/lab/bin`.
    pub programs: PathBuf,
    /// The folder of consoles and other logs; it stays when the lab goes.
    pub logs: PathBuf,
    /// The nodes.
    pub nodes: Vec<NodeSpec>,
}

/// One node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeSpec {
    /// Its name, a word of small letters.
    pub name: String,
    /// Its number: the last part of its addresses.
    pub id: u8,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Its disks: `/dev/vda`, `/dev/vdb` …
    pub disks: Vec<DiskSpec>,
    /// Whether it has a BMC.
    pub bmc: bool,
}

/// One disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DiskSpec {
    /// Its size in MiB.
    pub mib: u64,
    /// Its volatile write cache in KiB.
    pub cache_kib: u64,
}

impl Default for DiskSpec {
    fn default() -> Self {
        Self { mib: 256, cache_kib: 16 * 1024 }
    }
}

impl NodeSpec {
    /// A node without disks.
    #[must_use]
    pub fn diskless(name: &str, id: u8) -> Self {
        Self { name: name.to_owned(), id, memory_mib: 192, disks: vec![], bmc: false }
    }

    /// A node with a BMC and these disks.
    #[must_use]
    pub fn storage(name: &str, id: u8, disks: Vec<DiskSpec>) -> Self {
        Self { name: name.to_owned(), id, memory_mib: 320, disks, bmc: true }
    }

    /// Its address on a bridge (0 service, 1 storage), without the prefix length of 24.
    #[must_use]
    pub fn address(&self, bridge: usize) -> String {
        format!("10.20.{bridge}.{}", self.id)
    }

    /// The address of its BMC, on the storage bridge; the port is IPMI's own, 623.
    #[must_use]
    pub fn bmc_address(&self) -> String {
        format!("10.20.1.{}", 200 + u16::from(self.id))
    }

    /// The lab's name of one of its disks.
    #[must_use]
    pub fn disk_name(&self, index: usize) -> String {
        format!("{}-{index}", self.name)
    }
}

/// The BMCs' user.
pub const BMC_USER: &str = "netguard";
/// The BMCs' password; the lab has no secrets.
pub const BMC_PASSWORD: &str = "secret";

impl Spec {
    /// Two storage nodes `a` and `b` with one disk each, a witness `w`, a client `c`.
    #[must_use]
    pub fn pair(name: &str, image: PathBuf, programs: PathBuf, logs: PathBuf) -> Self {
        let disk = || vec![DiskSpec::default()];
        let nodes = vec![
            NodeSpec::storage("a", 1, disk()),
            NodeSpec::storage("b", 2, disk()),
            NodeSpec::diskless("w", 3),
            NodeSpec::diskless("c", 4),
        ];
        Self { name: name.to_owned(), image, programs, logs, nodes }
    }

    /// The same with other disks on the two storage nodes.
    #[must_use]
    pub fn with_disks(mut self, disks: &[DiskSpec]) -> Self {
        for node in self.nodes.iter_mut().filter(|node| node.bmc) {
            node.disks = disks.to_vec();
        }
        self
    }

    /// Only the nodes of these names.
    #[must_use]
    pub fn only(mut self, names: &[&str]) -> Self {
        self.nodes.retain(|node| names.contains(&node.name.as_str()));
        self
    }

    /// The node of that name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&NodeSpec> {
        self.nodes.iter().find(|node| node.name == name)
    }
}
