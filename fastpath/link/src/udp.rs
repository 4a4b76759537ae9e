//! UDP: one socket per link, bound to its interface; one call for a batch of datagrams either way.

use crate::batch;
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
    stamped: bool,
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
            stamped: settings.stamped,
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
        let (counts, own, stamped) = (&mut self.counts, self.own, self.stamped);
        let mut now = None;
        let received =
            batch::receive(&self.socket, &mut self.buffers, self.frame_max, |frame, arrived| {
                counts.received += 1;
                let Some(source) = arrived.source else { return };
                if arrived.truncated {
                    counts.oversize += 1;
                } else if source.ip() == own && !own.is_loopback() {
                    counts.own += 1;
                } else {
                    let read = |stamp| stamp::waited(*now.get_or_insert_with(stamp::now), stamp);
                    let waited = arrived.stamp.filter(|_| stamped).and_then(read);
                    each(Arrival { frame, source: Source::Ip(source), waited });
                }
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

/// Sorts a failed send. None of them is fatal: a cable comes back, a filter is changed, a buffer
/// drains.
fn count_failed(counts: &mut Counts, error: &io::Error) {
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

#[cfg(test)]
mod tests {
    use super::{BATCH, UdpLink};
    use crate::error::OpenError;
    use crate::link::{Destination, Link, Source};
    use crate::settings::{Mode, Settings};
    use std::net::{SocketAddr, UdpSocket};
    use std::time::Duration;
    use wire::{LinkId, NodeId};

    fn node(n: u8) -> NodeId {
        NodeId::new(n).unwrap()
    }

    fn settings(own: &str) -> Settings {
        Settings {
            id: LinkId(0),
            mode: Mode::Unicast,
            own: own.parse().unwrap(),
            interface: 0,
            peers: Vec::new(),
            frame_max: 100,
            stamped: true,
        }
    }

    /// Everything that arrives until `count` datagrams are there; gives up after a second without
    /// one.
    fn take(link: &mut UdpLink, count: usize) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut all = Vec::new();
        while all.len() < count {
            let mut waiting = libc::pollfd {
                fd: std::os::fd::AsRawFd::as_raw_fd(&link.fd()),
                events: libc::POLLIN,
                revents: 0,
            };
            // SAFETY: one pollfd, alive during the call.
            if unsafe { libc::poll(&raw mut waiting, 1, 1_000) } == 0 {
                break;
            }
            link.receive(&mut |arrival| {
                let Source::Ip(source) = arrival.source else { panic!("{arrival:?}") };
                all.push((source, arrival.frame.to_vec()));
                None
            });
        }
        all
    }

    #[test]
    fn a_frame_to_all_reaches_each_peer_and_one_to_a_node_only_that() {
        for own in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(mut a) = UdpLink::open(&settings(own)) else {
                assert!(own.contains('['), "IPv4 loopback must work");
                continue;
            };
            let mut b = UdpLink::open(&settings(own)).unwrap();
            let mut c = UdpLink::open(&settings(own)).unwrap();
            a.set_peer(node(2), Some(b.local().unwrap()));
            a.set_peer(node(128), Some(c.local().unwrap()));
            assert!(a.send(Destination::All, b"all"));
            assert!(a.send(Destination::Node(node(128)), b"three"));
            let from = a.local().unwrap();
            assert_eq!(take(&mut b, 1), [(from, b"all".to_vec())]);
            assert_eq!(take(&mut c, 2), [(from, b"all".to_vec()), (from, b"three".to_vec())]);
            assert_eq!(b.receive(&mut |_| panic!("nothing is left")), 0);
            assert_eq!(a.counts().sent, 3);
            assert_eq!(c.counts().received, 2);
        }
    }

    #[test]
    fn more_than_a_batch_comes_in_several_calls_and_in_order() {
        let mut a = UdpLink::open(&settings("127.0.0.1:0")).unwrap();
        let mut b = UdpLink::open(&settings("127.0.0.1:0")).unwrap();
        a.set_peer(node(2), Some(b.local().unwrap()));
        for n in 0..2 * BATCH as u8 + 1 {
            assert!(a.send(Destination::All, &[n]));
        }
        assert_eq!(b.receive(&mut |_| None), BATCH);
        let rest: Vec<_> = take(&mut b, BATCH + 1).into_iter().map(|(_, frame)| frame[0]).collect();
        assert_eq!(rest, (BATCH as u8..2 * BATCH as u8 + 1).collect::<Vec<_>>());
    }

    #[test]
    fn a_frame_to_more_peers_than_a_batch_reaches_all() {
        let mut a = UdpLink::open(&settings("127.0.0.1:0")).unwrap();
        let mut b = UdpLink::open(&settings("127.0.0.1:0")).unwrap();
        for n in 2..=128 {
            a.set_peer(node(n), Some(b.local().unwrap()));
        }
        assert!(a.send(Destination::All, b"x"));
        assert_eq!(a.counts().sent, 127);
        assert_eq!(take(&mut b, 127).len(), 127);
    }

    #[test]
    fn a_datagram_longer_than_a_frame_is_dropped_and_counted() {
        let mut link = UdpLink::open(&settings("127.0.0.1:0")).unwrap();
        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        stranger.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        stranger.send_to(&[7; 101], link.local().unwrap()).unwrap();
        stranger.send_to(&[8; 100], link.local().unwrap()).unwrap();
        assert_eq!(take(&mut link, 1)[0].1, vec![8; 100]);
        assert_eq!(link.counts().oversize, 1);
    }

    #[test]
    fn what_cannot_be_sent_is_counted_and_the_rest_still_goes() {
        let mut a = UdpLink::open(&settings("127.0.0.1:0")).unwrap();
        let mut b = UdpLink::open(&settings("127.0.0.1:0")).unwrap();
        // Port 0 cannot be sent to; the peers before and after it can.
        a.set_peer(node(2), Some(b.local().unwrap()));
        a.set_peer(node(3), Some("127.0.0.1:0".parse().unwrap()));
        a.set_peer(node(4), Some(b.local().unwrap()));
        assert!(!a.send(Destination::All, b"x"));
        assert_eq!(take(&mut b, 2).len(), 2);
        assert_eq!((a.counts().sent, a.counts().send_failed), (2, 1));
        assert_eq!(a.counts().last_errno, libc::EINVAL);
        assert!(!a.send(Destination::Node(node(9)), b"x"));
        assert_eq!(a.counts().no_address, 1);
    }

    #[test]
    fn a_taken_port_and_a_foreign_address_are_named_with_the_remedy() {
        let first = UdpLink::open(&settings("127.0.0.1:0")).unwrap();
        let taken = settings(&first.local().unwrap().to_string());
        let error = UdpLink::open(&taken).unwrap_err();
        assert!(matches!(error, OpenError::InUse { .. }), "{error}");
        assert!(error.to_string().contains(&taken.own.port().to_string()), "{error}");
        let error = UdpLink::open(&settings("192.0.2.1:0")).unwrap_err();
        assert!(matches!(error, OpenError::NotLocal { .. }), "{error}");
        let mixed = Settings { mode: Mode::Multicast("ff02::1".parse().unwrap()), ..taken };
        assert!(matches!(UdpLink::open(&mixed), Err(OpenError::Mismatch { .. })));
    }
}
