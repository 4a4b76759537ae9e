//! The descriptors that the loop sleeps on: eventfd, pidfd, signalfd, and what sleeps on them: ppoll, or the ring that
//! carries the frames.

use crate::clock;
use base::{Duration, Instant};
use link::Ring;
use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Takes ownership of a descriptor that a system call just returned, or its error.
fn owned(fd: libc::c_int) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: every caller passes the result of a call that makes a new descriptor; nobody else
    // owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A counter that makes its reader wake up.
#[derive(Debug)]
pub struct EventFd(OwnedFd);

impl EventFd {
    /// A new one, at zero.
    pub fn new() -> io::Result<Self> {
        // SAFETY: takes no pointer.
        owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) }).map(Self)
    }

    /// Wakes the reader.
    pub fn signal(&self) {
        let one = 1_u64.to_ne_bytes();
        // SAFETY: eight bytes, alive during the call. The only error is a counter that is full, and
        // then the reader wakes anyway.
        unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// For handing it to a child.
    #[must_use]
    pub fn raw(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// A descriptor that becomes readable when the child `pid` ends.
pub fn pidfd(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: takes two integers. The child has not been reaped, so the number still means it.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0) };
    owned(fd as libc::c_int)
}

/// SIGTERM and SIGINT as a descriptor instead of an interruption.
#[derive(Debug)]
pub struct Signals(OwnedFd);

impl Signals {
    /// Blocks both signals for this thread and those it starts, and collects them.
    pub fn collect() -> io::Result<Self> {
        // SAFETY: `set` is plain memory that sigemptyset initializes before it is read; all
        // pointers are to it and outlive the calls.
        let fd = unsafe {
            let mut set = std::mem::zeroed::<libc::sigset_t>();
            libc::sigemptyset(&raw mut set);
            libc::sigaddset(&raw mut set, libc::SIGTERM);
            libc::sigaddset(&raw mut set, libc::SIGINT);
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
            libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
        };
        owned(fd).map(Self)
    }

    /// Takes what came, so that the descriptor is no longer readable.
    pub fn drain(&self) {
        let mut record = [0_u8; size_of::<libc::signalfd_siginfo>()];
        // Two signals are collected and the kernel keeps one of each: two reads empty it.
        for _ in 0..2 {
            // SAFETY: the buffer is as long as the length says, alive during the call.
            unsafe { libc::read(self.0.as_raw_fd(), record.as_mut_ptr().cast(), record.len()) };
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What is in a socket, without waiting for more.
#[derive(Clone, Copy, Debug)]
pub struct Waiting<'s>(pub BorrowedFd<'s>);

impl io::Read for Waiting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // SAFETY: the buffer is as long as the length says, alive and ours during the call; MSG_DONTWAIT makes it return
        // at once.
        let count = unsafe {
            libc::recv(
                self.0.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                libc::MSG_DONTWAIT,
            )
        };
        if count < 0 { Err(io::Error::last_os_error()) } else { Ok(count as usize) }
    }
}

/// Most descriptors that are waited for: links, pidfd, lifeline, signals.
const WAIT_MAX: usize = shm::counters::LINKS_MAX + 3;

/// The longest sleep when the ring would not wait: it must not become a busy loop, nor outsleep a beat.
const RING_FAILED: Duration = Duration::from_millis(1);

/// What to wait for.
#[derive(Debug)]
pub struct Waiter {
    /// `revents` says what is ready, whoever waited.
    set: [libc::pollfd; WAIT_MAX],
    used: usize,
    ring: Option<Ring>,
    /// Places whose descriptor is the ring itself.
    in_ring: [bool; WAIT_MAX],
    /// What is not a link: it wakes at any time.
    urgent: [libc::pollfd; WAIT_MAX],
    /// When the ring was last asked: what it had not brought by then was not there.
    asked: Cell<Instant>,
}

