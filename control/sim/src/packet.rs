//! What travels: the real header, and a body that is either the value itself or the sealed bytes of
//! it.
//!
//! Most seeds carry values, because they run faster; some carry real bytes, so that every codec and
//! the keyed tag are part of what is checked, and then some of the bytes are damaged on the way.

use std::rc::Rc;
use wire::beat::BEAT_MAX;
use wire::codec::Writer;
use wire::frame::{self, HEADER_LEN, Header, Seal};
use wire::{Beat, ClusterId, EchoBody, Kind, Message, Obituary, Reject};

/// The body of a frame.
#[derive(Clone, Debug)]
pub enum Body {
    /// A heartbeat.
    Beat(Rc<Beat>),
    /// One echo at once.
    Echo(EchoBody),
    /// The end of a stint.
    Obituary(Obituary),
    /// An agreement message.
    Agreement(Rc<Message>),
}

impl Body {
    /// The kind that its header names.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Beat(_) => Kind::Beat,
            Self::Echo(_) => Kind::Echo,
            Self::Obituary(_) => Kind::Obituary,
            Self::Agreement(_) => Kind::Agreement,
        }
    }

    /// Its bytes, without the header.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Beat(beat) => {
                let mut buffer = [0; BEAT_MAX];
                beat.encode(&mut buffer).to_vec()
            }
            Self::Echo(echo) => echo.encode().to_vec(),
            Self::Obituary(obituary) => obituary.encode().to_vec(),
            Self::Agreement(message) => {
                let mut writer = Writer::new();
                message.encode(&mut writer);
                writer.0
            }
        }
    }

    fn read(kind: Kind, body: &[u8]) -> Result<Self, Reject> {
        Ok(match kind {
            Kind::Beat => Self::Beat(Rc::new(Beat::decode(body)?)),
            Kind::Echo => Self::Echo(EchoBody::decode(body)?),
            Kind::Obituary => Self::Obituary(Obituary::decode(body)?),
            Kind::Agreement | Kind::Bulk => {
                let message = Message::decode(body).map_err(|_| Reject::Malformed)?;
                Self::Agreement(Rc::new(message))
            }
        })
    }
}

/// One frame on one link.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Who sends, and its number.
    pub header: Header,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Value(Body),
    Bytes(Rc<[u8]>),
    Damaged(Rc<[u8]>),
}

/// The seal of the simulated cluster.
const SEAL: Seal =
    Seal { cluster: ClusterId(0x51), key: [7; 32], key_id: 1, config_hash: 0xC0F1, level: 1 };

impl Packet {
    /// A frame; `sealed` = as real bytes.
    #[must_use]
    pub fn new(header: Header, body: &Body, sealed: bool) -> Self {
        if !sealed {
            return Self { header, form: Form::Value(body.clone()) };
        }
        let body = body.bytes();
        let mut buffer = vec![0; HEADER_LEN + body.len()];
        let frame = frame::seal(&SEAL, &header, &body, &mut buffer);
        Self { header, form: Form::Bytes(frame.unwrap_or_default().into()) }
    }

    /// The same frame with one bit turned on its way; values cannot be damaged.
    #[must_use]
    pub fn damaged(&self, random: u64) -> Self {
        let Form::Bytes(bytes) = &self.form else { return self.clone() };
        let mut bytes = bytes.to_vec();
        let at = (random / 8) as usize % bytes.len().max(1);
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 << (random % 8);
        }
        Self { header: self.header, form: Form::Damaged(bytes.into()) }
    }

    /// True if a bit was turned on its way.
    #[must_use]
    pub const fn is_damaged(&self) -> bool {
        matches!(self.form, Form::Damaged(_))
    }
    /// What the receiver makes of it. The outer error is a broken promise: damaged bytes were
    /// believed.
    pub fn open(&self) -> Result<Result<(Header, Body), Reject>, BelievedDamage> {
        let (bytes, damaged) = match &self.form {
            Form::Value(body) => return Ok(Ok((self.header, body.clone()))),
            Form::Bytes(bytes) => (bytes, false),
            Form::Damaged(bytes) => (bytes, true),
        };
        let opened = frame::open(&SEAL, self.header.link, bytes)
            .and_then(|(header, body)| Ok((header, Body::read(header.kind, body)?)));
        if damaged && opened.is_ok() { Err(BelievedDamage) } else { Ok(opened) }
    }
}

/// A frame with a turned bit passed its check (S9).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BelievedDamage;

#[cfg(test)]
mod tests {
    use super::{Body, Packet};
    use crate::shape::id;
    use std::rc::Rc;
    use wire::{Header, Incarnation, Life, LinkId, Message, Nonce, Op, Seq, Stint, Term};

    fn packet(sealed: bool) -> Packet {
        let from = Life { node: id(2), incarnation: Incarnation(3) };
        let body = Body::Agreement(Rc::new(Message::PrepareOk { term: Term::NONE, op: Op(4) }));
        let (nonce, link, seq) = (Nonce(5), LinkId(0), Seq(6));
        Packet::new(Header { kind: body.kind(), from, nonce, link, seq }, &body, sealed)
    }

    #[test]
    fn values_and_sealed_bytes_arrive_alike() {
        for sealed in [false, true] {
            let (header, body) = packet(sealed).open().unwrap().unwrap();
            assert_eq!((header.from.node, header.seq), (id(2), Seq(6)));
            let Body::Agreement(message) = body else { panic!("{body:?}") };
            assert_eq!(*message, Message::PrepareOk { term: Term::NONE, op: Op(4) });
        }
    }

    #[test]
    fn any_turned_bit_is_refused() {
        for place in 0..800 {
            assert!(packet(true).damaged(place).open().unwrap().is_err(), "bit {place}");
        }
    }

    #[test]
    fn an_obituary_keeps_its_stint() {
        let obituary = wire::Obituary { stint: Stint(7) };
        let body = Body::Obituary(obituary);
        let header = Header { kind: body.kind(), ..packet(false).header };
        let opened = Packet::new(header, &body, true).open().unwrap().unwrap();
        assert!(matches!(opened.1, Body::Obituary(o) if o == obituary));
    }
}
