//! The stream beside the datagrams: messages that fit no datagram travel on TCP connections between
//! two controls (ARCHITECTURE, Stream; WIRE.md).
//!
//! One thread has listeners and connections, seals and opens; the agreement's thread only hands a
//! message over, which shares the bodies of its entries, and takes what came. A connection carries
//! frames one way, so that two nodes that speak at once never argue about whose connection it is.
//! Nothing waits for anybody: queues have bounds in bytes, what does not fit is dropped and counted,
//! and the agreement repeats what was not acknowledged.
//!
//! * [`incoming`]: frames out of bytes, and who speaks there. [`outgoing`]: what waits for one peer.
//! * [`worker`]: the thread.

mod incoming;
mod outgoing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod transfer;
mod worker;

use crate::failure::Failure;
use crate::identity::Identity;
use crate::system::Wake;
use base::Duration;
use crossbeam_channel::{Receiver, Sender, bounded};
use link::Destination;
use shm::{Counter, Counters, Side};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use wire::frame::Seal;
use wire::{Header, Life, Message, NodeId, NodeSet, Nonce, Reject};
use worker::Worker;

/// Messages that may wait to be sealed, and messages that may wait for the agreement.
const HANDED_MAX: usize = 256;
/// Bytes that may wait for the agreement: above, connections are not read, and TCP holds the peers
/// back.
const RECEIVED_MAX: usize = 16 * 1024 * 1024;
/// Connections that the kernel holds for one listener until they are accepted.
const BACKLOG: i32 = 16;
/// The stack of the thread; all of it is locked in memory.
const STACK: usize = 256 * 1024;

/// The node's own end of one link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Local {
    /// Its address, with the agreement's port.
    pub own: SocketAddr,
    /// Its interface; 0 = any.
    pub interface: u32,
}

/// A peer: its address on each link, in their order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// The node.
    pub node: NodeId,
    /// Where it listens; none on a link where it is not.
    pub addresses: Vec<Option<SocketAddr>>,
}

/// Times that a connection may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Until whoever connects has said who it is.
    pub greet: Duration,
    /// Without progress while something waits: the peer does not read, or the link is dead.
    pub stall: Duration,
}

impl Limits {
    /// For a deadline D: a dead link costs about as much as a dead member.
    #[must_use]
    pub fn of(deadline: Duration) -> Self {
        let stall = (deadline * 3).max(Duration::from_millis(200));
        Self { greet: Duration::from_millis(1_000), stall }
    }
}

/// Listeners on every link, opened before the life begins; the thread comes later.
#[derive(Debug)]
pub struct Plan {
    locals: Vec<Local>,
    listeners: Vec<TcpListener>,
    peers: Vec<Peer>,
    limits: Limits,
}

impl Plan {
    /// Takes the TCP port of the agreement on every link.
    pub fn open(identity: &Identity, deadline: Duration) -> Result<Self, Failure> {
        let ends = identity.links.iter().zip(&identity.config.links);
        let locals: Vec<Local> = ends
            .map(|(local, link)| Local {
                own: SocketAddr::new(local.own, link.port.saturating_add(1)),
                interface: local.interface.index,
            })
            .collect();
        let mut listeners = Vec::with_capacity(locals.len());
        for local in &locals {
            let taken = |source| Failure::Listen { address: local.own, source };
            listeners.push(listen(*local).map_err(taken)?);
        }
        let ports: Vec<u16> = locals.iter().map(|local| local.own.port()).collect();
        let by_link: Vec<_> = (0..locals.len()).map(|link| identity.peers(link)).collect();
        let peers = peers(identity.nodes(|node| node.id != identity.me.get()), &ports, &by_link);
        Ok(Self { locals, listeners, peers, limits: Limits::of(deadline) })
    }
}

/// The peers, by where they are on each link; who is on none is nobody to connect to.
pub fn peers(nodes: NodeSet, ports: &[u16], by_link: &[Vec<(NodeId, IpAddr)>]) -> Vec<Peer> {
    let on = |list: &[(NodeId, IpAddr)], port: u16, node: NodeId| {
        let at = list.iter().find(|(id, _)| *id == node);
        at.map(|(_, ip)| SocketAddr::new(*ip, port))
    };
    let peer = |node: NodeId| {
        let ends = by_link.iter().zip(ports);
        let addresses: Vec<_> = ends.map(|(list, port)| on(list, *port, node)).collect();
        addresses.iter().any(Option::is_some).then_some(Peer { node, addresses })
    };
    nodes.iter().filter_map(peer).collect()
}

/// A socket on the interface of a link. Link-local addresses get their interface.
fn socket(local: Local) -> io::Result<(Socket, SocketAddr)> {
    let domain = Domain::for_address(local.own);
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(domain, kind, Some(Protocol::TCP))?;
    let interface = NonZeroU32::new(local.interface);
    match local.own {
        SocketAddr::V4(_) => socket.bind_device_by_index_v4(interface)?,
        SocketAddr::V6(_) => {
            socket.bind_device_by_index_v6(interface)?;
            socket.set_only_v6(true)?;
        }
    }
    Ok((socket, with_scope(local.own, local.interface)))
}

fn with_scope(address: SocketAddr, interface: u32) -> SocketAddr {
    match address {
        SocketAddr::V6(mut v6) if v6.ip().is_unicast_link_local() => {
            v6.set_scope_id(interface);
            v6.into()
        }
        other => other,
    }
}

