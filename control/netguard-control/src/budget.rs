//! The detection budget: how long the peers may have to wait for this node's next beat, by what the fast path has measured
//! of the last minutes. A deadline below it makes them suspect a node that lives.

use base::{Duration, Instant};
use shm::measures::{Measures, Spread};
use wire::{NodeId, NodeSet};

/// Code of the alarm, and name of the number.
pub const CODE: &str = "detection-budget";

/// Distance of two looks: a look copies a histogram of each peer.
const EVERY: Duration = Duration::from_millis(1_000);
/// A measurement forgets what is older than twice this.
const WINDOW: Duration = Duration::from_millis(600_000);
/// Wake-ups before anything is said: one of so many is the share that is told.
const WAKES: u64 = 10_000;
/// Shares of the wake-ups and of the beats that are not later, in a million.
const WAKES_SHARE: u32 = 999_900;
const BEATS_SHARE: u32 = 999_000;

/// What the budget is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Detection {
    /// Between two beats.
    pub interval: Duration,
    /// Wake-ups of the fast path are late by this (99.99 %).
    pub late: Duration,
    /// The ways to the peers vary by this (99.9 %; the worst peer).
    pub jitter: Duration,
    /// Interval times misses.
    pub deadline: Duration,
}

impl Detection {
    /// The longest wait for a next beat.
    #[must_use]
    pub fn budget(&self) -> Duration {
        self.interval + self.late + self.jitter
    }

    /// The alarm, if the deadline is shorter than the budget. One that is `raised` stays until there is some room again.
    #[must_use]
    pub fn alarm(&self, raised: Option<Instant>, now: Instant) -> Option<node::Alarm> {
        let limit = if raised.is_some() { self.deadline * 9 / 10 } else { self.deadline };
        let budget = self.budget();
        if budget <= limit {
            return None;
        }
        let misses = budget.0.div_ceil(self.interval.0.max(1)) + 1;
        Some(node::Alarm {
            code: CODE,
            severity: node::Severity::Warning,
            message: format!(
                "the peers may have to wait {budget} for a beat of this node (interval {}, wake-ups late by {}, jitter {}), \
                 and suspect it after {}",
                self.interval, self.late, self.jitter, self.deadline
            ),
            remedy: format!(
                "isolate the core of the fast path (`ng doctor` names what is missing), or set heartbeat_misses = {misses} \
                 or a longer heartbeat_interval"
            ),
            since: raised.unwrap_or(now),
        })
    }
}

/// What is compared with: histograms only grow.
#[derive(Clone, Debug, Default)]
struct Base {
    lateness: Spread,
    outgoing: Vec<(NodeId, Spread)>,
}

impl Base {
    fn copy(measures: &Measures, peers: NodeSet) -> Self {
        let outgoing = |node| (node, measures.peer(node).outgoing.snapshot());
        Self {
            lateness: measures.lateness.snapshot(),
            outgoing: peers.iter().map(outgoing).collect(),
        }
    }

    fn jitter_since(&self, before: &Self) -> Option<Duration> {
        let worst = |(node, spread): &(NodeId, Spread)| {
            let base = before.outgoing.iter().find(|(known, _)| known == node);
            let since = base.map_or_else(|| spread.clone(), |(_, base)| spread.since(base));
            since.quantile(BEATS_SHARE)
        };
        self.outgoing.iter().filter_map(worst).max()
    }
}

/// Looks at the measurements now and then.
#[derive(Debug)]
pub struct Budget {
    due: Instant,
    /// Begin of this window, and of the one before.
    bases: [(Instant, Base); 2],
    found: Option<Detection>,
}

