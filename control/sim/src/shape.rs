//! What one simulated cluster is: size, settings, services, and how badly everything around the
//! cores behaves.

use crate::drivers::Manners;
use crate::network::Quality;
use agreement::Limits;
use base::Duration;
use driver::FencePolicy;
use membership::Names;
use services::{Placement, ResourceSpec, ServiceSpec};
use wire::{Configuration, NodeId, NodeSet, ServiceId};

/// A rule of the world that is broken on purpose, to see the checkers bite.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sabotage {
    /// The fast path believes in one more miss than its beats declare: leases outlive deadlines (S2).
    LongLease,
    /// A start forgets that it has promised an era before (R-ERA).
    ForgetEra,
    /// A start leaves what the last life left behind (R-START).
    KeepLeftovers,
    /// The gate asks for the node's lease only, not for the generation of the address (S2b).
    GatePerNode,
    /// A fast process that was not scheduled accuses whom it did not hear meanwhile (S10).
    NoStallRule,
    /// Fast and control are one process: what holds up one holds up the other.
    OneActor,
}

impl std::str::FromStr for Sabotage {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        Ok(match name {
            "long-lease" => Self::LongLease,
            "forget-era" => Self::ForgetEra,
            "keep-leftovers" => Self::KeepLeftovers,
            "gate-per-node" => Self::GatePerNode,
            "no-stall-rule" => Self::NoStallRule,
            "one-actor" => Self::OneActor,
            other => return Err(format!("{other} breaks nothing that is known")),
        })
    }
}

/// How often a node beats, and how many silent intervals it may be forgiven.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// Heartbeat interval.
    pub interval: Duration,
    /// Intervals of silence that make a suspect.
    pub misses: u32,
}

impl Timing {
    /// The deadline D.
    #[must_use]
    pub fn deadline(self) -> Duration {
        self.interval * u64::from(self.misses)
    }
}

/// One cluster.
#[derive(Clone, Debug)]
pub struct Shape {
    /// All machines that there are.
    pub nodes: NodeSet,
    /// Those of them that own nothing, by the file that all begin with.
    pub witnesses: NodeSet,
    /// Those of them that the file configures.
    pub configured: NodeSet,
    /// Those of them that have a vote by the file.
    pub voters: NodeSet,
    /// The operator changes who is configured and who votes.
    pub reforms: bool,
    /// Longest time that the disk takes to store a charter.
    pub store_max: Duration,
    /// Links.
    pub links: u8,
    /// Heartbeat interval.
    pub interval: Duration,
    /// Intervals of silence that make a suspect.
    pub misses: u32,
    /// Settings that some nodes have instead, or get while they run.
    pub others: Vec<Timing>,
    /// Largest rate error of a clock, as configured; the clocks stay within it.
    pub rate_ppm: u32,
    /// Bounds of the log and its snapshots.
    pub limits: Limits,
    /// The services.
    pub services: Vec<ServiceSpec>,
    /// What the links do.
    pub quality: Quality,
    /// How the drivers behave.
    pub manners: Manners,
    /// Frames travel as sealed bytes.
    pub sealed: bool,
    /// Turns that are interrupted, per thousand places where they can be.
    pub interrupts: u64,
    /// Longest interruption.
    pub interrupt_max: Duration,
    /// Longest time from a cause to the turn that it causes.
    pub wake_max: Duration,
    /// Longest time that an event needs from fast to control; words of the board are seen at once.
    pub ring_max: Duration,
    /// How often the observer asks each address on every node.
    pub observe: Duration,
    /// Longest time after which whoever watches the daemons starts them again.
    pub again_max: Duration,
    /// An operator looks after machines that are off, and says so to the others.
    pub operator: bool,
    /// Broken on purpose.
    pub sabotage: Option<Sabotage>,
    /// Rules of the agreement that are switched off.
    pub mutations: Vec<&'static str>,
}

/// A node by its number.
///
/// # Panics
/// If there can be no such node: numbers in the simulator are written by us.
#[must_use]
pub fn id(n: u8) -> NodeId {
    NodeId::new(n).expect("node numbers are 1 to 128")
}

impl Shape {
    /// `n` nodes and two links on which nothing goes wrong; no service.
    #[must_use]
    pub fn calm(n: u8) -> Self {
        Self {
            nodes: (1..=n).map(id).collect(),
            witnesses: NodeSet::EMPTY,
            configured: (1..=n).map(id).collect(),
            voters: (1..=n).map(id).collect(),
            reforms: false,
            store_max: Duration::from_millis(3),
            links: 2,
            interval: Duration::from_millis(10),
            misses: 3,
            others: Vec::new(),
            rate_ppm: 1_000,
            limits: Limits::default(),
            services: Vec::new(),
            quality: Quality::GOOD,
            manners: Manners::GOOD,
            sealed: false,
            interrupts: 0,
            interrupt_max: Duration::from_micros(200),
            wake_max: Duration::from_micros(20),
            ring_max: Duration::from_micros(20),
            observe: Duration::from_micros(500),
            again_max: Duration::from_millis(60),
            operator: false,
            sabotage: None,
            mutations: Vec::new(),
        }
    }
    /// Adds a service; its nodes in order of preference.
    pub fn serve(
        &mut self,
        name: &str,
        fence: FencePolicy,
        placement: Placement,
        nodes: &[NodeId],
    ) {
        let lease_bound = fence == FencePolicy::Lease;
        let kind = if lease_bound { "address" } else { "command" };
        self.services.push(ServiceSpec {
            id: ServiceId(self.services.len() as u16),
            name: name.into(),
            nodes: nodes.to_vec(),
            placement,
            fence,
            resources: vec![ResourceSpec { name: name.into(), kind: kind.into(), lease_bound }],
            revision: 0,
        });
    }
    /// True if the service is an address, which the observer can ask.
    #[must_use]
    pub fn is_address(&self, service: ServiceId) -> bool {
        self.services.iter().any(|s| s.id == service && s.unbound().is_none())
    }
    /// What nodes have that are told nothing else.
    #[must_use]
    pub const fn timing(&self) -> Timing {
        Timing { interval: self.interval, misses: self.misses }
    }
    /// Every timing that a node can have.
    pub fn timings(&self) -> impl Iterator<Item = Timing> {
        std::iter::once(self.timing()).chain(self.others.iter().copied())
    }
    /// The longest deadline D.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.timings().map(Timing::deadline).max().unwrap_or_default()
    }
    /// What the file says.
    #[must_use]
    pub fn file(&self) -> Configuration {
        Configuration {
            nodes: self.configured,
            // Each node has its own interval: a configuration changes none here.
            interval_us: 0,
            misses: 0,
            ..Configuration::plain(self.voters, self.witnesses)
        }
    }
    /// The names of the nodes.
    #[must_use]
    pub fn names(&self) -> Names {
        Names::new(self.nodes.iter().map(|n| (n, format!("n{n}"))))
    }
    /// A service by its name.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<ServiceId> {
        self.services.iter().find(|s| s.name == name).map(|s| s.id)
    }
}
