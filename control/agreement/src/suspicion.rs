//! Who is silent in whose opinion (PROTOCOL 3, Suspicion).
//!
//! The fast path says which lives are silent to this node; the set of member stints among them is multicast whenever it
//! changes, and again every interval while it is not empty. Sets of other voters count only while they are fresh: a
//! voter that died suspecting somebody has no opinion any more.
//!
//! Only voters tell their sets, because only theirs count: in a large cluster all others would tell all others of each
//! death at the very moment in which it must be agreed.

use crate::api::{Destination, Status};
use crate::replica::Agreement;
use crate::roster::Seat;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use base::Instant;
use wire::message::Suspicion;
use wire::{Life, Message, NodeId, NodeSet, Stint};

/// Most obituaries kept; each is of use only until its stint's removal is committed.
const OBITUARIES_MAX: usize = 256;
/// A primary that beats but orders nothing, and a member that beats but acknowledges nothing, count as silent after this
/// many deadlines (R-PROGRESS).
pub(crate) const PROGRESS: u64 = 3;

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct PeerSet {
    life: Life,
    number: u64,
    set: Vec<Suspicion>,
    at: Instant,
}

/// Opinions: the own ones and those of others.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Suspicions {
    silent: BTreeSet<Life>,
    obituaries: BTreeSet<(Life, Stint)>,
    /// The same in the order in which they came.
    came: VecDeque<(Life, Stint)>,
    peers: BTreeMap<NodeId, PeerSet>,
    number: u64,
    told: Vec<Suspicion>,
}

impl Suspicions {
    /// True if nobody has to be told anything again.
    pub(crate) fn is_quiet(&self) -> bool {
        self.told.is_empty()
    }
    /// True if neither this node nor another one suspects anybody.
    pub(crate) fn is_silent(&self) -> bool {
        self.told.is_empty() && self.peers.values().all(|peer| peer.set.is_empty())
    }
}

impl Agreement {
    /// The fast path hears nothing of a life any more. The stint is what its beats carried; it may have learned of a
    /// newer one too late to say so, so that silence is the life's.
    pub fn handle_suspected(&mut self, now: Instant, life: Life, _stint: Stint) {
        if !self.has_ended() && life.node != self.me.node {
            self.suspicions.silent.retain(|other| other.node != life.node);
            self.suspicions.silent.insert(life);
            self.settle(now);
        }
    }

    /// The fast path hears a suspected life again.
    pub fn handle_trusted(&mut self, now: Instant, life: Life, _stint: Stint) {
        if !self.has_ended() {
            self.suspicions.silent.remove(&life);
            self.forget_evidence(life);
            self.settle(now);
        }
    }

    /// A valid obituary of one stint came.
    pub fn handle_obituary(&mut self, now: Instant, life: Life, stint: Stint) {
        if self.has_ended() || life.node == self.me.node {
            return;
        }
        self.meet(life);
        if stint.is_member() && self.suspicions.obituaries.insert((life, stint)) {
            self.suspicions.came.push_back((life, stint));
            if self.suspicions.came.len() > OBITUARIES_MAX
                && let Some(oldest) = self.suspicions.came.pop_front()
            {
                self.suspicions.obituaries.remove(&oldest);
            }
        }
        // Its beats have ended too; should it beat again, the fast path says so. A late copy says nothing about the stint
        // that it is in now.
        let present = self.committed.stint(life);
        if present == stint || !present.is_member() {
            self.suspicions.silent.insert(life);
        }
        self.settle(now);
    }

    /// R-OBIT: an obituary is valid for its stint only.
    pub(crate) fn has_obituary(&self, life: Life, stint: Stint) -> bool {
        let known = &self.suspicions.obituaries;
        known.contains(&(life, stint))
            || self.off("obit-stint") && known.iter().any(|(of, _)| *of == life)
    }

    /// The member stints that this node suspects now.
    #[must_use]
    pub fn suspects(&self, now: Instant) -> Vec<Suspicion> {
        let mute = self.mute_primary(now);
        // Both are in the order of the nodes: looked up one by one, a hundred members would cost more than all else does.
        let mut highest = self.highest.iter().peekable();
        let mut is_over = |life: Life| {
            while highest.next_if(|(node, _)| **node < life.node).is_some() {}
            let same = highest.peek().filter(|(node, _)| **node == life.node);
            same.is_some_and(|(_, newest)| **newest > life.incarnation)
        };
        let (silent, obituaries) = (&self.suspicions.silent, &self.suspicions.obituaries);
        let opinion = |(life, stint): (Life, Stint)| {
            let obituary = !obituaries.is_empty() && self.has_obituary(life, stint);
            let suspect = is_over(life)
                || obituary
                || !silent.is_empty() && silent.contains(&life)
                || mute == Some(life);
            (suspect && life != self.me).then_some(Suspicion { life, stint, obituary })
        };
        self.committed.members().filter_map(opinion).collect()
    }

