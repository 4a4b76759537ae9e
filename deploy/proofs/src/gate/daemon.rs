//! A process that stands for the daemons: it renews the lease, it keeps the gate attached, and it
//! can be killed or stopped.

use super::error::Result;
use super::stage::{Stage, enter};
use gate::watch::Changed;
use gate::{Gate, Tc, Watch, Words};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use testbed::error::Context;
use testbed::os;

/// How long a lease is, from each renewal.
pub(super) const LEASE: base::Duration = base::Duration::from_millis(30);
/// How often it is renewed.
const RENEW_MS: u64 = 5;
/// How long the process may take to begin.
const BEGIN_MAX: base::Duration = base::Duration::from_millis(5_000);

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Duty {
    /// Renews the lease by one store every 5 ms.
    Renew,
    /// Attaches the gate again wherever it is missing; the lease is another's.
    Keep,
}

/// The process. It ends with this value, and with this process.
#[derive(Debug)]
pub(super) struct Daemon {
    pid: i32,
}

impl Daemon {
    /// Starts it inside the node. A lease that it renews has been renewed once when this returns.
    pub(super) fn start(stage: &Stage, duty: Duty) -> Result<Self> {
        let mut kept = match duty {
            Duty::Renew => {
                stage.gate.words().set_lease_end(base::Instant::ZERO);
                None
            }
            Duty::Keep => Some(enter(&stage.node, || {
                Ok::<_, gate::GateError>((Tc::open()?, Watch::open()?))
            })?),
        };
        // SAFETY: the child goes on with one thread, on its own copy of this memory; what it calls
        // (allocation included) works in the child of a process with threads on this C library.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()).context("fork")?,
            0 => {
                die_with_parent();
                match &mut kept {
                    None => renew(stage.gate.words()),
                    Some((tc, watch)) => keep(&stage.gate, tc, watch),
                }
            }
            pid => {
                let this = Self { pid };
                if duty == Duty::Renew {
                    wait_for_renewal(stage.gate.words())?;
                }
                Ok(this)
            }
        }
    }

    /// Sends it a signal.
    pub(super) fn signal(&self, signal: i32) {
        os::signal(self.pid, signal);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        os::signal(self.pid, libc::SIGKILL);
        // SAFETY: waits for the child that this value started; no status is asked for.
        unsafe { libc::waitpid(self.pid, std::ptr::null_mut(), 0) };
    }
}

fn wait_for_renewal(words: &Words) -> Result<()> {
    let until = os::now() + BEGIN_MAX;
    while words.lease_end() == base::Instant::ZERO {
        if os::now() > until {
            let cause = io::Error::from(io::ErrorKind::TimedOut);
            return Err(cause).context("the process that renews did not begin")?;
        }
        os::sleep(base::Duration::from_millis(1));
    }
    Ok(())
}

fn die_with_parent() {
    // SAFETY: takes a number only.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

fn renew(words: &Words) -> ! {
    let _ = os::realtime(os::PRIORITY_OBSERVER);
    loop {
        words.set_lease_end(os::now() + LEASE);
        os::sleep(base::Duration::from_millis(RENEW_MS));
    }
}

fn keep(gate: &Gate, tc: &mut Tc, watch: &mut Watch) -> ! {
    let _ = os::realtime(os::PRIORITY_RESPONDER);
    loop {
        let mut wait =
            libc::pollfd { fd: watch.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd, alive during the call.
        unsafe { libc::poll(&raw mut wait, 1, -1) };
        // What fails now is tried at the next change.
        let _ = look(gate, tc, watch);
    }
}

fn look(gate: &Gate, tc: &mut Tc, watch: &mut Watch) -> std::result::Result<(), gate::GateError> {
    let changed = watch.changed()?;
    for interface in tc.interfaces()? {
        let concerned = match &changed {
            Changed::Everything => true,
            Changed::Interfaces(at) => at.contains(&interface.index),
        };
        if concerned && tc.lacks(gate, &interface)?.iter().any(|it| it.is_curable()) {
            tc.attach(gate, &interface)?;
        }
    }
    Ok(())
}
