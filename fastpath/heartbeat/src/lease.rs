//! The own lease: L after the send time of a beat that a majority has echoed (PROTOCOL 5.1).
//!
//! A beat is sent before it is heard, so a lease that counts from its send time ends before any peer's deadline that
//! counts from its receipt (GC = Gray, Cheriton, Leases, SOSP 1989). An echo names only the beat's number; this ring
//! knows when, in which stint and with which lease that number was sent, so an echo cannot count for another stint, and
//! settings that changed between a beat and its echo do not make more of it than the peer was told.

use base::{Duration, Instant};
use wire::{NodeSet, Seq, Stint};

/// Own frames whose send time is remembered. At half intervals this is far more than a lease lasts.
const RING: usize = 256;

/// One own beat.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Sent {
    seq: Seq,
    stint: Stint,
    /// When a lease ends that rests on it.
    end: Instant,
}

/// Own beats by number, and the end of the lease.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Lease {
    ring: [Option<Sent>; RING],
    pub(crate) end: Instant,
    pub(crate) stint: Stint,
    /// The electorates by which it was reckoned last.
    basis: (NodeSet, NodeSet),
    /// True while control believes that the lease holds.
    pub(crate) told: bool,
}

impl Lease {
    pub(crate) const fn new() -> Self {
        Self {
            ring: [None; RING],
            end: Instant::ZERO,
            stint: Stint::NONE,
            basis: (NodeSet::EMPTY, NodeSet::EMPTY),
            told: false,
        }
    }

    /// Remembers a beat before it is sent, and how long the lease is that it declares.
    pub(crate) fn sent(&mut self, seq: Seq, stint: Stint, at: Instant, length: Duration) {
        if let Some(slot) = self.ring.get_mut(seq.0 as usize % RING) {
            *slot = Some(Sent { seq, stint, end: at + length });
        }
    }

    /// When a lease ends that rests on the beat with this low half of its number, if it was sent in the present stint, or,
    /// if `unbound`, in any.
    pub(crate) fn echoed(&self, low: u32, unbound: bool) -> Option<Instant> {
        let sent = (*self.ring.get(low as usize % RING)?)?;
        let present = sent.stint == self.stint || unbound;
        (sent.seq.0 as u32 == low && present && self.stint.is_member()).then_some(sent.end)
    }

    /// The echoes support a lease until `end`, by these electorates. True if the lease has changed. It only grows, unless
    /// it was reckoned by other electorates before: then what the present ones do not support ends (R-LEASE-CONF).
    pub(crate) fn renew(&mut self, end: Instant, basis: (NodeSet, NodeSet)) -> bool {
        let moved = end > self.end || (basis != self.basis && end != self.end);
        self.basis = basis;
        if moved {
            self.end = end;
        }
        moved
    }
}

const _: () = assert!(RING.is_power_of_two(), "the low half of a number finds the same slot");
