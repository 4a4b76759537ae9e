//! A run: its name, its folder, its lock, and the removal of runs whose process is gone.
//!
//! Several beds stand side by side on one machine (tests, demo, bench), so every name carries the
//! run. The folder's lock is held as long as the process lives, however it ends; a folder without a
//! holder is left over.

use crate::error::{BedError, Context, Result};
use crate::namespace::Namespace;
use crate::os;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where all runs have their folders.
const RUNS: &str = "/run/netguard-testbed";
/// A folder younger than this may be about to be locked.
const YOUNG: Duration = Duration::from_secs(5);

/// One run; its folder goes with it unless it is kept.
#[derive(Debug)]
pub struct Run {
    id: String,
    dir: PathBuf,
    keep: bool,
    _lock: File,
}

impl Run {
    /// A new run, after the left-overs of dead ones are swept.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn begin() -> Result<Self> {
        sweep();
        let id = format!("ng{:04x}", os::random() as u16);
        let dir = Path::new(RUNS).join(&id);
        fs::create_dir_all(RUNS).context(RUNS)?;
        fs::create_dir(&dir).context(dir.display().to_string())?;
        let lock = File::create(dir.join("lock")).context("lock of the run")?;
        lock.lock().context("lock of the run")?;
        Ok(Self { id, dir, keep: false, _lock: lock })
    }

    /// Its name, the prefix of all its namespaces.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Leaves the folder when this value goes, and tells later sweeps to leave it too.
    pub fn keep(&mut self) {
        self.keep = fs::write(self.dir.join("keep"), "").is_ok();
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if !self.keep {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// Removes a run: everything that runs in its namespaces, the namespaces, the folder.
///
/// # Errors
/// When there is no such run, or its process lives.
pub fn remove(id: &str) -> Result<()> {
    let dir = Path::new(RUNS).join(id);
    fs::metadata(&dir).context(format!("run {id}"))?;
    if has_holder(&dir) {
        return Err(BedError::Busy { id: id.to_owned() });
    }
    let prefix = format!("{id}-");
    for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        if let Some(name) = entry.file_name().to_str()
            && name.starts_with(&prefix)
        {
            drop(Namespace::open(name)?);
        }
    }
    fs::remove_dir_all(&dir).context(dir.display().to_string())
}

/// True while the process that began the run lives.
fn has_holder(dir: &Path) -> bool {
    File::open(dir.join("lock")).is_ok_and(|lock| lock.try_lock().is_err())
}

/// Removes the runs whose process ended without doing it, and returns their names.
pub fn sweep() -> Vec<String> {
    let mut swept = Vec::new();
    for entry in fs::read_dir(RUNS).into_iter().flatten().flatten() {
        let dir = entry.path();
        let age =
            entry.metadata().and_then(|it| it.modified()).ok().and_then(|it| it.elapsed().ok());
        if dir.join("keep").exists() || age.is_none_or(|age| age < YOUNG) {
            continue;
        }
        if let Some(id) = entry.file_name().to_str()
            && remove(id).is_ok()
        {
            swept.push(id.to_owned());
        }
    }
    swept
}

/// The runs that were kept, or whose process lives.
#[must_use]
pub fn list() -> Vec<String> {
    let entries = fs::read_dir(RUNS).into_iter().flatten().flatten();
    let mut ids: Vec<String> = entries.filter_map(|it| it.file_name().into_string().ok()).collect();
    ids.sort();
    ids
}
