//! The host's end of a guest's command channel: many commands on one serial line.

use crate::error::{Context, LabError, Result};
use crate::frame::{self, Frame, Kind};
use crate::message::{Clock, Ended, FromGuest, ToGuest};
use std::collections::HashMap;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use testbed::os;

/// Frames that wait for one slow reader. A full queue holds the line up, as a full pipe would.
const QUEUE: usize = 1_024;
/// Pings of one measurement of the clock; the best one counts.
const PINGS: usize = 32;
/// The id of the guest's own words.
const OWN: u32 = 0;

/// How far the guest is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Booting,
    Ready,
    Gone,
}

/// One boot's channel.
#[derive(Debug)]
pub(crate) struct Channel {
    node: String,
    line: Mutex<UnixStream>,
    commands: Mutex<HashMap<u32, SyncSender<Frame>>>,
    next: AtomicU32,
    stage: Mutex<Stage>,
    changed: Condvar,
}

/// One command on it.
#[derive(Debug)]
pub(crate) struct Command {
    mouth: Mouth,
    frames: Receiver<Frame>,
}

/// The half of a command that speaks to it.
#[derive(Clone, Debug)]
pub(crate) struct Mouth {
    channel: Arc<Channel>,
    id: u32,
}

impl Channel {
    /// Starts to read `line`.
    pub(crate) fn open(node: &str, line: UnixStream) -> Result<Arc<Self>> {
        let reader = line.try_clone().context("command channel")?;
        let channel = Arc::new(Self {
            node: node.to_owned(),
            line: Mutex::new(line),
            commands: Mutex::new(HashMap::new()),
            next: AtomicU32::new(OWN + 1),
            stage: Mutex::new(Stage::Booting),
            changed: Condvar::new(),
        });
        let own = Arc::clone(&channel);
        std::thread::spawn(move || own.read(reader));
        Ok(channel)
    }

    /// Waits until the guest said that it is up.
    pub(crate) fn wait_ready(&self, limit: Duration) -> Result<()> {
        let stage = lock(&self.stage);
        let waiting = |stage: &mut Stage| *stage == Stage::Booting;
        let (stage, _) = self
            .changed
            .wait_timeout_while(stage, limit, waiting)
            .unwrap_or_else(PoisonError::into_inner);
        match *stage {
            Stage::Ready => return Ok(()),
            Stage::Gone => {
                let text = format!("{} ended while it booted", self.node);
                return Err(LabError::Channel(text));
            }
            Stage::Booting => {}
        }
        Err(LabError::Limit {
            node: self.node.clone(),
            what: "its boot".into(),
            seconds: limit.as_secs(),
            hint: "its console log tells more".into(),
        })
    }

    /// True while commands can be run.
    pub(crate) fn is_ready(&self) -> bool {
        *lock(&self.stage) == Stage::Ready
    }

    /// Opens a command: its frames come to what is returned.
    pub(crate) fn command(self: &Arc<Self>, first: &ToGuest) -> Result<Command> {
        if !self.is_ready() {
            return Err(LabError::Refused(format!("{} is not up", self.node)));
        }
        let (tell, frames) = sync_channel(QUEUE);
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        lock(&self.commands).insert(id, tell);
        let mouth = Mouth { channel: Arc::clone(self), id };
        let command = Command { mouth, frames };
        if !self.is_ready() {
            // It went away meanwhile, and nobody would end this command.
            return Err(LabError::Refused(format!("{} is gone", self.node)));
        }
        command.mouth.say(first)?;
        Ok(command)
    }

    /// The guest's clock against ours.
    pub(crate) fn clock(self: &Arc<Self>) -> Result<Clock> {
        let mut best: Option<Clock> = None;
        for _ in 0..PINGS {
            let begin = os::now();
            let ping = self.command(&ToGuest::Ping)?;
            let FromGuest::Pong(guest) = ping.answer()? else {
                return Err(LabError::Channel(format!("{}: no answer to a ping", self.node)));
            };
            let trip = os::now().since(begin).nanos();
            let offset = guest.wrapping_sub(begin.0 + trip / 2).cast_signed();
            if best.is_none_or(|it| trip / 2 < it.error) {
                best = Some(Clock { offset, error: trip / 2 });
            }
        }
        best.ok_or_else(|| LabError::Channel("no ping".into()))
    }

    fn read(&self, mut line: UnixStream) {
        while let Ok(Some(frame)) = frame::read(&mut line) {
            if frame.id == OWN {
                if let Ok(FromGuest::Ready) = serde_json::from_slice(&frame.payload) {
                    self.advance(Stage::Ready);
                }
                continue;
            }
            let to = lock(&self.commands).get(&frame.id).cloned();
            if let Some(to) = to {
                // An error means that nobody waits any more: the frame has no reader.
                let _ = to.send(frame);
            }
        }
        self.advance(Stage::Gone);
        // Every waiting command sees the end of its queue.
        lock(&self.commands).clear();
    }

    fn advance(&self, stage: Stage) {
        *lock(&self.stage) = stage;
        self.changed.notify_all();
    }

    fn write(&self, id: u32, kind: Kind, payload: &[u8]) -> Result<()> {
        let mut line = lock(&self.line);
        frame::write(&mut *line, id, kind, payload).context(format!("{}: channel", self.node))
    }
}

impl Mouth {
    /// Sends it a message.
    pub(crate) fn say(&self, message: &ToGuest) -> Result<()> {
        let text =
            serde_json::to_vec(message).map_err(|error| LabError::Channel(error.to_string()))?;
        self.channel.write(self.id, Kind::Message, &text)
    }

    /// Gives it input; an empty piece is the end.
    pub(crate) fn input(&self, bytes: &[u8]) -> Result<()> {
        self.channel.write(self.id, Kind::Bytes, bytes)
    }
}

impl Command {
    /// The half that speaks to it.
    pub(crate) fn mouth(&self) -> Mouth {
        self.mouth.clone()
    }

    /// The next frame; `None` when the node is gone.
    pub(crate) fn next(&self) -> Option<Frame> {
        self.frames.recv().ok()
    }

    /// The one message that answers it.
    pub(crate) fn answer(&self) -> Result<FromGuest> {
        let node = &self.mouth.channel.node;
        let gone = || LabError::Channel(format!("{node} is gone"));
        let frame = self.next().ok_or_else(gone)?;
        serde_json::from_slice(&frame.payload)
            .map_err(|error| LabError::Channel(format!("{node}: {error}")))
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        lock(&self.mouth.channel.commands).remove(&self.mouth.id);
    }
}

/// How a command ended, if this frame says so.
pub(crate) fn ended(frame: &Frame) -> Option<std::result::Result<Ended, String>> {
    if frame.kind != Kind::Message {
        return None;
    }
    match serde_json::from_slice(&frame.payload) {
        Ok(FromGuest::Ended(how)) => Some(Ok(how)),
        Ok(FromGuest::Failed(why)) => Some(Err(why)),
        _ => None,
    }
}

pub(crate) fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}
