//! A client at work on several mounts at once: on each it keeps a lock, writes through it, reads
//! past its caches, opens and removes files, takes and drops a second lock; every operation is
//! stamped when it begins and when it is done.

use crate::takeover::error::TakeoverError;
use crate::takeover::resident::now;
use crate::takeover::sequence::say;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Operations of one kind remembered; then that thread stops.
const MOST: usize = 100_000;
const PAUSE: Duration = Duration::from_millis(20);
/// Work has begun when each thread has done so many operations.
const BEGUN: usize = 3;
const BLOCK: usize = 4096;
/// The file whose lock is kept.
pub const HELD: &str = "held";

/// What it does.
#[derive(Clone, Debug, clap::Args)]
pub struct Work {
    /// Folders on the mounts, each for itself; made if need be.
    #[arg(required = true)]
    pub folders: Vec<PathBuf>,
    /// Where the history goes.
    #[arg(long)]
    pub out: PathBuf,
}

/// One operation: when it began, when it was done, in ns of this node's clock.
pub type Span = (u64, u64);

/// Everything that was done, by `FOLDER KIND`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct History {
    /// Operations.
    pub spans: BTreeMap<String, Vec<Span>>,
    /// What failed, when.
    pub errors: Vec<(u64, String)>,
}

/// One block in memory that O_DIRECT takes.
#[repr(align(4096))]
struct Block([u8; BLOCK]);

/// Works until standard input ends.
pub fn run(work: &Work) -> Result<(), TakeoverError> {
    let stop = Arc::new(AtomicBool::new(false));
    let begun = Arc::new(AtomicUsize::new(0));
    let mut threads = vec![];
    for folder in &work.folders {
        for (kind, operation) in operations(folder)? {
            let name = format!("{} {kind}", folder.display());
            let (stop, begun) = (Arc::clone(&stop), Arc::clone(&begun));
            threads.push(thread::spawn(move || repeat(name, operation, &stop, &begun)));
        }
    }
    while begun.load(Ordering::Relaxed) < threads.len() {
        thread::sleep(PAUSE);
    }
    say("running")?;
    // Whatever comes, or its end: the order to stop.
    let _ = io::stdin().read(&mut [0]);
    stop.store(true, Ordering::Relaxed);
    let mut history = History::default();
    for thread in threads {
        if let Ok((name, spans, mut errors)) = thread.join() {
            history.spans.insert(name, spans);
            history.errors.append(&mut errors);
        }
    }
    let text = serde_json::to_string(&history)
        .map_err(|e| TakeoverError::Asked(format!("a history that is no JSON: {e}")))?;
    fs::write(&work.out, text).map_err(TakeoverError::io("write the history"))?;
    say("done")
}

type Operation = Box<dyn FnMut(u64) -> io::Result<()> + Send>;

fn repeat(
    name: String,
    mut operation: Operation,
    stop: &AtomicBool,
    begun: &AtomicUsize,
) -> (String, Vec<Span>, Vec<(u64, String)>) {
    let (mut spans, mut errors) = (Vec::with_capacity(1024), vec![]);
    while !stop.load(Ordering::Relaxed) && spans.len() + errors.len() < MOST {
        let begin = now().0;
        match operation(spans.len() as u64) {
            Ok(()) => spans.push((begin, now().0)),
            Err(e) => errors.push((begin, format!("{name}: {e}"))),
        }
        if spans.len() == BEGUN {
            begun.fetch_add(1, Ordering::Relaxed);
        }
        thread::sleep(PAUSE);
    }
    (name, spans, errors)
}

fn operations(folder: &Path) -> Result<Vec<(&'static str, Operation)>, TakeoverError> {
    let error = |what: &str| {
        let doing = format!("{what} in {}", folder.display());
        move |source| TakeoverError::Io { doing, source }
    };
    let open = |name: &str, flags| {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).custom_flags(flags);
        options.open(folder.join(name)).map_err(error("open a file"))
    };
    fs::create_dir_all(folder).map_err(error("make a folder"))?;
    let (held, direct, free) = (open(HELD, 0)?, open("read", libc::O_DIRECT)?, open("free", 0)?);
    lock(&held, libc::F_WRLCK, libc::F_SETLK).map_err(error("take the lock"))?;
    let mut block = Box::new(Block([0; BLOCK]));
    direct.write_all_at(&block.0, 0).map_err(error("write a block"))?;
    let folder = folder.to_owned();
    let write: Operation = Box::new(move |number| {
        held.write_all_at(&number.to_le_bytes(), 0)?;
        held.sync_data()
    });
    let read: Operation = Box::new(move |_| direct.read_exact_at(&mut block.0, 0));
    let create: Operation = Box::new(move |number| {
        let path = folder.join(format!("created-{}", number % 4));
        drop(OpenOptions::new().write(true).create(true).truncate(false).open(&path)?);
        // A removal that was done but whose answer was lost finds nothing when it is repeated: the
        // reply cache does not move with the service.
        match fs::remove_file(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    });
    let relock: Operation = Box::new(move |_| {
        lock(&free, libc::F_WRLCK, libc::F_SETLKW)?;
        lock(&free, libc::F_UNLCK, libc::F_SETLK)
    });
    Ok(vec![("write", write), ("read", read), ("create", create), ("lock", relock)])
}

/// Locks or unlocks a whole file.
fn lock(file: &File, kind: libc::c_int, how: libc::c_int) -> io::Result<()> {
    let range = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    // SAFETY: the descriptor lives as long as `file`, `range` through the call.
    let done = unsafe { libc::fcntl(file.as_raw_fd(), how, &raw const range) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
