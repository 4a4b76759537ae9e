//! What the fast path says about the other nodes, and about itself: this node's own opinion, not
//! agreed.

use alloc::collections::{BTreeMap, BTreeSet};
use base::{Duration, Instant};
use heartbeat::{Event, EventKind};
use wire::{Incarnation, LinkId, NodeId, NodeSet};

/// Own observations.
#[derive(Clone, Debug, Default)]
pub struct Peers {
    heard: NodeSet,
    suspects: NodeSet,
    lives: BTreeMap<NodeId, Incarnation>,
    silent_links: BTreeSet<(NodeId, LinkId)>,
    poor_links: BTreeMap<(NodeId, LinkId), Trouble>,
    impostors: BTreeMap<NodeId, (Incarnation, Instant)>,
    stall: Option<Stall>,
}

/// What a link did to the last beats of a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trouble {
    /// Beats that came over another link only.
    pub lost: u16,
    /// Beats that came twice.
    pub doubled: u16,
    /// Beats that came after newer ones.
    pub reordered: u16,
    /// Beats that were looked at.
    pub of: u16,
}

/// The last time the fast path did not run when it should have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stall {
    /// When it ran again.
    pub at: Instant,
    /// How long it had not.
    pub lost: Duration,
    /// How many there were.
    pub count: u64,
}

impl Peers {
    /// Takes one event.
    pub fn note(&mut self, event: &Event) {
        match event.kind {
            // It came late: the next life is heard already.
            EventKind::Suspected { life, .. } | EventKind::Obituary { life, .. }
                if self.newest(life.node).is_some_and(|newest| life.incarnation < newest) => {}
            EventKind::Suspected { life, .. } => {
                self.heard.remove(life.node);
                self.suspects.insert(life.node);
                self.forget_links(life.node);
            }
            EventKind::Obituary { life, .. } => {
                self.heard.remove(life.node);
                self.forget_links(life.node);
            }
            EventKind::Trusted { life, .. } | EventKind::Appeared { life } => {
                self.heard.insert(life.node);
                self.suspects.remove(life.node);
                let newest = self.lives.entry(life.node).or_insert(life.incarnation);
                *newest = life.incarnation.max(*newest);
                self.impostors.retain(|node, (claimed, _)| {
                    *node != life.node || *claimed >= life.incarnation
                });
            }
            EventKind::Stalled { lost } => {
                let count = self.stall.map_or(0, |s| s.count) + 1;
                self.stall = Some(Stall { at: event.at, lost, count });
            }
            EventKind::LinkDown { node, link } => {
                self.silent_links.insert((node, link));
            }
            EventKind::LinkUp { node, link } => {
                self.silent_links.remove(&(node, link));
            }
            EventKind::LinkPoor { node, link, lost, doubled, reordered, of } => {
                let trouble = Trouble { lost, doubled, reordered, of };
                self.poor_links.insert((node, link), trouble);
            }
            EventKind::LinkGood { node, link } => {
                self.poor_links.remove(&(node, link));
            }
            EventKind::Impostor { node, incarnation } => {
                self.impostors.insert(node, (incarnation, event.at));
            }
            EventKind::LeaseGained | EventKind::LeaseLost => {}
        }
    }
    fn forget_links(&mut self, node: NodeId) {
        self.silent_links.retain(|(n, _)| *n != node);
        self.poor_links.retain(|(n, _), _| *n != node);
    }
    /// Links that lose, double or reorder what a node sends.
    pub fn poor_links(&self, node: NodeId) -> impl Iterator<Item = (LinkId, Trouble)> + '_ {
        let of = move |(key, _): &(&(NodeId, LinkId), &Trouble)| key.0 == node;
        self.poor_links.iter().filter(of).map(|((_, link), trouble)| (*link, *trouble))
    }
    /// Nodes that are heard.
    #[must_use]
    pub const fn heard(&self) -> NodeSet {
        self.heard
    }
    /// Nodes that were heard and went silent.
    #[must_use]
    pub const fn suspects(&self) -> NodeSet {
        self.suspects
    }
    /// The newest life heard of a node.
    #[must_use]
    pub fn newest(&self, node: NodeId) -> Option<Incarnation> {
        self.lives.get(&node).copied()
    }
    /// Links on which a node is silent while it is heard on another.
    pub fn silent_links(&self, node: NodeId) -> impl Iterator<Item = LinkId> + '_ {
        self.silent_links.iter().filter(move |(n, _)| *n == node).map(|(_, link)| *link)
    }
    /// Lives that two machines claim, and since when.
    pub fn impostors(&self) -> impl Iterator<Item = (NodeId, Incarnation, Instant)> + '_ {
        self.impostors.iter().map(|(node, (incarnation, at))| (*node, *incarnation, *at))
    }
    /// The last stall.
    #[must_use]
    pub const fn stall(&self) -> Option<Stall> {
        self.stall
    }
}

#[cfg(test)]
mod tests {
    use super::Peers;
    use base::Instant;
    use heartbeat::{Event, EventKind};
    use wire::{Incarnation, Life, LinkId, NodeId, Stint};

    #[test]
    fn a_suspect_is_not_heard_until_it_is_trusted_again() {
        let node = NodeId::new(2).unwrap();
        let life = Life { node, incarnation: Incarnation(3) };
        let mut peers = Peers::default();
        let mut note = |kind| {
            peers.note(&Event { at: Instant(1), kind });
            (peers.heard().contains(node), peers.silent_links(node).count())
        };
        assert_eq!(note(EventKind::Appeared { life }), (true, 0));
        assert_eq!(note(EventKind::LinkDown { node, link: LinkId(1) }), (true, 1));
        let (stint, heard) = (Stint(4), Instant(0));
        assert_eq!(note(EventKind::Suspected { life, stint, heard, deadline: heard }), (false, 0));
        assert_eq!(note(EventKind::Trusted { life, stint }), (true, 0));
        let before = Life { incarnation: Incarnation(2), ..life };
        assert_eq!(note(EventKind::Obituary { life: before, stint }), (true, 0), "long over");
        assert_eq!(note(EventKind::Obituary { life, stint }), (false, 0));
        assert_eq!(peers.newest(node), Some(Incarnation(3)));
    }
}
