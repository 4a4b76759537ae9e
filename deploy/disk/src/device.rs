//! A disk as its reader sees it: requests on the cache, judged by the faults, counted.
#![forbid(unsafe_code)]

use crate::SECTOR;
use crate::cache::Cache;
use crate::fault::{Fault, Faults, Kind, Verdict};
use crate::report::{Counters, CutReport};
use crate::store::Store;
use std::io;

/// What a reader asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// Bytes from any place; fewer at the end of the disk.
    Read {
        /// The first byte.
        offset: u64,
        /// How many.
        length: u32,
    },
    /// Whole sectors.
    Write {
        /// The first byte.
        offset: u64,
        /// What to write.
        data: Vec<u8>,
    },
    /// Whole sectors that shall read as zeroes.
    Zero {
        /// The first byte.
        offset: u64,
        /// How many.
        length: u64,
    },
    /// Make everything before durable.
    Flush,
}

/// A request that was done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Done {
    /// What was read.
    Data(Vec<u8>),
    /// So many bytes were written.
    Written(u32),
    /// Done.
    Done,
}

/// A request that was not done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// An ordered error, no power, or the host's file failed.
    #[error("input/output error")]
    Io,
    /// The disk is full, or ends before.
    #[error("no space left on the disk")]
    NoSpace,
    /// Not whole sectors: a disk has nothing smaller.
    #[error("not whole sectors")]
    Unaligned,
    /// More requests wait than the queue holds.
    #[error("too many requests wait")]
    Crowded,
}

/// The disk.
#[derive(Debug)]
pub struct Device<S> {
    cache: Cache<S>,
    faults: Faults,
    counters: Counters,
}

impl<S: Store> Device<S> {
    /// A disk without faults; the chances of later ones come from `seed`.
    pub fn new(cache: Cache<S>, seed: u64) -> Self {
        Self { cache, faults: Faults::new(seed), counters: Counters::default() }
    }

    /// Bytes of the disk.
    pub fn bytes(&self) -> u64 {
        self.cache.bytes()
    }

    /// Does a request.
    pub fn perform(&mut self, request: Request) -> Result<Done, Refusal> {
        let outcome = match request {
            Request::Read { offset, length } => self.read(offset, length),
            Request::Write { offset, data } => self.write(offset, data),
            Request::Zero { offset, length } => self.zero(offset, length),
            Request::Flush => self.flush(),
        };
        if matches!(outcome, Err(Refusal::Unaligned)) {
            self.counters.refused += 1;
        }
        outcome
    }

    fn read(&mut self, offset: u64, length: u32) -> Result<Done, Refusal> {
        let end = offset.saturating_add(u64::from(length)).min(self.bytes());
        let length = end.saturating_sub(offset);
        self.judge(Kind::Read, offset, length, 0)?;
        let mut data = vec![0; usize::try_from(length).unwrap_or(0)];
        if !data.is_empty() {
            let read = self.cache.read(offset, &mut data);
            self.stored(read)?;
        }
        self.counters.reads += 1;
        self.counters.bytes_read += length;
        Ok(Done::Data(data))
    }

    fn write(&mut self, offset: u64, data: Vec<u8>) -> Result<Done, Refusal> {
        let length = data.len() as u64;
        self.fits(offset, length)?;
        self.judge(Kind::Write, offset, length, length)?;
        let written = self.cache.write(offset, data);
        self.stored(written)?;
        self.counters.writes += 1;
        self.counters.bytes_written += length;
        Ok(Done::Written(u32::try_from(length).unwrap_or(u32::MAX)))
    }

    fn zero(&mut self, offset: u64, length: u64) -> Result<Done, Refusal> {
        self.fits(offset, length)?;
        self.judge(Kind::Write, offset, length, 0)?;
        let zeroed = self.cache.zero(offset, length);
        self.stored(zeroed)?;
        self.counters.zeroes += 1;
        Ok(Done::Done)
    }

    fn flush(&mut self) -> Result<Done, Refusal> {
        match self.faults.judge(Kind::Flush, &(0..self.bytes()), 0) {
            Verdict::Lie => self.counters.lies += 1,
            Verdict::Pass => {
                let flushed = self.cache.flush();
                self.stored(flushed)?;
                self.counters.flushes += 1;
            }
            Verdict::Fail | Verdict::NoSpace => {
                self.counters.errors_injected += 1;
                return Err(Refusal::Io);
            }
        }
        Ok(Done::Done)
    }

    fn fits(&self, offset: u64, length: u64) -> Result<(), Refusal> {
        if !offset.is_multiple_of(SECTOR) || !length.is_multiple_of(SECTOR) {
            return Err(Refusal::Unaligned);
        }
        let end = offset.checked_add(length);
        if end.is_some_and(|end| end <= self.bytes()) { Ok(()) } else { Err(Refusal::NoSpace) }
    }

    fn judge(&mut self, kind: Kind, offset: u64, length: u64, takes: u64) -> Result<(), Refusal> {
        let refusal = match self.faults.judge(kind, &(offset..offset + length), takes) {
            Verdict::Pass | Verdict::Lie => return Ok(()),
            Verdict::Fail => Refusal::Io,
            Verdict::NoSpace => Refusal::NoSpace,
        };
        self.counters.errors_injected += 1;
        Err(refusal)
    }

    fn stored(&mut self, outcome: io::Result<()>) -> Result<(), Refusal> {
        outcome.map_err(|_| {
            self.counters.store_errors += 1;
            Refusal::Io
        })
    }

    /// The power goes.
    pub fn cut(&mut self, seed: u64) -> CutReport {
        self.counters.cuts += 1;
        self.cache.cut(seed)
    }

    /// The server ends in order: a disk that keeps its power loses nothing.
    pub fn retire(&mut self) {
        let flushed = self.cache.flush();
        // Counted; there is no one left to tell.
        let _ = self.stored(flushed);
    }

    /// One more fault.
    pub fn set_fault(&mut self, fault: Fault) {
        self.faults.set(fault);
    }

    /// The disk is sound again.
    pub fn clear_faults(&mut self) {
        self.faults.clear();
    }

    /// What happened so far; who waits and who was refused at the door, the queue knows.
    pub fn counters(&self) -> Counters {
        Counters {
            destaged: self.cache.destaged(),
            unflushed: self.cache.unflushed(),
            ..self.counters
        }
    }
}
