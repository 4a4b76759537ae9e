//! What fast did last: typed records, the oldest overwritten. Fast never formats or logs; tools do,
//! also after its death.
//!
//! Each record begins with a stamp: its number plus one, 0 while it is being written. A reader
//! takes a record only if the stamp is the one it expects both before and after the copy.

use crate::event_words;
use base::{Duration, Instant};
use heartbeat::{Event, EventKind};
use std::sync::atomic::{AtomicU64, Ordering, fence};
use wire::LinkId;

/// Records kept.
pub const TRACE_MAX: u64 = 1024;

/// Words of a record after its stamp.
pub const BODY: usize = 7;

/// Numbers below are events; never reused.
const FIRST: u64 = 1000;
const RUNNING: u64 = FIRST;
const LATE: u64 = FIRST + 1;
const SEND_FAILED: u64 = FIRST + 2;
const EVENT_LOST: u64 = FIRST + 3;
const OBITUARY: u64 = FIRST + 4;
const CONTROL_GONE: u64 = FIRST + 5;
const STOPPING: u64 = FIRST + 6;
const CHANGED: u64 = FIRST + 7;
const BAD_CHANGE: u64 = FIRST + 8;

/// One thing that fast did or saw.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceRecord {
    /// When, own clock.
    pub at: Instant,
    /// What.
    pub kind: TraceKind,
}

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TraceKind {
    /// An event that control was told too.
    Told(EventKind),
    /// The first beat is about to go.
    Running,
    /// This thread woke late, though not late enough for a stall.
    Late(Duration),
    /// A frame could not be sent.
    SendFailed {
        /// On which link.
        link: LinkId,
        /// The system's error number.
        errno: i32,
    },
    /// The event ring was full.
    EventLost,
    /// An obituary went out.
    Obituary,
    /// Control ended or made no progress.
    ControlGone,
    /// Asked to stop.
    Stopping,
    /// Control told other settings or peers: the deadline of the next beat.
    Changed(Duration),
    /// Control told something that cannot be; it has no effect.
    BadChange,
}

/// One record.
#[repr(C, align(64))]
#[derive(Debug)]
struct Slot {
    stamp: AtomicU64,
    words: [AtomicU64; BODY],
}

/// The slots begin on a page.
#[repr(C, align(4096))]
#[derive(Debug)]
struct Slots([Slot; TRACE_MAX as usize]);

/// The trace. Written by fast only.
#[repr(C, align(4096))]
#[derive(Debug)]
pub struct Trace {
    /// Records ever written.
    next: AtomicU64,
    slots: Slots,
}

impl Trace {
    /// Fast: notes one record.
    pub fn note(&self, at: Instant, kind: TraceKind) {
        let number = self.next.load(Ordering::Relaxed);
        let slot = self.slot(number);
        slot.stamp.store(0, Ordering::Relaxed);
        fence(Ordering::Release);
        for (word, value) in slot.words.iter().zip(encode(at, kind)) {
            word.store(value, Ordering::Relaxed);
        }
        slot.stamp.store(number.wrapping_add(1), Ordering::Release);
        self.next.store(number.wrapping_add(1), Ordering::Release);
    }

    /// Tools: the records that are there, the oldest first. One that is overwritten meanwhile is
    /// left out.
    pub fn records(&self) -> impl Iterator<Item = TraceRecord> + '_ {
        let end = self.next.load(Ordering::Acquire);
        (end.saturating_sub(TRACE_MAX)..end).filter_map(|number| self.read(number))
    }

    fn read(&self, number: u64) -> Option<TraceRecord> {
        let slot = self.slot(number);
        if slot.stamp.load(Ordering::Acquire) != number.wrapping_add(1) {
            return None;
        }
        let mut words = [0; BODY];
        for (value, word) in words.iter_mut().zip(&slot.words) {
            *value = word.load(Ordering::Relaxed);
        }
        fence(Ordering::Acquire);
        if slot.stamp.load(Ordering::Relaxed) != number.wrapping_add(1) {
            return None;
        }
        decode(words)
    }

    fn slot(&self, number: u64) -> &Slot {
        &self.slots.0[(number % TRACE_MAX) as usize]
    }
}

