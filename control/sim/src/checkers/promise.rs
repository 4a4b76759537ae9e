//! I7: a life acknowledges nothing in a term below its promise, and a term has one primary: whoever
//! sends entries in a term (any follower may answer a Fetch) sends the same ones, those of the life
//! in the term's name.

use super::Violation;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use wire::codec::Writer;
use wire::{Entry, Incarnation, Life, Message, NodeId, Op, Term};

/// Terms whose promises are remembered: a candidate takes office in one of the latest or never.
const PROMISERS_MAX: usize = 256;
/// How far who gets a vote may be behind.
const ADMIT_WITHIN: u64 = 256;

/// What the lives have promised and acknowledged, by what they sent.
#[derive(Debug, Default)]
pub struct Promises {
    promised: BTreeMap<Life, Term>,
    /// Who promised the latest terms, those of an era included.
    promisers: BTreeMap<Term, BTreeSet<Life>>,
    /// Promises to begin an era bind until the candidate gives it up, or its life is over: then it
    /// never leads it.
    eras: BTreeMap<Life, BTreeSet<Term>>,
    given_up: BTreeSet<Term>,
    /// Who sent the first entries of each era.
    begun: BTreeMap<u32, Life>,
    newest: BTreeMap<NodeId, Incarnation>,
    acknowledged: BTreeMap<Term, BTreeMap<Life, Op>>,
    led: BTreeSet<Term>,
    /// What was sent at an op in a term, as a digest.
    sent: BTreeMap<(Term, Op), u64>,
}

