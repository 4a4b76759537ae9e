//! Every decoder of the product that a peer, a client, an operator or a disk can feed: it never
//! panics, and what it takes is what its writer would write.

use crate::arbitrary;
use crate::choices::Choices;
use crate::target::Target;
use base::{Duration, Instant};
use heartbeat::{Event, EventKind};
use membership::Membership;
use shm::event_words;
use shm::setup::{Core, Key, LinkSetup, Mode, Setup};
use std::net::{IpAddr, Ipv4Addr};
use wire::beat::BEAT_MAX;
use wire::codec::{Reader, Writer};
use wire::frame::{self, FRAME_MAX};
use wire::{
    Beat, ClusterId, EchoBody, Entry, Header, Kind, LinkId, Message, NodeId, NodeSet, Nonce,
    Obituary, Op, Replay, Seal, Seq,
};

/// All of them.
pub const DECODERS: &[Target] = &[
    Target { name: "frame", sample: frame_sample, check: frame_check },
    Target { name: "beat", sample: beat_sample, check: beat_check },
    Target {
        name: "echo",
        sample: |c| arbitrary::echo_body(c).encode().to_vec(),
        check: echo_check,
    },
    Target {
        name: "obituary",
        sample: |c| arbitrary::obituary(c).encode().to_vec(),
        check: obituary_check,
    },
    Target { name: "message", sample: message_sample, check: message_check },
    Target { name: "entry", sample: entry_sample, check: entry_check },
    Target { name: "body", sample: |c| arbitrary::body(c).encode(), check: body_check },
    Target { name: "request-line", sample: request_sample, check: request_check },
    Target { name: "reply-line", sample: reply_sample, check: reply_check },
    Target { name: "config", sample: config_sample, check: config_check },
    Target { name: "setup", sample: setup_sample, check: setup_check },
    Target { name: "membership", sample: membership_sample, check: membership_check },
    Target { name: "event", sample: event_sample, check: event_check },
];

/// The second must be the first.
fn same<T: PartialEq + std::fmt::Debug>(what: &str, first: &T, second: &T) -> Result<(), String> {
    if first == second {
        return Ok(());
    }
    Err(format!("{what} came back changed: {first:?} became {second:?}"))
}

const SEAL: Seal = Seal {
    cluster: ClusterId(0x0102_0304_0506_0708),
    key: [7; 32],
    key_id: 1,
    config_hash: 0xC0FF_EE00,
    level: 1,
};
const KINDS: &[Kind] = &[Kind::Beat, Kind::Echo, Kind::Obituary, Kind::Agreement, Kind::Bulk];

/// A header and a body without its tag: [`frame_check`] seals it, so that what lies behind the tag is
/// reached.
fn frame_sample(c: &mut Choices<'_>) -> Vec<u8> {
    let header = Header {
        kind: c.pick(KINDS).unwrap_or(Kind::Beat),
        from: arbitrary::life(c),
        nonce: Nonce(c.below(3)),
        link: LinkId(0),
        seq: Seq(c.edge(64)),
    };
    let body = c.bytes(80);
    let mut buffer = [0; FRAME_MAX];
    frame::seal(&SEAL, &header, &body, &mut buffer).map(<[u8]>::to_vec).unwrap_or_default()
}

fn frame_check(bytes: &[u8]) -> Result<(), String> {
    let opened = frame::open(&SEAL, LinkId(0), bytes);
    if let Ok((header, body)) = opened {
        let mut buffer = [0; FRAME_MAX];
        let again = frame::seal(&SEAL, &header, body, &mut buffer);
        same("a frame", &Some(bytes), &again)?;
    }
    // The same with a tag that is right: a member that writes nonsense.
    let mut signed = bytes.to_vec();
    if let Some(tag) = signed.get_mut(48..64) {
        tag.fill(0);
        let right = blake3_tag(&signed);
        if let Some(tag) = signed.get_mut(48..64) {
            tag.copy_from_slice(&right);
        }
    }
    if let Ok((header, body)) = frame::open(&SEAL, LinkId(0), &signed) {
        let me = NodeId::new(128).unwrap_or(header.from.node);
        let mut replay = Box::new(Replay::new(me, NodeSet(u128::MAX)));
        let first = replay.take(&header);
        if replay.take(&header).is_ok() {
            return Err(format!("taken twice: {header:?}, first {first:?}"));
        }
        match header.kind {
            Kind::Beat => beat_check(body)?,
            Kind::Echo => echo_check(body)?,
            Kind::Obituary => obituary_check(body)?,
            Kind::Agreement | Kind::Bulk => message_check(body)?,
        }
    }
    Ok(())
}

fn blake3_tag(bytes: &[u8]) -> [u8; 16] {
    let mut tag = [0; 16];
    tag.copy_from_slice(&blake3::keyed_hash(&SEAL.key, bytes).as_bytes()[..16]);
    tag
}

fn beat_sample(c: &mut Choices<'_>) -> Vec<u8> {
    arbitrary::beat(c).encode(&mut [0; BEAT_MAX]).to_vec()
}

