//! The few system calls that the standard library does not have: clock, priority, namespaces,
//! signals.

use base::{Duration, Instant};
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};

/// Priorities of the bed's own threads. The stall meter is above everything it judges (the daemons
/// use 50 and less).
pub const PRIORITY_METER: i32 = 80;
/// The observer is above the daemons: what it is late by would be counted against them.
pub const PRIORITY_OBSERVER: i32 = 60;
/// The thread that cuts the power: between its stamp and the cut nothing should come.
pub const PRIORITY_CUT: i32 = 70;
/// The responder stands for the application.
pub const PRIORITY_RESPONDER: i32 = 20;

/// CLOCK_BOOTTIME, the clock of the daemons; one clock for all namespaces of a machine.
#[must_use]
pub fn now() -> Instant {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec for the kernel to fill; CLOCK_BOOTTIME exists since
    // 2.6.39.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    Instant(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// What the calling thread has had of a core so far, in the kernel and outside.
#[must_use]
pub fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec for the kernel to fill; every thread has this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// Sleeps until `at` on the same clock; returns early only when a signal comes.
pub fn sleep_until(at: Instant) {
    let time = libc::timespec {
        tv_sec: (at.0 / 1_000_000_000) as libc::time_t,
        tv_nsec: (at.0 % 1_000_000_000) as libc::c_long,
    };
    // SAFETY: `time` is a valid absolute time; no remainder is asked for.
    unsafe {
        libc::clock_nanosleep(
            libc::CLOCK_BOOTTIME,
            libc::TIMER_ABSTIME,
            &raw const time,
            std::ptr::null_mut(),
        )
    };
}

/// Sleeps for `span`.
pub fn sleep(span: Duration) {
    sleep_until(now() + span);
}

/// Waits until something can be read, at most for `limit`; returns early when a signal comes.
pub fn wait_readable(from: &impl AsRawFd, limit: Duration) {
    let mut poll = libc::pollfd { fd: from.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let time = libc::timespec {
        tv_sec: (limit.nanos() / 1_000_000_000) as libc::time_t,
        tv_nsec: (limit.nanos() % 1_000_000_000) as libc::c_long,
    };
    // SAFETY: one valid entry, and the count says one; the time is valid, no mask is given.
    unsafe { libc::ppoll(&raw mut poll, 1, &raw const time, std::ptr::null()) };
}

/// Makes the calling thread SCHED_FIFO; its children do not inherit that.
///
/// # Errors
/// When the kernel does not allow it: the caller goes on and says so.
pub fn realtime(priority: i32) -> io::Result<()> {
    let parameter = libc::sched_param { sched_priority: priority };
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: 0 is the calling thread; `parameter` is valid for the call.
    check(unsafe { libc::sched_setscheduler(0, policy, &raw const parameter) })
}

/// Makes the calling thread an ordinary one again.
pub fn ordinary() {
    let parameter = libc::sched_param { sched_priority: 0 };
    // SAFETY: as above; lowering the own priority is always allowed.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const parameter) };
}

/// Binds the calling thread to one core.
///
/// # Errors
/// When that core is not ours.
pub fn pin(core: usize) -> io::Result<()> {
    // SAFETY: an all-zero cpu_set_t is the empty set; the macros stay inside it for a core below
    // CPU_SETSIZE.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if core >= libc::CPU_SETSIZE as usize {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        libc::CPU_SET(core, &mut set);
        check(libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set))
    }
}

/// The cores that this process may use.
#[must_use]
pub fn cores() -> Vec<usize> {
    // SAFETY: as in `pin`; the kernel fills the set.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set);
        (0..libc::CPU_SETSIZE as usize).filter(|core| libc::CPU_ISSET(*core, &set)).collect()
    }
}

/// Moves the calling thread into a network namespace.
///
/// # Errors
/// When the kernel refuses (no CAP_SYS_ADMIN).
pub fn enter(namespace: &impl AsRawFd) -> io::Result<()> {
    // SAFETY: setns has no memory arguments; a wrong descriptor is an error, not undefined.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) })
}

/// Makes this process another user's, for good. Only system calls: it is used between fork and
/// exec.
///
/// # Errors
/// When this process is not root.
pub fn become_user(id: u32) -> io::Result<()> {
    // SAFETY: no memory is passed but an empty list of groups. The raw calls change only the
    // calling thread, which is the only one after a fork.
    unsafe {
        if libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>()) != 0
            || libc::syscall(libc::SYS_setresgid, id, id, id) != 0
            || libc::syscall(libc::SYS_setresuid, id, id, id) != 0
        {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Sends a signal to one process.
pub fn signal(pid: i32, signal: i32) {
    if pid > 1 {
        // SAFETY: kill has no memory arguments; pid > 1 is one process, never a group or
        // everything.
        unsafe { libc::kill(pid, signal) };
    }
}

/// True if this process may do everything.
#[must_use]
pub fn is_root() -> bool {
    // SAFETY: geteuid has no preconditions and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// A CPU-friendly random number, for phases and names; not a secret.
#[must_use]
pub fn random() -> u64 {
    let mut bytes = [0_u8; 8];
    // SAFETY: the buffer is valid for eight bytes, and eight bytes are asked for.
    unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    u64::from_le_bytes(bytes)
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn on_signal(_: libc::c_int) {
    INTERRUPTED.store(true, Ordering::SeqCst);
}

/// From now on Ctrl-C and SIGTERM only set a flag, so that everything is removed on the way out.
pub fn catch_interrupts() {
    // SAFETY: the handler only stores to an atomic, which is async-signal-safe; the zeroed
    // sigaction has an empty mask and no flags, so that blocking calls return EINTR.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_signal as *const () as libc::sighandler_t;
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
    }
}

/// True once Ctrl-C or SIGTERM came.
#[must_use]
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The one-minute load of the machine.
#[must_use]
pub fn load() -> f64 {
    std::fs::read_to_string("/proc/loadavg")
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::{cores, now, sleep_until};
    use base::Duration;

    #[test]
    fn the_clock_grows_and_a_past_deadline_does_not_wait() {
        let begin = now();
        sleep_until(begin - Duration::from_millis(5));
        assert!(now().since(begin) < Duration::from_millis(1_000));
        assert!(!cores().is_empty());
    }
}
