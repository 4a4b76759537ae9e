//! The few system calls that std does not have; the only unsafe code of this program.

use base::{Duration, Instant};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::{SystemTime, UNIX_EPOCH};

/// What is readable while [`Poll::wait`] looks at it.
#[derive(Debug, Default)]
pub struct Poll {
    fds: Vec<libc::pollfd>,
}

impl Poll {
    /// Forgets all descriptors; keeps the memory.
    pub fn clear(&mut self) {
        self.fds.clear();
    }
    /// Adds a descriptor for this wait. The caller keeps it open until then.
    pub fn add(&mut self, fd: RawFd) -> usize {
        self.add_for(fd, true, false)
    }
    /// Adds a descriptor that is waited for until it has bytes, or takes them.
    pub fn add_for(&mut self, fd: RawFd, read: bool, write: bool) -> usize {
        let wanted = |yes: bool, event: i16| if yes { event } else { 0 };
        let events = wanted(read, libc::POLLIN) | wanted(write, libc::POLLOUT);
        self.fds.push(libc::pollfd { fd, events, revents: 0 });
        self.fds.len() - 1
    }
    /// Waits until one is ready or `limit` has passed; an interrupted wait is a wait that ended.
    pub fn wait(&mut self, limit: Option<Duration>) -> io::Result<()> {
        let time = limit.map(|d| libc::timespec {
            tv_sec: (d.nanos() / 1_000_000_000) as libc::time_t,
            tv_nsec: (d.nanos() % 1_000_000_000) as libc::c_long,
        });
        let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        for fd in &mut self.fds {
            fd.revents = 0;
        }
        let n = self.fds.len() as libc::nfds_t;
        // SAFETY: the array has n entries and lives for the call, as does the timeout; no signal
        // mask.
        let result = unsafe { libc::ppoll(self.fds.as_mut_ptr(), n, time, std::ptr::null()) };
        match io::Error::last_os_error() {
            _ if result >= 0 => Ok(()),
            e if e.kind() == io::ErrorKind::Interrupted => Ok(()),
            e => Err(e),
        }
    }
    /// True if the descriptor added as number `i` is readable, closed or broken.
    #[must_use]
    pub fn ready(&self, i: usize) -> bool {
        self.fds.get(i).is_some_and(|fd| fd.revents != 0)
    }
}

/// Places that a [`Watch`] may have.
const PLACES_MAX: usize = 64;
/// What the kernel gives back for the timer.
const TIMER: u64 = u64::MAX;

/// Descriptors that are watched for long, and a moment until which to wait for them.
///
/// The kernel is told once what is watched, and of a moment only when it comes before the one that it has: a loop that
/// waits a thousand times for "2 ms from now" and is woken sooner arms one timer in 2 ms, and takes none back. Both
/// cost more than what a message makes the loop do, on virtual machines most of all.
#[derive(Debug)]
pub struct Watch {
    epoll: OwnedFd,
    timer: OwnedFd,
    /// What the timer stands at; none once it has rung.
    armed: Option<Instant>,
    /// One bit for each place that is ready.
    ready: u64,
}

