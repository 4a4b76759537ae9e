//! Who votes and who is a member, derived from a prefix of the log (PROTOCOL 1.2).

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use wire::codec::{Malformed, Reader, Writer};
use wire::entry::FenceProof;
use wire::{
    Charter, Configuration, Entry, EntryKind, Incarnation, Life, NodeId, NodeSet, Op, Stint, Term,
};

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

/// What a prefix of the log says about lives and votes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Roster {
    /// Whose votes count: the electorate in force after `op`.
    pub voters: NodeSet,
    /// The electorate of a `Vote` that is appended and not committed: a lease needs a majority there too (R-LEASE-CONF).
    pub next: Option<NodeSet>,
    /// The op that this is derived up to.
    pub op: Op,
    version: u32,
    /// Term of the entry that made this version.
    stated: Term,
    /// Op of the last `Configure` or `Vote`, and whether an entry stands above it that proves that all had it.
    changed: (Op, bool),
    configuration: Arc<Configuration>,
    seats: BTreeMap<NodeId, Seat>,
    voids: BTreeMap<NodeId, Void>,
    /// Lives that were proven ended while they were half of a pair that is none any more: nothing is given for them, and
    /// they do not vote.
    ended: BTreeMap<NodeId, Incarnation>,
}

impl Roster {
    /// Before the first entry: nobody votes.
    #[must_use]
    pub fn empty(voters: NodeSet) -> Self {
        Self::before(&Charter::plain(voters, NodeSet::EMPTY))
    }

    /// Before the first entry, with what this node holds of the configuration.
    #[must_use]
    pub fn before(charter: &Charter) -> Self {
        Self {
            voters: charter.electorate,
            next: None,
            op: Op::ZERO,
            version: charter.version,
            stated: charter.term,
            changed: (Op::ZERO, true),
            configuration: Arc::clone(&charter.configuration),
            seats: BTreeMap::new(),
            voids: BTreeMap::new(),
            ended: BTreeMap::new(),
        }
    }

    /// Takes the next entry; true if lives, stints, votes or what is wanted changed.
    pub fn apply(&mut self, op: Op, entry: &Entry) -> bool {
        self.op = op;
        match &entry.kind {
            EntryKind::Cold { version, electorate, .. } => {
                (self.voters, self.version, self.stated) = (*electorate, *version, entry.term);
                self.changed = (op, true);
                self.seats.clear();
                self.voids.clear();
                self.ended.clear();
            }
            EntryKind::Admit { node, incarnation } => {
                let (node, incarnation) = (*node, *incarnation);
                let removed_at = Op::ZERO;
                let seat = Seat { incarnation, stint: Stint::of(entry.term.era, op), removed_at };
                self.seats.insert(node, seat);
                self.voids.remove(&node);
                self.ended.remove(&node);
                self.changed.1 = true;
            }
            EntryKind::Remove { node, incarnation, stint, .. } => {
                let Some(seat) = self.seats.get_mut(node) else { return false };
                if seat.incarnation != *incarnation || seat.stint != *stint {
                    return false;
                }
                seat.stint = Stint::NONE;
                seat.removed_at = op;
                self.forget_strangers();
            }
            EntryKind::Fenced { node, incarnation, proof } => {
                return self.fence(op, Life { node: *node, incarnation: *incarnation }, *proof);
            }
            EntryKind::Configure { configuration } => {
                if configuration.version != self.version.saturating_add(1) {
                    return false;
                }
                self.configuration = Arc::clone(configuration);
                self.change(op, entry.term);
            }
            EntryKind::Vote { version, node, incarnation, votes } => {
                if *version != self.version.saturating_add(1) {
                    return false;
                }
                self.vote(Life { node: *node, incarnation: *incarnation }, *votes);
                self.change(op, entry.term);
            }
            EntryKind::Request { .. } => {
                self.changed.1 = true;
                return false;
            }
            EntryKind::Noop => return false,
        }
        true
    }