/// The words of a record.
#[must_use]
pub fn encode(at: Instant, kind: TraceKind) -> [u64; BODY] {
    let (kind, a, b) = match kind {
        TraceKind::Told(kind) => {
            let [at, kind, a, b, c, d, e, _] = event_words::encode(&Event { at, kind });
            return [at, kind, a, b, c, d, e];
        }
        TraceKind::Running => (RUNNING, 0, 0),
        TraceKind::Late(by) => (LATE, by.0, 0),
        TraceKind::SendFailed { link, errno } => (SEND_FAILED, link.0.into(), errno as u32 as u64),
        TraceKind::EventLost => (EVENT_LOST, 0, 0),
        TraceKind::Obituary => (OBITUARY, 0, 0),
        TraceKind::ControlGone => (CONTROL_GONE, 0, 0),
        TraceKind::Stopping => (STOPPING, 0, 0),
        TraceKind::Changed(deadline) => (CHANGED, deadline.0, 0),
        TraceKind::BadChange => (BAD_CHANGE, 0, 0),
    };
    [at.0, kind, a, b, 0, 0, 0]
}

/// The record in these words; `None` if no fast path writes such.
#[must_use]
pub fn decode(words: [u64; BODY]) -> Option<TraceRecord> {
    let [at, kind, a, b, c, d, e] = words;
    let kind = match kind {
        RUNNING => TraceKind::Running,
        LATE => TraceKind::Late(Duration(a)),
        SEND_FAILED => {
            TraceKind::SendFailed { link: LinkId(u8::try_from(a).ok()?), errno: b as u32 as i32 }
        }
        EVENT_LOST => TraceKind::EventLost,
        OBITUARY => TraceKind::Obituary,
        CONTROL_GONE => TraceKind::ControlGone,
        STOPPING => TraceKind::Stopping,
        CHANGED => TraceKind::Changed(Duration(a)),
        BAD_CHANGE => TraceKind::BadChange,
        _ => TraceKind::Told(event_words::decode(&[at, kind, a, b, c, d, e, 0])?.kind),
    };
    Some(TraceRecord { at: Instant(at), kind })
}

#[cfg(test)]
mod tests {
    use super::{TRACE_MAX, TraceKind, TraceRecord};
    use crate::map::Map;
    use base::{Duration, Instant};
    use heartbeat::EventKind;
    use wire::{LinkId, NodeId};

    #[test]
    fn records_come_back_in_order() {
        let map = Map::nameless().unwrap();
        let node = NodeId::new(3).unwrap();
        let kinds = [
            TraceKind::Running,
            TraceKind::Told(EventKind::LinkDown { node, link: LinkId(1) }),
            TraceKind::Late(Duration(5)),
            TraceKind::SendFailed { link: LinkId(2), errno: 101 },
            TraceKind::EventLost,
            TraceKind::ControlGone,
            TraceKind::Obituary,
            TraceKind::Stopping,
        ];
        for (i, kind) in kinds.into_iter().enumerate() {
            map.trace().note(Instant(i as u64), kind);
        }
        let read: Vec<_> = map.trace().records().collect();
        let expected: Vec<_> = kinds
            .into_iter()
            .enumerate()
            .map(|(i, kind)| TraceRecord { at: Instant(i as u64), kind })
            .collect();
        assert_eq!(read, expected);
    }

    #[test]
    fn the_oldest_records_are_overwritten() {
        let map = Map::nameless().unwrap();
        for n in 0..TRACE_MAX + 10 {
            map.trace().note(Instant(n), TraceKind::Running);
        }
        let times: Vec<_> = map.trace().records().map(|record| record.at.0).collect();
        assert_eq!(times, (10..TRACE_MAX + 10).collect::<Vec<_>>());
    }

    #[test]
    fn a_record_that_is_being_written_is_left_out() {
        let map = Map::nameless().unwrap();
        map.trace().note(Instant(1), TraceKind::Running);
        map.trace().note(Instant(2), TraceKind::Running);
        map.trace().slot(0).stamp.store(0, std::sync::atomic::Ordering::Release);
        let times: Vec<_> = map.trace().records().map(|record| record.at.0).collect();
        assert_eq!(times, [2]);
    }
}