fn beat_check(bytes: &[u8]) -> Result<(), String> {
    let Ok(beat) = Beat::decode(bytes) else { return Ok(()) };
    same("a beat", &bytes, &beat.encode(&mut [0; BEAT_MAX]))
}

fn echo_check(bytes: &[u8]) -> Result<(), String> {
    let Ok(body) = EchoBody::decode(bytes) else { return Ok(()) };
    same("an echo", &bytes, &&body.encode()[..])
}

fn obituary_check(bytes: &[u8]) -> Result<(), String> {
    let Ok(obituary) = Obituary::decode(bytes) else { return Ok(()) };
    same("an obituary", &bytes, &&obituary.encode()[..])
}

fn message_sample(c: &mut Choices<'_>) -> Vec<u8> {
    let (era, about) = (1 + c.below(2) as u32, c.edge(64));
    let mut to = Writer::new();
    arbitrary::message(c, era, about).encode(&mut to);
    to.0
}

fn message_check(bytes: &[u8]) -> Result<(), String> {
    let Ok(message) = Message::decode(bytes) else { return Ok(()) };
    let mut to = Writer::new();
    message.encode(&mut to);
    same("a message", &bytes, &&to.0[..])
}

fn entry_sample(c: &mut Choices<'_>) -> Vec<u8> {
    let mut to = Writer::new();
    arbitrary::entry(c, 1, 9).encode(&mut to);
    to.0
}

fn entry_check(bytes: &[u8]) -> Result<(), String> {
    let mut from = Reader::new(bytes);
    let Ok(entry) = Entry::decode(&mut from) else { return Ok(()) };
    let mut to = Writer::new();
    entry.encode(&mut to);
    let taken = bytes.len() - from.left();
    same("an entry", &&bytes[..taken], &&to.0[..])?;
    if to.0.len() > entry.size() {
        return Err(format!("{entry:?} takes {} bytes, said {}", to.0.len(), entry.size()));
    }
    Ok(())
}

fn body_check(bytes: &[u8]) -> Result<(), String> {
    let Ok(body) = services::Body::decode(bytes) else { return Ok(()) };
    let again = body.encode();
    // What fills a probe means nothing, and may be anything.
    if matches!(body, services::Body::Probe { .. }) {
        return same("a probe", &Ok(body), &services::Body::decode(&again));
    }
    same("a request to the planner", &bytes, &&again[..])
}

fn request_sample(c: &mut Choices<'_>) -> Vec<u8> {
    let (service, node) = (c.text(12), c.text(12));
    let request = match c.below(7) {
        0 => api::Request::Status,
        1 => api::Request::Members,
        2 => api::Request::Failovers { limit: c.edge(32) as u32 },
        3 => api::Request::Move { service, to: node },
        4 => api::Request::Why { service: c.chance(1, 2).then_some(service) },
        5 => api::Request::ConfirmOff { node },
        _ => api::Request::Watch,
    };
    api::encode_request(c.edge(64), request).into_bytes()
}

fn request_check(bytes: &[u8]) -> Result<(), String> {
    match api::parse_request(bytes) {
        Ok(line) => {
            let again = api::encode_request(line.id, line.request.clone());
            // Escapes may take more room than the limit has.
            if again.len() > api::REQUEST_LINE_MAX {
                return Ok(());
            }
            same("a request", &Ok(line), &api::parse_request(again.as_bytes()))
        }
        // What refuses it must be a line itself.
        Err(refused) => reply_check(api::encode_reply(&refused).as_bytes()),
    }
}

fn reply_sample(c: &mut Choices<'_>) -> Vec<u8> {
    let (service, node) = (c.text(12), c.text(12));
    let reply = match c.below(4) {
        0 => {
            let moved = api::Moved { service, from: None, to: node, op: c.edge(64) };
            api::Reply::answer(c.edge(64), api::Answer::Moved(moved))
        }
        1 => {
            let refusal = api::Refusal::new(api::ErrorCode::Busy, c.text(30), c.text(30));
            api::Reply::error(c.edge(64), refusal)
        }
        2 => {
            let members = vec![node];
            let (joined, left) = (Vec::new(), vec![service]);
            let event = api::EventKind::View { view: c.edge(64), members, joined, left };
            let event = api::Event { seq: c.edge(64), at_ns: c.edge(64), unix_ms: 1, event };
            api::Reply::event(c.edge(64), event)
        }
        _ => api::Reply::answer(c.edge(64), api::Answer::Watching),
    };
    api::encode_reply(&reply).into_bytes()
}

fn reply_check(bytes: &[u8]) -> Result<(), String> {
    let Ok(reply) = api::parse_reply(bytes) else { return Ok(()) };
    let again = api::encode_reply(&reply);
    same("a reply", &Ok(reply), &api::parse_reply(again.as_bytes()))
}

/// A whole file, so that what changes it reaches every section.
const CONFIG: &str = include_str!("../../config/testdata/good.toml");

