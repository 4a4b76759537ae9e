//! I3: every node is told the same views in the same order. S1: at one log position every node's
//! planner is in the same state.

use super::Violation;
use membership::View;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Bound;
use wire::{Life, Op};

/// What the nodes were told.
#[derive(Debug, Default)]
pub struct Views {
    agreed: BTreeMap<(u32, Op), u64>,
    /// The last view of each life, to see the order and the gaps.
    last: BTreeMap<Life, (u32, Op)>,
    /// The last snapshot that each life installed: views up to there are not told.
    installed: BTreeMap<Life, (u32, Op)>,
    planned: BTreeMap<(u32, Op), (Life, u64)>,
    current: BTreeMap<Life, View>,
}

fn digest(of: &impl std::fmt::Debug) -> u64 {
    let mut hasher = DefaultHasher::new();
    format!("{of:?}").hash(&mut hasher);
    hasher.finish()
}

impl Views {
    /// A node is told a view.
    pub fn told(&mut self, by: Life, view: &View) -> Result<(), Violation> {
        let key = (view.era, view.number);
        self.current.insert(by, view.clone());
        if view.number == Op::ZERO {
            // "The era is over": no view.
            return Ok(());
        }
        let mine = digest(&view.members);
        if *self.agreed.entry(key).or_insert(mine) != mine {
            let text = format!("{by:?} is told another view {key:?}: {view:?}");
            return Violation::found("I3 one order", text);
        }
        let last = self.last.insert(by, key).unwrap_or_default();
        if key <= last {
            let text = format!("{by:?} is told view {key:?} after {last:?}");
            return Violation::found("I3 one order", text);
        }
        let installed = self.installed.get(&by).copied().unwrap_or_default();
        let since = last.max(installed);
        let missed = || self.agreed.range((Bound::Excluded(since), Bound::Excluded(key))).next();
        // A snapshot may be ahead of the view that it has: then nothing lies between.
        let between = (last.0 == key.0 && since < key).then(missed).flatten();
        if let Some((missed, _)) = between {
            let text = format!("{by:?} is told view {key:?} after {last:?}, not {missed:?}");
            return Violation::found("I3 one order", text);
        }
        Ok(())
    }

    /// A life has installed a snapshot at `op`: it goes on from there.
    pub fn installed(&mut self, by: Life, era: u32, op: Op) {
        self.installed.insert(by, (era, op));
    }

    /// What a life was told last.
    #[must_use]
    pub fn current(&self, life: Life) -> Option<&View> {
        self.current.get(&life)
    }

    /// A node's state after all it has committed: `bytes` are all of it, `state` is for the eyes.
    pub fn planned(
        &mut self,
        by: Life,
        era: u32,
        op: Op,
        bytes: &[u8],
        state: &impl std::fmt::Debug,
    ) -> Result<(), Violation> {
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        let mine = hasher.finish();
        let (first, known) = *self.planned.entry((era, op)).or_insert((by, mine));
        if known == mine {
            return Ok(());
        }
        let text =
            format!("{by:?} has another state after era {era}, {op:?} than {first:?}: {state:?}");
        Violation::found("S1 one state", text)
    }
}

#[cfg(test)]
mod tests {
    use super::Views;
    use crate::shape::id;
    use membership::{Member, View};
    use wire::{Incarnation, Life, NodeId, Op, Stint};

    fn life(n: u8) -> Life {
        Life { node: id(n), incarnation: Incarnation(1) }
    }
    fn view(number: u64, nodes: &[u8]) -> View {
        let member = |n: NodeId| Member {
            life: Life { node: n, incarnation: Incarnation(1) },
            stint: Stint(2),
        };
        let members = nodes.iter().map(|n| (id(*n), member(id(*n)))).collect();
        View { number: Op(number), era: 1, members, ..View::default() }
    }

    #[test]
    fn another_content_a_gap_and_a_step_back_are_seen() {
        let mut views = Views::default();
        for number in [4, 6, 9] {
            views.told(life(1), &view(number, &[1, 2])).unwrap();
        }
        assert!(views.told(life(2), &view(4, &[1, 2])).is_ok());
        assert!(views.told(life(2), &view(9, &[1, 2])).is_err(), "view 6 is missing");
        assert!(views.told(life(1), &view(6, &[1, 2])).is_err(), "backwards");
        assert!(views.told(life(3), &view(4, &[1, 3])).is_err(), "other members");
    }

    #[test]
    fn a_snapshot_excuses_the_views_that_it_stands_for_and_no_other() {
        let mut views = Views::default();
        for number in [4, 6, 9, 12] {
            views.told(life(1), &view(number, &[1, 2])).unwrap();
        }
        views.told(life(2), &view(4, &[1, 2])).unwrap();
        views.installed(life(2), 1, Op(10));
        assert!(views.told(life(2), &view(9, &[1, 2])).is_ok());
        assert!(views.told(life(2), &view(12, &[1, 2])).is_ok());
        views.told(life(3), &view(4, &[1, 2])).unwrap();
        views.installed(life(3), 1, Op(7));
        assert!(views.told(life(3), &view(12, &[1, 2])).is_err(), "view 9 is missing");
    }
}
