//! What must survive a power cut: which life this is (R-LIFE), which era was promised last
//! (R-ERA), and which configuration was acknowledged last (R-CONF-DURABLE).
//!
//! Two small files in the state directory and one with the agreed configuration, each with a checksum; beside the latter
//! its document as a text of its own (`configuration.toml`), for the operator only. A new value is written beside,
//! synced, renamed, and the directory is synced: after a power cut there is the old value or the
//! new one. A file that is neither was damaged from outside; it is set aside under another name and
//! the daemon does not start, because to promise an era twice could start it twice.

use crate::system;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use wire::Charter;
use wire::codec::{Reader, Writer};
use wire::configuration::DOCUMENT_MAX;

/// Longest record that is read.
const RECORD_MAX: u64 = 256;
const INCARNATION: &str = "incarnation";
const ERA: &str = "era";
const CHARTER: &str = "configuration";
/// Deadline of the configuration before, in µs.
const BEFORE: &str = "deadline-before";
/// A copy of the agreed document, for the operator; nothing reads it.
const DOCUMENT: &str = "configuration.toml";
/// Longest record of a charter that is read.
const CHARTER_MAX: u64 = 2 * DOCUMENT_MAX as u64;

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
    charter: Option<Charter>,
    /// Deadline of the configuration before that of the charter, in µs; 0 = there was no other.
    before_us: u32,
}

