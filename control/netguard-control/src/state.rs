//! What must survive a power cut: which life this is (R-LIFE), and which era was promised last
//! (R-ERA).
//!
//! Two small files in the state directory, each with a checksum. A new value is written beside,
//! synced, renamed, and the directory is synced: after a power cut there is the old value or the
//! new one. A file that is neither was damaged from outside; it is set aside under another name and
//! the daemon does not start, because to promise an era twice could start it twice.

use crate::system;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// Longest record that is read.
const RECORD_MAX: u64 = 256;
const INCARNATION: &str = "incarnation";
const ERA: &str = "era";

/// Why the state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The directory or a file in it cannot be read or written.
    #[error(
        "cannot use {path}: {source}; create the state directory on a disk that survives a \
         reboot, owned by the daemon's user"
    )]
    Io {
        /// What was used.
        path: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// Another daemon uses the directory.
    #[error(
        "another daemon uses the state directory {path}: stop it, or give each node its own \
         --state-dir"
    )]
    Taken {
        /// The directory.
        path: String,
    },
    /// A record is damaged.
    #[error(
        "the record {path} is damaged and was set aside as {aside}: restore it from a backup; or, \
         if the other nodes run or all nodes are stopped, remove {directory} and start as a new node"
    )]
    Damaged {
        /// The record.
        path: String,
        /// Where it is now.
        aside: String,
        /// The state directory.
        directory: String,
    },
    /// There is a life but no era.
    #[error(
        "the record {path} is missing although this node has run before: restore it; or, if the \
         other nodes run or all nodes are stopped, remove {directory} and start as a new node"
    )]
    Missing {
        /// The record.
        path: String,
        /// The state directory.
        directory: String,
    },
    /// All numbers are used.
    #[error("all life numbers of this node are used: give it a new id in the configuration")]
    Exhausted,
}

/// The state directory, held by this process.
#[derive(Debug)]
pub struct State {
    directory: PathBuf,
    /// Locked and synced through.
    handle: File,
    incarnation: u32,
    era: u32,
}

impl State {
    /// Opens the directory, takes it, and reads both records. A directory without records is a new
    /// node's.
    pub fn open(directory: &Path) -> Result<Self, StateError> {
        let fail = |source| StateError::Io { path: directory.display().to_string(), source };
        fs::create_dir_all(directory).map_err(fail)?;
        let handle = File::open(directory).map_err(fail)?;
        system::lock(handle.as_fd()).map_err(|e| match e.kind() {
            io::ErrorKind::WouldBlock => {
                StateError::Taken { path: directory.display().to_string() }
            }
            _ => fail(e),
        })?;
        let mut state = Self { directory: directory.to_owned(), handle, incarnation: 0, era: 0 };
        match (state.read(INCARNATION)?, state.read(ERA)?) {
            (None, None | Some(0)) => state.write(ERA, 0)?,
            (None, Some(_)) => return Err(state.missing(INCARNATION)),
            (Some(_), None) => return Err(state.missing(ERA)),
            (Some(incarnation), Some(era)) => (state.incarnation, state.era) = (incarnation, era),
        }
        Ok(state)
    }

    /// The highest era this node ever promised.
    #[must_use]
    pub const fn era(&self) -> u32 {
        self.era
    }
    /// Begins a new life: durable when this returns.
    pub fn raise_incarnation(&mut self) -> Result<u32, StateError> {
        let next = self.incarnation.checked_add(1).ok_or(StateError::Exhausted)?;
        self.write(INCARNATION, next)?;
        self.incarnation = next;
        Ok(next)
    }
    /// Makes the next life higher than `known` (R-RENUMBER). Never lowers it.
    pub fn skip_incarnations(&mut self, known: u32) -> Result<(), StateError> {
        if known > self.incarnation {
            self.write(INCARNATION, known)?;
            self.incarnation = known;
        }
        Ok(())
    }
    /// Promises an era: durable when this returns. Never lowers it.
    pub fn store_era(&mut self, era: u32) -> Result<(), StateError> {
        if era > self.era {
            self.write(ERA, era)?;
            self.era = era;
        }
        Ok(())
    }

    fn write(&self, name: &str, value: u32) -> Result<(), StateError> {
        let path = self.directory.join(name);
        let beside = self.directory.join(format!("{name}.new"));
        let fail = |source| StateError::Io { path: path.display().to_string(), source };
        let mut file = File::create(&beside).map_err(fail)?;
        file.write_all(record(name, value).as_bytes()).map_err(fail)?;
        file.sync_all().map_err(fail)?;
        fs::rename(&beside, &path).map_err(fail)?;
        self.handle.sync_all().map_err(fail)
    }