impl Default for Waiter {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Waiter {
    /// One that waits in the ring, if there is one, else by ppoll.
    #[must_use]
    pub fn new(ring: Option<Ring>) -> Self {
        let none = libc::pollfd { fd: -1, events: libc::POLLIN, revents: 0 };
        let (set, in_ring) = ([none; WAIT_MAX], [false; WAIT_MAX]);
        let asked = Cell::new(Instant::ZERO);
        Self { set, used: 0, ring, in_ring, urgent: [none; WAIT_MAX], asked }
    }

    /// Adds a descriptor, and returns its place. The caller keeps it open as long as the waiter is
    /// used; one too many is not waited for.
    pub fn add(&mut self, fd: BorrowedFd<'_>) -> usize {
        let place = self.add_link(fd);
        if let Some(slot) = self.urgent.get_mut(place) {
            slot.fd = fd.as_raw_fd();
        }
        place
    }

    /// The same for a link, for which [`Waiter::rest`] does not wake. The descriptor of the ring itself stands for its links.
    pub fn add_link(&mut self, fd: BorrowedFd<'_>) -> usize {
        let place = self.used;
        let Some(slot) = self.set.get_mut(place) else { return place };
        match &self.ring {
            Some(ring) if ring.as_fd().as_raw_fd() == fd.as_raw_fd() => self.in_ring[place] = true,
            Some(ring) => {
                ring.watch(place, fd);
            }
            None => slot.fd = fd.as_raw_fd(),
        }
        self.used += 1;
        place
    }

    /// Waits for the descriptor at `place` no longer.
    pub fn leave(&mut self, place: usize) {
        for set in [&mut self.set, &mut self.urgent] {
            if let Some(slot) = set.get_mut(place) {
                slot.fd = -1;
                slot.revents = 0;
            }
        }
        if let Some(ring) = &self.ring {
            ring.leave(place);
        }
    }

    /// Sleeps until something is readable or `until` comes.
    pub fn wait(&mut self, now: Instant, until: Instant) {
        let Some(ring) = self.ring.clone() else { return self.poll(now, until) };
        self.asked.set(now);
        if ring.wait(now, until).is_err() {
            // Nothing is in the set: it only sleeps.
            self.poll(now, until.min(now + RING_FAILED));
        }
        let came = ring.has_arrivals();
        for (place, (slot, in_ring)) in self.set.iter_mut().zip(&self.in_ring).enumerate() {
            let ready = if *in_ring { came } else { ring.ready(place) };
            slot.revents = if ready { libc::POLLIN } else { 0 };
        }
    }

    /// Sleeps until `until` comes or what is not a link is readable; [`Waiter::wait`] then says what. What links have put
    /// down has left before.
    pub fn rest(&mut self, until: Instant) {
        if let Some(ring) = &self.ring {
            ring.flush();
        }
        let used = self.used;
        let now = clock::now();
        if now < until {
            poll(&mut self.urgent, used, until.since(now));
        }
    }

    /// Sleeps by ppoll.
    fn poll(&mut self, now: Instant, until: Instant) {
        let ready = poll(&mut self.set, self.used, until.since(now));
        if ready <= 0 {
            // Time is up, or a signal that is not ours interrupted: nothing is readable.
            for slot in &mut self.set {
                slot.revents = 0;
            }
        }
    }

    /// Takes what came to the ring's links since the wait. Nothing to do without a ring.
    pub fn gather(&self) {
        if let Some(ring) = &self.ring {
            self.asked.set(clock::now());
            ring.gather();
        }
    }

    /// When what is at `place` was last known to be empty, if it has just been found empty: links in the ring give out what
    /// it brought, and that was when it was asked.
    #[must_use]
    pub fn emptied(&self, place: usize) -> Instant {
        if self.in_ring.get(place).is_some_and(|in_ring| *in_ring) {
            self.asked.get()
        } else {
            clock::now()
        }
    }

