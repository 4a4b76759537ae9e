//! A client that never stops: one thread writes and syncs, one reads past all caches, and every
//! operation is stamped when it begins and when it is done.

use crate::takeover::error::TakeoverError;
use crate::takeover::pattern::{BLOCK_LEN, Block};
use crate::takeover::resident::now;
use crate::takeover::sequence::say;
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

/// Operations remembered; the client stops when it has done so many.
const HISTORY_MAX: usize = 200_000;
/// Blocks of the file that is read.
const READ_BLOCKS: u64 = 64;
/// After so many errors in a row it gives up: the history tells.
const ERRORS_MAX: usize = 32;

/// What it does.
#[derive(Clone, Debug, clap::Args)]
pub struct Work {
    /// The folder, on the mounted export.
    #[arg(long)]
    pub folder: PathBuf,
    /// Names the content.
    #[arg(long)]
    pub seed: u64,
    /// Holds a lock on the file that it writes; a lost lock fails the next write.
    #[arg(long)]
    pub lock: bool,
    /// Where the history goes.
    #[arg(long)]
    pub out: PathBuf,
}

/// One operation: when it began, when it was done, in ns of this node's clock.
pub type Span = (u64, u64);

/// Everything that was done.
#[derive(Clone, Debug, Default, Serialize)]
pub struct History {
    /// Acknowledged writes; the place is the number.
    pub writes: Vec<Span>,
    /// Reads.
    pub reads: Vec<Span>,
    /// What failed, with its time.
    pub errors: Vec<(u64, String)>,
}

#[derive(Debug, Default)]
struct Progress {
    stop: AtomicBool,
    writes: AtomicU64,
    reads: AtomicU64,
}

/// Works until standard input ends, says "running" when both threads have done their first
/// operations, and leaves the history in a file.
pub fn run(work: &Work) -> Result<(), TakeoverError> {
    let written = work.folder.join(format!("written-{:x}", work.seed));
    let read = work.folder.join("read");
    prepare(&read, work.seed)?;
    let progress = Arc::new(Progress::default());
    let writer = start(&progress, write_on(&written, work)?, |p| &p.writes);
    let reader = start(&progress, read_on(&read, work.seed)?, |p| &p.reads);
    while progress.writes.load(Ordering::Relaxed) < 20
        || progress.reads.load(Ordering::Relaxed) < 20
    {
        thread::sleep(std::time::Duration::from_millis(5));
    }
    say("running")?;
    // A line or the end: both mean stop.
    std::io::stdin()
        .read_line(&mut String::new())
        .map_err(TakeoverError::io("wait for the end"))?;
    progress.stop.store(true, Ordering::Relaxed);
    let mut history = History::default();
    for (thread, spans) in [(writer, &mut history.writes), (reader, &mut history.reads)] {
        if let Ok((mut done, mut errors)) = thread.join() {
            spans.append(&mut done);
            history.errors.append(&mut errors);
        }
    }
    let text = serde_json::to_vec(&history)
        .map_err(|e| TakeoverError::Asked(format!("a history that is no JSON: {e}")))?;
    std::fs::write(&work.out, text).map_err(TakeoverError::io("write the history"))?;
    say(&format!("{} writes, {} reads", history.writes.len(), history.reads.len()))
}

/// The file that will be read.
fn prepare(path: &Path, seed: u64) -> Result<(), TakeoverError> {
    let doing = format!("write {}", path.display());
    let file = File::create(path).map_err(TakeoverError::io(&doing))?;
    let mut block = Block::zeroed();
    for number in 0..READ_BLOCKS {
        block.fill(seed, number);
        file.write_all_at(&block.0, number * BLOCK_LEN as u64)
            .map_err(TakeoverError::io(&doing))?;
    }
    file.sync_all().map_err(TakeoverError::io(&doing))
}

type Operation = Box<dyn FnMut(u64) -> std::io::Result<()> + Send>;

fn write_on(path: &Path, work: &Work) -> Result<Operation, TakeoverError> {
    let doing = format!("open {}", path.display());
    let file = File::create_new(path).map_err(TakeoverError::io(&doing))?;
    if work.lock {
        lock(&file)?;
    }
    let seed = work.seed;
    let mut block = Box::new(Block::zeroed());
    Ok(Box::new(move |number| {
        block.fill(seed, number);
        file.write_all_at(&block.0, number * BLOCK_LEN as u64)?;
        file.sync_data()
    }))
}

/// A write lock on the whole file, at once or not at all.
fn lock(file: &File) -> Result<(), TakeoverError> {
    let wanted = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    // SAFETY: the descriptor is open; `wanted` lives through the call, which only reads it.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &raw const wanted) } != 0 {
        return Err(TakeoverError::last("lock the file"));
    }
    Ok(())
}

fn read_on(path: &Path, seed: u64) -> Result<Operation, TakeoverError> {
    let doing = format!("open {}", path.display());
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_DIRECT);
    let file = options.open(path).map_err(TakeoverError::io(&doing))?;
    let (mut found, mut wanted) = (Box::new(Block::zeroed()), Box::new(Block::zeroed()));
    Ok(Box::new(move |turn| {
        let number = turn % READ_BLOCKS;
        file.read_exact_at(&mut found.0, number * BLOCK_LEN as u64)?;
        wanted.fill(seed, number);
        if found.0 == wanted.0 { Ok(()) } else { Err(std::io::Error::other("wrong content")) }
    }))
}

type Thread = JoinHandle<(Vec<Span>, Vec<(u64, String)>)>;

/// Runs an operation with growing numbers until told to stop. A failed one is tried again under its
/// number: only what succeeded is acknowledged.
fn start(
    progress: &Arc<Progress>,
    mut operation: Operation,
    counter: fn(&Progress) -> &AtomicU64,
) -> Thread {
    let progress = Arc::clone(progress);
    let mut spans = Vec::with_capacity(HISTORY_MAX);
    let mut errors = vec![];
    thread::spawn(move || {
        while spans.len() < HISTORY_MAX
            && errors.len() < ERRORS_MAX
            && !progress.stop.load(Ordering::Relaxed)
        {
            let begin = now().0;
            match operation(spans.len() as u64) {
                Ok(()) => {
                    spans.push((begin, now().0));
                    counter(&progress).fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => errors.push((now().0, error.to_string())),
            }
        }
        (spans, errors)
    })
}
