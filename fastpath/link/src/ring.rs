//! One io_uring for a thread: receives, sends, and what else it waits for, in one system call (io_uring(7)).
//!
//! *Receiving*: a multishot RECVMSG per link stays in the kernel and fills buffers of the link's own group; when it ends
//! (no buffer left, no room for completions, an error), the next wait arms it again. Groups are not shared: a flood on one
//! link takes no buffer from another. *Sending*: a frame to many peers is put down for each, and goes out with the next
//! call; such a send never waits (MSG_DONTWAIT) and only tells when it failed, so that a beat does not end the wait that it
//! goes out with. A frame to one address is sent by sendto(2) at once: that takes no more calls than the ring would for
//! it, and the frame is on the wire some 3 us sooner (`wake_to_beat_us`), because a ring that was not used for milliseconds is
//! in no cache. *Other descriptors*: one POLL_ADD each, armed again by the wait after it fired. That is as level as
//! ppoll, where a multishot poll would only tell of what is new; they seldom fire, so it costs nothing.
//!
//! *The time* is the call's own limit, not a timer in the ring: it needs no entry to set, move or cancel it, and its end
//! makes no completion. It is absolute on CLOCK_BOOTTIME where the kernel can (6.12), so that a thread that loses its
//! core on the way into the call is not late by that; before that it is relative, as ppoll's.
//!
//! A process that is killed leaves its receives to a worker of the kernel, which lets go of their sockets some time after
//! the process has ended: the next life may find its port taken for that moment.

mod buffers;
mod probe;
mod slab;

use crate::link::Counts;
use crate::name::{NAME_MAX, Name};
use crate::stamp::Control;
use crate::udp::count_failed;
use base::{Duration, Instant};
pub(crate) use buffers::{Buffers, Filled};
use io_uring::squeue::{Entry, Flags};
use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, opcode};
pub use probe::Unusable;
use slab::Slab;
use socket2::Socket;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::rc::Rc;

/// Most links of one ring.
const PORTS_MAX: usize = 8;
/// Most other descriptors.
const WATCHED_MAX: usize = 16;

/// Entries for one call: all messages of the slab, and each receive and poll armed again.
const QUEUE: u32 = 512;
const _: () = assert!(slab::MESSAGES + PORTS_MAX + WATCHED_MAX <= QUEUE as usize);

/// Completions between two calls: each buffer of each link, the end of each receive, a poll, and each message failed.
const COMPLETIONS: u32 = 4096;
const _: () = assert!(
    PORTS_MAX * (buffers::COUNT as usize + 1) + WATCHED_MAX + slab::MESSAGES
        <= COMPLETIONS as usize
);

/// A receive that has failed is not tried again sooner: one that fails at once would keep the thread awake.
const RETRY: Duration = Duration::from_millis(1);

/// `IORING_REGISTER_CLOCK` (since 6.12): which clock the limits of the calls are on.
const REGISTER_CLOCK: libc::c_uint = 29;

/// `struct io_uring_clock_register`.
#[repr(C)]
struct ClockRegister {
    clock: u32,
    reserved: [u32; 3],
}

/// One ring, shared by its links and whoever waits. Belongs to the thread that opened it.
#[derive(Clone)]
pub struct Ring {
    core: Rc<RefCell<Core>>,
    fd: RawFd,
}

struct Core {
    // First, so that it is dropped first: the kernel lets go of everything below.
    io: IoUring,
    ports: [Option<Port>; PORTS_MAX],
    watched: [Option<Watched>; WATCHED_MAX],
    slab: Slab,
    /// Of every multishot receive: room for an address and a stamp before each datagram.
    pattern: Box<libc::msghdr>,
    /// Of each wait.
    flags: EnterFlags,
    absolute: bool,
    /// When the last wait began.
    now: Instant,
    /// Number of the next port, so that completions of one that is gone are not taken for those of its successor.
    serial: u32,
}

