//! The disks of one lab: each a virtio block device behind a socket of its own.

use crate::SECTOR;
use crate::cache::Cache;
use crate::device::Device;
use crate::fault::Fault;
use crate::queue::Queue;
use crate::report::{Counters, CutReport};
use crate::store::SparseFile;
use crate::vhost::{Answer, Front};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Disks of one server: each costs two threads, and three more while a guest uses it.
const DISKS_MAX: usize = 32;

/// What a disk is to be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DiskSpec {
    /// The name of its socket.
    pub name: String,
    /// Its size: whole sectors of 512 bytes.
    pub bytes: u64,
    /// What its volatile cache holds; with 0, every write is durable when it is answered.
    pub cache_bytes: u64,
    /// Decides which writes leave a full cache and which requests a chance hits.
    pub seed: u64,
}

/// Why the disks cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The name cannot be that of a socket here.
    #[error(
        "disk {name:?}: a name is one part of a path without a dot before it, shorter than 64 \
         bytes, and of one disk only"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// The size is not one of a disk.
    #[error("disk {name}: {bytes} bytes are not a positive number of whole sectors of 512 bytes")]
    Size {
        /// The disk.
        name: String,
        /// Its bytes.
        bytes: u64,
    },
    /// More than one server takes.
    #[error("{count} disks; one server has at most {DISKS_MAX}")]
    Many {
        /// How many.
        count: usize,
    },
    /// The file behind a disk does not open.
    #[error("disk {name}: {} does not open or has no room for it: {cause}", path.display())]
    Store {
        /// The disk.
        name: String,
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// No socket, no thread.
    #[error("the socket of a disk cannot be made at {}: {cause}", path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

/// The disks that are served; when this goes, their contents are durable.
#[derive(Debug)]
pub struct Disks {
    folder: PathBuf,
    disks: Vec<Disk>,
}

/// One of the disks; clones are the same disk.
#[derive(Clone, Debug)]
pub struct Disk {
    name: String,
    queue: Arc<Queue<SparseFile, Answer>>,
    front: Arc<Front>,
}

impl Disks {
    /// Serves `specs` behind sockets in `folder`; what must survive a power cut is in `store_dir`, in
    /// files that are made if they are not there.
    pub fn serve(folder: &Path, store_dir: &Path, specs: &[DiskSpec]) -> Result<Self, ServeError> {
        check(specs)?;
        let disks: Vec<Disk> =
            specs.iter().map(|spec| Disk::open(store_dir, spec)).collect::<Result<_, _>>()?;
        let served = Self { folder: folder.to_owned(), disks };
        for disk in &served.disks {
            let path = served.path(&disk.name);
            let inner = served.inner_path(&disk.name);
            let failed = |cause| ServeError::Socket { path: path.clone(), cause };
            let (guests, own) = (listen(&path)?, listen(&inner)?);
            let (queue, front) = (Arc::clone(&disk.queue), Arc::clone(&disk.front));
            let thread = || std::thread::Builder::new().name(format!("disk {}", disk.name));
            thread().spawn(move || queue.keep()).map_err(failed)?;
            thread().spawn(move || front.keep(&guests, own, &inner)).map_err(failed)?;
        }
        Ok(served)
    }

    /// The socket of a disk.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Where the library behind it listens.
    fn inner_path(&self, name: &str) -> PathBuf {
        self.folder.join(format!(".{name}"))
    }

    /// The disk of this name.
    pub fn disk(&self, name: &str) -> Option<&Disk> {
        self.disks.iter().find(|disk| disk.name == name)
    }

    /// All disks, in the order of their specifications.
    pub fn iter(&self) -> impl Iterator<Item = &Disk> {
        self.disks.iter()
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        for disk in &self.disks {
            disk.queue.close();
            disk.front.close();
            // Its thread waits for a guest: a connection that says nothing wakes it.
            let _ = UnixStream::connect(self.path(&disk.name));
            let names = [self.path(&disk.name), self.inner_path(&disk.name)];
            // A name that is left does no harm: the next server takes it.
            names.iter().for_each(|path| drop(fs::remove_file(path)));
        }
    }
}

impl Disk {
    fn open(store_dir: &Path, spec: &DiskSpec) -> Result<Self, ServeError> {
        let path = store_dir.join(&spec.name);
        let store = SparseFile::open(&path, spec.bytes).map_err(|cause| {
            let name = spec.name.clone();
            ServeError::Store { name, path, cause }
        })?;
        let cache = Cache::new(store, spec.bytes, spec.cache_bytes, spec.seed);
        let queue = Arc::new(Queue::new(Device::new(cache, spec.seed)));
        let front = Arc::new(Front::new(&spec.name, Arc::clone(&queue)));
        Ok(Self { name: spec.name.clone(), queue, front })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The power goes. What is not flushed survives or not by `seed`; requests that wait are answered
    /// with an error, and so is every one that the guest from before still makes. Kill the guest first:
    /// one that lives would see its disk fail.
    pub fn cut(&self, seed: u64) -> CutReport {
        self.queue.cut(seed)
    }

    /// One more fault, from the next request on; a stall takes the place of the stall before.
    pub fn set_fault(&self, fault: Fault) {
        self.queue.set_fault(fault);
    }

    /// The disk is sound again, and what waited goes on.
    pub fn clear_faults(&self) {
        self.queue.clear_faults();
    }

    /// What it did since it is served.
    pub fn counters(&self) -> Counters {
        self.queue.counters()
    }
}

/// A socket of that name; one that a killed server left is taken away.
fn listen(path: &Path) -> Result<UnixListener, ServeError> {
    let _ = fs::remove_file(path);
    UnixListener::bind(path).map_err(|cause| ServeError::Socket { path: path.to_owned(), cause })
}

fn check(specs: &[DiskSpec]) -> Result<(), ServeError> {
    if specs.len() > DISKS_MAX {
        return Err(ServeError::Many { count: specs.len() });
    }
    let mut names = BTreeSet::new();
    for DiskSpec { name, bytes, .. } in specs {
        let part = !name.is_empty() && !name.starts_with('.') && name.len() < 64;
        if !part || name.contains(['/', '\0']) || !names.insert(name) {
            return Err(ServeError::Name { name: name.clone() });
        }
        if *bytes == 0 || !bytes.is_multiple_of(SECTOR) {
            return Err(ServeError::Size { name: name.clone(), bytes: *bytes });
        }
    }
    Ok(())
}
