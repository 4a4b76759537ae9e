//! How often frames may wake the loop. Each costs little and a wake-up much: with 128 nodes there would be 13,000 a second.
//! So frames that come thick are taken several at a time. Nothing is judged later for that: a frame's time is the kernel's
//! stamp. The timer, and the end of control, always wake.
//!
//! A token bucket: one wake-up per [`Pacing::gap`], and some at once, so that in a small cluster every frame is heard when
//! it comes.

use base::{Duration, Instant};

/// Wake-ups in a row that are free.
const BURST: u64 = 8;
/// Gaps in an interval. A lease that rests on echoes is renewed later by a gap at most.
const GAPS: u64 = 10;

/// When the loop may wake for frames next.
#[derive(Debug, Default)]
pub struct Pacing {
    /// When the bucket is full.
    full: Instant,
}

impl Pacing {
    /// Between two wake-ups when the bucket is empty.
    #[must_use]
    pub const fn gap(interval: Duration) -> Duration {
        Duration(interval.0 / GAPS)
    }

    /// The loop wakes at `now`.
    pub fn woke(&mut self, now: Instant, interval: Duration) {
        self.full = self.full.max(now) + Self::gap(interval);
    }

    /// True if frames may wake the loop at `now`.
    #[must_use]
    pub fn may_wake(&self, now: Instant, interval: Duration) -> bool {
        self.until(interval) <= now
    }

    /// Until when the loop does not wake for frames; earlier than now if it may.
    #[must_use]
    pub fn until(&self, interval: Duration) -> Instant {
        self.full - Self::gap(interval) * (BURST - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::{BURST, Pacing};
    use base::{Duration, Instant};

    const INTERVAL: Duration = Duration::from_millis(10);

    /// Wakes in so many microseconds if a frame comes every `every` of them.
    fn wakes(every: u64, span: u64) -> u64 {
        let (mut pacing, mut count) = (Pacing::default(), 0);
        let start = Instant(1_000_000_000_000);
        let (mut next, mut now) = (start, start);
        while now < start + Duration::from_micros(span) {
            now = next.max(pacing.until(INTERVAL));
            pacing.woke(now, INTERVAL);
            count += 1;
            while next <= now {
                next += Duration::from_micros(every);
            }
        }
        count
    }

    #[test]
    fn few_frames_wake_each_and_many_a_tenth_of_an_interval_apart() {
        assert_eq!(wakes(2_500, 1_000_000), 401, "a cluster of five: each");
        let many = wakes(80, 1_000_000);
        assert!((1_000..=1_000 + BURST + 1).contains(&many), "{many}");
    }

    #[test]
    fn after_a_pause_some_are_free_again() {
        let mut pacing = Pacing::default();
        let mut now = Instant(1_000_000_000_000);
        for _ in 0..2 {
            for _ in 0..BURST {
                assert!(pacing.until(INTERVAL) <= now);
                pacing.woke(now, INTERVAL);
            }
            assert_eq!(pacing.until(INTERVAL), now + Pacing::gap(INTERVAL));
            now += INTERVAL;
        }
    }
}
