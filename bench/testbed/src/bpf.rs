//! bpf(2) as far as the bed's cables need it: one map that is shared with this process, and small
//! programs for traffic control.

use crate::error::{Context, Result};
use gate::assembler::Instruction;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

const MAP_CREATE: i32 = 0;
const PROGRAM_LOAD: i32 = 5;
const MAP_ARRAY: u32 = 2;
const MAP_MMAPABLE: u32 = 1 << 10;
const PROGRAM_SCHED_CLS: u32 = 3;
/// The map is one page.
const LEN: usize = 4096;

/// `BPF_MAP_CREATE`, as far as used; what is left out is zero.
#[repr(C)]
#[derive(Default)]
struct MapCreate {
    kind: u32,
    key_len: u32,
    value_len: u32,
    entries: u32,
    flags: u32,
}

/// `BPF_PROG_LOAD`, as far as used.
#[repr(C)]
#[derive(Default)]
struct ProgramLoad {
    kind: u32,
    count: u32,
    code: u64,
    licence: u64,
    log_level: u32,
    log_len: u32,
    log: u64,
}

/// Words that programs in the kernel read and this process writes.
#[derive(Debug)]
pub struct Words {
    descriptor: OwnedFd,
    start: NonNull<u8>,
}

// SAFETY: the mapping belongs to this value alone, and is only accessed by atomic operations.
unsafe impl Send for Words {}
// SAFETY: as above.
unsafe impl Sync for Words {}

impl Words {
    /// Makes them, all zero.
    ///
    /// # Errors
    /// When the kernel does not allow it (CAP_BPF).
    pub fn create() -> Result<Self> {
        let what = "a map for the bed's cables";
        let mut attribute = MapCreate {
            kind: MAP_ARRAY,
            key_len: 4,
            value_len: LEN as u32,
            entries: 1,
            flags: MAP_MMAPABLE,
        };
        let descriptor = call(MAP_CREATE, &mut attribute).context(what)?;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping where the kernel likes, of the map's whole length.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                LEN,
                protection,
                libc::MAP_SHARED,
                descriptor.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error()).context(what);
        }
        let start = NonNull::new(start.cast());
        let start = start.ok_or(io::Error::from(io::ErrorKind::InvalidData)).context(what)?;
        Ok(Self { descriptor, start })
    }

    /// Their descriptor, for programs.
    #[must_use]
    pub fn descriptor(&self) -> i32 {
        self.descriptor.as_raw_fd()
    }

    /// Stores one word; the programs see it at once.
    pub fn store(&self, word: usize, value: u64) {
        self.word(word).store(value, Ordering::SeqCst);
    }

    /// Reads one word.
    #[must_use]
    pub fn load(&self, word: usize) -> u64 {
        self.word(word).load(Ordering::SeqCst)
    }

    fn word(&self, word: usize) -> &AtomicU64 {
        assert!(word < LEN / 8, "a word of the map");
        // SAFETY: inside the mapping, as just asserted, and aligned; it lives as long as `self`.
        unsafe { self.start.cast::<AtomicU64>().add(word).as_ref() }
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        // SAFETY: the mapping that `create` made, unmapped once.
        unsafe { libc::munmap(self.start.as_ptr().cast(), LEN) };
    }
}

/// Loads a program for traffic control.
///
/// # Errors
/// When the kernel refuses it.
pub fn load(code: &[Instruction]) -> Result<OwnedFd> {
    let mut attribute = ProgramLoad {
        kind: PROGRAM_SCHED_CLS,
        count: code.len() as u32,
        code: code.as_ptr() as u64,
        licence: c"GPL".as_ptr() as u64,
        ..ProgramLoad::default()
    };
    call(PROGRAM_LOAD, &mut attribute).context("the program of the bed's cables")
}

fn call<T>(command: i32, attribute: &mut T) -> io::Result<OwnedFd> {
    let len = size_of::<T>();
    // SAFETY: a valid struct of this length that begins as the kernel's union does for the command;
    // what it points to outlives the call.
    let number = unsafe { libc::syscall(libc::SYS_bpf, command, (&raw mut *attribute), len) };
    if number < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(number as i32) })
}
