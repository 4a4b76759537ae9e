//! What control tells fast, once, at the start: fast reads no file.
//!
//! Control writes one record to the socket that it inherited as `--setup-fd`; see
//! [`setup_record`](crate::setup_record) for its bytes. Everything is checked again on reading.

use crate::counters::LINKS_MAX;
use crate::error::SetupError;
use crate::setup_record::Record;
use base::Duration;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::IpAddr;
use wire::beat::{DEADLINE_MAX, DEADLINE_MIN};
use wire::{ClusterId, Life, LinkId, NODES_MAX, NodeId, NodeSet, Nonce};

/// The cluster's secret; never printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key(pub [u8; 32]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// How a link reaches all peers at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// One datagram to a group.
    Multicast,
    /// One datagram to the subnet's broadcast address (IPv4 only).
    Broadcast,
    /// One datagram to each peer.
    Unicast,
}

/// What carries the heartbeats of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Frames {
    /// UDP.
    #[default]
    Udp,
    /// Ethernet frames of their own; not in mode unicast.
    Ethernet,
}

/// How the kernel is asked for what comes by UDP.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum NetworkIo {
    /// By io_uring where the kernel allows it, else by recvmmsg.
    #[default]
    Auto,
    /// recvmmsg(2) and sendmmsg(2).
    Recvmmsg,
    /// io_uring(7), or not at all.
    IoUring,
}

impl NetworkIo {
    /// The word of `network_io` in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Recvmmsg => "recvmmsg",
            Self::IoUring => "io_uring",
        }
    }
}

/// Which processor fast keeps for itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Core {
    /// None: the scheduler decides.
    None,
    /// The last of those that fast may use.
    #[default]
    Auto,
    /// This one.
    Number(u16),
}

/// One of one to four links.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkSetup {
    /// How it reaches all.
    pub mode: Mode,
    /// What carries the heartbeats.
    pub frames: Frames,
    /// The own address.
    pub own: IpAddr,
    /// Index of the interface that has it; 0 = do not bind to an interface.
    pub interface: u32,
    /// Group or broadcast address; none for unicast.
    pub target: Option<IpAddr>,
    /// UDP port of the heartbeats; control's agreement uses the next one.
    pub port: u16,
    /// The peers' addresses, without the own.
    pub peers: Vec<(NodeId, IpAddr)>,
}

/// The whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setup {
    /// This life; its incarnation has been raised durably.
    pub me: Life,
    /// Its random number.
    pub nonce: Nonce,
    /// The cluster.
    pub cluster: ClusterId,
    /// Its secret.
    pub key: Key,
    /// Number of the secret.
    pub key_id: u8,
    /// Feature level that the frames declare.
    pub feature: u16,
    /// Hash of what all nodes must have configured alike.
    pub config_hash: u32,
    /// Time between beats.
    pub interval: Duration,
    /// Silent intervals until a peer is suspected.
    pub misses: u32,
    /// Bound of the clock's rate error (PROTOCOL 5.2).
    pub rate_ppm: u32,
    /// Time for the store and the read of the lease word.
    pub margin: Duration,
    /// All configured nodes, this one included.
    pub nodes: NodeSet,
    /// Real-time priority wanted, 0 = none.
    pub priority: u8,
    /// Processor wanted.
    pub core: Core,
    /// How the kernel is asked for what comes.
    pub network_io: NetworkIo,
    /// The links; the place in the list is the link's number.
    pub links: Vec<LinkSetup>,
}

impl Setup {
    /// The links with their numbers.
    pub fn numbered_links(&self) -> impl Iterator<Item = (LinkId, &LinkSetup)> {
        (0..).map(LinkId).zip(&self.links)
    }

    /// Control: checks the set-up and writes it.
    pub fn send(&self, mut socket: impl Write) -> Result<(), SetupError> {
        self.check()?;
        socket.write_all(bytemuck::bytes_of(&*Record::from_setup(self)))?;
        Ok(socket.flush()?)
    }

    /// Fast: waits for the set-up and checks it.
    pub fn receive(mut socket: impl Read) -> Result<Self, SetupError> {
        let mut record = Record::boxed_zero();
        let bytes = bytemuck::bytes_of_mut(&mut *record);
        // The head first: a record of another version may have another size.
        let (head, body) = bytes.split_at_mut(Record::HEAD);
        socket.read_exact(head).map_err(cut)?;
        Record::check_head(head)?;
        socket.read_exact(body).map_err(cut)?;
        let setup = record.read()?;
        setup.check()?;
        Ok(setup)
    }

    /// Checks every relation that fast relies on.
    pub fn check(&self) -> Result<(), SetupError> {
        let ensure =
            |good, field| if good { Ok(()) } else { Err(SetupError::OutOfRange { field }) };
        let millisecond = Duration::from_millis(1);
        ensure(self.me.incarnation.0 != 0, "incarnation")?;
        ensure(self.nodes.contains(self.me.node), "nodes")?;
        ensure((millisecond..=millisecond * 1_000).contains(&self.interval), "interval")?;
        ensure((1..=100).contains(&self.misses), "misses")?;
        let deadline = self.interval * u64::from(self.misses);
        ensure((DEADLINE_MIN..=DEADLINE_MAX).contains(&deadline), "deadline")?;
        ensure(self.rate_ppm <= 100_000, "rate_ppm")?;
        ensure(self.margin < self.interval, "margin")?;
        ensure(self.priority <= 99, "priority")?;
        ensure((1..=LINKS_MAX).contains(&self.links.len()), "links")?;
        for link in &self.links {
            ensure(link.port != 0, "port")?;
            ensure(link.peers.len() < NODES_MAX, "peers")?;
            let family = |address: &IpAddr| address.is_ipv4() == link.own.is_ipv4();
            ensure(link.peers.iter().all(|(_, address)| family(address)), "peer address")?;
            let peers: NodeSet = link.peers.iter().map(|(node, _)| *node).collect();
            ensure(peers.len() == link.peers.len() && !peers.contains(self.me.node), "peers")?;
            ensure(peers.iter().all(|node| self.nodes.contains(node)), "peers")?;
            let target = match (link.mode, link.target) {
                (Mode::Multicast, Some(group)) => group.is_multicast() && family(&group),
                (Mode::Broadcast, Some(address)) => address.is_ipv4() && family(&address),
                (Mode::Unicast, None) => true,
                _ => false,
            };
            ensure(target, "target")?;
            let reachable = link.frames == Frames::Udp || link.mode != Mode::Unicast;
            ensure(reachable, "frames")?;
        }
        Ok(())
    }
}

