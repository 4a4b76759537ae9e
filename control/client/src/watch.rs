//! Events as they happen.

use crate::Error;
use crate::lines::Lines;
use api::{Event, ReplyBody};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

/// A stream of events.
#[derive(Debug)]
pub struct Watch {
    lines: Lines,
}

impl Watch {
    pub(crate) const fn new(lines: Lines) -> Self {
        Self { lines }
    }

    /// The next event. `limit`: `None` waits for ever, zero takes only what is there. `Ok(None)`:
    /// none in time.
    ///
    /// Events may already be read when the descriptor shows nothing: call it with a zero limit
    /// until it gives `None` before polling again.
    pub fn next(&mut self, limit: Option<Duration>) -> Result<Option<Event>, Error> {
        let until = limit.map(|limit| Instant::now() + limit);
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            match self.lines.next(left)?.map(|reply| reply.body) {
                None => return Ok(None),
                Some(ReplyBody::Event(event)) => return Ok(Some(event)),
                Some(ReplyBody::Error(refusal)) => return Err(Error::Refused(refusal)),
                Some(ReplyBody::Answer(_)) => {}
            }
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.lines.stream.as_fd()
    }
}

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.lines.stream.as_raw_fd()
    }
}
