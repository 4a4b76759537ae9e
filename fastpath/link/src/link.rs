//! The trait that every back end fulfils.

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
    /// The receive call failed.
    pub receive_failed: u64,
    /// Not sent: the node has no address on this link.
    pub no_address: u64,
    /// Dropped, doubled or delayed on purpose.
    pub disturbed: u64,
    /// The last error number of a send or a receive; 0 = none yet.
    pub last_errno: i32,
}

/// One of the up to four ways to the peers.
pub trait Link: Send {
    /// Its number.
    fn id(&self) -> LinkId;

    /// Sends one frame without waiting. True if everything went out; what did not is counted.
    fn send(&mut self, to: Destination, frame: &[u8]) -> bool;

    /// Takes what is waiting, at most one batch, and gives each datagram to `each` with its source.
    /// Returns how many were taken from the kernel: less than [`BATCH`](crate::BATCH) = nothing is
    /// left.
    fn receive(&mut self, each: &mut dyn FnMut(SocketAddr, &[u8])) -> usize;

    /// Says where a peer is from now on, or that it has no address here. Allocates nothing.
    fn set_peer(&mut self, node: NodeId, address: Option<SocketAddr>);

    /// Readable when something is waiting.
    fn fd(&self) -> BorrowedFd<'_>;

    /// The counts so far.
    fn counts(&self) -> Counts;
}
