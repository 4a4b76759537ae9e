//! What stands before a frame that travels in an Ethernet frame of its own, without IP (WIRE.md).
//!
//! Nothing of it is authenticated: it only spares the receiver what is not for it. Whose the frame is, its tag proves.

use crate::ids::NodeId;
use core::net::IpAddr;

/// IEEE Std 802 local experimental ethertype 1.
pub const ETHERTYPE: u16 = 0x88B5;
/// Bytes before the frame.
pub const ENVELOPE_LEN: usize = 6;
/// Version of these bytes.
pub const VERSION: u8 = 1;
/// The MAC address of all stations.
pub const BROADCAST: [u8; 6] = [0xFF; 6];

/// Where its fields lie.
pub const TO_AT: usize = 1;
/// The same.
pub const PORT_AT: usize = 4;
const LENGTH_AT: usize = 2;

/// Who it is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Envelope {
    /// The node; none = all.
    pub to: Option<NodeId>,
    /// The port of the link: tells links and clusters on one wire apart.
    pub port: u16,
}

impl Envelope {
    /// The bytes before a frame of `length` bytes; none if no Ethernet frame can be so long.
    #[must_use]
    pub fn encode(&self, length: usize) -> Option<[u8; ENVELOPE_LEN]> {
        let [long, short] = u16::try_from(length).ok()?.to_be_bytes();
        let [high, low] = self.port.to_be_bytes();
        Some([VERSION, self.to.map_or(0, NodeId::get), long, short, high, low])
    }

    /// Reads what follows the Ethernet header, and gives the frame in it. What follows that is padding: an Ethernet frame
    /// has at least 60 bytes.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (head, rest) = bytes.split_first_chunk::<ENVELOPE_LEN>()?;
        let [version, to, long, short, high, low] = *head;
        if version != VERSION {
            return None;
        }
        let to = match to {
            0 => None,
            node => Some(NodeId::new(node)?),
        };
        let frame = rest.get(..usize::from(u16::from_be_bytes([long, short])))?;
        Some((Self { to, port: u16::from_be_bytes([high, low]) }, frame))
    }
}

/// The MAC address of an IP group: RFC 1112 section 6.4, RFC 2464 section 7.
#[must_use]
pub const fn group_mac(group: IpAddr) -> [u8; 6] {
    match group {
        IpAddr::V4(v4) => {
            let [_, b, c, d] = v4.octets();
            [0x01, 0x00, 0x5E, b & 0x7F, c, d]
        }
        IpAddr::V6(v6) => {
            let [.., a, b, c, d] = v6.octets();
            [0x33, 0x33, a, b, c, d]
        }
    }
}

const _: () = assert!(LENGTH_AT == TO_AT + 1 && PORT_AT == LENGTH_AT + 2);
const _: () = assert!(PORT_AT + 2 == ENVELOPE_LEN);

#[cfg(test)]
mod tests {
    use super::{ENVELOPE_LEN, Envelope, group_mac};
    use crate::ids::NodeId;

    #[test]
    fn the_bytes_are_those_of_the_table() {
        let all = Envelope { to: None, port: 5800 };
        assert_eq!(all.encode(0x0123), Some([1, 0, 0x01, 0x23, 0x16, 0xA8]));
        let one = Envelope { to: NodeId::new(128), port: 1 };
        assert_eq!(one.encode(9), Some([1, 128, 0, 9, 0, 1]));
        assert_eq!(one.encode(65_536), None);
    }

    #[test]
    fn the_frame_is_what_the_length_says_and_the_rest_is_padding() {
        let envelope = Envelope { to: NodeId::new(7), port: 5800 };
        let mut bytes = envelope.encode(3).unwrap().to_vec();
        bytes.extend(b"abc");
        assert_eq!(Envelope::decode(&bytes), Some((envelope, &b"abc"[..])));
        bytes.extend([0; 40]);
        assert_eq!(Envelope::decode(&bytes), Some((envelope, &b"abc"[..])));
        for end in 0..ENVELOPE_LEN + 3 {
            assert_eq!(Envelope::decode(&bytes[..end]), None, "{end} bytes");
        }
        for (at, wrong) in [(0, 0), (0, 2), (1, 129), (1, 255)] {
            let mut bytes = bytes.clone();
            bytes[at] = wrong;
            assert_eq!(Envelope::decode(&bytes), None, "{wrong} at {at}");
        }
    }

    #[test]
    fn groups_have_the_addresses_of_the_standards() {
        let mac = |text: &str| group_mac(text.parse().unwrap());
        assert_eq!(mac("239.255.77.1"), [0x01, 0x00, 0x5E, 0x7F, 77, 1]);
        assert_eq!(mac("224.128.0.5"), [0x01, 0x00, 0x5E, 0, 0, 5]);
        assert_eq!(mac("ff02::1:4e47"), [0x33, 0x33, 0, 1, 0x4E, 0x47]);
    }
}
