//! The buffers into which the kernel receives: one group per link, which the kernel takes from by itself
//! (io_uring_register_buf_ring(3)).
//!
//! The entries say which buffers the kernel may fill; we append to them and publish by the tail, the kernel takes from the
//! other end. A buffer is the kernel's or it is a [`Filled`] of ours, never both: that is what this file keeps.

use io_uring::types::BufRingEntry;
use std::alloc::{Layout, alloc, dealloc};
use std::cell::Cell;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

/// Buffers of a group: half a turn's most frames of a link. A power of two, as the kernel wants.
pub(crate) const COUNT: u16 = 256;

const _: () = assert!(COUNT.is_power_of_two());

/// The largest page of any machine: the kernel wants the entries to begin with one.
const PAGE_MAX: usize = 1 << 16;

/// Where a buffer begins: what the kernel writes first are integers.
const ALIGN: usize = 64;

/// A buffer that the kernel has filled and given to us.
#[derive(Debug)]
pub(crate) struct Filled {
    number: u16,
    length: usize,
}

/// The memory of one group.
#[derive(Debug)]
pub(crate) struct Buffers {
    entries: NonNull<BufRingEntry>,
    data: NonNull<u8>,
    size: usize,
    /// How many were ever appended, of which the kernel has a copy.
    tail: Cell<u16>,
}

impl Buffers {
    /// Memory for buffers of at least `size` bytes, all still ours.
    pub(crate) fn new(size: usize) -> io::Result<Self> {
        let size = size.max(1).next_multiple_of(ALIGN);
        let (entries, data) = Self::layouts(size)?;
        let entries = take(entries)?;
        let data = take(data).inspect_err(|_| {
            // SAFETY: taken above with this layout, and nobody else knows of it.
            unsafe { dealloc(entries.as_ptr(), Self::layout_of_entries()) };
        })?;
        Ok(Self { entries: entries.cast(), data, size, tail: Cell::new(0) })
    }

    const fn layout_of_entries() -> Layout {
        let size = COUNT as usize * size_of::<BufRingEntry>();
        // Both are constants that fit: evaluated by every build.
        match Layout::from_size_align(size, PAGE_MAX) {
            Ok(layout) => layout,
            Err(_) => Layout::new::<BufRingEntry>(),
        }
    }

    fn layouts(size: usize) -> io::Result<(Layout, Layout)> {
        let all = size.checked_mul(usize::from(COUNT)).ok_or(io::ErrorKind::OutOfMemory)?;
        let data = Layout::from_size_align(all, ALIGN).map_err(|_| io::ErrorKind::OutOfMemory)?;
        Ok((Self::layout_of_entries(), data))
    }

    /// Where the entries begin, for the kernel.
    pub(crate) fn address(&self) -> u64 {
        self.entries.as_ptr() as u64
    }

    /// Gives all buffers to the kernel: once, before any request may take from the group.
    pub(crate) fn provide_all(&self) {
        for number in 0..COUNT {
            self.give_back(Filled { number, length: 0 });
        }
    }

    /// What the kernel says to have filled; none if it cannot be. Called once for each buffer that it reports.
    pub(crate) fn filled(&self, number: u16, length: usize) -> Option<Filled> {
        (number < COUNT).then(|| Filled { number, length: length.min(self.size) })
    }

    /// The bytes of a filled buffer.
    pub(crate) fn bytes<'f>(&'f self, filled: &'f Filled) -> &'f [u8] {
        let at = usize::from(filled.number) * self.size;
        // SAFETY: number and length were bounded by `filled`, so this lies within `data`, which `take` has initialized.
        // The kernel does not write to it: it gave the buffer away, and gets it back only by `give_back`, which takes
        // the `Filled` that this borrows.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr().add(at), filled.length) }
    }

    /// Gives a buffer back to the kernel.
    pub(crate) fn give_back(&self, filled: Filled) {
        let Filled { number, .. } = filled;
        let tail = self.tail.get();
        // SAFETY: both indices are less than COUNT, so they are within their allocations. The kernel reads no entry
        // beyond the tail, so nobody reads this one: there are as many entries as buffers, and this buffer was not among
        // them. Only address, length and number are written; the rest of the first entry is the tail itself.
        unsafe {
            let entry = &mut *self.entries.as_ptr().add(usize::from(tail % COUNT));
            entry.set_addr(self.data.as_ptr().add(usize::from(number) * self.size) as u64);
            entry.set_len(self.size as u32);
            entry.set_bid(number);
        }
        let tail = tail.wrapping_add(1);
        self.tail.set(tail);
        // SAFETY: the argument is the first entry, initialized by `take`. The tail lies aligned in it, lives as long as
        // `self`, and is only accessed as an atomic, here and by the kernel, which reads it.
        unsafe {
            let at = BufRingEntry::tail(self.entries.as_ptr()).cast_mut();
            AtomicU16::from_ptr(at).store(tail, Ordering::Release);
        }
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        if let Ok((entries, data)) = Self::layouts(self.size) {
            // SAFETY: taken in `new` with these layouts. The kernel knows of the memory no more: `ring` leaks buffers
            // whose group it could not unregister.
            unsafe {
                dealloc(self.entries.as_ptr().cast(), entries);
                dealloc(self.data.as_ptr(), data);
            }
        }
    }
}

/// Memory, zero, and present: written to, so that no first use faults.
fn take(layout: Layout) -> io::Result<NonNull<u8>> {
    // SAFETY: no layout here is of size zero.
    let memory = NonNull::new(unsafe { alloc(layout) }).ok_or(io::ErrorKind::OutOfMemory)?;
    // SAFETY: just allocated with that size.
    unsafe { memory.as_ptr().write_bytes(0, layout.size()) };
    Ok(memory)
}

#[cfg(test)]
mod tests {
    use super::{Buffers, COUNT};

    #[test]
    fn what_the_kernel_cannot_have_filled_is_refused_and_lengths_are_bounded() {
        let buffers = Buffers::new(100).unwrap();
        buffers.provide_all();
        assert_eq!(buffers.address() % 4_096, 0);
        assert!(buffers.filled(COUNT, 1).is_none());
        let filled = buffers.filled(COUNT - 1, usize::MAX).unwrap();
        assert_eq!(buffers.bytes(&filled), [0; 128]);
        buffers.give_back(filled);
        assert_eq!(buffers.tail.get(), COUNT + 1);
        // Around the end of the counter.
        for number in (0..COUNT).cycle().take(70_000) {
            buffers.give_back(buffers.filled(number, 0).unwrap());
        }
        assert_eq!(buffers.tail.get(), COUNT.wrapping_add(1).wrapping_add(70_000_u32 as u16));
    }

    #[test]
    fn buffers_that_no_memory_has_are_an_error() {
        assert!(Buffers::new(usize::MAX / 2).is_err());
    }
}
