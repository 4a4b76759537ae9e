//! A lab's own network, mounts and processes.

use crate::error::{Context, Result};
use std::ffi::CStr;
use std::io;

/// Moves this process into a new network namespace; the next process that it starts is
/// process 1 of a new process namespace. To be called while there is one thread.
///
/// # Errors
/// When this is not root.
pub(super) fn enter() -> Result<()> {
    // SAFETY: unshare has no memory arguments.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWPID) };
    check(result).context("new namespaces (this needs root)")
}

/// What process 1 of the new namespaces does: it goes on as its own child, and stays behind to reap what
/// dies in the lab and to end with that child. To be called while there is one thread.
pub(super) fn settle() -> Result<()> {
    // SAFETY: prctl with these arguments touches no memory.
    let tied = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    check(tied).context("being tied to the parent's life")?;
    // Mounts of its own, so that the outer half sees none of them when it cleans up.
    // SAFETY: unshare has no memory arguments.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) }).context("own mounts")?;
    mount(None, c"/", None, libc::MS_REC | libc::MS_PRIVATE).context("private mounts")?;
    mount(Some(c"proc"), c"/proc", Some(c"proc"), 0).context("/proc of the lab")?;
    // SAFETY: there is one thread, so the child may do anything.
    match unsafe { libc::fork() } {
        0 => Ok(()),
        supervisor if supervisor > 0 => reap_until_end_of(supervisor),
        _ => Err(io::Error::last_os_error()).context("fork"),
    }
}

fn reap_until_end_of(supervisor: libc::pid_t) -> ! {
    loop {
        let mut status = 0;
        // SAFETY: `status` is valid for the call.
        let ended = unsafe { libc::waitpid(-1, &raw mut status, 0) };
        if ended == supervisor || ended < 0 {
            // SAFETY: nothing of this process needs an orderly end.
            unsafe { libc::_exit(i32::from(status != 0)) };
        }
    }
}

/// Mounts `source` on `target`.
pub(crate) fn mount(
    source: Option<&CStr>,
    target: &CStr,
    kind: Option<&CStr>,
    flags: libc::c_ulong,
) -> io::Result<()> {
    let pointer = |text: Option<&CStr>| text.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: the strings live through the call; null stands for "none" in each place.
    check(unsafe {
        libc::mount(pointer(source), target.as_ptr(), pointer(kind), flags, std::ptr::null())
    })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
