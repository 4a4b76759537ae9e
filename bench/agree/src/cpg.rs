//! corosync's closed process groups, as the nearest thing that others have: the time from a multicast of
//! 64 bytes until the sender itself gets it delivered, which is when every member's order of it is
//! fixed (agreed ordering on the ring).
//!
//! The client must be where the daemon's local sockets and shared memory are, so this program runs itself
//! again inside the daemon's namespaces (`nsenter`). The library is loaded at run time: nothing of
//! corosync is needed to build this.

use anyhow::{Context, Result, bail};
use base::Duration;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use testbed::corosync::Corosync;
use testbed::os;
use testbed::programs::Programs;

/// What this program is told to be when it is the client.
pub(crate) const WORD: &str = "cpg-client";
/// Longest wait for a delivery.
const PATIENCE: Duration = Duration::from_millis(1_000);
/// `CS_OK` of corosync.
const OK: c_int = 1;
/// `CS_DISPATCH_ALL`.
const DISPATCH_ALL: c_int = 2;
/// `CPG_TYPE_AGREED`.
const AGREED: c_int = 2;
/// As the event loop of netguard-control.
const PRIORITY: i32 = 40;

/// The numbers of self-deliveries, in nanoseconds, of a client at the first node of a ring of `nodes`.
pub(crate) fn measure(nodes: u8, count: u32, programs: &Programs) -> Result<Vec<Duration>> {
    let mut ring = Corosync::start(nodes, programs)?;
    let daemon = ring.bed_mut().processes(1).first().map(testbed::process::Process::pid);
    let pid = daemon.context("corosync is gone")?.to_string();
    let own = std::env::current_exe()?;
    let mut client = Command::new("nsenter");
    client.args(["--target", &pid, "--mount", "--net"]).arg(own);
    let output = client.args([WORD, "--count", &count.to_string()]).output()?;
    if !output.status.success() {
        bail!("the client of corosync: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let text = String::from_utf8(output.stdout)?;
    text.lines().map(|line| Ok(Duration(line.trim().parse()?))).collect()
}

/// `struct cpg_name`.
#[repr(C)]
struct Name {
    length: u32,
    value: [c_char; 128],
}

/// `cpg_callbacks_t`: deliver and confchg.
#[repr(C)]
struct Callbacks {
    deliver: Option<Deliver>,
    changed: Option<Changed>,
}

type Deliver = extern "C" fn(u64, *const Name, u32, u32, *mut c_void, usize);
type Changed = extern "C" fn(
    u64,
    *const Name,
    *const c_void,
    usize,
    *const c_void,
    usize,
    *const c_void,
    usize,
);
type Initialize = unsafe extern "C" fn(*mut u64, *mut Callbacks) -> c_int;
type Join = unsafe extern "C" fn(u64, *const Name) -> c_int;
type FdGet = unsafe extern "C" fn(u64, *mut c_int) -> c_int;
type Dispatch = unsafe extern "C" fn(u64, c_int) -> c_int;
type Mcast = unsafe extern "C" fn(u64, c_int, *const libc::iovec, u32) -> c_int;

/// The number that was delivered last.
static DELIVERED: AtomicU64 = AtomicU64::new(0);

extern "C" fn deliver(_: u64, _: *const Name, _: u32, _: u32, message: *mut c_void, length: usize) {
    if length >= 8 {
        // SAFETY: the library hands over `length` readable bytes, and eight of them are read.
        let number = unsafe { message.cast::<u64>().read_unaligned() };
        DELIVERED.store(number, Ordering::SeqCst);
    }
}

extern "C" fn changed(
    _: u64,
    _: *const Name,
    _: *const c_void,
    _: usize,
    _: *const c_void,
    _: usize,
    _: *const c_void,
    _: usize,
) {
}

/// A symbol of libcpg as a function of type `F`.
///
/// # Safety
/// `F` must be the type of that function in corosync's cpg.h.
unsafe fn symbol<F>(library: *mut c_void, name: &CStr) -> Result<F> {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    // SAFETY: the handle is that of dlopen, the name ends with a zero.
    let found = unsafe { libc::dlsym(library, name.as_ptr()) };
    if found.is_null() {
        bail!("libcpg has no {}", name.to_string_lossy());
    }
    // SAFETY: same size (asserted), and the caller says that the function has this type.
    Ok(unsafe { std::mem::transmute_copy(&found) })
}

/// Runs inside the daemon's namespaces: prints one number of nanoseconds a line.
pub(crate) fn client(count: u32) -> Result<()> {
    let _ = os::realtime(PRIORITY);
    // SAFETY: a name that ends with a zero; loading this library runs no code that minds.
    let library = unsafe { libc::dlopen(c"libcpg.so.4".as_ptr(), libc::RTLD_NOW) };
    if library.is_null() {
        bail!("libcpg.so.4 is not here (apt-get install corosync)");
    }
    // SAFETY: the types are those of corosync 3's cpg.h.
    let (initialize, join, fd_get, dispatch, mcast) = unsafe {
        let initialize: Initialize = symbol(library, c"cpg_initialize")?;
        let join: Join = symbol(library, c"cpg_join")?;
        let fd_get: FdGet = symbol(library, c"cpg_fd_get")?;
        let dispatch: Dispatch = symbol(library, c"cpg_dispatch")?;
        let mcast: Mcast = symbol(library, c"cpg_mcast_joined")?;
        (initialize, join, fd_get, dispatch, mcast)
    };
    let mut callbacks = Callbacks { deliver: Some(deliver), changed: Some(changed) };
    let (mut handle, mut fd) = (0, -1);
    let mut group = Name { length: 5, value: [0; 128] };
    for (to, from) in group.value.iter_mut().zip(b"agree") {
        *to = *from as c_char;
    }
    let check = |what: &str, result: c_int| match result {
        OK => Ok(()),
        other => bail!("{what} says {other}"),
    };
    // SAFETY: every pointer is to a value of the type that cpg.h asks for, and lives for the call;
    // the callbacks are functions, which live for ever.
    unsafe {
        check("cpg_initialize", initialize(&raw mut handle, &raw mut callbacks))?;
        check("cpg_join", join(handle, &raw const group))?;
        check("cpg_fd_get", fd_get(handle, &raw mut fd))?;
    }
    // The first numbers pay for the join.
    for number in 1..=u64::from(count) + WARM_UP {
        let mut message = [0_u8; 64];
        message[..8].copy_from_slice(&number.to_ne_bytes());
        let part = libc::iovec { iov_base: message.as_mut_ptr().cast(), iov_len: message.len() };
        let begin = os::now();
        // SAFETY: one part, whose 64 bytes live for the call.
        let mut sent = unsafe { mcast(handle, AGREED, &raw const part, 1) };
        while sent != OK && os::now().since(begin) < PATIENCE {
            // Full or not joined yet: the next try.
            os::sleep(Duration::from_millis(1));
            // SAFETY: as above.
            sent = unsafe { mcast(handle, AGREED, &raw const part, 1) };
        }
        check("cpg_mcast_joined", sent)?;
        while DELIVERED.load(Ordering::SeqCst) != number {
            wait(fd);
            // SAFETY: an initialised handle.
            check("cpg_dispatch", unsafe { dispatch(handle, DISPATCH_ALL) })?;
            if os::now().since(begin) > PATIENCE {
                bail!("message {number} is not delivered");
            }
        }
        if number > WARM_UP {
            println!("{}", os::now().since(begin).nanos());
        }
    }
    Ok(())
}

/// Messages before the first that counts.
const WARM_UP: u64 = 20;

fn wait(fd: c_int) {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid entry, and the count says one.
    unsafe { libc::poll(&raw mut poll, 1, 100) };
}
