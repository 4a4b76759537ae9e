//! How exactly something happens that should happen every interval.

use crate::os;
use crate::stall::StallMeter;
use base::{Duration, Instant};

/// Times of one slice, as lateness against the earliest: t_i - i * interval, less the smallest of those. What a stall of the
/// machine overlaps is left out; returns how many that were.
#[must_use]
pub fn lateness(times: &[Instant], interval: Duration, meter: &StallMeter) -> (Vec<Duration>, u64) {
    let mut voids = 0;
    let Some(first) = times.first() else { return (Vec::new(), 0) };
    let mut residues = Vec::with_capacity(times.len());
    for time in times {
        if meter.overlaps(*time - interval, *time, interval / 2).is_some() {
            voids += 1;
            continue;
        }
        let since = time.since(*first).0 + interval.0;
        let turns = (since + interval.0 / 2) / interval.0;
        // Can be earlier than the first's grid by less than half an interval.
        residues.push(since as i64 - (turns * interval.0) as i64);
    }
    let earliest = residues.iter().min().copied().unwrap_or(0);
    let late = residues.iter().map(|it| Duration(it.abs_diff(earliest))).collect();
    (late, voids)
}

/// A bare SCHED_FIFO loop on a core that wakes every interval from `begin` on and does nothing else: what this machine's timer
/// can do. It is just above the fast path.
#[must_use]
pub fn bare(core: usize, interval: Duration, begin: Instant, until: Instant) -> Vec<Instant> {
    let wakes = || {
        let ready = os::pin(core).and_then(|()| os::realtime(PRIORITY));
        if let Err(error) = ready {
            eprintln!("the bare timer is not on its core in real time: {error}");
        }
        // SAFETY: takes no pointer; concerns this thread only.
        unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
        let mut times = Vec::with_capacity((until.since(begin).0 / interval.0) as usize + 1);
        let mut due = begin;
        while due < until && !os::interrupted() {
            os::sleep_until(due);
            times.push(os::now());
            due += interval;
        }
        times
    };
    std::thread::scope(|scope| scope.spawn(wakes).join()).unwrap_or_default()
}

/// One above the fast path's default.
const PRIORITY: i32 = 51;

/// The value that a share of the sorted values does not exceed.
#[must_use]
pub fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// The median of what each slice has at a quantile.
#[must_use]
pub fn median_of(slices: &[Vec<Duration>], share: f64) -> Duration {
    let of = |slice: &Vec<Duration>| {
        let mut sorted = slice.clone();
        sorted.sort_unstable();
        quantile(&sorted, share)
    };
    let mut each: Vec<_> = slices.iter().filter(|slice| !slice.is_empty()).map(of).collect();
    each.sort_unstable();
    quantile(&each, 0.5)
}

#[cfg(test)]
mod tests {
    use super::{lateness, median_of, quantile};
    use crate::stall::StallMeter;
    use base::{Duration, Instant};

    #[test]
    fn lateness_is_against_the_earliest_of_the_grid() {
        let meter = StallMeter::start();
        let ms = Duration::from_millis;
        // Far in the future: no stall lies there. The second is early by 3, the fourth is missing.
        let at = |us: u64| Instant(u64::MAX / 2) + Duration::from_micros(us);
        let times = [at(0), at(9_997), at(20_050), at(40_000)];
        let (late, voids) = lateness(&times, ms(10), &meter);
        assert_eq!((late, voids), ([3, 0, 53, 3].map(Duration::from_micros).to_vec(), 0));
        assert!(lateness(&[], ms(10), &meter).0.is_empty());
    }

    #[test]
    fn the_median_over_slices_is_one_slices_quantile() {
        let slice = |us: [u64; 3]| us.map(Duration::from_micros).to_vec();
        let slices = [slice([1, 2, 3]), slice([7, 5, 6]), slice([20, 40, 30]), Vec::new()];
        assert_eq!(median_of(&slices, 0.5), Duration::from_micros(6));
        assert_eq!(median_of(&slices, 0.9), Duration::from_micros(7));
        assert_eq!(quantile(&[], 0.5), Duration::ZERO);
    }
}
