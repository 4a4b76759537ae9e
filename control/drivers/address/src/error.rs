//! What can go wrong with an address, each with what the operator may do about it.

use std::io;
use std::net::IpAddr;

/// Why an address could not be added, removed or announced.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// The configured interface is not there.
    #[error(
        "interface {name} does not exist on this node: create it, or correct `interface` of \
         {address}"
    )]
    NoInterface {
        /// The configured name.
        name: String,
        /// The address that was to go there.
        address: IpAddr,
    },
    /// The interface is administratively down, so that nobody could reach the address.
    #[error("interface {name} is down, {address} would not be reachable: `ip link set {name} up`")]
    InterfaceDown {
        /// The interface.
        name: String,
        /// The address that was to go there.
        address: IpAddr,
    },
    /// The prefix length does not fit the address family.
    #[error("{address} cannot have a prefix of {prefix} bits: correct `address`")]
    Prefix {
        /// The address.
        address: IpAddr,
        /// The configured length.
        prefix: u8,
    },
    /// Not allowed to change addresses.
    #[error("not allowed to {doing}: NetGuard needs CAP_NET_ADMIN and CAP_NET_RAW")]
    Privilege {
        /// What was tried.
        doing: &'static str,
    },
    /// The kernel did not answer in time.
    #[error("the kernel did not answer while trying to {doing}; the next try starts afresh")]
    Timeout {
        /// What was tried.
        doing: &'static str,
    },
    /// The kernel's answer was not understood.
    #[error(
        "the kernel's answer was not understood while trying to {doing}: report this with the \
         kernel version"
    )]
    Answer {
        /// What was tried.
        doing: &'static str,
    },
    /// Any other refusal.
    #[error("could not {doing}: {source}")]
    Kernel {
        /// What was tried.
        doing: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
}

impl AddressError {
    /// Sorts an I/O error by what the operator can do.
    pub(crate) fn from_io(doing: &'static str, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::Privilege { doing },
            Some(libc::EAGAIN) => Self::Timeout { doing },
            _ => Self::Kernel { doing, source },
        }
    }
    /// The error number of the kernel's refusal, if it was one.
    pub(crate) fn errno(&self) -> Option<i32> {
        match self {
            Self::Kernel { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}