impl Promises {
    /// A life sends a message.
    pub fn sent(&mut self, by: Life, message: &Message) -> Result<(), Violation> {
        match message {
            Message::Promise { term, .. } => {
                self.check_promise(by, *term, "promises")?;
                self.promised.insert(by, *term);
                self.note_promise(by, *term);
            }
            Message::ColdPromise { term, .. } => {
                self.note_promise(by, *term);
                self.eras.entry(by).or_default().insert(*term);
            }
            Message::ColdRelease { term } if by == term.life => {
                self.given_up.insert(*term);
            }
            Message::PrepareOk { term, op } => {
                self.check_promise(by, *term, "acknowledges in")?;
                let acks = self.acknowledged.entry(*term).or_default();
                let ack = acks.entry(by).or_default();
                *ack = (*op).max(*ack);
            }
            Message::Prepare { term, prev_op, entries, .. } => {
                self.check_promise(by, *term, "sends entries of")?;
                if term.life == by {
                    if self.given_up.contains(term) {
                        let text = format!("{by:?} leads {term:?}, which it had given up");
                        return Violation::found("I7 one promise", text);
                    }
                    self.led.insert(*term);
                    let begun = *self.begun.entry(term.era).or_insert(by);
                    if term.counter == 0 && begun != by {
                        let text = format!("{by:?} begins era {}, which {begun:?} began", term.era);
                        return Violation::found("I9 one era", text);
                    }
                }
                self.check_entries(by, *term, *prev_op, entries)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn note_promise(&mut self, by: Life, term: Term) {
        self.promisers.entry(term).or_default().insert(by);
        if self.promisers.len() > PROMISERS_MAX {
            self.promisers.pop_first();
        }
    }
    /// The lives that promised a term.
    #[must_use]
    pub fn promised_to(&self, term: Term) -> BTreeSet<Life> {
        self.promisers.get(&term).cloned().unwrap_or_default()
    }

    fn check_entries(
        &mut self,
        by: Life,
        term: Term,
        prev: Op,
        entries: &[Entry],
    ) -> Result<(), Violation> {
        for (op, entry) in (prev.0 + 1..).zip(entries) {
            let mut writer = Writer::new();
            entry.encode(&mut writer);
            let mut hasher = DefaultHasher::new();
            writer.0.hash(&mut hasher);
            let mine = hasher.finish();
            if *self.sent.entry((term, Op(op))).or_insert(mine) != mine {
                let text = format!("{by:?} sends in {term:?} at op {op} another entry: {entry:?}");
                return Violation::found("I7 one primary", text);
            }
        }
        Ok(())
    }

    /// A primary proposes to give a life a vote: that one has acknowledged what lies below, as far as it can be there.
    pub fn gets_vote(&self, by: Life, life: Life, term: Term, op: Op) -> Result<(), Violation> {
        let acknowledged = self.acknowledged.get(&term).and_then(|acks| acks.get(&life)).copied();
        let near = |ack: Op| ack.0 > 0 && ack.0 + ADMIT_WITHIN >= op.0;
        if life == by || acknowledged.is_some_and(near) {
            return Ok(());
        }
        let text = format!(
            "{by:?} gives {life:?} a vote at {op:?}, which has acknowledged {acknowledged:?}"
        );
        Violation::found("a vote only to who has the log", text)
    }

    fn check_promise(&self, by: Life, term: Term, what: &str) -> Result<(), Violation> {
        let binds = |era: &&Term| {
            let over = self.newest.get(&era.life.node).is_some_and(|n| *n > era.life.incarnation);
            !over && !self.given_up.contains(*era)
        };
        // Within an era the promises of a majority to its one beginner exclude every other
        // candidate.
        let older = |era: &&Term| era.era > term.era;
        let eras = self.eras.get(&by).into_iter().flatten().filter(older).filter(binds);
        match self.promised.get(&by).into_iter().chain(eras).max() {
            Some(promised) if term < *promised => {
                let text = format!("{by:?} {what} {term:?} after it promised {promised:?}");
                Violation::found("I7 one promise", text)
            }
            _ => Ok(()),
        }
    }
    /// A life begins.
    pub fn begins(&mut self, life: Life) {
        self.newest.insert(life.node, life.incarnation);
    }

    /// The most votes that any one term from `least` on (of the same era) has for `op`, the
    /// primary's and those of `by`, which is in `own`, included; `counts` tells whose.
    #[must_use]
    pub fn most_acknowledged(
        &self,
        least: Term,
        own: Term,
        op: Op,
        by: Life,
        counts: impl Fn(Life) -> bool,
    ) -> usize {
        let same = |term: &&Term| term.era == least.era;
        let acknowledged = self.acknowledged.range(least..).map(|(term, _)| term);
        let led = self.led.range(least..).take_while(same);
        let known = acknowledged.take_while(same).chain(led);
        let terms: BTreeSet<Term> = known.chain([&own]).copied().collect();
        let votes = |term: Term| {
            let acks = self.acknowledged.get(&term).into_iter().flatten();
            let lives: BTreeSet<Life> = acks
                .filter(|(_, to)| **to >= op)
                .map(|(life, _)| *life)
                .chain([term.life, by])
                .collect();
            lives.into_iter().filter(|life| counts(*life)).count()
        };
        terms
            .into_iter()
            .filter(|t| *t >= least && t.era == least.era)
            .map(votes)
            .max()
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::Promises;
    use crate::shape::id;
    use wire::{Edition, Incarnation, Life, Message, Op, Term};

    const EDITION: Edition = Edition { version: 0, term: Term::NONE, digest: 0 };

    fn life(n: u8) -> Life {
        Life { node: id(n), incarnation: Incarnation(1) }
    }
    fn term(counter: u32, n: u8) -> Term {
        Term { era: 1, counter, life: life(n) }
    }

    #[test]
    fn an_acknowledgement_below_a_promise_is_seen() {
        let mut promises = Promises::default();
        let promise = Message::Promise {
            term: term(4, 2),
            commit: Op::ZERO,
            last_op: Op::ZERO,
            last_term: Term::NONE,
            prev_op: Op::ZERO,
            prev_term: Term::NONE,
            tail: Vec::new(),
        };
        promises.sent(life(3), &promise).unwrap();
        let ack = |counter| Message::PrepareOk { term: term(counter, 2), op: Op(9) };
        assert_eq!(promises.sent(life(3), &ack(4)), Ok(()));
        assert_eq!(promises.sent(life(3), &ack(3)).unwrap_err().rule, "I7 one promise");
        assert_eq!(promises.sent(life(1), &ack(3)), Ok(()), "another life");
    }

    #[test]
    fn an_acknowledgement_in_an_era_older_than_a_promised_one_is_seen() {
        let mut promises = Promises::default();
        promises
            .sent(
                life(3),
                &Message::ColdPromise { term: Term { era: 2, ..term(0, 2) }, edition: EDITION },
            )
            .unwrap();
        let ack = Message::PrepareOk { term: term(9, 2), op: Op(9) };
        assert_eq!(promises.sent(life(3), &ack).unwrap_err().rule, "I7 one promise");
    }

    #[test]
    fn votes_of_two_terms_are_not_added() {
        let mut promises = Promises::default();
        for (by, counter) in [(2, 3), (3, 4)] {
            let ack = Message::PrepareOk { term: term(counter, 1), op: Op(9) };
            promises.sent(life(by), &ack).unwrap();
        }
        assert_eq!(promises.most_acknowledged(term(1, 1), term(1, 1), Op(9), life(1), |_| true), 2);
        assert_eq!(
            promises.most_acknowledged(term(1, 1), term(1, 1), Op(9), life(1), |l| l.node != id(1)),
            1
        );
        assert_eq!(promises.most_acknowledged(term(5, 1), term(1, 1), Op(9), life(1), |_| true), 0);
    }
}
