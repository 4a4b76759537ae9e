//! What a link must be told.

use std::net::{IpAddr, SocketAddr};
use wire::{LinkId, NodeId};

/// How a link reaches all peers at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// One datagram to this group, with hop limit 1.
    Multicast(IpAddr),
    /// One datagram to this address (IPv4).
    Broadcast(IpAddr),
    /// One datagram to each peer.
    Unicast,
}

/// One link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Its number.
    pub id: LinkId,
    /// How it reaches all.
    pub mode: Mode,
    /// Own address and port.
    pub own: SocketAddr,
    /// Index of the interface to bind to; 0 = none.
    pub interface: u32,
    /// The peers' addresses.
    pub peers: Vec<(NodeId, SocketAddr)>,
    /// Longest datagram that can be a frame.
    pub frame_max: usize,
    /// Whether the kernel's time of receipt is wanted.
    pub stamped: bool,
}
