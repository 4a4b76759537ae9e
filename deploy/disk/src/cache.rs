//! The volatile write cache in front of a durable store.
//!
//! Writes stand in a list, in the order in which they came. An index tells for every sector which of
//! them wrote it last, so that a read finds the newest content and a flush writes each sector
//! once. When the list holds more bytes than the bound, a random one of the oldest goes to the
//! store, and before it all older ones that it overlaps with, directly or through one another: a
//! sector's versions stay in order, everything else does not.
//!
//! A power cut walks the list and decides for each write alone. So every subset of the unflushed
//! writes can be what remains, and a workload that relies on an order it did not enforce with a
//! flush meets, with some seed, the subset that shows it.
#![forbid(unsafe_code)]

use crate::SECTOR;
use crate::extents::Extents;
use crate::report::{CutReport, Tally};
use crate::store::Store;
use base::Prng;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

/// How many of the oldest writes are candidates when room is needed.
const WINDOW: u64 = 64;
/// At a power cut, one of so many writes that could survive as a whole is torn instead.
const TORN_ONE_IN: u64 = 8;
/// The chance that a write survives a cut is drawn in this many steps, both ends included.
const STEPS: u64 = 8;

/// A disk with its cache.
#[derive(Debug)]
pub struct Cache<S> {
    store: S,
    sectors: u64,
    bound: u64,
    /// Unflushed writes, oldest first.
    writes: BTreeMap<u64, Write>,
    newest: Extents,
    next: u64,
    /// What counts against the bound.
    used: u64,
    destaged: u64,
    prng: Prng,
}

#[derive(Debug)]
struct Write {
    span: Range<u64>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Bytes(Vec<u8>),
    Zeroes,
}

impl Write {
    /// Zeroes take no room but their entry; the bound must count them all the same.
    fn cost(&self) -> u64 {
        match &self.content {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::Zeroes => SECTOR,
        }
    }

    fn bytes(&self) -> u64 {
        (self.span.end - self.span.start) * SECTOR
    }

    /// The bytes of `part`, which lies within the span; none if they are zeroes.
    fn part(&self, part: &Range<u64>) -> Option<&[u8]> {
        let Content::Bytes(bytes) = &self.content else { return None };
        let place = |sector: u64| usize::try_from((sector - self.span.start) * SECTOR).ok();
        bytes.get(place(part.start)?..place(part.end)?)
    }
}

/// What a power cut does to a write.
enum Fate {
    Kept,
    Lost,
    /// So many of its first sectors survive.
    Torn(u64),
}

impl<S: Store> Cache<S> {
    /// A disk of `bytes` (a part of a sector at the end does not count) whose cache holds up to
    /// `cache_bytes`; with 0, every write is durable when it is answered.
    pub fn new(store: S, bytes: u64, cache_bytes: u64, seed: u64) -> Self {
        Self {
            store,
            sectors: bytes / SECTOR,
            bound: cache_bytes,
            writes: BTreeMap::new(),
            newest: Extents::default(),
            next: 0,
            used: 0,
            destaged: 0,
            prng: Prng::new(seed),
        }
    }

    /// Bytes of the disk.
    pub fn bytes(&self) -> u64 {
        self.sectors * SECTOR
    }

    /// Writes that left the cache for lack of room.
    pub fn destaged(&self) -> u64 {
        self.destaged
    }

    /// What no flush has made durable.
    pub fn unflushed(&self) -> Tally {
        let bytes = self.writes.values().map(Write::bytes).sum();
        Tally { writes: self.writes.len() as u64, bytes }
    }

