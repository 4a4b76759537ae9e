//! The words that decide: one map of the kernel, seen by the program, by `netguard-fast` and by
//! `netguard-control` at once.
//!
//! ```text
//!   0  lease end, ns of CLOCK_BOOTTIME; 0 = closed          fast stores, one store a renewal
//!  64  closed: nonzero closes every address (R-SELF)        control stores, fast never clears it
//! 128  slot 0, 128 bytes:
//!        0 generation, 0 = closed     8 first asked     16 first answered     control, the program
//!       64 passed                    72 dropped                               the program
//! 256  slot 1 …
//! ```
//!
//! What is written often has a cache line of its own: counters do not slow the look at the lease.

use crate::bpf;
use crate::error::GateError;
use base::Instant;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// Addresses that a gate can hold. A power of two: the program masks with it.
pub const SLOTS: usize = 256;
/// A slot is two cache lines.
pub(crate) const SLOT_SHIFT: usize = 7;
pub(crate) const LEASE_AT: i16 = 0;
pub(crate) const CLOSED_AT: i16 = 64;
pub(crate) const SLOTS_AT: usize = 128;
pub(crate) const GENERATION_AT: i16 = 0;
pub(crate) const FIRST_ASKED_AT: i16 = 8;
pub(crate) const FIRST_ANSWERED_AT: i16 = 16;
pub(crate) const PASSED_AT: i16 = 64;
pub(crate) const DROPPED_AT: i16 = 72;
const LEN: usize = SLOTS_AT + (SLOTS << SLOT_SHIFT);
const _: () = assert!(SLOTS.is_power_of_two());

/// The shared words, mapped into this process.
#[derive(Debug)]
pub struct Words {
    descriptor: OwnedFd,
    memory: Memory,
}

/// One slot as it is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// The generation it is open for; 0 = closed.
    pub generation: u64,
    /// When the first question to the service passed since it was opened.
    pub first_asked: Option<Instant>,
    /// When the service's first answer passed since it was opened. (Announcements do not count.)
    pub first_answered: Option<Instant>,
    /// Packets passed.
    pub passed: u64,
    /// Packets stopped.
    pub dropped: u64,
}

impl Words {
    /// Makes a map whose every address is closed.
    ///
    /// # Errors
    /// When the kernel does not allow it.
    pub fn create() -> Result<Self, GateError> {
        Self::open(bpf::create_words(LEN)?)
    }

    /// Maps one that another process made and handed over.
    ///
    /// # Errors
    /// When the descriptor is not such a map.
    pub fn open(descriptor: OwnedFd) -> Result<Self, GateError> {
        let memory = Memory::map(&descriptor)?;
        Ok(Self { descriptor, memory })
    }

    /// Stores when the lease ends: a renewal is this one store, so is the end ([`Instant::ZERO`]).
    pub fn set_lease_end(&self, end: Instant) {
        self.word(LEASE_AT as usize).store(end.0, Ordering::SeqCst);
    }

    /// When the lease ends.
    #[must_use]
    pub fn lease_end(&self) -> Instant {
        Instant(self.word(LEASE_AT as usize).load(Ordering::SeqCst))
    }

    /// Closes every address until [`Words::reopen`], whatever the lease says; `stint` says why.
    pub fn close(&self, stint: u64) {
        self.word(CLOSED_AT as usize).store(stint.max(1), Ordering::SeqCst);
    }

    /// Takes [`Words::close`] back.
    pub fn reopen(&self) {
        self.word(CLOSED_AT as usize).store(0, Ordering::SeqCst);
    }

    /// The stint for which everything is closed; 0 = none.
    #[must_use]
    pub fn closed(&self) -> u64 {
        self.word(CLOSED_AT as usize).load(Ordering::SeqCst)
    }

    /// Opens a slot for a generation, and forgets the stamps of the one before.
    pub fn open_slot(&self, slot: usize, generation: u64) {
        let at = place(slot);
        self.word(at + FIRST_ASKED_AT as usize).store(0, Ordering::SeqCst);
        self.word(at + FIRST_ANSWERED_AT as usize).store(0, Ordering::SeqCst);
        self.word(at + GENERATION_AT as usize).store(generation, Ordering::SeqCst);
    }

    /// Closes a slot: one store. Its stamps stay to be read.
    pub fn close_slot(&self, slot: usize) {
        self.word(place(slot) + GENERATION_AT as usize).store(0, Ordering::SeqCst);
    }

    /// A slot as it is now.
    #[must_use]
    pub fn look(&self, slot: usize) -> Look {
        let word = |at: i16| self.word(place(slot) + at as usize).load(Ordering::SeqCst);
        let time = |at| Some(Instant(word(at))).filter(|it| *it != Instant::ZERO);
        Look {
            generation: word(GENERATION_AT),
            first_asked: time(FIRST_ASKED_AT),
            first_answered: time(FIRST_ANSWERED_AT),
            passed: word(PASSED_AT),
            dropped: word(DROPPED_AT),
        }
    }

    /// Forgets what a slot counted: it gets another address.
    pub(crate) fn clear_slot(&self, slot: usize) {
        let at = place(slot);
        for word in [GENERATION_AT, FIRST_ASKED_AT, FIRST_ANSWERED_AT, PASSED_AT, DROPPED_AT] {
            self.word(at + word as usize).store(0, Ordering::SeqCst);
        }
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        self.memory.word(at)
    }
}

impl AsFd for Words {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Where a slot begins. A slot that cannot be is the last one's mistake, not another page's.
const fn place(slot: usize) -> usize {
    SLOTS_AT + ((slot & (SLOTS - 1)) << SLOT_SHIFT)
}

/// The map's pages in this process.
#[derive(Debug)]
struct Memory(NonNull<u8>);

// SAFETY: the pages belong to this value alone and are only read and written as atomics.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    fn map(descriptor: &OwnedFd) -> Result<Self, GateError> {
        use std::os::fd::AsRawFd;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let from = descriptor.as_raw_fd();
        // SAFETY: a new mapping where the kernel likes; the kernel refuses more than the map has.
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), LEN, protection, libc::MAP_SHARED, from, 0) };
        let fail = || GateError::from_io("map the gate's words", std::io::Error::last_os_error());
        if start == libc::MAP_FAILED {
            return Err(fail());
        }
        NonNull::new(start.cast()).map(Self).ok_or_else(fail)
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at.is_multiple_of(8) && at < LEN, "a word of the gate's map");
        // SAFETY: inside the mapping and aligned, as just asserted; it lives as long as `self`, and
        // nobody reads or writes it but by atomic accesses (the program's are, by its kind of
        // instruction).
        unsafe { self.0.add(at).cast::<AtomicU64>().as_ref() }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping that `map` made, unmapped once.
        unsafe { libc::munmap(self.0.as_ptr().cast(), LEN) };
    }
}

#[cfg(test)]
mod tests {
    use super::{LEN, SLOTS, place};

    #[test]
    fn slots_lie_side_by_side_inside_the_map() {
        assert_eq!(place(0), 128);
        assert_eq!(place(1) - place(0), 128);
        assert_eq!(place(SLOTS - 1) + 128, LEN);
        assert_eq!(place(SLOTS), place(0), "no slot lies outside");
    }
}
