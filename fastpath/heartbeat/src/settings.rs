//! What a life is told at its start.

use base::Duration;
use wire::{Life, NodeSet};

/// Settings of one life.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Settings {
    /// This life.
    pub me: Life,
    /// Time between two beats.
    pub interval: Duration,
    /// Intervals of silence that make a suspect.
    pub misses: u32,
    /// Bound of a clock's rate error, ρ, in parts per million.
    pub rate_ppm: u32,
    /// g: the time to store a lease and to read it.
    pub margin: Duration,
    /// How many links, 1..=4.
    pub links: u8,
    /// Configured nodes, this one included.
    pub nodes: NodeSet,
    /// Rules that are switched off to see the checkers bite. Empty in the product.
    #[cfg(feature = "mutations")]
    pub mutations: &'static [&'static str],
}

impl Settings {
    /// D = interval × misses, in whole microseconds, as beats declare it: the lease must not be longer by the rest.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        let deadline = self.interval * u64::from(self.misses);
        Duration::from_micros(deadline.micros())
    }

    /// Time between two beats as they are sent: a 64th shorter than the interval. The third beat after one that was heard
    /// then arrives before the deadline and not at its very moment: two lost beats are not a race.
    #[must_use]
    pub fn cadence(&self) -> Duration {
        self.interval.saturating_sub(self.interval / 64)
    }

    /// L = D·(1−2ρ) − g (PROTOCOL 5.2). The holder's clock may run slow by ρ while the peer's runs fast by ρ; with this
    /// L the lease has ended in real time before the peer's D has passed. 10 ms × 3, 1000 ppm, 50 µs: 29.89 ms.
    #[must_use]
    pub fn lease(&self) -> Duration {
        let deadline = self.deadline();
        if self.off("margin") {
            return deadline;
        }
        let rates = Duration(deadline.0.saturating_mul(2 * u64::from(self.rate_ppm)) / 1_000_000);
        deadline.saturating_sub(rates).saturating_sub(self.margin)
    }

    /// True if the named rule is switched off.
    #[cfg(feature = "mutations")]
    pub(crate) fn off(&self, rule: &str) -> bool {
        self.mutations.contains(&rule)
    }
    /// No rule is ever off in the product.
    #[cfg(not(feature = "mutations"))]
    #[allow(clippy::unused_self, reason = "the same call with and without the feature")]
    pub(crate) const fn off(&self, _rule: &str) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::Settings;
    use base::Duration;
    use wire::{Incarnation, Life, NodeId, NodeSet};

    #[test]
    fn the_lease_is_shorter_than_the_deadline_by_both_clocks_and_the_margin() {
        let me = Life { node: NodeId::new(1).unwrap(), incarnation: Incarnation(1) };
        let settings = Settings {
            me,
            interval: Duration::from_millis(10),
            misses: 3,
            rate_ppm: 1_000,
            margin: Duration::from_micros(50),
            links: 1,
            nodes: NodeSet(7),
            #[cfg(feature = "mutations")]
            mutations: &[],
        };
        assert_eq!(settings.lease(), Duration::from_micros(29_890));
    }
}
