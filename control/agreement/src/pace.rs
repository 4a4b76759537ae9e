//! The pace of what is sent again: to whoever lags, or asks, as much as it takes and the others do not feel.
//!
//! Entries go out once to all (news). Everything else is repetition: a member whose acknowledgement is late gets what it
//! lacks once an interval, whoever asks gets an answer. Both are bounded three times:
//!
//! * *one burst*: [`BURST`] messages, and [`BURST_BYTES`] of entries (the message that crosses that line is the last);
//! * *one node*: what takes the stream is not sent to it again before it had time to arrive on the slowest link
//!   ([`SLOWEST_BYTE`]), but after a deadline at the latest: a connection may have broken, and R-PROGRESS does not wait. (What
//!   is still on its way the stream does not carry twice.) What the node acknowledges, or asks for above that, opens the next
//!   burst at once: so a fast link is paced by its own acknowledgements;
//! * *all nodes together*: a message is taken to cost [`MESSAGE_COST`] and a byte [`BYTE_COST`]; repetitions may be ahead of
//!   the clock by [`AT_ONCE`], answers by [`ANSWERS_AT_ONCE`] (the generic cell rate algorithm, ITU-T I.371). So each of
//!   both is at most 100,000 messages or 400 MB a second. One call hands over at most 500 messages or 2 MiB of repetitions
//!   (and one message), or one answer. Among many that lag the repetitions of one interval are shared, voters first, and go
//!   on where they ended.
//!
//! *Liveness*: a bound only delays. A burst is at least one message whatever its size, time passes for all waits, who was not
//! served is first in the next interval, and who gets no answer asks again after an interval.

use alloc::collections::BTreeMap;
use base::{Duration, Instant};
use wire::message::DATAGRAM_MAX;
use wire::{Incarnation, Life, NodeId, Op};

/// A byte of what is large on the slowest link that members must be patient with: 80 Mbit/s.
pub(crate) const SLOWEST_BYTE: Duration = Duration(100);
/// A byte of it on this node's own link, which carries it to all: 800 Mbit/s.
pub(crate) const OWN_BYTE: Duration = Duration(10);
/// Most messages that one Fetch or one retransmission is answered with.
pub(crate) const BURST: usize = 32;
/// Bytes of entries after which it ends.
pub(crate) const BURST_BYTES: usize = 2 << 20;
/// What a message is taken to cost, and each two bytes of it.
const MESSAGE_COST: Duration = Duration::from_micros(10);
const BYTE_COST: (u64, u64) = (5, 2);
/// How far repetitions may be ahead of the clock: all of an interval leave in one call.
const AT_ONCE: Duration = Duration::from_millis(5);
/// How far answers may be: each is a call of its own, and half of 128 nodes may ask for a whole burst when they come at once.
const ANSWERS_AT_ONCE: Duration = Duration::from_millis(20);
/// Least messages of one repetition, however many lag.
const SHARE_MIN: usize = 2;

/// What one call may send to one node, and what it has sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Burst {
    most: usize,
    most_bytes: usize,
    allowed: Duration,
    messages: usize,
    bytes: usize,
    large: usize,
    cost: Duration,
}

impl Burst {
    const fn new(most: usize, most_bytes: usize, allowed: Duration) -> Self {
        let (messages, bytes, large, cost) = (0, 0, 0, Duration::ZERO);
        Self { most, most_bytes, allowed, messages, bytes, large, cost }
    }
    /// What all get, once: the log's own bounds are its bounds in bytes.
    pub(crate) const fn news() -> Self {
        Self::new(BURST, usize::MAX, Duration(u64::MAX))
    }
    /// A promise's tail: what may wait for its commit, so that one message round carries it.
    pub(crate) const fn promise() -> Self {
        Self::new(BURST, 4 * BURST_BYTES, Duration(u64::MAX))
    }
    /// True while another message may follow.
    pub(crate) fn goes_on(&self) -> bool {
        self.messages < self.most && self.bytes < self.most_bytes && self.cost < self.allowed
    }
    /// A message with entries of so many bytes is sent.
    pub(crate) fn add(&mut self, size: usize) {
        self.messages += 1;
        self.bytes = self.bytes.saturating_add(size);
        if size > DATAGRAM_MAX {
            self.large = self.large.saturating_add(size);
        }
        let of_bytes = (size as u64).saturating_mul(BYTE_COST.0) / BYTE_COST.1;
        self.cost = Duration(self.cost.0.saturating_add(MESSAGE_COST.0).saturating_add(of_bytes));
    }
    /// How long what is large in it takes on the slowest link.
    fn time_to_carry(&self) -> Duration {
        Duration(SLOWEST_BYTE.0.saturating_mul(self.large as u64))
    }
}

