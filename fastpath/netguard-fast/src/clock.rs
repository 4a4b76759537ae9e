//! The one clock: CLOCK_BOOTTIME, through the vDSO (about 32 ns).

use base::Instant;

/// Now. Counts suspended time too, so a lease does not outlive a suspend.
#[must_use]
pub fn now() -> Instant {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec that outlives the call. The call cannot fail: the clock
    // exists since Linux 2.6.39.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    Instant((time.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(time.tv_nsec as u64))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_clock_does_not_run_backwards() {
        let first = super::now();
        assert!(first > base::Instant::ZERO);
        assert!(super::now() >= first);
    }
}
