//! One test for each reason for which [`open`] drops a frame (S9); `replay.rs` tests the reasons
//! that need a memory.

use super::{BODY_MAX, BULK_MAX, FRAME_MAX, HEADER_LEN, Header, Kind, Seal, TAG_AT, VERSION};
use super::{open, seal, tag};
use crate::ids::{ClusterId, Incarnation, Life, LinkId, NodeId, Nonce, Seq};
use crate::reject::Reject;

const LINK: LinkId = LinkId(1);

fn ours() -> Seal {
    Seal { cluster: ClusterId(0xC1), key: [7; 32], key_id: 3, config_hash: 0xC0F1, level: 1 }
}

fn header() -> Header {
    let from = Life { node: NodeId::new(2).unwrap(), incarnation: Incarnation(5) };
    Header { kind: Kind::Beat, from, nonce: Nonce(99), link: LINK, seq: Seq(17) }
}

fn sealed(by: &Seal) -> Vec<u8> {
    let mut buffer = [0; FRAME_MAX];
    seal(by, &header(), b"body", &mut buffer).unwrap().to_vec()
}

/// A member's frame with other bytes at `at`, under a tag that matches: what a faulty sender could
/// write.
fn rewritten(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut frame = sealed(&ours());
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    let tag = tag(&ours().key, &frame);
    frame[TAG_AT..HEADER_LEN].copy_from_slice(&tag);
    frame
}

fn why(frame: &[u8]) -> Option<Reject> {
    open(&ours(), LINK, frame).err()
}

#[test]
fn what_was_sealed_opens_to_the_same_header_and_body() {
    assert_eq!(open(&ours(), LINK, &sealed(&ours())), Ok((header(), &b"body"[..])));
}

#[test]
fn truncated_shorter_than_a_header_or_not_as_long_as_it_says() {
    let whole = sealed(&ours());
    for length in 0..whole.len() {
        assert_eq!(why(&whole[..length]), Some(Reject::Truncated), "{length} bytes");
    }
    let mut longer = whole;
    longer.push(0);
    assert_eq!(why(&longer), Some(Reject::Truncated));
}

#[test]
fn garbage_without_the_magic() {
    assert_eq!(why(&[0; 200]), Some(Reject::Garbage));
    assert_eq!(why(&rewritten(1, b"g")), Some(Reject::Garbage));
}

#[test]
fn version_of_another_release() {
    for version in [0, VERSION - 1, VERSION + 1, u8::MAX] {
        assert_eq!(why(&rewritten(2, &[version])), Some(Reject::Version), "version {version}");
    }
}

#[test]
fn foreign_cluster_even_under_the_same_key() {
    let other = Seal { cluster: ClusterId(0xC2), ..ours() };
    assert_eq!(why(&sealed(&other)), Some(Reject::ForeignCluster));
}

#[test]
fn foreign_key_id() {
    assert_eq!(why(&sealed(&Seal { key_id: 4, ..ours() })), Some(Reject::ForeignKey));
}

#[test]
fn forged_under_another_key() {
    let mut key = ours().key;
    key[31] ^= 1;
    assert_eq!(why(&sealed(&Seal { key, ..ours() })), Some(Reject::Forged));
}

#[test]
fn forged_or_foreign_whichever_bit_is_turned() {
    let good = sealed(&ours());
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut frame = good.clone();
            frame[at] ^= 1 << bit;
            let expected = match at {
                0..2 => Reject::Garbage,
                2 => Reject::Version,
                4..6 | 43..45 => Reject::Truncated,
                8..16 => Reject::ForeignCluster,
                42 => Reject::ForeignKey,
                // Kind, node, link, incarnation, hash, nonce, number, level, reserved, tag, body:
                // the tag covers them all.
                _ => Reject::Forged,
            };
            assert_eq!(why(&frame), Some(expected), "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn another_configuration_is_told_and_refuses_nothing() {
    let other = Seal { config_hash: 0xC0F2, ..ours() };
    let frame = sealed(&other);
    assert_eq!(why(&frame), None);
    assert_eq!(super::config_hash(&frame), Some(0xC0F2));
    assert_eq!(super::config_hash(&frame[..63]), None);
    assert_eq!((super::level(&frame), super::level(&frame[..63])), (Some(1), None));
}

#[test]
fn wrong_link_when_networks_are_joined() {
    assert_eq!(open(&ours(), LinkId(0), &sealed(&ours())), Err(Reject::WrongLink));
}

#[test]
fn malformed_kind_node_life_or_reserved_byte_of_a_faulty_member() {
    for kind in [0, 6, u8::MAX] {
        assert_eq!(why(&rewritten(3, &[kind])), Some(Reject::Malformed), "kind {kind}");
    }
    for node in [0, 129, u8::MAX] {
        assert_eq!(why(&rewritten(6, &[node])), Some(Reject::Malformed), "node {node}");
    }
    assert_eq!(why(&rewritten(16, &[0; 4])), Some(Reject::Malformed), "incarnation 0");
    for at in 45..TAG_AT {
        assert_eq!(why(&rewritten(at, &[1])), Some(Reject::Malformed), "reserved byte {at}");
    }
}

#[test]
fn the_feature_level_is_no_reason_to_drop() {
    assert!(open(&ours(), LINK, &sealed(&Seal { level: 2, ..ours() })).is_ok());
}

#[test]
fn what_does_not_fit_is_not_sent() {
    let mut small = [0; HEADER_LEN + 3];
    assert_eq!(seal(&ours(), &header(), b"body", &mut small), None);
    let mut large = [0; FRAME_MAX + 1];
    assert_eq!(seal(&ours(), &header(), &[0; BODY_MAX + 1], &mut large), None);
    let whole = seal(&ours(), &header(), &[0; BODY_MAX], &mut large).map(<[u8]>::len);
    assert_eq!(whole, Some(FRAME_MAX));
}

#[test]
fn a_frame_of_the_stream_may_be_longer_than_a_datagram_and_no_other_may() {
    let bulk = Header { kind: Kind::Bulk, ..header() };
    let mut buffer = vec![0; BULK_MAX + 1];
    for length in [0, BODY_MAX + 1, 65_535 - HEADER_LEN, 65_536 - HEADER_LEN, BULK_MAX - HEADER_LEN]
    {
        let body = vec![7; length];
        let frame = seal(&ours(), &bulk, &body, &mut buffer).unwrap();
        assert_eq!(open(&ours(), LINK, frame), Ok((bulk, &body[..])), "{length} bytes");
    }
    let body = vec![7; BULK_MAX - HEADER_LEN + 1];
    assert_eq!(seal(&ours(), &bulk, &body, &mut buffer), None);
    // A faulty member that puts a long body into another kind of frame.
    let mut frame = seal(&ours(), &bulk, &[7; BODY_MAX + 1], &mut buffer).unwrap().to_vec();
    frame[3] = Kind::Agreement as u8;
    let tag = tag(&ours().key, &frame);
    frame[TAG_AT..HEADER_LEN].copy_from_slice(&tag);
    assert_eq!(why(&frame), Some(Reject::Malformed));
}

#[test]
fn the_key_is_not_printed() {
    let shown = format!("{:?}", ours());
    assert!(!shown.contains('7') && !shown.contains("key"), "{shown}");
}
