//! Golden frames: the bytes of every kind of frame are checked in, and a layout changes only with
//! the version (WIRE.md).
//!
//! `NG_BLESS=1` writes the files anew, but never over bytes of the version that the code still has:
//! two releases that call different bytes by one version would misread each other.

use base::{Duration, Instant};
use ng_wire::codec::Writer;
use ng_wire::frame::{self, HEADER_LEN, TAG_LEN, VERSION};
use ng_wire::{
    Beat, ClusterId, Echo, EchoBody, Header, Incarnation, Kind, Life, LinkId, Message, NodeId,
    Nonce, Obituary, Op, Seal, Seq, Stint, Term,
};
use std::path::PathBuf;
use std::sync::LazyLock;

const VERSION_AT: usize = 2;
const LINK: LinkId = LinkId(2);
/// What `NG_BLESS` asks for.
const BLESS: &str = "NG_BLESS";

fn node(id: u8) -> NodeId {
    NodeId::new(id).expect("1..=128")
}

/// Every field of header and bodies has bytes of its own, so that two exchanged fields show.
fn seal() -> Seal {
    let key = core::array::from_fn(|i| i as u8);
    let cluster = ClusterId(0x0807_0605_0403_0201);
    Seal { cluster, key, key_id: 0x43, config_hash: 0x3433_3231, level: 0x4241 }
}

fn header(kind: Kind) -> Header {
    Header {
        kind,
        from: Life { node: node(0x1F), incarnation: Incarnation(0x1413_1211) },
        nonce: Nonce(0x2827_2625_2423_2221),
        link: LINK,
        seq: Seq(0x5857_5655_5453_5251),
    }
}

fn echo() -> Echo {
    let (seq, incarnation) = (Seq(0xFFFF_FFFF_A4A3_A2A1), Incarnation(0xFFFF_B2B1));
    Echo::new(seq, incarnation, Duration::from_micros(0xC2C1 * 4))
}

fn beat() -> Beat {
    let mut beat = Beat::new(
        Stint(0x6867_6665_6463_6261),
        Instant(0x7877_7675_7473_7271),
        Duration::from_micros(0x0393_8281),
        Duration::from_micros(0x0293_9291),
    );
    beat.owner = true;
    beat.probe = true;
    // Set out of order, written in order of the nodes; both halves of the set are used.
    beat.set_echo(node(128), Echo::new(Seq(3), Incarnation(2), Duration::from_millis(500)));
    beat.set_echo(node(1), echo());
    beat.set_echo(node(64), Echo::new(Seq(5), Incarnation(4), Duration::ZERO));
    beat
}

fn answer() -> EchoBody {
    EchoBody { to: node(0x2E), stint: Stint(0x6867_6665_6463_6261), echo: echo() }
}

fn obituary() -> Obituary {
    Obituary { stint: Stint(0x6867_6665_6463_6261) }
}

fn message() -> Message {
    let life = Life { node: node(0x2E), incarnation: Incarnation(0xE4E3_E2E1) };
    let term = Term { era: 0xF4F3_F2F1, counter: 0xD4D3_D2D1, life };
    Message::PrepareOk { term, op: Op(0x6867_6665_6463_6261) }
}

fn sealed(kind: Kind, body: &[u8]) -> Vec<u8> {
    let mut buffer = [0; frame::FRAME_MAX];
    frame::seal(&seal(), &header(kind), body, &mut buffer).expect("fits").to_vec()
}

/// The frames of this code, by the name of their file.
fn frames() -> Vec<(&'static str, Vec<u8>)> {
    let mut written = Writer::new();
    message().encode(&mut written);
    vec![
        ("beat", sealed(Kind::Beat, beat().encode(&mut [0; ng_wire::beat::BEAT_MAX]))),
        ("echo", sealed(Kind::Echo, &answer().encode())),
        ("obituary", sealed(Kind::Obituary, &obituary().encode())),
        ("agreement", sealed(Kind::Agreement, &written.0)),
        ("bulk", sealed(Kind::Bulk, &[])),
    ]
}

fn file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "testdata", &format!("{name}.bin")].iter().collect()
}

