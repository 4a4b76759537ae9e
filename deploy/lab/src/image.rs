//! The root tree of the guests: Debian packages, unpacked once, used read-only by every node of every
//! lab. Guests reach it by hostfs; there is no image file, no loop device and nothing to copy.

use crate::error::{Context, LabError, Result};
use crate::host::mount;
use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use testbed::error::run;

/// The Debian release of the guests.
const SUITE: &str = "bookworm";

/// What the guests have besides Debian's essential packages.
const PACKAGES: &[&str] = &[
    "user-mode-linux", // the kernel that runs them, and its modules
    "mount",
    "kmod",
    "procps",
    "netbase",
    "less",
    "strace",
    "keyutils",
    "iproute2",
    "ethtool",
    "iputils-ping",
    "iputils-arping",
    "tcpdump",
    "nftables",
    "e2fsprogs",
    "xfsprogs",
    "fio",
    "drbd-utils",
    "nfs-kernel-server",
    "nfs-common",
    "rpcbind",
    "sqlite3",
    "ipmitool",
];

/// Grows when the way a tree is made changes.
const RECIPE: u32 = 1;

/// Where the tree is kept below `cache`, by what is in it.
#[must_use]
pub fn path(cache: &Path) -> PathBuf {
    let list = format!("{RECIPE} {SUITE} {}", PACKAGES.join(","));
    let name = blake3::hash(list.as_bytes()).to_hex();
    cache.join(format!("image-{}", &name.as_str()[..16]))
}

/// The tree, made if it is not there; of two who want it at once, one waits for the other.
///
/// # Errors
/// When `mmdebstrap` is missing or fails.
pub fn provide(cache: &Path) -> Result<PathBuf> {
    let done = path(cache);
    if done.is_dir() {
        return Ok(done);
    }
    fs::create_dir_all(cache).context(cache.display().to_string())?;
    let _lock = lock(&cache.join("image.lock"))?;
    if done.is_dir() {
        return Ok(done);
    }
    let partial = done.with_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial).context(partial.display().to_string())?;
    }
    build(&partial)?;
    fs::rename(&partial, &done).context(done.display().to_string())?;
    Ok(done)
}

fn build(tree: &Path) -> Result<()> {
    eprintln!("lab: unpacking Debian {SUITE} with {} packages …", PACKAGES.len());
    let mut command = Command::new("mmdebstrap");
    command.args(["--variant=apt", "--mode=root", "--quiet"]);
    command.arg(format!("--include={}", PACKAGES.join(",")));
    for folder in ["man", "doc", "locale", "info"] {
        command.arg(format!("--dpkgopt=path-exclude=/usr/share/{folder}/*"));
    }
    command.arg(SUITE).arg(tree);
    run(&mut command)?;
    let modules = tree.join("usr/lib/uml/modules");
    let place = tree.join("lib/modules");
    fs::create_dir_all(&place).context(place.display().to_string())?;
    for version in fs::read_dir(&modules).context(modules.display().to_string())?.flatten() {
        let link = place.join(version.file_name());
        let target = Path::new("/usr/lib/uml/modules").join(version.file_name());
        std::os::unix::fs::symlink(target, &link).context(link.display().to_string())?;
    }
    for folder in ["lab/bin", "lab/share"] {
        let path = tree.join(folder);
        fs::create_dir_all(&path).context(path.display().to_string())?;
    }
    Ok(())
}

/// The kernel that belongs to the tree's modules.
#[must_use]
pub fn kernel(image: &Path) -> PathBuf {
    image.join("usr/bin/linux.uml")
}

/// Shows `programs` to the guests as `/lab/bin`, in this process's own mount namespace.
pub(crate) fn bind_programs(image: &Path, programs: &Path) -> Result<()> {
    let bytes = |path: &Path| CString::new(path.as_os_str().as_bytes());
    let (Ok(from), Ok(to)) = (bytes(programs), bytes(&image.join("lab/bin"))) else {
        return Err(LabError::Refused("a path with a zero byte".into()));
    };
    mount(Some(&from), &to, None, libc::MS_BIND).context(programs.display().to_string())
}

fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).context(path.display().to_string())?;
    // SAFETY: flock has no memory arguments; the descriptor is open.
    let result = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) };
    if result == 0 {
        return Ok(file);
    }
    Err(std::io::Error::last_os_error()).context(path.display().to_string())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn the_trees_name_depends_on_its_packages_only() {
        let name = super::path(Path::new("/x"));
        assert_eq!(name, super::path(Path::new("/x")));
        assert_eq!(name.file_name().unwrap().len(), "image-".len() + 16);
    }
}
