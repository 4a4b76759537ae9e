//! How each daemon learns of the other's death before the kernel has finished it.
//!
//! A process counts as ended (its pidfd is readable) only when all that it had open is released, and
//! releasing a packet socket waits for every processor, 10 to 20 ms. The kernel releases what a dead
//! process had open in the order of a stack: it closes from the lowest number up and lets go of the
//! last one closed first. So both ends of the set-up socket stay open for life under a high number:
//! its hang-up comes before all the rest.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Above all other descriptors of a daemon, below the usual limit of 1024.
const LOWEST: libc::c_int = 960;

/// Moves a descriptor up, so that it is let go of first. Where the limit is lower it stays where it is:
/// then a death is only seen later.
#[must_use]
pub fn raise(fd: OwnedFd) -> OwnedFd {
    // SAFETY: takes a descriptor that we own and a number; no pointers.
    let raised = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, LOWEST) };
    if raised < 0 {
        return fd;
    }
    // SAFETY: the kernel has just made this descriptor; nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(raised) }
}

#[cfg(test)]
mod tests {
    use super::{LOWEST, raise};
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_raised_end_is_the_same_socket_and_its_hang_up_is_heard() {
        let (mut own, other) = UnixStream::pair().unwrap();
        let mut other = UnixStream::from(raise(other.into()));
        assert!(other.as_raw_fd() >= LOWEST);
        other.write_all(b"x").unwrap();
        drop(other);
        let mut all = Vec::new();
        own.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"x");
    }
}
