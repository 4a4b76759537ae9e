//! The map in the hands of the two daemons: fast makes it, control attaches by the inherited
//! descriptor.
//!
//! A lock on the map keeps a second daemon out. It belongs to the descriptor that control inherits,
//! so it lives as long as either of them: a control that has not yet finished to withdraw its
//! addresses must not meet its successor. A lock on the run directory orders two daemons that start
//! at the same moment.

use crate::counters::Counters;
use crate::error::MapError;
use crate::events::EventRing;
use crate::header::{Header, Maker, Unfit};
use crate::layout::{LAYOUT, Shared};
use crate::measures::Measures;
use crate::memory::{self, Memory};
use crate::trace::Trace;
use base::Instant;
use heartbeat::Board;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Name of the map in the run directory.
pub const NAME: &str = "map";

/// How long a new daemon waits for the control process of the one before to end.
const PREDECESSOR_WAIT: Duration = Duration::from_secs(2);

/// The shared map, writable.
#[derive(Debug)]
pub struct Map {
    memory: Memory,
    file: File,
}

impl Map {
    /// Fast: makes a fresh map in `run_dir`, with all words zero, unless a live daemon holds one
    /// there.
    pub fn create(run_dir: &Path, maker: Maker) -> Result<Self, MapError> {
        Self::create_after(run_dir, maker, PREDECESSOR_WAIT)
    }

    fn create_after(run_dir: &Path, maker: Maker, wait: Duration) -> Result<Self, MapError> {
        let path = run_dir.join(NAME);
        let directory = File::open(run_dir).map_err(unusable(run_dir, "open"))?;
        let held = || MapError::Held {
            dir: run_dir.to_owned(),
            pid: crate::reader::ReadMap::open(&path).map_or(0, |map| map.header().pid()),
        };
        if !memory::try_lock(&directory).map_err(unusable(run_dir, "lock"))? {
            return Err(held());
        }
        if !wait_for_predecessor(&path, wait)? {
            return Err(held());
        }
        // A new file under another name, then renamed: readers of the old map keep an old but whole
        // one.
        let new = run_dir.join("map.new");
        remove(&new)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o640)
            .open(&new)
            .map_err(unusable(&new, "create"))?;
        file.set_len(Shared::SIZE as u64).map_err(unusable(&new, "size"))?;
        if !memory::try_lock(&file).map_err(unusable(&new, "lock"))? {
            return Err(held());
        }
        let memory = Memory::map(&file, true)
            .map_err(|source| MapError::Mapping { path: path.clone(), source })?;
        memory.shared().header.0.write(maker);
        fs::rename(&new, &path).map_err(unusable(&path, "put in place"))?;
        Ok(Self { memory, file })
    }

    /// Control: attaches to the map whose descriptor it inherited, and keeps it from its own
    /// children.
    pub fn attach(fd: OwnedFd) -> Result<Self, MapError> {
        let file = File::from(fd);
        let path = PathBuf::from("the inherited map");
        memory::close_on_exec(&file).map_err(unusable(&path, "use"))?;
        let memory = map_checked(&file, &path, true)?;
        Ok(Self { memory, file })
    }

    /// A map without a file, for tests of those who use one.
    pub fn nameless() -> Result<Self, MapError> {
        let path = PathBuf::from("a nameless map");
        let file = memory::nameless().map_err(unusable(&path, "make"))?;
        file.set_len(Shared::SIZE as u64).map_err(unusable(&path, "size"))?;
        let memory = Memory::map(&file, true)
            .map_err(|source| MapError::Mapping { path: path.clone(), source })?;
        let maker = Maker { pid: std::process::id(), started: Instant::ZERO };
        memory.shared().header.0.write(maker);
        Ok(Self { memory, file })
    }

    /// Who made the map.
    pub fn header(&self) -> &Header {
        &self.memory.shared().header.0
    }
    /// The words of the heartbeat.
    pub fn board(&self) -> &Board {
        &self.memory.shared().board.0
    }
    /// From fast to control.
    pub fn events(&self) -> &EventRing {
        &self.memory.shared().events.0
    }
    /// Numbers for people.
    pub fn counters(&self) -> &Counters {
        &self.memory.shared().counters.0
    }
    /// What fast did last.
    pub fn trace(&self) -> &Trace {
        &self.memory.shared().trace.0
    }
    /// What fast measures.
    pub fn measures(&self) -> &Measures {
        &self.memory.shared().measures.0
    }
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Maps a file that somebody else made, after checking that it is a map of this layout.
pub(crate) fn map_checked(file: &File, path: &Path, write: bool) -> Result<Memory, MapError> {
    let have = file.metadata().map_err(unusable(path, "look at"))?.len();
    let want = Shared::SIZE as u64;
    if have < want {
        // The head of a shorter map of another release still names its layout; say that if we can.
        return Err(match short_head(file) {
            Some(found) if found != LAYOUT => {
                MapError::Version { path: path.to_owned(), found, want: LAYOUT }
            }
            _ => MapError::Truncated { path: path.to_owned(), have, want },
        });
    }
    let memory = Memory::map(file, write)
        .map_err(|source| MapError::Mapping { path: path.to_owned(), source })?;
    match memory.shared().header.0.check() {
        Ok(()) => Ok(memory),
        Err(Unfit::Foreign) => Err(MapError::Foreign { path: path.to_owned() }),
        Err(Unfit::Layout(found)) => {
            Err(MapError::Version { path: path.to_owned(), found, want: LAYOUT })
        }
    }
}

