//! Lines over a socket, with limits in length and time.

use crate::Error;
use api::{LineError, REPLY_LINE_MAX, Reply, parse_reply};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// So much is read at a time.
const CHUNK: usize = 16 << 10;

/// One connection.
#[derive(Debug)]
pub(crate) struct Lines {
    pub(crate) stream: UnixStream,
    path: PathBuf,
    /// What was read and not yet given out.
    pending: Vec<u8>,
    /// So much of it has no newline.
    searched: usize,
}

impl Lines {
    pub(crate) const fn new(stream: UnixStream, path: PathBuf) -> Self {
        Self { stream, path, pending: Vec::new(), searched: 0 }
    }

    /// Sends one line.
    pub(crate) fn send(&mut self, line: &str, limit: Duration) -> Result<(), Error> {
        self.stream.set_write_timeout(Some(limit)).map_err(|cause| self.socket(cause))?;
        self.stream.write_all(line.as_bytes()).map_err(|cause| match cause.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Error::Closed,
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Error::Timeout { limit },
            _ => self.socket(cause),
        })
    }

    /// The next reply. `limit`: `None` waits for ever, zero takes only what is there. `Ok(None)`:
    /// none in time.
    pub(crate) fn next(&mut self, limit: Option<Duration>) -> Result<Option<Reply>, Error> {
        let until = limit.map(|limit| Instant::now() + limit);
        loop {
            if let Some(line) = self.take_line()? {
                return parse_reply(&line).map(Some).map_err(understood);
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if !self.fill(left)? {
                return Ok(None);
            }
        }
    }

    fn take_line(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let fresh = self.pending.get(self.searched..).unwrap_or_default();
        match fresh.iter().position(|byte| *byte == b'\n') {
            Some(place) => {
                let rest = self.pending.split_off(self.searched + place + 1);
                self.searched = 0;
                Ok(Some(std::mem::replace(&mut self.pending, rest)))
            }
            None if self.pending.len() > REPLY_LINE_MAX => Err(understood(LineError::TooLong)),
            None => {
                self.searched = self.pending.len();
                Ok(None)
            }
        }
    }

    /// Reads once; false if nothing came in time.
    fn fill(&mut self, limit: Option<Duration>) -> Result<bool, Error> {
        let at_once = limit == Some(Duration::ZERO);
        self.stream.set_nonblocking(at_once).map_err(|cause| self.socket(cause))?;
        if !at_once {
            self.stream.set_read_timeout(limit).map_err(|cause| self.socket(cause))?;
        }
        let mut chunk = [0; CHUNK];
        let read = self.stream.read(&mut chunk);
        if at_once {
            self.stream.set_nonblocking(false).map_err(|cause| self.socket(cause))?;
        }
        match read {
            Ok(0) => Err(Error::Closed),
            Ok(count) => {
                self.pending.extend_from_slice(chunk.get(..count).unwrap_or_default());
                Ok(true)
            }
            Err(cause) => match cause.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Ok(false),
                io::ErrorKind::Interrupted => Ok(true),
                io::ErrorKind::ConnectionReset => Err(Error::Closed),
                _ => Err(self.socket(cause)),
            },
        }
    }

    fn socket(&self, cause: io::Error) -> Error {
        Error::Socket { path: self.path.clone(), cause }
    }
}

fn understood(error: LineError) -> Error {
    match error {
        LineError::Version { theirs } => Error::Version { theirs },
        LineError::TooLong => Error::Malformed { reason: "its line is too long".into() },
        LineError::Malformed { reason } => Error::Malformed { reason },
    }
}