    /// The next version of the epoch.
    fn change(&mut self, op: Op, term: Term) {
        (self.version, self.stated) = (self.version.saturating_add(1), term);
        self.changed = (op, false);
        self.forget_strangers();
    }

    /// Gives a slot its vote, or takes it. Only a life that the slot has gets one, and the last vote is never taken.
    fn vote(&mut self, life: Life, votes: bool) {
        let mut voters = self.voters;
        if !votes {
            voters.remove(life.node);
        } else if self.seats.get(&life.node).is_some_and(|s| s.incarnation == life.incarnation) {
            voters.insert(life.node);
        }
        if voters.is_empty() || voters == self.voters {
            return;
        }
        self.voters = voters;
        // What was given in a pair is given in that pair only.
        for (node, _) in core::mem::take(&mut self.voids) {
            if let Some(seat) = self.seats.get(&node) {
                self.ended.insert(node, seat.incarnation);
            }
        }
    }

    /// A node that is not configured, is no member and has no vote is forgotten.
    fn forget_strangers(&mut self) {
        let (nodes, voters) = (self.configuration.nodes, self.voters);
        let known = |node: NodeId| nodes.contains(node) || voters.contains(node);
        self.seats.retain(|node, seat| known(*node) || seat.stint.is_member());
        self.ended.retain(|node, _| known(*node));
    }

    /// Version of the epoch.
    #[must_use]
    pub const fn version(&self) -> u32 {
        self.version
    }
    /// What is wanted.
    #[must_use]
    pub const fn configuration(&self) -> &Arc<Configuration> {
        &self.configuration
    }
    /// Voters that may lead.
    pub(crate) fn leaders(&self) -> NodeSet {
        self.configuration.leaders(self.voters)
    }
    /// Voters that own nothing, and lead only where nobody else may.
    #[must_use]
    pub fn witnesses(&self) -> NodeSet {
        self.configuration.witnesses
    }
    /// What is in force and what is wanted.
    #[must_use]
    pub fn charter(&self) -> Charter {
        Charter {
            version: self.version,
            term: self.stated,
            electorate: self.voters,
            configuration: Arc::clone(&self.configuration),
        }
    }
    /// True if the entry at `op` was the last to change what is in force or wanted.
    pub(crate) fn was_changed_by(&self, op: Op) -> bool {
        self.changed.0 == op
    }
    /// Op of the last `Configure` or `Vote`.
    pub(crate) const fn changed_op(&self) -> Op {
        self.changed.0
    }
    /// Op of the last `Configure` or `Vote`; `None` if an entry above it shows that every member had it (R-BARRIER).
    #[must_use]
    pub fn changed_at(&self) -> Option<Op> {
        (!self.changed.1).then_some(self.changed.0)
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

    /// Appends its bytes: what is in force and wanted; count and seats, count and given votes, count and ended lives, each
    /// by node.
    pub(crate) fn encode(&self, to: &mut Writer) {
        self.charter().encode(to);
        to.op(self.changed.0);
        to.u8(u8::from(self.changed.1));
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
        to.u8(self.ended.len() as u8);
        for (node, incarnation) in &self.ended {
            to.life(Life { node: *node, incarnation: *incarnation });
        }
    }

    /// Takes one that was derived up to `op`.
    pub(crate) fn decode(from: &mut Reader<'_>, op: Op) -> Result<Self, Malformed> {
        let charter = Charter::decode(from)?;
        let changed = (from.op()?, from.flag("barrier flag")?);
        let mut roster = Self { op, changed, ..Self::before(&charter) };
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
        for _ in 0..from.u8()? {
            let Life { node, incarnation } = from.life()?;
            roster.ended.insert(node, incarnation);
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
    /// True if the life of this slot was proven ended, and no newer one was admitted.
    #[must_use]
    pub fn has_ended(&self, node: NodeId) -> bool {
        self.is_void(node) || self.ended.contains_key(&node)
    }
    /// True if this life holds its slot's vote, and it was not given away.
    #[must_use]
    pub fn votes(&self, life: Life) -> bool {
        self.voters.contains(life.node)
            && !self.has_ended(life.node)
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
