//! A model of the kernel gate (S2b): the words of `fastpath/gate/src/map.rs`, and the question that
//! its program asks of every packet. Nobody has to run for it to close: it outlives both daemons,
//! and compares with the clock of its machine at the packet.

use base::Instant;
use std::cell::Cell;
use wire::{Generation, Stint};

/// The words of one life. All zero is closed.
#[derive(Clone, Debug)]
pub struct Gate {
    /// Fast: when the lease ends.
    lease_end: Cell<Instant>,
    /// Control: nonzero closes every address (R-SELF).
    closed: Cell<Stint>,
    /// Control: the generation each address is open for, 0 = closed.
    slots: Vec<Cell<Generation>>,
}

impl Gate {
    /// A gate that is closed for every one of so many addresses.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        let closed = || Cell::new(Generation(0));
        let slots = std::iter::repeat_with(closed).take(slots).collect();
        Self { lease_end: Cell::new(Instant::ZERO), closed: Cell::new(Stint::NONE), slots }
    }
    /// A renewal, or the end of the lease.
    pub fn set_lease_end(&self, end: Instant) {
        self.lease_end.set(end);
    }
    /// Closes everything, whatever the lease says.
    pub fn close(&self, stint: Stint) {
        self.closed.set(Stint(stint.0.max(1)));
    }
    /// Takes that back.
    pub fn reopen(&self) {
        self.closed.set(Stint::NONE);
    }
    /// Opens an address for a generation; generation 0 closes it.
    pub fn open_slot(&self, slot: usize, generation: Generation) {
        if let Some(word) = self.slots.get(slot) {
            word.set(generation);
        }
    }
    /// Closes every address.
    pub fn close_slots(&self) {
        self.slots.iter().for_each(|word| word.set(Generation(0)));
    }
    /// The generation for which a packet of this address passes now.
    #[must_use]
    pub fn passes(&self, now: Instant, slot: usize) -> Option<Generation> {
        let generation = self.slots.get(slot)?.get();
        (self.passes_any(now) && generation != Generation(0)).then_some(generation)
    }
    /// True if the words that all addresses share let a packet pass now. A gate that asked nothing
    /// else would be one per node, not one per generation.
    #[must_use]
    pub fn passes_any(&self, now: Instant) -> bool {
        self.closed.get() == Stint::NONE && now < self.lease_end.get()
    }
}

#[cfg(test)]
mod tests {
    use super::Gate;
    use base::Instant;
    use wire::{Generation, Stint};

    #[test]
    fn a_packet_passes_while_slot_lease_and_stint_allow_it() {
        let gate = Gate::new(2);
        gate.set_lease_end(Instant(100));
        assert_eq!(gate.passes(Instant(1), 0), None, "no generation");
        gate.open_slot(0, Generation(7));
        assert_eq!(gate.passes(Instant(99), 0), Some(Generation(7)));
        assert_eq!(gate.passes(Instant(99), 1), None, "the other address");
        assert_eq!(gate.passes(Instant(100), 0), None, "nobody did anything, and it is closed");
        gate.set_lease_end(Instant(200));
        gate.close(Stint(4));
        assert_eq!(gate.passes(Instant(150), 0), None);
        gate.reopen();
        assert_eq!(gate.passes(Instant(150), 0), Some(Generation(7)));
        gate.close_slots();
        assert_eq!(gate.passes(Instant(150), 0), None);
    }
}
