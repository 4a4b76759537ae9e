//! The view: the agreed set of members, numbered by the log position of its last change.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use wire::entry::RemovalCause;
use wire::{Life, NodeId, NodeSet, Op, Stint};

/// One member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// Which life of the node.
    pub life: Life,
    /// Which membership of that life.
    pub stint: Stint,
}

/// Why a life became a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JoinCause {
    /// It began the era with the others.
    ColdStart,
    /// It is a new life of its node.
    NewLife,
    /// The same life had been removed and came back.
    Returned,
}

/// One life that came with a view.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Joined {
    /// Who.
    pub member: Member,
    /// Why.
    pub cause: JoinCause,
}

/// Why a life is a member no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeftCause {
    /// An agreed removal.
    Removed(RemovalCause),
    /// A newer life of its node was admitted over it.
    Replaced,
    /// Another era began.
    EraEnded,
}

/// One life that went with a view.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Left {
    /// Who.
    pub member: Member,
    /// Why.
    pub cause: LeftCause,
}

/// The agreed set of members. Every node sees the same views in the same order (S1).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct View {
    /// Log position of the change that made it; 0 before the first.
    pub number: Op,
    /// The era it belongs to.
    pub era: u32,
    /// The members by node.
    pub members: BTreeMap<NodeId, Member>,
    /// Who came with this view.
    pub joined: Vec<Joined>,
    /// Who went with this view.
    pub left: Vec<Left>,
}

impl View {
    /// The member that `node` is, if it is one.
    #[must_use]
    pub fn member(&self, node: NodeId) -> Option<Member> {
        self.members.get(&node).copied()
    }
    /// True if exactly this membership lasts.
    #[must_use]
    pub fn has(&self, member: Member) -> bool {
        self.member(member.life.node) == Some(member)
    }
    /// True if `life` came with this view by a cold start: it is a fresh life (R-FRESH).
    #[must_use]
    pub fn began_with(&self, life: Life) -> bool {
        self.joined.iter().any(|j| j.member.life == life && j.cause == JoinCause::ColdStart)
    }
    /// The members' nodes.
    #[must_use]
    pub fn nodes(&self) -> NodeSet {
        self.members.keys().copied().collect()
    }
}
