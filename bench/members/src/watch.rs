//! What the bench knows of the cluster, by what the nodes have seen.

use crate::shared::{Seen, Shared};
use anyhow::{Result, bail};
use base::{Duration, Instant};
use std::collections::BTreeMap;
use testbed::os;
use wire::{NodeId, NodeSet};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(1);

/// The last of everything, by node.
pub(crate) struct Watch<'a> {
    shared: &'a Shared,
    views: BTreeMap<NodeId, (NodeSet, Instant)>,
    power: BTreeMap<NodeId, Instant>,
    /// Who called whom silent, since the last [`Watch::forget_suspicions`].
    suspects: BTreeMap<(NodeId, NodeId), Instant>,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(shared: &'a Shared) -> Self {
        let (views, power, suspects) = Default::default();
        Self { shared, views, power, suspects }
    }

    fn look(&mut self) -> Result<()> {
        for seen in self.shared.take_seen() {
            match seen {
                Seen::Power { who, at } => {
                    self.views.remove(&who);
                    self.power.insert(who, at);
                }
                Seen::Suspects { by, whom, at } => {
                    self.suspects.entry((whom, by)).or_insert(at);
                }
                Seen::View { by, members, at } => {
                    self.views.insert(by, (members, at));
                }
                Seen::Ended { who, why } => bail!("the life of n{who} is over: {why}"),
            }
        }
        Ok(())
    }

    /// Waits until each of `members` has the view of just these. Returns when the first and the last had it.
    pub(crate) fn until_view(
        &mut self,
        what: &str,
        members: NodeSet,
        limit: Duration,
    ) -> Result<(Instant, Instant)> {
        let begin = os::now();
        loop {
            self.look()?;
            let view = |node| self.views.get(&node).filter(|(view, _)| *view == members);
            let known: Vec<Instant> = members.iter().filter_map(view).map(|(_, at)| *at).collect();
            let ends = known.iter().min().zip(known.iter().max());
            if let Some((first, last)) = ends.filter(|_| known.len() == members.len()) {
                return Ok((*first, *last));
            }
            if os::interrupted() {
                bail!("interrupted");
            }
            if os::now().since(begin) >= limit {
                bail!("{what}: {} of {} nodes know it after {limit}", known.len(), members.len());
            }
            os::sleep(LOOK);
        }
    }

    /// When a node was last switched.
    pub(crate) fn switched(&self, node: NodeId) -> Instant {
        self.power.get(&node).copied().unwrap_or(Instant::ZERO)
    }

    pub(crate) fn forget_suspicions(&mut self) {
        self.suspects.clear();
    }

    /// When the last of so many of `voters` called a node silent.
    pub(crate) fn suspected(
        &self,
        whom: NodeId,
        voters: NodeSet,
        needed: usize,
    ) -> Option<Instant> {
        let mut all: Vec<Instant> =
            voters.iter().filter_map(|by| self.suspects.get(&(whom, by)).copied()).collect();
        all.sort_unstable();
        all.get(needed.checked_sub(1)?).copied()
    }
}
