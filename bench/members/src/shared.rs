//! What the workers and the bench share: who shall run, what the nodes have seen, what they cost.

use crate::costs::Costs;
use base::Instant;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use wire::{NODES_MAX, NodeId, NodeSet};

/// Something worth knowing, with the moment.
#[derive(Clone, Debug)]
pub(crate) enum Seen {
    /// A node's power is cut, or it begins a life.
    Power { who: NodeId, at: Instant },
    /// A node's fast path calls another silent.
    Suspects { by: NodeId, whom: NodeId, at: Instant },
    /// A node has another view.
    View { by: NodeId, members: NodeSet, at: Instant },
    /// A life had to end, or could not begin.
    Ended { who: NodeId, why: String },
}

/// All of it.
pub(crate) struct Shared {
    wanted: Vec<AtomicBool>,
    leader: AtomicU8,
    stop: AtomicBool,
    /// Grows when the costs are to be handed over.
    round: AtomicU64,
    seen: Mutex<Vec<Seen>>,
    costs: Mutex<Vec<Costs>>,
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self {
            wanted: (0..NODES_MAX).map(|_| AtomicBool::new(false)).collect(),
            leader: AtomicU8::new(0),
            stop: AtomicBool::new(false),
            round: AtomicU64::new(0),
            seen: Mutex::default(),
            costs: Mutex::default(),
        }
    }
    /// Switches a node on or off.
    pub(crate) fn switch(&self, node: NodeId, on: bool) {
        if let Some(word) = self.wanted.get(node.index()) {
            word.store(on, Ordering::SeqCst);
        }
    }
    pub(crate) fn is_wanted(&self, node: NodeId) -> bool {
        self.wanted.get(node.index()).is_some_and(|word| word.load(Ordering::SeqCst))
    }
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }
    pub(crate) fn is_over(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
    /// Says who leads.
    pub(crate) fn leads(&self, node: NodeId) {
        self.leader.store(node.get(), Ordering::Relaxed);
    }
    /// Who said last that it leads.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        NodeId::new(self.leader.load(Ordering::Relaxed))
    }
    pub(crate) fn note(&self, seen: Seen) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
    }
    /// What was noted since the last time.
    pub(crate) fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
    pub(crate) fn round(&self) -> u64 {
        self.round.load(Ordering::SeqCst)
    }
    /// Has all workers hand over.
    pub(crate) fn next_round(&self) {
        self.round.fetch_add(1, Ordering::SeqCst);
    }
    pub(crate) fn hand_over(&self, costs: impl IntoIterator<Item = Costs>) {
        self.costs.lock().unwrap_or_else(PoisonError::into_inner).extend(costs);
    }
    pub(crate) fn take_costs(&self) -> Vec<Costs> {
        std::mem::take(&mut self.costs.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
