//! One state of the model: the cores by number, what is on its way, the past, and what may still go wrong.

use crate::history::Rule;
use wire::{NodeId, NodeSet};

/// How often each thing may still happen. Deliveries have no bound: each frame arrives as often as may be, or never.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Budget {
    /// All clocks move on by one interval.
    pub ticks: u8,
    /// A fast process wakes: beats, accusations.
    pub beats: u8,
    /// A control process wakes: retransmissions, joins, acknowledgements that waited.
    pub turns: u8,
    /// Power off.
    pub crashes: u8,
    /// A new life of a node that is off.
    pub starts: u8,
    /// Control ends, and fast says so (an obituary); then the life is over.
    pub obituaries: u8,
    /// A control process takes a life for silent.
    pub accusations: u8,
    /// An operator has a member removed; the primary's own removal is a change of primary.
    pub removals: u8,
    /// An operator says truly that a node is off.
    pub evidence: u8,
    /// Requests.
    pub writes: u8,
    /// Clocks that stand still for a tick.
    pub slips: u8,
    /// An operator wants other voters.
    pub configures: u8,
    /// Some lose their power, hear only each other from then on, and begin again (`outage`).
    pub outages: u8,
}

impl Budget {
    /// The parts with their names.
    #[must_use]
    pub const fn parts(&self) -> [(&'static str, u8); 13] {
        [
            ("ticks", self.ticks),
            ("beats", self.beats),
            ("turns", self.turns),
            ("crashes", self.crashes),
            ("starts", self.starts),
            ("obituaries", self.obituaries),
            ("accusations", self.accusations),
            ("removals", self.removals),
            ("evidence", self.evidence),
            ("writes", self.writes),
            ("slips", self.slips),
            ("configures", self.configures),
            ("outages", self.outages),
        ]
    }
    /// The place of a part by its name.
    pub fn part(&mut self, name: &str) -> Option<&mut u8> {
        Some(match name {
            "ticks" => &mut self.ticks,
            "beats" => &mut self.beats,
            "turns" => &mut self.turns,
            "crashes" => &mut self.crashes,
            "starts" => &mut self.starts,
            "obituaries" => &mut self.obituaries,
            "accusations" => &mut self.accusations,
            "removals" => &mut self.removals,
            "evidence" => &mut self.evidence,
            "writes" => &mut self.writes,
            "slips" => &mut self.slips,
            "configures" => &mut self.configures,
            "outages" => &mut self.outages,
            _ => return None,
        })
    }
}

impl std::fmt::Display for Budget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut first = true;
        for (name, count) in self.parts().into_iter().filter(|(_, count)| *count > 0) {
            write!(f, "{}{count} {name}", if first { "" } else { ", " })?;
            first = false;
        }
        Ok(())
    }
}

/// The two processes of a running node and the words between them, by number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Running {
    /// The fast process.
    pub fast: u32,
    /// The control process.
    pub control: u32,
    /// The board.
    pub board: u32,
}

/// What of a node survives its lives, and its present life.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Machine {
    /// Which node.
    pub node: NodeId,
    /// Number of the present or last life.
    pub incarnation: u32,
    /// Highest era that any life of it has promised (durable).
    pub era: u32,
    /// The charter that it has stored durably, by its number.
    pub charter: u32,
    /// One on its way to the disk; it is lost with the life that wrote it.
    pub storing: Option<u32>,
    /// How far its clock is behind, in ticks.
    pub behind: u8,
    /// The present life.
    pub running: Option<Running>,
}

/// One state.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct State {
    /// By rank.
    pub machines: Vec<Machine>,
    /// Frames that were sent, by number, rising. They stay: each may arrive again.
    pub net: Vec<u32>,
    /// Frames that arrived where the network does forget, before and after what is explored: what they say binds.
    pub arrived: Vec<u32>,
    /// The past, by number.
    pub history: u32,
    /// Ticks since the start of all clocks.
    pub tick: u16,
    /// What may still happen.
    pub left: Budget,
    /// A rule that does not hold here.
    pub broken: Option<Rule>,
    /// What has been seen, for the properties that must be seen sometimes.
    pub seen: Seen,
}

/// One bit for each thing that a property wants to have seen. Each follows from the rest of the state.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Seen(pub u8);

impl Seen {
    /// Somebody holds a lease now.
    pub const LEASE: Self = Self(1);
    /// A removal is committed that was not at the start.
    pub const REMOVAL: Self = Self(2);
    /// An admission is.
    pub const ADMISSION: Self = Self(4);
    /// Another term than at the start has a committed entry.
    pub const TERM: Self = Self(8);
    /// An era has begun that had not at the start.
    pub const ERA: Self = Self(16);
    /// Evidence is committed.
    pub const EVIDENCE: Self = Self(32);
    /// Others vote than at the start.
    pub const VOTE: Self = Self(64);

    /// Adds one.
    pub const fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }
    /// True if it has been seen.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// Whom each part of a budget may be spent on; nodes that no line names may do everything.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Roles(pub Vec<(&'static str, NodeSet)>);

impl Roles {
    /// True if `part` may be spent on `node`.
    #[must_use]
    pub fn allow(&self, part: &str, node: NodeId) -> bool {
        self.0.iter().find(|(name, _)| *name == part).is_none_or(|(_, nodes)| nodes.contains(node))
    }
}

/// What can happen in one step.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Step {
    /// This frame arrives.
    Deliver(u32),
    /// All clocks move on by one interval, but for that of the one named.
    Tick(Option<NodeId>),
    /// A fast process wakes.
    Beat(NodeId),
    /// A control process wakes.
    Turn(NodeId),
    /// Power off.
    Crash(NodeId),
    /// A new life.
    Start(NodeId),
    /// Control ends; fast says so and ends too.
    Obituary(NodeId),
    /// The first takes the second for silent.
    Accuse(NodeId, NodeId),
    /// At the first, an operator has the second removed.
    Remove(NodeId, NodeId),
    /// At the first, an operator says that the second is off.
    SaysOff(NodeId, NodeId),
    /// A request at a node.
    Write(NodeId),
    /// At a node an operator wants other voters.
    Configure(NodeId),
    /// The charter that a node was told to store is on its disk.
    Stored(NodeId),
    /// These lose their power and begin again, cut off from the others.
    Outage(NodeSet),
}
