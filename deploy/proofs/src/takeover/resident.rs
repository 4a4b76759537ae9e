//! What makes a process resident: real-time priority, memory that stays, the clock that all share.

use crate::takeover::error::TakeoverError;
use base::Instant;

/// Below the fast path's own priority, above everything ordinary.
const PRIORITY: i32 = 40;

/// Locks the memory and asks for a real-time priority, so that neither a page fault nor another
/// process delays the takeover.
pub fn become_resident() -> Result<(), TakeoverError> {
    // SAFETY: no memory is passed.
    if unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE) } != 0 {
        return Err(TakeoverError::last("lock the memory"));
    }
    let parameter = libc::sched_param { sched_priority: PRIORITY };
    // SAFETY: `parameter` lives through the call; 0 is this process.
    if unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameter) } != 0 {
        return Err(TakeoverError::last("ask for a real-time priority"));
    }
    Ok(())
}

/// The node's clock: CLOCK_BOOTTIME, as in the daemons.
#[must_use]
pub fn now() -> Instant {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the answer; the clock exists since Linux 2.6.39.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    Instant(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// What one system call costs here on average, in nanoseconds: the floor under every phase.
#[must_use]
pub fn syscall_cost() -> u64 {
    const CALLS: u64 = 2_000;
    let before = now();
    for _ in 0..CALLS {
        // SAFETY: takes nothing, changes nothing.
        unsafe { libc::syscall(libc::SYS_getppid) };
    }
    now().0.saturating_sub(before.0) / CALLS
}
