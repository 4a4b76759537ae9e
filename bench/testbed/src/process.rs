//! A process in a node's namespace, in a process group of its own, with its output in a file.

use crate::error::{Context, Result};
use crate::namespace::Namespace;
use crate::os;
use base::Duration;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// A running process. Dropping it only reaps it if it has ended; the namespace kills what is left.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` inside `namespace`; both outputs are appended to `log`.
    ///
    /// # Errors
    /// When the log or the program cannot be opened.
    pub fn start(namespace: &Namespace, command: Command, log: &Path) -> Result<Self> {
        Self::start_as(None, namespace, command, log)
    }

    /// The same, as another user (who may then not do what root may).
    ///
    /// # Errors
    /// As above.
    pub fn start_as(
        user: Option<u32>,
        namespace: &Namespace,
        mut command: Command,
        log: &Path,
    ) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let output = File::options().create(true).append(true).open(log);
        let output = output.context(log.display().to_string())?;
        let errors = output.try_clone().context(log.display().to_string())?;
        let inside = namespace.file().try_clone().context(namespace.name())?;
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        command.process_group(0); // Ctrl-C is for us: we take the bed down in order
        let enter = move || {
            os::enter(&inside)?;
            user.map_or(Ok(()), os::become_user)
        };
        // SAFETY: between fork and exec only system calls are made, which allocate nothing and take
        // no lock.
        unsafe { command.pre_exec(enter) };
        let child = command.spawn().context(format!("`{name}` could not be started"))?;
        Ok(Self { name, child, log: log.to_owned() })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Its program.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends it a signal.
    pub fn signal(&mut self, signal: i32) {
        if self.ended().is_none() {
            os::signal(self.pid(), signal);
        }
    }

    /// Waits for its end; `None` if it goes on.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let end = os::now() + limit;
        loop {
            let ended = self.ended();
            if ended.is_some() || os::now() > end {
                return ended;
            }
            os::sleep(Duration::from_millis(2));
        }
    }

    /// The last lines that it wrote.
    #[must_use]
    pub fn last_words(&self, lines: usize) -> String {
        last_lines(&self.log, lines)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.try_wait();
    }
}

/// The last lines of a file, or nothing.
#[must_use]
pub fn last_lines(path: &Path, lines: usize) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
