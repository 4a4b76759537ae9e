//! One rtnetlink socket: a request and its acknowledgement, or a dump.
//!
//! Messages are built here by hand: of traffic control the gate needs three, each a fixed header and a few
//! attributes.

use crate::error::GateError;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, Read};
use std::time::{Duration, Instant};

/// How long the kernel may take to answer one request.
const ANSWER_MAX: Duration = Duration::from_millis(500);
const BUFFER_LEN: usize = 32 * 1024;
/// A dump is given up after this many parts: an answer that never ends must not hold the thread.
const PARTS_MAX: usize = 65_536;

const HEADER_LEN: usize = 16;
const MESSAGE_ERROR: u16 = 2;
const MESSAGE_DONE: u16 = 3;
const FLAG_DUMP_INTERRUPTED: u16 = 0x10;
const NESTED: u16 = 0x8000;

/// An rtnetlink socket with its receive buffer.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

/// A message under construction.
#[derive(Debug)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    /// Header and the fixed part that follows it.
    pub(crate) fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER_LEN];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes.extend(fixed);
        Self(bytes)
    }

    /// Adds an attribute.
    pub(crate) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        append(&mut self.0, kind, value);
        self
    }

    /// Adds an attribute that holds others.
    pub(crate) fn nested(self, kind: u16, parts: &[(u16, &[u8])]) -> Self {
        let mut inner = Vec::new();
        for (kind, value) in parts {
            append(&mut inner, *kind, value);
        }
        self.attribute(kind | NESTED, &inner)
    }

    fn finish(mut self, sequence: u32) -> Vec<u8> {
        let len = self.0.len() as u32;
        self.0[..4].copy_from_slice(&len.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0
    }
}

fn append(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    bytes.extend((4 + value.len() as u16).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// One message received.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part<'a> {
    pub(crate) kind: u16,
    flags: u16,
    sequence: u32,
    pub(crate) payload: &'a [u8],
}

/// Walks the messages of one received buffer; ends at the first that does not fit.
pub(crate) fn parts(mut bytes: &[u8]) -> impl Iterator<Item = Part<'_>> {
    std::iter::from_fn(move || {
        let header = bytes.first_chunk::<HEADER_LEN>()?;
        let [l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, ..] = *header;
        let len = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
        let payload = bytes.get(HEADER_LEN..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(Part {
            kind: u16::from_ne_bytes([k0, k1]),
            flags: u16::from_ne_bytes([f0, f1]),
            sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
            payload,
        })
    })
}

/// Walks attributes as (kind, value); ends at the first that does not fit.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let [l0, l1, k0, k1] = *bytes.first_chunk::<4>()?;
        let len = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([k0, k1]) & !NESTED, value))
    })
}

/// A number of four bytes at a place of a message.
pub(crate) fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk::<4>()?))
}

impl Netlink {
    /// Opens a socket in the namespace of the calling thread; it stays there.
    pub(crate) fn open() -> Result<Self, GateError> {
        let fail = |source| GateError::from_io("open a netlink socket", source);
        let protocol = Some(Protocol::from(libc::NETLINK_ROUTE));
        let socket =
            Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, protocol).map_err(fail)?;
        socket.set_read_timeout(Some(ANSWER_MAX)).map_err(fail)?;
        Ok(Self { socket, sequence: 0, buffer: vec![0; BUFFER_LEN] })
    }

    /// Sends one request and hands every message of the answer to `each` as (kind, payload).
    pub(crate) fn exchange(
        &mut self,
        message: Message,
        doing: &'static str,
        mut each: impl FnMut(u16, &[u8]),
    ) -> Result<(), GateError> {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        let fail = |source| GateError::from_io(doing, source);
        self.socket.send(&message.finish(self.sequence)).map_err(fail)?;
        let until = Instant::now() + ANSWER_MAX * 4;
        for _ in 0..PARTS_MAX {
            let n = match (&self.socket).read(&mut self.buffer) {
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(fail(e)),
            };
            let bytes = self.buffer.get(..n).unwrap_or_default();
            for part in parts(bytes).filter(|part| part.sequence == self.sequence) {
                match part.kind {
                    MESSAGE_ERROR => return verdict(part.payload, doing),
                    MESSAGE_DONE if part.flags & FLAG_DUMP_INTERRUPTED != 0 => {
                        return Err(fail(io::Error::from_raw_os_error(libc::EINTR)));
                    }
                    MESSAGE_DONE => return Ok(()),
                    kind => each(kind, part.payload),
                }
            }
            if Instant::now() > until {
                break;
            }
        }
        Err(GateError::Timeout { doing })
    }
}

/// The kernel's answer to a request: zero, or a negative error number.
fn verdict(payload: &[u8], doing: &'static str) -> Result<(), GateError> {
    let code = number(payload, 0).ok_or(GateError::Answer { doing })? as i32;
    match code {
        0 => Ok(()),
        _ => Err(GateError::from_io(doing, io::Error::from_raw_os_error(code.saturating_neg()))),
    }
}

#[cfg(test)]
mod tests {
    use super::{Message, attributes, number, parts, verdict};

    #[test]
    fn a_message_is_padded_and_walks_back_into_its_parts() {
        let message = Message::new(36, 5, &[9; 20])
            .attribute(1, b"clsact\0")
            .nested(2, &[(6, &7_u32.to_ne_bytes()), (7, b"ng\0")]);
        let bytes = message.finish(3);
        assert_eq!(bytes.len() % 4, 0);
        let all: Vec<_> = parts(&bytes).collect();
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].kind, all[0].flags, all[0].sequence), (36, 5, 3));
        let outer: Vec<_> = attributes(&all[0].payload[20..]).collect();
        assert_eq!(outer[0], (1, &b"clsact\0"[..]));
        let inner: Vec<_> = attributes(outer[1].1).collect();
        assert_eq!((outer[1].0, inner[0].0, inner[1]), (2, 6, (7, &b"ng\0"[..])));
        assert_eq!(number(inner[0].1, 0), Some(7));
    }

    #[test]
    fn lengths_that_lie_do_not_panic_or_loop() {
        for len in [0_u32, 1, 15, 17, u32::MAX] {
            let mut bytes = vec![0; 16];
            bytes[..4].copy_from_slice(&len.to_ne_bytes());
            assert_eq!(parts(&bytes).count(), 0, "length {len}");
        }
        for len in [0_u8, 3, 9, 255] {
            assert_eq!(attributes(&[len, 0, 1, 0, 5]).count(), 0, "length {len}");
        }
        assert_eq!(number(&[1, 2, 3], 0), None);
        assert_eq!(number(&[1, 2, 3], 9), None);
        assert!(verdict(&[1], "x").is_err());
        assert!(verdict(&i32::MIN.to_ne_bytes(), "x").is_err());
    }
}
