//! Whole Ethernet frames: made, sent and read on the client's interface.

use crate::error::{Context, Result};
use pnet_packet::ip::IpNextHeaderProtocols;
use pnet_packet::ipv4::{self, MutableIpv4Packet};
use pnet_packet::udp::MutableUdpPacket;
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};
use std::io::Read;
use std::net::SocketAddrV4;
use std::time::Duration;

/// Ethernet, IPv4 and UDP before the payload.
pub const HEADERS_LEN: usize = 14 + 20 + 8;

const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];

/// A UDP datagram in an Ethernet frame, from and to whom one likes. Its UDP checksum is 0 ("none"),
/// so that the payload can be changed in place.
#[must_use]
pub fn udp(from: ([u8; 6], SocketAddrV4), to: ([u8; 6], SocketAddrV4), payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; HEADERS_LEN + payload.len()];
    bytes[..6].copy_from_slice(&to.0);
    bytes[6..12].copy_from_slice(&from.0);
    bytes[12..14].copy_from_slice(&ETHERTYPE_IPV4);
    bytes[HEADERS_LEN..].copy_from_slice(payload);
    if let Some(mut ip) = MutableIpv4Packet::new(&mut bytes[14..]) {
        ip.set_version(4);
        ip.set_header_length(5);
        ip.set_total_length((20 + 8 + payload.len()) as u16);
        ip.set_ttl(64);
        ip.set_next_level_protocol(IpNextHeaderProtocols::Udp);
        ip.set_source(*from.1.ip());
        ip.set_destination(*to.1.ip());
        let sum = ipv4::checksum(&ip.to_immutable());
        ip.set_checksum(sum);
    }
    if let Some(mut udp) = MutableUdpPacket::new(&mut bytes[34..]) {
        udp.set_source(from.1.port());
        udp.set_destination(to.1.port());
        udp.set_length((8 + payload.len()) as u16);
    }
    bytes
}

/// A packet socket on `eth0` of the namespace that it is opened in.
#[derive(Debug)]
pub struct PacketSocket {
    socket: Socket,
    to: SockAddr,
}

impl PacketSocket {
    /// One that only sends.
    ///
    /// # Errors
    /// When the kernel refuses (no CAP_NET_RAW).
    pub fn sender() -> Result<Self> {
        Self::open(0)
    }

    /// One that also reads IPv4.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn reader(timeout: Duration) -> Result<Self> {
        let this = Self::open((libc::ETH_P_IP as u16).to_be())?;
        this.socket.bind(&this.to).context("packet socket")?;
        this.socket.set_read_timeout(Some(timeout)).context("packet socket")?;
        Ok(this)
    }

    fn open(protocol: u16) -> Result<Self> {
        let number = Some(Protocol::from(i32::from(protocol)));
        let socket = Socket::new(Domain::PACKET, Type::RAW, number).context("packet socket")?;
        // SAFETY: the name is a valid C string.
        let index = unsafe { libc::if_nametoindex(c"eth0".as_ptr()) };
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: protocol,
            sll_ifindex: index as i32,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 6,
            sll_addr: [0; 8],
        };
        let mut storage = SockAddrStorage::zeroed();
        // SAFETY: sockaddr_ll is what AF_PACKET has in its storage, and is no larger.
        unsafe { *storage.view_as::<libc::sockaddr_ll>() = address };
        // SAFETY: the storage holds a sockaddr_ll of exactly this length.
        let to = unsafe { SockAddr::new(storage, size_of::<libc::sockaddr_ll>() as u32) };
        Ok(Self { socket, to })
    }

    /// Sends a frame. What cannot be sent is lost, as on any wire.
    pub fn send(&self, frame: &[u8]) {
        let _ = self.socket.send_to(frame, &self.to);
    }

    /// The next frame, or `None` when none comes in time.
    pub fn receive(&self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; 2048];
        let length = (&self.socket).read(&mut bytes).ok()?;
        bytes.truncate(length);
        Some(bytes)
    }
}
