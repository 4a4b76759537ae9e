//! Which processes belong to a command, and how they are made to go.
//!
//! A process belongs to a command if it is in the command's session, or if it carries the command's
//! mark in its environment: that finds daemons that made a session of their own, and needs no
//! record. Signals go through a pidfd whose process is compared by start time first, so that a
//! reused number is never hit.

use crate::error::CommandError;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// The environment variable that marks the processes of one command; its value is the record's
/// path.
pub const MARK: &str = "NETGUARD_SCOPE";
/// Most processes looked at in one pass over /proc.
const PROCESSES_MAX: usize = 4_194_304;
/// Distance of two looks while waiting for processes to end.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long SIGKILL may take before the node counts as stuck.
pub const KILL_WAIT: Duration = Duration::from_secs(5);

/// One process, told from a later one of the same number by its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// Its session.
    pub session: i32,
    /// Start time in clock ticks since boot.
    pub start: u64,
    /// Ended, only not collected by its parent yet.
    pub zombie: bool,
}

/// What makes a process one of a command's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scope {
    /// The first process, which leads the session; `None` if that is not known.
    pub leader: Option<(i32, u64)>,
    /// Value of the mark.
    pub mark: String,
}

impl Scope {
    /// The processes that live.
    #[must_use]
    pub fn members(&self) -> Vec<Process> {
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        entries
            .take(PROCESSES_MAX)
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(process)
            .filter(|p| !p.zombie && (self.leads(p) || self.marks(p.pid)))
            .collect()
    }

    /// In the session, and the session is still the recorded one: its number is not given to
    /// anybody else while a process is in it, so only a leader with another start time shows that
    /// it was.
    fn leads(&self, member: &Process) -> bool {
        let Some((session, start)) = self.leader else { return false };
        member.session == session && process(session).is_none_or(|leader| leader.start == start)
    }

    fn marks(&self, pid: i32) -> bool {
        let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else { return false };
        let wanted = [MARK.as_bytes(), b"=", self.mark.as_bytes()].concat();
        environment.split(|byte| *byte == 0).any(|variable| variable == wanted)
    }

    /// Asks all members to end, waits `patience` for it, then kills; an error names who is left
    /// even so.
    pub fn end(&self, patience: Duration, collect: &mut dyn FnMut()) -> Result<(), CommandError> {
        if patience > Duration::ZERO {
            for member in self.members() {
                signal(member, libc::SIGTERM);
            }
            if self.empty_within(patience, None, collect) {
                return Ok(());
            }
        }
        if self.empty_within(KILL_WAIT, Some(libc::SIGKILL), collect) {
            return Ok(());
        }
        Err(CommandError::Stuck { pids: self.members().iter().map(|p| p.pid).collect() })
    }

    fn empty_within(
        &self,
        limit: Duration,
        repeat: Option<i32>,
        collect: &mut dyn FnMut(),
    ) -> bool {
        let until = Instant::now() + limit;
        loop {
            collect();
            let members = self.members();
            if members.is_empty() {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
            for member in members {
                if let Some(number) = repeat {
                    signal(member, number);
                }
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// Looks one process up; `None` if there is none of that number.
#[must_use]
pub fn process(pid: i32) -> Option<Process> {
    parse_stat(
        pid,
        &fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?,
    )
}

/// `pid (name) state ppid pgrp session … starttime`: the name may hold anything, even parentheses.
fn parse_stat(pid: i32, text: &str) -> Option<Process> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let zombie = matches!(fields.next()?, "Z" | "X");
    let session = fields.nth(2)?.parse().ok()?;
    let start = fields.nth(15)?.parse().ok()?;
    Some(Process { pid, session, start, zombie })
}

/// Sends a signal to exactly this process; one that has ended meanwhile is none of our business.
fn signal(to: Process, number: i32) {
    let Ok(fd) = pidfd(to.pid) else { return };
    if process(to.pid).is_none_or(|now| now.start != to.start) {
        return;
    }
    // SAFETY: the descriptor is open for the call, a null siginfo is allowed, flags are zero.
    unsafe {
        let none = std::ptr::null::<libc::siginfo_t>();
        libc::syscall(libc::SYS_pidfd_send_signal, fd.as_raw_fd(), number, none, 0);
    }
}

/// A descriptor that becomes readable when the process ends.
pub fn pidfd(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes no pointers; the result is checked before it is used.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    match i32::try_from(fd) {
        // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Process, parse_stat, process};
    use base::Prng;

    #[test]
    fn names_with_parentheses_do_not_confuse() {
        let line = "42 (a) b) R 1 7 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 999";
        let expect = Process { pid: 42, session: 9, start: 12_345, zombie: false };
        assert_eq!(parse_stat(42, line), Some(expect));
        assert_eq!(parse_stat(42, "42 (cut) R 1"), None);
        assert_eq!(parse_stat(42, ""), None);
    }

    #[test]
    fn finds_itself() {
        let me = i32::try_from(std::process::id()).unwrap();
        let found = process(me).unwrap();
        assert!(!found.zombie && found.start > 0);
        assert_eq!(process(i32::MAX), None);
    }

    #[test]
    fn any_line_is_a_process_or_none() {
        let line = "42 (a) b) R 1 7 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 999";
        let mut dice = Prng::new(1);
        for _ in 0..20_000 {
            let mut bytes = line.as_bytes().to_vec();
            for _ in 0..1 + dice.below(4) {
                let at = dice.below(bytes.len() as u64) as usize;
                bytes[at] =
                    [b' ', b')', b'-', b'9', 0, dice.next_u64() as u8][dice.below(6) as usize];
            }
            bytes.truncate(dice.below(bytes.len() as u64 + 1) as usize);
            let _ = parse_stat(42, &String::from_utf8_lossy(&bytes));
        }
    }
}
