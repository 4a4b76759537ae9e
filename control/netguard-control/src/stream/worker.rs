//! The thread of the stream: one wait for all listeners and connections.

use super::incoming::{Incoming, PREFIX, Step};
use super::outgoing::Outgoing;
use super::{HANDED_MAX, Limits, Local, Order, Plan, RECEIVED_MAX, Received, Shared};
use crate::system::{self, Poll, Wake};
use base::{Duration, Instant};
use crossbeam_channel::{Receiver, Sender, TryRecvError};
use link::Destination;
use shm::Counter;
use std::io::ErrorKind;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use wire::codec::Writer;
use wire::frame::{HEADER_LEN, Header, Kind, Seal};
use wire::{Life, LinkId, Message, NodeSet, Nonce, Reject, Replay, Seq};

/// Connections that have not said who they are: of one address, and in all.
const STRANGERS_PER_ADDRESS: usize = 2;
const STRANGERS_MAX: usize = 32;
/// Connections accepted in one turn.
const ACCEPTS_MAX: usize = 16;
/// Frames taken from one connection in one turn.
const FRAMES_MAX: usize = 8;
/// A descriptor that poll(2) passes over.
const NOBODY: i32 = -1;
/// How long nothing is accepted when that has failed.
const DEAF: Duration = Duration::from_millis(50);
/// The stream carries frames of no link: a connection says nothing about one.
const NO_LINK: LinkId = LinkId(0);
/// Whoever cannot wait goes on looking, at a pace that lets others live.
const CANNOT_GO_ON: std::time::Duration = std::time::Duration::from_millis(10);

/// The thread's ends of everything that it shares.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) orders: Receiver<Order>,
    pub(super) wake: Arc<Wake>,
    pub(super) to_loop: Sender<Received>,
    pub(super) wake_loop: Arc<Wake>,
    pub(super) shared: Arc<Shared>,
}

/// What the thread works with.
#[derive(Debug)]
pub(super) struct Worker {
    seal: Seal,
    me: Life,
    nonce: Nonce,
    ends: Ends,
    locals: Vec<Local>,
    limits: Limits,
    listeners: Vec<TcpListener>,
    outgoing: Vec<Outgoing>,
    incoming: Vec<Incoming<TcpStream>>,
    /// Where each of `incoming` stands in the present poll.
    slots: Vec<Option<usize>>,
    replay: Box<Replay>,
    seq: u64,
    body: Writer,
    /// Nothing is accepted before: the process has no descriptors left.
    deaf_until: Instant,
}

/// The thread is to end.
struct Over;

impl Worker {
    /// Before the thread begins.
    pub(super) fn new(plan: Plan, (seal, me, nonce): (Seal, Life, Nonce), ends: Ends) -> Self {
        let Plan { locals, listeners, peers, limits } = plan;
        let nodes: NodeSet = peers.iter().map(|peer| peer.node).collect();
        Self {
            seal,
            me,
            nonce,
            ends,
            locals,
            limits,
            listeners,
            outgoing: peers.into_iter().map(Outgoing::new).collect(),
            incoming: Vec::new(),
            slots: Vec::new(),
            replay: Box::new(Replay::new(me.node, nodes)),
            seq: 0,
            body: Writer::new(),
            deaf_until: Instant::ZERO,
        }
    }

    /// Runs to the end. After a defect everything here begins anew: the agreement repeats.
    pub(super) fn survive(&mut self, priority: Option<u8>) {
        while catch_unwind(AssertUnwindSafe(|| self.run(priority))).is_err() {
            self.incoming.clear();
            self.slots.clear();
            let peers = std::mem::take(&mut self.outgoing).into_iter();
            self.outgoing = peers.map(|it| Outgoing::new(it.peer)).collect();
            std::thread::sleep(CANNOT_GO_ON);
        }
    }

