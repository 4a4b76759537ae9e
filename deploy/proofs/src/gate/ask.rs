//! Asking for the floating address, in every way that a machine answers.

use pnet_packet::icmp::echo_request::MutableEchoRequestPacket;
use pnet_packet::icmp::{IcmpPacket, IcmpTypes, checksum};
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};
use std::ffi::CString;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};
use testbed::error::{Context, Result};
use testbed::namespace::Namespace;
use testbed::os;

/// Where [`super::answer`] listens.
pub(super) const PORT: u16 = 4_947;
/// One question, and the wait for its answer before the next.
const PACE: Duration = Duration::from_millis(5);
/// More than three fragments of an Ethernet frame.
const LARGE_LEN: usize = 4_000;
const ARP_LEN: usize = 42;

/// A way to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// ARP, or neighbour solicitation for IPv6.
    Resolve,
    /// ICMP echo: the kernel answers.
    Echo,
    /// A datagram: a process answers.
    Udp,
    /// A datagram in fragments.
    Fragments,
    /// A question on a connection that stands.
    Tcp,
}

impl How {
    /// All of them.
    pub(super) const ALL: [Self; 5] =
        [Self::Resolve, Self::Echo, Self::Udp, Self::Fragments, Self::Tcp];

    /// For the table; 6 is over IPv6.
    pub(super) const fn name(self, address: IpAddr) -> &'static str {
        match (self, address) {
            (Self::Resolve, IpAddr::V4(_)) => "ARP",
            (Self::Resolve, IpAddr::V6(_)) => "NS",
            (Self::Echo, IpAddr::V4(_)) => "echo",
            (Self::Echo, IpAddr::V6(_)) => "echo6",
            (Self::Udp, IpAddr::V4(_)) => "UDP",
            (Self::Udp, IpAddr::V6(_)) => "UDP6",
            (Self::Fragments, IpAddr::V4(_)) => "fragments",
            (Self::Fragments, IpAddr::V6(_)) => "fragments6",
            (Self::Tcp, IpAddr::V4(_)) => "TCP",
            (Self::Tcp, IpAddr::V6(_)) => "TCP6",
        }
    }
}

/// Asks for one address in one way.
#[derive(Debug)]
pub(super) struct Asker {
    how: How,
    address: IpAddr,
    socket: Socket,
    to: Option<SockAddr>,
    /// Who asks for a hardware address, with its own: the node would believe another one, and answer
    /// there.
    own: (IpAddr, [u8; 6]),
    /// The number of the last question.
    asked: u64,
    stream: Vec<u8>,
}

/// From where, and for which address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin<'a> {
    /// The namespace that asks.
    pub namespace: &'a Namespace,
    /// Its interface, for address resolution.
    pub interface: &'a str,
    /// Its own address there.
    pub own: IpAddr,
}

impl Asker {
    /// Prepares to ask; for TCP the connection is made now, so the gate must be open.
    pub(super) fn open(from: Origin<'_>, address: IpAddr, how: How) -> Result<Self> {
        from.namespace.inside(|| {
            let (socket, to) = socket(from, address, how)?;
            socket.set_read_timeout(Some(PACE)).context("socket that asks")?;
            let mac = match how {
                How::Resolve => hardware_address(from.interface).context(from.interface)?,
                _ => [0; 6],
            };
            let own = (from.own, mac);
            Ok(Self { how, address, socket, to, own, asked: 0, stream: Vec::new() })
        })
    }

    /// Asks until a question asked from now on is answered, or `limit` has passed.
    pub(super) fn is_answered_within(&mut self, limit: Duration) -> bool {
        self.hear_out();
        let first = self.asked + 1;
        let until = Instant::now() + limit;
        while Instant::now() < until {
            self.ask();
            let pace = Instant::now() + PACE;
            while let Some(heard) = self.hear() {
                if heard >= first {
                    return true;
                }
                if Instant::now() > pace {
                    break;
                }
            }
        }
        false
    }

    /// One question more. What the kernel refuses to send is not answered either.
    pub(super) fn ask(&mut self) {
        self.asked += 1;
        let bytes = self.question();
        let _ = match &self.to {
            Some(to) => self.socket.send_to(&bytes, to),
            None => (&self.socket).write(&bytes),
        };
    }

    /// The number of a question that was answered, or `None` when nothing comes.
    pub(super) fn hear(&mut self) -> Option<u64> {
        let mut bytes = [0; LARGE_LEN + 100];
        loop {
            let n = (&self.socket).read(&mut bytes).ok().filter(|n| *n > 0)?;
            if let Some(number) = self.number(bytes.get(..n)?) {
                return Some(number);
            }
        }
    }

