//! One blocking netlink socket: a request and its acknowledgement, or a dump.
//!
//! Every wait is bounded by the socket's receive timeout, so that a driver thread cannot hang here.

use crate::error::AddressError;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

/// Bytes of a netlink header.
pub const HEADER_LEN: usize = 16;
/// How long the kernel may take to answer one request.
const ANSWER_MAX: Duration = Duration::from_millis(500);
/// The kernel cuts dumps into parts of at most this size.
const BUFFER_LEN: usize = 32 * 1024;
/// A dump is given up after this many parts: an answer that never ends must not hold the thread.
const PARTS_MAX: usize = 65_536;

const SEQUENCE_AT: usize = 8;
const MESSAGE_ERROR: u16 = 2;
const MESSAGE_DONE: u16 = 3;
const FLAG_DUMP_INTERRUPTED: u16 = 0x10;

/// A netlink socket with its receive buffer.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

/// One message of an answer.
#[derive(Clone, Copy, Debug)]
struct Part<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    payload: &'a [u8],
}

impl Netlink {
    /// Opens a socket for rtnetlink (addresses and interfaces).
    pub fn route() -> Result<Self, AddressError> {
        Self::open(libc::NETLINK_ROUTE)
    }
    /// Opens a socket for the socket diagnosis interface.
    pub fn diagnosis() -> Result<Self, AddressError> {
        Self::open(libc::NETLINK_SOCK_DIAG)
    }
    fn open(protocol: i32) -> Result<Self, AddressError> {
        let fail = |e| AddressError::from_io("open a netlink socket", e);
        let kind = Type::RAW;
        let socket =
            Socket::new(Domain::from(libc::AF_NETLINK), kind, Some(Protocol::from(protocol)))
                .map_err(fail)?;
        socket.set_read_timeout(Some(ANSWER_MAX)).map_err(fail)?;
        Ok(Self { socket, sequence: 0, buffer: vec![0; BUFFER_LEN] })
    }

    /// Sends one request (its sequence number is filled in) and waits for the kernel's yes or no.
    pub fn request(&mut self, message: &mut [u8], doing: &'static str) -> Result<(), AddressError> {
        self.exchange(message, doing, |_, _| {})
    }

    /// Sends a dump request and hands every message of the answer to `each` as (type, payload).
    pub fn dump(
        &mut self,
        message: &mut [u8],
        doing: &'static str,
        each: impl FnMut(u16, &[u8]),
    ) -> Result<(), AddressError> {
        self.exchange(message, doing, each)
    }

    fn exchange(
        &mut self,
        message: &mut [u8],
        doing: &'static str,
        mut each: impl FnMut(u16, &[u8]),
    ) -> Result<(), AddressError> {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        let Some(place) = message.get_mut(SEQUENCE_AT..SEQUENCE_AT + 4) else {
            return Err(AddressError::Answer { doing });
        };
        place.copy_from_slice(&self.sequence.to_ne_bytes());
        let fail = |e| AddressError::from_io(doing, e);
        (&self.socket).write(message).map_err(fail)?;
        let until = Instant::now() + ANSWER_MAX * 4;
        for _ in 0..PARTS_MAX {
            let n = match (&self.socket).read(&mut self.buffer) {
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(fail(e)),
            };
            let bytes = self.buffer.get(..n).unwrap_or_default();
            for part in parts(bytes).filter(|p| p.sequence == self.sequence) {
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
                return Err(AddressError::Timeout { doing });
            }
        }
        Err(AddressError::Answer { doing })
    }
}

/// The kernel's answer to a request: zero, or a negative error number.
fn verdict(payload: &[u8], doing: &'static str) -> Result<(), AddressError> {
    let code = payload
        .first_chunk::<4>()
        .map(|raw| i32::from_ne_bytes(*raw))
        .ok_or(AddressError::Answer { doing })?;
    match code {
        0 => Ok(()),
        _ => Err(AddressError::from_io(doing, io::Error::from_raw_os_error(code.saturating_neg()))),
    }
}

/// The kinds of the messages in a buffer.
pub(crate) fn kinds(bytes: &[u8]) -> impl Iterator<Item = u16> + '_ {
    parts(bytes).map(|part| part.kind)
}

/// Walks the messages of one received buffer; ends at the first that does not fit.
fn parts(mut bytes: &[u8]) -> impl Iterator<Item = Part<'_>> {
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

#[cfg(test)]
mod tests {
    use super::{AddressError, parts, verdict};

    fn header(len: u32, kind: u16, sequence: u32) -> Vec<u8> {
        let mut bytes = len.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(0u16.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend(0u32.to_ne_bytes());
        bytes
    }

    #[test]
    fn walks_padded_messages_and_stops_at_a_cut_one() {
        let mut bytes = header(18, 20, 7);
        bytes.extend([1, 2, 0, 0]);
        bytes.extend(header(16, 3, 7));
        bytes.extend(header(400, 20, 7));
        let seen: Vec<_> =
            parts(&bytes).map(|p| (p.kind, p.sequence, p.payload.to_vec())).collect();
        assert_eq!(seen, [(20, 7, vec![1, 2]), (3, 7, vec![])]);
    }

    #[test]
    fn lengths_that_lie_do_not_panic_or_loop() {
        for len in [0u32, 1, 15, 17, u32::MAX] {
            assert_eq!(parts(&header(len, 20, 1)).count(), 0, "length {len}");
        }
    }

    #[test]
    fn errors_are_sorted_by_what_the_operator_can_do() {
        let answer = |code: i32| verdict(&code.to_ne_bytes(), "add an address");
        assert!(answer(0).is_ok());
        assert!(matches!(answer(-libc::EPERM), Err(AddressError::Privilege { .. })));
        assert_eq!(answer(-libc::EEXIST).unwrap_err().errno(), Some(libc::EEXIST));
        assert!(answer(i32::MIN).is_err());
        assert!(matches!(verdict(&[1], "x"), Err(AddressError::Answer { .. })));
    }
}
