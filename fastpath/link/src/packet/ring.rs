//! The ring of slots that the kernel puts received frames into and this process reads them from, without a system call:
//! TPACKET_V2 (packet_mmap in the kernel's documentation). V3's would group frames by blocks, and gives a block that is not
//! full only when its timer ends: 4 ms, measured. V2 gives each frame at once.
//!
//! A slot belongs to the kernel or to the reader; its status word says to whom. The memory is the kernel's, always resident.

use socket2::Socket;
use std::io;
use std::mem::size_of;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where the frame in a slot can begin at the earliest: behind the slot's header and the address of the sender.
const DATA_AT: usize = libc::TPACKET2_HDRLEN;
/// What the kernel leaves free at most between there and the frame, to align what follows its Ethernet header.
const GAP: usize = 2 * libc::TPACKET_ALIGNMENT;

/// How the ring is cut: slots lie in blocks, and none goes over the end of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Shape {
    slot: usize,
    block: usize,
    per_block: usize,
    blocks: usize,
}

impl Shape {
    /// At least `slots` slots for frames of `frame` bytes, on a machine with pages of `page` bytes. Blocks are as small as can
    /// be, so that a machine whose memory is in pieces has them too.
    pub(crate) fn new(frame: usize, slots: usize, page: usize) -> Self {
        let slot = (DATA_AT + GAP + frame).next_multiple_of(libc::TPACKET_ALIGNMENT);
        let block = slot.next_multiple_of(page.max(1));
        let per_block = block / slot;
        Self { slot, block, per_block, blocks: slots.max(1).div_ceil(per_block) }
    }

    const fn slots(&self) -> usize {
        self.per_block * self.blocks
    }

    const fn length(&self) -> usize {
        self.block * self.blocks
    }

    /// Where a slot begins.
    const fn place(&self, number: usize) -> usize {
        number / self.per_block * self.block + number % self.per_block * self.slot
    }
}

/// One frame in the ring, as long as it is looked at.
pub(super) struct Taken<'r> {
    /// From its Ethernet header on; nothing if the slot says what cannot be.
    pub(super) bytes: &'r [u8],
    /// It was longer than the slot.
    pub(super) cut: bool,
    /// When it came, by the wall clock.
    pub(super) stamp: libc::timespec,
    /// There was no room for others, which are lost.
    pub(super) losing: bool,
}

/// The socket and its ring.
#[derive(Debug)]
pub(super) struct Ring {
    socket: Socket,
    base: NonNull<u8>,
    shape: Shape,
    next: usize,
}

impl Ring {
    /// Makes the ring of a packet socket that is not bound yet, and maps it.
    pub(super) fn new(socket: Socket, shape: Shape) -> io::Result<Self> {
        let version = libc::tpacket_versions::TPACKET_V2 as libc::c_int;
        crate::options::set(&socket, libc::SOL_PACKET, libc::PACKET_VERSION, &version)?;
        let request = libc::tpacket_req {
            tp_block_size: number(shape.block)?,
            tp_block_nr: number(shape.blocks)?,
            tp_frame_size: number(shape.slot)?,
            tp_frame_nr: number(shape.slots())?,
        };
        crate::options::set(&socket, libc::SOL_PACKET, libc::PACKET_RX_RING, &request)?;
        // SAFETY: a new mapping of the socket's ring, whose length is what was asked for right before; the kernel chooses where.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                shape.length(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                socket.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { socket, base, shape, next: 0 })
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Gives at most `limit` frames to `each`, in the order they came. Returns how many there were.
    pub(super) fn take(&mut self, limit: usize, mut each: impl FnMut(Taken<'_>)) -> usize {
        for taken in 0..limit {
            let place = self.shape.place(self.next);
            // SAFETY: `next` is below the number of slots, so the whole slot lies in the mapping, which lives as long as `self`.
            let slot = unsafe { self.base.add(place) };
            // SAFETY: a slot begins with its header, whose first word is the status; slots are 16-byte aligned. Kernel and
            // reader touch this word only atomically (the kernel by smp_wmb and a store of the whole word).
            let status = unsafe { AtomicU32::from_ptr(slot.cast().as_ptr()) };
            let flags = status.load(Ordering::Acquire);
            if flags & libc::TP_STATUS_USER == 0 {
                return taken;
            }
            // SAFETY: the status says that the slot is the reader's: the kernel wrote all of it before, and writes nothing more
            // until the status is given back below. A header is integers only.
            let header = unsafe { slot.cast::<libc::tpacket2_hdr>().read() };
            let (range, cut) = locate(&header, self.shape.slot).unwrap_or_default();
            // SAFETY: `locate` has checked that the range lies in the slot, which is the reader's as above; the slice is gone
            // when `each` returns, because its lifetime is that of the call.
            let bytes =
                unsafe { std::slice::from_raw_parts(slot.add(range.start).as_ptr(), range.len()) };
            let stamp = libc::timespec {
                tv_sec: libc::time_t::from(header.tp_sec),
                tv_nsec: libc::c_long::from(header.tp_nsec),
            };
            each(Taken { bytes, cut, stamp, losing: flags & libc::TP_STATUS_LOSING != 0 });
            status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
            self.next = (self.next + 1) % self.shape.slots();
        }
        limit
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made, unmapped once; nothing of it is borrowed any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.shape.length()) };
    }
}

