//! Joining and returning (PROTOCOL 4 and 6: R-JOIN, R-STINT, R-ADMIT).

use crate::api::{ADMIT_WITHIN, Destination, Status};
use crate::replica::Agreement;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use base::{Duration, Instant};
use wire::{Edition, EntryKind, Incarnation, Life, Message, NodeId, NodeSet, Op};

/// The last Join of one node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Join {
    incarnation: Incarnation,
    removed_at: Op,
    fresh: bool,
    era: u32,
    edition: Edition,
    at: Instant,
}

/// Who asks to be admitted. Joins are repeated every interval, so that an old one means nothing.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Joins(BTreeMap<NodeId, Join>);

impl Joins {
    /// Fresh lives heard of late, each with the charter that it holds.
    pub(crate) fn fresh(
        &self,
        now: Instant,
        valid: Duration,
    ) -> impl Iterator<Item = (NodeId, Edition)> {
        let fresh = move |(_, join): &(&NodeId, &Join)| join.fresh && now.since(join.at) <= valid;
        self.0.iter().filter(fresh).map(|(node, join)| (*node, join.edition))
    }
    /// Nodes heard of late whose charter contradicts one of these: the same version, and something else in it.
    pub(crate) fn contradicting(
        &self,
        now: Instant,
        valid: Duration,
        editions: [Edition; 2],
    ) -> NodeSet {
        let other = |join: &Join| editions.iter().any(|edition| join.edition.contradicts(edition));
        let late = self.0.iter().filter(|(_, join)| now.since(join.at) <= valid && other(join));
        late.map(|(node, _)| *node).collect()
    }
    /// True if anybody has asked of late.
    pub(crate) fn is_asked(&self, now: Instant, valid: Duration) -> bool {
        self.0.values().any(|join| now.since(join.at) <= valid)
    }
    /// Highest era that any of them knows.
    pub(crate) fn highest_era(&self) -> u32 {
        self.0.values().map(|join| join.era).max().unwrap_or(0)
    }
}

impl Agreement {
    pub(crate) fn on_join(
        &mut self,
        now: Instant,
        from: Life,
        removed_at: Op,
        (fresh, era): (bool, u32),
        edition: Edition,
    ) {
        let incarnation = from.incarnation;
        let join = Join { incarnation, removed_at, fresh, era, edition, at: now };
        self.joins.0.insert(from.node, join);
        self.tell_charter(now, from, edition);
    }

    /// Nodes that ask to join with another configuration of the same version: they are not taken, and named.
    #[must_use]
    pub fn contradicting(&self) -> NodeSet {
        let editions = [self.conf.held.edition(), self.committed.charter().edition()];
        self.joins.contradicting(self.settled, self.deadline(), editions)
    }

    /// Asks to be admitted, and tells fresh lives that this one is there.
    pub(crate) fn send_join(&mut self, now: Instant) {
        let seat = self.committed.seat(self.me.node);
        let removed_at = seat
            .filter(|seat| seat.incarnation == self.me.incarnation)
            .map_or(Op::ZERO, |seat| seat.removed_at);
        let (fresh, era) = (self.is_fresh(now), self.known_era());
        let (op, edition) = (self.log.op(), self.conf.held.edition());
        let message = Message::Join { removed_at, op, fresh, era, edition };
        self.send(Destination::All, message);
        if self.status == Status::Primary {
            // A removed life that leads because no member may (a witness, say) admits itself like any other.
            self.on_join(now, self.me, removed_at, (fresh, era), edition);
        }
        // Who is no member gets no retransmission: an acknowledgement that was lost would stay lost, and without it
        // nobody is admitted.
        self.acknowledge(now, true);
        self.ask_for_era_again();
    }

    /// As primary in office: admits who may be admitted.
    pub(crate) fn propose_admissions(&mut self, now: Instant) {
        let (valid, contradicting) = (self.slowest(), self.contradicting());
        let asking: Vec<(Life, Op)> = self
            .joins
            .0
            .iter()
            .filter(|(_, join)| now.since(join.at) <= valid)
            .map(|(node, join)| {
                (Life { node: *node, incarnation: join.incarnation }, join.removed_at)
            })
            // One that only talks but does not beat would be removed again at once.
            .filter(|(life, _)| !self.suspects_life(now, *life))
            .filter(|(life, _)| !contradicting.contains(life.node))
            .collect();
        for (life, removed_at) in asking {
            if self.is_admissible(life, removed_at) {
                let Life { node, incarnation } = life;
                self.propose(now, EntryKind::Admit { node, incarnation });
                self.owes_from(now, node);
            }
        }
    }

    fn is_admissible(&self, life: Life, removed_at: Op) -> bool {
        if !self.latest.configuration().nodes.contains(life.node) {
            return false;
        }
        let seat = self.latest.seat(life.node);
        if seat.is_some_and(|seat| seat.stint.is_member()) {
            // Its own stint, or that of an earlier life: that one's Remove comes first.
            return false;
        }
        match seat {
            // R-JOIN: only a life that knows which removal it follows.
            Some(seat)
                if seat.incarnation == life.incarnation && !self.latest.has_ended(life.node) =>
            {
                let follows = removed_at == seat.removed_at || self.off("join-removed-at");
                follows && seat.removed_at <= self.commit
            }
            Some(seat) if seat.incarnation >= life.incarnation => false,
            // A new life first has the log.
            _ => {
                let matched = self.matched_by(life);
                matched > Op::ZERO && matched.0.saturating_add(ADMIT_WITHIN) >= self.log.op().0
            }
        }
    }
}