impl Watch {
    /// Watches nothing yet.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers; the results are checked.
        let fds = unsafe {
            let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
            let timer = libc::timerfd_create(libc::CLOCK_BOOTTIME, flags);
            [libc::epoll_create1(libc::EPOLL_CLOEXEC), timer]
        };
        let own = |fd: RawFd| {
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: the kernel has just made this descriptor; nobody else owns it.
            Ok(unsafe { OwnedFd::from_raw_fd(fd) })
        };
        let [epoll, timer] = fds.map(own);
        let watch = Self { epoll: epoll?, timer: timer?, armed: None, ready: 0 };
        // It rings once for each arming: nobody needs to read it.
        watch.control(libc::EPOLL_CTL_ADD, watch.timer.as_raw_fd(), TIMER, libc::EPOLLET)?;
        Ok(watch)
    }

    /// Watches a descriptor from now on, until [`Watch::forget`] or its end; it is told as `place`, below 64.
    pub fn add(&self, fd: RawFd, place: usize) -> io::Result<()> {
        if place >= PLACES_MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.control(libc::EPOLL_CTL_ADD, fd, place as u64, 0)
    }

    /// Watches it no more: what stays readable for good would end every wait. What is not watched is none to forget.
    pub fn forget(&self, fd: RawFd) {
        let _ = self.control(libc::EPOLL_CTL_DEL, fd, 0, 0);
    }

    fn control(&self, what: i32, fd: RawFd, data: u64, flags: i32) -> io::Result<()> {
        let events = (libc::EPOLLIN | flags) as u32;
        let mut event = libc::epoll_event { events, u64: data };
        // SAFETY: one event that lives for the call; a descriptor that is none is an error.
        let result = unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), what, fd, &raw mut event) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Waits until one is ready or the moment has come; does not sleep before `busy`. One that is over: only looks. An
    /// interrupted wait is a wait that ended.
    pub fn wait(&mut self, until: Instant, busy: Instant) -> io::Result<()> {
        self.ready = 0;
        loop {
            let now = now();
            if until <= now || now < busy {
                self.look(0)?;
            }
            if until <= now || self.any() {
                return Ok(());
            }
            if now >= busy {
                break;
            }
            std::hint::spin_loop();
        }
        loop {
            if self.armed.is_none_or(|at| until < at) {
                self.arm(until)?;
            }
            let rang = self.look(-1)?;
            // It may stand at a moment that mattered to an earlier wait.
            if !rang || self.any() || until <= now() {
                return Ok(());
            }
        }
    }

    fn arm(&mut self, at: Instant) -> io::Result<()> {
        let zero = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let value = libc::timespec {
            tv_sec: (at.0 / 1_000_000_000) as libc::time_t,
            tv_nsec: (at.0 % 1_000_000_000) as libc::c_long,
        };
        let spec = libc::itimerspec { it_interval: zero, it_value: value };
        let (fd, flags) = (self.timer.as_raw_fd(), libc::TFD_TIMER_ABSTIME);
        // SAFETY: one itimerspec that lives for the call; the old value is not asked for.
        let result =
            unsafe { libc::timerfd_settime(fd, flags, &raw const spec, std::ptr::null_mut()) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        self.armed = Some(at);
        Ok(())
    }

    /// One look at what is ready, for at most `millis` (-1: for ever); true if the timer rang, or the wait was interrupted
    /// (then the caller sees nothing ready).
    fn look(&mut self, millis: i32) -> io::Result<bool> {
        const MOST: usize = 16;
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; MOST];
        // SAFETY: the array has so many places and lives for the call.
        let count = unsafe {
            let to = events.as_mut_ptr();
            libc::epoll_wait(self.epoll.as_raw_fd(), to, MOST as i32, millis)
        };
        if count < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(false) } else { Err(error) };
        }
        let mut rang = false;
        for event in events.iter().take(count as usize) {
            match event.u64 {
                TIMER => (rang, self.armed) = (true, None),
                place => self.ready |= 1u64.wrapping_shl(place as u32),
            }
        }
        Ok(rang)
    }

    /// True if any is ready.
    #[must_use]
    pub const fn any(&self) -> bool {
        self.ready != 0
    }
    /// True if what is watched as `place` is readable, closed or broken.
    #[must_use]
    pub const fn ready(&self, place: usize) -> bool {
        place < PLACES_MAX && self.ready >> place & 1 != 0
    }
}