/// What the ring knows of a link.
struct Port {
    serial: u32,
    socket: Socket,
    buffers: Rc<Buffers>,
    /// Filled and not yet taken, in order.
    filled: VecDeque<Filled>,
    /// The receive is in the kernel.
    armed: bool,
    /// Not armed again before that.
    retry: Instant,
    /// Messages put down for the next call.
    pending: u64,
    /// Those of them that have failed.
    failed: u64,
    /// Sends and failures.
    counts: Counts,
}

/// A descriptor of somebody else.
struct Watched {
    fd: RawFd,
    armed: bool,
    ready: bool,
    /// Not watched any more: by order, or because the kernel cannot.
    left: bool,
}

/// What a completion is about; the number that goes with a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Tag {
    Receive { port: u8, serial: u32 },
    Send { port: u8, serial: u32 },
    Watch { place: u8 },
}

impl Tag {
    const fn number(self) -> u64 {
        match self {
            Self::Receive { port, serial } => 1 | (port as u64) << 8 | (serial as u64) << 32,
            Self::Send { port, serial } => 2 | (port as u64) << 8 | (serial as u64) << 32,
            Self::Watch { place } => 3 | (place as u64) << 8,
        }
    }

    const fn of(number: u64) -> Option<Self> {
        let (place, serial) = ((number >> 8) as u8, (number >> 32) as u32);
        match number as u8 {
            1 => Some(Self::Receive { port: place, serial }),
            2 => Some(Self::Send { port: place, serial }),
            3 => Some(Self::Watch { place }),
            _ => None,
        }
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("fd", &self.fd).finish_non_exhaustive()
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is that of `core.io`, which is open as long as `self` shares it.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }
}

impl Ring {
    /// A ring whose links send frames of at most `frame_max` bytes, with all the memory that sending will ever use. A
    /// trial on loopback shows first whether the kernel does what is asked of it here.
    pub fn open(frame_max: usize) -> Result<Self, Unusable> {
        let ring = Self::untried(frame_max.max(probe::FRAME_MAX))?;
        probe::run(&ring)?;
        ring.core.borrow_mut().watched = Default::default();
        Ok(ring)
    }

    /// The same without the trial.
    fn untried(frame_max: usize) -> Result<Self, Unusable> {
        let io = probe::build(QUEUE, COMPLETIONS)?;
        let fd = io.as_raw_fd();
        let clock = ClockRegister { clock: libc::CLOCK_BOOTTIME as u32, reserved: [0; 3] };
        // SAFETY: the ring is open; the record is as the kernel wants it, and alive during the call.
        let absolute = unsafe {
            libc::syscall(libc::SYS_io_uring_register, fd, REGISTER_CLOCK, &raw const clock, 0)
        } == 0;
        let mut flags = EnterFlags::empty();
        flags.set(EnterFlags::ABS_TIMER, absolute);
        // A thread that waits here would else be shown as waiting for a disk, and its core as busy with that.
        flags.set(EnterFlags::NO_IOWAIT, io.params().is_feature_no_iowait());
        // SAFETY: a C struct of integers and pointers, for which zero is a valid value.
        let mut pattern: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
        pattern.msg_namelen = NAME_MAX as libc::socklen_t;
        pattern.msg_controllen = size_of::<Control>();
        let core = Core {
            io,
            ports: Default::default(),
            watched: Default::default(),
            slab: Slab::new(frame_max),
            pattern,
            flags,
            absolute,
            now: Instant::ZERO,
            serial: 0,
        };
        Ok(Self { core: Rc::new(RefCell::new(core)), fd })
    }

    /// Takes a bound socket, from now on received from by every wait. Returns its place and its buffers.
    pub(crate) fn attach(
        &self,
        socket: Socket,
        frame_max: usize,
    ) -> io::Result<(usize, Rc<Buffers>)> {
        self.core.borrow_mut().attach(socket, frame_max)
    }

    /// Lets go of the socket at a place.
    pub(crate) fn detach(&self, place: usize) {
        self.core.borrow_mut().detach(place);
    }

