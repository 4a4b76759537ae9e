//! Tells which interfaces may have lost the gate: they came, or somebody changed their filters.
//!
//! It only says where to look: [`crate::Tc::lacks`] sees what is, however many messages were lost.

use crate::error::GateError;
use crate::netlink::{number, parts};
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};
use std::collections::BTreeSet;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};

const GROUP_LINK: u32 = 1;
const GROUP_TC: u32 = 1 << 3;
const RTM_NEWLINK: u16 = 16;
const RTM_NEWQDISC: u16 = 36;
const RTM_DELQDISC: u16 = 37;
const RTM_NEWTFILTER: u16 = 44;
const RTM_DELTFILTER: u16 = 45;
/// In `ifinfomsg` as in `tcmsg`.
const INDEX_AT: usize = 4;
const BUFFER_LEN: usize = 32 * 1024;
/// Room in the kernel for the messages of an operator's whole network restart.
const QUEUE_LEN: usize = 1 << 20;
/// Messages taken in one call; what is left makes the descriptor readable again.
const BATCH_MAX: usize = 256;

/// Where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// At these interfaces, by number; often at none.
    Interfaces(BTreeSet<u32>),
    /// Everywhere: messages were lost.
    Everything,
}

/// Listens in the namespace in which it was opened.
#[derive(Debug)]
pub struct Watch {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Watch {
    /// Opens it in the namespace of the calling thread. What changed before is not told: look
    /// everywhere once after this.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open() -> Result<Self, GateError> {
        let fail = |source| GateError::from_io("listen to changes of interfaces", source);
        let protocol = Some(Protocol::from(libc::NETLINK_ROUTE));
        let socket =
            Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, protocol).map_err(fail)?;
        socket.set_recv_buffer_size(QUEUE_LEN).map_err(fail)?;
        socket.bind(&groups()).map_err(fail)?;
        socket.set_nonblocking(true).map_err(fail)?;
        Ok(Self { socket, buffer: vec![0; BUFFER_LEN] })
    }

    /// What has changed since the last call; does not wait.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn changed(&mut self) -> Result<Changed, GateError> {
        let mut interfaces = BTreeSet::new();
        for _ in 0..BATCH_MAX {
            match (&self.socket).read(&mut self.buffer) {
                Ok(n) => {
                    interfaces.extend(concerned(self.buffer.get(..n).unwrap_or_default()));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => {
                    return Ok(Changed::Everything);
                }
                Err(e) => return Err(GateError::from_io("hear of changes of interfaces", e)),
            }
        }
        Ok(Changed::Interfaces(interfaces))
    }
}

impl AsFd for Watch {
    /// Readable when something has changed.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The interfaces that a buffer of messages is about.
fn concerned(bytes: &[u8]) -> impl Iterator<Item = u32> {
    parts(bytes).filter_map(|part| match part.kind {
        RTM_NEWLINK | RTM_NEWQDISC | RTM_DELQDISC | RTM_NEWTFILTER | RTM_DELTFILTER => {
            number(part.payload, INDEX_AT)
        }
        _ => None,
    })
}

fn groups() -> SockAddr {
    // SAFETY: all zeros is a valid sockaddr_nl.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as u16;
    address.nl_groups = GROUP_LINK | GROUP_TC;
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: sockaddr_nl is what AF_NETLINK has in its storage, and is no larger.
    unsafe { *storage.view_as::<libc::sockaddr_nl>() = address };
    // SAFETY: the storage holds a sockaddr_nl of exactly this length.
    unsafe { SockAddr::new(storage, size_of::<libc::sockaddr_nl>() as u32) }
}

#[cfg(test)]
mod tests {
    use super::{RTM_DELQDISC, concerned};

    fn message(kind: u16, index: u32) -> Vec<u8> {
        let mut bytes = 36_u32.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 14]);
        bytes.extend(index.to_ne_bytes());
        bytes.resize(36, 0);
        bytes
    }

    #[test]
    fn names_the_interfaces_whose_filters_may_have_changed() {
        let address_added = 20;
        let bytes = [message(RTM_DELQDISC, 4), message(address_added, 5), message(16, 6)].concat();
        assert_eq!(concerned(&bytes).collect::<Vec<_>>(), [4, 6]);
        assert_eq!(concerned(&bytes[..20]).count(), 0);
    }
}