/// The node's clock: CLOCK_BOOTTIME.
#[must_use]
pub fn now() -> Instant {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: one timespec that lives for the call. The call cannot fail for this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    Instant(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// Wall clock in milliseconds, for display.
#[must_use]
pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

/// An eventfd: wakes a thread that polls.
#[derive(Debug)]
pub struct Wake(std::fs::File);

impl Wake {
    /// A new one.
    pub fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes no pointers; the result is checked.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor; nobody else owns it.
        Ok(Self(unsafe { std::fs::File::from_raw_fd(fd) }))
    }
    /// An inherited one, made non-blocking.
    pub fn inherited(fd: OwnedFd) -> io::Result<Self> {
        // SAFETY: fcntl on a descriptor that we own, without pointers.
        let result = unsafe {
            let flags = libc::fcntl(fd.as_raw_fd(), libc::F_GETFL);
            libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK)
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(Self(fd.into())) }
    }
    /// Wakes. A full counter has woken already.
    pub fn wake(&self) {
        let _ = (&self.0).write(&1u64.to_ne_bytes());
    }
    /// Makes it quiet until the next [`Wake::wake`].
    pub fn clear(&self) {
        let _ = (&self.0).read(&mut [0; 8]);
    }
    /// To poll.
    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Termination signals as a descriptor. Blocks them for this thread and those it makes.
#[derive(Debug)]
pub struct Signals(OwnedFd);

impl Signals {
    /// Takes over SIGTERM and SIGINT.
    pub fn take() -> io::Result<Self> {
        // SAFETY: the set lives on this stack for all calls; results are checked.
        let fd = unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            libc::sigaddset(&raw mut set, libc::SIGTERM);
            libc::sigaddset(&raw mut set, libc::SIGINT);
            let blocked = libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
            if blocked < 0 { -1 } else { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC) }
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor; nobody else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }
    /// To poll.
    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Takes an inherited descriptor and keeps it from the own children.
pub fn inherit(fd: RawFd) -> io::Result<OwnedFd> {
    if fd <= libc::STDERR_FILENO {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: fcntl without pointers; it fails if the number is no open descriptor.
    if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: open (just checked), and handed to this process alone by its parent; each number is
    // taken once.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Asks for SIGTERM when the parent dies, and a descriptor that becomes readable then.
pub fn watch_parent() -> io::Result<OwnedFd> {
    // SAFETY: system calls without pointers; results are checked.
    let fd = unsafe {
        let parent = libc::getppid();
        let fd = libc::syscall(libc::SYS_pidfd_open, parent, 0);
        // The parent may have died before we looked: then somebody else is our parent by now.
        if fd >= 0 && libc::getppid() == parent { fd } else { -1 }
    };
    let fd = i32::try_from(fd).unwrap_or(-1);
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Gives the calling thread SCHED_FIFO; its children and threads start without it.
pub fn realtime(priority: u8) -> io::Result<()> {
    let param = libc::sched_param { sched_priority: i32::from(priority) };
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: one sched_param that lives for the call; 0 is the calling thread.
    let result = unsafe { libc::sched_setscheduler(0, policy, &raw const param) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Keeps all memory, also what comes later, from being paged out.
pub fn lock_memory() -> io::Result<()> {
    // SAFETY: takes no pointers.
    let result = unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Random bits from the kernel.
pub fn random() -> io::Result<u64> {
    let mut bytes = [0u8; 8];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}

/// Locks an open file or directory for this process; `WouldBlock` if another holds it.
pub fn lock(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes no pointers; the descriptor is open for the call.
    let result = unsafe { libc::flock(fd.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::{Poll, Wake, Watch, inherit, now};
    use base::{Duration, Instant};

    #[test]
    fn a_wake_is_seen_once_and_a_wait_without_one_ends_in_time() {
        let wake = Wake::new().unwrap();
        let mut poll = Poll::default();
        let i = poll.add(wake.fd());
        let before = now();
        poll.wait(Some(Duration::from_millis(2))).unwrap();
        assert!(!poll.ready(i) && now().since(before) >= Duration::from_millis(2));
        wake.wake();
        wake.wake();
        poll.wait(None).unwrap();
        assert!(poll.ready(i));
        wake.clear();
        poll.wait(Some(Duration::ZERO)).unwrap();
        assert!(!poll.ready(i));
    }

    #[test]
    fn a_watch_tells_places_and_ends_in_time_whatever_its_timer_stood_at() {
        let (one, other) = (Wake::new().unwrap(), Wake::new().unwrap());
        let mut watch = Watch::new().unwrap();
        watch.add(one.fd(), 3).unwrap();
        watch.add(other.fd(), 63).unwrap();
        assert!(watch.add(other.fd(), 64).is_err());
        other.wake();
        // The timer stands at a later moment, at an earlier one, and rings for nobody.
        for millis in [20, 2, 1, 5] {
            let until = now() + Duration::from_millis(millis);
            watch.wait(until, Instant::ZERO).unwrap();
            assert!(watch.any() && watch.ready(63) && !watch.ready(3) && now() < until);
        }
        other.clear();
        // Asleep, awake to the end, and awake for a while.
        for (millis, busy) in [(3, 0), (1, 1), (6, 2)] {
            let begin = now();
            let until = begin + Duration::from_millis(millis);
            watch.wait(until, begin + Duration::from_millis(busy)).unwrap();
            assert!(!watch.any() && now() >= until);
        }
        one.wake();
        watch.wait(now(), Instant::ZERO).unwrap();
        assert!(watch.ready(3), "a look");
        let until = now() + Duration::from_millis(20);
        watch.wait(until, until).unwrap();
        assert!(watch.ready(3) && now() < until, "awake, it sees what comes");
        watch.forget(one.fd());
        watch.forget(one.fd());
        watch.wait(now(), Instant::ZERO).unwrap();
        assert!(!watch.any(), "forgotten");
    }

    #[test]
    fn a_number_that_is_no_descriptor_is_refused() {
        for fd in [-1, 0, 2, 9_999] {
            assert!(inherit(fd).is_err(), "{fd}");
        }
    }
}