    /// Until nobody gives orders any more.
    fn run(&mut self, priority: Option<u8>) {
        // Not allowed is told once, by the start of the daemon.
        let _ = priority.map(system::realtime);
        let mut poll = Poll::default();
        loop {
            let now = system::now();
            self.ends.wake.clear();
            if self.take_orders(now).is_err() {
                return;
            }
            self.accept(now, &poll);
            self.read(now, &poll);
            self.write(now, &poll);
            self.prepare(now, &mut poll);
            if poll.wait(self.limit(now)).is_err() {
                std::thread::sleep(CANNOT_GO_ON);
            }
        }
    }

    /// Fills the next poll: the wake, the listeners, the connections.
    fn prepare(&mut self, now: Instant, poll: &mut Poll) {
        poll.clear();
        poll.add(self.ends.wake.fd());
        let deaf = self.deaf_until > now;
        for listener in &self.listeners {
            poll.add(if deaf { NOBODY } else { listener.as_raw_fd() });
        }
        let reads = !self.holds_back();
        self.slots.clear();
        for connection in &self.incoming {
            self.slots.push(reads.then(|| poll.add(connection.socket.as_raw_fd())));
        }
        for peer in &mut self.outgoing {
            peer.slot = peer.wanted().map(|(fd, read, write)| poll.add_for(fd, read, write));
        }
    }

    /// How long the wait may be.
    fn limit(&self, now: Instant) -> Option<Duration> {
        let outgoing = self.outgoing.iter().filter_map(|peer| peer.deadline(self.limits));
        let incoming = self.incoming.iter().filter_map(|it| self.patience_with(it));
        let deaf = (self.deaf_until > now).then_some(self.deaf_until);
        outgoing.chain(incoming).chain(deaf).min().map(|at| at.since(now))
    }

    /// Until when a connection may go on as it is.
    fn patience_with(&self, connection: &Incoming<TcpStream>) -> Option<Instant> {
        match connection.who {
            None => Some(connection.since + self.limits.greet),
            // Held back, it cannot go on.
            Some(_) if connection.is_waiting() && !self.holds_back() => {
                Some(connection.since + self.limits.stall)
            }
            Some(_) => None,
        }
    }

    fn holds_back(&self) -> bool {
        self.ends.shared.held_back.load(Ordering::Acquire)
    }

    /// As many at most as may wait: whoever orders faster than this thread works does not keep it from its connections.
    fn take_orders(&mut self, now: Instant) -> Result<(), Over> {
        for _ in 0..HANDED_MAX {
            match self.ends.orders.try_recv() {
                Ok(Order::Send(to, message)) => self.send(now, to, &message),
                Ok(Order::Peers(peers)) => self.set_peers(now, peers),
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err(Over),
            }
        }
        // There may be more.
        self.ends.wake.wake();
        Ok(())
    }

    fn set_peers(&mut self, now: Instant, peers: Vec<super::Peer>) {
        let nodes: NodeSet = peers.iter().map(|peer| peer.node).collect();
        self.replay.set_configured(nodes);
        self.outgoing.retain(|known| nodes.contains(known.node()));
        for peer in peers {
            match self.outgoing.iter_mut().find(|known| known.node() == peer.node) {
                Some(known) => known.set_addresses(peer.addresses, now, &self.ends.shared),
                None => self.outgoing.push(Outgoing::new(peer)),
            }
        }
        self.incoming.retain(|it| it.who.is_none_or(|who| nodes.contains(who.node)));
        self.slots.clear();
    }

    /// Seals a message once, for all to whom it goes and who have room for it: sealing is what costs.
    fn send(&mut self, now: Instant, to: Destination, message: &Message) {
        let (key, size) = (message.key(), message.size());
        let meant = |peer: &Outgoing| match to {
            Destination::All => true,
            Destination::Node(node) => peer.node() == node,
        };
        let mut frame = None;
        for at in 0..self.outgoing.len() {
            let Some(peer) = self.outgoing.get(at).filter(|peer| meant(peer)) else { continue };
            if peer.has(key, now) {
                self.ends.shared.count(Counter::StreamRepeated);
                continue;
            }
            if !peer.has_room(size) {
                self.ends.shared.count(Counter::StreamDropped);
                continue;
            }
            if frame.is_none() {
                self.body.0.clear();
                message.encode(&mut self.body);
                frame = self.seal_body();
            }
            let Some((seq, frame)) = &frame else {
                // Larger than any frame: the cores have bounds below that.
                self.ends.shared.count(Counter::StreamDropped);
                return;
            };
            if let Some(peer) = self.outgoing.get_mut(at) {
                peer.push(key, (*seq, Arc::clone(frame)), now);
            }
        }
    }

