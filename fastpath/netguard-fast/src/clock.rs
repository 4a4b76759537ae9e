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
    use super::offset_in;

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
