//! Real time, which nobody in the cluster can read, and the clocks of the nodes, which run apart
//! from it.

use base::{Duration, Instant};

/// A point in real time, in nanoseconds since the world began.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Real(pub u64);

impl Real {
    /// Never.
    pub const MAX: Self = Self(u64::MAX);

    /// That much later.
    #[must_use]
    pub const fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span.0))
    }
    /// Time from `earlier` to `self`.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration(self.0.saturating_sub(earlier.0))
    }
}

impl std::fmt::Debug for Real {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", Duration(self.0))
    }
}

/// One machine's CLOCK_BOOTTIME: begins anywhere, runs a little fast or slow, and changes its rate
/// while it runs. (Steps of the wall clock do not exist here: no core and no model reads it.)
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clock {
    /// Since when it has run at this rate.
    since: Real,
    /// What it showed then.
    shown: u64,
    /// Rate error in parts per million.
    rate_ppm: i64,
}

const MILLION: i128 = 1_000_000;
/// Two hours in ns: below that, a million times as much fits 63 bits, and so does any rate error.
const SHORT: i64 = 2 * 3_600 * 1_000_000_000;

impl Clock {
    /// One that shows `offset` when the world begins.
    #[must_use]
    pub const fn new(offset: u64, rate_ppm: i64) -> Self {
        Self { since: Real(0), shown: offset, rate_ppm }
    }
    /// From `real` on it runs at another rate; it does not jump.
    pub fn set_rate(&mut self, real: Real, rate_ppm: i64) {
        self.shown = self.local(real).0;
        (self.since, self.rate_ppm) = (real, rate_ppm);
    }
    /// What it shows at `real`, which is not before the last change of its rate.
    #[must_use]
    pub fn local(&self, real: Real) -> Instant {
        if real == Real::MAX {
            return Instant::MAX;
        }
        let run = real.since(self.since).0;
        // All but long runs fit a machine word, and this is asked all the time.
        let run = match i64::try_from(run).ok().filter(|run| *run < SHORT) {
            Some(run) => run + (run * self.rate_ppm).div_euclid(MILLION as i64),
            None => i64::try_from(i128::from(run) * self.rate() / MILLION).unwrap_or(i64::MAX),
        };
        Instant(self.shown + u64::try_from(run).unwrap_or(0))
    }
    /// The first moment at which it shows `local` or later.
    #[must_use]
    pub fn real(&self, local: Instant) -> Real {
        if local == Instant::MAX {
            return Real::MAX;
        }
        let run = local.0.saturating_sub(self.shown);
        let span = match i64::try_from(run).ok().filter(|run| *run < SHORT) {
            Some(run) => {
                let (million, rate) = (MILLION as i64, self.rate() as i64);
                u64::try_from((run * million).div_euclid(rate)).unwrap_or(u64::MAX - 1)
            }
            None => {
                let span = (i128::from(run) * MILLION).div_euclid(self.rate());
                u64::try_from(span).unwrap_or(u64::MAX - 1)
            }
        };
        let mut real = self.since.after(Duration(span));
        while self.local(real) < local {
            real.0 += 1;
        }
        real
    }
    fn rate(&self) -> i128 {
        MILLION + i128::from(self.rate_ppm)
    }
}

#[cfg(test)]
mod tests {
    use super::{Clock, Real};

    #[test]
    fn a_clock_shows_what_it_is_asked_for_and_not_a_moment_before() {
        for rate_ppm in [-1_000, -7, 0, 333, 1_000] {
            let clock = Clock::new(12_345, rate_ppm);
            for real in [0, 1, 999, 1_000_001, 7_777_777_777, 10_000_000_000_001] {
                let local = clock.local(Real(real));
                let back = clock.real(local);
                assert!(clock.local(back) >= local && back <= Real(real));
                assert!(back.0 == 0 || clock.local(Real(back.0 - 1)) < local);
            }
        }
        let fast = Clock::new(0, 1_000);
        assert_eq!(fast.local(Real(1_000_000)).0, 1_001_000);
    }

    #[test]
    fn a_change_of_rate_is_no_jump() {
        let mut clock = Clock::new(0, 1_000);
        clock.set_rate(Real(1_000_000), -1_000);
        assert_eq!(clock.local(Real(1_000_000)).0, 1_001_000);
        assert_eq!(clock.local(Real(2_000_000)).0, 2_000_000);
        assert_eq!(clock.real(clock.local(Real(1_500_000))), Real(1_500_000));
    }
}