    /// When the kernel received what was last heard, on the clock of the lease.
    pub(super) fn heard_at(&self) -> Option<base::Instant> {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: SIOCGSTAMPNS writes one timespec, which lives for the call.
        let result = unsafe { libc::ioctl(self.socket.as_raw_fd(), SIOCGSTAMPNS, &raw mut time) };
        let stamp = (time.tv_sec as u64).checked_mul(1_000_000_000)? + time.tv_nsec as u64;
        (result == 0).then_some(base::Instant(stamp.checked_add_signed(wall_to_boot())?))
    }

    /// From now on [`Asker::hear`] does not wait.
    pub(super) fn never_wait(&self) -> Result<()> {
        self.socket.set_nonblocking(true).context("socket that asks")
    }

    fn hear_out(&mut self) {
        let _ = self.socket.set_nonblocking(true);
        while self.hear().is_some() {}
        let _ = self.socket.set_nonblocking(false);
    }

    fn question(&self) -> Vec<u8> {
        let number = self.asked.to_le_bytes();
        match (self.how, self.address) {
            (How::Udp | How::Tcp, _) => number.to_vec(),
            (How::Fragments, _) => [&number[..], &[0; LARGE_LEN - 8]].concat(),
            (How::Echo, IpAddr::V4(_)) => echo(self.asked as u16),
            (How::Echo, IpAddr::V6(_)) => {
                let [high, low] = (self.asked as u16).to_be_bytes();
                vec![128, 0, 0, 0, ECHO_ID, ECHO_ID, high, low]
            }
            (How::Resolve, IpAddr::V4(target)) => arp_request(self.own, target),
            (How::Resolve, IpAddr::V6(target)) => {
                // A solicitation to a group is answered only if it tells who asks.
                let (head, option) = ([135, 0, 0, 0, 0, 0, 0, 0], [1, 1]);
                [&head[..], &target.octets(), &option, &self.own.1].concat()
            }
        }
    }

    /// The number of the question that `bytes` answer. Address resolution has no numbers: what
    /// comes after old answers were heard out is new.
    fn number(&mut self, bytes: &[u8]) -> Option<u64> {
        match (self.how, self.address) {
            (How::Udp | How::Fragments, _) => Some(u64::from_le_bytes(*bytes.first_chunk()?)),
            (How::Tcp, _) => {
                self.stream.extend(bytes);
                let whole = self.stream.len() / 8 * 8;
                let last = *self.stream.get(whole.checked_sub(8)?..)?.first_chunk()?;
                self.stream.drain(..whole);
                Some(u64::from_le_bytes(last))
            }
            (How::Echo, _) => {
                let answer = if self.address.is_ipv4() { bytes.get(20..)? } else { bytes };
                let [kind, _, _, _, id, _, high, low] = *answer.first_chunk()?;
                let matches = (kind == 0 || kind == 129) && id == ECHO_ID;
                matches.then_some(u64::from(u16::from_be_bytes([high, low])))
            }
            (How::Resolve, IpAddr::V4(target)) => {
                let tag = if bytes.get(12..14)? == VLAN_TAG { 4 } else { 0 };
                let arp = bytes.get(14 + tag..)?;
                (arp.get(6..8)? == [0, 2] && arp.get(14..18)? == target.octets())
                    .then_some(self.asked)
            }
            (How::Resolve, IpAddr::V6(target)) => (*bytes.first()? == 136
                && bytes.get(8..24)? == target.octets())
            .then_some(self.asked),
        }
    }
}

/// What is added to a wall-clock time to get the lease's clock; nobody steps the wall clock while the
/// proof runs. Two readings lie around a third: those nearest to each other are believed.
fn wall_to_boot() -> i64 {
    let read = || {
        let before = os::now();
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let after = os::now();
        let middle = before.0 + after.since(before).nanos() / 2;
        let wall = wall.map_or(0, |it| it.as_nanos() as i64);
        (after.since(before), middle as i64 - wall)
    };
    (0..READINGS).map(|_| read()).min().map_or(0, |(_, offset)| offset)
}

const READINGS: usize = 5;
const SIOCGSTAMPNS: libc::Ioctl = 0x8907;
const ECHO_ID: u8 = 0x47;
/// Some VLAN interfaces show their frames with the tag.
const VLAN_TAG: [u8; 2] = [0x81, 0x00];