impl Budget {
    /// Nothing measured yet; `now` is the begin of this life.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let base = || (now, Base::default());
        Self { due: now, bases: [base(), base()], found: None }
    }

    /// What was found last; none while too little is measured.
    #[must_use]
    pub const fn found(&self) -> Option<Detection> {
        self.found
    }

    /// Looks if it is time to. The settings are those in force.
    pub fn look(
        &mut self,
        now: Instant,
        measures: &Measures,
        peers: NodeSet,
        (interval, deadline): (Duration, Duration),
    ) {
        if now < self.due {
            return;
        }
        self.due = now + EVERY;
        let seen = Base::copy(measures, peers);
        let [current, before] = &mut self.bases;
        let lateness = seen.lateness.since(&before.1.lateness);
        if lateness.count() >= WAKES {
            self.found = Some(Detection {
                interval,
                late: lateness.quantile(WAKES_SHARE).unwrap_or_default(),
                jitter: seen.jitter_since(&before.1).unwrap_or_default(),
                deadline,
            });
        }
        if now >= current.0 + WINDOW {
            *before = std::mem::replace(current, (now, seen));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, CODE, Detection, EVERY, WAKES, WINDOW};
    use base::{Duration, Instant};
    use shm::Map;
    use wire::{NodeId, NodeSet};

    const SETTINGS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(30));

    fn peers() -> NodeSet {
        [NodeId::new(2).unwrap(), NodeId::new(3).unwrap()].into_iter().collect()
    }

    /// So many wake-ups, the last of each thousand late.
    fn wake(map: &Map, thousands: u64, late_ms: u64) {
        for _ in 0..thousands {
            (1..1_000).for_each(|_| map.measures().lateness.record(Duration::from_micros(30)));
            map.measures().lateness.record(Duration::from_millis(late_ms));
        }
    }

    #[test]
    fn too_few_wake_ups_say_nothing_and_then_the_rare_late_one_counts() {
        let map = Map::nameless().unwrap();
        let mut budget = Budget::new(Instant(0));
        wake(&map, WAKES / 1_000 - 1, 25);
        budget.look(Instant(1), map.measures(), peers(), SETTINGS);
        assert_eq!(budget.found(), None);
        wake(&map, 1, 25);
        for _ in 0..1_000 {
            map.measures().peer(NodeId::new(3).unwrap()).outgoing.record(Duration::from_millis(2));
        }
        budget.look(Instant(1) + EVERY, map.measures(), peers(), SETTINGS);
        let found = budget.found().unwrap();
        assert_eq!((found.late.millis(), found.jitter.millis()), (25, 2));
        assert_eq!(found.budget().millis(), 37);
    }

    #[test]
    fn what_is_old_is_forgotten() {
        let map = Map::nameless().unwrap();
        let mut budget = Budget::new(Instant(0));
        let mut now = Instant(1);
        let mut minutes = |late, ten| {
            for _ in 0..ten {
                wake(&map, 10, late);
                now += WINDOW;
                budget.look(now, map.measures(), peers(), SETTINGS);
            }
            budget.found().unwrap().late.millis()
        };
        assert_eq!(minutes(25, 1), 25);
        assert_eq!(minutes(1, 1), 25, "still in the window before");
        assert_eq!(minutes(1, 2), 1);
    }

    #[test]
    fn the_alarm_comes_when_the_deadline_is_shorter_and_goes_when_there_is_room() {
        let of = |late_ms| Detection {
            interval: SETTINGS.0,
            late: Duration::from_millis(late_ms),
            jitter: Duration::ZERO,
            deadline: SETTINGS.1,
        };
        assert_eq!(of(20).alarm(None, Instant(5)), None, "just enough");
        let raised = of(21).alarm(None, Instant(5)).unwrap();
        assert_eq!((raised.code, raised.since), (CODE, Instant(5)));
        assert!(raised.message.contains("31.000 ms"), "{}", raised.message);
        assert!(raised.remedy.contains("heartbeat_misses = 5"), "{}", raised.remedy);
        assert_eq!(of(18).alarm(Some(Instant(5)), Instant(9)).unwrap().since, Instant(5));
        assert_eq!(of(17).alarm(Some(Instant(5)), Instant(9)), None);
    }
}
