//! The own lease: L after the send time of the newest beat that a majority has echoed (PROTOCOL 5.1).
//!
//! A beat is sent before it is heard, so a lease that counts from its send time ends before any peer's deadline that
//! counts from its receipt (GC = Gray, Cheriton, Leases, SOSP 1989). An echo names only the beat's number; this ring
//! knows when and in which stint that number was sent, so an echo cannot count for another stint.

use base::{Duration, Instant};
use wire::{Seq, Stint};

/// Own frames whose send time is remembered. At half intervals this is far more than a lease lasts.
const RING: usize = 256;

/// One own beat.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Sent {
    seq: Seq,
    stint: Stint,
    at: Instant,
}

/// Own beats by number, and the end of the lease.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Lease {
    length: Duration,
    ring: [Option<Sent>; RING],
    pub(crate) end: Instant,
    pub(crate) stint: Stint,
    /// True while control believes that the lease holds.
    pub(crate) told: bool,
}

impl Lease {
    pub(crate) const fn new(length: Duration) -> Self {
        Self { length, ring: [None; RING], end: Instant::ZERO, stint: Stint::NONE, told: false }
    }

    /// Remembers a beat before it is sent.
    pub(crate) fn sent(&mut self, seq: Seq, stint: Stint, at: Instant) {
        if let Some(slot) = self.ring.get_mut(seq.0 as usize % RING) {
            *slot = Some(Sent { seq, stint, at });
        }
    }

    /// When the beat with this low half of its number was sent in the present stint, or, if `unbound`, in any.
    pub(crate) fn echoed(&self, low: u32, unbound: bool) -> Option<Instant> {
        let sent = (*self.ring.get(low as usize % RING)?)?;
        let present = sent.stint == self.stint || unbound;
        (sent.seq.0 as u32 == low && present && self.stint.is_member()).then_some(sent.at)
    }

    /// Extends the lease: a majority heard a beat that was sent at `at`.
    pub(crate) fn renew(&mut self, at: Instant) -> bool {
        let end = at + self.length;
        let longer = end > self.end;
        if longer {
            self.end = end;
        }
        longer
    }
}

const _: () = assert!(RING.is_power_of_two(), "the low half of a number finds the same slot");
