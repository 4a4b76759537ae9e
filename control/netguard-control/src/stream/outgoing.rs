//! What waits for one peer, and the connection on which it goes there.
//!
//! A connection is made when something waits. The first link's address is tried first, the next one's
//! when that fails. When all have failed, what waits is dropped: it is old by then, and the agreement
//! repeats what still matters.

use super::{Limits, Local, Peer, Shared, socket, with_scope};
use base::{Duration, Instant};
use shm::Counter;
use socket2::Socket;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use wire::message::Key;
use wire::{NodeId, Seq};

/// Bytes that may wait for one peer.
pub(super) const QUEUE_MAX: usize = 8 * 1024 * 1024;
/// What the kernel holds of them: little, so that what waits can still be dropped.
const SEND_BUFFER: usize = 256 * 1024;
/// Pause after a connection has ended; doubled while new ones do not last.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// A connection that lasts so long was a good one.
const LASTED: Duration = Duration::from_millis(1_000);
/// What has waited so long when a connection ends is not worth another one.
const OLD: Duration = Duration::from_millis(2_000);
/// How far a frame's number may lie behind that of the greeting (half the peer's window).
const REACH: u64 = wire::replay::WINDOW / 2;
/// A message is not sent again on a connection that took it so short a time ago: it is on its way.
const JUST_SENT: Duration = Duration::from_millis(20);

/// A sealed frame with its length in front. Peers share it.
type Frame = Arc<Vec<u8>>;

#[derive(Debug)]
struct Waiting {
    key: Option<Key>,
    frame: Frame,
    seq: Seq,
    since: Instant,
}

#[derive(Debug)]
enum State {
    Idle,
    /// Not before this.
    Paused(Instant),
    Connecting(Socket, Instant),
    Open(Socket),
}

/// One peer.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// The peer.
    pub(super) peer: Peer,
    /// Where its socket stands in the present poll.
    pub(super) slot: Option<usize>,
    queue: VecDeque<Waiting>,
    bytes: usize,
    state: State,
    /// Which link is tried.
    link: usize,
    /// Links that have failed one after the other.
    failed: usize,
    pause: Duration,
    /// Who speaks, with its length: what is left to write of it on this connection.
    greeting: Vec<u8>,
    /// How much of the first frame is written.
    written: usize,
    opened: Instant,
    /// The last progress while something waited.
    progress: Instant,
    last: Option<(Key, Instant)>,
}

impl Outgoing {
    /// Nothing waits.
    #[must_use]
    pub(super) const fn new(peer: Peer) -> Self {
        Self {
            peer,
            slot: None,
            queue: VecDeque::new(),
            bytes: 0,
            state: State::Idle,
            link: 0,
            failed: 0,
            pause: PAUSE_MIN,
            greeting: Vec::new(),
            written: 0,
            opened: Instant::ZERO,
            progress: Instant::ZERO,
            last: None,
        }
    }

    /// True if a message of this key waits, or has just been written.
    #[must_use]
    pub(super) fn has(&self, key: Option<Key>, now: Instant) -> bool {
        let Some(key) = key else { return false };
        self.queue.iter().any(|waiting| waiting.key == Some(key))
            || self.last.is_some_and(|(last, at)| last == key && now < at + JUST_SENT)
    }

    /// True if a message of `size` may wait. One that waits alone may be as large as it is.
    #[must_use]
    pub(super) const fn has_room(&self, size: usize) -> bool {
        self.bytes == 0 || self.bytes + size <= QUEUE_MAX
    }

    /// Takes a frame, for which there is room.
    pub(super) fn push(&mut self, key: Option<Key>, (seq, frame): (Seq, Frame), now: Instant) {
        if self.queue.is_empty() {
            self.progress = now;
        }
        self.bytes += frame.len();
        self.queue.push_back(Waiting { key, frame, seq, since: now });
    }

    /// Says where the peer is from now on.
    pub(super) fn set_addresses(
        &mut self,
        addresses: Vec<Option<SocketAddr>>,
        now: Instant,
        shared: &Shared,
    ) {
        if self.peer.addresses != addresses {
            self.peer.addresses = addresses;
            if matches!(self.state, State::Open(_) | State::Connecting(..)) {
                self.broken(now, shared);
            }
            self.link = 0;
        }
    }

    /// The socket to poll: whether for reading and for writing.
    #[must_use]
    pub(super) fn wanted(&self) -> Option<(RawFd, bool, bool)> {
        match &self.state {
            State::Idle | State::Paused(_) => None,
            State::Connecting(socket, _) => Some((socket.as_raw_fd(), false, true)),
            State::Open(socket) => {
                let waits = !self.queue.is_empty() || !self.greeting.is_empty();
                Some((socket.as_raw_fd(), true, waits))
            }
        }
    }

    /// When something is due here.
    #[must_use]
    pub(super) fn deadline(&self, limits: Limits) -> Option<Instant> {
        match self.state {
            State::Idle => None,
            State::Paused(until) => (!self.queue.is_empty()).then_some(until),
            State::Connecting(_, since) => Some(since + limits.stall),
            State::Open(_) => (!self.queue.is_empty()).then_some(self.progress + limits.stall),
        }
    }

