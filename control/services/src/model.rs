//! What is configured: services, their nodes, their policies.

use alloc::string::String;
use alloc::vec::Vec;
pub use driver::FencePolicy;
use wire::{NodeId, ServiceId};

/// Whether a service goes back to a preferred node that returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Placement {
    /// It stays where it is.
    #[default]
    Sticky,
    /// It goes back, once the preferred node has been a member for a while.
    FailBack,
}

/// One part of a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResourceSpec {
    /// What it is called: the address, the command line.
    pub name: String,
    /// `address` or `command`: only a label here, the drivers know what it means.
    pub kind: String,
    /// True if it ends by itself with the lease of its node (S3).
    pub lease_bound: bool,
}

/// What fails over as one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceSpec {
    /// Its place in the configuration.
    pub id: ServiceId,
    /// Its name.
    pub name: String,
    /// Nodes that may run it, the most preferred first.
    pub nodes: Vec<NodeId>,
    /// Sticky or fail-back.
    pub placement: Placement,
    /// What must be known of a lost owner before the next one starts.
    pub fence: FencePolicy,
    /// Its parts, in the order they start.
    pub resources: Vec<ResourceSpec>,
    /// Digest of its parts with all that their drivers are told: another one is another set of parts, which the owner of the
    /// old one cannot become without a stop.
    pub revision: u64,
}

impl ServiceSpec {
    /// The first resource that goes on without a lease, if there is one.
    #[must_use]
    pub fn unbound(&self) -> Option<&str> {
        self.resources.iter().find(|r| !r.lease_bound).map(|r| r.name.as_str())
    }
    /// The resource that forbids policy `lease` for this service (S3), if that is its policy.
    #[must_use]
    pub fn misfit(&self) -> Option<&str> {
        if self.fence == FencePolicy::Lease { self.unbound() } else { None }
    }
    /// The rank of `node` for this service, 0 = most preferred.
    #[must_use]
    pub fn rank(&self, node: NodeId) -> Option<usize> {
        self.nodes.iter().position(|n| *n == node)
    }
}
