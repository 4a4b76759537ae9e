//! What keeps the proof itself from running; never a verdict about the gate.

use gate::GateError;
use std::io;
use std::path::PathBuf;
use testbed::error::BedError;

/// Why there is no table.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// Namespaces or commands that set a case up failed.
    #[error(transparent)]
    Bed(#[from] BedError),
    /// The gate could not be loaded or attached.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// The address did not answer although its gate was open: the case shows nothing.
    #[error("{case}, asked by {how}: no answer although the gate is open")]
    Deaf {
        /// The case.
        case: String,
        /// How it was asked.
        how: String,
    },
    /// Nothing answered, but the gate stopped nothing either: the case shows nothing.
    #[error("{case}: silence, but not by the gate")]
    Unasked {
        /// The case.
        case: String,
    },
    /// The table could not be written.
    #[error("{path}: {cause}", path = path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// What a run wrote could not be read.
    #[error("{path}: {cause}", path = path.display())]
    Read {
        /// Where.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The table differs from what NetGuard relies on.
    #[error("{0} of the rows are not as NetGuard needs them: marked ! in the table")]
    Unexpected(usize),
    /// No root.
    #[error("the proof of the gate loads eBPF and makes namespaces: run it as root")]
    Privilege,
}

/// A result of the proof.
pub type Result<T> = std::result::Result<T, ProofError>;
