//! What can go wrong with a test bed, said so that a person can act on it.

use std::io;
use std::process::Command;
use std::time::Duration;

/// An error of the bed itself, never a verdict about the product.
#[derive(Debug, thiserror::Error)]
pub enum BedError {
    /// A command that sets the bed up failed.
    #[error("`{line}` failed: {output}")]
    Command {
        /// The command line.
        line: String,
        /// What it said.
        output: String,
    },
    /// A system call failed.
    #[error("{what}: {cause}")]
    System {
        /// What was tried.
        what: String,
        /// What the kernel said.
        cause: io::Error,
    },
    /// Something did not happen in the time it was given.
    #[error("waited {:.1} s for {what}; last seen: {seen}", limit.as_secs_f64())]
    Limit {
        /// What was waited for.
        what: String,
        /// For how long.
        limit: Duration,
        /// The last state seen.
        seen: String,
    },
    /// Not allowed to make namespaces.
    #[error("network namespaces cannot be made here: {reason}. Run this as root.")]
    Privilege {
        /// What was refused.
        reason: String,
    },
    /// A program of the product is not where it should be.
    #[error("`{name}` is not in {dir}: build it, or name its folder with --bin-dir")]
    MissingProgram {
        /// The program.
        name: String,
        /// Where it was sought.
        dir: String,
    },
    /// A daemon ended although nobody told it to.
    #[error("{what} ended with {status}; its last words: {said}")]
    Ended {
        /// Which.
        what: String,
        /// How.
        status: String,
        /// The end of its log.
        said: String,
    },
    /// A run that somebody still works with.
    #[error("run {id} belongs to a process that lives: stop that, and the run goes with it")]
    Busy {
        /// The run.
        id: String,
    },
    /// Ctrl-C or SIGTERM.
    #[error("interrupted")]
    Interrupted,
    /// The local socket of a daemon gave no answer, or a wrong one.
    #[error("{node}: {reason}")]
    Socket {
        /// Which node.
        node: String,
        /// Why.
        reason: String,
    },
}

/// A result of the bed.
pub type Result<T> = std::result::Result<T, BedError>;

/// Gives an I/O error the sentence that a person needs.
pub trait Context<T> {
    /// Names what was tried.
    fn context(self, what: impl Into<String>) -> Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, what: impl Into<String>) -> Result<T> {
        self.map_err(|cause| BedError::System { what: what.into(), cause })
    }
}

/// Runs a set-up command to its end.
///
/// # Errors
/// With the command line and what it said, if it cannot be started or fails.
pub fn run(command: &mut Command) -> Result<String> {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let line = words.join(" ");
    let output = command.output().context(format!("`{line}` could not be started"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(BedError::Command { line, output: format!("{} ({said})", output.status) })
}
