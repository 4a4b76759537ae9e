//! When a service may go back to the node that comes first: the owner proposes it by an entry,
//! once that node has been able to have it without a break for a while. The planner decides by the
//! log alone; only the wait is measured here, by the one node whose word starts the move.

use alloc::collections::BTreeMap;
use base::{Duration, Instant};
use wire::{Generation, NodeId, ServiceId};

/// How long the preferred node must have been back.
pub const FAIL_BACK_AFTER: Duration = Duration::from_millis(3_000);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Watch {
    generation: Generation,
    to: NodeId,
    since: Instant,
    proposed: bool,
}

/// The services of this node that should go elsewhere.
#[derive(Clone, Debug, Default)]
pub struct FailBack(BTreeMap<ServiceId, Watch>);

impl FailBack {
    /// Notes where a service of this node should be; true if the move is to be proposed now.
    pub fn watch(
        &mut self,
        now: Instant,
        service: ServiceId,
        target: Option<(Generation, NodeId)>,
    ) -> bool {
        let Some((generation, to)) = target else {
            self.0.remove(&service);
            return false;
        };
        let fresh = Watch { generation, to, since: now, proposed: false };
        let watch = self.0.entry(service).or_insert(fresh);
        if (watch.generation, watch.to) != (generation, to) {
            *watch = fresh;
        }
        let due = !watch.proposed && now.since(watch.since) >= FAIL_BACK_AFTER;
        watch.proposed |= due;
        due
    }
    /// When the next proposal is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.0.values().filter(|w| !w.proposed).map(|w| w.since + FAIL_BACK_AFTER).min()
    }
}

#[cfg(test)]
mod tests {
    use super::{FAIL_BACK_AFTER, FailBack};
    use base::{Duration, Instant};
    use wire::{Generation, NodeId, ServiceId};

    #[test]
    fn the_wait_begins_anew_with_every_break_and_the_proposal_comes_once() {
        let (service, node) = (ServiceId(0), NodeId::new(1).unwrap());
        let target = Some((Generation(3), node));
        let mut back = FailBack::default();
        assert!(!back.watch(Instant(0), service, target));
        assert_eq!(back.deadline(), Some(Instant(0) + FAIL_BACK_AFTER));
        let late = Instant(0) + FAIL_BACK_AFTER;
        assert!(!back.watch(late - Duration(1), service, None), "it went away");
        assert!(!back.watch(late, service, target));
        assert!(back.watch(late + FAIL_BACK_AFTER, service, target));
        assert!(!back.watch(late + FAIL_BACK_AFTER, service, target));
        assert_eq!(back.deadline(), None);
    }
}