    /// Does what can be done now. `greet` makes the frame that says who speaks. `ready`: the socket
    /// has something to tell.
    pub(super) fn work(
        &mut self,
        (now, ready): (Instant, bool),
        (locals, limits): (&[Local], Limits),
        greet: &mut dyn FnMut() -> (Seq, Vec<u8>),
        shared: &Shared,
    ) {
        if self.deadline(limits).is_some_and(|at| now >= at)
            && matches!(self.state, State::Open(_) | State::Connecting(..))
        {
            shared.count(Counter::StreamStalled);
            self.broken(now, shared);
        }
        match &self.state {
            State::Paused(until) if now >= *until => self.state = State::Idle,
            State::Connecting(socket, _) if ready => match socket.take_error() {
                Ok(None) => self.open(now, greet(), shared),
                _ => self.broken(now, shared),
            },
            State::Open(_) if ready => self.listen(now, shared),
            _ => {}
        }
        for _ in 0..locals.len().max(1) {
            if matches!(self.state, State::Idle) && !self.queue.is_empty() {
                self.connect(now, locals, limits, shared);
            }
        }
        if matches!(self.state, State::Open(_)) {
            self.write(now, shared);
        }
    }

    fn connect(&mut self, now: Instant, locals: &[Local], limits: Limits, shared: &Shared) {
        let peer = self.peer.addresses.get(self.link).copied().flatten();
        let ends = locals.get(self.link).zip(peer);
        let begun = ends.map(|(local, peer)| connect(*local, peer, limits));
        match begun {
            Some(Ok(socket)) => self.state = State::Connecting(socket, now),
            _ => self.broken(now, shared),
        }
    }

    fn open(&mut self, now: Instant, (seq, greeting): (Seq, Vec<u8>), shared: &Shared) {
        let State::Connecting(socket, _) = std::mem::replace(&mut self.state, State::Idle) else {
            return;
        };
        shared.count(Counter::StreamConnected);
        self.state = State::Open(socket);
        (self.greeting, self.written) = (greeting, 0);
        (self.opened, self.progress) = (now, now);
        // What was sealed long before the greeting lies behind the peer's window.
        self.drop_all_but(shared, |waiting| waiting.seq.0 + REACH > seq.0);
    }

    fn drop_all_but(&mut self, shared: &Shared, keep: impl Fn(&Waiting) -> bool) {
        let before = self.queue.len();
        self.queue.retain(keep);
        self.bytes = self.queue.iter().map(|waiting| waiting.frame.len()).sum();
        shared.add(Counter::StreamDropped, before - self.queue.len());
    }

    /// The peer never says anything here: what can be read is the end.
    fn listen(&mut self, now: Instant, shared: &Shared) {
        let State::Open(socket) = &mut self.state else { return };
        match socket.read(&mut [0; 16]) {
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            _ => self.broken(now, shared),
        }
    }

    fn write(&mut self, now: Instant, shared: &Shared) {
        loop {
            let State::Open(socket) = &mut self.state else { return };
            let greets = !self.greeting.is_empty();
            let first = self.queue.front().map(|waiting| &*waiting.frame);
            let head = if greets { Some(&self.greeting) } else { first };
            let Some(rest) = head.and_then(|head| head.get(self.written..)) else { return };
            match socket.write(rest) {
                Ok(n) if n > 0 => {
                    self.progress = now;
                    self.failed = 0;
                    self.written += n;
                    if n < rest.len() {
                        continue;
                    }
                    self.written = 0;
                    if greets {
                        self.greeting.clear();
                    } else {
                        self.sent(now, shared);
                    }
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                _ => return self.broken(now, shared),
            }
        }
    }

    fn sent(&mut self, now: Instant, shared: &Shared) {
        let Some(Waiting { key, frame, .. }) = self.queue.pop_front() else { return };
        self.bytes -= frame.len();
        self.last = key.map(|key| (key, now));
        shared.count(Counter::StreamSent);
        shared.add(Counter::StreamSentBytes, frame.len());
    }

    /// The connection is over, or could not be made: the next link is next.
    fn broken(&mut self, now: Instant, shared: &Shared) {
        shared.count(Counter::StreamBroken);
        let opened = matches!(self.state, State::Open(_));
        let lasted = opened && now.since(self.opened) >= LASTED;
        self.pause = if lasted { PAUSE_MIN } else { (self.pause * 2).min(PAUSE_MAX) };
        (self.written, self.last) = (0, None);
        self.greeting.clear();
        let links = self.peer.addresses.len().max(1);
        self.link = (self.link + 1) % links;
        self.failed += 1;
        // Another link is tried at once.
        self.state = State::Idle;
        if self.failed >= links || opened {
            self.state = State::Paused(now + self.pause);
        }
        let hopeless = self.failed >= links;
        if hopeless {
            self.failed = 0;
        }
        self.drop_all_but(shared, |waiting| !hopeless && now.since(waiting.since) < OLD);
    }

    /// The peer.
    #[must_use]
    pub(super) const fn node(&self) -> NodeId {
        self.peer.node
    }
}

/// Begins a connection from the own end of the link, so that it takes that link.
fn connect(local: Local, peer: SocketAddr, limits: Limits) -> std::io::Result<Socket> {
    let (socket, mut own) = socket(local)?;
    own.set_port(0);
    socket.bind(&own.into())?;
    socket.set_tcp_nodelay(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    // What the kernel has taken and the peer does not acknowledge ends the connection, too; it counts
    // nothing, so it comes second.
    let stall = std::time::Duration::from_nanos(limits.stall.nanos().saturating_mul(2));
    socket.set_tcp_user_timeout(Some(stall))?;
    match socket.connect(&with_scope(peer, local.interface).into()) {
        Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => Ok(socket),
        Err(e) => Err(e),
        Ok(()) => Ok(socket),
    }
}
