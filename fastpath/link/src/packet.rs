//! Heartbeats in Ethernet frames of their own, without IP: an AF_PACKET socket with a ring that the kernel fills.
//!
//! What that buys: no packet filter, route, neighbour entry or address of this machine stands in a beat's way, and to receive
//! one costs no system call. What it costs: it stays on one Ethernet segment, and root (CAP_NET_RAW).
//!
//! * *Sending* goes past the interface's queues (PACKET_QDISC_BYPASS): a beat does not wait behind the bulk data of a storage
//!   link, nor in a shaper. It also passes by filters of the queues (clsact), and a capture on the sending machine does not
//!   show it. When the card itself has no room, the beat goes through the queues after all, with the highest priority that
//!   needs no privilege. On a bond, VLAN or macvlan this concerns that interface; the one below queues as always.
//! * *Where to*: all is the MAC address of the group; one node is where its last authenticated frame came from. So a peer
//!   that fails over to another card, or is replaced, is found again with its next beat.
//! * *IGMP*: the card's filter is set here. Switches that snoop learn the group from control, which joins it for the agreement
//!   on the same addresses.
//!
//! There is no back end on AF_XDP: its sockets are bound to one receive queue of the card (networking/af_xdp in the kernel's
//! documentation), so it wants a queue for itself and a program that steers beats there, per driver; and what it saves is the
//! cost of a packet, of which there are some hundred to some thousand a second.

mod filter;
mod frame;
mod ring;
mod socket;

use crate::error::OpenError;
use crate::link::{Arrival, Counts, Destination, Hear, Link, Source};
use crate::settings::{Mode, Settings};
use crate::stamp;
use crate::udp::{BATCH, count_failed};
use frame::{Mac, OVERHEAD};
use ring::{Ring, Shape, Taken};
use socket2::Socket;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use wire::ethernet::{self, ENVELOPE_LEN, Envelope};
use wire::{ClusterId, LinkId, NODES_MAX, NodeId};

/// Room in the ring for each node of the cluster: 2.5 s of beats at 10 ms.
const SLOTS_PER_NODE: usize = 256;
/// The ring is made for so many nodes at least: a small cluster may grow.
const NODES_MIN: usize = 8;
/// Ethernet pads shorter frames to this.
const SHORTEST: usize = 60;

/// What is known of a node's place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Peer {
    /// It is not on this link.
    Nowhere,
    /// It is, and has not been heard.
    Somewhere,
    /// Its last authenticated frame came from there.
    At(Mac),
}

/// A link of Ethernet frames.
#[derive(Debug)]
pub struct PacketLink {
    id: LinkId,
    ring: Ring,
    sending: Socket,
    me: NodeId,
    /// The interface's address when the last frame to all was sent.
    own: Mac,
    group: Mac,
    port: u16,
    /// By node, from 0.
    peers: Box<[Peer]>,
    /// One frame to be sent.
    buffer: Box<[u8]>,
    frame_max: usize,
    stamped: bool,
    counts: Counts,
}

impl PacketLink {
    /// Opens the sockets and takes all the memory that the link will ever use. Frames of node `me` and of `cluster` are what it
    /// hears; of the addresses in `settings` only the own one's port and the group are used.
    pub fn open(settings: &Settings, me: NodeId, cluster: ClusterId) -> Result<Self, OpenError> {
        let Settings { id, mode, own, interface, frame_max, stamped, .. } = *settings;
        let group = match mode {
            Mode::Multicast(group) => ethernet::group_mac(group),
            Mode::Broadcast(_) => ethernet::BROADCAST,
            Mode::Unicast => {
                let field = "the mode (Ethernet frames need multicast or broadcast)";
                return Err(OpenError::Mismatch { link: id, field });
            }
        };
        if interface == 0 {
            return Err(OpenError::NoInterface { link: id, own, interface });
        }
        let sending = socket::sending(settings)?;
        let (name, mtu) = socket::room(&sending, interface)
            .map_err(socket::named(settings, "ask for the interface's MTU"))?;
        let Some(station) = socket::station(&sending) else {
            return Err(OpenError::NotEthernet { link: id, interface: name });
        };
        let needed = ENVELOPE_LEN + frame_max;
        if mtu < needed {
            return Err(OpenError::SmallMtu { link: id, interface: name, mtu, needed });
        }
        let longest = (OVERHEAD + frame_max).max(SHORTEST);
        let slots = (settings.peers.len() + 1).max(NODES_MIN) * SLOTS_PER_NODE;
        let hearing = socket::hearing(settings, me, cluster)?;
        let ring = Ring::new(hearing, Shape::new(longest, slots, ring::page()))
            .map_err(socket::named(settings, "make the receive ring"))?;
        socket::listen(ring.socket(), settings)?;
        if let Mode::Multicast(_) = mode {
            socket::join(ring.socket(), interface, group)
                .map_err(socket::named(settings, "join the multicast group"))?;
        }
        let mut link = Self {
            id,
            ring,
            sending,
            me,
            own: station,
            group,
            port: own.port(),
            peers: vec![Peer::Nowhere; NODES_MAX].into_boxed_slice(),
            buffer: vec![0; OVERHEAD + frame_max].into_boxed_slice(),
            frame_max,
            stamped,
            counts: Counts::default(),
        };
        for &(node, address) in &settings.peers {
            link.set_peer(node, Some(address));
        }
        Ok(link)
    }

