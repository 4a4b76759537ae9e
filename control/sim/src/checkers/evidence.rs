//! R-FENCE, for I10: votes that count as given. A slot is given by an entry `Fenced` about the very
//! life that holds its vote, in a cluster of two, until the next Admit of the node; and what the
//! entry says is true. The log names the evidence, the world knows the truth.

use super::Violation;
use super::log::Seats;
use std::collections::BTreeSet;
use wire::{Entry, Life, NodeId, NodeSet, Op};

/// Lives of which somebody said, truly or not, that they are off.
#[derive(Debug, Default)]
pub struct Evidence {
    /// A schedule had the operator assert what is not so: then the assertion is all there is.
    asserted: BTreeSet<NodeId>,
}

impl Evidence {
    /// The operator is made to say that a node is off, whether it is or not.
    pub fn assert(&mut self, node: NodeId) {
        self.asserted.insert(node);
    }
    /// An entry says that a life has ended; `is_over` is the truth.
    pub fn committed(&self, by: Life, life: Life, is_over: bool) -> Result<(), Violation> {
        if is_over || self.asserted.contains(&life.node) {
            return Ok(());
        }
        let text = format!("{by:?} commits that {life:?} has ended, and it has not");
        Violation::found("R-FENCE evidence is true", text)
    }
}

/// The votes that are given for an entry at `op`, if `seats` are in force there, by the evidence of a log that
/// counts: what is committed in it, and what stands in it of the present term. It counts for what lies below it too:
/// with two voters a survivor holds everything that can have been committed.
pub fn given<'a>(seats: &Seats, op: Op, fenced: impl Iterator<Item = (Op, &'a Entry)>) -> NodeSet {
    let mut early = seats.clone();
    fenced.filter(|(at, _)| *at >= op).for_each(|(at, entry)| early.apply(at, entry));
    early.given
}

#[cfg(test)]
mod tests {
    use super::{Evidence, given};
    use crate::checkers::log::Seats;
    use crate::checkers::log::testing::{begun, entry, life};
    use crate::shape::id;
    use wire::entry::FenceProof;
    use wire::{Entry, EntryKind, Incarnation, Life, NodeSet, Op};

    fn fenced(n: u8, incarnation: u32) -> Entry {
        let (node, incarnation, proof) = (id(n), Incarnation(incarnation), FenceProof::Operator);
        entry(EntryKind::Fenced { node, incarnation, proof })
    }

    #[test]
    fn a_vote_is_given_by_evidence_about_its_life_and_in_a_pair_only() {
        let (log, _) = begun(&[2]).unwrap();
        let three = log.seats(1).unwrap();
        let mut pair = three.clone();
        let vote = |n, votes, version| {
            let (node, incarnation) = (id(n), Incarnation(1));
            entry(EntryKind::Vote { version, node, incarnation, votes })
        };
        pair.apply(Op(6), &vote(3, false, 2));
        let given_by = |seats: &Seats, entry: &Entry, at: u64| {
            let log = [(Op(at), entry)].into_iter();
            given(seats, Op(8), log)
        };
        let two: NodeSet = [id(2)].into_iter().collect();
        assert_eq!(given_by(&pair, &fenced(2, 3), 8), NodeSet::EMPTY, "another life");
        assert_eq!(given_by(&pair, &fenced(2, 1), 9), two, "above");
        assert_eq!(given_by(three, &fenced(2, 1), 9), NodeSet::EMPTY, "three voters");
        pair.apply(Op(7), &fenced(2, 1));
        assert_eq!(given_by(&pair, &fenced(2, 1), 7), two, "in force");
        // What was given in a pair is given in no other electorate, and not again in that pair.
        pair.apply(Op(8), &vote(3, true, 3));
        assert!(pair.given.is_empty() && !pair.votes(Life { node: id(2), ..life(2) }));
        pair.apply(Op(9), &vote(3, false, 4));
        assert_eq!(given_by(&pair, &fenced(2, 1), 7), NodeSet::EMPTY);
    }

    #[test]
    fn evidence_about_a_living_life_is_seen_unless_an_operator_asserted_it() {
        let mut evidence = Evidence::default();
        let two = Life { node: id(2), ..life(2) };
        assert!(evidence.committed(life(1), two, true).is_ok());
        assert!(evidence.committed(life(1), two, false).is_err());
        evidence.assert(id(2));
        assert!(evidence.committed(life(1), two, false).is_ok());
    }
}
