//! The few bytes of IP, UDP and ICMP that are made and read here.

use std::net::IpAddr;

const ICMP: u8 = 1;
const UDP: u8 = 17;

/// A UDP datagram that came whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Datagram<'p> {
    pub(crate) from: IpAddr,
    pub(crate) port: u16,
    pub(crate) payload: &'p [u8],
}

/// Reads a packet that begins with its IP header; pieces and other protocols are none.
pub(crate) fn datagram(packet: &[u8]) -> Option<Datagram<'_>> {
    let (from, udp) = match packet.first()? >> 4 {
        4 => {
            let (protocol, from, rest) = ipv4(packet)?;
            if protocol != UDP {
                return None;
            }
            (from, rest)
        }
        6 => {
            let head = packet.first_chunk::<40>()?;
            if head[6] != UDP {
                return None;
            }
            let from: [u8; 16] = head.get(8..24)?.try_into().ok()?;
            let length = usize::from(u16::from_be_bytes([head[4], head[5]]));
            (from.into(), packet.get(40..40 + length)?)
        }
        _ => return None,
    };
    let head = udp.first_chunk::<8>()?;
    let length = usize::from(u16::from_be_bytes([head[4], head[5]]));
    let payload = udp.get(8..length)?;
    Some(Datagram { from, port: u16::from_be_bytes([head[2], head[3]]), payload })
}

/// Protocol, source and what follows the header of a packet that is not a piece.
fn ipv4(packet: &[u8]) -> Option<(u8, IpAddr, &[u8])> {
    let head = packet.first_chunk::<20>()?;
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let begin = usize::from(head[0] & 0x0f) * 4;
    let piece = u16::from_be_bytes([head[6], head[7]]) & 0x3fff != 0;
    if piece || begin < 20 {
        return None;
    }
    let from = [head[12], head[13], head[14], head[15]];
    Some((head[9], from.into(), packet.get(begin..length)?))
}

/// An echo request of `payload` bytes. IPv6's checksum is the kernel's work.
pub(crate) fn echo_request(ipv6: bool, identity: u16, number: u16, payload: usize) -> Vec<u8> {
    let mut message = vec![if ipv6 { 128 } else { 8 }, 0, 0, 0];
    message.extend(identity.to_be_bytes());
    message.extend(number.to_be_bytes());
    message.resize(8 + payload, 0x4e);
    if !ipv6 {
        let sum = checksum(&message).to_be_bytes();
        message[2..4].copy_from_slice(&sum);
    }
    message
}

/// The number of the echo request of `identity` that a received message answers. A raw IPv4 socket
/// gives the IP header too, an IPv6 one does not.
pub(crate) fn echo_answer(ipv6: bool, identity: u16, received: &[u8]) -> Option<u16> {
    let message = if ipv6 {
        received
    } else {
        let (protocol, _, rest) = ipv4(received)?;
        (protocol == ICMP).then_some(rest)?
    };
    let head = message.first_chunk::<8>()?;
    let answer = head[0] == if ipv6 { 129 } else { 0 };
    let ours = u16::from_be_bytes([head[4], head[5]]) == identity;
    (answer && ours).then(|| u16::from_be_bytes([head[6], head[7]]))
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| match *pair {
        [high, low] => u32::from(high) << 8 | u32::from(low),
        [high] => u32::from(high) << 8,
        _ => 0,
    };
    let sum = bytes.chunks(2).fold(0_u32, |sum, pair| {
        let sum = sum + word(pair);
        (sum & 0xffff) + (sum >> 16)
    });
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::{checksum, datagram, echo_answer, echo_request};

    fn ipv4(protocol: u8, body: &[u8]) -> Vec<u8> {
        let length = (20 + body.len()) as u16;
        let mut packet = vec![0x45, 0];
        packet.extend(length.to_be_bytes());
        packet.extend([0, 1, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1]);
        packet.extend(body);
        packet
    }

    #[test]
    fn datagrams_are_read_and_padding_is_not_payload() {
        let udp = [0x16, 0xa8, 0x16, 0xa9, 0, 10, 0, 0, b'N', b'G'];
        let mut packet = ipv4(17, &udp);
        packet.extend([0; 16]);
        let found = datagram(&packet).unwrap();
        assert_eq!((found.port, found.payload), (0x16a9, &b"NG"[..]));
        assert_eq!(found.from, std::net::IpAddr::from([10, 0, 0, 2]));
        let mut six = vec![0x60, 0, 0, 0, 0, 10, 17, 64];
        six.extend([0xfd; 16]);
        six.extend([0; 16]);
        six.extend(udp);
        assert_eq!(datagram(&six).unwrap().payload, b"NG");
    }

    #[test]
    fn pieces_lies_and_scraps_are_none() {
        let udp = [0x16, 0xa8, 0x16, 0xa9, 0, 10, 0, 0, 1, 2];
        let whole = ipv4(17, &udp);
        assert!(datagram(&whole).is_some());
        let mut piece = whole.clone();
        piece[6] = 0x20;
        assert_eq!(datagram(&piece), None);
        assert_eq!(datagram(&ipv4(6, &udp)), None);
        let lying = ipv4(17, &[0, 1, 0, 2, 0xff, 0xff, 0, 0]);
        assert_eq!(datagram(&lying), None);
        for end in 0..whole.len() {
            assert_eq!(datagram(&whole[..end]), None);
            assert_eq!(echo_answer(false, 1, &whole[..end]), None);
        }
    }

    #[test]
    fn an_answer_is_matched_by_identity_and_number() {
        let mut message = echo_request(false, 7, 9, 3);
        assert_eq!(checksum(&message), 0, "a message with its checksum sums up to nothing");
        assert_eq!(echo_answer(false, 7, &ipv4(1, &message)), None, "a request is no answer");
        message[0] = 0;
        assert_eq!(echo_answer(false, 7, &ipv4(1, &message)), Some(9));
        assert_eq!(echo_answer(false, 8, &ipv4(1, &message)), None);
        let mut six = echo_request(true, 7, 9, 3);
        six[0] = 129;
        assert_eq!(echo_answer(true, 7, &six), Some(9));
    }
}
