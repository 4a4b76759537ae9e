//! Ethernet frames, built and read: header, envelope, frame of ours (WIRE.md, *Ethernet*).

use pnet_packet::Packet;
use pnet_packet::ethernet::{EtherType, EthernetPacket, MutableEthernetPacket};
use wire::ethernet::{ENVELOPE_LEN, ETHERTYPE, Envelope};

/// An Ethernet address.
pub(crate) type Mac = [u8; 6];

/// Bytes of the Ethernet header.
pub(crate) const HEADER_LEN: usize = EthernetPacket::minimum_packet_size();
/// What stands before one of our frames.
pub(crate) const OVERHEAD: usize = HEADER_LEN + ENVELOPE_LEN;

/// Writes a frame into `buffer`; nothing if it does not fit.
pub(super) fn build<'b>(
    buffer: &'b mut [u8],
    (from, to): (Mac, Mac),
    envelope: Envelope,
    frame: &[u8],
) -> Option<&'b [u8]> {
    let whole = buffer.get_mut(..OVERHEAD + frame.len())?;
    let mut header = MutableEthernetPacket::new(whole)?;
    header.set_destination(to.into());
    header.set_source(from.into());
    header.set_ethertype(EtherType(ETHERTYPE));
    let (before, after) = whole.get_mut(HEADER_LEN..)?.split_first_chunk_mut::<ENVELOPE_LEN>()?;
    *before = envelope.encode(frame.len())?;
    after.copy_from_slice(frame);
    Some(whole)
}

/// What came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Incoming<'b> {
    /// The address that it says it came from.
    pub(super) source: Mac,
    /// Who it is for; none if it has no envelope that can be read.
    pub(super) envelope: Option<Envelope>,
    /// The frame; without an envelope, all there is.
    pub(super) frame: &'b [u8],
}

/// Reads one; nothing if it is none of our ethertype.
pub(super) fn read(bytes: &[u8]) -> Option<Incoming<'_>> {
    let packet = EthernetPacket::new(bytes)?;
    if packet.get_ethertype() != EtherType(ETHERTYPE) {
        return None;
    }
    let source = packet.get_source().octets();
    let payload = bytes.get(HEADER_LEN..)?;
    debug_assert_eq!(payload, packet.payload());
    let (envelope, frame) = match Envelope::decode(payload) {
        Some((envelope, frame)) => (Some(envelope), frame),
        None => (None, payload),
    };
    Some(Incoming { source, envelope, frame })
}

/// The address of one station: neither a group's nor none.
pub(super) fn is_station(mac: Mac) -> bool {
    mac[0] & 1 == 0 && mac != [0; 6]
}

#[cfg(test)]
mod tests {
    use super::{HEADER_LEN, Incoming, OVERHEAD, build, is_station, read};
    use base::Prng;
    use wire::NodeId;
    use wire::ethernet::{BROADCAST, Envelope};

    const ME: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const PEER: [u8; 6] = [2, 0, 0, 0, 0, 2];

    #[test]
    fn what_is_built_is_read_again_and_padding_is_no_part_of_it() {
        let mut buffer = [0xEE; 100];
        let envelope = Envelope { to: NodeId::new(2), port: 5800 };
        let built = build(&mut buffer, (ME, PEER), envelope, b"beat").unwrap();
        assert_eq!(built[..6], PEER);
        assert_eq!(built[6..14], [2, 0, 0, 0, 0, 1, 0x88, 0xB5]);
        assert_eq!(built[HEADER_LEN..], *b"\x01\x02\x00\x04\x16\xA8beat");
        let expected = Incoming { source: ME, envelope: Some(envelope), frame: b"beat" };
        assert_eq!(read(built), Some(expected));
        assert_eq!(read(&buffer[..60]), Some(expected));
    }

    #[test]
    fn what_does_not_fit_is_not_built() {
        let mut buffer = [0; OVERHEAD + 4];
        let envelope = Envelope { to: None, port: 1 };
        assert!(build(&mut buffer, (ME, BROADCAST), envelope, b"four").is_some());
        assert!(build(&mut buffer, (ME, BROADCAST), envelope, b"fives").is_none());
    }

    #[test]
    fn any_bytes_are_survived() {
        let mut prng = Prng::new(1);
        let mut ours = 0;
        for _ in 0..20_000 {
            let mut bytes: Vec<u8> = (0..prng.below(90)).map(|_| prng.below(256) as u8).collect();
            if let Some(kind) = bytes.get_mut(12..14)
                && prng.chance(3, 4)
            {
                kind.copy_from_slice(&[0x88, 0xB5]);
            }
            // Mostly of this version, for a node, and short enough to be there.
            for (at, mask) in [(14, 1), (15, 0x7F), (16, 1), (17, 0x3F)] {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte &= mask;
                }
            }
            let Some(incoming) = read(&bytes) else { continue };
            assert!(incoming.frame.len() <= bytes.len() - HEADER_LEN);
            let Some(envelope) = incoming.envelope else { continue };
            ours += 1;
            let mut buffer = [0; 100];
            let to = bytes[..6].try_into().unwrap();
            let again = build(&mut buffer, (incoming.source, to), envelope, incoming.frame);
            assert_eq!(again, bytes.get(..OVERHEAD + incoming.frame.len()));
        }
        assert!(ours > 1_000, "{ours}");
    }

    #[test]
    fn groups_and_nobody_are_no_station() {
        assert!(is_station(ME));
        for no in [BROADCAST, [0; 6], [1, 0, 0x5E, 0, 0, 1], [0x33, 0x33, 0, 0, 0, 1]] {
            assert!(!is_station(no));
        }
    }
}
