//! What went wrong, for people, for programs and for the shell.

use serde::Serialize;
use std::process::ExitCode;

/// The exit codes of `ng --help`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    Fine = 0,
    Refused = 1,
    Usage = 2,
    Unreachable = 3,
    Permission = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command was not done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Failure {
    #[serde(skip)]
    pub(crate) exit: Exit,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) remedy: String,
}

impl Failure {
    pub(crate) fn new(
        exit: Exit,
        code: &str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { exit, code: code.into(), message: message.into(), remedy: remedy.into() }
    }
}

impl From<netguard::Error> for Failure {
    fn from(error: netguard::Error) -> Self {
        use netguard::Error;
        let exit = match &error {
            Error::Permission { .. } => Exit::Permission,
            Error::Refused(refusal) if refusal.code == api::ErrorCode::Permission => {
                Exit::Permission
            }
            Error::Refused(_) => Exit::Refused,
            Error::NotRunning { .. }
            | Error::Socket { .. }
            | Error::Closed
            | Error::Timeout { .. }
            | Error::Malformed { .. }
            | Error::Version { .. } => Exit::Unreachable,
        };
        Self::new(exit, &error.code(), error.to_string(), error.remedy())
    }
}

impl From<shm::MapError> for Failure {
    fn from(error: shm::MapError) -> Self {
        let (exit, code) = match &error {
            shm::MapError::Denied { .. } => (Exit::Permission, "permission"),
            shm::MapError::Missing { .. } => (Exit::Unreachable, "not-running"),
            _ => (Exit::Unreachable, "map"),
        };
        // The map's messages end with the remedy after a semicolon.
        let whole = error.to_string();
        let (message, remedy) = whole.split_once("; ").unwrap_or((&whole, "see its log"));
        Self::new(exit, code, message, remedy)
    }
}
