//! The agent: reads requests from the line, starts commands, answers pings and questions about stalls.

use crate::command::Command;
use anyhow::{Context, Result};
use base::{Duration, Instant};
use lab::frame::{self, Kind};
use lab::message::{FromGuest, ToGuest};
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, PoisonError};
use testbed::os;
use testbed::stall::StallMeter;

/// The guest's end of the command channel.
const LINE: &str = "/dev/ttyS0";
/// Bytes read before the host is told.
const TOLD: usize = 512;

/// The line, one frame at a time.
#[derive(Clone, Debug)]
pub(crate) struct Line(Arc<Mutex<File>>);

impl Line {
    /// Sends a message.
    pub(crate) fn say(&self, id: u32, message: &FromGuest) {
        if let Ok(text) = serde_json::to_vec(message) {
            self.send(id, Kind::Message, &text);
        }
    }

    /// Sends bytes. A broken line is the end of the lab, which ends this machine too.
    pub(crate) fn send(&self, id: u32, kind: Kind, bytes: &[u8]) {
        let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = frame::write(&mut *line, id, kind, bytes);
    }
}

/// The line towards us; the host is told how much was read, because it sends no more than the terminal
/// holds.
struct Reader {
    file: File,
    line: Line,
    untold: usize,
}

impl Read for Reader {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let length = self.file.read(bytes)?;
        self.untold += length;
        if self.untold >= TOLD {
            self.line.say(0, &FromGuest::Took(self.untold));
            self.untold = 0;
        }
        Ok(length)
    }
}

/// Serves until the line ends.
pub(crate) fn serve() -> Result<()> {
    let file = File::options().read(true).write(true).open(LINE).context(LINE)?;
    raw(&file)?;
    let line = Line(Arc::new(Mutex::new(file.try_clone().context(LINE)?)));
    let mut reader = Reader { file, line: line.clone(), untold: 0 };
    let meter = StallMeter::start();
    let mut commands: HashMap<u32, Command> = HashMap::new();
    line.say(0, &FromGuest::Ready);
    while let Some(frame) = frame::read(&mut reader).context(LINE)? {
        commands.retain(|_, command| !command.is_over());
        let id = frame.id;
        if frame.kind != Kind::Message {
            if let Some(command) = commands.get(&id) {
                command.input(frame.payload);
            }
            continue;
        }
        match serde_json::from_slice(&frame.payload) {
            Ok(ToGuest::Start(start)) => match Command::start(id, &start, &line) {
                Ok(command) => {
                    commands.insert(id, command);
                }
                Err(error) => line.say(id, &FromGuest::Failed(format!("{error:#}"))),
            },
            Ok(ToGuest::Signal(signal)) => {
                if let Some(command) = commands.get(&id) {
                    command.signal(signal);
                }
            }
            Ok(ToGuest::Resize(rows, columns)) => {
                if let Some(command) = commands.get(&id) {
                    command.resize(rows, columns);
                }
            }
            Ok(ToGuest::Ping) => line.say(id, &FromGuest::Pong(os::now().0)),
            Ok(ToGuest::Stalls { from, to, limit }) => {
                let limit = Duration::from_nanos(limit);
                let found = meter.overlaps(Instant(from), Instant(to), limit);
                line.say(id, &FromGuest::Stalls(found.map(|it| (it.from.0, it.to.0))));
            }
            Err(error) => line.say(id, &FromGuest::Failed(format!("request: {error}"))),
        }
    }
    Ok(())
}

/// Bytes as they are: no echo, no line endings, no signals.
fn raw(line: &File) -> Result<()> {
    // SAFETY: an all-zero termios is a valid value to be filled; the descriptor is a terminal.
    unsafe {
        let mut modes: libc::termios = std::mem::zeroed();
        if libc::tcgetattr(line.as_raw_fd(), &raw mut modes) != 0 {
            return Err(std::io::Error::last_os_error()).context(LINE);
        }
        libc::cfmakeraw(&raw mut modes);
        if libc::tcsetattr(line.as_raw_fd(), libc::TCSANOW, &raw const modes) != 0 {
            return Err(std::io::Error::last_os_error()).context(LINE);
        }
    }
    Ok(())
}