/// Until when what was sent is paid for. It only delays, by milliseconds: two states that differ in nothing else are one,
/// else the model would tell apart every order of messages of one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Meter(Instant);

impl PartialEq for Meter {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Meter {}

impl core::hash::Hash for Meter {
    fn hash<H: core::hash::Hasher>(&self, _: &mut H) {}
}

impl Meter {
    fn allowed(self, now: Instant, at_once: Duration) -> Duration {
        (now + at_once).since(self.0)
    }
    fn charge(&mut self, now: Instant, cost: Duration) {
        self.0 = self.0.max(now) + cost;
    }
    /// Equal states are equal whatever was sent long ago.
    fn forget(&mut self, now: Instant) {
        if self.0 <= now {
            self.0 = Instant::ZERO;
        }
    }
}

/// Which of both meters counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Again {
    /// A member has not acknowledged.
    Repetition,
    /// Somebody asks.
    Answer,
}

/// What was sent to a node and may still be on its way: after `after`, up to `end`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Flight {
    incarnation: Incarnation,
    after: Op,
    end: Op,
    due: Instant,
}

/// What has been sent of late, of one term.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Pace {
    repetitions: Meter,
    answers: Meter,
    flights: BTreeMap<NodeId, Flight>,
    /// The node that was sent a repetition last.
    last: Option<NodeId>,
}

impl Pace {
    /// Another term: its messages are others.
    pub(crate) fn enter_term(&mut self) {
        self.flights.clear();
        self.last = None;
    }

    /// Nothing of what is over is kept.
    pub(crate) fn forget(&mut self, now: Instant) {
        self.repetitions.forget(now);
        self.answers.forget(now);
        if !self.flights.is_empty() {
            self.flights.retain(|_, flight| flight.due > now);
        }
    }

    /// True if what this life lacks first was sent to it and had no time to arrive.
    pub(crate) fn is_under_way(&self, now: Instant, to: Life, first: Op) -> bool {
        self.flights.get(&to.node).is_some_and(|flight| {
            flight.incarnation == to.incarnation
                && flight.after < first
                && first <= flight.end
                && now < flight.due
        })
    }

    /// What may be sent to one of `count` nodes now; nothing if this moment's share is used up.
    pub(crate) fn burst(&self, now: Instant, again: Again, count: usize) -> Option<Burst> {
        let (most, allowed) = match again {
            Again::Repetition => (share(count), self.repetitions.allowed(now, AT_ONCE)),
            Again::Answer => (BURST, self.answers.allowed(now, ANSWERS_AT_ONCE)),
        };
        let burst = Burst::new(most, BURST_BYTES, allowed);
        burst.goes_on().then_some(burst)
    }

    /// Notes what was sent to one node.
    pub(crate) fn sent(
        &mut self,
        now: Instant,
        (to, again): (Life, Again),
        (after, end): (Op, Op),
        burst: Burst,
        longest: Duration,
    ) {
        match again {
            Again::Repetition => {
                self.repetitions.charge(now, burst.cost);
                self.last = Some(to.node);
            }
            Again::Answer => self.answers.charge(now, burst.cost),
        }
        self.note_flight(now, to, (after, end), burst, longest);
    }

    /// The same for what no meter counts.
    pub(crate) fn note_flight(
        &mut self,
        now: Instant,
        to: Life,
        (after, end): (Op, Op),
        burst: Burst,
        longest: Duration,
    ) {
        // Datagrams are there at once or not at all.
        let due = now + burst.time_to_carry().min(longest);
        if after < end && burst.large > 0 {
            let incarnation = to.incarnation;
            self.flights.insert(to.node, Flight { incarnation, after, end, due });
        }
    }

    /// Where a node stands in the round of repetitions.
    pub(crate) fn place(&self, node: NodeId) -> (bool, NodeId) {
        (self.last.is_some_and(|last| node <= last), node)
    }
}