    fn read(&self, name: &str) -> Result<Option<u32>, StateError> {
        let path = self.directory.join(name);
        let fail = |source| StateError::Io { path: path.display().to_string(), source };
        let mut bytes = Vec::new();
        match File::open(&path) {
            Ok(file) => file.take(RECORD_MAX).read_to_end(&mut bytes).map_err(fail)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(fail(e)),
        };
        if let Some(value) = parse(name, &bytes) {
            return Ok(Some(value));
        }
        let aside = self.directory.join(format!("{name}.damaged-{}", system::unix_ms()));
        fs::rename(&path, &aside).map_err(fail)?;
        Err(StateError::Damaged {
            path: path.display().to_string(),
            aside: aside.display().to_string(),
            directory: self.directory.display().to_string(),
        })
    }

    fn missing(&self, name: &str) -> StateError {
        StateError::Missing {
            path: self.directory.join(name).display().to_string(),
            directory: self.directory.display().to_string(),
        }
    }
}

/// `netguard-era 1`, the value, the checksum of both lines.
fn record(name: &str, value: u32) -> String {
    let text = format!("netguard-{name} 1\n{value}\n");
    let sum = checksum(text.as_bytes());
    format!("{text}{sum:016x}\n")
}

/// The value, if the bytes are exactly what [`record`] makes of it.
fn parse(name: &str, bytes: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(bytes).ok()?;
    let value = text.lines().nth(1)?.parse().ok()?;
    (text == record(name, value)).then_some(value)
}

/// FNV-1a: against torn and overwritten files, not against people.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::{State, StateError, parse, record};
    use std::fs;
    use std::path::PathBuf;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("ng-state-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn every_start_is_a_higher_life_and_the_era_is_kept() {
        let path = directory("raise");
        for life in 1..=3 {
            let mut state = State::open(&path).unwrap();
            assert_eq!(state.era(), life - 1);
            assert_eq!(state.raise_incarnation().unwrap(), life);
            state.store_era(life).unwrap();
            state.store_era(0).unwrap();
        }
        let mut state = State::open(&path).unwrap();
        state.skip_incarnations(9).unwrap();
        state.skip_incarnations(2).unwrap();
        assert_eq!(state.raise_incarnation().unwrap(), 10);
    }

    #[test]
    fn two_daemons_cannot_share_it() {
        let path = directory("taken");
        let _first = State::open(&path).unwrap();
        assert!(matches!(State::open(&path), Err(StateError::Taken { .. })));
    }

    #[test]
    fn a_damaged_record_is_set_aside_and_stops_every_start_until_someone_decides() {
        let path = directory("damaged");
        State::open(&path).unwrap().raise_incarnation().unwrap();
        fs::write(path.join("era"), "netguard-era 1\n7\n").unwrap();
        let error = State::open(&path).unwrap_err();
        assert!(matches!(error, StateError::Damaged { .. }));
        assert!(error.to_string().contains("restore"), "{error}");
        let aside = fs::read_dir(&path)
            .unwrap()
            .any(|e| e.unwrap().file_name().to_string_lossy().starts_with("era.damaged-"));
        assert!(aside, "kept for the operator");
        let error = State::open(&path).unwrap_err();
        assert!(matches!(error, StateError::Missing { .. }), "not a new node: {error}");
    }

    #[test]
    fn a_start_cut_before_its_first_life_is_still_a_new_node() {
        let path = directory("cut");
        drop(State::open(&path).unwrap());
        assert_eq!(State::open(&path).unwrap().raise_incarnation().unwrap(), 1);
    }

    #[test]
    fn torn_and_foreign_records_are_refused() {
        let whole = record("era", 77);
        assert_eq!(parse("era", whole.as_bytes()), Some(77));
        assert_eq!(parse("incarnation", whole.as_bytes()), None);
        for n in 0..whole.len() {
            assert_eq!(parse("era", &whole.as_bytes()[..n]), None, "cut to {n}");
            let mut bad = whole.clone().into_bytes();
            bad[n] ^= 1;
            assert_eq!(parse("era", &bad), None, "bit of byte {n}");
        }
        assert_eq!(parse("era", &[0xff; 300]), None);
    }
}
