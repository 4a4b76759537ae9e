//! The namespaces of one service: network, mounts and host name, entered by the calling thread.
//!
//! nfsd and lockd keep nearly all their state per *network* namespace. The *mount* namespace gives
//! the instance a `/run` of its own, where the kernel looks for the port mapper's socket, and keeps
//! the service's volume out of everybody else's sight. The *host name* is what nfsd takes for its
//! server scope: the same on both nodes, another for every service.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use thiserror::Error;

/// nfsd's files, of the namespace in which they were mounted.
pub const NFSD: &str = "/proc/fs/nfsd";

/// A step that failed.
#[derive(Debug, Error)]
#[error("{doing}: {source}")]
pub struct SpaceError {
    doing: String,
    source: io::Error,
}

fn failed(doing: impl Into<String>) -> impl FnOnce(io::Error) -> SpaceError {
    let doing = doing.into();
    move |source| SpaceError { doing, source }
}

/// Makes the network namespace `name` with a macvlan of the same name and a MAC of its own on
/// interface `parent`. One that is there already is used.
pub fn make(name: &str, parent: &str) -> Result<(), SpaceError> {
    let file = Path::new("/run/netns").join(name);
    if file.exists() {
        return Ok(());
    }
    run("ip", &["netns", "add", name])?;
    let interface = interface(name);
    run(
        "ip",
        &[
            "link", "add", "link", parent, "name", &interface, "netns", name, "type", "macvlan",
            "mode", "bridge",
        ],
    )?;
    for link in ["lo", &interface] {
        run("ip", &["-n", name, "link", "set", link, "up"])?;
    }
    Ok(())
}

/// The interface of a service in its namespace.
#[must_use]
pub fn interface(service: &str) -> String {
    format!("mv-{service}")
}

/// Moves the calling thread, and the processes and threads that it starts, into the namespaces of
/// a service.
pub fn enter(service: &str) -> Result<(), SpaceError> {
    let network = fs::File::open(Path::new("/run/netns").join(service))
        .map_err(failed("open the network namespace"))?;
    // SAFETY: the descriptor is a namespace file that lives beyond the call.
    check(unsafe { libc::setns(network.as_raw_fd(), libc::CLONE_NEWNET) }, "enter the network")?;
    // SAFETY: unshare takes flags and touches no memory of ours.
    let unshared = unsafe { libc::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWUTS) };
    check(unshared, "leave the node's mounts and host name")?;
    let scope = format!("netguard-{service}");
    // SAFETY: pointer and length are those of `scope`.
    let named = unsafe { libc::sethostname(scope.as_ptr().cast(), scope.len()) };
    check(named, "set the host name")?;
    mount("none", "/", "", libc::MS_REC | libc::MS_PRIVATE, "")?;
    mount("run", "/run", "tmpfs", 0, "mode=0755")?;
    for folder in ["/run/rpc_pipefs", "/run/rpcbind", "/srv"] {
        fs::create_dir_all(folder).map_err(failed(format!("make {folder}")))?;
    }
    mount("pipes", "/run/rpc_pipefs", "rpc_pipefs", 0, "")?;
    mount("nfsd", NFSD, "nfsd", 0, "")
}

fn mount(
    what: &str,
    place: &str,
    kind: &str,
    flags: libc::c_ulong,
    options: &str,
) -> Result<(), SpaceError> {
    let doing = format!("mount {what} on {place}");
    let text = |s: &str| CString::new(s).map_err(|e| failed(&doing)(e.into()));
    let (what, place, kind, options) = (text(what)?, text(place)?, text(kind)?, text(options)?);
    // SAFETY: four C strings that live beyond the call.
    let mounted = unsafe {
        libc::mount(what.as_ptr(), place.as_ptr(), kind.as_ptr(), flags, options.as_ptr().cast())
    };
    check(mounted, &doing)
}

/// umount(2).
pub fn unmount(place: &Path) -> Result<(), SpaceError> {
    use std::os::unix::ffi::OsStrExt;
    let doing = format!("unmount {}", place.display());
    let place = CString::new(place.as_os_str().as_bytes()).map_err(|e| failed(&doing)(e.into()))?;
    // SAFETY: one C string that lives beyond the call.
    check(unsafe { libc::umount2(place.as_ptr(), 0) }, &doing)
}

/// Runs a program of the system to its end.
pub fn run(program: &str, arguments: &[&str]) -> Result<(), SpaceError> {
    let doing = format!("{program} {}", arguments.join(" "));
    let output = Command::new(program).args(arguments).output().map_err(failed(&doing))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(failed(doing)(io::Error::other(said)))
}

/// Writes one line to a file of the kernel.
pub fn write(path: impl Into<PathBuf>, line: &str) -> Result<(), SpaceError> {
    let path = path.into();
    fs::write(&path, format!("{line}\n"))
        .map_err(failed(format!("write {line} to {}", path.display())))
}

/// Writes one line to a file of nfsd.
pub fn nfsd(file: &str, line: &str) -> Result<(), SpaceError> {
    write(format!("{NFSD}/{file}"), line)
}

/// Reads a file of the kernel, without the end of its line; lockd adds a zero byte to it.
pub fn read(path: impl Into<PathBuf>) -> Result<String, SpaceError> {
    let path = path.into();
    let text = fs::read_to_string(&path).map_err(failed(format!("read {}", path.display())))?;
    Ok(text.trim_end_matches('\0').trim().to_owned())
}

fn check(result: libc::c_int, doing: &str) -> Result<(), SpaceError> {
    if result == 0 { Ok(()) } else { Err(failed(doing)(io::Error::last_os_error())) }
}
