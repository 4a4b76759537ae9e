//! The driver of one command.

use crate::error::CommandError;
use crate::record::Record;
use crate::scope::{self, MARK, Scope};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Program, ExitStatus, Stdio};
use std::time::Duration;

/// Where programs are looked for whose name has no slash.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What is configured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Command {
    /// The service it belongs to.
    pub service: String,
    /// Place of the resource in the service.
    pub resource: usize,
    /// This node's name.
    pub node: String,
    /// Program and arguments; no shell looks at them.
    pub run: Vec<String>,
    /// How long it may take to end after SIGTERM.
    pub stop_timeout: Duration,
}

/// One command and, while it runs, its process.
#[derive(Debug)]
pub struct CommandDriver {
    spec: Command,
    record: Record,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    ended: OwnedFd,
    scope: Scope,
}

impl CommandDriver {
    /// A driver that keeps its record in `run_dir`.
    #[must_use]
    pub fn new(spec: Command, run_dir: &Path) -> Self {
        let record = Record::new(run_dir, &spec.service, spec.resource);
        Self { spec, record, running: None }
    }

    /// What is configured.
    #[must_use]
    pub const fn spec(&self) -> &Command {
        &self.spec
    }

    /// Starts the command for one generation of its service.
    pub fn start(&mut self, generation: u64) -> Result<(), CommandError> {
        if self.running.is_some() {
            return Err(CommandError::Running);
        }
        let (program, arguments) = self.spec.run.split_first().ok_or(CommandError::Empty)?;
        self.record.open()?;
        let mark = self.record.mark();
        let mut order = Program::new(program);
        order
            .args(arguments)
            .env_clear()
            .env("PATH", PATH)
            .env("NETGUARD_SERVICE", &self.spec.service)
            .env("NETGUARD_NODE", &self.spec.node)
            .env("NETGUARD_GENERATION", generation.to_string())
            .env(MARK, &mark)
            .current_dir("/")
            .stdin(Stdio::null());
        let daemon = i32::try_from(std::process::id()).unwrap_or(0);
        // SAFETY: `become_ordinary` only makes system calls that are allowed between fork and exec.
        unsafe { order.pre_exec(move || become_ordinary(daemon)) };
        let child = order.spawn().map_err(|source| {
            let _ = self.record.remove();
            CommandError::Program { program: program.clone(), source }
        })?;
        self.watch(child, mark)
    }

    fn watch(&mut self, mut child: Child, mark: String) -> Result<(), CommandError> {
        let pid = i32::try_from(child.id()).unwrap_or(0);
        // The child is not waited for yet, so its number is its own even if it has ended already.
        let start = scope::process(pid).map_or(0, |p| p.start);
        let noted = self.record.set(pid, start).and_then(|()| {
            scope::pidfd(pid)
                .map_err(|source| CommandError::Program { program: "pidfd_open".into(), source })
        });
        let scope = Scope { leader: Some((pid, start)), mark };
        match noted {
            Ok(ended) => {
                self.running = Some(Running { child, ended, scope });
                Ok(())
            }
            Err(e) => {
                scope.end(Duration::ZERO, &mut || drop(child.try_wait()))?;
                let _ = self.record.remove();
                Err(e)
            }
        }
    }

    /// Readable once the command's first process has ended.
    #[must_use]
    pub fn watch_fd(&self) -> Option<BorrowedFd<'_>> {
        self.running.as_ref().map(|r| r.ended.as_fd())
    }
    /// How the first process ended, if it has.
    pub fn poll_exit(&mut self) -> Option<String> {
        let status = self.running.as_mut()?.child.try_wait().ok()??;
        Some(describe(status))
    }
    /// True from a start until a stop has confirmed that nothing is left.
    #[must_use]
    pub const fn runs(&self) -> bool {
        self.running.is_some()
    }

    /// Ends all processes of the command and confirms it. Takes up to `stop_timeout` and then some.
    pub fn stop(&mut self) -> Result<(), CommandError> {
        let Some(running) = &mut self.running else { return Ok(()) };
        let child = &mut running.child;
        running.scope.end(self.spec.stop_timeout, &mut || drop(child.try_wait()))?;
        self.running = None;
        self.record.remove()
    }

    /// Where the record is kept.
    #[must_use]
    pub fn record(&self) -> PathBuf {
        PathBuf::from(self.record.mark())
    }
}

/// Runs in the child before the program: a session of its own, no real-time policy, no blocked
/// signals, and it goes when the daemon's thread goes (its own children are found by session and
/// mark).
fn become_ordinary(daemon: i32) -> io::Result<()> {
    let check = |result: i32| if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) };
    // SAFETY: plain system calls; the structures they read live on this stack for the whole call.
    unsafe {
        check(libc::setsid())?;
        check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
        if libc::getppid() != daemon {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        let ordinary = libc::sched_param { sched_priority: 0 };
        check(libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const ordinary))?;
        let mut none: libc::sigset_t = std::mem::zeroed();
        check(libc::sigemptyset(&raw mut none))?;
        check(libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()))
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("the command ended with status {code}"),
        (None, Some(signal)) => format!("the command was killed by signal {signal}"),
        (None, None) => "the command ended".into(),
    }
}