    /// Puts a frame down for each of the addresses, for the next call. False if it is known that one will not go out; it is
    /// counted.
    pub(crate) fn send<'n>(
        &self,
        place: usize,
        frame: &[u8],
        to: impl Iterator<Item = &'n Name>,
    ) -> bool {
        self.core.borrow_mut().send(place, frame, to)
    }

    /// Sends a frame to one address, after what was put down before. False if it did not go out; it is counted.
    pub(crate) fn send_now(&self, place: usize, frame: &[u8], to: &Name) -> bool {
        self.core.borrow_mut().send_now(place, frame, to)
    }

    /// The next buffer that came in on the socket at a place.
    pub(crate) fn next(&self, place: usize) -> Option<Filled> {
        self.core.borrow_mut().ports.get_mut(place)?.as_mut()?.filled.pop_front()
    }

    /// Sends and failures of the socket at a place.
    pub(crate) fn counts(&self, place: usize) -> Counts {
        let core = self.core.borrow();
        core.ports.get(place).and_then(Option::as_ref).map(|port| port.counts).unwrap_or_default()
    }

    /// Watches a descriptor, which the caller keeps open as long as the ring is used; `place` is the caller's number for
    /// it. False if there is no such place.
    pub fn watch(&self, place: usize, fd: BorrowedFd<'_>) -> bool {
        let mut core = self.core.borrow_mut();
        let Some(slot) = core.watched.get_mut(place) else { return false };
        let fd = fd.as_raw_fd();
        *slot = Some(Watched { fd, armed: false, ready: false, left: false });
        true
    }

    /// Watches what is at `place` no longer.
    pub fn leave(&self, place: usize) {
        if let Some(Some(watched)) = self.core.borrow_mut().watched.get_mut(place) {
            (watched.left, watched.ready) = (true, false);
        }
    }

    /// True if what is watched at `place` can be read, or has failed, as of the last wait.
    #[must_use]
    pub fn ready(&self, place: usize) -> bool {
        let core = self.core.borrow();
        core.watched.get(place).and_then(Option::as_ref).is_some_and(|watched| watched.ready)
    }

    /// True if a link has something that is not yet taken.
    #[must_use]
    pub fn has_arrivals(&self) -> bool {
        self.core.borrow().has_arrivals()
    }

    /// Hands over what was sent, and sleeps until something came or `until` has; not at all if a link has something
    /// that is not yet taken. An error says that the kernel would not wait: nothing else is wrong then, but the caller
    /// must not ask again at once.
    pub fn wait(&self, now: Instant, until: Instant) -> io::Result<()> {
        self.core.borrow_mut().wait(now, until)
    }

    /// Hands over what was put down, if anything was.
    pub fn flush(&self) {
        let mut core = self.core.borrow_mut();
        if !core.io.submission().is_empty() {
            // Whatever is wrong with the call, the next wait says so.
            let _ = core.enter(0, None);
        }
    }

    /// Hands over what was sent and takes what came until now, without sleeping.
    pub fn gather(&self) {
        let mut core = self.core.borrow_mut();
        // Whatever is wrong with the call, the next wait says so.
        let _ = core.enter(0, None);
    }
}

impl Core {
    fn attach(&mut self, socket: Socket, frame_max: usize) -> io::Result<(usize, Rc<Buffers>)> {
        let full = || io::Error::from(io::ErrorKind::QuotaExceeded);
        let place = self.ports.iter().position(Option::is_none).ok_or_else(full)?;
        // Else a receive ends at once where nothing is there, instead of waiting in the kernel.
        socket.set_nonblocking(false)?;
        let head = size_of::<[u32; 4]>() + NAME_MAX + size_of::<Control>();
        let buffers = Rc::new(Buffers::new(head.saturating_add(frame_max))?);
        // SAFETY: address and count are those of the entries of `buffers`, which live until `detach` has unregistered
        // the group; if that fails they are leaked.
        unsafe {
            self.io.submitter().register_buf_ring_with_flags(
                buffers.address(),
                buffers::COUNT,
                place as u16,
                0,
            )?;
        }
        buffers.provide_all();
        self.serial = self.serial.wrapping_add(1);
        self.ports[place] = Some(Port {
            serial: self.serial,
            socket,
            buffers: Rc::clone(&buffers),
            filled: VecDeque::with_capacity(usize::from(buffers::COUNT)),
            armed: false,
            retry: Instant::ZERO,
            pending: 0,
            failed: 0,
            counts: Counts::default(),
        });
        // What comes from now on is received, not only what comes during a wait.
        self.arm_receives(Instant::MAX);
        self.enter(0, None)?;
        Ok((place, buffers))
    }

