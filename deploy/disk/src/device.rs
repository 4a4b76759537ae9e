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
    /// Bytes from any place.
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
    /// Nothing more to say.
    Done,
}

/// A request that was not done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// An ordered error, no power, or the host's file failed.
    #[error("input/output error")]
    Io,
    /// The disk is full, by order.
    #[error("no space left on the disk")]
    NoSpace,
    /// The disk ends before.
    #[error("beyond the end of the disk")]
    Beyond,
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
        if matches!(outcome, Err(Refusal::Unaligned | Refusal::Beyond)) {
            self.counters.refused += 1;
        }
        outcome
    }

    fn read(&mut self, offset: u64, length: u32) -> Result<Done, Refusal> {
        let bytes = u64::from(length);
        self.fits(offset, bytes)?;
        self.judge(Kind::Read, offset, bytes, 0)?;
        let mut data = vec![0; length as usize];
        let read = self.cache.read(offset, &mut data);
        self.stored(read)?;
        self.counters.reads += 1;
        self.counters.bytes_read += bytes;
        Ok(Done::Data(data))
    }

    fn write(&mut self, offset: u64, data: Vec<u8>) -> Result<Done, Refusal> {
        let length = data.len() as u64;
        self.whole_sectors(offset, length)?;
        self.judge(Kind::Write, offset, length, length)?;
        let written = self.cache.write(offset, data);
        self.stored(written)?;
        self.counters.writes += 1;
        self.counters.bytes_written += length;
        Ok(Done::Done)
    }

    fn zero(&mut self, offset: u64, length: u64) -> Result<Done, Refusal> {
        self.whole_sectors(offset, length)?;
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

    fn whole_sectors(&self, offset: u64, length: u64) -> Result<(), Refusal> {
        if !offset.is_multiple_of(SECTOR) || !length.is_multiple_of(SECTOR) {
            return Err(Refusal::Unaligned);
        }
        self.fits(offset, length)
    }

    fn fits(&self, offset: u64, length: u64) -> Result<(), Refusal> {
        let end = offset.checked_add(length);
        if end.is_some_and(|end| end <= self.bytes()) { Ok(()) } else { Err(Refusal::Beyond) }
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

#[cfg(test)]
mod tests {
    use super::{Device, Done, Refusal, Request};
    use crate::cache::Cache;
    use crate::fault::{Fault, Kind};
    use crate::store::Memory;

    const BYTES: u64 = 64 * 1024;

    fn device() -> Device<Memory> {
        Device::new(Cache::new(Memory::default(), BYTES, 1 << 20, 1), 1)
    }

    fn write(offset: u64, bytes: usize) -> Request {
        Request::Write { offset, data: vec![7; bytes] }
    }

    fn first_byte(device: &mut Device<Memory>) -> u8 {
        match device.perform(Request::Read { offset: 0, length: 1 }) {
            Ok(Done::Data(data)) => data[0],
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_end_of_the_disk_is_the_end() {
        let mut device = device();
        let read = |offset| Request::Read { offset, length: 1024 };
        assert_eq!(device.perform(read(BYTES - 1024)), Ok(Done::Data(vec![0; 1024])));
        assert_eq!(device.perform(read(BYTES - 1023)), Err(Refusal::Beyond));
        assert_eq!(device.perform(read(u64::MAX)), Err(Refusal::Beyond));
        assert_eq!(device.perform(write(BYTES - 512, 1024)), Err(Refusal::Beyond));
        assert_eq!(device.perform(write(100, 512)), Err(Refusal::Unaligned));
        let zero = Request::Zero { offset: u64::MAX - 511, length: 512 };
        assert_eq!(device.perform(zero), Err(Refusal::Beyond));
        assert_eq!(device.counters().refused, 5);
    }

    #[test]
    fn a_flush_that_lies_loses_what_an_honest_one_keeps() {
        let survives = |lying: bool, seed| {
            let mut device = device();
            if lying {
                device.set_fault(Fault::LyingFlush);
            }
            device.perform(write(0, 512)).unwrap();
            device.perform(Request::Flush).unwrap();
            device.cut(seed);
            first_byte(&mut device) == 7
        };
        assert!((0..50).all(|seed| survives(false, seed)));
        assert!(!(0..50).all(|seed| survives(true, seed)));
    }

    #[test]
    fn a_write_that_failed_is_not_there_and_a_flush_that_failed_kept_nothing() {
        let mut device = device();
        device.set_fault(Fault::fail(Kind::Write));
        assert_eq!(device.perform(write(0, 512)), Err(Refusal::Io));
        assert_eq!(first_byte(&mut device), 0);
        device.clear_faults();
        device.perform(write(0, 512)).unwrap();
        device.set_fault(Fault::fail(Kind::Flush));
        assert_eq!(device.perform(Request::Flush), Err(Refusal::Io));
        assert_eq!(device.counters().unflushed.writes, 1);
        assert_eq!(device.counters().errors_injected, 2);
    }

    #[test]
    fn a_full_disk_still_reads_and_flushes() {
        let mut device = device();
        device.set_fault(Fault::Full { more: 512 });
        assert_eq!(device.perform(write(0, 512)), Ok(Done::Done));
        assert_eq!(device.perform(write(512, 512)), Err(Refusal::NoSpace));
        assert_eq!(device.perform(Request::Flush), Ok(Done::Done));
        assert_eq!(first_byte(&mut device), 7);
    }
}