fn number(n: usize) -> io::Result<libc::c_uint> {
    n.try_into().map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// Where the frame lies in its slot, and whether it was cut; nothing if the header says what cannot be.
fn locate(header: &libc::tpacket2_hdr, slot: usize) -> Option<(Range<usize>, bool)> {
    let begin = usize::from(header.tp_mac);
    let end = begin.checked_add(usize::try_from(header.tp_snaplen).ok()?)?;
    let fits = begin >= DATA_AT && end <= slot;
    fits.then_some((begin..end, header.tp_len > header.tp_snaplen))
}

/// Bytes of a page.
pub(super) fn page() -> usize {
    // SAFETY: takes an integer.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(page).unwrap_or(4096)
}

const _: () = assert!(size_of::<libc::tpacket2_hdr>() <= DATA_AT);
const _: () = assert!(std::mem::offset_of!(libc::tpacket2_hdr, tp_status) == 0);

#[cfg(test)]
mod tests {
    use super::{DATA_AT, Shape, locate};
    use base::Prng;

    fn header(mac: u16, snaplen: u32, len: u32) -> libc::tpacket2_hdr {
        libc::tpacket2_hdr {
            tp_status: libc::TP_STATUS_USER,
            tp_len: len,
            tp_snaplen: snaplen,
            tp_mac: mac,
            tp_net: 80,
            tp_sec: 0,
            tp_nsec: 0,
            tp_vlan_tci: 0,
            tp_vlan_tpid: 0,
            tp_padding: [0; 4],
        }
    }

    #[test]
    fn a_frame_lies_inside_its_slot_or_nowhere() {
        assert_eq!(locate(&header(66, 100, 100), 256), Some((66..166, false)));
        assert_eq!(locate(&header(66, 190, 4_000), 256), Some((66..256, true)));
        assert_eq!(locate(&header(66, 191, 191), 256), None, "over the end");
        assert_eq!(locate(&header(51, 10, 10), 256), None, "over the slot's own header");
        assert_eq!(locate(&header(66, u32::MAX, u32::MAX), 256), None);
        let mut prng = Prng::new(2);
        for _ in 0..50_000 {
            let of = [300, 70_000, 1 << 32];
            let mut any = || prng.below(of[prng.clone().below(3) as usize]) as u32;
            let header = header(any() as u16, any(), any());
            if let Some((range, _)) = locate(&header, 1_280) {
                assert!(range.start >= DATA_AT && range.start <= range.end && range.end <= 1_280);
            }
        }
    }

    #[test]
    fn slots_are_aligned_apart_and_within_their_blocks() {
        for (frame, slots, page) in
            [(1_156, 2_048, 4_096), (60, 1, 4_096), (9_000, 100, 4_096), (1_156, 100, 65_536)]
        {
            let shape = Shape::new(frame, slots, page);
            assert!(shape.slots() >= slots && shape.slots() < slots + shape.per_block, "{shape:?}");
            assert!(shape.block.is_multiple_of(page));
            let mut end = 0;
            for number in 0..shape.slots() {
                let place = shape.place(number);
                assert!(
                    place >= end && place.is_multiple_of(libc::TPACKET_ALIGNMENT),
                    "{shape:?} {number}"
                );
                assert!(place % shape.block + shape.slot <= shape.block, "{shape:?} {number}");
                end = place + shape.slot;
            }
            assert!(end <= shape.length());
        }
        // What the product has for 128 nodes: 43 MiB.
        let whole = Shape::new(1_156, 128 * 256, 4_096);
        assert_eq!((whole.slot, whole.per_block, whole.length() >> 20), (1_248, 3, 42));
    }
}