    /// The interface's address changes when a bond fails over to another card, for instance; the next beat says so.
    fn follow_own_address(&mut self) {
        self.own = socket::station(&self.sending).unwrap_or(self.own);
    }
}

impl Link for PacketLink {
    fn id(&self) -> LinkId {
        self.id
    }

    fn send(&mut self, to: Destination, frame: &[u8]) -> bool {
        let (mac, to) = match to {
            Destination::All => {
                self.follow_own_address();
                (self.group, None)
            }
            Destination::Node(node) => match self.peers[node.index()] {
                Peer::At(mac) => (mac, Some(node)),
                Peer::Somewhere => (self.group, Some(node)),
                Peer::Nowhere => {
                    self.counts.no_address += 1;
                    return false;
                }
            },
        };
        let envelope = Envelope { to, port: self.port };
        let built = frame::build(&mut self.buffer, (self.own, mac), envelope, frame)
            .ok_or_else(|| io::Error::from_raw_os_error(libc::EMSGSIZE));
        let sent = built.and_then(|frame| {
            let sent = self.sending.send_with_flags(frame, libc::MSG_DONTWAIT);
            match sent {
                // The card has no room, or no cable; the queues keep it for a moment.
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => {
                    self.ring.socket().send_with_flags(frame, libc::MSG_DONTWAIT)
                }
                other => other,
            }
        });
        match sent {
            Ok(_) => self.counts.sent += 1,
            Err(error) => {
                count_failed(&mut self.counts, &error);
                return false;
            }
        }
        true
    }

    fn receive(&mut self, each: &mut Hear<'_>) -> usize {
        let Self { ring, counts, peers, me, own, port, frame_max, stamped, .. } = self;
        let (mut now, mut lost) = (None, false);
        let taken = ring.take(BATCH, |Taken { bytes, cut, stamp, losing }| {
            counts.received += 1;
            lost |= losing;
            let Some(incoming) = frame::read(bytes) else { return };
            let for_me = |it: Envelope| it.port == *port && it.to.is_none_or(|to| to == *me);
            if cut || incoming.frame.len() > *frame_max {
                counts.oversize += 1;
            } else if incoming.source == *own {
                counts.own += 1;
            } else if incoming.envelope.is_none_or(for_me) {
                let read = |stamp| stamp::waited(*now.get_or_insert_with(stamp::now), stamp);
                let waited = Some(stamp).filter(|_| *stamped).and_then(read);
                let source = Source::Mac(incoming.source);
                let Some(node) = each(Arrival { frame: incoming.frame, source, waited }) else {
                    return;
                };
                let peer = &mut peers[node.index()];
                if *peer != Peer::Nowhere && frame::is_station(incoming.source) {
                    *peer = Peer::At(incoming.source);
                }
            }
        });
        if lost {
            counts.receive_failed += socket::dropped(ring.socket());
            counts.last_errno = libc::ENOBUFS;
        }
        // An interface that goes down leaves an error on the socket, which counts as readable until somebody takes it.
        if taken == 0
            && let Some(error) = socket::error(ring.socket())
        {
            counts.receive_failed += 1;
            counts.last_errno = error.raw_os_error().unwrap_or(0);
        }
        taken
    }

    /// Only whether there is an address matters here: where the node is, its frames tell.
    fn set_peer(&mut self, node: NodeId, address: Option<SocketAddr>) {
        let peer = &mut self.peers[node.index()];
        *peer = match (address, *peer) {
            (None, _) => Peer::Nowhere,
            (Some(_), Peer::Nowhere) => Peer::Somewhere,
            (Some(_), known) => known,
        };
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.ring.socket().as_fd()
    }

    fn counts(&self) -> Counts {
        self.counts
    }
}
