//! A pair without a witness (PROTOCOL 7, R-FENCE).
//!
//! Two voters need both votes. When one dies, the other holds everything that can ever have been committed, because each
//! entry took both; but it cannot know that the other is dead and not merely cut off. With *evidence* that the other's
//! life has ended it takes that life's vote as given: it stands for a new term, whose first entry is
//! `Fenced{p,i}`. By that entry the slot is *void*: it counts for commit, promise and lease until the node is admitted
//! again. `Remove{p,i}` follows, and is acknowledged by the own deadline like any other (R-ACK).
//!
//! The evidence is bound to the roster's life. It is the operator's word, given while the life is silent and forgotten
//! when it is heard again; or a frame of a newer life. A life without a vote has none of it, whatever it is told: its
//! memory is younger than what the others agreed.
//!
//! *A living life that was said to be off.* Nothing it holds is lost: it could commit nothing alone, and its lease ended
//! before its removal was committed. But its vote was given away, and stays given until the Admit of a *newer* life, so
//! that the same life never votes again beside its own gift, and evidence that names it is worth nothing afterwards. So
//! it ends, by its own log or by the survivor's word ([`wire::Message::Ended`]), and its node comes back as a new life.
//! When both were said to be off and both live, the assertion was wrong twice and two logs exist: the node that comes
//! first in rank goes on, the other ends.

use crate::api::{Action, Destination, FenceRefused, Status};
use crate::replica::Agreement;
use crate::roster::Roster;
use alloc::borrow::Cow;
use base::Instant;
use wire::entry::FenceProof;
use wire::{Entry, EntryKind, Life, Message, NodeId, NodeSet};

/// Two votes make a pair.
pub(crate) const PAIR: usize = 2;

impl Agreement {
    /// The other voter, if there are two and this node may lead. A vote that is not agreed yet may stand in the log: the
    /// half whose vote is taken learns first that it is, and may be gone before the other does. What the log makes of the
    /// pair then needs its own majority (R-PROMISE-QUORUM).
    fn partner(&self) -> Option<NodeId> {
        let voters = self.committed.voters;
        let mine = self.committed.leaders().contains(self.me.node);
        let mut others = voters.iter().filter(|node| *node != self.me.node);
        others.next().filter(|_| voters.len() == PAIR && mine)
    }

    /// True if evidence about `node` would give this life the vote that it lacks.
    #[must_use]
    pub fn needs_evidence(&self, node: NodeId) -> bool {
        self.partner() == Some(node) && !self.committed.is_void(node)
    }

    /// Whether the operator's word about a node can be taken now: not while it speaks. A new life may have begun while the
    /// word was on its way here, and been met by its messages before the fast path has told of it; it is not what the
    /// operator saw.
    pub fn check_fenced_order(&self, now: Instant, node: NodeId) -> Result<(), FenceRefused> {
        if self.needs_evidence(node) {
            return self.silent_life(now, node).map(drop);
        }
        let spoke = self.spoke.get(&node).is_some_and(|at| now.since(*at) < self.slowest() * 2);
        let speaks = spoke && !self.suspects_life(now, self.newest(node));
        if speaks { Err(FenceRefused::Heard) } else { Ok(()) }
    }

    /// The other half's life, if evidence about it can be used here.
    fn silent_life(&self, now: Instant, node: NodeId) -> Result<Life, FenceRefused> {
        let seat = self.committed.seat(node);
        if !self.votes() && !self.off("evidence-member") {
            return Err(FenceRefused::NoVote);
        }
        let life = seat.map(|seat| seat.life(node)).ok_or(FenceRefused::NoVote)?;
        if self.suspects_life(now, life) { Ok(life) } else { Err(FenceRefused::Heard) }
    }

    /// Takes the operator's word. It names the roster's life, and was given after that life fell silent.
    pub(crate) fn take_evidence(&mut self, now: Instant, node: NodeId) {
        if let Ok(life) = self.silent_life(now, node) {
            self.said_off.insert(node, life);
            self.settle(now);
        }
    }

    /// A life is heard: what was said about it was said of another state.
    pub(crate) fn forget_evidence(&mut self, life: Life) {
        if !self.off("evidence-life") {
            self.said_off.remove(&life.node);
        }
    }

