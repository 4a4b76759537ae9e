//! The mapping: unsafe code, as in `lifeline`.

use crate::layout::Shared;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;

/// A shared mapping of a file that is at least [`Shared::SIZE`] bytes long.
#[derive(Debug)]
pub(crate) struct Memory(NonNull<Shared>);

// SAFETY: `Shared` consists of atomics only, so references to it may be used from any thread; the
// mapping itself is not bound to a thread and is taken down only by the one `Drop`.
unsafe impl Send for Memory {}
// SAFETY: as above; `&Memory` gives nothing but `&Shared`.
unsafe impl Sync for Memory {}

impl Memory {
    /// Maps `file` for reading and, if `write`, for writing. The caller has checked the size.
    pub(crate) fn map(file: &File, write: bool) -> io::Result<Self> {
        let protection = if write { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours; the
        // descriptor is open for the whole call because `file` is borrowed.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                Shared::SIZE,
                protection,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(address.cast()).map(Self).ok_or_else(|| io::Error::other("mapped at zero"))
    }

    /// The words.
    pub(crate) fn shared(&self) -> &Shared {
        // SAFETY: the mapping is page-aligned, `Shared::SIZE` bytes long (the callers of `map` have
        // checked the file's size, which nobody changes: the file is replaced, never truncated) and
        // lives as long as `self`. Every bit pattern is a valid `Shared`: it is integers in
        // atomics. A read-only mapping is only read: `ReadMap` hands out getters alone, and loads
        // of 8 bytes and less are plain reads on the 64-bit machines that NetGuard supports.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: address and length are those of `map`; no reference outlives `self`.
        unsafe { libc::munmap(self.0.as_ptr().cast(), Shared::SIZE) };
    }
}

/// Locks `file` for this process and those that inherit the descriptor; false if another holds it.
pub(crate) fn try_lock(file: &File) -> io::Result<bool> {
    // SAFETY: flock takes no pointer; the descriptor is open because `file` is borrowed.
    if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
        return Ok(true);
    }
    match io::Error::last_os_error() {
        e if e.kind() == io::ErrorKind::WouldBlock => Ok(false),
        e => Err(e),
    }
}

/// A file in memory without a name.
pub(crate) fn nameless() -> io::Result<File> {
    use std::os::fd::FromRawFd;
    // SAFETY: the name is a literal with its terminating zero; the call returns a new descriptor or
    // -1.
    let fd = unsafe { libc::memfd_create(c"netguard-map".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else owns it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Keeps `file` from the children of this process.
pub(crate) fn close_on_exec(file: &File) -> io::Result<()> {
    // SAFETY: fcntl with F_SETFD takes no pointer; the descriptor is open because `file` is
    // borrowed.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
