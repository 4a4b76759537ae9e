//! Many datagrams with one system call: recvmmsg and sendmmsg over arrays on the stack.

use crate::stamp;
use crate::udp::BATCH;
use socket2::{SockAddr, Socket};
use std::io;
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;

/// What one receive call says about one datagram.
pub(crate) struct Arrived {
    /// Who sent it; none if the kernel did not say.
    pub(crate) source: Option<SocketAddr>,
    /// It was longer than the buffer.
    pub(crate) truncated: bool,
    /// When it came, by the wall clock, if the socket is asked for that.
    pub(crate) stamp: Option<libc::timespec>,
}

/// Datagrams of the first call: mostly one or two wait, and to prepare places for a whole batch costs more than to take
/// one.
const FEW: usize = 4;

/// Takes at most one batch into `buffers` (each `size` bytes) and describes each datagram to `each` afterwards. Returns
/// how many came; an error only if none did.
pub(crate) fn receive(
    socket: &Socket,
    buffers: &mut [u8],
    size: usize,
    mut each: impl FnMut(&[u8], Arrived),
) -> io::Result<usize> {
    let (first, rest) = buffers.split_at_mut(buffers.len().min(FEW * size));
    let count = receive_into::<FEW>(socket, first, size, &mut each)?;
    if count < FEW {
        return Ok(count);
    }
    // What is wrong is found again by the next call.
    let more = receive_into::<{ BATCH - FEW }>(socket, rest, size, &mut each).unwrap_or(0);
    Ok(count + more)
}

/// At most `N` datagrams in one call.
fn receive_into<const N: usize>(
    socket: &Socket,
    buffers: &mut [u8],
    size: usize,
    each: &mut impl FnMut(&[u8], Arrived),
) -> io::Result<usize> {
    // SAFETY: all types are C structs of integers and pointers, for which zero is a valid value.
    let (mut vectors, mut headers, mut sources, mut controls) = unsafe {
        (
            zeroed::<[libc::iovec; N]>(),
            zeroed::<[libc::mmsghdr; N]>(),
            zeroed::<[libc::sockaddr_storage; N]>(),
            zeroed::<[stamp::Control; N]>(),
        )
    };
    let mut slots = 0;
    for ((((buffer, vector), header), source), control) in buffers
        .chunks_exact_mut(size)
        .zip(&mut vectors)
        .zip(&mut headers)
        .zip(&mut sources)
        .zip(&mut controls)
    {
        vector.iov_base = buffer.as_mut_ptr().cast();
        vector.iov_len = size;
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_name = std::ptr::from_mut(source).cast();
        header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        header.msg_hdr.msg_control = std::ptr::from_mut(control).cast();
        header.msg_hdr.msg_controllen = size_of::<stamp::Control>();
        slots += 1;
    }
    // SAFETY: the first `slots` headers point to a vector, a buffer, a source and room for a stamp of their own, all
    // alive and borrowed by nobody else during the call; MSG_DONTWAIT makes it return at once.
    let count = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            slots,
            libc::MSG_DONTWAIT,
            std::ptr::null_mut(),
        )
    };
    if count < 0 {
        return match io::Error::last_os_error() {
            e if e.kind() == io::ErrorKind::WouldBlock => Ok(0),
            e => Err(e),
        };
    }
    let count = count as usize;
    for (((buffer, header), source), control) in
        buffers.chunks_exact(size).zip(&headers).zip(&sources).zip(&controls).take(count)
    {
        let length = (header.msg_len as usize).min(size);
        let arrived = Arrived {
            source: address_of(source),
            truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            stamp: control.stamp(header.msg_hdr.msg_controllen),
        };
        each(&buffer[..length], arrived);
    }
    Ok(count)
}

/// Sends one frame to one address.
pub(crate) fn send_one(socket: &Socket, frame: &[u8], to: &SockAddr) -> io::Result<()> {
    socket.send_to_with_flags(frame, to, libc::MSG_DONTWAIT).map(|_| ())
}

/// Sends one frame to each address; `failed` gets the error of each that did not go out. Returns
/// how many did.
pub(crate) fn send<'a>(
    socket: &Socket,
    frame: &[u8],
    mut to: impl Iterator<Item = &'a SockAddr>,
    mut failed: impl FnMut(io::Error),
) -> u64 {
    let mut vector =
        libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() };
    let mut sent = 0;
    loop {
        // SAFETY: a C struct of integers and pointers, for which zero is a valid value.
        let mut headers = unsafe { zeroed::<[libc::mmsghdr; BATCH]>() };
        let mut filled = 0;
        for (header, address) in headers.iter_mut().zip(to.by_ref().take(BATCH)) {
            header.msg_hdr.msg_iov = &raw mut vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = address.as_ptr().cast_mut().cast();
            header.msg_hdr.msg_namelen = address.len();
            filled += 1;
        }
        sent += send_batch(socket, &mut headers[..filled], &mut failed);
        if filled < BATCH {
            return sent;
        }
    }
}

/// Sends all headers; one that fails is reported and stepped over.
fn send_batch(
    socket: &Socket,
    headers: &mut [libc::mmsghdr],
    failed: &mut impl FnMut(io::Error),
) -> u64 {
    let mut sent = 0;
    let mut at = 0;
    while let Some(rest) = headers.get_mut(at..).filter(|rest| !rest.is_empty()) {
        // SAFETY: each header points to the one vector and to an address, all alive during the
        // call, which reads them and writes only `msg_len` of the headers.
        let count = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                rest.as_mut_ptr(),
                rest.len() as libc::c_uint,
                libc::MSG_DONTWAIT,
            )
        };
        if count > 0 {
            sent += count as u64;
            at += count as usize;
        } else {
            failed(io::Error::last_os_error());
            at += 1;
        }
    }
    sent
}

/// The address in a storage that the kernel filled.
fn address_of(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let raw = std::ptr::from_ref(storage);
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: a storage is aligned and large enough for every kind of address; the family
            // that the kernel wrote says that this one holds an IPv4 address, which is plain
            // integers.
            let v4 = unsafe { &*raw.cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above, for IPv6.
            let v6 = unsafe { &*raw.cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            Some(SocketAddrV6::new(ip, port, 0, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}
