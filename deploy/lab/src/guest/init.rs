//! From the kernel's hand-over to a node with a writable root and a network.

use anyhow::{Context, Result, bail};
use lab::spec::BRIDGES;
use std::ffi::{CString, OsStr};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

/// Where programs are found in a guest.
pub(crate) const PATH: &str = "/lab/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Where the writable root is put together.
const STAGE: &str = "/mnt";

/// Makes the root writable and gives the node its name and addresses.
pub(crate) fn prepare() -> Result<()> {
    writable_root()?;
    for (kind, target) in [("tmpfs", "/run"), ("tmpfs", "/tmp"), ("bpf", "/sys/fs/bpf")] {
        fs::create_dir_all(target).or_else(exists).context(target)?;
        mount(kind, target, kind, 0, "")?;
    }
    for (kind, target, options) in [
        ("devpts", "/dev/pts", "ptmxmode=666"),
        ("tmpfs", "/dev/shm", ""),
        ("cgroup2", "/sys/fs/cgroup", ""),
    ] {
        fs::create_dir_all(target).or_else(exists).context(target)?;
        mount(kind, target, kind, 0, options)?;
    }
    run("modprobe", &["virtio_blk"])?;
    let share = variable("lab_share")?;
    fs::create_dir_all("/lab/share").context("/lab/share")?;
    mount("none", "/lab/share", "hostfs", 0, &share)?;
    let name = variable("lab_node")?;
    fs::write("/proc/sys/kernel/hostname", &name).context("host name")?;
    fs::write("/etc/hostname", &name).context("/etc/hostname")?;
    network(&variable("lab_id")?)
}

/// The tree of packages is read-only and shared by all nodes; what a node writes is in its memory.
fn writable_root() -> Result<()> {
    mount("proc", "/proc", "proc", 0, "")?;
    mount("sysfs", "/sys", "sysfs", 0, "")?;
    mount("tmpfs", STAGE, "tmpfs", 0, "size=60%")?;
    run("modprobe", &["overlay"])?;
    for folder in ["upper", "work", "root"] {
        let path = format!("{STAGE}/{folder}");
        fs::create_dir(&path).context(path)?;
    }
    let root = format!("{STAGE}/root");
    let options = format!("lowerdir=/,upperdir={STAGE}/upper,workdir={STAGE}/work");
    mount("overlay", &root, "overlay", 0, &options)?;
    for inner in ["/proc", "/sys", "/dev"] {
        mount(inner, &format!("{root}{inner}"), "", libc::MS_MOVE, "")?;
    }
    std::env::set_current_dir(&root).context("new root")?;
    mount(".", "/", "", libc::MS_MOVE, "")?;
    std::os::unix::fs::chroot(".").context("new root")?;
    std::env::set_current_dir("/").context("new root")
}

fn network(id: &str) -> Result<()> {
    run("ip", &["link", "set", "lo", "up"])?;
    for bridge in 0..BRIDGES.len() {
        let (kernels, ours) = (format!("vec{bridge}"), format!("eth{bridge}"));
        run("ip", &["link", "set", &kernels, "name", &ours])?;
        run("ip", &["addr", "add", &format!("10.20.{bridge}.{id}/24"), "dev", &ours])?;
        run("ip", &["link", "set", &ours, "up"])?;
    }
    Ok(())
}

/// Splits: the child goes on, process 1 reaps what dies until the child does.
pub(crate) fn reap_beside() -> Result<()> {
    // SAFETY: there is one thread, so the child may do anything.
    match unsafe { libc::fork() } {
        0 => Ok(()),
        agent if agent > 0 => loop {
            // SAFETY: no status is asked for.
            let ended = unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) };
            if ended == agent || ended < 0 {
                bail!("the agent ended");
            }
        },
        _ => Err(io::Error::last_os_error()).context("fork"),
    }
}

fn variable(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("`{name}=` is missing on the kernel's line"))
}

fn exists(error: io::Error) -> io::Result<()> {
    // /sys and /proc have their mount points and refuse new folders.
    if error.kind() == io::ErrorKind::PermissionDenied { Ok(()) } else { Err(error) }
}

fn run(program: &str, words: &[&str]) -> Result<()> {
    let output =
        Command::new(program).args(words).env("PATH", PATH).output().context(program.to_owned())?;
    if !output.status.success() {
        bail!("`{program} {}`: {}", words.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn mount(
    source: &str,
    target: &str,
    kind: &str,
    flags: libc::c_ulong,
    options: &str,
) -> Result<()> {
    let text = |word: &str| CString::new(OsStr::new(word).as_bytes());
    let (source_, target_) = (text(source)?, text(target)?);
    let (kind_, options_) = (text(kind)?, text(options)?);
    // SAFETY: all four strings live through the call.
    let result = unsafe {
        libc::mount(
            source_.as_ptr(),
            target_.as_ptr(),
            kind_.as_ptr(),
            flags,
            options_.as_ptr().cast(),
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error()).with_context(|| format!("mount {source} {target}"));
    }
    Ok(())
}