    /// Fills `buffer` from `offset` on, at any byte, with what was written last.
    pub fn read(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= self.bytes());
        let end = end.ok_or(io::ErrorKind::InvalidInput)?;
        self.store.read(offset, buffer)?;
        let span = offset / SECTOR..end.div_ceil(SECTOR);
        for (part, number) in self.newest.within(span) {
            let Some(write) = self.writes.get(&number) else { continue };
            // The part in bytes, cut to what was asked for.
            let (from, to) = ((part.start * SECTOR).max(offset), (part.end * SECTOR).min(end));
            let place = |byte: u64, base: u64| usize::try_from(byte - base).unwrap_or(usize::MAX);
            let target = buffer.get_mut(place(from, offset)..place(to, offset));
            let Some(target) = target else { continue };
            match write.part(&part) {
                Some(bytes) => {
                    let skip = place(from, part.start * SECTOR);
                    bytes.iter().skip(skip).zip(target).for_each(|(new, old)| *old = *new);
                }
                None => target.fill(0),
            }
        }
        Ok(())
    }

    /// Takes a write of whole sectors.
    pub fn write(&mut self, offset: u64, data: Vec<u8>) -> io::Result<()> {
        let span = self.span(offset, data.len() as u64)?;
        self.take(Write { span, content: Content::Bytes(data) })
    }

    /// Makes whole sectors read as zeroes: a discard, or an order to write zeroes.
    pub fn zero(&mut self, offset: u64, length: u64) -> io::Result<()> {
        let span = self.span(offset, length)?;
        self.take(Write { span, content: Content::Zeroes })
    }

    fn span(&self, offset: u64, length: u64) -> io::Result<Range<u64>> {
        let whole = offset.is_multiple_of(SECTOR) && length.is_multiple_of(SECTOR);
        let end = offset.checked_add(length).filter(|end| whole && *end <= self.bytes());
        let end = end.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(offset / SECTOR..end / SECTOR)
    }

    fn take(&mut self, write: Write) -> io::Result<()> {
        if write.span.is_empty() {
            return Ok(());
        }
        self.newest.put(&write.span, self.next);
        self.used += write.cost();
        self.writes.insert(self.next, write);
        self.next += 1;
        while self.used > self.bound {
            self.make_room()?;
        }
        Ok(())
    }

    /// Moves one of the oldest writes to the store, and what must go before it.
    fn make_room(&mut self) -> io::Result<()> {
        let candidates = WINDOW.min(self.writes.len() as u64);
        let chosen = usize::try_from(self.prng.below(candidates)).unwrap_or(0);
        let Some((&victim, write)) = self.writes.iter().nth(chosen) else { return Ok(()) };
        let mut going = vec![(victim, write.span.clone())];
        for (&older, write) in self.writes.range(..victim).rev() {
            let meets =
                |span: &Range<u64>| span.start < write.span.end && write.span.start < span.end;
            if going.iter().any(|(_, span)| meets(span)) {
                going.push((older, write.span.clone()));
            }
        }
        for (number, span) in going.into_iter().rev() {
            let Some(write) = self.writes.get(&number) else { continue };
            put(&mut self.store, write, &span)?;
            self.used -= write.cost();
            self.destaged += 1;
            self.newest.remove(&span, number);
            self.writes.remove(&number);
        }
        Ok(())
    }

    /// Makes everything durable. After an error nothing counts as durable and all is still here.
    pub fn flush(&mut self) -> io::Result<()> {
        for (part, number) in self.newest.all() {
            if let Some(write) = self.writes.get(&number) {
                put(&mut self.store, write, &part)?;
            }
        }
        self.forget();
        Ok(())
    }

    /// The power goes: decides for each unflushed write, drawn from `seed`, and forgets the rest. A
    /// write that the store refuses is lost.
    pub fn cut(&mut self, seed: u64) -> CutReport {
        let mut prng = Prng::new(seed);
        let survive = prng.below(STEPS + 1);
        let last = self.writes.last_key_value().map(|(number, _)| *number);
        let mut report = CutReport::default();
        for (number, write) in &self.writes {
            let sectors = write.span.end - write.span.start;
            let keep = match fate(&mut prng, survive, sectors, last == Some(*number)) {
                Fate::Kept => sectors,
                Fate::Lost => 0,
                Fate::Torn(first) => first,
            };
            let part = write.span.start..write.span.start + keep;
            let kept = if put(&mut self.store, write, &part).is_ok() { keep } else { 0 };
            match kept {
                0 => report.lost.add(write.bytes()),
                all if all == sectors => report.kept.add(write.bytes()),
                some => {
                    report.torn.add(some * SECTOR);
                    report.torn_off += (sectors - some) * SECTOR;
                }
            }
        }
        self.forget();
        report
    }

    fn forget(&mut self) {
        self.writes.clear();
        self.newest.clear();
        self.used = 0;
    }
}

/// The last write was under way when the power went: it is torn whenever it can be.
fn fate(prng: &mut Prng, survive: u64, sectors: u64, last: bool) -> Fate {
    let survives = prng.chance(survive, STEPS);
    let torn = prng.chance(1, TORN_ONE_IN) && survives;
    if sectors > 1 && (last || torn) {
        return Fate::Torn(1 + prng.below(sectors - 1));
    }
    if survives { Fate::Kept } else { Fate::Lost }
}

/// Writes a part of `write` to the store.
fn put<S: Store>(store: &mut S, write: &Write, part: &Range<u64>) -> io::Result<()> {
    if part.is_empty() {
        return Ok(());
    }
    match write.part(part) {
        Some(bytes) => store.write(part.start * SECTOR, bytes),
        None => store.zero(part.start * SECTOR, (part.end - part.start) * SECTOR),
    }
}

#[cfg(test)]
mod tests {
    use super::Cache;
    use crate::report::Tally;
    use crate::store::Memory;
    use std::collections::BTreeSet;

