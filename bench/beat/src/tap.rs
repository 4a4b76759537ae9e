//! Listens on the wire: when each beat of a node was sent, by the beat, and when its frame came by, by the kernel.

use anyhow::{Context, Result, bail};
use base::{Duration, Instant};
use socket2::{Domain, Protocol, Socket, Type};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use testbed::namespace::Namespace;
use testbed::os;
use wire::{Kind, LinkId, NodeId, Seal};

/// Where a frame of ours can begin: after Ethernet, IPv4 and UDP, or after our own ethertype.
const MAGIC: [u8; 2] = wire::frame::MAGIC;
const SEARCHED: usize = 64;

/// One beat.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    pub(crate) from: NodeId,
    /// When it was made, by its sender's clock, which is also ours.
    pub(crate) sent: Instant,
    /// When its frame came to this interface.
    pub(crate) came: Instant,
}

/// A packet socket on `eth0` of a namespace.
pub(crate) struct Tap {
    socket: Socket,
    seal: Seal,
}

impl Tap {
    pub(crate) fn open(namespace: &Namespace, seal: Seal) -> Result<Self> {
        let open = || {
            let all = Protocol::from(i32::from((libc::ETH_P_ALL as u16).to_be()));
            let socket = Socket::new(Domain::PACKET, Type::RAW, Some(all));
            let on: libc::c_int = 1;
            Ok(socket.and_then(|socket| {
                set(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &on)?;
                set(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &(32 << 20 as libc::c_int))?;
                socket.set_read_timeout(Some(std::time::Duration::from_millis(100)))?;
                Ok(socket)
            }))
        };
        let socket = namespace.inside(open)?.context("a packet socket for the tap")?;
        Ok(Self { socket, seal })
    }

    /// Forgets what waits, then gives every beat that comes until then to `each`.
    pub(crate) fn listen(&self, until: Instant, mut each: impl FnMut(Heard)) -> Result<()> {
        let began = os::now();
        while os::now() < until {
            if os::interrupted() {
                bail!("interrupted");
            }
            if let Some(heard) = self.next()?.filter(|heard| heard.came >= began) {
                each(heard);
            }
        }
        Ok(())
    }

    fn next(&self) -> Result<Option<Heard>> {
        let mut bytes = [MaybeUninit::<u8>::uninit(); 2_048];
        let mut control = [0_u64; 16];
        let mut vector = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        // SAFETY: a C struct of integers and pointers, for which zero is a valid value.
        let mut header = unsafe { std::mem::zeroed::<libc::msghdr>() };
        header.msg_iov = &raw mut vector;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&control);
        // SAFETY: the header points to a vector, a buffer and room for control messages, all alive during the call.
        let length = unsafe { libc::recvmsg(self.socket.as_raw_fd(), &raw mut header, 0) };
        let Ok(length) = usize::try_from(length) else { return Ok(None) };
        let Some(came) = stamp(&header) else { bail!("the kernel stamps no frames") };
        // SAFETY: the kernel wrote that many bytes of the buffer, and no more than there are.
        let bytes = unsafe {
            std::slice::from_raw_parts(bytes.as_ptr().cast::<u8>(), length.min(bytes.len()))
        };
        Ok(self.read(bytes, came))
    }

    fn read(&self, bytes: &[u8], came: Instant) -> Option<Heard> {
        let begins = |at: &usize| bytes.get(*at..*at + 2) == Some(&MAGIC);
        let at = (14..SEARCHED).find(begins)?;
        // Beats are longer than what Ethernet pads to.
        let (header, body) = wire::frame::open(&self.seal, LinkId(0), bytes.get(at..)?).ok()?;
        if header.kind != Kind::Beat {
            return None;
        }
        let beat = wire::Beat::decode(body).ok()?;
        // A probe is not of the cadence.
        if beat.probe {
            return None;
        }
        Some(Heard { from: header.from.node, sent: beat.sent, came })
    }
}

/// The stamp of a message, on the clock of the beats.
fn stamp(header: &libc::msghdr) -> Option<Instant> {
    // SAFETY: the kernel filled the control messages of this header, whose memory is alive.
    let (head, data) = unsafe {
        let head = libc::CMSG_FIRSTHDR(std::ptr::from_ref(header));
        (head.as_ref()?, libc::CMSG_DATA(head))
    };
    if (head.cmsg_level, head.cmsg_type) != (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) {
        return None;
    }
    // SAFETY: a control message of this kind holds a timespec, wherever it lies.
    let stamp = unsafe { data.cast::<libc::timespec>().read_unaligned() };
    let nanos = |time: libc::timespec| time.tv_sec * 1_000_000_000 + time.tv_nsec;
    let mut wall = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let now = os::now();
    // SAFETY: a timespec, alive during the call.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut wall) };
    let ago = u64::try_from(nanos(wall) - nanos(stamp)).unwrap_or(0);
    Some(now - Duration(ago))
}

fn set<T>(socket: &Socket, level: i32, option: i32, value: &T) -> std::io::Result<()> {
    // SAFETY: a value of that size, alive during the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
