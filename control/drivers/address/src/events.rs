//! Tells that an interface came, changed or went, or that an address was taken away.
//!
//! It only says that it is worth looking: whether the address is still there is what the kernel answers when it is added.

use crate::error::AddressError;
use crate::netlink::kinds;
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};

/// Multicast groups of rtnetlink: links, addresses of IPv4 and IPv6.
const GROUPS: u32 = 1 | 1 << 4 | 1 << 8;
const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const DELETE_ADDRESS: u16 = 21;
const BUFFER_LEN: usize = 32 * 1024;
/// Messages taken in one call; what is left makes the descriptor readable again.
const BATCH_MAX: usize = 64;

/// Listens in the namespace in which it was opened.
#[derive(Debug)]
pub struct Events {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Events {
    /// Opens it in the namespace of the calling thread.
    pub fn open() -> Result<Self, AddressError> {
        let fail = |source| AddressError::from_io("listen to changes of interfaces", source);
        let protocol = Some(Protocol::from(libc::NETLINK_ROUTE));
        let socket =
            Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, protocol).map_err(fail)?;
        socket.bind(&groups()).map_err(fail)?;
        socket.set_nonblocking(true).map_err(fail)?;
        Ok(Self { socket, buffer: vec![0; BUFFER_LEN] })
    }

    /// True if the address may be missing since the last call; does not wait. Lost messages may have said so.
    pub fn changed(&mut self) -> bool {
        let mut changed = false;
        for _ in 0..BATCH_MAX {
            match (&self.socket).read(&mut self.buffer) {
                Ok(n) => {
                    let mut kinds = kinds(self.buffer.get(..n).unwrap_or_default());
                    changed |=
                        kinds.any(|it| matches!(it, NEW_LINK | DELETE_LINK | DELETE_ADDRESS));
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => changed = true,
                Err(_) => break,
            }
        }
        changed
    }
}

impl AsFd for Events {
    /// Readable when something has changed.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn groups() -> SockAddr {
    // SAFETY: all zeros is a valid sockaddr_nl.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as u16;
    address.nl_groups = GROUPS;
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: sockaddr_nl is what AF_NETLINK has in its storage, and is no larger.
    unsafe { *storage.view_as::<libc::sockaddr_nl>() = address };
    // SAFETY: the storage holds a sockaddr_nl of exactly this length.
    unsafe { SockAddr::new(storage, size_of::<libc::sockaddr_nl>() as u32) }
}
