//! One command in the guest: a process group of its own, on pipes or on a terminal.

use crate::agent::Line;
use crate::init::PATH;
use anyhow::{Context, Result};
use lab::frame::Kind;
use lab::message::{Ended, FromGuest, Start};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

/// Pieces of input that wait for a command that does not read; then it is killed.
const INPUT_QUEUE: usize = 256;
/// Bytes of one piece of output.
const PIECE: usize = 4 * 1024;

/// A running command.
#[derive(Debug)]
pub(crate) struct Command {
    group: i32,
    input: SyncSender<Vec<u8>>,
    terminal: Option<File>,
    over: Arc<AtomicBool>,
}

impl Command {
    /// Starts it; its output goes to `line` under `id`, then its end.
    pub(crate) fn start(id: u32, start: &Start, line: &Line) -> Result<Self> {
        let (program, words) = start.argv.split_first().context("no program named")?;
        let mut command = std::process::Command::new(program);
        command.args(words).current_dir("/root").env_clear();
        command.envs([
            ("PATH", PATH),
            ("HOME", "/root"),
            ("TERM", "xterm-256color"),
            ("LANG", "C.UTF-8"),
        ]);
        let over = Arc::new(AtomicBool::new(false));
        let (input, pieces) = sync_channel::<Vec<u8>>(INPUT_QUEUE);
        let (terminal, mut child) = match start.terminal {
            Some((rows, columns)) => {
                let (ours, child) = on_terminal(command, rows, columns)?;
                (Some(ours), child)
            }
            None => {
                command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
                command.process_group(0);
                (None, command.spawn().with_context(|| program.clone())?)
            }
        };
        let group = child.id() as i32;
        let sources = sources(&mut child, terminal.as_ref())?;
        let mut sink: Box<dyn Write + Send> = match (&terminal, child.stdin.take()) {
            (Some(it), _) => Box::new(it.try_clone().context("terminal")?),
            (None, Some(pipe)) => Box::new(pipe),
            (None, None) => Box::new(std::io::sink()),
        };
        thread::spawn(move || {
            for piece in pieces {
                // The command may have closed its input; that is its right.
                if piece.is_empty() || sink.write_all(&piece).is_err() {
                    return;
                }
            }
        });
        let (line, told) = (line.clone(), Arc::clone(&over));
        thread::spawn(move || {
            let copies: Vec<_> = sources
                .into_iter()
                .map(|(kind, source)| {
                    let line = line.clone();
                    thread::spawn(move || copy(id, kind, source, &line))
                })
                .collect();
            for copy in copies {
                let _ = copy.join();
            }
            let status = child.wait();
            told.store(true, Ordering::Release);
            let ended = status.map_or(Ended::Lost, |status| match status.signal() {
                Some(signal) => Ended::Signal(signal),
                None => Ended::Code(status.code().unwrap_or(-1)),
            });
            line.say(id, &FromGuest::Ended(ended));
        });
        Ok(Self { group, input, terminal, over })
    }

    /// True when it has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Gives it input; an empty piece is the end.
    pub(crate) fn input(&self, piece: Vec<u8>) {
        if self.input.try_send(piece).is_err() && !self.is_over() {
            self.signal(libc::SIGKILL);
        }
    }

    /// Signals its process group.
    pub(crate) fn signal(&self, signal: i32) {
        if self.group > 1 && !self.is_over() {
            // SAFETY: kill has no memory arguments; the group is this command's own.
            unsafe { libc::kill(-self.group, signal) };
        }
    }

    /// Its terminal has another size.
    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        if let Some(terminal) = &self.terminal {
            set_size(terminal.as_raw_fd(), rows, columns);
        }
    }
}

type Source = (Kind, Box<dyn Read + Send>);

fn sources(child: &mut Child, terminal: Option<&File>) -> Result<Vec<Source>> {
    let mut list: Vec<Source> = vec![];
    if let Some(it) = terminal {
        list.push((Kind::Bytes, Box::new(it.try_clone().context("terminal")?)));
    }
    if let Some(it) = child.stdout.take() {
        list.push((Kind::Bytes, Box::new(it)));
    }
    if let Some(it) = child.stderr.take() {
        list.push((Kind::Errors, Box::new(it)));
    }
    Ok(list)
}

fn copy(id: u32, kind: Kind, mut from: impl Read, line: &Line) {
    let mut piece = [0_u8; PIECE];
    // A terminal whose last user is gone reads as an error: that is its end.
    while let Ok(length) = from.read(&mut piece) {
        if length == 0 {
            return;
        }
        line.send(id, kind, piece.get(..length).unwrap_or_default());
    }
}

/// Starts a command as the leader of a session on a terminal of its own.
fn on_terminal(
    mut command: std::process::Command,
    rows: u16,
    columns: u16,
) -> Result<(File, Child)> {
    let (mut ours, mut theirs) = (-1, -1);
    // SAFETY: both numbers are valid places for a descriptor; name, modes and size are not given.
    let opened = unsafe {
        libc::openpty(
            &raw mut ours,
            &raw mut theirs,
            std::ptr::null_mut(),
            std::ptr::null(),
            std::ptr::null(),
        )
    };
    if opened != 0 {
        return Err(std::io::Error::last_os_error()).context("a terminal");
    }
    // SAFETY: openpty just opened both, and nobody else has them.
    let (ours, theirs) = unsafe { (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) };
    set_size(ours.as_raw_fd(), rows, columns);
    let copy = || theirs.try_clone().context("a terminal");
    command.stdin(copy()?).stdout(copy()?).stderr(theirs);
    let lead = || {
        // SAFETY: system calls without memory arguments, between fork and exec.
        let done = unsafe { libc::setsid() >= 0 && libc::ioctl(0, libc::TIOCSCTTY, 0) >= 0 };
        if done { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: see above; nothing allocates or locks.
    unsafe { command.pre_exec(lead) };
    let child = command.spawn().context("the command")?;
    Ok((File::from(ours), child))
}

fn set_size(terminal: i32, rows: u16, columns: u16) {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: `size` is valid for the call; a wrong descriptor is an error, not undefined.
    unsafe { libc::ioctl(terminal, libc::TIOCSWINSZ, &raw const size) };
}
