//! One generic netlink socket: a request, its one answer, a bounded wait.

use crate::error::DrbdError;
use crate::reply::Reply;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

/// Messages of this family are below a page; DRBD builds its answers in one.
const BUFFER_LEN: usize = 16 * 1024;
/// Late answers to earlier requests are dropped, but not without end.
const SKIPPED_MAX: usize = 64;

/// A socket with its receive buffer.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    received: Vec<u8>,
    limit: Duration,
    sequence: u32,
}

impl Netlink {
    /// Opens a socket whose answers are waited for as long as `limit`.
    pub fn open(limit: Duration) -> Result<Self, DrbdError> {
        let fail = |e| DrbdError::from_io("open a generic netlink socket", e);
        let domain = Domain::from(libc::AF_NETLINK);
        let protocol = Protocol::from(libc::NETLINK_GENERIC);
        let socket = Socket::new(domain, Type::RAW, Some(protocol)).map_err(fail)?;
        socket.set_read_timeout(Some(limit)).map_err(fail)?;
        Ok(Self { socket, received: vec![0; BUFFER_LEN], limit, sequence: 0 })
    }
    /// The number that the next request must carry.
    pub const fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }
    /// Sends the request that carries the last number given out, and waits for its answer.
    pub fn exchange(
        &mut self,
        request: &[u8],
        doing: &'static str,
    ) -> Result<Reply<'_>, DrbdError> {
        (&self.socket).write(request).map_err(|e| DrbdError::from_io(doing, e))?;
        let until = Instant::now() + self.limit;
        let n = self.receive(until, doing)?;
        Reply::first(self.received.get(..n).unwrap_or_default()).ok_or(DrbdError::Answer { doing })
    }

    /// Receives until a datagram answers the present request; returns its length.
    fn receive(&mut self, until: Instant, doing: &'static str) -> Result<usize, DrbdError> {
        let timeout = || DrbdError::Timeout { doing, limit_ms: self.limit.as_millis() };
        for _ in 0..SKIPPED_MAX {
            let n = match (&self.socket).read(&mut self.received) {
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Err(timeout()),
                Err(e) => return Err(DrbdError::from_io(doing, e)),
            };
            let reply = Reply::first(self.received.get(..n).unwrap_or_default());
            if reply.and_then(|r| r.sequence()) == Some(self.sequence) {
                return Ok(n);
            }
            if Instant::now() > until {
                return Err(timeout());
            }
        }
        Err(DrbdError::Answer { doing })
    }
}
