//! What the fast path tells the control plane, one small record each, over a bounded ring.

use base::{Duration, Instant};
use wire::{Incarnation, Life, LinkId, NodeId, Stint};

/// One thing that happened to the fast path.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Event {
    /// When fast saw it, own clock.
    pub at: Instant,
    /// What.
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EventKind {
    /// A peer is silent on all links for the whole deadline.
    Suspected {
        /// The silent life.
        life: Life,
        /// The stint its beats carried; [`Stint::NONE`] if it never beat as a member.
        stint: Stint,
        /// Last beat heard.
        heard: Instant,
        /// When the silence became too long, by what that beat declared.
        deadline: Instant,
    },
    /// A suspected peer beats again.
    Trusted {
        /// The peer.
        life: Life,
        /// Its stint.
        stint: Stint,
    },
    /// A valid obituary of a stint came.
    Obituary {
        /// Whose.
        life: Life,
        /// Which stint ended.
        stint: Stint,
    },
    /// An authenticated frame of a life not seen before came.
    Appeared {
        /// The life.
        life: Life,
    },
    /// The own lease began (or came back).
    LeaseGained,
    /// The own lease ended without renewal.
    LeaseLost,
    /// This thread did not run when it should have (S10).
    Stalled {
        /// For how long.
        lost: Duration,
    },
    /// A peer went silent on one link while it is heard on another.
    LinkDown {
        /// The peer.
        node: NodeId,
        /// The link.
        link: LinkId,
    },
    /// A peer is heard on that link again.
    LinkUp {
        /// The peer.
        node: NodeId,
        /// The link.
        link: LinkId,
    },
    /// Of the last beats of a peer, a link lost, doubled or reordered some (of `of`). Told again while it lasts.
    LinkPoor {
        /// The peer.
        node: NodeId,
        /// The link.
        link: LinkId,
        /// Beats that came over another link and not over this one.
        lost: u16,
        /// Frames that came twice.
        doubled: u16,
        /// Frames that came after newer ones.
        reordered: u16,
        /// Beats that were looked at.
        of: u16,
    },
    /// That link has carried the last beats as it should.
    LinkGood {
        /// The peer.
        node: NodeId,
        /// The link.
        link: LinkId,
    },
    /// Two machines claim the same life with different nonces.
    Impostor {
        /// The node.
        node: NodeId,
        /// The claimed incarnation.
        incarnation: Incarnation,
    },
}
