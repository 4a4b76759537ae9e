//! What the fast path measures, for people and for the detection budget: histograms that a dead daemon leaves readable.
//!
//! Buckets are log-linear (eight to a doubling, so a value is known to an eighth), from 1 us to 8 s, as in HdrHistogram.
//! Fast alone writes; readers see each word whole, and a histogram that is being written is at most one value behind.
//!
//! * of the thread: how late its wake-ups were;
//! * of a peer: round trip and outgoing jitter, from the echoes of own beats;
//! * of a peer's link: incoming jitter, and what the link did to the beats.
//!
//! Jitter is that of RFC 3550, 6.4.1: how much further apart two beats arrived than they were sent, D(i, j), as an absolute
//! value. It needs no common clock. Which of two directions is slower cannot be measured without one; how much each varies can.

use base::Duration;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use wire::{LinkId, NODES_MAX, NodeId};

use crate::counters::LINKS_MAX;

/// Buckets to a doubling, as a power of two.
const FINE: u32 = 3;
const STEPS: usize = 1 << FINE;
/// The last bucket begins at 2^23 us less one step; what is longer is counted there.
const DOUBLINGS: usize = 23;
const BUCKETS: usize = (DOUBLINGS - FINE as usize + 1) * STEPS;

/// One histogram.
#[repr(C)]
#[derive(Debug)]
pub struct Histogram {
    counts: [AtomicU64; BUCKETS],
    largest: AtomicU64,
}

impl Histogram {
    /// Counts one value.
    pub fn record(&self, value: Duration) {
        if let Some(word) = self.counts.get(bucket(value)) {
            word.store(word.load(Relaxed).wrapping_add(1), Relaxed);
        }
        if value.0 > self.largest.load(Relaxed) {
            self.largest.store(value.0, Relaxed);
        }
    }

    /// A copy to read from.
    #[must_use]
    pub fn snapshot(&self) -> Spread {
        Spread {
            counts: self.counts.iter().map(|word| word.load(Relaxed)).collect(),
            largest: Duration(self.largest.load(Relaxed)),
        }
    }
}

/// The bucket of a value.
const fn bucket(value: Duration) -> usize {
    let us = value.micros();
    if us < STEPS as u64 {
        return us as usize;
    }
    let doubling = us.ilog2();
    let step = (us >> (doubling - FINE)) as usize & (STEPS - 1);
    let index = (doubling - FINE + 1) as usize * STEPS + step;
    if index < BUCKETS { index } else { BUCKETS - 1 }
}

/// The first value that is too large for a bucket.
const fn end(bucket: usize) -> Duration {
    let next = bucket + 1;
    if next < STEPS {
        return Duration::from_micros(next as u64);
    }
    let (doubling, step) = ((next / STEPS) as u32 - 1, next % STEPS);
    Duration::from_micros(((STEPS + step) as u64) << doubling)
}

/// What a histogram held when it was read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Spread {
    counts: Vec<u64>,
    largest: Duration,
}

impl FromIterator<Duration> for Spread {
    fn from_iter<I: IntoIterator<Item = Duration>>(values: I) -> Self {
        let mut spread = Self { counts: vec![0; BUCKETS], largest: Duration::ZERO };
        for value in values {
            if let Some(count) = spread.counts.get_mut(bucket(value)) {
                *count += 1;
            }
            spread.largest = spread.largest.max(value);
        }
        spread
    }
}

impl Spread {
    /// How many values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
    /// Values, each rounded up by at most an eighth, and how often each was counted.
    pub fn values(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        let counted = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        counted.map(|(index, count)| (end(index).min(self.largest), *count))
    }
    /// What was counted since an earlier copy of the same histogram; its largest value is still that of the whole.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let counts = self.counts.iter().enumerate();
        let less = |(index, now): (usize, &u64)| {
            now.wrapping_sub(before.counts.get(index).copied().unwrap_or(0))
        };
        Self { counts: counts.map(less).collect(), largest: self.largest }
    }
    /// The largest value; zero without any.
    #[must_use]
    pub const fn largest(&self) -> Duration {
        self.largest
    }
    /// What `per_million` of a million values do not exceed, rounded up by at most an eighth; none without values.
    #[must_use]
    pub fn quantile(&self, per_million: u32) -> Option<Duration> {
        let count = self.count();
        // The rank of the value, from 1.
        let rank = (u128::from(count) * u128::from(per_million)).div_ceil(1_000_000).max(1);
        let mut seen = 0;
        for (index, here) in self.counts.iter().enumerate() {
            seen += u128::from(*here);
            if seen >= rank {
                return Some(end(index).min(self.largest));
            }
        }
        None
    }
}

/// What a link did to the beats of one peer.
#[repr(C)]
#[derive(Debug)]
pub struct LinkMeasures {
    /// Beats that came, each once.
    carried: AtomicU64,
    /// Beats that should have come between two that did, by the sender's own times.
    lost: AtomicU64,
    doubled: AtomicU64,
    reordered: AtomicU64,
    jitter: Histogram,
}

/// What is measured of one peer.
#[repr(C)]
#[derive(Debug)]
pub struct PeerMeasures {
    /// From an own beat to its echo, less the time for which the peer held it.
    pub round_trip: Histogram,
    /// Of own beats on their way to it, from the times in its echoes.
    pub outgoing: Histogram,
    links: [LinkMeasures; LINKS_MAX],
}

/// The region.
#[repr(C)]
#[derive(Debug)]
pub struct Measures {
    /// How late the thread's wake-ups were.
    pub lateness: Histogram,
    peers: [PeerMeasures; NODES_MAX],
}