/// The layout number of a file too short to be mapped, if it begins like a map.
fn short_head(file: &File) -> Option<u32> {
    use std::os::unix::fs::FileExt;
    let mut head = [0; 12];
    file.read_exact_at(&mut head, 0).ok()?;
    let (magic, layout) = head.split_at(8);
    (magic == crate::header::MAGIC_BYTES)
        .then(|| layout.try_into().ok().map(u32::from_le_bytes))
        .flatten()
}

/// Waits at most `wait` until nobody holds the map that is there; false if somebody still does.
fn wait_for_predecessor(path: &Path, wait: Duration) -> Result<bool, MapError> {
    let old = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(e) => return Err(unusable(path, "open")(e)),
    };
    let step = Duration::from_millis(10);
    let mut waited = Duration::ZERO;
    while !memory::try_lock(&old).map_err(unusable(path, "lock"))? {
        if waited >= wait {
            return Ok(false);
        }
        std::thread::sleep(step);
        waited += step;
    }
    Ok(true)
}

/// Removes what a start that was cut off left behind.
fn remove(path: &Path) -> Result<(), MapError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(unusable(path, "remove")(e)),
        _ => Ok(()),
    }
}

/// Names the file and what was tried.
fn unusable(path: &Path, doing: &'static str) -> impl Fn(io::Error) -> MapError {
    move |source| MapError::Unusable { path: path.to_owned(), doing, source }
}

#[cfg(test)]
mod tests {
    use super::{Map, NAME};
    use crate::error::MapError;
    use crate::header::{Maker, State};
    use crate::layout::{LAYOUT, Shared};
    use crate::reader::ReadMap;
    use base::Instant;
    use std::fs;
    use std::os::fd::AsFd;
    use std::os::unix::fs::{FileExt, PermissionsExt};
    use std::path::{Path, PathBuf};
    use std::time::Duration;
    use wire::{Incarnation, NodeId};

    const MAKER: Maker = Maker { pid: 4711, started: Instant(5) };

    /// A run directory of its own, removed at the end.
    struct RunDir(PathBuf);

