//! What can go wrong with the map and the set-up; each message ends with the remedy.

use std::io;
use std::path::PathBuf;

/// Why a map cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// The run directory or a file in it cannot be used.
    #[error("cannot {doing} {}: {source}; the run directory must exist and be writable \
             for the user that starts netguard-fast", path.display())]
    Unusable {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// Another daemon of this node lives.
    #[error("run directory {} is held by a live NetGuard daemon (pid {pid}); \
             stop that one first, or give this node a run directory of its own", dir.display())]
    Held {
        /// The run directory.
        dir: PathBuf,
        /// Who made the map that is there; 0 = not known.
        pid: u32,
    },
    /// No map there.
    #[error("{} does not exist: netguard-fast has not run with this run directory; \
             start it, or give the right --run-dir", path.display())]
    Missing {
        /// Where a map was looked for.
        path: PathBuf,
    },
    /// May not be read by this user.
    #[error("{} may not be read: permission denied; run as root or as a member of the group \
             that owns the run directory", path.display())]
    Denied {
        /// The map.
        path: PathBuf,
    },
    /// Too short.
    #[error("{} is truncated: {have} bytes instead of {want}; \
             restart netguard-fast, which makes it anew", path.display())]
    Truncated {
        /// The map.
        path: PathBuf,
        /// Its size.
        have: u64,
        /// The size of this layout.
        want: u64,
    },
    /// Not a map.
    #[error("{} is not a NetGuard map (its magic number is wrong); \
             give the right --run-dir, or restart netguard-fast, which makes it anew",
             path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Another layout.
    #[error("{} has layout {found}, this program reads layout {want}; \
             use the programs of one release together", path.display())]
    Version {
        /// The map.
        path: PathBuf,
        /// Its layout.
        found: u32,
        /// The layout of this program.
        want: u32,
    },
    /// The system refused the mapping itself.
    #[error("cannot map {}: {source}; check the memory limits of the daemon", path.display())]
    Mapping {
        /// The map.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// Why a set-up record cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The other end closed before the record was whole.
    #[error(
        "netguard-control closed the set-up socket before it had sent the set-up; \
             its own message above says why"
    )]
    Closed,
    /// Nothing came in time.
    #[error("netguard-control sent no set-up within {seconds} s; see its messages above")]
    Late {
        /// The limit.
        seconds: u64,
    },
    /// The socket failed.
    #[error("the set-up socket failed: {0}")]
    Socket(#[from] io::Error),
    /// The record is of another release.
    #[error(
        "the set-up has version {found}, this program reads version {want}; \
             use the programs of one release together"
    )]
    Version {
        /// Its version.
        found: u32,
        /// The version of this program.
        want: u32,
    },
    /// A field has a value that cannot be.
    #[error(
        "set-up field {field} is out of range; this is a fault of netguard-control, \
         please report it"
    )]
    OutOfRange {
        /// The field.
        field: &'static str,
    },
}
