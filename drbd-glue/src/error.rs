//! What can go wrong, and what the operator can do about it.

use crate::reply::words;
use std::io;
use thiserror::Error;

/// Why a call to DRBD failed.
#[derive(Debug, Error)]
pub enum DrbdError {
    /// The kernel has no DRBD.
    #[error("{doing}: the kernel knows no DRBD; load the module: modprobe drbd")]
    NoModule {
        /// What was tried.
        doing: &'static str,
    },
    /// Another DRBD than the one this crate speaks to.
    #[error(
        "DRBD's interface has version {found}, this program speaks version {spoken} (DRBD 8.4)"
    )]
    Version {
        /// What the kernel offers.
        found: u32,
        /// What this crate speaks.
        spoken: u32,
    },
    /// DRBD refused.
    #[error("{doing}: {} (code {code}){}", words(*code), detail(.text))]
    Refused {
        /// What was tried.
        doing: &'static str,
        /// DRBD's code: 100 and more a configuration error, below 1 a refused change of state.
        code: i32,
        /// What DRBD said in its own words; may be empty.
        text: String,
    },
    /// The process may not.
    #[error("{doing}: not permitted; CAP_NET_ADMIN is needed")]
    Privilege {
        /// What was tried.
        doing: &'static str,
    },
    /// No answer in time; DRBD may still do it.
    #[error("{doing}: no answer from the kernel within {limit_ms} ms; it may still happen")]
    Timeout {
        /// What was tried.
        doing: &'static str,
        /// How long it was waited for.
        limit_ms: u128,
    },
    /// An answer that this crate does not understand.
    #[error("{doing}: the kernel's answer was not understood")]
    Answer {
        /// What was tried.
        doing: &'static str,
    },
    /// The socket failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The system's word.
        source: io::Error,
    },
}

impl DrbdError {
    /// Sorts a system error by what can be done about it.
    #[must_use]
    pub fn from_io(doing: &'static str, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::Privilege { doing },
            Some(libc::ENOENT) => Self::NoModule { doing },
            _ => Self::Io { doing, source },
        }
    }
}

fn detail(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}