    /// The next frame of this life, around what `body` holds, with its length in front.
    fn seal_body(&mut self) -> Option<(Seq, Arc<Vec<u8>>)> {
        self.seq += 1;
        let (from, nonce, seq) = (self.me, self.nonce, Seq(self.seq));
        let header = Header { kind: Kind::Bulk, from, nonce, link: NO_LINK, seq };
        Some((seq, Arc::new(sealed(&self.seal, &header, &self.body.0)?)))
    }

    fn accept(&mut self, now: Instant, poll: &Poll) {
        for at in 0..self.listeners.len() {
            if !poll.ready(1 + at) {
                continue;
            }
            for _ in 0..ACCEPTS_MAX {
                let Some(listener) = self.listeners.get(at) else { break };
                match listener.accept() {
                    Ok((socket, from)) => self.meet(now, socket, from.ip()),
                    Err(e) if e.kind() == ErrorKind::Interrupted => {}
                    Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => {
                        self.deaf_until = now + DEAF;
                        break;
                    }
                }
            }
        }
    }

    /// Somebody has connected: one who may be a peer gets a moment to say so.
    fn meet(&mut self, now: Instant, socket: TcpStream, from: IpAddr) {
        let addresses = self.outgoing.iter().flat_map(|peer| peer.peer.addresses.iter().flatten());
        let known = addresses.map(|it| it.ip()).any(|it| it == from);
        let strangers = || self.incoming.iter().filter(|it| it.who.is_none());
        let of_it = strangers().filter(|it| it.address == from).count();
        let room = of_it < STRANGERS_PER_ADDRESS && strangers().count() < STRANGERS_MAX;
        if !known || !room || socket.set_nonblocking(true).is_err() {
            self.ends.shared.count(Counter::StreamStrangers);
            return;
        }
        // A peer whose power is gone never says that its connection is over.
        let socket_ref = socket2::SockRef::from(&socket);
        let keepalive = socket2::TcpKeepalive::new()
            .with_time(std::time::Duration::from_secs(10))
            .with_interval(std::time::Duration::from_secs(2))
            .with_retries(3);
        let _ = socket_ref.set_tcp_keepalive(&keepalive);
        self.incoming.push(Incoming::new(socket, from, now));
    }

    fn read(&mut self, now: Instant, poll: &Poll) {
        let mut at = 0;
        let mut slots = std::mem::take(&mut self.slots).into_iter();
        while at < self.incoming.len() {
            // One that was accepted in this turn has no slot, and is read at once.
            let ready = slots.next().is_none_or(|slot| slot.is_some_and(|slot| poll.ready(slot)));
            if (ready && self.read_one(now, at).is_err()) || self.has_expired(now, at) {
                self.incoming.remove(at);
            } else {
                at += 1;
            }
        }
    }

    fn has_expired(&self, now: Instant, at: usize) -> bool {
        let Some(connection) = self.incoming.get(at) else { return false };
        let expired = self.patience_with(connection).is_some_and(|until| now >= until);
        if expired {
            let stranger = connection.who.is_none();
            let counter = if stranger { Counter::StreamStrangers } else { Counter::StreamStalled };
            self.ends.shared.count(counter);
        }
        expired
    }

