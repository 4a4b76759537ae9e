//! What stands for the application: it answers probes to the floating address with node and
//! generation.
//!
//! It knows nothing of lease or gate and looks at neither: it answers whatever the kernel delivers,
//! from the address that was asked. So an address that is still up on an old owner is answered, and
//! seen.

use crate::error::{Context, Result};
use crate::os;
use crate::probe::{PORT, Probe, Reply};
use crate::topology::service_of;
use shm::ReadMap;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::path::PathBuf;

/// Where the generation in the replies comes from.
pub trait Generations {
    /// The generation of a service (by its number) that this node holds open now; 0 = none.
    fn read(&mut self, service: usize) -> u64;
}

/// Always the same one: for owners that are not ours.
#[derive(Clone, Copy, Debug)]
pub struct Fixed(pub u64);

impl Generations for Fixed {
    fn read(&mut self, _: usize) -> u64 {
        self.0
    }
}

/// The board of the node's daemons: the word that control stores before a start's first packet.
/// (Nothing else of the map is looked at.)
#[derive(Debug)]
pub struct FromBoard {
    path: PathBuf,
    first: usize,
    map: Option<ReadMap>,
}

impl FromBoard {
    /// The board in the map at `path`, which may not exist yet; `first` is the number that the
    /// service of the first floating address has there.
    #[must_use]
    pub const fn new(path: PathBuf, first: usize) -> Self {
        Self { path, first, map: None }
    }
}

impl Generations for FromBoard {
    fn read(&mut self, service: usize) -> u64 {
        if !self.map.as_ref().is_some_and(ReadMap::is_current) {
            self.map = ReadMap::open(&self.path).ok();
        }
        self.map.as_ref().map_or(0, |map| map.board().open(self.first + service))
    }
}

/// Answers until the process ends.
///
/// # Errors
/// When the port is taken.
pub fn serve(node: u8, generations: &mut impl Generations) -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)).context("responder")?;
    let descriptor = socket.as_raw_fd();
    report_destination(descriptor).context("responder")?;
    // Without it the figures hold what the machine's other work takes; the bed's stall meter says
    // the same.
    let _ = os::realtime(os::PRIORITY_RESPONDER);
    let mut bytes = [0_u8; 256];
    loop {
        let Ok((length, path)) = receive(descriptor, &mut bytes) else { continue };
        let Some(probe) = Probe::decode(&bytes[..length]) else { continue };
        let generation =
            generations.read(service_of(Ipv4Addr::from(path.asked.s_addr.to_ne_bytes())));
        let reply = Reply { probe, node, generation };
        // When the address has just gone, the kernel refuses to send from it: that is no answer,
        // rightly.
        let _ = answer(descriptor, &path, &reply.encode());
    }
}

/// Who asked, and which address was asked.
#[derive(Clone, Copy)]
struct Path {
    client: libc::sockaddr_in,
    asked: libc::in_addr,
}

/// Room for one IP_PKTINFO, aligned as control messages must be.
#[repr(C, align(8))]
struct Control([u8; 64]);

fn report_destination(socket: RawFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option's value is one c_int, and its size is given.
    let result = unsafe {
        libc::setsockopt(
            socket,
            libc::IPPROTO_IP,
            libc::IP_PKTINFO,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as u32,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn receive(socket: RawFd, bytes: &mut [u8]) -> io::Result<(usize, Path)> {
    let mut control = Control([0; 64]);
    // SAFETY: zero is a valid value of all these plain C structs. Every pointer in `message` is to
    // a live local with the length given beside it, and the kernel writes no further. CMSG_* walk
    // inside msg_controllen.
    unsafe {
        let mut client: libc::sockaddr_in = std::mem::zeroed();
        let mut vector = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_name = (&raw mut client).cast();
        message.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
        message.msg_iov = &raw mut vector;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = control.0.len();
        let length = libc::recvmsg(socket, &raw mut message, 0);
        if length < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut asked = None;
        let mut head = libc::CMSG_FIRSTHDR(&raw const message);
        while let Some(it) = head.as_ref() {
            if it.cmsg_level == libc::IPPROTO_IP && it.cmsg_type == libc::IP_PKTINFO {
                let info: libc::in_pktinfo =
                    libc::CMSG_DATA(head).cast::<libc::in_pktinfo>().read_unaligned();
                asked = Some(info.ipi_addr);
            }
            head = libc::CMSG_NXTHDR(&raw const message, head);
        }
        let asked = asked.ok_or(io::ErrorKind::InvalidData)?;
        Ok((length as usize, Path { client, asked }))
    }
}

fn answer(socket: RawFd, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut control = Control([0; 64]);
    let mut client = path.client;
    // SAFETY: as in `receive`; the kernel only reads. The control buffer has room for one
    // in_pktinfo (28 bytes with its header), which CMSG_SPACE confirms.
    unsafe {
        let mut vector =
            libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_name = (&raw mut client).cast();
        message.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
        message.msg_iov = &raw mut vector;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(size_of::<libc::in_pktinfo>() as u32) as usize;
        let head = libc::CMSG_FIRSTHDR(&raw const message);
        (*head).cmsg_level = libc::IPPROTO_IP;
        (*head).cmsg_type = libc::IP_PKTINFO;
        (*head).cmsg_len = libc::CMSG_LEN(size_of::<libc::in_pktinfo>() as u32) as usize;
        let info = libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: path.asked,
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        libc::CMSG_DATA(head).cast::<libc::in_pktinfo>().write_unaligned(info);
        if libc::sendmsg(socket, &raw const message, 0) < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
