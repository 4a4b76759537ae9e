//! Whatever comes over the network never panics (S9), and what is sent comes back as it went.

use base::{Duration, Instant};
use ng_wire::beat::{BEAT_HEAD_LEN, BEAT_MAX, DEADLINE_MAX, DEADLINE_MIN, ECHO_LEN};
use ng_wire::frame::{self, FRAME_MAX, HEADER_LEN};
use ng_wire::{
    Beat, ClusterId, Echo, EchoBody, Header, Incarnation, Kind, Life, LinkId, NodeId, NodeSet,
    Nonce, Obituary, Reject, Replay, Seal, Seq, Stint,
};
use proptest::collection::{btree_map, vec};
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

fn any_node() -> impl Strategy<Value = NodeId> {
    (1..=128_u8).prop_map(|id| NodeId::new(id).expect("1..=128"))
}

fn any_seal() -> impl Strategy<Value = Seal> {
    (any::<u64>(), any::<[u8; 32]>(), any::<u8>(), any::<u32>(), any::<u16>()).prop_map(
        |(cluster, key, key_id, config_hash, level)| Seal {
            cluster: ClusterId(cluster),
            key,
            key_id,
            config_hash,
            level,
        },
    )
}

fn any_header() -> impl Strategy<Value = Header> {
    let kinds = prop_oneof![
        Just(Kind::Beat),
        Just(Kind::Echo),
        Just(Kind::Obituary),
        Just(Kind::Agreement),
        Just(Kind::Bulk)
    ];
    (kinds, any_node(), 1..=u32::MAX, any::<u64>(), any::<u8>(), any::<u64>()).prop_map(
        |(kind, node, incarnation, nonce, link, seq)| Header {
            kind,
            from: Life { node, incarnation: Incarnation(incarnation) },
            nonce: Nonce(nonce),
            link: LinkId(link),
            seq: Seq(seq),
        },
    )
}

/// An echo that the wire can say exactly: held in units of 4 µs.
fn any_echo() -> impl Strategy<Value = Echo> {
    (any::<u64>(), any::<u32>(), any::<u16>()).prop_map(|(seq, incarnation, held)| {
        let held = Duration::from_micros(u64::from(held) * 4);
        Echo::new(Seq(seq), Incarnation(incarnation), held)
    })
}

fn any_beat() -> impl Strategy<Value = Beat> {
    let deadlines = 3_000..=60_000_000_u32;
    let times = (any::<u64>(), any::<u64>(), deadlines, any::<u32>());
    let echoes = btree_map(any_node(), any_echo(), 0..=128);
    (times, any::<bool>(), any::<bool>(), echoes).prop_map(
        |((stint, sent, deadline, interval), owner, probe, echoes)| {
            let micros = |us| Duration::from_micros(u64::from(us));
            let (deadline, interval) = (micros(deadline), micros(interval % (deadline + 1)));
            let mut beat = Beat::new(Stint(stint), Instant(sent), deadline, interval);
            (beat.owner, beat.probe) = (owner, probe);
            for (node, echo) in echoes {
                beat.set_echo(node, echo);
            }
            beat
        },
    )
}

