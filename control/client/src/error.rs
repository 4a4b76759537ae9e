//! What can go wrong on the way to an answer, and what to do about it.

use api::Refusal;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens on the socket.
    #[error("the daemon is not running: nobody answers at {}", path.display())]
    NotRunning {
        /// The path that was tried.
        path: PathBuf,
    },
    /// This user may not connect.
    #[error("no permission to use the socket {}", path.display())]
    Permission {
        /// The path that was tried.
        path: PathBuf,
    },
    /// Another failure of the connection.
    #[error("the socket {} cannot be used: {cause}", path.display())]
    Socket {
        /// The path that was tried.
        path: PathBuf,
        /// The system's words.
        cause: io::Error,
    },
    /// The daemon hung up.
    #[error("the daemon closed the connection before it answered")]
    Closed,
    /// No answer in time. An order may still be carried out.
    #[error("the daemon did not answer within {} ms", limit.as_millis())]
    Timeout {
        /// The limit.
        limit: Duration,
    },
    /// What came is not what was asked for, or no message at all.
    #[error("the daemon's answer cannot be understood: {reason}")]
    Malformed {
        /// Why.
        reason: String,
    },
    /// Another version of the messages.
    #[error(
        "the daemon speaks version {theirs} of the local messages, this program {}",
        api::VERSION
    )]
    Version {
        /// The daemon's.
        theirs: u32,
    },
    /// The daemon answered that it will not.
    #[error("{0}")]
    Refused(Refusal),
}

impl Error {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::NotRunning { path } => match path.parent() {
                Some(folder) if !folder.is_dir() => format!(
                    "{} does not exist: start netguard-fast, or give its folder with --run-dir",
                    folder.display()
                ),
                _ => "start netguard-fast on this machine; its log says why it ended".into(),
            },
            Self::Permission { .. } => "run as root, or as a member of the socket's group".into(),
            Self::Socket { .. } => "give the path of the daemon's control.sock".into(),
            Self::Closed => "ask again; if the daemon ended, its log says why".into(),
            Self::Timeout { .. } => {
                "ask for the status before you repeat an order: it may have been carried out".into()
            }
            Self::Malformed { .. } | Self::Version { .. } => {
                "use the program and the daemon of one release".into()
            }
            Self::Refused(refusal) => refusal.remedy.clone(),
        }
    }

    /// A short word for programs; for a refusal the daemon's own code.
    #[must_use]
    pub fn code(&self) -> String {
        let code = match self {
            Self::NotRunning { .. } => "not-running",
            Self::Permission { .. } => "permission",
            Self::Socket { .. } => "socket",
            Self::Closed => "closed",
            Self::Timeout { .. } => "timeout",
            Self::Malformed { .. } => "malformed",
            Self::Version { .. } => "version",
            Self::Refused(refusal) => return refusal.code.as_str().into(),
        };
        code.into()
    }
}
