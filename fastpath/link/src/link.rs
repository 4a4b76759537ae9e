//! The trait that every back end fulfils.

use base::Duration;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use wire::{LinkId, NodeId};

/// Where a frame goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Destination {
    /// Every peer of the link.
    All,
    /// One peer.
    Node(NodeId),
}

/// Who sent a datagram, as the layer below says. Proves nothing: whoever is on the network can write it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// By UDP.
    Ip(SocketAddr),
    /// In a frame of its own, without IP.
    Mac([u8; 6]),
}

/// One datagram that came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrival<'b> {
    /// Its bytes.
    pub frame: &'b [u8],
    /// Who sent it.
    pub source: Source,
    /// How long it had waited in the kernel when it was taken, by the kernel's time stamp; none if there is no stamp or
    /// it lies in the future. Stamps are taken from the wall clock, so this is wrong by as much as that was set
    /// meanwhile: the reader bounds it by what it knows itself.
    pub waited: Option<Duration>,
}

/// What hears the datagrams of a link.
pub type Hear<'h> = dyn FnMut(Arrival<'_>) -> Option<NodeId> + 'h;

/// What a link counts. All only grow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Datagrams handed to the kernel.
    pub sent: u64,
    /// Datagrams taken from the kernel, those counted below included.
    pub received: u64,
    /// Not sent: no buffer (ENOBUFS, or the socket was full).
    pub no_buffer: u64,
    /// Not sent: no route, host unreachable, interface down or gone.
    pub unreachable: u64,
    /// Not sent: forbidden (EPERM: a packet filter).
    pub forbidden: u64,
    /// Not sent for another reason.
    pub send_failed: u64,
    /// Received, longer than any frame, dropped.
    pub oversize: u64,
    /// Received, sent by ourselves (broadcast comes back), dropped.
    pub own: u64,
    /// The receive call failed, or the kernel had no room for a datagram and said so.
    pub receive_failed: u64,
    /// Not sent: the node has no address on this link.
    pub no_address: u64,
    /// Dropped, doubled or delayed on purpose.
    pub disturbed: u64,
    /// The last error number of a send or a receive; 0 = none yet.
    pub last_errno: i32,
}

impl Counts {
    /// What did not go out.
    #[must_use]
    pub const fn unsent(&self) -> u64 {
        self.no_buffer + self.unreachable + self.forbidden + self.send_failed + self.no_address
    }
}

/// One of the up to four ways to the peers.
pub trait Link {
    /// Its number.
    fn id(&self) -> LinkId;

    /// Sends one frame without waiting. False if it is known at once that something did not go out; what did not is
    /// counted, now or with the next turn.
    fn send(&mut self, to: Destination, frame: &[u8]) -> bool;

    /// Takes what is waiting, at most one batch, and gives each datagram to `each`, which says of what node it is if that
    /// is proven: a link that learns addresses sends to that node where it came from, from now on.
    ///
    /// Returns how many were taken from the kernel: less than [`BATCH`](crate::BATCH) = nothing is
    /// left.
    fn receive(&mut self, each: &mut Hear<'_>) -> usize;

    /// Hands over to the kernel what [`Link::send`] has only put down. Nothing to do where it sends at once.
    fn flush(&mut self) {}

    /// Says where a peer is from now on, or that it has no address here. Allocates nothing.
    fn set_peer(&mut self, node: NodeId, address: Option<SocketAddr>);

    /// Readable when something is waiting.
    fn fd(&self) -> BorrowedFd<'_>;

    /// The counts so far.
    fn counts(&self) -> Counts;
}
