//! What peers send: frames, what is in them, and the charters that lie on the disk in the same form.

use super::same;
use crate::arbitrary;
use crate::choices::Choices;
use crate::target::Target;
use wire::beat::BEAT_MAX;
use wire::codec::{Malformed, Reader, Writer};
use wire::ethernet::Envelope;
use wire::frame::{self, FRAME_MAX};
use wire::{
    Beat, Charter, ClusterId, Configuration, EchoBody, Edition, Entry, Header, Kind, LinkId,
    Message, NodeId, NodeSet, Nonce, Obituary, Replay, Seal, Seq,
};

pub(super) const TARGETS: &[Target] = &[
    Target { name: "frame", sample: frame_sample, check: frame_check },
    Target { name: "envelope", sample: envelope_sample, check: envelope_check },
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
    Target {
        name: "configuration",
        sample: |c| bytes(|to| arbitrary::configuration(c).encode(to)),
        check: |bytes| {
            again("a configuration", bytes, Configuration::decode, Configuration::encode)
        },
    },
    Target {
        name: "edition",
        sample: |c| bytes(|to| arbitrary::edition(c, 1).encode(to)),
        check: |bytes| again("an edition", bytes, Edition::decode, Edition::encode),
    },
    Target {
        name: "charter",
        sample: |c| bytes(|to| arbitrary::charter(c, 1).encode(to)),
        check: |bytes| again("a charter", bytes, Charter::decode, Charter::encode),
    },
];

/// What a writer writes.
fn bytes(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut to = Writer::new();
    write(&mut to);
    to.0
}

/// What is taken of the bytes is what its writer would write.
fn again<T>(
    what: &str,
    bytes: &[u8],
    decode: fn(&mut Reader<'_>) -> Result<T, Malformed>,
    encode: fn(&T, &mut Writer),
) -> Result<(), String> {
    let mut from = Reader::new(bytes);
    let Ok(value) = decode(&mut from) else { return Ok(()) };
    let taken = bytes.len() - from.left();
    same(what, &&bytes[..taken], &&self::bytes(|to| encode(&value, to))[..])
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

/// What precedes a frame in an Ethernet frame of its own, with something behind it.
fn envelope_sample(c: &mut Choices<'_>) -> Vec<u8> {
    let envelope = Envelope { to: NodeId::new(c.below(130) as u8), port: c.edge(16) as u16 };
    let (frame, padding) = (c.bytes(80), c.below(50) as usize);
    let head = envelope.encode(frame.len()).unwrap_or_default();
    [&head, &*frame, &vec![0; padding]].concat()
}

fn envelope_check(bytes: &[u8]) -> Result<(), String> {
    let Some((envelope, frame)) = Envelope::decode(bytes) else { return Ok(()) };
    let head = envelope.encode(frame.len()).ok_or("taken, and longer than any")?;
    let again = [&head, frame].concat();
    same("an envelope", &bytes.get(..again.len()), &Some(&*again))
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
