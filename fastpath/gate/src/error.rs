//! What can go wrong with the gate, each with what the operator may do about it.

use std::io;
use std::net::IpAddr;

/// Why the gate could not be loaded, attached or read.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// Not allowed to use eBPF or to change filters.
    #[error(
        "not allowed to {doing}: the gate needs root in the first user namespace (CAP_BPF, \
         CAP_NET_ADMIN)"
    )]
    Privilege {
        /// What was tried.
        doing: &'static str,
    },
    /// The kernel was built without what the gate needs, or its module is not loaded.
    #[error("this kernel cannot {doing}: load the modules sch_ingress and cls_bpf")]
    Missing {
        /// What was tried.
        doing: &'static str,
    },
    /// The kernel's verifier refused the program.
    #[error("the kernel refuses the gate's program ({source}): {log}")]
    Refused {
        /// The kernel's reason.
        source: io::Error,
        /// The end of the verifier's log.
        log: String,
    },
    /// The program itself is built wrongly.
    #[error("the gate's program cannot be assembled: {0}")]
    Assembly(#[from] crate::assembler::AssemblyError),
    /// More addresses than the map has slots.
    #[error("no room for {address}: the gate has {} slots", crate::map::SLOTS)]
    Full {
        /// The address that found no slot.
        address: IpAddr,
    },
    /// Another tool's filter stands where the gate's must be.
    #[error(
        "another filter of {interface} has the first preference: remove it (`tc filter show dev \
         {interface} ingress`, `… egress`), or give it a later one"
    )]
    Taken {
        /// The interface.
        interface: String,
    },
    /// The kernel did not answer in time.
    #[error("the kernel did not answer while trying to {doing}; the next try starts afresh")]
    Timeout {
        /// What was tried.
        doing: &'static str,
    },
    /// The kernel's answer was not understood.
    #[error("the kernel's answer was not understood while trying to {doing}: report this")]
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

impl GateError {
    /// Sorts an I/O error by what the operator can do.
    pub(crate) fn from_io(doing: &'static str, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::Privilege { doing },
            Some(libc::ENOSYS | libc::ENOENT | libc::EOPNOTSUPP) => Self::Missing { doing },
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
