//! The state machine of membership: committed entries in, views out.
//!
//! The first entries of an era are one batch, from `Cold` to its `Configure`. They make one view, not one
//! for each Admit: otherwise the node that happens to stand first in the batch would be offered
//! every service.

use crate::view::{JoinCause, Joined, Left, LeftCause, Member, View};
use alloc::collections::BTreeMap;
use core::mem;
use wire::entry::{FenceProof, RemovalCause};
use wire::{Entry, EntryKind, Incarnation, Life, NodeId, Op, Stint};

/// The last admission of a node in this era.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Admission {
    /// The life that was admitted.
    pub incarnation: Incarnation,
    /// Where in the log.
    pub op: Op,
}

/// The last removal of a node in this era.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Removal {
    /// The membership that ended.
    pub member: Member,
    /// Where in the log.
    pub op: Op,
    /// Why.
    pub cause: RemovalCause,
}

/// Proof that a life can do nothing any more; it ends with the next admission of the node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fence {
    /// The life that was proven to be off; every earlier one is over as well.
    pub life: Life,
    /// Where in the log.
    pub op: Op,
    /// How that is known.
    pub proof: FenceProof,
}

/// Membership by the committed log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Membership {
    pub(crate) view: View,
    pub(crate) admitted: BTreeMap<NodeId, Admission>,
    pub(crate) removed: BTreeMap<NodeId, Removal>,
    pub(crate) fenced: BTreeMap<NodeId, Fence>,
    /// What was said about members: proof only if the next entry removes them.
    pub(crate) asserted: BTreeMap<NodeId, Fence>,
    /// Admits of the era's first batch that are still to come.
    pub(crate) forming: u8,
    /// The batch's `Configure`, its last entry, is still to come.
    pub(crate) configuring: bool,
}

impl Membership {
    /// No era yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies one committed entry; returns the view if it made one.
    pub fn apply(&mut self, op: Op, entry: &Entry) -> Option<&View> {
        let before = self.view.number;
        match entry.kind {
            EntryKind::Cold { era, admits, .. } => self.begin_era(op, era, admits),
            EntryKind::Configure { .. } if self.is_forming() => {
                (self.forming, self.configuring) = (0, false);
                self.view.number = op;
            }
            EntryKind::Admit { node, incarnation } => {
                self.admit(op, entry.term.era, Life { node, incarnation });
            }
            EntryKind::Remove { node, incarnation, stint, cause } => {
                self.remove(op, Member { life: Life { node, incarnation }, stint }, cause);
            }
            EntryKind::Fenced { node, incarnation, proof } => {
                self.take_proof(Fence { life: Life { node, incarnation }, op, proof });
            }
            EntryKind::Noop
            | EntryKind::Request { .. }
            | EntryKind::Configure { .. }
            | EntryKind::Vote { .. } => {}
        }
        let made = self.view.number != before && !self.is_forming();
        made.then_some(&self.view)
    }

    /// The present view.
    #[must_use]
    pub const fn view(&self) -> &View {
        &self.view
    }
    /// True while the era's first batch is not complete: nothing may be decided on half a view.
    #[must_use]
    pub const fn is_forming(&self) -> bool {
        self.forming > 0 || self.configuring
    }
    /// The last admission of `node` in this era.
    #[must_use]
    pub fn admission(&self, node: NodeId) -> Option<Admission> {
        self.admitted.get(&node).copied()
    }
    /// The last removal of `node` in this era.
    #[must_use]
    pub fn removal(&self, node: NodeId) -> Option<Removal> {
        self.removed.get(&node).copied()
    }
    /// Proof that `node` is off, if there is one and no later admission.
    #[must_use]
    pub fn fence(&self, node: NodeId) -> Option<Fence> {
        self.fenced.get(&node).copied()
    }

    fn begin_era(&mut self, op: Op, era: u32, admits: u8) {
        let members = mem::take(&mut self.view.members);
        let gone = |member| Left { member, cause: LeftCause::EraEnded };
        *self = Self { forming: admits, configuring: true, ..Self::default() };
        self.view.number = op;
        self.view.era = era;
        self.view.left = members.into_values().map(gone).collect();
    }

