//! `netguard-lab shell`: this terminal becomes one of the node's.

use anyhow::{Context, Result, bail};
use lab::Lab;
use lab::message::Ended;
use std::io::{IsTerminal, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

/// Runs a login shell in a node on this terminal.
pub(crate) fn shell(lab: &Lab, node: &str) -> Result<ExitCode> {
    if !std::io::stdin().is_terminal() {
        bail!("a shell needs a terminal; use `run {node} -- COMMAND`");
    }
    let (rows, columns) = size().unwrap_or((24, 80));
    let mut running = lab.node(node).spawn_on_terminal(&["bash", "-l"], rows, columns)?;
    let _raw = Raw::set()?;
    let mut last = (rows, columns);
    let mut out = std::io::stdout();
    while running.is_running() {
        if let Some(piece) = running.next_piece(Duration::from_millis(5)) {
            out.write_all(&piece).and_then(|()| out.flush()).context("this terminal")?;
        }
        if let Some(now) = size().filter(|it| *it != last) {
            running.resize(now.0, now.1)?;
            last = now;
        }
        if has_input() {
            let mut piece = [0_u8; 1024];
            let length = std::io::stdin().read(&mut piece).context("this terminal")?;
            if length == 0 {
                break;
            }
            running.write(piece.get(..length).unwrap_or_default())?;
        }
    }
    match running.ended() {
        Some(Ended::Code(code)) => Ok(ExitCode::from(u8::try_from(code).unwrap_or(1))),
        _ => Ok(ExitCode::FAILURE),
    }
}

fn has_input() -> bool {
    let mut poll = libc::pollfd { fd: 0, events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid entry, and the count says one.
    unsafe { libc::poll(&raw mut poll, 1, 0) > 0 }
}

fn size() -> Option<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: `size` is valid for the call.
    let done = unsafe { libc::ioctl(1, libc::TIOCGWINSZ, &raw mut size) } == 0;
    (done && size.ws_row > 0).then_some((size.ws_row, size.ws_col))
}

/// This terminal without echo, line editing and signals, until the value goes.
struct Raw(libc::termios);

impl Raw {
    fn set() -> Result<Self> {
        // SAFETY: an all-zero termios is a valid value to be filled; descriptor 0 is a terminal.
        unsafe {
            let mut before: libc::termios = std::mem::zeroed();
            if libc::tcgetattr(0, &raw mut before) != 0 {
                return Err(std::io::Error::last_os_error()).context("this terminal");
            }
            let mut modes = before;
            libc::cfmakeraw(&raw mut modes);
            libc::tcsetattr(0, libc::TCSANOW, &raw const modes);
            Ok(Self(before))
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // SAFETY: the value came from tcgetattr.
        unsafe { libc::tcsetattr(0, libc::TCSANOW, &raw const self.0) };
    }
}