/// One checked-in file after blessing, if that was asked for, and what is wrong with it.
struct Golden {
    name: &'static str,
    bytes: Vec<u8>,
    complaint: Option<String>,
}

/// Compared and blessed once, before any test reads them.
static GOLDEN: LazyLock<Vec<Golden>> = LazyLock::new(|| {
    let bless = std::env::var_os(BLESS).is_some_and(|value| value == "1");
    let compare = |(name, now): (&'static str, Vec<u8>)| {
        let before = std::fs::read(file(name)).ok();
        match verdict(before.as_deref(), &now, bless) {
            Ok(changed) => {
                if changed {
                    std::fs::write(file(name), &now).expect("testdata can be written");
                }
                Golden { name, bytes: now, complaint: None }
            }
            Err(why) => {
                let complaint = Some(format!("{name}.bin: {why}"));
                Golden { name, bytes: before.unwrap_or_default(), complaint }
            }
        }
    };
    frames().into_iter().map(compare).collect()
});

fn golden(name: &str) -> &'static [u8] {
    let file = GOLDEN.iter().find(|golden| golden.name == name).expect(name);
    &file.bytes
}

/// What is to be done about a frame whose bytes are `now` and were `before`.
fn verdict(before: Option<&[u8]>, now: &[u8], bless: bool) -> Result<bool, String> {
    match before {
        Some(before) if before == now => Ok(false),
        Some(before) if before.get(VERSION_AT) == Some(&VERSION) => Err(format!(
            "the bytes changed and the version did not: raise frame::VERSION, which is {VERSION}, \
             and say so in WIRE.md; then write the files anew with {BLESS}=1"
        )),
        _ if bless => Ok(true),
        Some(_) => Err(format!("another version: write the files anew with {BLESS}=1")),
        None => Err(format!("not checked in: write it with {BLESS}=1")),
    }
}