    fn admit(&mut self, op: Op, era: u32, life: Life) {
        let node = life.node;
        let cause = match self.admitted.get(&node) {
            _ if self.is_forming() => JoinCause::ColdStart,
            Some(earlier) if earlier.incarnation == life.incarnation => JoinCause::Returned,
            _ => JoinCause::NewLife,
        };
        if self.is_forming() {
            self.forming = self.forming.saturating_sub(1);
        } else {
            self.view.joined.clear();
            self.view.left.clear();
        }
        let member = Member { life, stint: Stint::of(era, op) };
        if let Some(replaced) = self.view.members.insert(node, member) {
            self.view.left.push(Left { member: replaced, cause: LeftCause::Replaced });
        }
        self.view.joined.push(Joined { member, cause });
        self.view.number = op;
        self.admitted.insert(node, Admission { incarnation: life.incarnation, op });
        self.fenced.remove(&node);
        self.asserted.remove(&node);
    }

    /// Proof about a member is none: it may do a great deal after it was said to be off. Of a pair the next entry
    /// removes that same life (R-FENCE), and ends all it may do.
    fn take_proof(&mut self, fence: Fence) {
        let node = fence.life.node;
        match self.view.member(node) {
            None => self.fenced.insert(node, fence),
            Some(_) => self.asserted.insert(node, fence),
        };
    }

