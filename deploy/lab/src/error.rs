//! What can go wrong with a lab, said so that a person can act on it.

use std::io;

/// An error of the lab itself, never a verdict about the product.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A system call failed.
    #[error("{what}: {cause}")]
    System {
        /// What was tried.
        what: String,
        /// What the kernel said.
        cause: io::Error,
    },
    /// A program that sets the lab up failed.
    #[error(transparent)]
    Bed(#[from] testbed::error::BedError),
    /// The block server refused.
    #[error("disk: {0}")]
    Disk(String),
    /// Something did not happen in the time it was given.
    #[error("{node}: waited {seconds} s for {what}; {hint}")]
    Limit {
        /// Which node.
        node: String,
        /// What was waited for.
        what: String,
        /// For how long.
        seconds: u64,
        /// Where to look.
        hint: String,
    },
    /// A command in a guest failed.
    #[error("{node}: `{line}` ended with {status}: {said}")]
    Command {
        /// Which node.
        node: String,
        /// The command line.
        line: String,
        /// Its exit code, or the signal.
        status: String,
        /// What it said.
        said: String,
    },
    /// A wrong request, or one that the lab cannot serve now.
    #[error("{0}")]
    Refused(String),
    /// The other end went away or spoke nonsense.
    #[error("{0}")]
    Channel(String),
    /// What the lab needs is not on this machine.
    #[error("{0}")]
    Missing(String),
    /// Ctrl-C or SIGTERM.
    #[error("interrupted")]
    Interrupted,
}

/// A result of the lab.
pub type Result<T> = std::result::Result<T, LabError>;

/// Gives an I/O error the sentence that a person needs.
pub trait Context<T> {
    /// Names what was tried.
    ///
    /// # Errors
    /// The same error, with the sentence.
    fn context(self, what: impl Into<String>) -> Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, what: impl Into<String>) -> Result<T> {
        self.map_err(|cause| LabError::System { what: what.into(), cause })
    }
}