/// The other end is gone, is late, or the socket failed.
fn cut(error: io::Error) -> SetupError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => SetupError::Closed,
        _ => SetupError::Socket(error),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Core, Frames, Key, LinkSetup, Mode, NetworkIo, Setup};
    use crate::error::SetupError;
    use base::Duration;
    use std::net::IpAddr;
    use wire::{ClusterId, Incarnation, Life, NodeId, Nonce};

    pub(crate) fn node(n: u8) -> NodeId {
        NodeId::new(n).unwrap()
    }

    pub(crate) fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    pub(crate) fn sample() -> Setup {
        let v4 = |n| (node(n), ip(&format!("10.0.0.{n}")));
        let v6 = |n| (node(n), ip(&format!("fd00::{n}")));
        let link = |mode, own, target: Option<IpAddr>, peers| LinkSetup {
            mode,
            frames: if target.is_some() { Frames::Ethernet } else { Frames::Udp },
            own: ip(own),
            interface: 7,
            target,
            port: 4800,
            peers,
        };
        Setup {
            me: Life { node: node(1), incarnation: Incarnation(9) },
            nonce: Nonce(0x1122_3344_5566_7788),
            cluster: ClusterId(42),
            key: Key([0xA5; 32]),
            key_id: 3,
            feature: 1,
            config_hash: 0xDEAD_BEEF,
            interval: Duration::from_millis(10),
            misses: 3,
            rate_ppm: 1000,
            margin: Duration::from_micros(50),
            nodes: [node(1), node(2), node(128)].into_iter().collect(),
            priority: 50,
            core: Core::Number(3),
            network_io: NetworkIo::Auto,
            links: vec![
                link(Mode::Multicast, "10.0.0.1", Some(ip("239.1.1.1")), vec![v4(2), v4(128)]),
                link(Mode::Unicast, "fd00::1", None, vec![v6(2), v6(128)]),
                link(Mode::Broadcast, "10.0.0.1", Some(ip("10.0.0.255")), vec![v4(2)]),
            ],
        }
    }

    fn bytes(setup: &Setup) -> Vec<u8> {
        let mut bytes = Vec::new();
        setup.send(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn fast_reads_what_control_wrote() {
        let setup = sample();
        assert_eq!(Setup::receive(&*bytes(&setup)).unwrap(), setup);
        let auto = Setup { core: Core::Auto, priority: 0, ..sample() };
        assert_eq!(Setup::receive(&*bytes(&auto)).unwrap(), auto);
    }

    #[test]
    fn a_record_cut_off_anywhere_means_that_control_is_gone() {
        let whole = bytes(&sample());
        for length in [0, 1, 15, 16, 100, whole.len() - 1] {
            assert!(matches!(Setup::receive(&whole[..length]), Err(SetupError::Closed)));
        }
    }

    #[test]
    fn another_release_is_named_before_the_rest_is_read() {
        let mut other = bytes(&sample());
        other[8] = 77;
        assert!(matches!(Setup::receive(&other[..16]), Err(SetupError::Version { found: 77, .. })));
        let text = Setup::receive(&other[..16]).unwrap_err().to_string();
        assert!(text.contains("one release"), "{text}");
    }

    #[test]
    fn impossible_values_are_refused_by_field_on_both_ends() {
        let refused = |change: fn(&mut Setup)| {
            let mut setup = sample();
            change(&mut setup);
            match setup.send(std::io::sink()) {
                Err(SetupError::OutOfRange { field }) => field,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(refused(|s| s.interval = Duration::from_micros(999)), "interval");
        assert_eq!(refused(|s| s.misses = 0), "misses");
        assert_eq!(refused(|s| (s.interval, s.misses) = (Duration::from_millis(1), 2)), "deadline");
        assert_eq!(refused(|s| s.links.clear()), "links");
        assert_eq!(refused(|s| s.me.node = node(5)), "nodes");
        assert_eq!(refused(|s| s.me.incarnation = Incarnation(0)), "incarnation");
        assert_eq!(refused(|s| s.links[0].target = Some(ip("10.0.0.9"))), "target");
        assert_eq!(refused(|s| s.links[1].target = Some(ip("ff02::1"))), "target");
        assert_eq!(refused(|s| s.links[0].peers[0].1 = ip("fd00::2")), "peer address");
        assert_eq!(refused(|s| s.links[0].peers[0].0 = node(1)), "peers");
        assert_eq!(refused(|s| s.links[0].peers[0].0 = node(128)), "peers");
        // The same on reading: garbage in every byte after the head is an error, never a panic.
        let whole = bytes(&sample());
        for at in 16..whole.len() {
            let mut bad = whole.clone();
            bad[at] ^= 0xFF;
            let _ = Setup::receive(&*bad);
        }
    }

    #[test]
    fn the_key_is_not_printed() {
        assert!(!format!("{:?}", sample()).contains("165"));
    }
}
