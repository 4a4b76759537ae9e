//! I7: a life acknowledges nothing in a term below its promise, and a term has one primary, the life in its name.

use super::Violation;
use std::collections::{BTreeMap, BTreeSet};
use wire::{Life, Message, Op, Term};

/// What the lives have promised and acknowledged, by what they sent.
#[derive(Debug, Default)]
pub struct Promises {
    promised: BTreeMap<Life, Term>,
    acknowledged: BTreeMap<Term, BTreeMap<Life, Op>>,
    led: BTreeSet<Term>,
}

impl Promises {
    /// A life sends a message.
    pub fn sent(&mut self, by: Life, message: &Message) -> Result<(), Violation> {
        match message {
            Message::Promise { term, .. } | Message::ColdPromise { term } => {
                self.check_promise(by, *term, "promises")?;
                self.promised.insert(by, *term);
            }
            Message::PrepareOk { term, op } => {
                self.check_promise(by, *term, "acknowledges in")?;
                let acks = self.acknowledged.entry(*term).or_default();
                let ack = acks.entry(by).or_default();
                *ack = (*op).max(*ack);
            }
            Message::Prepare { term, .. } => {
                if term.life != by {
                    let text = format!("{by:?} sends a Prepare of {term:?}");
                    return Violation::found("I7 one primary", text);
                }
                self.led.insert(*term);
                self.check_promise(by, *term, "leads")?;
            }
            _ => {}
        }
        Ok(())
    }

    fn check_promise(&self, by: Life, term: Term, what: &str) -> Result<(), Violation> {
        match self.promised.get(&by) {
            Some(promised) if term < *promised => {
                let text = format!("{by:?} {what} {term:?} after it promised {promised:?}");
                Violation::found("I7 one promise", text)
            }
            _ => Ok(()),
        }
    }

    /// The most votes that any one term from `least` on (of the same era) has for `op`, the primary's included;
    /// `counts` tells whose.
    #[must_use]
    pub fn most_acknowledged(&self, least: Term, op: Op, counts: impl Fn(Life) -> bool) -> usize {
        let same = |term: &&Term| term.era == least.era;
        let terms: BTreeSet<Term> =
            self.acknowledged.keys().chain(&self.led).filter(same).copied().collect();
        let votes = |term: Term| {
            let acks = self.acknowledged.get(&term).into_iter().flatten();
            let lives: BTreeSet<Life> = acks
                .filter(|(_, to)| **to >= op)
                .map(|(life, _)| *life)
                .chain([term.life])
                .collect();
            lives.into_iter().filter(|life| counts(*life)).count()
        };
        terms.into_iter().filter(|term| *term >= least).map(votes).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::Promises;
    use crate::shape::id;
    use wire::{Incarnation, Life, Message, Op, Term};

    fn life(n: u8) -> Life {
        Life { node: id(n), incarnation: Incarnation(1) }
    }
    fn term(counter: u32, n: u8) -> Term {
        Term { era: 1, counter, life: life(n) }
    }

    #[test]
    fn an_acknowledgement_below_a_promise_is_seen() {
        let mut promises = Promises::default();
        let promise = Message::ColdPromise { term: term(4, 2) };
        promises.sent(life(3), &promise).unwrap();
        let ack = |counter| Message::PrepareOk { term: term(counter, 2), op: Op(9) };
        assert_eq!(promises.sent(life(3), &ack(4)), Ok(()));
        assert_eq!(promises.sent(life(3), &ack(3)).unwrap_err().rule, "I7 one promise");
        assert_eq!(promises.sent(life(1), &ack(3)), Ok(()), "another life");
    }

    #[test]
    fn votes_of_two_terms_are_not_added() {
        let mut promises = Promises::default();
        for (by, counter) in [(2, 3), (3, 4)] {
            let ack = Message::PrepareOk { term: term(counter, 1), op: Op(9) };
            promises.sent(life(by), &ack).unwrap();
        }
        assert_eq!(promises.most_acknowledged(term(1, 1), Op(9), |_| true), 2);
        assert_eq!(promises.most_acknowledged(term(1, 1), Op(9), |l| l.node != id(1)), 1);
        assert_eq!(promises.most_acknowledged(term(5, 1), Op(9), |_| true), 0);
    }
}