fn config_sample(_: &mut Choices<'_>) -> Vec<u8> {
    CONFIG.as_bytes().to_vec()
}

fn config_check(bytes: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(bytes);
    match config::parse("any.toml", &text) {
        Ok((config, report)) => {
            let _ = (config.config_hash(), config.cluster_id());
            if report.has_errors() {
                return Err(format!("taken with errors: {report}"));
            }
        }
        Err(report) => {
            if !report.has_errors() {
                return Err("refused without a reason".into());
            }
            let placed = report.diagnostics.iter().all(|d| d.line >= 1 && d.column >= 1);
            if !placed || report.to_string().is_empty() {
                return Err(format!("a fault without a place: {report}"));
            }
        }
    }
    Ok(())
}

fn setup_sample(c: &mut Choices<'_>) -> Vec<u8> {
    let me = arbitrary::life(c);
    let (mut nodes, mut peers) = (NodeSet::EMPTY, Vec::new());
    nodes.insert(me.node);
    for _ in 0..c.below(6) {
        let node = arbitrary::node(c);
        if !nodes.contains(node) {
            nodes.insert(node);
            peers.push((node, IpAddr::V4(Ipv4Addr::new(10, 0, 0, node.get()))));
        }
    }
    peers.sort();
    let link = LinkSetup {
        mode: Mode::Unicast,
        own: IpAddr::V4(Ipv4Addr::new(10, 0, 0, me.node.get())),
        interface: c.edge(32) as u32,
        target: None,
        port: 1 + c.below(60_000) as u16,
        peers,
    };
    let setup = Setup {
        me,
        nonce: Nonce(c.edge(64)),
        cluster: ClusterId(c.edge(64)),
        key: Key([c.byte(); 32]),
        key_id: c.byte(),
        feature: c.edge(16) as u16,
        config_hash: c.edge(32) as u32,
        interval: Duration::from_millis(1 + c.below(1_000)),
        misses: 1 + c.below(100) as u32,
        rate_ppm: c.below(100_001) as u32,
        margin: Duration(c.below(1_000_000)),
        nodes,
        priority: c.below(100) as u8,
        core: c.pick(&[Core::None, Core::Auto, Core::Number(3)]).unwrap_or(Core::None),
        links: vec![link; 1 + c.below(4) as usize],
    };
    let mut bytes = Vec::new();
    let _ = setup.send(&mut bytes);
    bytes
}

fn setup_check(bytes: &[u8]) -> Result<(), String> {
    let Ok(setup) = Setup::receive(bytes) else { return Ok(()) };
    let mut again = Vec::new();
    setup.send(&mut again).map_err(|error| format!("taken and not sent: {error}"))?;
    let back = Setup::receive(&*again).map_err(|error| format!("sent and not taken: {error}"))?;
    same("a set-up", &setup, &back)
}

/// The state after some entries.
fn membership_sample(c: &mut Choices<'_>) -> Vec<u8> {
    let mut membership = Membership::new();
    for op in 1..=c.below(40) {
        let _ = membership.apply(Op(op), &arbitrary::entry(c, 1, op));
    }
    let mut to = Writer::new();
    membership.encode(&mut to);
    to.0
}

fn membership_check(bytes: &[u8]) -> Result<(), String> {
    let mut from = Reader::new(bytes);
    let Ok(membership) = Membership::decode(&mut from) else { return Ok(()) };
    let mut to = Writer::new();
    membership.encode(&mut to);
    let back =
        Membership::decode(&mut Reader::new(&to.0)).map_err(|e| format!("{membership:?}: {e}"))?;
    let mut again = Writer::new();
    back.encode(&mut again);
    same("a membership", &to.0, &again.0)
}

fn event_sample(c: &mut Choices<'_>) -> Vec<u8> {
    let (life, stint, node) = (arbitrary::life(c), wire::Stint(c.edge(64)), arbitrary::node(c));
    let link = LinkId(c.byte());
    let kind = match c.below(9) {
        0 => EventKind::Suspected {
            life,
            stint,
            heard: Instant(c.edge(64)),
            deadline: Instant(c.edge(64)),
        },
        1 => EventKind::Trusted { life, stint },
        2 => EventKind::Obituary { life, stint },
        3 => EventKind::Appeared { life },
        4 => EventKind::LeaseGained,
        5 => EventKind::Stalled { lost: Duration(c.edge(64)) },
        6 => EventKind::LinkDown { node, link },
        7 => EventKind::Impostor { node, incarnation: life.incarnation },
        _ => EventKind::LinkUp { node, link },
    };
    let words = event_words::encode(&Event { at: Instant(c.edge(64)), kind });
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn event_check(bytes: &[u8]) -> Result<(), String> {
    let mut words = [0; event_words::WORDS];
    for (word, raw) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = raw.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    }
    let Some(event) = event_words::decode(&words) else { return Ok(()) };
    same("an event", &Some(event), &event_words::decode(&event_words::encode(&event)))
}
