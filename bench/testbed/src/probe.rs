//! The bytes between observer and responder.
//!
//! ```text
//! probe  (24): magic u32 · via u8 · 3 zero · observer u64 · seq u64
//! reply  (40): the probe · node u8 · 7 zero · generation u64          all little-endian
//! ```

use crate::packet::{HEADERS_LEN, udp};
use std::net::SocketAddrV4;

/// The UDP port that responders listen on.
pub const PORT: u16 = 7077;
/// Length of a probe.
pub const PROBE_LEN: usize = 24;
/// Length of a reply.
pub const REPLY_LEN: usize = 40;

const MAGIC: u32 = 0x4250_474e;
const SEQ_AT: usize = 16;

/// How a probe went to its target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Via {
    /// The kernel's normal path: by its neighbour table, as any client.
    Kernel,
    /// Straight to one node's MAC address: seen by an old owner that nobody else talks to any more.
    Direct(u8),
}

impl Via {
    const fn code(self) -> u8 {
        match self {
            Self::Kernel => 0,
            Self::Direct(node) => node,
        }
    }
}

/// One question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Probe {
    /// Which way.
    pub via: Via,
    /// Whose: replies to another observer are not ours.
    pub observer: u64,
    /// Which tick.
    pub seq: u64,
}

/// One answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reply {
    /// To which probe.
    pub probe: Probe,
    /// Who answered.
    pub node: u8,
    /// As owner of which generation; 0 = it does not call itself owner.
    pub generation: u64,
}

impl Probe {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; PROBE_LEN] {
        let mut bytes = [0; PROBE_LEN];
        bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[4] = self.via.code();
        bytes[8..SEQ_AT].copy_from_slice(&self.observer.to_le_bytes());
        bytes[SEQ_AT..].copy_from_slice(&self.seq.to_le_bytes());
        bytes
    }

    /// From bytes; `None` if they are something else.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let head: &[u8; PROBE_LEN] = bytes.first_chunk()?;
        if head[..4] != MAGIC.to_le_bytes() {
            return None;
        }
        let via = if head[4] == 0 { Via::Kernel } else { Via::Direct(head[4]) };
        Some(Self { via, observer: word(bytes, 8)?, seq: word(bytes, SEQ_AT)? })
    }
}

impl Reply {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; REPLY_LEN] {
        let mut bytes = [0; REPLY_LEN];
        bytes[..PROBE_LEN].copy_from_slice(&self.probe.encode());
        bytes[PROBE_LEN] = self.node;
        bytes[32..].copy_from_slice(&self.generation.to_le_bytes());
        bytes
    }

    /// From bytes; `None` if they are something else.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != REPLY_LEN {
            return None;
        }
        let (probe, generation) = (Probe::decode(bytes)?, word(bytes, 32)?);
        Some(Self { probe, node: bytes[PROBE_LEN], generation })
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A whole Ethernet frame with a probe in it, made once; each tick only changes the number.
#[derive(Clone, Debug)]
pub struct Frame {
    bytes: Vec<u8>,
}

impl Frame {
    /// A frame to one node's MAC address.
    #[must_use]
    pub fn new(
        macs: ([u8; 6], [u8; 6]),
        from: SocketAddrV4,
        to: SocketAddrV4,
        probe: &Probe,
    ) -> Self {
        Self { bytes: udp((macs.0, from), (macs.1, to), &probe.encode()) }
    }

    /// The frame for tick `seq`.
    pub fn numbered(&mut self, seq: u64) -> &[u8] {
        let at = HEADERS_LEN + SEQ_AT;
        self.bytes[at..at + 8].copy_from_slice(&seq.to_le_bytes());
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::{Frame, Probe, Reply, Via};
    use std::net::{Ipv4Addr, SocketAddrV4};

    const PROBE: Probe = Probe { via: Via::Direct(3), observer: 0x1122_3344, seq: 77 };

    #[test]
    fn probes_and_replies_survive_the_wire() {
        assert_eq!(Probe::decode(&PROBE.encode()), Some(PROBE));
        let reply = Reply { probe: PROBE, node: 2, generation: 9 };
        assert_eq!(Reply::decode(&reply.encode()), Some(reply));
    }

    #[test]
    fn anything_else_is_nothing() {
        assert_eq!(Probe::decode(b"short"), None);
        assert_eq!(Probe::decode(&[0; 24]), None);
        assert_eq!(Reply::decode(&PROBE.encode()), None);
    }

    #[test]
    fn a_frame_has_valid_headers_and_carries_the_number() {
        let from = SocketAddrV4::new(Ipv4Addr::new(10, 77, 1, 250), 4000);
        let to = SocketAddrV4::new(Ipv4Addr::new(10, 77, 1, 100), 7077);
        let mut frame = Frame::new(([2; 6], [4; 6]), from, to, &PROBE);
        let bytes = frame.numbered(0x0102);
        assert_eq!(bytes[..14], [4, 4, 4, 4, 4, 4, 2, 2, 2, 2, 2, 2, 8, 0]);
        let sum: u32 =
            bytes[14..34].chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "IPv4 header checksum");
        assert_eq!(Probe::decode(&bytes[42..]), Some(Probe { seq: 0x0102, ..PROBE }));
    }
}
