//! The supervisor: the one process that holds a lab, in namespaces of its own.
//!
//! `netguard-lab serve` moves into new network, mount and process namespaces and starts itself again
//! there as their process 1. When that process dies, for whatever reason, the kernel ends every process of the
//! lab, and with the last of them bridges, taps and mounts go: nothing needs to clean up.

mod bmc;
mod channel;
mod machine;
mod namespaces;
mod network;
mod server;

pub(crate) use namespaces::mount;

use crate::error::{Context, LabError, Result};
use crate::image;
use crate::spec::Spec;
use disk::{DiskSpec, Disks};
use machine::Machine;
use network::Network;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use testbed::os;

/// The folders of one running lab.
#[derive(Clone, Debug)]
pub struct Folders {
    /// The lab's own folder; everything below goes with it.
    pub root: PathBuf,
}

impl Folders {
    /// Those of a lab by its name.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self { root: Path::new("/run/netguard-lab").join(name) }
    }

    /// The lab's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.root.join("socket")
    }

    /// What the lab is made of, as JSON.
    #[must_use]
    pub fn spec(&self) -> PathBuf {
        self.root.join("spec.json")
    }

    /// Read and written by host and guests.
    #[must_use]
    pub fn share(&self) -> PathBuf {
        self.root.join("share")
    }

    fn disks(&self) -> PathBuf {
        self.root.join("disks")
    }

    fn store(&self) -> PathBuf {
        self.root.join("store")
    }

    fn make(&self) -> Result<()> {
        for folder in [self.share(), self.disks(), self.store(), self.root.join("uml")] {
            fs::create_dir_all(&folder).context(folder.display().to_string())?;
        }
        Ok(())
    }

    /// Makes the lab's folder anew; what a lab that was killed left there goes.
    pub(crate) fn claim(&self) -> Result<()> {
        if self.root.exists() {
            drop(self.lock()?);
            fs::remove_dir_all(&self.root).context(self.root.display().to_string())?;
        }
        fs::create_dir_all(&self.root).context(self.root.display().to_string())
    }

    /// Waits until a lab that was told to end has ended.
    pub(crate) fn wait_gone(&self) -> Result<()> {
        let end = os::now() + END_LIMIT;
        while self.root.exists() {
            if os::now() > end {
                let text = format!("the lab in {} does not end", self.root.display());
                return Err(LabError::Refused(text));
            }
            os::sleep(base::Duration::from_millis(5));
        }
        Ok(())
    }

    /// Held while the lab runs.
    fn lock(&self) -> Result<File> {
        let path = self.root.join("lock");
        let file = File::create(&path).context(path.display().to_string())?;
        // SAFETY: flock has no memory arguments; the descriptor is open.
        if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
            return Ok(file);
        }
        let text = format!("a lab is up in {}: end it, or use another name", self.root.display());
        Err(LabError::Refused(text))
    }
}

/// How long an ending lab may take: its disks' contents are removed.
const END_LIMIT: base::Duration = base::Duration::from_millis(20_000);

/// Everything that a lab holds. Dropping it ends it in order; the kernel ends it anyway.
#[derive(Debug)]
pub(crate) struct Supervisor {
    spec: Spec,
    folders: Folders,
    machines: Vec<Arc<Machine>>,
    disks: Arc<Disks>,
    down: AtomicBool,
}

/// The outer half: goes into new namespaces, runs the supervisor there, and removes the lab's folder
/// after it, however it ended.
///
/// # Errors
/// When namespaces cannot be made, or the name is taken.
pub fn serve(folders: &Folders) -> Result<()> {
    let _lock = folders.lock()?;
    namespaces::enter()?;
    let program = std::env::current_exe().context("this program's own path")?;
    let status = Command::new(program).arg("supervise").arg(&folders.root).status();
    // Folders of a killed machine's memory may be busy for a moment; the next lab of that name cleans.
    fs::remove_dir_all(&folders.root).context(folders.root.display().to_string())?;
    status.context("supervisor").map(|_| ())
}

/// Runs a lab until its owner (the other end of standard input) goes, or someone asks for its end.
///
/// # Errors
/// When it cannot be set up. What happens later is answered on the socket.
pub fn supervise(folders: &Folders) -> Result<()> {
    let text = fs::read_to_string(folders.spec()).context(folders.spec().display().to_string())?;
    let spec: Spec =
        serde_json::from_str(&text).map_err(|error| LabError::Refused(error.to_string()))?;
    namespaces::settle()?;
    folders.make()?;
    image::bind_programs(&spec.image, &spec.programs)?;
    let network = Arc::new(Network::build(&spec)?);
    let disks = Arc::new(serve_disks(&spec, folders)?);
    let machines: Vec<_> = spec
        .nodes
        .iter()
        .map(|node| Machine::new(&spec, node, folders, Arc::clone(&network), Arc::clone(&disks)))
        .map(Arc::new)
        .collect();
    let supervisor = Supervisor {
        spec,
        folders: folders.clone(),
        machines,
        disks,
        down: AtomicBool::new(false),
    };
    server::run(&Arc::new(supervisor))
}

fn serve_disks(spec: &Spec, folders: &Folders) -> Result<Disks> {
    let mut list = Vec::new();
    for node in &spec.nodes {
        for (index, it) in node.disks.iter().enumerate() {
            list.push(DiskSpec {
                name: node.disk_name(index),
                bytes: it.mib << 20,
                cache_bytes: it.cache_kib << 10,
                seed: u64::from(node.id) << 8 | index as u64,
            });
        }
    }
    Disks::serve(&folders.disks(), &folders.store(), &list)
        .map_err(|error| LabError::Disk(error.to_string()))
}