    impl RunDir {
        fn new(test: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("ng-shm-{}-{test}", std::process::id()));
            fs::create_dir_all(&dir).unwrap();
            Self(dir)
        }
        fn map(&self) -> PathBuf {
            self.0.join(NAME)
        }
    }

    impl Drop for RunDir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_one_daemon_writes_the_other_and_the_tools_read() {
        let dir = RunDir::new("share");
        let fast = Map::create(&dir.0, MAKER).unwrap();
        let control = Map::attach(fast.as_fd().try_clone_to_owned().unwrap()).unwrap();
        let tool = ReadMap::open(&dir.map()).unwrap();
        assert_eq!(tool.header().state(), State::Starting);
        assert_eq!(tool.header().node(), None);
        control.board().set_open(2, 9);
        fast.header().set_running(NodeId::new(3).unwrap(), Incarnation(8));
        fast.board().set_lease_end(Instant(77));
        assert_eq!(fast.board().open(2), 9);
        assert_eq!(control.board().lease_end(), Instant(77));
        assert_eq!(tool.board().open(2), 9);
        assert_eq!(tool.header().pid(), 4711);
        assert_eq!(tool.header().node(), NodeId::new(3));
        assert_eq!(tool.header().incarnation(), Incarnation(8));
        assert_eq!(tool.header().state(), State::Running);
        assert_eq!(fs::metadata(dir.map()).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn a_second_daemon_is_refused_while_either_half_of_the_first_lives() {
        let dir = RunDir::new("held");
        let fast = Map::create(&dir.0, MAKER).unwrap();
        let second = || Map::create_after(&dir.0, MAKER, Duration::ZERO);
        assert!(matches!(second(), Err(MapError::Held { pid: 4711, .. })));
        let control = Map::attach(fast.as_fd().try_clone_to_owned().unwrap()).unwrap();
        drop(fast);
        assert!(matches!(second(), Err(MapError::Held { .. })));
        drop(control);
        second().unwrap();
    }

    #[test]
    fn a_new_daemon_begins_with_zeroes_and_readers_of_the_old_map_notice() {
        let dir = RunDir::new("anew");
        let old = Map::create(&dir.0, MAKER).unwrap();
        old.board().set_lease_end(Instant(u64::MAX));
        let tool = ReadMap::open(&dir.map()).unwrap();
        drop(old);
        assert!(tool.is_current());
        assert_eq!(tool.board().lease_end(), Instant(u64::MAX));
        let new = Map::create(&dir.0, MAKER).unwrap();
        assert_eq!(new.board().lease_end(), Instant::ZERO);
        assert!(!tool.is_current());
    }

    #[test]
    fn what_is_no_map_of_this_layout_is_refused_with_the_remedy() {
        let dir = RunDir::new("refuse");
        let open = || ReadMap::open(&dir.map()).unwrap_err();
        assert!(matches!(open(), MapError::Missing { .. }));
        drop(Map::create(&dir.0, MAKER).unwrap());
        let whole = fs::read(dir.map()).unwrap();

        fs::write(dir.map(), &whole[..Shared::SIZE - 1]).unwrap();
        assert!(matches!(open(), MapError::Truncated { .. }));
        assert!(open().to_string().contains("restart netguard-fast"));
        fs::write(dir.map(), "").unwrap();
        assert!(matches!(open(), MapError::Truncated { have: 0, .. }));

        fs::write(dir.map(), vec![0; Shared::SIZE]).unwrap();
        assert!(matches!(open(), MapError::Foreign { .. }));

        fs::write(dir.map(), &whole).unwrap();
        let file = fs::OpenOptions::new().write(true).open(dir.map()).unwrap();
        file.write_at(&(LAYOUT + 1).to_ne_bytes(), 8).unwrap();
        assert!(matches!(open(), MapError::Version { found, .. } if found == LAYOUT + 1));
        file.set_len(0x8000).unwrap();
        assert!(matches!(open(), MapError::Version { found, .. } if found == LAYOUT + 1));
        // A daemon does not care what was there: it makes the map anew.
        Map::create(&dir.0, MAKER).unwrap();
        ReadMap::open(&dir.map()).unwrap();
    }

    #[test]
    fn a_run_directory_that_is_not_there_is_named() {
        let error = Map::create(Path::new("/nonexistent/run"), MAKER).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/run"), "{error}");
    }
}