#[test]
fn the_bytes_of_every_kind_of_frame_are_the_golden_ones() {
    let complaints: Vec<&str> = GOLDEN.iter().filter_map(|g| g.complaint.as_deref()).collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn blessing_never_gives_one_version_two_layouts() {
    let (_, now) = frames().swap_remove(0);
    let mut other = now.clone();
    other.push(0);
    assert!(verdict(Some(&other), &now, true).is_err());
    other[VERSION_AT] = VERSION - 1;
    assert_eq!(verdict(Some(&other), &now, true), Ok(true));
    assert!(verdict(Some(&other), &now, false).is_err());
    assert_eq!(verdict(None, &now, true), Ok(true));
    assert!(verdict(None, &now, false).is_err());
    assert_eq!(verdict(Some(&now), &now, true), Ok(false));
}

#[test]
fn golden_frames_are_understood() {
    let open = |name: &str| frame::open(&seal(), LINK, golden(name)).expect(name);
    let (head, body) = open("beat");
    assert_eq!((head, Beat::decode(body)), (header(Kind::Beat), Ok(beat_as_heard())));
    let (head, body) = open("echo");
    assert_eq!((head, EchoBody::decode(body)), (header(Kind::Echo), Ok(answer())));
    let (head, body) = open("obituary");
    assert_eq!((head, Obituary::decode(body)), (header(Kind::Obituary), Ok(obituary())));
    let (head, body) = open("agreement");
    assert_eq!((head, Message::decode(body)), (header(Kind::Agreement), Ok(message())));
}

/// As it was sent, except that an echo held longer than can be said is said to be held 262 ms.
fn beat_as_heard() -> Beat {
    let mut beat = beat();
    let held = Duration::from_micros(u64::from(u16::MAX) * 4);
    beat.set_echo(node(128), Echo::new(Seq(3), Incarnation(2), held));
    beat
}

/// A part of a table of WIRE.md: offset, field, bytes.
type Row = (usize, &'static str, &'static [u8]);

const HEADER: &[Row] = &[
    (0, "magic", b"NG"),
    (2, "version", &[VERSION]),
    (6, "node", &[0x1F]),
    (7, "link", &[2]),
    (8, "cluster", &[1, 2, 3, 4, 5, 6, 7, 8]),
    (16, "incarnation", &[0x11, 0x12, 0x13, 0x14]),
    (20, "config hash", &[0x31, 0x32, 0x33, 0x34]),
    (24, "nonce", &[0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28]),
    (32, "seq", &[0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58]),
    (40, "level", &[0x41, 0x42]),
    (42, "key id", &[0x43]),
    (43, "length high", &[0; 2]),
    (45, "reserved", &[0; 3]),
];

const STINT: Row = (64, "stint", &[0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68]);
const ECHO: &[u8] = &[0xA1, 0xA2, 0xA3, 0xA4, 0xB1, 0xB2, 0xC1, 0xC2];

const BEAT: &[Row] = &[
    (3, "kind", &[1]),
    (4, "length", &[136, 0]),
    STINT,
    (72, "sent", &[0x71, 0x72, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78]),
    (80, "deadline", &[0x81, 0x82, 0x93, 0x03]),
    (84, "interval", &[0x91, 0x92, 0x93, 0x02]),
    (88, "flags", &[3, 0]),
    (90, "count", &[3, 0]),
    (92, "reserved", &[0; 4]),
    (96, "present", &[1, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0x80]),
    (112, "echo of 1", ECHO),
    (120, "echo of 64", &[5, 0, 0, 0, 4, 0, 0, 0]),
    (128, "echo of 128", &[3, 0, 0, 0, 2, 0, 0xFF, 0xFF]),
];

const ANSWER: &[Row] = &[
    (3, "kind", &[2]),
    (4, "length", &[88, 0]),
    STINT,
    (72, "echo", ECHO),
    (80, "to", &[0x2E]),
    (81, "reserved", &[0; 7]),
];

const OBITUARY: &[Row] = &[(3, "kind", &[3]), (4, "length", &[72, 0]), STINT];

const AGREEMENT: &[Row] = &[
    (3, "kind", &[4]),
    (4, "length", &[86, 0]),
    (64, "number", &[2]),
    (65, "era", &[0xF1, 0xF2, 0xF3, 0xF4]),
    (69, "counter", &[0xD1, 0xD2, 0xD3, 0xD4]),
    (73, "term's node", &[0x2E]),
    (74, "term's incarnation", &[0xE1, 0xE2, 0xE3, 0xE4]),
    (78, "op", &[0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68]),
];

const BULK: &[Row] = &[(3, "kind", &[5]), (4, "length", &[64, 0])];

#[test]
fn a_length_above_a_datagrams_has_its_high_half_at_43() {
    let header = header(Kind::Bulk);
    let mut buffer = vec![0; frame::BULK_MAX];
    let bytes = frame::seal(&seal(), &header, &[0xAB; 0x01_2345], &mut buffer).expect("fits");
    assert_eq!(bytes.len(), 0x01_2385);
    assert_eq!((&bytes[4..6], &bytes[43..45]), (&[0x85, 0x23][..], &[1, 0][..]));
    assert_eq!(frame::open(&seal(), LINK, bytes).map(|(header, _)| header), Ok(header));
}

#[test]
fn every_field_lies_where_wire_md_says_and_the_tag_is_what_it_says() {
    for (name, rows) in [
        ("beat", BEAT),
        ("echo", ANSWER),
        ("obituary", OBITUARY),
        ("agreement", AGREEMENT),
        ("bulk", BULK),
    ] {
        let bytes = golden(name);
        let mut covered = TAG_LEN;
        for (at, field, expected) in HEADER.iter().chain(rows) {
            assert_eq!(bytes.get(*at..at + expected.len()), Some(*expected), "{name}: {field}");
            covered += expected.len();
        }
        assert_eq!(covered, bytes.len(), "{name}: a byte that no row names");

        let mut untagged = bytes.to_vec();
        untagged[HEADER_LEN - TAG_LEN..HEADER_LEN].fill(0);
        let hash = blake3::keyed_hash(&seal().key, &untagged);
        assert_eq!(bytes[HEADER_LEN - TAG_LEN..HEADER_LEN], hash.as_bytes()[..TAG_LEN], "{name}");
    }
}