fn encoded(beat: &Beat) -> Vec<u8> {
    beat.encode(&mut [0; BEAT_MAX]).to_vec()
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        seal in any_seal(), link in any::<u8>(), raw in vec(any::<u8>(), 0..1_400),
    ) {
        prop_assert!(frame::open(&seal, LinkId(link), &raw).is_err());
        let _ = Beat::decode(&raw);
        let _ = EchoBody::decode(&raw);
        let _ = Obituary::decode(&raw);
    }

    #[test]
    fn a_header_that_looks_right_never_makes_open_panic_or_believe(
        seal in any_seal(), link in any::<u8>(), mut raw in vec(any::<u8>(), HEADER_LEN..300),
    ) {
        // Right up to the tag, so that the arbitrary rest is reached.
        let length = (raw.len() as u16).to_le_bytes();
        raw[..3].copy_from_slice(&[b'N', b'G', frame::VERSION]);
        raw[4..6].copy_from_slice(&length);
        raw[8..16].copy_from_slice(&seal.cluster.0.to_le_bytes());
        raw[42] = seal.key_id;
        raw[43..45].fill(0);
        prop_assert_eq!(frame::open(&seal, LinkId(link), &raw), Err(Reject::Forged));
    }

    #[test]
    fn a_member_with_a_faulty_header_never_makes_open_or_replay_panic(
        seal in any_seal(), link in 0..6_u8, kind in 0..7_u8, node in any::<u8>(), incarnation in 0..3_u32,
        mut raw in vec(any::<u8>(), HEADER_LEN..200),
    ) {
        let length = (raw.len() as u16).to_le_bytes();
        raw[..8].copy_from_slice(
            &[b'N', b'G', frame::VERSION, kind, length[0], length[1], node, link]);
        raw[8..16].copy_from_slice(&seal.cluster.0.to_le_bytes());
        raw[16..20].copy_from_slice(&incarnation.to_le_bytes());
        raw[20..24].copy_from_slice(&seal.config_hash.to_le_bytes());
        raw[42..HEADER_LEN].fill(0);
        raw[42] = seal.key_id;
        let tag = blake3::keyed_hash(&seal.key, &raw);
        raw[48..64].copy_from_slice(&tag.as_bytes()[..16]);
        let known = (1..=5).contains(&kind) && (1..=128).contains(&node) && incarnation > 0;
        let opened = frame::open(&seal, LinkId(link), &raw);
        prop_assert_eq!(opened.err(), (!known).then_some(Reject::Malformed));
        if let Ok((header, _)) = opened {
            let own = NodeId::new(1).expect("1..=128");
            let mut replay = Box::new(Replay::new(own, NodeSet(u128::MAX)));
            let _ = replay.take(&header);
            prop_assert!(replay.take(&header).is_err(), "taken twice");
        }
    }

    #[test]
    fn a_frame_comes_back_as_it_went(
        seal in any_seal(), header in any_header(), body in vec(any::<u8>(), 0..600),
    ) {
        let mut buffer = [0; FRAME_MAX];
        let bytes = frame::seal(&seal, &header, &body, &mut buffer).expect("fits");
        prop_assert_eq!(frame::open(&seal, header.link, bytes), Ok((header, &body[..])));
    }

    #[test]
    fn a_beat_comes_back_as_it_went(beat in any_beat()) {
        let bytes = encoded(&beat);
        prop_assert_eq!(bytes.len(), BEAT_HEAD_LEN + beat.echoed().len() * ECHO_LEN);
        prop_assert_eq!(Beat::decode(&bytes), Ok(beat));
    }

    #[test]
    fn a_beat_of_another_length_is_malformed(
        beat in any_beat(), more in 1..20_usize, less in 1..=BEAT_MAX,
    ) {
        let bytes = encoded(&beat);
        let longer = [&bytes[..], &vec![0; more]].concat();
        prop_assert_eq!(Beat::decode(&longer), Err(Reject::Malformed));
        let shorter = &bytes[..bytes.len().saturating_sub(less)];
        prop_assert_eq!(Beat::decode(shorter), Err(Reject::Malformed));
    }

    #[test]
    fn what_decodes_as_a_beat_is_what_its_sender_would_write(
        beat in any_beat(), at in 0..BEAT_MAX, byte in any::<u8>(),
    ) {
        // One meaning, one spelling: no two bodies of the same beat.
        let mut bytes = encoded(&beat);
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(beat) = Beat::decode(&bytes) {
            prop_assert_eq!(encoded(&beat), bytes);
        }
    }

    #[test]
    fn echoes_and_obituaries_come_back_as_they_went(
        to in any_node(), stint in any::<u64>(), echo in any_echo(),
    ) {
        let body = EchoBody { to, stint: Stint(stint), echo };
        prop_assert_eq!(EchoBody::decode(&body.encode()), Ok(body));
        let obituary = Obituary { stint: Stint(stint) };
        prop_assert_eq!(Obituary::decode(&obituary.encode()), Ok(obituary));
    }

    #[test]
    fn an_echo_is_never_said_to_be_held_longer_than_it_was(held in any::<u64>()) {
        let echo = Echo::new(Seq(1), Incarnation(1), Duration(held));
        let mut beat = Beat::new(Stint(1), Instant(0), DEADLINE_MIN, Duration::ZERO);
        let peer = NodeId::new(7).expect("1..=128");
        beat.set_echo(peer, echo);
        let told = Beat::decode(&encoded(&beat)).expect("a beat").echo(peer).expect("an echo").held;
        prop_assert!(told.0 <= held && (held - told.0 < 4_000 || told.0 == 65_535 * 4_000));
    }
}

#[test]
fn a_deadline_that_nobody_may_declare_is_malformed() {
    let (least, most) = (DEADLINE_MIN, DEADLINE_MAX);
    let us = Duration::from_micros(1);
    let declared = |deadline, interval| {
        let beat = Beat::new(Stint(1), Instant(2), deadline, interval);
        Beat::decode(&encoded(&beat)).map(|beat| beat.deadline)
    };
    assert_eq!(declared(least, us), Ok(least));
    assert_eq!(declared(most, us), Ok(most));
    assert_eq!(declared(least.saturating_sub(us), us), Err(Reject::Malformed));
    assert_eq!(declared(most + us, us), Err(Reject::Malformed));
    assert_eq!(declared(Duration::ZERO, us), Err(Reject::Malformed));
    assert_eq!(declared(least, least + us), Err(Reject::Malformed), "less than one interval");
}

#[test]
fn reserved_bytes_and_unknown_flags_are_malformed_everywhere() {
    let beat = Beat::new(Stint(1), Instant(2), DEADLINE_MIN, Duration::ZERO);
    let spoiled = |at: usize, bit: u8| {
        let mut bytes = encoded(&beat);
        bytes[at] |= bit;
        Beat::decode(&bytes)
    };
    for at in 28..32 {
        assert_eq!(spoiled(at, 1), Err(Reject::Malformed), "reserved byte {at}");
    }
    for flag in 2..16 {
        let (at, bit) = (24 + flag / 8, 1 << (flag % 8));
        assert_eq!(spoiled(at, bit), Err(Reject::Malformed), "flag {flag}");
    }
    // A count or a set that does not match the echoes.
    assert_eq!(spoiled(26, 1), Err(Reject::Malformed));
    assert_eq!(spoiled(47, 0x80), Err(Reject::Malformed));

    let to = NodeId::new(3).expect("1..=128");
    let good = EchoBody { to, stint: Stint(1), echo: Echo::default() }.encode();
    for at in 17..24 {
        let mut bytes = good;
        bytes[at] = 1;
        assert_eq!(EchoBody::decode(&bytes), Err(Reject::Malformed), "reserved byte {at}");
    }
    for id in [0, 129, 255] {
        let mut bytes = good;
        bytes[16] = id;
        assert_eq!(EchoBody::decode(&bytes), Err(Reject::Malformed), "to node {id}");
    }
}
