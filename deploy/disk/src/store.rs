//! What survives everything: memory for tests, a sparse file for the lab.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::SECTOR;

/// The durable part of a disk. The cache asks only for ranges within the disk.
pub trait Store {
    /// Fills `buffer` from `offset` on.
    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// Writes `data` at `offset`, both whole sectors.
    fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Makes a range of whole sectors read as zeroes.
    fn zero(&mut self, offset: u64, length: u64) -> io::Result<()>;
}

/// A sparse file. Nothing is synced: the host does not crash in the lab.
#[derive(Debug)]
pub struct SparseFile(File);

impl SparseFile {
    /// Opens or makes the file and gives it the disk's size; what it holds stays.
    pub fn open(path: &Path, bytes: u64) -> io::Result<Self> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        file.set_len(bytes)?;
        Ok(Self(file))
    }
}

impl Store for SparseFile {
    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }

    fn zero(&mut self, offset: u64, length: u64) -> io::Result<()> {
        let too_far = |_| io::Error::from(io::ErrorKind::InvalidInput);
        let (from, length) = (
            libc::off_t::try_from(offset).map_err(too_far)?,
            libc::off_t::try_from(length).map_err(too_far)?,
        );
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        // SAFETY: the descriptor is open as long as `self.0` lives; the call takes numbers only.
        match unsafe { libc::fallocate(self.0.as_raw_fd(), mode, from, length) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Memory, by sector; what was never written reads as zeroes.
#[derive(Clone, Debug, Default)]
pub struct Memory(BTreeMap<u64, Vec<u8>>);

impl Store for Memory {
    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut place = offset;
        let mut rest = buffer;
        while !rest.is_empty() {
            let within = place % SECTOR;
            let part = (SECTOR - within).min(rest.len() as u64) as usize;
            let (target, after) = rest.split_at_mut(part);
            let held =
                self.0.get(&(place / SECTOR)).and_then(|sector| sector.get(within as usize..));
            match held.and_then(|held| held.get(..part)) {
                Some(held) => target.copy_from_slice(held),
                None => target.fill(0),
            }
            place += part as u64;
            rest = after;
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        for (sector, bytes) in (offset / SECTOR..).zip(data.chunks(SECTOR as usize)) {
            self.0.insert(sector, bytes.to_vec());
        }
        Ok(())
    }

    fn zero(&mut self, offset: u64, length: u64) -> io::Result<()> {
        let span = offset / SECTOR..(offset + length) / SECTOR;
        self.0.retain(|sector, _| !span.contains(sector));
        Ok(())
    }
}
