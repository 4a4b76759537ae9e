//! I4 (S2): whoever holds a lease, by its own clock and its own board, is, life and stint, a member by the log that
//! is committed anywhere: the lease ended, in real time, before the removal was committed.

use super::Violation;
use super::log::CommittedLog;
use wire::{Life, Stint};

/// A lease that is held right now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// By whom.
    pub life: Life,
    /// In which era it became a member.
    pub era: u32,
    /// By which stint.
    pub stint: Stint,
}

/// Checks one lease against the committed log.
pub fn check(held: Held, log: &CommittedLog) -> Result<(), Violation> {
    let era = log.era();
    if held.era < era {
        let text = format!("{held:?}, but era {era} has begun");
        return Violation::found("I9 one era", text);
    }
    let member = log.seats(held.era).map(|seats| seats.stint(held.life));
    if member == Some(held.stint) {
        return Ok(());
    }
    let text =
        format!("{held:?}, but by the committed log (op {}) it is no member", log.length(era));
    Violation::found("I4 lease in view", text)
}