    fn detach(&mut self, place: usize) {
        // What was sent goes out first.
        let _ = self.enter(0, None);
        let Some(port) = self.ports.get_mut(place).and_then(Option::take) else { return };
        let receive = Tag::Receive { port: place as u8, serial: port.serial }.number();
        let limit = Timespec::new().sec(1);
        // It may have ended by itself.
        let _ = self
            .io
            .submitter()
            .register_sync_cancel(Some(limit), CancelBuilder::user_data(receive).all());
        if self.io.submitter().unregister_buf_ring(place as u16).is_err() {
            // The kernel may still write there.
            std::mem::forget(Rc::clone(&port.buffers));
        }
        drop(port);
        // The request, too, holds the socket: it ends with this call.
        let _ = self.enter(0, None);
    }

    fn send<'n>(&mut self, place: usize, frame: &[u8], to: impl Iterator<Item = &'n Name>) -> bool {
        let mut put = None;
        let mut all = true;
        for name in to {
            let mut message = self.put(&mut put, frame, name);
            if message.is_none() && frame.len() <= self.slab.frame_max() {
                // Full: one more call.
                let _ = self.enter(0, None);
                put = None;
                message = self.put(&mut put, frame, name);
            }
            let Some(Some(port)) = self.ports.get_mut(place) else { return false };
            let Some(message) = message else {
                let long = frame.len() > self.slab.frame_max();
                let error = if long { libc::EMSGSIZE } else { libc::ENOBUFS };
                count_failed(&mut port.counts, &io::Error::from_raw_os_error(error));
                all = false;
                continue;
            };
            let tag = Tag::Send { port: place as u8, serial: port.serial };
            let socket = Fd(port.socket.as_raw_fd());
            let entry = opcode::Send::new(socket, message.frame, message.length)
                .dest_addr(message.name)
                .dest_addr_len(message.name_length)
                .flags(libc::MSG_DONTWAIT)
                .build()
                .flags(Flags::SKIP_SUCCESS)
                .user_data(tag.number());
            // SAFETY: frame and address lie in the slab, which is cleared only when the kernel has taken every entry of the
            // queue. A send that may not wait is done when it is taken.
            if unsafe { push(&mut self.io, &entry) } {
                port.pending += 1;
            } else {
                count_failed(&mut port.counts, &io::Error::from_raw_os_error(libc::ENOBUFS));
                all = false;
            }
        }
        all
    }

    fn send_now(&mut self, place: usize, frame: &[u8], to: &Name) -> bool {
        if !self.io.submission().is_empty() {
            // Whatever is wrong with the call, the next wait says so.
            let _ = self.enter(0, None);
        }
        let Some(Some(port)) = self.ports.get_mut(place) else { return false };
        let name = to.bytes();
        // SAFETY: pointers and lengths describe frame and name, which outlive the call; it only reads them.
        let sent = unsafe {
            libc::sendto(
                port.socket.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                libc::MSG_DONTWAIT,
                name.as_ptr().cast(),
                name.len() as libc::socklen_t,
            )
        };
        if sent < 0 {
            count_failed(&mut port.counts, &io::Error::last_os_error());
            return false;
        }
        port.counts.sent += 1;
        true
    }

    /// The message for one address; the frame is put down for the first one.
    fn put(
        &mut self,
        put: &mut Option<slab::Place>,
        frame: &[u8],
        name: &Name,
    ) -> Option<slab::Message> {
        let place = match *put {
            Some(place) => place,
            None => *put.insert(self.slab.put(frame)?),
        };
        self.slab.address(place, name)
    }

    fn has_arrivals(&self) -> bool {
        self.ports.iter().flatten().any(|port| !port.filled.is_empty())
    }

    fn wait(&mut self, now: Instant, until: Instant) -> io::Result<()> {
        self.now = now;
        self.arm_receives(now);
        self.arm_polls();
        if self.has_arrivals() {
            return self.enter(0, None);
        }
        let limit = match until {
            Instant::MAX => None,
            until if self.absolute => Some(until.0),
            until => Some(until.since(now).0),
        };
        self.enter(1, limit)
    }

    /// Has the kernel receive on each link where it does not.
    fn arm_receives(&mut self, now: Instant) {
        for (place, port) in self.ports.iter_mut().enumerate() {
            let Some(port) = port else { continue };
            // As long as nothing is taken there may be no buffer.
            if port.armed || now < port.retry || !port.filled.is_empty() {
                continue;
            }
            let tag = Tag::Receive { port: place as u8, serial: port.serial };
            let socket = Fd(port.socket.as_raw_fd());
            let entry = opcode::RecvMsgMulti::new(socket, &raw const *self.pattern, place as u16)
                .build()
                .user_data(tag.number());
            // SAFETY: the pattern lives as long as the ring; the buffers of the group live until it is unregistered.
            port.armed = unsafe { push(&mut self.io, &entry) };
        }
    }

    fn arm_polls(&mut self) {
        for (place, watched) in self.watched.iter_mut().enumerate() {
            let Some(watched) = watched else { continue };
            watched.ready = false;
            if watched.armed || watched.left {
                continue;
            }
            let entry = opcode::PollAdd::new(Fd(watched.fd), libc::POLLIN as u32)
                .build()
                .user_data(Tag::Watch { place: place as u8 }.number());
            // SAFETY: the entry points to no memory.
            watched.armed = unsafe { push(&mut self.io, &entry) };
        }
    }

    /// The one call: hands over what is in the queue, waits for `want` completions but not beyond the limit (ns), and
    /// takes what is there.
    fn enter(&mut self, want: usize, limit: Option<u64>) -> io::Result<()> {
        let timespec = limit
            .map(|ns| Timespec::new().sec(ns / 1_000_000_000).nsec((ns % 1_000_000_000) as u32));
        let args = SubmitArgs::new();
        let args = timespec.as_ref().map_or(args, |timespec| args.timespec(timespec));
        let flags =
            if timespec.is_some() { self.flags } else { self.flags - EnterFlags::ABS_TIMER };
        let entered = self.io.submitter().submit_with_args_and_flags(want, &args, flags);
        let taken = self.take();
        self.settle();
        match entered {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                Some(libc::ETIME | libc::EINTR) => Ok(()),
                // The completions were too many for their queue: some are taken now, the others follow.
                Some(libc::EBUSY) if taken => Ok(()),
                _ => {
                    for port in self.ports.iter_mut().flatten() {
                        port.counts.receive_failed += 1;
                        port.counts.last_errno = error.raw_os_error().unwrap_or(0);
                    }
                    Err(error)
                }
            },
        }
    }

    /// Takes the completions. False if there is none.
    fn take(&mut self) -> bool {
        let Self { io, ports, watched, now, .. } = self;
        let mut some = false;
        for completion in io.completion() {
            some = true;
            let (result, flags) = (completion.result(), completion.flags());
            match Tag::of(completion.user_data()) {
                Some(Tag::Receive { port, serial }) => {
                    if let Some(port) = port_of(ports, port, serial) {
                        port.received(result, flags, *now);
                    }
                }
                Some(Tag::Send { port, serial }) => {
                    if let Some(port) = port_of(ports, port, serial)
                        && result < 0
                    {
                        port.failed += 1;
                        count_failed(&mut port.counts, &io::Error::from_raw_os_error(-result));
                    }
                }
                Some(Tag::Watch { place }) => {
                    if let Some(Some(watched)) = watched.get_mut(usize::from(place)) {
                        watched.armed = false;
                        watched.ready = !watched.left;
                        watched.left |= result < 0;
                    }
                }
                None => {}
            }
        }
        some
    }

    /// What the kernel has taken and not said to have failed has been sent.
    fn settle(&mut self) {
        if !self.io.submission().is_empty() {
            return;
        }
        self.slab.clear();
        for port in self.ports.iter_mut().flatten() {
            port.counts.sent += port.pending.saturating_sub(port.failed);
            (port.pending, port.failed) = (0, 0);
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        for place in 0..PORTS_MAX {
            self.detach(place);
        }
    }
}

