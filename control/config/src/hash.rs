//! The hash that every node's frames carry, so that nodes with different configurations do not act
//! together.
//!
//! It covers what must be equal on all nodes: all but `[local]` and the path of the key. It is
//! taken over the checked values, not over the text: comments, order of keys, spelling of numbers
//! and left-out defaults do not change it. The order of links and services does, because links and
//! services are numbered by it.

use crate::model::{Config, Fence, Frames, Mode, Placement, Resource, Service};
use std::time::Duration;

/// Grows when the encoding below changes, so that two releases never take different meanings for
/// equal.
const ENCODING: u8 = 1;

impl Config {
    /// Hash of the cluster-wide part.
    #[must_use]
    pub fn config_hash(&self) -> u64 {
        let mut sum = Sum::new("netguard configuration");
        sum.number(u64::from(ENCODING));
        sum.text(&self.cluster.name);
        sum.time(self.cluster.heartbeat_interval);
        sum.number(u64::from(self.cluster.heartbeat_misses));
        sum.number(self.links.len() as u64);
        for link in &self.links {
            sum.text(&link.name);
            // Numbers of their own: without Ethernet frames the sum is that of the releases before them.
            match (link.mode, link.frames) {
                (Mode::Multicast { group }, frames) => {
                    sum.number(if frames == Frames::Udp { 1 } else { 4 });
                    sum.text(&group.to_string());
                }
                (Mode::Broadcast, Frames::Udp) => sum.number(2),
                (Mode::Broadcast, Frames::Ethernet) => sum.number(5),
                (Mode::Unicast, _) => sum.number(3),
            }
            sum.number(u64::from(link.port));
        }
        sum.number(self.nodes.len() as u64);
        for node in &self.nodes {
            sum.number(u64::from(node.id));
            sum.text(&node.name);
            sum.number(match (node.vote, node.witness) {
                (true, witness) => u64::from(witness),
                (false, _) => 2,
            });
            sum.number(node.addresses.len() as u64);
            for address in &node.addresses {
                sum.text(&address.to_string());
            }
        }
        self.add_services(&mut sum);
        sum.finish()
    }

    /// The configuration's number in every frame: both halves of the hash count.
    #[must_use]
    pub fn frame_hash(&self) -> u32 {
        let hash = self.config_hash();
        (hash ^ hash >> 32) as u32
    }

    /// Number of the cluster in every frame: hash of its name.
    #[must_use]
    pub fn cluster_id(&self) -> u64 {
        let mut sum = Sum::new("netguard cluster");
        sum.text(&self.cluster.name);
        sum.finish()
    }

    fn add_services(&self, sum: &mut Sum) {
        sum.number(self.services.len() as u64);
        for service in &self.services {
            sum.text(&service.name);
            sum.number(service.nodes.len() as u64);
            for id in &service.nodes {
                sum.number(u64::from(*id));
            }
            sum.number(match service.placement {
                Placement::Sticky => 1,
                Placement::FailBack => 2,
            });
            sum.number(match service.fence {
                Fence::Fenced => 1,
                Fence::Lease => 2,
            });
            service.add_resources(sum);
        }
    }
}

impl Service {
    /// Digest of the resources with all that their drivers are told.
    #[must_use]
    pub fn revision(&self) -> u64 {
        let mut sum = Sum::new("netguard resources");
        self.add_resources(&mut sum);
        sum.finish()
    }

    fn add_resources(&self, sum: &mut Sum) {
        sum.number(self.resources.len() as u64);
        for resource in &self.resources {
            match resource {
                Resource::Address { address, prefix, interface } => {
                    sum.number(1);
                    sum.text(&address.to_string());
                    sum.number(u64::from(*prefix));
                    sum.text(interface.as_deref().unwrap_or_default());
                }
                Resource::Command { run, stop_timeout } => {
                    sum.number(2);
                    sum.number(run.len() as u64);
                    run.iter().for_each(|word| sum.text(word));
                    sum.time(*stop_timeout);
                }
            }
        }
    }
}

/// A hash of values, each with its length, so that no two lists of values read alike.
struct Sum(blake3::Hasher);

impl Sum {
    fn new(what: &str) -> Self {
        let mut sum = Self(blake3::Hasher::new());
        sum.text(what);
        sum
    }
    fn number(&mut self, number: u64) {
        self.0.update(&number.to_le_bytes());
    }
    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.update(text.as_bytes());
    }
    fn time(&mut self, time: Duration) {
        self.number(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }
    fn finish(&self) -> u64 {
        let mut first = [0; 8];
        first.copy_from_slice(&self.0.finalize().as_bytes()[..8]);
        u64::from_le_bytes(first)
    }
}
