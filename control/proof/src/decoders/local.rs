//! What comes from this machine: applications and `ng` at the local socket, the operator's documents, the other daemon.

use super::same;
use crate::arbitrary;
use crate::choices::Choices;
use crate::target::Target;
use base::{Duration, Instant};
use config::NewNode;
use heartbeat::Event;
use shm::setup::{Core, Frames, Key, LinkSetup, Mode, NetworkIo, Setup};
use shm::{Change, ChangeReader, ChangeWriter, Took, event_words, trace};
use std::net::{IpAddr, Ipv4Addr};
use wire::{ClusterId, NodeId, NodeSet, Nonce};

pub(super) const TARGETS: &[Target] = &[
    Target { name: "request-line", sample: request_sample, check: request_check },
    Target { name: "reply-line", sample: reply_sample, check: reply_check },
    Target { name: "config", sample: config_sample, check: config_check },
    Target { name: "document", sample: config_sample, check: document_check },
    Target { name: "setup", sample: setup_sample, check: setup_check },
    Target { name: "change", sample: change_sample, check: change_check },
    Target { name: "event", sample: event_sample, check: event_check },
    Target { name: "trace", sample: event_sample, check: trace_check },
];

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
const CONFIG: &str = include_str!("../../../config/testdata/good.toml");

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

/// The same text as a document that is edited: what is taken out or put in leaves one that can be read, if it could be before.
fn document_check(bytes: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(bytes);
    let new = NewNode { name: "another", id: None, addresses: &[], witness: false, vote: true };
    let edited = [
        config::without_local(&text),
        config::add_node(&text, &new),
        config::remove_node(&text, "n2"),
    ];
    let Ok((before, _)) = config::parse("any.toml", &text) else { return Ok(()) };
    let [shared, ..] = edited;
    let shared = shared.map_err(|error| format!("taken, and not as a document: {error}"))?;
    let (after, _) = config::parse("shared.toml", &shared).map_err(|report| report.to_string())?;
    same("a document", &before.config_hash(), &after.config_hash())
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
        frames: Frames::Udp,
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
        network_io: c
            .pick(&[NetworkIo::Auto, NetworkIo::Recvmmsg, NetworkIo::IoUring])
            .unwrap_or_default(),
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

/// Any change, written for the set-up that [`change_check`] reads it with.
fn change_sample(c: &mut Choices<'_>) -> Vec<u8> {
    let setup = known_setup();
    let mut nodes = setup.nodes;
    nodes.insert(arbitrary::node(c));
    let peers = |link: &LinkSetup| link.peers.clone();
    let change = Change {
        interval: Duration::from_millis(c.below(1_200)),
        misses: c.below(120) as u32,
        rate_ppm: c.below(120_000) as u32,
        margin: Duration(c.below(1_000_000)),
        nodes,
        peers: setup.links.iter().map(peers).collect(),
    };
    let mut writer = ChangeWriter::new(&setup);
    let mut bytes = Vec::new();
    // One that control would not write is no sample: then nothing is.
    let _ = writer.push(&change).map(|()| writer.flush(&mut bytes));
    bytes
}

/// Fast reads what may be a change, and another one behind it.
fn change_check(bytes: &[u8]) -> Result<(), String> {
    let (mut reader, mut from) = (ChangeReader::new(&known_setup()), bytes);
    for _ in 0..=bytes.len() {
        match reader.take(&mut from) {
            Took::Nothing | Took::Closed => return Ok(()),
            Took::Bad("") => return Err("bad, and nobody knows why".into()),
            Took::Bad(_) => {}
            Took::Change(told) => {
                let deadline = told.interval() * u64::from(told.misses());
                let known = deadline > Duration::ZERO && told.nodes().contains(id(1));
                let peers = (0..2).map(|link| told.peers(link).count()).max();
                if !known || told.margin() >= told.interval() {
                    return Err(format!("taken: {deadline:?} {:?} {peers:?}", told.nodes()));
                }
            }
        }
    }
    Err("more changes than bytes".into())
}

fn id(n: u8) -> NodeId {
    crate::apply::id(n)
}

/// The set-up of a node with two peers and two links.
fn known_setup() -> Setup {
    let peers = vec![(id(2), ip(2)), (id(3), ip(3))];
    let link = LinkSetup {
        mode: Mode::Unicast,
        frames: Frames::Udp,
        own: ip(1),
        interface: 1,
        target: None,
        port: 5_800,
        peers,
    };
    let me = wire::Life { node: id(1), incarnation: wire::Incarnation(1) };
    Setup {
        me,
        nonce: Nonce(1),
        cluster: ClusterId(1),
        key: Key([7; 32]),
        key_id: 0,
        feature: 1,
        config_hash: 0,
        interval: Duration::from_millis(10),
        misses: 3,
        rate_ppm: 1_000,
        margin: Duration::from_micros(50),
        nodes: (1..=3).map(id).collect(),
        priority: 0,
        core: Core::None,
        network_io: NetworkIo::Auto,
        links: vec![link.clone(), link],
    }
}

const fn ip(n: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, n))
}

fn event_sample(c: &mut Choices<'_>) -> Vec<u8> {
    let (life, stint) = (arbitrary::life(c), wire::Stint(c.edge(64)));
    let kind = arbitrary::event(c, life, stint);
    let words = event_words::encode(&Event { at: Instant(c.edge(64)), kind });
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Bytes as the words of a map.
fn words<const N: usize>(bytes: &[u8]) -> [u64; N] {
    let mut words = [0; N];
    for (word, raw) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = raw.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    }
    words
}

fn event_check(bytes: &[u8]) -> Result<(), String> {
    let Some(event) = event_words::decode(&words(bytes)) else { return Ok(()) };
    same("an event", &Some(event), &event_words::decode(&event_words::encode(&event)))
}

fn trace_check(bytes: &[u8]) -> Result<(), String> {
    let Some(record) = trace::decode(words(bytes)) else { return Ok(()) };
    let again = trace::decode(trace::encode(record.at, record.kind));
    same("a record of the trace", &Some(record), &again)
}