    /// R-PROGRESS seen from the other side: the primary that beats but says nothing for so long. Who was brought into a term by
    /// somebody else (a snapshot) may never hear it: it may have left office since.
    fn mute_primary(&self, now: Instant) -> Option<Life> {
        let heard = self.heard_primary.or(self.awaits_primary);
        let heard = heard.filter(|_| self.status == Status::Follower)?;
        (now.since(heard) >= self.slowest() * PROGRESS).then_some(self.term.life)
    }

    /// True if this node itself counts the life as gone.
    pub(crate) fn suspects_life(&self, now: Instant, life: Life) -> bool {
        self.suspicions.silent.contains(&life)
            || self.is_over(life)
            || self.mute_primary(now) == Some(life)
            || self.has_obituary(life, self.committed.stint(life))
    }

    /// Voters whose present set names the stint, this node included.
    pub(crate) fn named_by(&self, now: Instant, life: Life, stint: Stint) -> NodeSet {
        let names = |set: &[Suspicion]| set.iter().any(|s| s.life == life && s.stint == stint);
        let valid = self.slowest() + self.settings.interval;
        let mut voters: NodeSet = self
            .suspicions
            .peers
            .iter()
            .filter(|(_, peer)| self.counts(&self.committed, peer.life))
            .filter(|(_, peer)| now.since(peer.at) <= valid)
            .filter(|(_, peer)| names(&peer.set))
            .map(|(node, _)| *node)
            .collect();
        let own = self.committed.stint(life) == stint && self.suspects_life(now, life);
        if own && life != self.me && self.committed.votes(self.me) {
            voters.insert(self.me.node);
        }
        voters
    }

    /// The stints that a majority of voters' sets names, and that are not over by the whole log.
    pub(crate) fn named(&self, now: Instant) -> BTreeSet<(Life, Stint)> {
        let told = self.suspicions.peers.values().flat_map(|peer| &peer.set);
        let told = told.map(|suspicion| (suspicion.life, suspicion.stint));
        let own = self.suspects(now).into_iter().map(|suspicion| (suspicion.life, suspicion.stint));
        let open = |(life, stint): &(Life, Stint)| self.latest.stint(*life) == *stint;
        let all: BTreeSet<_> = told.chain(own).filter(open).collect();
        all.into_iter().filter(|(life, stint)| self.majority_names(now, *life, *stint)).collect()
    }

    /// True if a majority of voters' sets names the stint.
    pub(crate) fn majority_names(&self, now: Instant, life: Life, stint: Stint) -> bool {
        stint.is_member() && self.named_by(now, life, stint).len() >= self.committed.majority()
    }

    /// Voters that this node does not suspect, itself included, and those whose vote is given: with fewer than a majority
    /// nothing can be agreed.
    pub(crate) fn unsuspected_voters(&self, now: Instant) -> NodeSet {
        let given = self.given(now, &self.committed);
        let whoever = self.off("incarnation-vote");
        let life = |node, seat: Seat| if whoever { self.newest(node) } else { seat.life(node) };
        let voters = self.committed.voters.iter();
        let lives = voters.filter_map(|node| Some(life(node, self.committed.seat(node)?)));
        lives
            .filter(|life| self.counts(&self.committed, *life))
            .filter(|life| *life == self.me || !self.suspects_life(now, *life))
            .map(|life| life.node)
            .chain(given.iter())
            .collect()
    }

    pub(crate) fn on_suspect(
        &mut self,
        now: Instant,
        from: Life,
        number: u64,
        set: Vec<Suspicion>,
    ) {
        let older = self
            .suspicions
            .peers
            .get(&from.node)
            .is_some_and(|peer| peer.life == from && peer.number > number);
        if !older {
            self.suspicions.peers.insert(from.node, PeerSet { life: from, number, set, at: now });
        }
    }

    /// Tells the own set when it has changed.
    pub(crate) fn announce_suspicions(&mut self, now: Instant) {
        let set = self.suspects(now);
        if set != self.suspicions.told {
            self.suspicions.number += 1;
            self.suspicions.told = set;
            self.tell_suspicions();
        }
    }

    pub(crate) fn repeat_suspicions(&mut self, now: Instant) {
        let before = self.suspicions.number;
        self.announce_suspicions(now);
        if before == self.suspicions.number && !self.suspicions.is_quiet() {
            self.tell_suspicions();
        }
    }

    fn tell_suspicions(&mut self) {
        if !self.votes() {
            // As soon as it votes, the next repetition tells it.
            return;
        }
        let (number, set) = (self.suspicions.number, self.suspicions.told.clone());
        self.send(Destination::All, Message::Suspect { term: self.term, number, set });
    }
}
