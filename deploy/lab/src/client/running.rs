//! A command that runs in a node.

use crate::error::{Context, LabError, Result};
use crate::frame::{self, Kind};
use crate::message::{Answer, Ended, ToGuest};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use testbed::os;

/// Bytes kept of each stream; what comes beyond is counted, not kept.
const KEPT_MAX: usize = 32 << 20;

/// How often a waiting caller looks whether it was interrupted.
const LOOK_UP: Duration = Duration::from_millis(100);

/// What a finished command left.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its node.
    pub node: String,
    /// Its command line.
    pub line: String,
    /// How it ended.
    pub ended: Ended,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Bytes of output beyond what is kept.
    pub dropped: usize,
}

impl Output {
    /// Standard output of a command that succeeded.
    ///
    /// # Errors
    /// With what it said, if it did not.
    pub fn success(self) -> Result<String> {
        if self.ended == Ended::Code(0) {
            return Ok(self.stdout);
        }
        let said = format!("{}{}", self.stdout, self.stderr).trim().to_owned();
        let status = self.ended.to_string();
        Err(LabError::Command { node: self.node, line: self.line, status, said })
    }
}

/// A command that runs in a node. When this value goes, the command is killed.
#[derive(Debug)]
pub struct Running {
    node: String,
    line: String,
    stream: UnixStream,
    heard: Arc<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    out: Vec<u8>,
    errors: Vec<u8>,
    /// How much of `out` was given away as lines or pieces.
    taken: usize,
    dropped: usize,
    end: Option<std::result::Result<Ended, String>>,
}

impl Running {
    pub(super) fn new(node: String, line: String, stream: UnixStream) -> Result<Self> {
        let heard = Arc::new(Heard::default());
        let (reader, told) = (stream.try_clone().context("connection")?, Arc::clone(&heard));
        thread::spawn(move || listen(reader, &told));
        Ok(Self { node, line, stream, heard })
    }

    /// Its next line of output; `None` when it has ended or the time is over.
    #[must_use]
    pub fn next_line(&self, limit: Duration) -> Option<String> {
        let next = |state: &mut State| {
            let rest = state.out.get(state.taken..)?;
            let length = match rest.iter().position(|byte| *byte == b'\n') {
                Some(end) => end + 1,
                None if state.end.is_some() && !rest.is_empty() => rest.len(),
                None => return None,
            };
            let text = String::from_utf8_lossy(rest.get(..length)?);
            let text = text.trim_end_matches(['\n', '\r']).to_owned();
            state.taken += length;
            Some(text)
        };
        self.wait_for(limit, next)
    }

    /// Whatever output has come since, as it is; `None` when it has ended or the time is over.
    #[must_use]
    pub fn next_piece(&self, limit: Duration) -> Option<Vec<u8>> {
        self.wait_for(limit, |state| {
            let rest = state.out.get(state.taken..)?;
            if rest.is_empty() {
                return None;
            }
            let piece = rest.to_vec();
            state.taken = state.out.len();
            Some(piece)
        })
    }

    /// Gives it input.
    ///
    /// # Errors
    /// When it has ended.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        for piece in bytes.chunks(2 * 1024) {
            frame::write(&mut self.stream, 0, Kind::Bytes, piece).context(self.line.clone())?;
        }
        Ok(())
    }

    /// Ends its input.
    ///
    /// # Errors
    /// When it has ended.
    pub fn end_input(&mut self) -> Result<()> {
        frame::write(&mut self.stream, 0, Kind::Bytes, &[]).context(self.line.clone())
    }

    /// Signals it and its children.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&mut self, signal: i32) -> Result<()> {
        self.say(&ToGuest::Signal(signal))
    }

    /// Tells it the size of its terminal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn resize(&mut self, rows: u16, columns: u16) -> Result<()> {
        self.say(&ToGuest::Resize(rows, columns))
    }

    /// True while it has not ended.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.state().end.is_none()
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        self.state().end.as_ref().and_then(|end| end.as_ref().ok().copied())
    }

    /// Everything that it has printed so far: output, errors.
    #[must_use]
    pub fn so_far(&self) -> (String, String) {
        let state = self.state();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&state.out), text(&state.errors))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it could not be started, or goes on for longer.
    pub fn wait(self, limit: Duration) -> Result<Output> {
        let end = self.wait_for(limit, |state| state.end.clone());
        let (stdout, stderr) = self.so_far();
        let dropped = self.state().dropped;
        let (node, line) = (self.node.clone(), self.line.clone());
        match end {
            Some(Ok(ended)) => Ok(Output { node, line, ended, stdout, stderr, dropped }),
            Some(Err(why)) => Err(LabError::Refused(format!("{node}: `{line}`: {why}"))),
            None if os::interrupted() => Err(LabError::Interrupted),
            None => {
                let what = format!("the end of `{line}`");
                let hint = format!("it said so far: {stdout}{stderr}");
                Err(LabError::Limit { node, what, seconds: limit.as_secs(), hint })
            }
        }
    }

    fn say(&mut self, message: &ToGuest) -> Result<()> {
        let text =
            serde_json::to_vec(message).map_err(|error| LabError::Channel(error.to_string()))?;
        frame::write(&mut self.stream, 0, Kind::Message, &text).context(self.line.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.heard.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `look` finds something; gives up at the end of the time or of the command.
    fn wait_for<T>(&self, limit: Duration, look: impl Fn(&mut State) -> Option<T>) -> Option<T> {
        let last = Instant::now() + limit;
        let mut state = self.state();
        loop {
            if let Some(found) = look(&mut state) {
                return Some(found);
            }
            let left = last.saturating_duration_since(Instant::now());
            if state.end.is_some() || left.is_zero() || os::interrupted() {
                return None;
            }
            let woken = self.heard.changed.wait_timeout(state, left.min(LOOK_UP));
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The supervisor kills a command whose client leaves; if this fails, it is gone already.
        let _ = self.stream.flush();
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

fn listen(mut stream: UnixStream, heard: &Heard) {
    loop {
        let frame = frame::read(&mut stream);
        let mut state = heard.state.lock().unwrap_or_else(PoisonError::into_inner);
        match frame {
            Ok(Some(frame)) => match frame.kind {
                Kind::Bytes => state.keep(&frame.payload, false),
                Kind::Errors => state.keep(&frame.payload, true),
                Kind::Message => {
                    state.end = Some(match serde_json::from_slice(&frame.payload) {
                        Ok(Answer::Ended(how)) => Ok(how),
                        Ok(Answer::Refused(why)) => Err(why),
                        Ok(other) => Err(format!("an answer that fits nothing: {other:?}")),
                        Err(error) => Err(error.to_string()),
                    });
                }
            },
            _ => {
                state.end.get_or_insert(Ok(Ended::Lost));
            }
        }
        heard.changed.notify_all();
        if state.end.is_some() {
            return;
        }
    }
}

impl State {
    fn keep(&mut self, bytes: &[u8], errors: bool) {
        let to = if errors { &mut self.errors } else { &mut self.out };
        let room = KEPT_MAX.saturating_sub(to.len()).min(bytes.len());
        to.extend_from_slice(bytes.get(..room).unwrap_or_default());
        self.dropped += bytes.len() - room;
    }
}
