//! The right to act, as control sees it: the board's word, its own stint, and R-SELF.
//!
//! The fast path renews the word; this only compares it with the clock. It does so at every input,
//! because an event about a lapse may come late, above all when this thread itself was held up
//! (S10).

use base::Instant;
use wire::Stint;

/// The own lease.
#[derive(Clone, Debug, Default)]
pub struct Lease {
    end: Instant,
    closed: Stint,
    held: bool,
    lapsed_at: Option<Instant>,
    lapses: u64,
    last_lapse: Option<Instant>,
}

impl Lease {
    /// Takes the board's word.
    pub const fn set_end(&mut self, end: Instant) {
        self.end = end;
    }
    /// Closed for one stint (R-SELF).
    pub const fn close(&mut self, stint: Stint) {
        self.closed = stint;
    }
    /// The own removal was truncated.
    pub const fn reopen(&mut self) {
        self.closed = Stint::NONE;
    }
    /// True while a member with this `stint` may act.
    #[must_use]
    pub fn holds(&self, now: Instant, stint: Stint) -> bool {
        stint.is_member() && self.closed != stint && now < self.end
    }
    /// Notes whether it holds now; returns that.
    pub fn observe(&mut self, now: Instant, stint: Stint) -> bool {
        let holds = self.holds(now, stint);
        if holds {
            self.lapsed_at = None;
        } else if self.held {
            self.lapsed_at = Some(now);
            // A lease that ends with the stint is no lapse.
            if stint.is_member() && self.closed != stint {
                self.lapses += 1;
                self.last_lapse = Some(now);
            }
        }
        self.held = holds;
        holds
    }
    /// What [`Lease::observe`] found last.
    #[must_use]
    pub const fn was_held(&self) -> bool {
        self.held
    }
    /// When it ends unless it is renewed.
    #[must_use]
    pub const fn end(&self) -> Instant {
        self.end
    }
    /// Since when it has not been held, if it was before.
    #[must_use]
    pub const fn lapsed_at(&self) -> Option<Instant> {
        self.lapsed_at
    }
    /// When it last ended while this node was a member.
    #[must_use]
    pub const fn last_lapse(&self) -> Option<Instant> {
        self.last_lapse
    }
    /// How often it ended while this node was a member.
    #[must_use]
    pub const fn lapses(&self) -> u64 {
        self.lapses
    }
}

#[cfg(test)]
mod tests {
    use super::Lease;
    use base::Instant;
    use wire::Stint;

    #[test]
    fn it_takes_a_stint_that_is_not_closed_and_time_that_is_left() {
        let mut lease = Lease::default();
        lease.set_end(Instant(100));
        assert!(lease.holds(Instant(99), Stint(4)));
        assert!(!lease.holds(Instant(100), Stint(4)));
        assert!(!lease.holds(Instant(99), Stint::NONE));
        lease.close(Stint(4));
        assert!(!lease.holds(Instant(99), Stint(4)));
        assert!(lease.holds(Instant(99), Stint(9)), "R-SELF closes one stint only");
        lease.reopen();
        assert!(lease.holds(Instant(99), Stint(4)));
    }

    #[test]
    fn a_lapse_is_counted_once_and_ends_with_the_next_renewal() {
        let mut lease = Lease::default();
        lease.set_end(Instant(100));
        assert!(lease.observe(Instant(50), Stint(4)));
        assert!(!lease.observe(Instant(120), Stint(4)));
        assert!(!lease.observe(Instant(130), Stint(4)));
        assert_eq!((lease.lapses(), lease.lapsed_at()), (1, Some(Instant(120))));
        lease.set_end(Instant(200));
        assert!(lease.observe(Instant(140), Stint(4)));
        assert_eq!(lease.lapsed_at(), None);
        assert!(!lease.observe(Instant(150), Stint::NONE), "removed");
        assert_eq!(lease.lapses(), 1);
    }
}
