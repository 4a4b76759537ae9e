//! One client of the local socket: lines in, lines out, both bounded.

use api::{ErrorCode, Event, EventKind, REQUEST_LINE_MAX, Refusal, Reply};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

/// Bytes that may wait for a client that reads slowly; one answer of the greatest length fits.
const OUT_MAX: usize = 2 * api::REPLY_LINE_MAX;
/// Events stop here, so that answers still find room.
const EVENTS_OUT_MAX: usize = 256 * 1024;
/// Bytes read per cycle and client.
const READ_MAX: usize = 16 * 1024;

/// What reading found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Input {
    /// The connection goes on.
    Open,
    /// It has ended.
    Closed,
}

/// A connected client.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
    /// Id of its watch.
    watch: Option<u64>,
    dropped: u64,
    /// No more input is taken; it is closed once all is written.
    ending: bool,
}

impl Connection {
    /// Takes over an accepted stream.
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let (input, output) = (Vec::new(), Vec::new());
        Ok(Self { stream, input, output, watch: None, dropped: 0, ending: false })
    }
    /// To poll.
    pub fn fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
    /// True while input is taken.
    pub const fn wants_to_read(&self) -> bool {
        !self.ending
    }
    /// True while something waits to be written.
    pub const fn wants_to_write(&self) -> bool {
        !self.output.is_empty()
    }
    /// Events go to this client from now on.
    pub fn watch(&mut self, id: u64) {
        self.watch = Some(id);
    }

    /// Reads what is there and takes the whole lines out.
    pub fn read(&mut self, lines: &mut Vec<Vec<u8>>) -> Input {
        let mut buffer = [0; 4096];
        let mut taken = 0;
        while taken < READ_MAX && !self.ending {
            match (&self.stream).read(&mut buffer) {
                Ok(0) => return Input::Closed,
                Ok(n) => {
                    taken += n;
                    self.input.extend_from_slice(buffer.get(..n).unwrap_or_default());
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Input::Closed,
            }
            while let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
                let rest = self.input.split_off(end + 1);
                lines.push(std::mem::replace(&mut self.input, rest));
            }
            if self.input.len() > REQUEST_LINE_MAX {
                let text = format!("a request is longer than {REQUEST_LINE_MAX} bytes");
                let refusal =
                    Refusal::new(ErrorCode::BadRequest, text, "send a newline after each");
                self.send(&Reply::error(0, refusal));
                self.ending = true;
            }
        }
        Input::Open
    }

    /// Queues one reply. A client for which too much waits already reads nothing: it is closed.
    pub fn send(&mut self, reply: &Reply) {
        let text = api::encode_reply(reply);
        if self.output.len() + text.len() > OUT_MAX {
            self.output.clear();
            self.ending = true;
            return;
        }
        self.output.extend_from_slice(text.as_bytes());
    }

    /// Queues one event if this client watches; what does not fit is counted and told before the
    /// next.
    pub fn tell_event(&mut self, event: &Event) {
        let Some(id) = self.watch else { return };
        if self.output.len() > EVENTS_OUT_MAX {
            self.dropped += 1;
            return;
        }
        if self.dropped > 0 {
            let count = std::mem::take(&mut self.dropped);
            let gap = Event { event: EventKind::Dropped { count }, ..event.clone() };
            self.send(&Reply::event(id, gap));
        }
        self.send(&Reply::event(id, event.clone()));
    }

    /// Writes what the client takes; false when the connection is over.
    pub fn flush(&mut self) -> bool {
        while !self.output.is_empty() {
            match (&self.stream).write(&self.output) {
                Ok(0) => return false,
                Ok(n) => drop(self.output.drain(..n)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return true,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        !self.ending
    }
}

#[cfg(test)]
mod tests {
    use super::{Connection, EVENTS_OUT_MAX, Input};
    use api::{Event, EventKind};
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    fn event(seq: u64) -> Event {
        Event { seq, at_ns: 0, unix_ms: 0, event: EventKind::Dropped { count: 0 } }
    }

    #[test]
    fn a_slow_watcher_loses_events_and_is_told_how_many() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut connection = Connection::new(ours).unwrap();
        connection.watch(1);
        let mut told = 0;
        while connection.output.len() <= EVENTS_OUT_MAX {
            connection.tell_event(&event(told));
            told += 1;
        }
        for seq in told..told + 7 {
            connection.tell_event(&event(seq));
        }
        connection.output.clear(); // the client has read at last
        connection.tell_event(&event(told + 7));
        let text = String::from_utf8(connection.output.clone()).unwrap();
        assert!(text.lines().next().unwrap().contains("\"count\":7"), "{text}");
        assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn lines_come_whole_however_they_arrive() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut connection = Connection::new(ours).unwrap();
        let mut lines = Vec::new();
        theirs.write_all(b"a\nbc").unwrap();
        assert_eq!(connection.read(&mut lines), Input::Open);
        theirs.write_all(b"d\n\n").unwrap();
        connection.read(&mut lines);
        assert_eq!(lines, [b"a\n".to_vec(), b"bcd\n".to_vec(), b"\n".to_vec()]);
        drop(theirs);
        assert_eq!(connection.read(&mut lines), Input::Closed);
    }
}
