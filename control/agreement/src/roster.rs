//! Who votes and who is a member, derived from a prefix of the log (PROTOCOL 1.2).

use alloc::collections::BTreeMap;
use wire::codec::{Malformed, Reader, Writer};
use wire::entry::FenceProof;
use wire::{Entry, EntryKind, Incarnation, Life, NodeId, NodeSet, Op, Stint};

use crate::fence::PAIR;
use crate::log::Log;

/// One slot of the roster.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Seat {
    /// The life that holds the slot's vote; a removal does not change it.
    pub incarnation: Incarnation,
    /// Its stint, or [`Stint::NONE`] while it is removed.
    pub stint: Stint,
    /// Op of this life's last removal, 0 if it never was removed.
    pub removed_at: Op,
}

impl Seat {
    /// The life of this seat, which is `node`'s.
    #[must_use]
    pub const fn life(self, node: NodeId) -> Life {
        Life { node, incarnation: self.incarnation }
    }
}

/// Why a slot's vote is given: its life was proven ended (R-FENCE).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Void {
    /// Op of the entry that gave it.
    pub op: Op,
    /// The evidence.
    pub proof: FenceProof,
}

/// What a prefix of the log says about lives.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Roster {
    /// Configured voters.
    pub voters: NodeSet,
    /// The op that this is derived up to.
    pub op: Op,
    seats: BTreeMap<NodeId, Seat>,
    voids: BTreeMap<NodeId, Void>,
}

impl Roster {
    /// Before the first entry: nobody votes.
    #[must_use]
    pub const fn empty(voters: NodeSet) -> Self {
        Self { voters, op: Op::ZERO, seats: BTreeMap::new(), voids: BTreeMap::new() }
    }

    /// Takes the next entry; true if lives, stints or given votes changed.
    pub fn apply(&mut self, op: Op, entry: &Entry) -> bool {
        self.op = op;
        match entry.kind {
            EntryKind::Cold { .. } => {
                self.seats.clear();
                self.voids.clear();
            }
            EntryKind::Admit { node, incarnation } => {
                let removed_at = Op::ZERO;
                let seat = Seat { incarnation, stint: Stint::of(entry.term.era, op), removed_at };
                self.seats.insert(node, seat);
                self.voids.remove(&node);
            }
            EntryKind::Remove { node, incarnation, stint, .. } => {
                let Some(seat) = self.seats.get_mut(&node) else { return false };
                if seat.incarnation != incarnation || seat.stint != stint {
                    return false;
                }
                seat.stint = Stint::NONE;
                seat.removed_at = op;
            }
            EntryKind::Fenced { node, incarnation, proof } => {
                return self.fence(op, Life { node, incarnation }, proof);
            }
            EntryKind::Noop | EntryKind::Request { .. } => return false,
        }
        true
    }

    /// A life is proven ended: in a pair its vote is given from now on, if it holds one. With more voters that says
    /// nothing about votes, only that services need not wait for the life (S3).
    pub(crate) fn fence(&mut self, op: Op, life: Life, proof: FenceProof) -> bool {
        let gives = self.voters.len() == PAIR && self.votes(life);
        if gives {
            self.voids.insert(life.node, Void { op, proof });
        }
        gives
    }

    /// Appends its bytes: voters; count and seats, count and given votes, each by node.
    pub(crate) fn encode(&self, to: &mut Writer) {
        to.nodes(self.voters);
        to.u8(self.seats.len() as u8);
        for (node, seat) in &self.seats {
            to.life(seat.life(*node));
            to.stint(seat.stint);
            to.op(seat.removed_at);
        }
        to.u8(self.voids.len() as u8);
        for (node, void) in &self.voids {
            to.node(*node);
            to.op(void.op);
            to.u8(void.proof.number());
        }
    }

    /// Takes one that was derived up to `op`.
    pub(crate) fn decode(from: &mut Reader<'_>, op: Op) -> Result<Self, Malformed> {
        let mut roster = Self { op, ..Self::empty(from.nodes()?) };
        for _ in 0..from.u8()? {
            let Life { node, incarnation } = from.life()?;
            let (stint, removed_at) = (from.stint()?, from.op()?);
            roster.seats.insert(node, Seat { incarnation, stint, removed_at });
        }
        for _ in 0..from.u8()? {
            let (node, op) = (from.node()?, from.op()?);
            let proof = FenceProof::from_number(from.u8()?)?;
            roster.voids.insert(node, Void { op, proof });
        }
        Ok(roster)
    }

    /// The seat of a node.
    #[must_use]
    pub fn seat(&self, node: NodeId) -> Option<Seat> {
        self.seats.get(&node).copied()
    }
    /// Every seat, by node.
    pub fn seats(&self) -> impl Iterator<Item = (NodeId, Seat)> {
        self.seats.iter().map(|(node, seat)| (*node, *seat))
    }
    /// Members with their lives and stints, by node.
    pub fn members(&self) -> impl Iterator<Item = (Life, Stint)> {
        self.seats()
            .filter(|(_, seat)| seat.stint.is_member())
            .map(|(node, seat)| (Life { node, incarnation: seat.incarnation }, seat.stint))
    }
    /// The stint of a life; [`Stint::NONE`] if it is no member.
    #[must_use]
    pub fn stint(&self, life: Life) -> Stint {
        match self.seat(life.node) {
            Some(seat) if seat.incarnation == life.incarnation => seat.stint,
            _ => Stint::NONE,
        }
    }
    /// Slots whose vote is given, by node.
    pub fn voids(&self) -> impl Iterator<Item = (NodeId, Void)> {
        self.voids.iter().map(|(node, void)| (*node, *void))
    }
    /// Slots whose vote is given.
    #[must_use]
    pub fn void(&self) -> NodeSet {
        self.voids.keys().copied().collect()
    }
    /// True if this slot's vote is given.
    #[must_use]
    pub fn is_void(&self, node: NodeId) -> bool {
        self.voids.contains_key(&node)
    }
    /// True if this life holds its slot's vote, and it was not given away.
    #[must_use]
    pub fn votes(&self, life: Life) -> bool {
        self.voters.contains(life.node)
            && !self.is_void(life.node)
            && self.seat(life.node).is_some_and(|seat| seat.incarnation == life.incarnation)
    }
    /// ⌊N/2⌋+1 of the configured voters.
    #[must_use]
    pub fn majority(&self) -> usize {
        majority(self.voters)
    }
}

/// ⌊N/2⌋+1.
#[must_use]
pub(crate) const fn majority(voters: NodeSet) -> usize {
    voters.len() / 2 + 1
}

/// The roster after `op`, from one at or before it; all entries in between are in memory.
pub(crate) fn roster_at(base: &Roster, log: &Log, op: Op) -> Roster {
    let mut roster = base.clone();
    for (at, entry) in log.after(base.op).take_while(|(at, _)| *at <= op) {
        roster.apply(at, entry);
    }
    roster
}
