//! The disks as files of a FUSE filesystem.
//!
//! One regular file per disk, opened with direct I/O, so that every pread, pwrite and fsync of the
//! reader arrives here. The reader in the lab is the UBD driver of User Mode Linux: it knows files
//! only, asks for their size, locks them, and turns a flush of its guest into an fsync. No helper
//! program is needed: the filesystem is mounted by root itself.

use crate::SECTOR;
use crate::cache::Cache;
use crate::device::{Device, Done, Refusal, Request};
use crate::fault::Fault;
use crate::queue::{Queue, Reply};
use crate::report::{Counters, CutReport};
use crate::store::SparseFile;
use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, InitFlags, KernelConfig, LockOwner, MountOption, OpenFlags, ReplyAttr,
    ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Session, TimeOrNow,
    WriteFlags,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ffi::{CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Names and sizes never change while the disks are served.
const ATTRIBUTES_LAST: Duration = Duration::from_secs(3600);
/// The longest request the kernel may send.
const REQUEST_MAX: u32 = 1024 * 1024;
/// Disks of one server: each costs a thread to keep it and one to read requests.
const DISKS_MAX: usize = 32;
/// The first inode of a disk; 1 is the folder.
const FIRST_INODE: u64 = 2;

/// What a disk is to be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DiskSpec {
    /// The name of its file.
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
    /// The name cannot be that of a file here.
    #[error("disk {name:?}: a name is one part of a path, up to 255 bytes, and of one disk only")]
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
    /// No filesystem, no thread.
    #[error(
        "the disks cannot be mounted at {}: {cause}; this needs root, /dev/fuse and a folder there",
        path.display()
    )]
    Mount {
        /// Where.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

/// The disks that are served; when this goes, their contents are durable and they are unmounted.
#[derive(Debug)]
pub struct Disks {
    mount_point: PathBuf,
    disks: Vec<Disk>,
    /// Ends its threads once the last reader has closed its file.
    _session: BackgroundSession,
}

/// One of the disks; clones are the same disk.
#[derive(Clone, Debug)]
pub struct Disk {
    name: String,
    queue: Arc<Queue<SparseFile, Answer>>,
}

impl Disks {
    /// Serves `specs` as files in `mount_point`, an empty folder; what must survive a power cut is in
    /// `store_dir`, in files that are made if they are not there.
    pub fn serve(
        mount_point: &Path,
        store_dir: &Path,
        specs: &[DiskSpec],
    ) -> Result<Self, ServeError> {
        check(specs)?;
        let disks: Vec<Disk> =
            specs.iter().map(|spec| Disk::open(store_dir, spec)).collect::<Result<_, _>>()?;
        let failed = |cause| ServeError::Mount { path: mount_point.to_owned(), cause };
        for disk in &disks {
            let queue = disk.queue.clone();
            let thread = std::thread::Builder::new().name(format!("disk {}", disk.name));
            thread.spawn(move || queue.keep()).map_err(failed)?;
        }
        let mut config = Config::default();
        config.mount_options = vec![
            MountOption::FSName("netguard-disks".to_owned()),
            MountOption::NoDev,
            MountOption::NoSuid,
            MountOption::NoExec,
        ];
        // One disk at work takes one thread, so one is always there to read the next request.
        config.n_threads = Some(disks.len() + 1);
        let files = Files { disks: disks.clone(), since: SystemTime::now() };
        let session = Session::new(files, mount_point, &config)
            .and_then(Session::spawn)
            .inspect_err(|_| disks.iter().for_each(|disk| disk.queue.close()))
            .map_err(failed)?;
        Ok(Self { mount_point: mount_point.to_owned(), disks, _session: session })
    }

    /// The file of a disk.
    pub fn path(&self, name: &str) -> PathBuf {
        self.mount_point.join(name)
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
        }
        // Readers that live on keep their descriptors, and get errors; the name is free at once.
        if let Ok(path) = CString::new(self.mount_point.as_os_str().as_bytes()) {
            // SAFETY: `path` is a string that ends with zero and lives through the call.
            unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
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
        Ok(Self { name: spec.name.clone(), queue })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The power goes. What is not flushed survives or not by `seed`; requests that wait are answered
    /// with an error, and so is every one through a descriptor that was opened before. Kill the
    /// reader first, cut, and then wait for its end: it may hang in a request until the cut.
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

fn check(specs: &[DiskSpec]) -> Result<(), ServeError> {
    if specs.len() > DISKS_MAX {
        return Err(ServeError::Many { count: specs.len() });
    }
    let mut names = BTreeSet::new();
    for DiskSpec { name, bytes, .. } in specs {
        let part = !name.is_empty() && name != "." && name != ".." && name.len() <= 255;
        if !part || name.contains(['/', '\0']) || !names.insert(name) {
            return Err(ServeError::Name { name: name.clone() });
        }
        if *bytes == 0 || !bytes.is_multiple_of(SECTOR) {
            return Err(ServeError::Size { name: name.clone(), bytes: *bytes });
        }
    }
    Ok(())
}

/// Where the answer of a request goes.
#[derive(Debug)]
enum Answer {
    Data(ReplyData),
    Written(ReplyWrite),
    Done(ReplyEmpty),
}

impl Reply for Answer {
    fn send(self, outcome: Result<Done, Refusal>) {
        match (self, outcome) {
            (Self::Data(reply), Ok(Done::Data(data))) => reply.data(&data),
            (Self::Written(reply), Ok(Done::Written(bytes))) => reply.written(bytes),
            (Self::Done(reply), Ok(_)) => reply.ok(),
            // The device answers each kind of request with its kind of answer.
            (Self::Data(reply), other) => reply.error(errno(other.err())),
            (Self::Written(reply), other) => reply.error(errno(other.err())),
            (Self::Done(reply), Err(refusal)) => reply.error(errno(Some(refusal))),
        }
    }
}

fn errno(refusal: Option<Refusal>) -> Errno {
    match refusal {
        Some(Refusal::NoSpace) => Errno::ENOSPC,
        Some(Refusal::Unaligned) => Errno::EINVAL,
        Some(Refusal::Crowded) => Errno::EBUSY,
        Some(Refusal::Io) | None => Errno::EIO,
    }
}

/// A folder with one file per disk.
#[derive(Debug)]
struct Files {
    disks: Vec<Disk>,
    since: SystemTime,
}

impl Files {
    fn disk(&self, inode: INodeNo) -> Option<&Disk> {
        let place = u64::from(inode).checked_sub(FIRST_INODE)?;
        self.disks.get(usize::try_from(place).ok()?)
    }

    fn submit(&self, inode: INodeNo, handle: FileHandle, request: Request, answer: Answer) {
        match self.disk(inode) {
            Some(disk) => disk.queue.submit(handle.into(), request, answer),
            None => answer.send(Err(Refusal::Io)),
        }
    }

    fn attributes(&self, inode: INodeNo) -> Option<FileAttr> {
        let folder = inode == INodeNo::ROOT;
        let size = if folder { 0 } else { self.disk(inode)?.queue.bytes() };
        Some(FileAttr {
            ino: inode,
            size,
            blocks: size / SECTOR,
            atime: self.since,
            mtime: self.since,
            ctime: self.since,
            crtime: UNIX_EPOCH,
            kind: if folder { FileType::Directory } else { FileType::RegularFile },
            perm: if folder { 0o755 } else { 0o600 },
            nlink: if folder { 2 } else { 1 },
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }
}

impl Filesystem for Files {
    fn init(&mut self, _: &fuser::Request, config: &mut KernelConfig) -> io::Result<()> {
        // An answer that differs from the wish is the nearest that the kernel takes.
        let _ = config.set_max_write(REQUEST_MAX);
        let _ = config.add_capabilities(InitFlags::FUSE_ASYNC_DIO);
        Ok(())
    }

    fn lookup(&self, _: &fuser::Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = (FIRST_INODE..).zip(&self.disks).find(|(_, disk)| name == disk.name.as_str());
        match found.and_then(|(inode, _)| self.attributes(INodeNo(inode))) {
            Some(attributes) => reply.entry(&ATTRIBUTES_LAST, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &fuser::Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(inode) {
            Some(attributes) => reply.attr(&ATTRIBUTES_LAST, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn setattr(
        &self,
        _: &fuser::Request,
        inode: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        match self.attributes(inode) {
            // A disk keeps its size; times and modes are nobody's concern.
            Some(attributes) if size.is_none_or(|size| size == attributes.size) => {
                reply.attr(&ATTRIBUTES_LAST, &attributes);
            }
            Some(_) => reply.error(Errno::EPERM),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, _: &fuser::Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let Some(disk) = self.disk(inode) else { return reply.error(Errno::ENOENT) };
        let flags = FopenFlags::FOPEN_DIRECT_IO
            | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES
            | FopenFlags::FOPEN_NOFLUSH;
        reply.opened(FileHandle(disk.queue.open()), flags);
    }

    fn read(
        &self,
        _: &fuser::Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.submit(inode, handle, Request::Read { offset, length }, Answer::Data(reply));
    }

    fn write(
        &self,
        _: &fuser::Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        flags: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        // With direct I/O the kernel leaves it to the server to keep O_DSYNC: no fsync follows.
        let durable = flags.0 & libc::O_DSYNC != 0;
        let request = Request::Write { offset, data: data.to_vec(), durable };
        self.submit(inode, handle, request, Answer::Written(reply));
    }

    fn fsync(
        &self,
        _: &fuser::Request,
        inode: INodeNo,
        handle: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        self.submit(inode, handle, Request::Flush, Answer::Done(reply));
    }

    fn fallocate(
        &self,
        _: &fuser::Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        // UBD discards by punching holes and writes zeroes by zeroing a range. Both read as zeroes.
        if mode & (libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_ZERO_RANGE) == 0 {
            return reply.error(Errno::EOPNOTSUPP);
        }
        let request = Request::Zero { offset, length };
        self.submit(inode, handle, request, Answer::Done(reply));
    }

    fn readdir(
        &self,
        _: &fuser::Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let root = u64::from(INodeNo::ROOT);
        let folders = [".", ".."].map(|name| (root, FileType::Directory, name));
        let files = (FIRST_INODE..)
            .zip(&self.disks)
            .map(|(inode, disk)| (inode, FileType::RegularFile, disk.name.as_str()));
        let entries = (1..).zip(folders.into_iter().chain(files));
        for (next, (inode, kind, name)) in entries.filter(|(next, _)| *next > offset) {
            if reply.add(INodeNo(inode), next, kind, name) {
                break;
            }
        }
        reply.ok();
    }
}
