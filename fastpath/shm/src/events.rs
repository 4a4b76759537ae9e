//! The ring from fast to control: one producer, one consumer, fixed records, never waits.
//!
//! Head and tail only grow; a slot is their remainder. The producer writes the words of a record,
//! then the head (release); the consumer reads the head (acquire), then the words, then writes the
//! tail. Full means: the event is lost, counted, and control reads the board anew when it sees the
//! count.

use crate::event_words::{self, WORDS};
use heartbeat::Event;
use std::sync::atomic::{AtomicU64, Ordering};

/// Records in the ring. Control is declared dead after 30 ms without progress, so in a healthy pair
/// it never holds more than a few.
pub const EVENTS_MAX: u64 = 1024;

/// An index on a cache line of its own, so that the two sides do not fight for one.
#[repr(C, align(64))]
#[derive(Debug)]
struct Line(AtomicU64);

/// One record.
#[repr(C, align(64))]
#[derive(Debug)]
struct Slot([AtomicU64; WORDS]);

/// The ring.
#[repr(C, align(4096))]
#[derive(Debug)]
pub struct EventRing {
    /// Fast: records ever pushed.
    head: Line,
    /// Control: records ever taken.
    tail: Line,
    /// Fast adds what did not fit, control what it could not read; control takes the sum.
    lost: Line,
    slots: Slots,
}

/// The slots begin on a page.
#[repr(C, align(4096))]
#[derive(Debug)]
struct Slots([Slot; EVENTS_MAX as usize]);

impl EventRing {
    /// Fast: appends one event; false = full, counted as lost.
    pub fn push(&self, event: &Event) -> bool {
        let head = self.head.0.load(Ordering::Relaxed);
        let tail = self.tail.0.load(Ordering::Acquire);
        if head.wrapping_sub(tail) >= EVENTS_MAX {
            self.lost.0.fetch_add(1, Ordering::AcqRel);
            return false;
        }
        for (word, value) in self.slot(head).iter().zip(event_words::encode(event)) {
            word.store(value, Ordering::Relaxed);
        }
        self.head.0.store(head.wrapping_add(1), Ordering::Release);
        true
    }

    /// Control: takes the oldest event.
    pub fn pop(&self) -> Option<Event> {
        for _ in 0..EVENTS_MAX {
            let tail = self.tail.0.load(Ordering::Relaxed);
            let head = self.head.0.load(Ordering::Acquire);
            let held = head.wrapping_sub(tail);
            if held == 0 {
                return None;
            }
            if held > EVENTS_MAX {
                // Only a broken producer does this: begin anew behind it.
                self.lost.0.fetch_add(1, Ordering::AcqRel);
                self.tail.0.store(head, Ordering::Release);
                return None;
            }
            let mut words = [0; WORDS];
            for (value, word) in words.iter_mut().zip(self.slot(tail)) {
                *value = word.load(Ordering::Relaxed);
            }
            self.tail.0.store(tail.wrapping_add(1), Ordering::Release);
            match event_words::decode(&words) {
                Some(event) => return Some(event),
                None => self.lost.0.fetch_add(1, Ordering::AcqRel),
            };
        }
        None
    }

    /// Control: events lost since the last call. Not zero: read the board anew.
    pub fn take_lost(&self) -> u64 {
        self.lost.0.swap(0, Ordering::AcqRel)
    }

    /// Events that wait to be taken.
    pub fn waiting(&self) -> u64 {
        let tail = self.tail.0.load(Ordering::Acquire);
        self.head.0.load(Ordering::Acquire).wrapping_sub(tail).min(EVENTS_MAX)
    }

    fn slot(&self, index: u64) -> &[AtomicU64; WORDS] {
        &self.slots.0[(index % EVENTS_MAX) as usize].0
    }
}

#[cfg(test)]
mod tests {
    use super::EVENTS_MAX;
    use crate::map::Map;
    use base::{Duration, Instant};
    use heartbeat::{Event, EventKind};

    fn stalled(n: u64) -> Event {
        Event { at: Instant(n), kind: EventKind::Stalled { lost: Duration(n) } }
    }

    #[test]
    fn events_come_out_in_order_and_once() {
        let map = Map::nameless().unwrap();
        assert_eq!(map.events().pop(), None);
        for round in 0..3 * EVENTS_MAX {
            assert!(map.events().push(&stalled(round)));
            assert!(map.events().push(&stalled(round + 1)));
            assert_eq!(map.events().pop(), Some(stalled(round)));
            assert_eq!(map.events().pop(), Some(stalled(round + 1)));
        }
        assert_eq!(map.events().pop(), None);
        assert_eq!(map.events().take_lost(), 0);
    }

    #[test]
    fn a_full_ring_keeps_the_old_events_and_says_how_many_were_lost() {
        let map = Map::nameless().unwrap();
        for n in 0..EVENTS_MAX {
            assert!(map.events().push(&stalled(n)));
        }
        assert!(!map.events().push(&stalled(7)));
        assert!(!map.events().push(&stalled(8)));
        assert_eq!(map.events().waiting(), EVENTS_MAX);
        assert_eq!(map.events().pop(), Some(stalled(0)));
        assert_eq!(map.events().take_lost(), 2);
        assert_eq!(map.events().take_lost(), 0);
    }

    #[test]
    fn two_threads_hand_over_every_event() {
        let map = Map::nameless().unwrap();
        let total = 50_000;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut n = 0;
                while n < total {
                    if map.events().push(&stalled(n)) {
                        n += 1;
                    } else {
                        std::thread::yield_now();
                    }
                }
            });
            let mut next = 0;
            while next < total {
                match map.events().pop() {
                    Some(event) => {
                        assert_eq!(event, stalled(next));
                        next += 1;
                    }
                    None => std::thread::yield_now(),
                }
            }
        });
    }

    #[test]
    fn a_broken_producer_costs_events_but_not_the_consumer() {
        let map = Map::nameless().unwrap();
        map.events().head.0.store(u64::MAX / 2, std::sync::atomic::Ordering::Release);
        assert_eq!(map.events().pop(), None);
        assert_eq!(map.events().take_lost(), 1);
        // An unknown kind is skipped and counted too.
        map.events().push(&stalled(1));
        let slot = map.events().slot(u64::MAX / 2);
        slot[1].store(999, std::sync::atomic::Ordering::Release);
        map.events().push(&stalled(2));
        assert_eq!(map.events().pop(), Some(stalled(2)));
        assert_eq!(map.events().take_lost(), 1);
    }
}