    fn disk(cache_bytes: u64) -> Cache<Memory> {
        Cache::new(Memory::default(), 1 << 20, cache_bytes, 1)
    }

    /// First bytes of the first `sectors` sectors.
    fn marks(disk: &mut Cache<Memory>, sectors: usize) -> Vec<u8> {
        let mut buffer = vec![0; sectors * 512];
        disk.read(0, &mut buffer).unwrap();
        buffer.chunks(512).map(|sector| sector[0]).collect()
    }

    #[test]
    fn every_subset_of_single_sectors_can_survive() {
        let after = |seed| {
            let mut disk = disk(1 << 20);
            (0..3).for_each(|sector| disk.write(sector * 512, vec![1; 512]).unwrap());
            disk.cut(seed);
            marks(&mut disk, 3)
        };
        let seen: BTreeSet<Vec<u8>> = (0..200).map(after).collect();
        assert_eq!(seen.len(), 8, "a later write without an earlier one is among them: {seen:?}");
    }

    #[test]
    fn of_two_writes_that_survive_the_later_one_is_seen() {
        let mut both = 0;
        for seed in 0..100 {
            let mut disk = disk(1 << 20);
            (1..=2).for_each(|mark| disk.write(0, vec![mark; 512]).unwrap());
            if disk.cut(seed).kept.writes == 2 {
                both += 1;
                assert_eq!(marks(&mut disk, 1), [2]);
            }
        }
        assert!(both > 0);
    }

    #[test]
    fn without_a_cache_nothing_is_volatile_and_nothing_stays_in_memory() {
        let mut disk = disk(0);
        (0..10).for_each(|sector| disk.write(sector * 512, vec![1; 1024]).unwrap());
        assert_eq!((disk.unflushed().writes, disk.newest.all().count()), (0, 0));
        disk.cut(1);
        assert_eq!(marks(&mut disk, 11), [1; 11]);
    }

    #[test]
    fn the_last_write_is_torn_at_a_sector() {
        for seed in 0..200 {
            let mut disk = disk(1 << 20);
            disk.write(0, vec![1; 4096]).unwrap();
            let report = disk.cut(seed);
            let marks = marks(&mut disk, 8);
            let survived = marks.iter().filter(|mark| **mark == 1).count();
            assert!((1..8).contains(&survived), "{marks:?}");
            assert!(marks.is_sorted_by(|before, after| before >= after), "{marks:?}");
            let bytes = survived as u64 * 512;
            assert_eq!((report.torn, report.torn_off), (Tally { writes: 1, bytes }, 4096 - bytes));
        }
    }

    #[test]
    fn a_cut_can_lose_everything_or_nothing() {
        let survivors = |seed| {
            let mut disk = disk(1 << 20);
            (0..50).for_each(|sector| disk.write(sector * 512, vec![1; 512]).unwrap());
            disk.cut(seed).kept.writes
        };
        let counts: BTreeSet<u64> = (0..100).map(survivors).collect();
        assert_eq!((counts.first(), counts.last()), (Some(&0), Some(&50)));
    }

    #[test]
    fn a_full_cache_writes_out_of_order_and_stays_bounded() {
        let filled = || {
            let mut disk = disk(10 * 512);
            for sector in 0..100 {
                disk.write(sector * 512, vec![1; 512]).unwrap();
                assert!(disk.unflushed().writes <= 10);
            }
            disk
        };
        assert_eq!(filled().destaged(), 90);
        // What is still volatile is not simply the last ten.
        let older_lost = (0..20).any(|seed| {
            let mut disk = filled();
            disk.cut(seed);
            marks(&mut disk, 90).contains(&0)
        });
        assert!(older_lost);
    }

    #[test]
    fn discards_of_a_whole_disk_cost_one_entry_and_count_against_the_bound() {
        let mut disk = disk(100 * 512);
        disk.write(0, vec![1; 512]).unwrap();
        (0..1000).for_each(|_| disk.zero(0, 1 << 20).unwrap());
        assert!((1..=100).contains(&disk.unflushed().writes));
        assert_eq!(marks(&mut disk, 2), [0, 0]);
    }

    #[test]
    fn parts_of_sectors_and_places_beyond_the_end_are_refused() {
        let mut disk = disk(4096);
        assert!(disk.write(1, vec![1; 512]).is_err());
        assert!(disk.write(0, vec![1; 100]).is_err());
        assert!(disk.write((1 << 20) - 512, vec![1; 1024]).is_err());
        assert!(disk.zero(u64::MAX - 511, 512).is_err());
        assert!(disk.read((1 << 20) - 1, &mut [0; 2]).is_err());
    }
}