    /// Takes what one connection has, bounded; the error ends it.
    fn read_one(&mut self, now: Instant, at: usize) -> Result<(), Over> {
        for _ in 0..FRAMES_MAX {
            if self.holds_back() {
                return Ok(());
            }
            let Some(connection) = self.incoming.get_mut(at) else { return Ok(()) };
            match connection.read(now) {
                Step::Blocked => return Ok(()),
                Step::Closed => return Err(Over),
                Step::Refused(reason) => {
                    self.ends.shared.reject(reason);
                    return Err(Over);
                }
                Step::Frame => {
                    if let Err(reason) = self.take_frame(at) {
                        self.ends.shared.reject(reason);
                        return Err(Over);
                    }
                }
            }
        }
        Ok(())
    }

    /// Opens a frame and hands its message to the loop.
    fn take_frame(&mut self, at: usize) -> Result<(), Reject> {
        let Self { incoming, seal, replay, ends, .. } = self;
        let Some(connection) = incoming.get_mut(at) else { return Ok(()) };
        let bytes = connection.frame().len();
        let (header, body) = wire::frame::open(seal, NO_LINK, connection.frame())?;
        let another = connection.who.is_some_and(|who| who != header.from);
        if header.kind != Kind::Bulk || another {
            return Err(Reject::Malformed);
        }
        replay.take(&header)?;
        if connection.who.is_none() {
            // Its length has been held to that of a header: it has no body.
            connection.who = Some(header.from);
            connection.next();
            self.replace(at, header.from);
            return Ok(());
        }
        let message = Message::decode(body).map_err(|_| Reject::Malformed)?;
        connection.next();
        ends.shared.count(Counter::StreamReceived);
        ends.shared.add(Counter::StreamReceivedBytes, bytes);
        let waiting = ends.shared.received.fetch_add(bytes, Ordering::AcqRel) + bytes;
        if ends.to_loop.try_send(Received { header, message, bytes }).is_err() {
            ends.shared.received.fetch_sub(bytes, Ordering::AcqRel);
            ends.shared.count(Counter::StreamDropped);
        } else if waiting >= RECEIVED_MAX {
            ends.shared.held_back.store(true, Ordering::Release);
        }
        ends.wake_loop.wake();
        Ok(())
    }

    /// A node speaks on one connection: its newest.
    fn replace(&mut self, newest: usize, who: Life) {
        let old = |(at, it): (usize, &Incoming<TcpStream>)| {
            (at != newest && it.who.is_some_and(|other| other.node == who.node)).then_some(at)
        };
        // Closed here, removed when it is read next.
        for at in self.incoming.iter().enumerate().filter_map(old).collect::<Vec<_>>() {
            if let Some(connection) = self.incoming.get(at) {
                let _ = connection.socket.shutdown(std::net::Shutdown::Both);
            }
        }
    }

    fn write(&mut self, now: Instant, poll: &Poll) {
        for at in 0..self.outgoing.len() {
            let Some(peer) = self.outgoing.get(at) else { continue };
            let ready = peer.slot.is_some_and(|slot| poll.ready(slot));
            let Self { outgoing, seal, me, nonce, seq, locals, limits, ends, .. } = self;
            let mut greet = || {
                *seq += 1;
                let (from, nonce, seq) = (*me, *nonce, Seq(*seq));
                let header = Header { kind: Kind::Bulk, from, nonce, link: NO_LINK, seq };
                (seq, sealed(seal, &header, &[]).unwrap_or_default())
            };
            if let Some(peer) = outgoing.get_mut(at) {
                peer.work((now, ready), (locals, *limits), &mut greet, &ends.shared);
            }
        }
    }
}

/// A frame with its length in front.
pub(super) fn sealed(seal: &Seal, header: &Header, body: &[u8]) -> Option<Vec<u8>> {
    let length = HEADER_LEN + body.len();
    let mut bytes = vec![0; PREFIX + length];
    let (prefix, frame) = bytes.split_at_mut(PREFIX);
    prefix.copy_from_slice(&(length as u32).to_le_bytes());
    wire::frame::seal(seal, header, body, frame)?;
    Some(bytes)
}
