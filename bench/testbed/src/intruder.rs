//! Somebody else on link 1, where the client is: reads the frames that pass, and sends what it
//! likes.

use crate::error::Result;
use crate::load::GROUP;
use crate::os;
use crate::packet::{HEADERS_LEN, PacketSocket, udp};
use crate::spec::PORT_BEATS;
use crate::topology::{CLIENT_MAC, Topology, address};
use base::Duration;
use std::net::SocketAddrV4;

/// The MAC address of link 1's group.
const GROUP_MAC: [u8; 6] = [0x01, 0x00, 0x5e, 0x7f, 0x4d, 0x01];

/// The intruder.
#[derive(Debug)]
pub struct Intruder {
    socket: PacketSocket,
}

impl Intruder {
    /// Opens its socket in the client's namespace.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn enter(topology: &Topology) -> Result<Self> {
        let timeout = std::time::Duration::from_millis(200);
        let socket = topology.client().inside(|| PacketSocket::reader(timeout))?;
        Ok(Self { socket })
    }

    /// Frames of one node to one port that pass within `span`, without their Ethernet, IP and UDP
    /// headers.
    #[must_use]
    pub fn overhear(&self, node: u8, port: u16, span: Duration) -> Vec<Vec<u8>> {
        let end = os::now() + span;
        let mut overheard = Vec::new();
        while os::now() < end {
            let Some(frame) = self.socket.receive() else { continue };
            let source = frame.get(26..30) == Some(&address(node, 1).octets()[..]);
            let target = frame.get(36..38) == Some(&port.to_be_bytes()[..]);
            if source && target && frame.len() > HEADERS_LEN {
                overheard.push(frame[HEADERS_LEN..].to_vec());
            }
        }
        overheard
    }

    /// Sends a datagram to everybody, with a node's address as its source (but the client's MAC, so
    /// that the switch does not think that the node moved).
    pub fn send(&self, as_node: u8, port: u16, payload: &[u8]) {
        let from = SocketAddrV4::new(address(as_node, 1), PORT_BEATS);
        let to = SocketAddrV4::new(GROUP, port);
        self.socket.send(&udp((CLIENT_MAC, from), (GROUP_MAC, to), payload));
    }
}
