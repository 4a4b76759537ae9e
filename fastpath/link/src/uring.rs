//! UDP on io_uring: the same wire and the same sockets as [`crate::udp`], in the ring of the thread.
//!
//! [`Link::send`] sends at once what goes to one address, a group's for instance, and puts down what goes to each peer;
//! [`Link::flush`] hands over what all links of the ring have put down, in one call, and so does the next [`Ring::wait`]. What
//! that could not send is known, and counted, after the call. What a wait brought is what [`Link::receive`] gives out.

use crate::batch::Arrived;
use crate::error::OpenError;
use crate::link::{Counts, Destination, Hear, Link};
use crate::name::Name;
use crate::options;
use crate::ring::{Buffers, Ring, parts};
use crate::settings::{Mode, Settings};
use crate::stamp::Control;
use crate::udp::{BATCH, give};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use wire::{LinkId, NODES_MAX, NodeId};

/// A UDP link in a ring.
#[derive(Debug)]
pub struct UringLink {
    id: LinkId,
    ring: Ring,
    /// Of the socket in the ring.
    place: usize,
    buffers: Rc<Buffers>,
    /// Where a frame to all goes; none = to each peer.
    group: Option<Name>,
    own: IpAddr,
    local: SocketAddr,
    interface: u32,
    /// By node, from 0.
    peers: Box<[Option<Name>]>,
    frame_max: usize,
    /// What it counts itself: what it received.
    counts: Counts,
}

impl UringLink {
    /// Opens the socket and takes all the memory that the link will ever use.
    pub fn open(settings: &Settings, ring: &Ring) -> Result<Self, OpenError> {
        let step = |doing| {
            let link = settings.id;
            move |source| OpenError::System { link, doing, source }
        };
        let socket = options::open(settings)?;
        let local = socket
            .local_addr()
            .and_then(|local| local.as_socket().ok_or_else(|| io::ErrorKind::InvalidData.into()))
            .map_err(step("read the socket's address"))?;
        let group = match settings.mode {
            Mode::Multicast(to) | Mode::Broadcast(to) => {
                let to = SocketAddr::new(to, settings.own.port());
                Some(options::with_scope(to, settings.interface).into())
            }
            Mode::Unicast => None,
        };
        let (place, buffers) =
            ring.attach(socket, settings.frame_max).map_err(step("receive with io_uring"))?;
        let mut link = Self {
            id: settings.id,
            ring: ring.clone(),
            place,
            buffers,
            group,
            own: settings.own.ip(),
            local,
            interface: settings.interface,
            peers: (0..NODES_MAX).map(|_| None).collect(),
            frame_max: settings.frame_max,
            counts: Counts::default(),
        };
        for &(node, address) in &settings.peers {
            link.set_peer(node, Some(address));
        }
        Ok(link)
    }

    /// The bound address; its port is the real one if port 0 was asked for.
    pub fn local(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }
}

impl Link for UringLink {
    fn id(&self) -> LinkId {
        self.id
    }

    fn send(&mut self, to: Destination, frame: &[u8]) -> bool {
        let one = match (to, &self.group) {
            (Destination::All, Some(group)) => Some(group),
            (Destination::All, None) => None,
            (Destination::Node(node), _) => {
                let Some(Some(peer)) = self.peers.get(node.index()) else {
                    self.counts.no_address += 1;
                    return false;
                };
                Some(peer)
            }
        };
        match one {
            Some(one) => self.ring.send_now(self.place, frame, one),
            None => self.ring.send(self.place, frame, self.peers.iter().flatten()),
        }
    }

    fn receive(&mut self, each: &mut Hear<'_>) -> usize {
        let mut now = None;
        for taken in 0..BATCH {
            let Some(filled) = self.ring.next(self.place) else { return taken };
            if let Some(parts) = parts(self.buffers.bytes(&filled)) {
                let arrived = Arrived {
                    source: Name::read(parts.name),
                    // Buffers are rounded up.
                    truncated: parts.truncated || parts.payload.len() > self.frame_max,
                    stamp: Control::read(parts.control),
                };
                give(&mut self.counts, self.own, &mut now, parts.payload, arrived, each);
            }
            self.buffers.give_back(filled);
        }
        BATCH
    }

    fn flush(&mut self) {
        self.ring.flush();
    }

    fn set_peer(&mut self, node: NodeId, address: Option<SocketAddr>) {
        if let Some(peer) = self.peers.get_mut(node.index()) {
            *peer = address.map(|address| options::with_scope(address, self.interface).into());
        }
    }

    /// Of the ring: readable when something came on any of its links.
    fn fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }

    fn counts(&self) -> Counts {
        let ring = self.ring.counts(self.place);
        let Counts { received, oversize, own, no_address, .. } = self.counts;
        Counts { received, oversize, own, no_address, ..ring }
    }
}

impl Drop for UringLink {
    fn drop(&mut self) {
        self.ring.detach(self.place);
    }
}
