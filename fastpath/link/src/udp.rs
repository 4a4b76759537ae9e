//! UDP: one socket per link, bound to its interface; one call for a batch of datagrams either way.

use crate::batch::{self, Arrived};
use crate::error::OpenError;
use crate::link::{Arrival, Counts, Destination, Hear, Link, Source};
use crate::options;
use crate::settings::{Mode, Settings};
use crate::stamp;
use socket2::{SockAddr, Socket};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use wire::{LinkId, NODES_MAX, NodeId};

/// Most datagrams of one system call.
pub const BATCH: usize = 32;

/// A UDP link.
#[derive(Debug)]
pub struct UdpLink {
    id: LinkId,
    socket: Socket,
    /// Where a frame to all goes; none = to each peer.
    group: Option<SockAddr>,
    own: IpAddr,
    interface: u32,
    /// By node, from 0.
    peers: Box<[Option<SockAddr>]>,
    /// One batch of received datagrams.
    buffers: Box<[u8]>,
    frame_max: usize,
    counts: Counts,
}

impl UdpLink {
    /// Opens the socket and takes all the memory that the link will ever use.
    pub fn open(settings: &Settings) -> Result<Self, OpenError> {
        let socket = options::open(settings)?;
        let group = match settings.mode {
            Mode::Multicast(to) | Mode::Broadcast(to) => {
                let to = SocketAddr::new(to, settings.own.port());
                Some(options::with_scope(to, settings.interface).into())
            }
            Mode::Unicast => None,
        };
        let frame_max = settings.frame_max.max(1);
        let mut link = Self {
            id: settings.id,
            socket,
            group,
            own: settings.own.ip(),
            interface: settings.interface,
            peers: (0..NODES_MAX).map(|_| None).collect(),
            buffers: vec![0; BATCH * frame_max].into_boxed_slice(),
            frame_max,
            counts: Counts::default(),
        };
        for &(node, address) in &settings.peers {
            link.set_peer(node, Some(address));
        }
        Ok(link)
    }

    /// The bound address; its port is the real one if port 0 was asked for.
    pub fn local(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

impl Link for UdpLink {
    fn id(&self) -> LinkId {
        self.id
    }

    fn send(&mut self, to: Destination, frame: &[u8]) -> bool {
        let counts = &mut self.counts;
        let one = match (to, &self.group) {
            (Destination::All, Some(group)) => group,
            (Destination::Node(node), _) => match &self.peers[node.index()] {
                Some(peer) => peer,
                None => {
                    counts.no_address += 1;
                    return false;
                }
            },
            (Destination::All, None) => {
                let mut all = true;
                let failed = |error: io::Error| {
                    all = false;
                    count_failed(counts, &error);
                };
                let sent = batch::send(&self.socket, frame, self.peers.iter().flatten(), failed);
                self.counts.sent += sent;
                return all;
            }
        };
        match batch::send_one(&self.socket, frame, one) {
            Ok(()) => counts.sent += 1,
            Err(error) => {
                count_failed(counts, &error);
                return false;
            }
        }
        true
    }

    fn receive(&mut self, each: &mut Hear<'_>) -> usize {
        let (counts, own) = (&mut self.counts, self.own);
        let mut now = None;
        let received =
            batch::receive(&self.socket, &mut self.buffers, self.frame_max, |frame, arrived| {
                give(counts, own, &mut now, frame, arrived, each);
            });
        match received {
            Ok(count) => count,
            Err(error) => {
                self.counts.receive_failed += 1;
                self.counts.last_errno = error.raw_os_error().unwrap_or(0);
                0
            }
        }
    }

    fn set_peer(&mut self, node: NodeId, address: Option<SocketAddr>) {
        self.peers[node.index()] =
            address.map(|address| options::with_scope(address, self.interface).into());
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn counts(&self) -> Counts {
        self.counts
    }
}

/// Counts one datagram, and gives it to `each` if it may be a frame of a peer. `now` is the wall clock, read once for a
/// batch.
pub(crate) fn give(
    counts: &mut Counts,
    own: IpAddr,
    now: &mut Option<libc::timespec>,
    frame: &[u8],
    arrived: Arrived,
    each: &mut Hear<'_>,
) {
    counts.received += 1;
    let Some(source) = arrived.source else { return };
    if arrived.truncated {
        counts.oversize += 1;
    } else if source.ip() == own && !own.is_loopback() {
        counts.own += 1;
    } else {
        let waited = arrived
            .stamp
            .and_then(|stamp| stamp::waited(*now.get_or_insert_with(stamp::now), stamp));
        each(Arrival { frame, source: Source::Ip(source), waited });
    }
}

/// Sorts a failed send. None of them is fatal: a cable comes back, a filter is changed, a buffer
/// drains.
pub(crate) fn count_failed(counts: &mut Counts, error: &io::Error) {
    let errno = error.raw_os_error().unwrap_or(0);
    counts.last_errno = errno;
    match errno {
        libc::ENOBUFS | libc::EAGAIN | libc::ENOMEM => counts.no_buffer += 1,
        libc::ENETUNREACH
        | libc::EHOSTUNREACH
        | libc::ENETDOWN
        | libc::EHOSTDOWN
        | libc::ENODEV
        | libc::ENXIO
        | libc::EADDRNOTAVAIL => counts.unreachable += 1,
        libc::EPERM | libc::EACCES => counts.forbidden += 1,
        _ => counts.send_failed += 1,
    }
}
