//! How the daemon ends: one documented code for each kind of end.

/// The exit codes; both daemons use the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Exit {
    /// Asked to stop, and stopped in good order.
    Orderly = 0,
    /// A fault of the program, or control died or stalled.
    Internal = 1,
    /// Bad configuration or usage.
    Configuration = 2,
    /// A socket or an address is taken.
    Taken = 3,
    /// A privilege is missing.
    Privilege = 4,
    /// The run directory, the state directory or the map cannot be used.
    Unusable = 5,
    /// A newer life of this node runs elsewhere.
    Superseded = 6,
}

/// The table for `--help`.
pub const TABLE: &str = "\
Exit codes:
  0  asked to stop, and stopped in good order
  1  internal fault, or netguard-control died or made no progress
  2  bad configuration or usage
  3  a socket or an address is taken
  4  a privilege is missing
  5  run directory, state directory or map cannot be used
  6  superseded: a newer life of this node runs";

impl Exit {
    /// The end that netguard-control's exit code stands for; a code of its own making counts as a
    /// fault.
    #[must_use]
    pub const fn of_control(code: Option<i32>) -> Self {
        match code {
            Some(0) => Self::Orderly,
            Some(2) => Self::Configuration,
            Some(3) => Self::Taken,
            Some(4) => Self::Privilege,
            Some(5) => Self::Unusable,
            Some(6) => Self::Superseded,
            _ => Self::Internal,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