impl Measures {
    /// One peer.
    #[must_use]
    pub fn peer(&self, node: NodeId) -> &PeerMeasures {
        &self.peers[node.index()]
    }
}

impl PeerMeasures {
    /// One of its links; none if there is no such link.
    #[must_use]
    pub fn link(&self, link: LinkId) -> Option<&LinkMeasures> {
        self.links.get(usize::from(link.0))
    }

    /// A copy to read from.
    #[must_use]
    pub fn snapshot(&self, node: NodeId) -> PeerSpread {
        PeerSpread {
            id: node.get(),
            round_trip: self.round_trip.snapshot(),
            outgoing: self.outgoing.snapshot(),
            links: self.links.iter().map(LinkMeasures::snapshot).collect(),
        }
    }
}

/// What came of a beat on a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It came, after `lost` others that did not; and with which jitter, if it had a predecessor.
    Carried {
        /// Beats missed since the one before.
        lost: u64,
        /// Against the one before.
        jitter: Option<Duration>,
    },
    /// It came once more.
    Doubled,
    /// It came after a newer one.
    Reordered,
}

impl LinkMeasures {
    /// Counts one.
    pub fn note(&self, fate: Fate) {
        let add =
            |word: &AtomicU64, n: u64| word.store(word.load(Relaxed).wrapping_add(n), Relaxed);
        match fate {
            Fate::Carried { lost, jitter } => {
                add(&self.carried, 1);
                add(&self.lost, lost);
                if let Some(jitter) = jitter {
                    self.jitter.record(jitter);
                }
            }
            Fate::Doubled => add(&self.doubled, 1),
            // It was counted as lost when the newer one came.
            Fate::Reordered => {
                add(&self.reordered, 1);
                self.lost.store(self.lost.load(Relaxed).saturating_sub(1), Relaxed);
            }
        }
    }

    /// A copy to read from.
    #[must_use]
    pub fn snapshot(&self) -> LinkSpread {
        LinkSpread {
            carried: self.carried.load(Relaxed),
            lost: self.lost.load(Relaxed),
            doubled: self.doubled.load(Relaxed),
            reordered: self.reordered.load(Relaxed),
            jitter: self.jitter.snapshot(),
        }
    }
}

/// What was measured of a peer when it was read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PeerSpread {
    /// The node's id.
    pub id: u8,
    /// From an own beat to its echo, less the time for which the peer held it.
    pub round_trip: Spread,
    /// Jitter of own beats on their way to it.
    pub outgoing: Spread,
    /// By the link's number.
    pub links: Vec<LinkSpread>,
}

/// What a link had done to a peer's beats when it was read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LinkSpread {
    /// Beats that came.
    pub carried: u64,
    /// Beats that did not.
    pub lost: u64,
    /// Copies that came besides.
    pub doubled: u64,
    /// Beats that came after a newer one.
    pub reordered: u64,
    /// Incoming jitter.
    pub jitter: Spread,
}

#[cfg(test)]
mod tests {
    use super::{BUCKETS, Fate, bucket, end};
    use crate::map::Map;
    use base::Duration;
    use wire::{LinkId, NodeId};

    #[test]
    fn every_value_lies_in_a_bucket_that_ends_an_eighth_above_it_at_most() {
        let mut values: Vec<u64> = (0..4_000).collect();
        values.extend((0..23).flat_map(|n| [(1 << n) - 1, 1 << n, (1 << n) + (1 << n) / 3]));
        for us in values {
            let value = Duration::from_micros(us);
            let above = end(bucket(value));
            assert!(above > value, "{us} us: {above:?}");
            assert!(above.micros() <= us + us / 8 + 1, "{us} us: {above:?}");
        }
        let longest = Duration::from_millis(3_600_000);
        assert_eq!(bucket(longest), BUCKETS - 1, "what is longer is in the last");
        assert_eq!(bucket(Duration(u64::MAX)), BUCKETS - 1);
    }

    #[test]
    fn a_spread_says_what_a_share_of_the_values_does_not_exceed() {
        let map = Map::nameless().unwrap();
        let lateness = &map.measures().lateness;
        assert_eq!(lateness.snapshot().quantile(500_000), None);
        for us in 1..=1_000 {
            lateness.record(Duration::from_micros(us));
        }
        let spread = lateness.snapshot();
        assert_eq!((spread.count(), spread.largest()), (1_000, Duration::from_micros(1_000)));
        let at = |per_million| spread.quantile(per_million).unwrap().micros();
        assert!((500..=512).contains(&at(500_000)), "{}", at(500_000));
        assert!((990..=1_000).contains(&at(990_000)), "{}", at(990_000));
        assert_eq!((at(1_000_000), at(0)), (1_000, 2), "the largest, and the smallest rounded up");
        assert_eq!(spread.values().map(|(_, count)| count).sum::<u64>(), 1_000);
        assert_eq!(spread.values().last().map(|(value, _)| value.micros()), Some(1_000));
    }

    #[test]
    fn a_beat_that_came_late_was_not_lost() {
        let map = Map::nameless().unwrap();
        let node = NodeId::new(128).unwrap();
        assert!(map.measures().peer(node).link(LinkId(4)).is_none());
        let link = map.measures().peer(node).link(LinkId(3)).unwrap();
        link.note(Fate::Carried { lost: 0, jitter: None });
        link.note(Fate::Carried { lost: 2, jitter: Some(Duration::from_micros(40)) });
        link.note(Fate::Reordered);
        link.note(Fate::Doubled);
        let spread = link.snapshot();
        assert_eq!((spread.carried, spread.lost), (2, 1));
        assert_eq!((spread.doubled, spread.reordered, spread.jitter.count()), (1, 1, 1));
    }
}