impl Port {
    /// One completion of the receive.
    fn received(&mut self, result: i32, flags: u32, now: Instant) {
        self.armed = cqueue::more(flags);
        if let Some(number) = cqueue::buffer_select(flags) {
            let length = usize::try_from(result).unwrap_or(0);
            match self.buffers.filled(number, length) {
                Some(filled) if result >= 0 => self.filled.push_back(filled),
                Some(filled) => self.buffers.give_back(filled),
                None => {}
            }
        }
        // A flood has filled all buffers: the rest waits in the socket until some are taken.
        let full = result == -libc::ENOBUFS && !self.filled.is_empty();
        if result < 0 && !full {
            self.counts.receive_failed += 1;
            self.counts.last_errno = -result;
            self.retry = now + RETRY;
        }
    }
}

/// The link that a completion is of; none if that is gone.
fn port_of(ports: &mut [Option<Port>], place: u8, serial: u32) -> Option<&mut Port> {
    ports.get_mut(usize::from(place))?.as_mut().filter(|port| port.serial == serial)
}

/// Puts one entry into the queue; if that is full, the call is made. False if there is no room even then.
///
/// # Safety
///
/// What the entry points to must stay until the kernel has taken it from the queue; what it lets the kernel write to,
/// until the request has ended.
unsafe fn push(io: &mut IoUring, entry: &Entry) -> bool {
    // SAFETY: the caller keeps the contract.
    if unsafe { io.submission().push(entry) }.is_ok() {
        return true;
    }
    let _ = io.submit();
    // SAFETY: as above.
    unsafe { io.submission().push(entry) }.is_ok()
}