/// Messages of one repetition, when `count` nodes lag: together they fit what may be sent at once.
fn share(count: usize) -> usize {
    let together = (AT_ONCE.0 / MESSAGE_COST.0) as usize;
    (together / count.max(1)).clamp(SHARE_MIN, BURST)
}

#[cfg(test)]
mod tests {
    use super::{Again, BURST, BURST_BYTES, Burst, Pace, share};
    use base::{Duration, Instant};
    use wire::{Incarnation, Life, NodeId, Op};

    const INTERVAL: Duration = Duration::from_millis(10);

    fn life(n: u8, incarnation: u32) -> Life {
        Life { node: NodeId::new(n).unwrap(), incarnation: Incarnation(incarnation) }
    }

    /// Sends messages of `size` while it may, to node 1; how many, and their bytes.
    fn fill(pace: &mut Pace, now: Instant, again: Again, size: usize) -> (usize, usize) {
        let mut total = (0, 0);
        while let Some(mut burst) = pace.burst(now, again, 1) {
            while burst.goes_on() {
                burst.add(size);
            }
            total = (total.0 + burst.messages, total.1 + burst.bytes);
            pace.sent(now, (life(1, 1), again), (Op(0), Op(1)), burst, INTERVAL * 3);
        }
        total
    }

    #[test]
    fn in_one_moment_and_in_a_second_there_is_a_bound() {
        for (again, times) in [(Again::Repetition, 1), (Again::Answer, 4)] {
            for (size, most) in [(1_300, 500 * times), (64, 500 * times), (1 << 20, 2 * times)] {
                let (mut pace, begin) = (Pace::default(), Instant(1_000_000_000));
                let (messages, bytes) = fill(&mut pace, begin, again, size);
                assert!(
                    messages <= most + 1 && bytes <= (2 * times + 1) << 20,
                    "{size}: {messages}"
                );
                assert_eq!(fill(&mut pace, begin, again, size), (0, 0), "in the same moment");
                let mut second = (messages, bytes);
                for ms in 1..=1_000 {
                    let more = fill(&mut pace, begin + Duration::from_millis(ms), again, size);
                    second = (second.0 + more.0, second.1 + more.1);
                }
                assert!(second.0 <= 102_500 && second.1 <= 412_000_000, "{size}: {second:?}");
                assert!(second.0 >= 10_000 || second.1 >= 300_000_000, "{size}: {second:?}");
            }
        }
    }

    #[test]
    fn what_is_under_way_is_so_until_it_had_time_to_arrive() {
        let (mut pace, now) = (Pace::default(), Instant(1_000_000_000));
        let mut burst = pace.burst(now, Again::Answer, 1).unwrap();
        burst.add(1 << 20);
        pace.sent(now, (life(1, 1), Again::Answer), (Op(4), Op(5)), burst, INTERVAL * 100);
        let carried = now + Duration(100 << 20);
        let before = Instant(carried.0 - 1);
        assert!(pace.is_under_way(before, life(1, 1), Op(5)));
        assert!(!pace.is_under_way(carried, life(1, 1), Op(5)));
        assert!(!pace.is_under_way(before, life(1, 2), Op(5)), "another life has none of it");
        assert!(!pace.is_under_way(before, life(2, 1), Op(5)));
        assert!(!pace.is_under_way(before, life(1, 1), Op(6)), "it has it, and asks for the next");
        assert!(!pace.is_under_way(before, life(1, 1), Op(4)), "it lacks what lies below");
        pace.sent(now, (life(1, 1), Again::Answer), (Op(4), Op(5)), burst, INTERVAL * 3);
        assert!(!pace.is_under_way(now + INTERVAL * 3, life(1, 1), Op(5)), "it may be lost");
        pace.forget(carried);
        pace.last = None;
        assert_eq!(pace, Pace::default(), "nothing is kept of what is over");
    }

    #[test]
    fn one_message_always_fits_and_many_nodes_share() {
        let mut burst = Burst::new(BURST, BURST_BYTES, Duration(1));
        assert!(burst.goes_on());
        burst.add(1 << 20);
        assert!(!burst.goes_on());
        assert_eq!([1, 7, 8, 60, 127].map(share), [32, 32, 32, 8, 3]);
    }
}