    /// How it is known that the partner's life has ended, if it is, and may be used: only by a voter, only about the life
    /// that both the committed log and the whole log seat.
    fn evidence(&self, now: Instant) -> Option<(Life, FenceProof)> {
        let node = self.partner()?;
        let seat = self.committed.seat(node)?;
        let latest = self.latest.seat(node);
        let same = latest.is_none_or(|latest| latest.incarnation == seat.incarnation);
        let settled = same && !self.committed.is_void(node);
        if !settled
            || self.is_used(seat.life(node))
            || !self.votes() && !self.off("evidence-member")
        {
            return None;
        }
        let life = seat.life(node);
        if self.is_over(life) {
            return Some((life, FenceProof::NewLife));
        }
        let said = self.said_off.get(&node);
        let names = said.is_some_and(|said| *said == life || self.off("evidence-life"));
        (self.suspects_life(now, life) && (names || self.off("evidence")))
            .then_some((life, FenceProof::Operator))
    }

    /// True if the evidence stands in the log by an entry of the present term. One of an earlier term that did not
    /// commit gives nothing: it is said again.
    fn is_used(&self, life: Life) -> bool {
        let names = |entry: &Entry| match entry.kind {
            EntryKind::Fenced { node, incarnation, .. } => Life { node, incarnation } == life,
            _ => false,
        };
        let mut tail = self.log.after(self.commit);
        self.status == Status::Primary && tail.any(|(_, e)| e.term == self.term && names(e))
    }

    /// Votes that this life may count as given: those of void slots, and that which its evidence is about, be it in the
    /// log already or not.
    pub(crate) fn given(&self, now: Instant, roster: &Roster) -> NodeSet {
        let mut given = self.with_early(roster).void();
        if let Some((life, _)) = self.evidence(now)
            && roster.voters.len() == PAIR
            && roster.voters.contains(life.node)
            && roster.seat(life.node).is_some_and(|seat| seat.incarnation == life.incarnation)
        {
            given.insert(life.node);
        }
        given
    }

    /// R-FENCE 3: evidence is used in a new term of the survivor, not in one that the other may have taken part in.
    pub(crate) fn use_evidence(&mut self, now: Instant) {
        if self.status != Status::Candidate && self.evidence(now).is_some() {
            let counter = self.term.counter.saturating_add(1);
            self.stand(now, wire::Term { era: self.term.era, counter, life: self.me });
        }
    }

    /// The first entry of the term that rests on evidence.
    pub(crate) fn propose_fence(&mut self, now: Instant) {
        if let Some((Life { node, incarnation }, proof)) = self.evidence(now) {
            self.propose(now, EntryKind::Fenced { node, incarnation, proof });
        }
    }

    /// The vote that a term's own `Fenced` gives counts for what lies uncommitted below it too: the survivor's log holds
    /// all that the ended life can have committed, and nothing else ever will be.
    pub(crate) fn with_early<'a>(&self, roster: &'a Roster) -> Cow<'a, Roster> {
        let mut roster = Cow::Borrowed(roster);
        if self.status != Status::Primary {
            return roster;
        }
        for (op, entry) in self.log.after(self.commit).filter(|(_, e)| e.term == self.term) {
            if let EntryKind::Fenced { node, incarnation, proof } = entry.kind {
                roster.to_mut().fence(op, Life { node, incarnation }, proof);
            }
        }
        roster
    }

    /// True if this life's vote was given away: by the committed log it has ended.
    pub(crate) fn was_ended(&self, life: Life) -> bool {
        let seat = self.committed.seat(life.node);
        self.committed.has_ended(life.node)
            && seat.is_some_and(|seat| seat.incarnation == life.incarnation)
    }

    /// A life that the committed log calls ended speaks: it is told so, and nothing that it says is taken.
    pub(crate) fn refuse_ended(&mut self, from: Life) -> bool {
        let ended = self.was_ended(from);
        if ended {
            self.send(Destination::Node(from.node), Message::Ended { life: from });
        }
        ended
    }

    /// The partner says that this life was said to be off. If both were, the first in rank goes on.
    pub(crate) fn on_ended(&mut self, from: Life, life: Life) {
        let mutual = self.was_ended(from) && self.me.node < from.node;
        if life == self.me && self.partner() == Some(from.node) && !mutual {
            self.said_to_be_off();
        }
    }

    /// This life is over by the log: it stops everything, and its node begins again.
    pub(crate) fn said_to_be_off(&mut self) {
        if !self.has_ended() {
            self.end_with(Action::SaidOff);
        }
    }
}
