//! What can go wrong in a takeover by hand.

use std::io;
use thiserror::Error;

/// Why a step failed.
#[derive(Debug, Error)]
pub enum TakeoverError {
    /// The system refused something.
    #[error("{doing}: {source}")]
    Io {
        /// What was tried.
        doing: String,
        /// The system's word.
        source: io::Error,
    },
    /// DRBD refused.
    #[error(transparent)]
    Drbd(#[from] drbd_glue::DrbdError),
    /// The address could not be added.
    #[error(transparent)]
    Address(#[from] driver_address::AddressError),
    /// What was asked for makes no sense.
    #[error("{0}")]
    Asked(String),
}

impl TakeoverError {
    /// The system's last error, with what was being done.
    #[must_use]
    pub fn last(doing: &str) -> Self {
        Self::Io { doing: doing.into(), source: io::Error::last_os_error() }
    }
    /// For `map_err`.
    pub fn io(doing: &str) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.to_owned();
        move |source| Self::Io { doing, source }
    }
}