/// What a filled buffer holds.
pub(crate) struct Parts<'b> {
    /// The datagram.
    pub(crate) payload: &'b [u8],
    /// Who sent it, as the kernel has it.
    pub(crate) name: &'b [u8],
    /// Its control data.
    pub(crate) control: &'b [u8],
    /// It was longer than the buffer.
    pub(crate) truncated: bool,
}

/// Takes a buffer apart (`io_uring_recvmsg_out`: four lengths and flags, then room for the name and for control data, as
/// much as was asked for, then the datagram).
pub(crate) fn parts(bytes: &[u8]) -> Option<Parts<'_>> {
    let (head, rest) = bytes.split_first_chunk::<16>()?;
    let word = |at: usize| {
        let word = head.get(at..)?.first_chunk()?;
        Some(u32::from_ne_bytes(*word))
    };
    let length = |at| word(at).map(|word| word as usize);
    let (name, rest) = rest.split_at_checked(NAME_MAX)?;
    let (control, payload) = rest.split_at_checked(size_of::<Control>())?;
    Some(Parts {
        payload: payload.get(..length(8)?.min(payload.len()))?,
        name: name.get(..length(0)?.min(name.len()))?,
        control: control.get(..length(4)?.min(control.len()))?,
        truncated: word(12)? & libc::MSG_TRUNC as u32 != 0,
    })
}

#[cfg(test)]
mod tests;