fn socket(from: Origin<'_>, address: IpAddr, how: How) -> Result<(Socket, Option<SockAddr>)> {
    let there = SocketAddr::new(address, PORT);
    let domain = Domain::for_address(there);
    let make = |kind, protocol| Socket::new(domain, kind, protocol).context("socket that asks");
    match (how, address) {
        (How::Udp | How::Fragments, _) => {
            let socket = make(Type::DGRAM, None)?;
            socket.bind(&SocketAddr::new(from.own, 0).into()).context("bind")?;
            socket.connect(&there.into()).context("connect")?;
            Ok((socket, None))
        }
        (How::Tcp, _) => {
            let socket = make(Type::STREAM, None)?;
            socket.bind(&SocketAddr::new(from.own, 0).into()).context("bind")?;
            socket
                .connect_timeout(&there.into(), Duration::from_secs(3))
                .context(format!("connection to {address}"))?;
            Ok((socket, None))
        }
        (How::Echo, _) => {
            let protocol = if address.is_ipv4() { Protocol::ICMPV4 } else { Protocol::ICMPV6 };
            let socket = make(Type::RAW, Some(protocol))?;
            socket.bind(&SocketAddr::new(from.own, 0).into()).context("bind")?;
            socket.connect(&SocketAddr::new(address, 0).into()).context("connect")?;
            Ok((socket, None))
        }
        (How::Resolve, IpAddr::V4(_)) => packet_socket(from.interface, libc::ETH_P_ARP)
            .context("packet socket")
            .map(|(socket, to)| (socket, Some(to))),
        (How::Resolve, IpAddr::V6(target)) => {
            let socket = make(Type::RAW, Some(Protocol::ICMPV6))?;
            let index = index(from.interface).context(from.interface)?;
            socket.bind_device(Some(from.interface.as_bytes())).context("bind")?;
            socket.set_multicast_hops_v6(255).context("hops")?;
            let [.., a, b, c] = target.octets();
            let group = Ipv6Addr::new(
                0xff02,
                0,
                0,
                0,
                0,
                1,
                0xff00 | u16::from(a),
                u16::from_be_bytes([b, c]),
            );
            Ok((socket, Some(SocketAddrV6::new(group, 0, 0, index).into())))
        }
    }
}

fn index(interface: &str) -> io::Result<u32> {
    let name = CString::new(interface)?;
    // SAFETY: a valid C string for the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// A packet socket on one interface, and the address to which frames are sent there.
pub(super) fn packet_socket(interface: &str, protocol: i32) -> io::Result<(Socket, SockAddr)> {
    let protocol = (protocol as u16).to_be();
    // SAFETY: all zeros is a valid sockaddr_ll.
    let mut link: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    link.sll_family = libc::AF_PACKET as u16;
    link.sll_protocol = protocol;
    link.sll_ifindex = index(interface)? as i32;
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: sockaddr_ll is what AF_PACKET has in its storage, and is no larger.
    unsafe { *storage.view_as::<libc::sockaddr_ll>() = link };
    // SAFETY: the storage holds a sockaddr_ll of exactly this length.
    let to = unsafe { SockAddr::new(storage, size_of::<libc::sockaddr_ll>() as u32) };
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(i32::from(protocol))))?;
    socket.bind(&to)?;
    Ok((socket, to))
}

/// Of an interface: the kernel tells it with the name of a packet socket there.
fn hardware_address(interface: &str) -> io::Result<[u8; 6]> {
    let name = packet_socket(interface, 0)?.0.local_addr()?;
    // SAFETY: the name of an AF_PACKET socket is a sockaddr_ll, in storage that is larger.
    let link = unsafe { &*name.as_ptr().cast::<libc::sockaddr_ll>() };
    let [a, b, c, d, e, f, ..] = link.sll_addr;
    Ok([a, b, c, d, e, f])
}

fn echo(number: u16) -> Vec<u8> {
    let mut bytes = vec![0; 16];
    if let Some(mut packet) = MutableEchoRequestPacket::new(&mut bytes) {
        packet.set_icmp_type(IcmpTypes::EchoRequest);
        packet.set_identifier(u16::from_be_bytes([ECHO_ID; 2]));
        packet.set_sequence_number(number);
    }
    if let Some(sum) = IcmpPacket::new(&bytes).map(|packet| checksum(&packet)) {
        bytes[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    bytes
}

/// Who has `target`?
fn arp_request((own, mac): (IpAddr, [u8; 6]), target: Ipv4Addr) -> Vec<u8> {
    let own = match own {
        IpAddr::V4(own) => own,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    };
    let head = [0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1];
    let frame = [&[0xff; 6][..], &mac, &head, &mac, &own.octets(), &[0; 6], &target.octets()];
    let frame = frame.concat();
    debug_assert_eq!(frame.len(), ARP_LEN, "an ARP frame");
    frame
}
