//! Between a guest's kernel and the vhost-user library: one message of User Mode Linux (seen in 6.1) is
//! longer than it says, and the library is strict. SET_MEM_TABLE comes with room for two regions of
//! memory when it names one; what is not named is cut off here. Everything else passes as it is.
//!
//! Only the set-up of a device passes here; its requests and answers are in shared memory.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use vmm_sys_util::sock_ctrl_msg::ScmSocket;

/// Bytes of a message's header: request, flags, size.
const HEADER: usize = 12;
/// The longest message that is taken.
const PAYLOAD_MAX: usize = 4096;
/// Descriptors that may come with a message.
const DESCRIPTORS_MAX: usize = 8;
/// The request that is mended.
const SET_MEM_TABLE: u32 = 5;
/// Bytes of the number of regions with its padding, and of one region.
const TABLE_HEAD: usize = 8;
const REGION: usize = 32;

/// Carries messages until one side goes; then the other one's connection ends too.
pub(crate) fn run(guest: UnixStream, library: UnixStream) {
    let (Ok(mut answers), Ok(mut back)) = (library.try_clone(), guest.try_clone()) else { return };
    let answering = std::thread::spawn(move || {
        // An end or an error on either side is the end of the relay, told by the shutdowns.
        let _ = io::copy(&mut answers, &mut back);
        let _ = back.shutdown(Shutdown::Both);
    });
    let forward = || -> io::Result<()> {
        while carry(&guest, &library)? {}
        Ok(())
    };
    let _ = forward();
    let _ = library.shutdown(Shutdown::Both);
    let _ = answering.join();
}

/// Carries one message; false at the end.
fn carry(mut guest: &UnixStream, library: &UnixStream) -> io::Result<bool> {
    let mut header = [0_u8; HEADER];
    let mut numbers = [-1; DESCRIPTORS_MAX];
    let (length, count) = receive(guest, &mut header, &mut numbers)?;
    // SAFETY: the kernel just made these descriptors for us, and nobody else has them.
    let descriptors: Vec<OwnedFd> =
        numbers.iter().take(count).map(|it| unsafe { OwnedFd::from_raw_fd(*it) }).collect();
    if length == 0 {
        return Ok(false);
    }
    guest.read_exact(header.get_mut(length..).unwrap_or_default())?;
    let [r0, r1, r2, r3, _, _, _, _, s0, s1, s2, s3] = header;
    let size = u32::from_le_bytes([s0, s1, s2, s3]) as usize;
    if size > PAYLOAD_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut payload = vec![0; size];
    guest.read_exact(&mut payload)?;
    if u32::from_le_bytes([r0, r1, r2, r3]) == SET_MEM_TABLE {
        mend(&mut payload);
    }
    let mut message = header[..8].to_vec();
    message.extend((payload.len() as u32).to_le_bytes());
    message.extend(payload);
    let raw: Vec<_> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let sent = library.send_with_fds(&[message.as_slice()], &raw).map_err(io::Error::from)?;
    let mut rest: &UnixStream = library;
    rest.write_all(message.get(sent..).unwrap_or_default())?;
    Ok(true)
}

/// Keeps as many regions as are named.
fn mend(payload: &mut Vec<u8>) {
    if let Some(count) = payload.first_chunk().map(|it| u32::from_le_bytes(*it) as usize) {
        payload.truncate(TABLE_HEAD.saturating_add(count.saturating_mul(REGION)));
    }
}

fn receive(from: &UnixStream, bytes: &mut [u8], numbers: &mut [i32]) -> io::Result<(usize, usize)> {
    let mut pieces = [libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() }];
    // SAFETY: the one piece is `bytes`, which lives through the call.
    unsafe { from.recv_with_fds(&mut pieces, numbers) }.map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::{carry, mend};
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    #[test]
    fn regions_that_are_not_named_are_cut_off() {
        let mut table = vec![0; 8 + 2 * 32];
        table[0] = 1;
        mend(&mut table);
        assert_eq!(table.len(), 40);
        let mut lies = vec![255; 8];
        mend(&mut lies);
        assert_eq!(lies.len(), 8, "more named than there are: the library refuses that");
        mend(&mut vec![]);
    }

    #[test]
    fn other_messages_pass_and_an_end_is_an_end() {
        let (mut guest, relay) = UnixStream::pair().unwrap();
        let (library, mut end) = UnixStream::pair().unwrap();
        let message = [1_u8, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 7, 8];
        guest.write_all(&message).unwrap();
        assert!(carry(&relay, &library).unwrap());
        let mut got = [0; 14];
        end.read_exact(&mut got).unwrap();
        assert_eq!(got, message);
        drop(guest);
        assert!(!carry(&relay, &library).unwrap());
    }
}