fn listen(local: Local) -> io::Result<TcpListener> {
    let (socket, own) = socket(local)?;
    // Connections of the life before may still be dying; two listeners are refused all the same.
    socket.set_reuse_address(true)?;
    socket.bind(&own.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// What the thread counts; the event loop shows it.
const COUNTED: [Counter; 10] = [
    Counter::StreamSent,
    Counter::StreamSentBytes,
    Counter::StreamReceived,
    Counter::StreamReceivedBytes,
    Counter::StreamRepeated,
    Counter::StreamDropped,
    Counter::StreamConnected,
    Counter::StreamBroken,
    Counter::StreamStalled,
    Counter::StreamStrangers,
];

/// Numbers that both threads see.
#[derive(Debug, Default)]
struct Shared {
    counts: [AtomicU64; COUNTED.len()],
    rejects: [AtomicU64; Reject::COUNT],
    /// Bytes that wait for the agreement.
    received: AtomicUsize,
    /// The thread has stopped reading until they are less.
    held_back: AtomicBool,
}

impl Shared {
    fn count(&self, counter: Counter) {
        self.add(counter, 1);
    }
    fn add(&self, counter: Counter, n: usize) {
        let place = COUNTED.iter().position(|known| *known == counter);
        if let Some(word) = place.and_then(|place| self.counts.get(place)) {
            word.fetch_add(n as u64, Ordering::Relaxed);
        }
    }
    fn reject(&self, reason: Reject) {
        if let Some(word) = self.rejects.get(reason.index()) {
            word.fetch_add(1, Ordering::Relaxed);
        }
    }
    #[cfg(test)]
    fn get(&self, counter: Counter) -> u64 {
        let place = COUNTED.iter().position(|known| *known == counter);
        place.and_then(|place| self.counts.get(place)).map_or(0, |it| it.load(Ordering::Relaxed))
    }
    #[cfg(test)]
    fn rejected(&self, reason: Reject) -> u64 {
        self.rejects.get(reason.index()).map_or(0, |it| it.load(Ordering::Relaxed))
    }
}

/// Something for the thread to do.
#[derive(Debug)]
enum Order {
    Send(Destination, Message),
    Peers(Vec<Peer>),
}

/// A frame that the thread has opened.
#[derive(Debug)]
struct Received {
    header: Header,
    message: Message,
    bytes: usize,
}

/// The thread's handle.
#[derive(Debug)]
pub struct Stream {
    orders: Sender<Order>,
    wake: Arc<Wake>,
    received: Receiver<Received>,
    shared: Arc<Shared>,
}

impl Stream {
    /// Starts the thread; `wake_loop` is woken with everything that comes.
    pub fn start(
        plan: Plan,
        (seal, me, nonce): (Seal, Life, Nonce),
        priority: Option<u8>,
        wake_loop: Arc<Wake>,
    ) -> io::Result<Self> {
        let (orders, from) = bounded(HANDED_MAX);
        let (to_loop, received) = bounded(HANDED_MAX);
        let wake = Arc::new(Wake::new()?);
        let shared = Arc::new(Shared::default());
        let ends = worker::Ends {
            orders: from,
            wake: Arc::clone(&wake),
            to_loop,
            wake_loop,
            shared: Arc::clone(&shared),
        };
        let mut worker = Worker::new(plan, (seal, me, nonce), ends);
        let thread = std::thread::Builder::new().name("stream".into()).stack_size(STACK);
        thread.spawn(move || worker.survive(priority))?;
        Ok(Self { orders, wake, received, shared })
    }

    /// Hands a message over. What cannot be taken is counted; the agreement repeats.
    pub fn send(&self, to: Destination, message: Message) {
        self.order(Order::Send(to, message));
    }

    /// Other peers from now on, or the same at other addresses.
    pub fn set_peers(&self, peers: Vec<Peer>) {
        self.order(Order::Peers(peers));
    }

    fn order(&self, order: Order) {
        if self.orders.try_send(order).is_err() {
            self.shared.count(Counter::StreamDropped);
        }
        self.wake.wake();
    }

    /// The next message that came, with its header.
    pub fn poll(&self) -> Option<(Header, Message)> {
        let Received { header, message, bytes } = self.received.try_recv().ok()?;
        let left = self.shared.received.fetch_sub(bytes, Ordering::AcqRel) - bytes;
        if left < RECEIVED_MAX / 2 && self.shared.held_back.swap(false, Ordering::AcqRel) {
            self.wake.wake();
        }
        Some((header, message))
    }

    /// Shows what was counted in the shared map.
    pub fn publish_counts(&self, counters: &Counters) {
        for (counter, word) in COUNTED.iter().zip(&self.shared.counts) {
            counters.set(Side::Control, *counter, word.load(Ordering::Relaxed));
        }
        for (reason, word) in Reject::ALL.iter().zip(&self.shared.rejects) {
            counters.add_rejects(Side::Control, *reason, word.swap(0, Ordering::Relaxed));
        }
    }
}

impl Drop for Stream {
    /// The thread ends when nobody can give it orders any more.
    fn drop(&mut self) {
        let (nobody, _) = bounded(0);
        self.orders = nobody;
        self.wake.wake();
    }
}
