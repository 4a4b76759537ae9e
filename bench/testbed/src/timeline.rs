//! One failover put together: the cut and the first answer from the bed, the steps between from
//! every survivor.

use api::{Failover, FailoverService};
use base::{Duration, Instant};

/// What the survivors of one cut recorded, with what the bed saw.
#[derive(Clone, Debug)]
pub struct Timeline {
    /// Just before the ports went down.
    pub cut: Instant,
    /// The first answer of the new owner at the client.
    pub answer: Instant,
    /// The records, by node.
    pub records: Vec<(u8, Failover)>,
}

impl Timeline {
    /// When the slowest survivor knew the removal agreed.
    #[must_use]
    pub fn agreed(&self) -> Option<Instant> {
        self.latest(|it| it.agreed_ns)
    }

    /// The latest deadline of a survivor: no majority can seal before it.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.latest(|it| it.deadline_ns)
    }

    /// When the last survivor could acknowledge the removal.
    #[must_use]
    pub fn sealed(&self) -> Option<Instant> {
        self.latest(|it| it.sealed_ns)
    }

    /// The last beat that any survivor heard.
    #[must_use]
    pub fn last_heard(&self) -> Option<Instant> {
        self.latest(|it| it.last_heard_ns)
    }

    fn latest(&self, stamp: impl Fn(&Failover) -> Option<u64>) -> Option<Instant> {
        self.records.iter().filter_map(|(_, it)| stamp(it)).max().map(Instant)
    }

    /// The record of the service on its new owner, which alone has the drivers' stamps.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&FailoverService> {
        let mut all = self.records.iter().flat_map(|(_, it)| &it.services);
        all.find(|it| it.name == name && it.driver_ended_ns.is_some())
    }

    /// The steps in order, each with its time from the cut.
    #[must_use]
    pub fn steps(&self, service: &str) -> Vec<(&'static str, f64)> {
        let driver = self.service(service);
        let stamps = [
            ("last beat", self.last_heard()),
            ("cut", Some(self.cut)),
            ("deadline", self.deadline()),
            ("sealed", self.sealed()),
            ("agreed", self.agreed()),
            ("driver began", driver.and_then(|it| it.driver_began_ns).map(Instant)),
            ("address up", driver.and_then(|it| it.driver_ended_ns).map(Instant)),
            ("answer", Some(self.answer)),
        ];
        let from_cut = |at: Instant| (at.0 as f64 - self.cut.0 as f64) / 1e6;
        stamps.into_iter().filter_map(|(step, at)| Some((step, from_cut(at?)))).collect()
    }

    /// From the deadline to the answer at the client.
    #[must_use]
    pub fn deadline_to_answer(&self) -> Option<Duration> {
        self.deadline().map(|it| self.answer.since(it))
    }

    /// From the cut until the slowest survivor knew it agreed.
    #[must_use]
    pub fn cut_to_agreed(&self) -> Option<Duration> {
        self.agreed().map(|it| it.since(self.cut))
    }
}

#[cfg(test)]
mod tests {
    use super::Timeline;
    use api::{Failover, FailoverService};
    use base::{Duration, Instant};

    const MS: u64 = 1_000_000;

    #[test]
    fn the_slowest_survivor_counts() {
        let record = |deadline: u64, agreed: u64| Failover {
            deadline_ns: Some(deadline * MS),
            agreed_ns: Some(agreed * MS),
            last_heard_ns: Some(95 * MS),
            ..Failover::default()
        };
        let mut owner = record(124, 127);
        owner.services.push(FailoverService {
            name: "floating".into(),
            driver_ended_ns: Some(128 * MS),
            ..FailoverService::default()
        });
        let timeline = Timeline {
            cut: Instant(100 * MS),
            answer: Instant(129 * MS),
            records: vec![(2, owner), (3, record(125, 126))],
        };
        assert_eq!(timeline.cut_to_agreed(), Some(Duration::from_millis(27)));
        assert_eq!(timeline.deadline_to_answer(), Some(Duration::from_millis(4)));
        let steps = timeline.steps("floating");
        assert_eq!(steps.first(), Some(&("last beat", -5.0)));
        assert!(steps.contains(&("address up", 28.0)), "{steps:?}");
    }
}
