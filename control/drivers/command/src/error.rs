//! What can go wrong with a command, each with what the operator may do about it.

use std::io;
use std::path::PathBuf;

/// Why a command could not be started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// No program is configured.
    #[error("`run` is empty: name a program")]
    Empty,
    /// The program cannot be run.
    #[error("cannot run {program}: {source}; check that the file exists and may be executed")]
    Program {
        /// The configured program.
        program: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// It still runs: a second copy must not be started.
    #[error("the command still runs; it has to stop first")]
    Running,
    /// The record for a later life of the daemon cannot be written or read.
    #[error("cannot use {}: {source}; check the run directory", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// Processes that even SIGKILL does not end, in disk wait for instance.
    #[error("processes {pids:?} do not end on SIGKILL: this node has to be powered off")]
    Stuck {
        /// Which.
        pids: Vec<i32>,
    },
}