    /// A removal of a stint that is over already says nothing new.
    fn remove(&mut self, op: Op, member: Member, cause: RemovalCause) {
        if !self.view.has(member) {
            return;
        }
        let node = member.life.node;
        self.view.members.remove(&node);
        self.view.joined.clear();
        self.view.left.clear();
        self.view.left.push(Left { member, cause: LeftCause::Removed(cause) });
        self.view.number = op;
        self.removed.insert(node, Removal { member, op, cause });
        let follows = |fence: &Fence| fence.life == member.life && fence.op.next() == op;
        if let Some(fence) = self.asserted.remove(&node).filter(follows) {
            self.fenced.insert(node, fence);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Membership;
    use crate::view::{JoinCause, LeftCause};
    use alloc::sync::Arc;
    use wire::entry::{FenceProof, RemovalCause};
    use wire::{
        Configuration, Entry, EntryKind, Incarnation, Life, NodeId, NodeSet, Op, Stint, Term,
    };

    fn node(n: u8) -> NodeId {
        NodeId::new(n).unwrap()
    }

    fn entry(kind: EntryKind) -> Entry {
        let life = Life { node: node(1), incarnation: Incarnation(1) };
        Entry { term: Term { era: 1, counter: 1, life }, level: 1, kind }
    }

    fn admit(n: u8, i: u32) -> Entry {
        entry(EntryKind::Admit { node: node(n), incarnation: Incarnation(i) })
    }

    fn remove(n: u8, i: u32, stint: u64) -> Entry {
        let (node, incarnation, stint) = (node(n), Incarnation(i), Stint::of(1, Op(stint)));
        entry(EntryKind::Remove { node, incarnation, stint, cause: RemovalCause::Silent })
    }

    fn cold(era: u32, admits: u8) -> Entry {
        let (electorate, absent) = (NodeSet(7), NodeSet::EMPTY);
        entry(EntryKind::Cold { era, admits, version: 0, electorate, absent })
    }

    fn configure() -> Entry {
        let configuration = Arc::new(Configuration::plain(NodeSet(7), NodeSet::EMPTY));
        entry(EntryKind::Configure { configuration })
    }

    /// Three members; the view is that of op 4, as if the batch had no configuration.
    fn three() -> Membership {
        let mut m = Membership::new();
        assert!(m.apply(Op(0), &cold(1, 3)).is_none());
        assert!(m.apply(Op(1), &admit(1, 1)).is_none());
        assert!(m.apply(Op(2), &admit(2, 1)).is_none());
        assert!(m.apply(Op(3), &admit(3, 1)).is_none());
        assert!(m.is_forming());
        assert!(m.apply(Op(4), &configure()).is_some());
        m
    }

    #[test]
    fn a_cold_start_is_one_view_with_all_its_lives() {
        let m = three();
        let view = m.view();
        assert_eq!((view.number, view.era, view.members.len()), (Op(4), 1, 3));
        assert!(view.joined.iter().all(|j| j.cause == JoinCause::ColdStart));
        assert_eq!(view.member(node(2)).unwrap().stint, Stint::of(1, Op(2)));
    }

    #[test]
    fn a_view_names_who_went_and_who_came_and_why() {
        let mut m = three();
        let view = m.apply(Op(5), &remove(2, 1, 2)).unwrap();
        assert_eq!(view.left[0].cause, LeftCause::Removed(RemovalCause::Silent));
        assert_eq!(view.members.len(), 2);
        let view = m.apply(Op(6), &admit(2, 1)).unwrap();
        assert_eq!((view.joined[0].cause, view.left.len()), (JoinCause::Returned, 0));
        m.apply(Op(7), &remove(2, 1, 6)).unwrap();
        let view = m.apply(Op(8), &admit(2, 2)).unwrap();
        assert_eq!(view.joined[0].cause, JoinCause::NewLife);
        assert_eq!(m.removal(node(2)).unwrap().op, Op(7));
    }

    #[test]
    fn a_removal_of_an_ended_stint_changes_nothing() {
        let mut m = three();
        m.apply(Op(5), &remove(2, 1, 2));
        m.apply(Op(6), &admit(2, 1));
        assert!(m.apply(Op(7), &remove(2, 1, 2)).is_none(), "the stint of op 2 is over");
        assert!(m.view().member(node(2)).is_some());
    }

    #[test]
    fn the_proof_of_a_fence_ends_with_the_next_admission() {
        let mut m = three();
        m.apply(Op(5), &remove(2, 1, 2));
        let proof = FenceProof::Operator;
        let fenced = EntryKind::Fenced { node: node(2), incarnation: Incarnation(1), proof };
        assert!(m.apply(Op(6), &entry(fenced)).is_none());
        assert_eq!(m.fence(node(2)).unwrap().op, Op(6));
        m.apply(Op(7), &admit(2, 2));
        assert_eq!(m.fence(node(2)), None);
    }

    #[test]
    fn proof_about_a_member_is_none_until_that_life_is_removed() {
        let mut m = three();
        let fenced = |i| {
            let (node, incarnation, proof) = (node(2), Incarnation(i), FenceProof::Operator);
            entry(EntryKind::Fenced { node, incarnation, proof })
        };
        m.apply(Op(5), &fenced(1));
        assert_eq!(m.fence(node(2)), None);
        m.apply(Op(6), &remove(2, 1, 2));
        assert_eq!(
            m.fence(node(2)).map(|f| (f.op, f.life.incarnation)),
            Some((Op(5), Incarnation(1)))
        );
        m.apply(Op(7), &admit(2, 2));
        m.apply(Op(8), &fenced(1));
        m.apply(Op(9), &remove(2, 2, 7));
        assert_eq!(m.fence(node(2)), None, "it was said of an earlier life");
        m.apply(Op(10), &admit(2, 3));
        m.apply(Op(11), &fenced(3));
        m.apply(Op(12), &entry(EntryKind::Noop));
        m.apply(Op(13), &remove(2, 3, 10));
        assert_eq!(m.fence(node(2)), None, "it was a member all the while");
    }

    #[test]
    fn another_era_forgets_the_members_of_the_last() {
        let mut m = three();
        m.apply(Op(1), &cold(2, 2));
        m.apply(Op(2), &admit(1, 2));
        m.apply(Op(3), &admit(2, 2));
        let view = m.apply(Op(4), &configure()).unwrap();
        assert_eq!((view.era, view.members.len(), view.left.len()), (2, 2, 3));
        assert!(view.left.iter().all(|l| l.cause == LeftCause::EraEnded));
        assert_eq!(m.admission(node(3)), None);
    }
}
