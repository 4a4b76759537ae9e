//! One network namespace with a name, so that `ip netns exec` can look into it.

use crate::error::{BedError, Context, Result, run};
use crate::os;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::process::Command;

/// How long killed processes may take to be gone, on a machine whose cores are busy.
const GONE_MS: u32 = 2_000;

/// A network namespace; removed with everything that runs in it when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    file: File,
    inode: u64,
    keep: bool,
}

impl Namespace {
    /// Makes it and brings its loopback up.
    ///
    /// # Errors
    /// When namespaces are not allowed, or the name is taken.
    pub fn create(name: &str) -> Result<Self> {
        run(Command::new("ip").args(["netns", "add", name])).map_err(|error| match error {
            BedError::Command { output, .. } if output.contains("not permitted") => {
                BedError::Privilege { reason: output }
            }
            other => other,
        })?;
        let namespace = Self::open(name)?;
        run(Command::new("ip").args(["-n", name, "link", "set", "lo", "up"]))?;
        Ok(namespace)
    }

    /// Takes over one that exists.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn open(name: &str) -> Result<Self> {
        let path = format!("/run/netns/{name}");
        let file = File::open(&path).context(format!("namespace {name}"))?;
        let inode = file.metadata().context(path)?.ino();
        Ok(Self { name: name.to_owned(), file, inode, keep: false })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its descriptor, to be entered by a process that is being started.
    #[must_use]
    pub const fn file(&self) -> &File {
        &self.file
    }

    /// Leaves it standing when this value goes.
    pub const fn keep(&mut self) {
        self.keep = true;
    }

    /// Runs `work` on a thread of its own inside: what it opens there (sockets) stays there.
    ///
    /// # Errors
    /// Those of `work`, and when the namespace cannot be entered.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let within = || {
            os::enter(&self.file).context(format!("entering {}", self.name))?;
            work()
        };
        match std::thread::scope(|scope| scope.spawn(within).join()) {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Processes that are in it. (A thread of ours that entered it does not make our process one of
    /// them.)
    #[must_use]
    pub fn processes(&self) -> Vec<i32> {
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| {
                fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|it| it.ino() == self.inode)
            })
            .collect()
    }

    /// SIGKILLs everything in it, again until nothing is left: a fork may have been under way. A process leaves its
    /// namespace before its sockets are closed, so that those it was sent to are waited for as well.
    pub fn kill_all(&self) {
        let own = std::process::id() as i32;
        let mut killed = BTreeSet::new();
        for _ in 0..GONE_MS {
            let found = self.processes();
            killed.retain(|pid| is_dying(*pid));
            if found.is_empty() && killed.is_empty() {
                return;
            }
            for pid in found.into_iter().filter(|pid| *pid != own) {
                os::signal(pid, libc::SIGKILL);
                killed.insert(pid);
            }
            os::sleep(base::Duration::from_millis(1));
        }
    }
}

/// True until the last thread of a killed process is through: it may wait for its parent after that.
fn is_dying(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let is_zombie = stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'));
    let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    threads > usize::from(is_zombie)
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        self.kill_all();
        // An error here has no one to go to; what is left is swept by the next run.
        let _ = run(Command::new("ip").args(["netns", "del", &self.name]));
    }
}
