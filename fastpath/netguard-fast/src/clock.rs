//! The one clock: CLOCK_BOOTTIME, through the vDSO (about 32 ns). And a watch on the wall clock, which the kernel stamps
//! datagrams with.

use base::Instant;

/// The wall clock was set if it moved by more than this against the one clock between two turns.
const STEP_NS: u64 = 1_000_000;

/// Now. Counts suspended time too, so a lease does not outlive a suspend.
#[must_use]
pub fn now() -> Instant {
    Instant(read(libc::CLOCK_BOOTTIME) as u64)
}

/// Nanoseconds of a clock.
fn read(clock: libc::clockid_t) -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec that outlives the call. The call cannot fail: both clocks exist since
    // Linux 2.6.39.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}

/// Watches whether the wall clock is set.
#[derive(Debug)]
pub struct Wall {
    /// How far it was ahead of the one clock.
    ahead: i64,
}

impl Default for Wall {
    fn default() -> Self {
        Self { ahead: Self::ahead() }
    }
}

impl Wall {
    /// False if it was set since the last call.
    pub fn is_steady(&mut self) -> bool {
        self.stays(Self::ahead())
    }

    fn stays(&mut self, ahead: i64) -> bool {
        ahead.abs_diff(std::mem::replace(&mut self.ahead, ahead)) <= STEP_NS
    }

    fn ahead() -> i64 {
        // A thread that loses its core in between sees a step that was none,
        // and does without stamps for one turn.
        let wall = read(libc::CLOCK_REALTIME);
        wall.saturating_sub(read(libc::CLOCK_BOOTTIME))
    }
}

/// How far a time namespace puts this process's clock from the kernel's, as the kernel writes it.
/// The gate's programs read the kernel's clock: with an offset it would close too late, or never.
#[must_use]
pub fn offset() -> Option<String> {
    offset_in(&std::fs::read_to_string("/proc/self/timens_offsets").ok()?)
}

/// In text as `boottime SECONDS NANOSECONDS`; kernels before 5.6 have no such file.
fn offset_in(offsets: &str) -> Option<String> {
    let line = offsets.lines().find_map(|line| line.trim_start().strip_prefix("boottime"))?;
    let zero = line.split_whitespace().all(|number| number == "0");
    (!zero).then(|| line.split_whitespace().collect::<Vec<_>>().join(" s "))
}

#[cfg(test)]
mod tests {
    use super::{Wall, offset_in};

    #[test]
    fn a_step_of_the_wall_clock_is_seen_once() {
        let mut wall = Wall { ahead: 5_000_000_000 };
        assert!(wall.stays(5_000_900_000), "slewed");
        assert!(!wall.stays(9_000_000_000), "set forward");
        assert!(wall.stays(9_000_000_000));
        assert!(!wall.stays(4_000_000_000), "set back");
    }

    #[test]
    fn an_offset_of_the_boot_clock_is_seen_and_only_that() {
        let offsets =
            |boottime| format!("monotonic         500         0\nboottime   {boottime}\n");
        assert_eq!(offset_in(&offsets("        0         0")), None);
        assert_eq!(offset_in(&offsets("      100         7")), Some("100 s 7".into()));
        assert_eq!(offset_in(&offsets("        0        -1")), Some("0 s -1".into()));
        assert_eq!(offset_in(""), None);
    }

    #[test]
    fn the_clock_does_not_run_backwards() {
        let first = super::now();
        assert!(first > base::Instant::ZERO);
        assert!(super::now() >= first);
    }
}
