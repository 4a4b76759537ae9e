//! What a test can order a disk to do wrong. A stall is an order too, but [`crate::queue`] keeps it:
//! it needs a clock.
#![forbid(unsafe_code)]

use base::Prng;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Faults at the same time; one more takes the place of the oldest.
pub const FAULTS_MAX: usize = 64;
/// A chance of one, in the unit of [`Fault::Fail`].
pub const ALWAYS: u32 = 1_000_000;

/// A kind of request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Reads.
    Read,
    /// Writes, discards and orders to write zeroes.
    Write,
    /// Flushes.
    Flush,
}

/// A fault of a disk. Faults outlast a power cut, as a broken disk does.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Requests answer with an input/output error and do nothing.
    Fail {
        /// Which requests.
        on: Kind,
        /// Only those that touch these bytes of the disk; a flush touches all.
        range: Option<Range<u64>>,
        /// Only so many; then the fault is gone.
        times: Option<u64>,
        /// In so many of a million cases, drawn from the disk's seed ([`ALWAYS`]).
        per_million: u32,
    },
    /// Every request waits: so many milliseconds from now, or until the faults are cleared.
    Stall {
        /// How long; without it, until [`crate::Disk::clear_faults`] or [`crate::Disk::cut`].
        ms: Option<u64>,
    },
    /// Writes beyond so many more bytes answer that no space is left.
    Full {
        /// Bytes that still fit.
        more: u64,
    },
    /// A flush answers well at once and makes nothing durable.
    LyingFlush,
}

impl Fault {
    /// All requests of a kind fail.
    #[must_use]
    pub fn fail(on: Kind) -> Self {
        Self::Fail { on, range: None, times: None, per_million: ALWAYS }
    }
}

/// What the faults say about one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// It goes its way.
    Pass,
    /// Answer with an input/output error.
    Fail,
    /// Answer that no space is left.
    NoSpace,
    /// Answer well and do nothing.
    Lie,
}

/// The faults that are in force.
#[derive(Debug)]
pub(crate) struct Faults {
    list: Vec<Fault>,
    prng: Prng,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        Self { list: vec![], prng: Prng::new(seed) }
    }

    pub(crate) fn set(&mut self, fault: Fault) {
        if self.list.len() >= FAULTS_MAX {
            self.list.remove(0);
        }
        self.list.push(fault);
    }

    pub(crate) fn clear(&mut self) {
        self.list.clear();
    }

    /// Judges a request that touches `span`; `takes` is what it adds to a disk that fills up.
    pub(crate) fn judge(&mut self, kind: Kind, span: &Range<u64>, takes: u64) -> Verdict {
        let Self { list, prng } = self;
        let mut verdict = Verdict::Pass;
        for fault in list.iter_mut() {
            verdict = match fault {
                Fault::Fail { on, range, times, per_million } if *on == kind => {
                    let touches =
                        kind == Kind::Flush || range.as_ref().is_none_or(|bad| meet(bad, span));
                    let left = times.is_none_or(|times| times > 0);
                    if !touches || !left || !prng.chance((*per_million).into(), ALWAYS.into()) {
                        continue;
                    }
                    *times = times.map(|left| left - 1);
                    Verdict::Fail
                }
                Fault::Full { more } if *more < takes => Verdict::NoSpace,
                Fault::LyingFlush if kind == Kind::Flush => Verdict::Lie,
                _ => continue,
            };
            break;
        }
        if verdict == Verdict::Pass {
            for fault in list.iter_mut() {
                if let Fault::Full { more } = fault {
                    *more -= takes;
                }
            }
        }
        self.list.retain(|fault| !matches!(fault, Fault::Fail { times: Some(0), .. }));
        verdict
    }
}

fn meet(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start < other.end && other.start < one.end
}

#[cfg(test)]
mod tests {
    use super::{FAULTS_MAX, Fault, Faults, Kind, Verdict};

    #[test]
    fn an_error_hits_its_kind_and_its_range() {
        let mut faults = Faults::new(1);
        let range = Some(4096..8192);
        faults.set(Fault::Fail { on: Kind::Read, range, times: None, per_million: 1_000_000 });
        assert_eq!(faults.judge(Kind::Read, &(0..4096), 0), Verdict::Pass);
        assert_eq!(faults.judge(Kind::Read, &(0..4608), 0), Verdict::Fail);
        assert_eq!(faults.judge(Kind::Read, &(8192..8704), 0), Verdict::Pass);
        assert_eq!(faults.judge(Kind::Write, &(4096..8192), 4096), Verdict::Pass);
    }

    #[test]
    fn an_error_that_is_counted_ends() {
        let mut faults = Faults::new(1);
        faults.set(Fault::Fail {
            on: Kind::Flush,
            range: None,
            times: Some(2),
            per_million: 1_000_000,
        });
        let verdicts: Vec<_> = (0..3).map(|_| faults.judge(Kind::Flush, &(0..0), 0)).collect();
        assert_eq!(verdicts, [Verdict::Fail, Verdict::Fail, Verdict::Pass]);
    }

    #[test]
    fn a_chance_comes_from_the_seed() {
        let draw = |seed| {
            let mut faults = Faults::new(seed);
            faults.set(Fault::Fail {
                on: Kind::Write,
                range: None,
                times: None,
                per_million: 250_000,
            });
            (0..1000).map(|_| faults.judge(Kind::Write, &(0..512), 512)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        let failed = draw(7).iter().filter(|verdict| **verdict == Verdict::Fail).count();
        assert!((200..300).contains(&failed), "{failed} of 1000 at a quarter");
    }

    #[test]
    fn a_disk_fills_up_and_a_smaller_write_still_fits() {
        let mut faults = Faults::new(1);
        faults.set(Fault::Full { more: 5000 });
        let verdicts = [4096, 4096, 512].map(|bytes| faults.judge(Kind::Write, &(0..bytes), bytes));
        assert_eq!(verdicts, [Verdict::Pass, Verdict::NoSpace, Verdict::Pass]);
    }

    #[test]
    fn a_fault_travels_as_text() {
        let fault =
            Fault::Fail { on: Kind::Flush, range: Some(0..512), times: None, per_million: 5 };
        for fault in [fault, Fault::Stall { ms: None }, Fault::Full { more: 1 }, Fault::LyingFlush]
        {
            let text = serde_json::to_string(&fault).unwrap();
            assert_eq!(serde_json::from_str::<Fault>(&text).unwrap(), fault, "{text}");
        }
    }

    #[test]
    fn the_list_is_bounded() {
        let mut faults = Faults::new(1);
        (0..1000).for_each(|_| faults.set(Fault::LyingFlush));
        assert_eq!(faults.list.len(), FAULTS_MAX);
    }
}
