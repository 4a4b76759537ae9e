//! I4 (S2): whoever holds a lease, by its own clock and its own board, is, life and stint, a member
//! by the log that is committed anywhere: the lease ended, in real time, before the removal was
//! committed.

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

#[cfg(test)]
mod tests {
    use super::{Held, check};
    use crate::checkers::log::{CommittedLog, Committer};
    use crate::checkers::promise::Promises;
    use crate::shape::id;
    use std::sync::Arc;
    use wire::entry::RemovalCause;
    use wire::{
        Configuration, Entry, EntryKind, Incarnation, Life, Message, NodeSet, Op, Stint, Term,
    };

    #[test]
    fn a_lease_after_the_removal_and_a_lease_of_an_older_era_are_seen() {
        let (mut log, mut promises) = (CommittedLog::default(), Promises::default());
        let life = |n| Life { node: id(n), incarnation: Incarnation(1) };
        let mut begin = |log: &mut CommittedLog, era: u32, last: EntryKind| {
            let term = Term { era, counter: 0, life: life(1) };
            let ack = Message::PrepareOk { term, op: Op(9) };
            promises.sent(life(2), &ack).unwrap();
            let admit = |n| EntryKind::Admit { node: id(n), incarnation: Incarnation(1) };
            let (electorate, absent) = (NodeSet(3), NodeSet::EMPTY);
            let cold = EntryKind::Cold { era, admits: 2, version: era, electorate, absent };
            let file =
                Configuration { version: era + 1, ..Configuration::plain(electorate, absent) };
            let configure = EntryKind::Configure { configuration: Arc::new(file) };
            let kinds = [cold, admit(1), admit(2), configure, last];
            for (op, kind) in (1..).map(Op).zip(kinds) {
                let entry = Entry { term, level: 1, kind };
                let by = Committer { life: life(1), era, term, fenced: Vec::new() };
                log.committed(&by, op, &entry, &promises).unwrap();
            }
        };
        let held = |n: u8, era| {
            let stint = Stint::of(era, Op(u64::from(n) + 1));
            Held { life: life(n), era, stint }
        };
        let (node, incarnation, stint) = (id(2), Incarnation(1), Stint::of(1, Op(3)));
        let cause = RemovalCause::Silent;
        begin(&mut log, 1, EntryKind::Remove { node, incarnation, stint, cause });
        assert_eq!(check(held(1, 1), &log), Ok(()));
        assert_eq!(check(held(2, 1), &log).unwrap_err().rule, "I4 lease in view");
        begin(&mut log, 2, EntryKind::Noop);
        assert_eq!(check(held(1, 1), &log).unwrap_err().rule, "I9 one era");
        assert_eq!(check(held(1, 2), &log), Ok(()));
    }
}
