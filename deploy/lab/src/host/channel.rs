//! The host's end of a guest's command channel: many commands on one serial line.
//!
//! User Mode Linux can miss that a full line takes bytes again, or that a terminal it throttled has room
//! again, and is then silent or deaf for ever. So neither may come about. Towards us the line's buffer is
//! large, and its reader waits for nobody; towards the guest only as many bytes are on the way as its
//! terminal holds, and the guest says how many it took.

use crate::error::{Context, LabError, Result};
use crate::frame::{self, Frame, Kind};
use crate::message::{Clock, Ended, FromGuest, ToGuest};
use std::collections::HashMap;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use testbed::os;

/// Bytes that wait for one slow reader; a command that has more is killed.
const QUEUE: usize = 64 << 20;
/// The line's buffer towards us.
const BUFFER: usize = 16 << 20;
/// Bytes on the way to the guest: half of what its terminal holds.
const WINDOW: usize = 2 * 1024;
/// Bytes written at once; with what the guest has not told yet they fit the window.
const PIECE: usize = 1024;
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
    on_the_way: Mutex<usize>,
    taken: Condvar,
    commands: Mutex<HashMap<u32, Waiting>>,
    next: AtomicU32,
    stage: Mutex<Stage>,
    changed: Condvar,
}

/// Who waits for a command's frames, and how many bytes of them wait for him.
#[derive(Clone, Debug)]
struct Waiting {
    frames: Sender<Frame>,
    queued: Arc<AtomicUsize>,
}

/// One command on it.
#[derive(Debug)]
pub(crate) struct Command {
    mouth: Mouth,
    frames: Receiver<Frame>,
    queued: Arc<AtomicUsize>,
}

/// The half of a command that speaks to it.
#[derive(Clone, Debug)]
pub(crate) struct Mouth {
    channel: Arc<Channel>,
    id: u32,
}

impl Channel {
    /// Both ends of a line: ours, the guest's.
    pub(crate) fn pair() -> Result<(UnixStream, OwnedFd)> {
        let (ours, theirs) = UnixStream::pair().context("command channel")?;
        let theirs = OwnedFd::from(theirs);
        force_buffer(&theirs, BUFFER).context("buffer of the command channel")?;
        Ok((ours, theirs))
    }

    /// Starts to read `line`.
    pub(crate) fn open(node: &str, line: UnixStream) -> Result<Arc<Self>> {
        let reader = line.try_clone().context("command channel")?;
        let channel = Arc::new(Self {
            node: node.to_owned(),
            line: Mutex::new(line),
            on_the_way: Mutex::new(0),
            taken: Condvar::new(),
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
        let (tell, frames) = channel();
        let queued = Arc::new(AtomicUsize::new(0));
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting { frames: tell, queued: Arc::clone(&queued) };
        lock(&self.commands).insert(id, waiting);
        let mouth = Mouth { channel: Arc::clone(self), id };
        let command = Command { mouth, frames, queued };
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
                match serde_json::from_slice(&frame.payload) {
                    Ok(FromGuest::Ready) => self.advance(Stage::Ready),
                    Ok(FromGuest::Took(bytes)) => {
                        let mut on_the_way = lock(&self.on_the_way);
                        *on_the_way = on_the_way.saturating_sub(bytes);
                        self.taken.notify_all();
                    }
                    other => eprintln!("{}: said {other:?}", self.node),
                }
                continue;
            }
            let to = lock(&self.commands).get(&frame.id).cloned();
            if let Some(to) = to {
                self.hand_over(frame, &to);
            }
        }
        self.advance(Stage::Gone);
        // Every waiting command sees the end of its queue.
        lock(&self.commands).clear();
    }

    fn hand_over(&self, frame: Frame, to: &Waiting) {
        let (id, length) = (frame.id, frame.payload.len());
        if to.queued.fetch_add(length, Ordering::Relaxed) + length <= QUEUE {
            // An error means that nobody waits any more: the frame has no reader.
            let _ = to.frames.send(frame);
            return;
        }
        eprintln!("{}: a command has {QUEUE} bytes of output that nobody reads; killed", self.node);
        lock(&self.commands).remove(&id);
        if let Ok(text) = serde_json::to_vec(&ToGuest::Signal(libc::SIGKILL)) {
            // If the line is broken, the command is gone too.
            let _ = self.write(id, Kind::Message, &text);
        }
    }

    fn advance(&self, stage: Stage) {
        *lock(&self.stage) = stage;
        self.changed.notify_all();
        self.taken.notify_all();
    }

    fn write(&self, id: u32, kind: Kind, payload: &[u8]) -> Result<()> {
        let mut frame = Vec::new();
        frame::write(&mut frame, id, kind, payload).context(format!("{}: channel", self.node))?;
        let mut line = lock(&self.line);
        for piece in frame.chunks(PIECE) {
            self.wait_for_room(piece.len())?;
            line.write_all(piece).context(format!("{}: channel", self.node))?;
        }
        Ok(())
    }

    fn wait_for_room(&self, bytes: usize) -> Result<()> {
        let mut on_the_way = lock(&self.on_the_way);
        while *on_the_way + bytes > WINDOW {
            if *lock(&self.stage) == Stage::Gone {
                return Err(LabError::Channel(format!("{} is gone", self.node)));
            }
            let waited = self.taken.wait_timeout(on_the_way, Duration::from_millis(100));
            on_the_way = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *on_the_way += bytes;
        Ok(())
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
        let frame = self.frames.recv().ok()?;
        self.queued.fetch_sub(frame.payload.len(), Ordering::Relaxed);
        Some(frame)
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

/// Sets what a sender may have on the way, beyond the system's usual limit.
fn force_buffer(socket: &OwnedFd, bytes: usize) -> std::io::Result<()> {
    let value = bytes as libc::c_int;
    // SAFETY: the option's value is one c_int, and its size is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_SNDBUFFORCE,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