/// Interval times misses.
fn deadline_us(charter: &Charter) -> u32 {
    charter.configuration.interval_us.saturating_mul(charter.configuration.misses)
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
        let mut state = Self {
            directory: directory.to_owned(),
            handle,
            incarnation: 0,
            era: 0,
            charter: None,
            before_us: 0,
        };
        match (state.read(INCARNATION)?, state.read(ERA)?) {
            (None, None | Some(0)) => state.write(ERA, 0)?,
            (None, Some(_)) => return Err(state.missing(INCARNATION)),
            (Some(_), None) => return Err(state.missing(ERA)),
            (Some(incarnation), Some(era)) => (state.incarnation, state.era) = (incarnation, era),
        }
        state.charter = state.read_charter()?;
        state.before_us = state.read(BEFORE)?.unwrap_or(0);
        Ok(state)
    }

    /// The agreed configuration in a state directory that is not opened yet. One that cannot be read is none: opening the
    /// directory says what is wrong with it.
    #[must_use]
    pub fn peek(directory: &Path) -> Option<Charter> {
        let mut bytes = Vec::new();
        let file = File::open(directory.join(CHARTER)).ok()?;
        file.take(CHARTER_MAX).read_to_end(&mut bytes).ok()?;
        parse_charter(&bytes)
    }

    /// The agreed configuration that was stored last, if one ever was.
    #[must_use]
    pub const fn charter(&self) -> Option<&Charter> {
        self.charter.as_ref()
    }
    /// Stores the agreed configuration: durable when this returns.
    /// What peers may still have declared by the configuration before it is kept beside it.
    pub fn store_charter(&mut self, charter: &Charter) -> Result<(), StateError> {
        let before = self.charter.as_ref().map(deadline_us);
        if let Some(before) = before.filter(|it| *it != deadline_us(charter)) {
            self.write(BEFORE, before)?;
            self.before_us = before;
        }
        self.write_bytes(CHARTER, &charter_record(charter))?;
        self.charter = Some(charter.clone());
        self.write_bytes(DOCUMENT, &charter.configuration.document)
    }
    /// The longest deadline, in µs, that beats may have declared which an earlier life of this node echoed: by the
    /// configuration that is stored, or by the one before it.
    #[must_use]
    pub fn longest_us(&self) -> u32 {
        self.charter.as_ref().map_or(0, deadline_us).max(self.before_us)
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
        self.write_bytes(name, record(name, value).as_bytes())
    }

    fn write_bytes(&self, name: &str, bytes: &[u8]) -> Result<(), StateError> {
        let path = self.directory.join(name);
        let beside = self.directory.join(format!("{name}.new"));
        let fail = |source| StateError::Io { path: path.display().to_string(), source };
        let mut file = File::create(&beside).map_err(fail)?;
        file.write_all(bytes).map_err(fail)?;
        file.sync_all().map_err(fail)?;
        fs::rename(&beside, &path).map_err(fail)?;
        self.handle.sync_all().map_err(fail)
    }

    fn read(&self, name: &str) -> Result<Option<u32>, StateError> {
        self.read_record(name, RECORD_MAX, |bytes| parse(name, bytes))
    }

    fn read_charter(&self) -> Result<Option<Charter>, StateError> {
        self.read_record(CHARTER, CHARTER_MAX, parse_charter)
    }

    /// What `parse` makes of a record; one that it cannot read is set aside.
    fn read_record<T>(
        &self,
        name: &str,
        max: u64,
        parse: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, StateError> {
        let path = self.directory.join(name);
        let fail = |source| StateError::Io { path: path.display().to_string(), source };
        let mut bytes = Vec::new();
        match File::open(&path) {
            Ok(file) => file.take(max).read_to_end(&mut bytes).map_err(fail)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(fail(e)),
        };
        if let Some(value) = parse(&bytes) {
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

/// What a record of a charter begins with.
const CHARTER_HEAD: &[u8] = b"netguard-configuration 1\n";

/// The head, the checksum of all that follows (8 bytes, little-endian), the charter as on the wire.
fn charter_record(charter: &Charter) -> Vec<u8> {
    let mut bytes = Writer::new();
    charter.encode(&mut bytes);
    let sum = checksum(&bytes.0).to_le_bytes();
    [CHARTER_HEAD, &sum, &bytes.0].concat()
}

/// The charter, if the bytes are exactly what [`charter_record`] makes of it.
fn parse_charter(bytes: &[u8]) -> Option<Charter> {
    let (sum, bytes) = bytes.strip_prefix(CHARTER_HEAD)?.split_at_checked(8)?;
    if *sum != checksum(bytes).to_le_bytes() {
        return None;
    }
    let mut from = Reader::new(bytes);
    let charter = Charter::decode(&mut from).ok()?;
    from.finish().ok().map(|()| charter)
}

/// FNV-1a: against torn and overwritten files, not against people.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::{State, StateError, parse, parse_charter, record};
    use crate::test_folder::TestFolder;
    use std::fs;
    use std::sync::Arc;
    use wire::{Charter, Configuration, NodeSet};

    fn directory(name: &str) -> TestFolder {
        TestFolder::free(&format!("state-{name}"))
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
    fn the_agreed_configuration_is_kept_and_its_document_can_be_read() {
        let path = directory("charter");
        let mut charter = Charter::plain(NodeSet(7), NodeSet(4));
        charter.version = 9;
        charter.configuration = Arc::new(Configuration {
            document: Arc::from(*b"text"),
            ..(*charter.configuration).clone()
        });
        let mut state = State::open(&path).unwrap();
        assert_eq!(state.charter(), None);
        state.store_charter(&charter).unwrap();
        drop(state);
        assert_eq!(State::peek(&path), Some(charter.clone()));
        assert_eq!(State::open(&path).unwrap().charter(), Some(&charter));
        assert_eq!(fs::read(path.join("configuration.toml")).unwrap(), b"text");
        let whole = fs::read(path.join("configuration")).unwrap();
        for n in 0..whole.len() {
            assert_eq!(parse_charter(&whole[..n]), None, "cut to {n}");
            let mut bad = whole.clone();
            bad[n] ^= 1;
            assert_eq!(parse_charter(&bad), None, "bit of byte {n}");
        }
        fs::write(path.join("configuration"), &whole[1..]).unwrap();
        assert!(matches!(State::open(&path), Err(StateError::Damaged { .. })));
    }

    #[test]
    fn the_deadline_before_outlives_a_change_of_the_interval() {
        let path = directory("deadline");
        let mut charter = Charter::plain(NodeSet(7), NodeSet(4));
        let mut state = State::open(&path).unwrap();
        assert_eq!(state.longest_us(), 0);
        for (interval_us, longest) in
            [(50_000, 150_000), (10_000, 150_000), (10_000, 150_000), (11_000, 33_000)]
        {
            charter.version += 1;
            charter.configuration =
                Arc::new(Configuration { interval_us, ..(*charter.configuration).clone() });
            state.store_charter(&charter).unwrap();
            assert_eq!(state.longest_us(), longest);
        }
        drop(state);
        assert_eq!(State::open(&path).unwrap().longest_us(), 33_000);
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

    /// A file that something else wrote, or half of one: what is taken is exactly what would be written.
    #[test]
    fn any_bytes_are_a_record_or_none() {
        let mut dice = base::Prng::new(1);
        let whole = super::charter_record(&Charter::plain(NodeSet(7), NodeSet(4)));
        let number = record("era", 7).into_bytes();
        for _ in 0..20_000 {
            let mut bytes = if dice.chance(1, 2) { whole.clone() } else { number.clone() };
            for _ in 0..dice.below(4) {
                let at = dice.below(bytes.len() as u64) as usize;
                bytes[at] = dice.next_u64() as u8;
            }
            bytes.truncate(dice.below(2 * bytes.len() as u64) as usize);
            let charter = parse_charter(&bytes).map(|it| super::charter_record(&it));
            assert!(charter.is_none_or(|again| again == bytes));
            let value = parse("era", &bytes).map(|it| record("era", it).into_bytes());
            assert!(value.is_none_or(|again| again == bytes));
        }
    }
}