    /// True if the descriptor at `place` can be read, or has failed.
    #[must_use]
    pub fn ready(&self, place: usize) -> bool {
        self.set.get(place).is_some_and(|slot| slot.revents != 0)
    }
}

/// Sleeps until one of the first `used` is readable, or so long. Returns how many are.
fn poll(set: &mut [libc::pollfd; WAIT_MAX], used: usize, Duration(ns): Duration) -> libc::c_int {
    let limit = libc::timespec {
        tv_sec: (ns / 1_000_000_000) as libc::time_t,
        tv_nsec: (ns % 1_000_000_000) as libc::c_long,
    };
    let used = used.min(WAIT_MAX) as libc::nfds_t;
    // SAFETY: the first `used` entries are initialized and the kernel writes only their `revents`; the limit outlives the
    // call; no signal mask is given.
    unsafe { libc::ppoll(set.as_mut_ptr(), used, &raw const limit, std::ptr::null()) }
}

#[cfg(test)]
mod tests {
    use super::{EventFd, Waiter, pidfd};
    use crate::clock;
    use base::Duration;
    use std::os::fd::AsFd;

    /// Both kinds; the ring where the machine has it.
    fn waiters() -> impl Iterator<Item = Waiter> {
        let ring = link::Ring::open(64).inspect_err(|e| println!("SKIPPED: {e}")).ok();
        std::iter::once(Waiter::default()).chain(ring.map(|ring| Waiter::new(Some(ring))))
    }

    #[test]
    fn a_rest_is_for_links_only_and_afterwards_they_are_heard() {
        for mut waiter in waiters() {
            let (link, other) = (EventFd::new().unwrap(), EventFd::new().unwrap());
            let link_at = waiter.add_link(link.0.as_fd());
            let other_at = waiter.add(other.0.as_fd());
            link.signal();
            let until = clock::now() + Duration::from_millis(2);
            waiter.rest(until);
            assert!(clock::now() >= until);
            let start = clock::now();
            waiter.wait(start, start + Duration::from_millis(60_000));
            assert!(waiter.ready(link_at) && !waiter.ready(other_at));
            other.signal();
            waiter.rest(clock::now() + Duration::from_millis(60_000));
            let start = clock::now();
            waiter.wait(start, start + Duration::from_millis(60_000));
            assert!(waiter.ready(other_at));
        }
    }

    #[test]
    fn the_waiter_wakes_for_what_is_readable_and_for_the_time() {
        for mut waiter in waiters() {
            let (quiet, rung) = (EventFd::new().unwrap(), EventFd::new().unwrap());
            let quiet_at = waiter.add(quiet.0.as_fd());
            let rung_at = waiter.add(rung.0.as_fd());
            let start = clock::now();
            waiter.wait(start, start + Duration::from_millis(2));
            assert!(clock::now().since(start) >= Duration::from_millis(2));
            assert!(!waiter.ready(quiet_at) && !waiter.ready(rung_at));
            rung.signal();
            // As long as nobody reads it.
            for _ in 0..3 {
                waiter.wait(start, start + Duration::from_millis(60_000));
                assert!(!waiter.ready(quiet_at) && waiter.ready(rung_at));
            }
            assert!(!waiter.ready(99));
            waiter.leave(rung_at);
            let start = clock::now();
            waiter.wait(start, start + Duration::from_millis(2));
            assert!(!waiter.ready(rung_at) && clock::now() >= start + Duration::from_millis(2));
        }
    }

    #[test]
    fn the_end_of_a_child_is_readable() {
        for mut waiter in waiters() {
            let mut child = std::process::Command::new("true").spawn().unwrap();
            let fd = pidfd(child.id()).unwrap();
            let at = waiter.add(fd.as_fd());
            let now = clock::now();
            waiter.wait(now, now + Duration::from_millis(10_000));
            assert!(waiter.ready(at));
            child.wait().unwrap();
        }
    }
}
