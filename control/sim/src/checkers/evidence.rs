//! R-FENCE, for I10: votes that count as given. A slot is given by an entry `Fenced` about the very
//! life that holds its vote, in a cluster of two, until the next Admit of the node; and what the
//! entry says is true. The log names the evidence, the world knows the truth.

use super::Violation;
use super::log::Seats;
use std::collections::BTreeSet;
use wire::{Entry, EntryKind, Life, NodeId, NodeSet, Op, Term};

/// Voters of which one may go on alone.
const PAIR: usize = 2;

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

/// The votes that are given for an entry at `op`, if `seats` are in force there, by the log of the
/// node that commits it in `term`. Evidence of the same term counts for what lies below it too:
/// with two voters a survivor holds everything that can have been committed.
pub fn given<'a>(
    seats: &Seats,
    voters: NodeSet,
    op: Op,
    term: Term,
    fenced: impl Iterator<Item = (Op, &'a Entry)>,
) -> NodeSet {
    if voters.len() != PAIR {
        return NodeSet::EMPTY;
    }
    let life = |(at, entry): (Op, &Entry)| match entry.kind {
        EntryKind::Fenced { node, incarnation, .. } if at <= op || entry.term == term => {
            Some(Life { node, incarnation })
        }
        _ => None,
    };
    fenced.filter_map(life).filter(|life| seats.votes(*life)).map(|life| life.node).collect()
}

#[cfg(test)]
mod tests {
    use super::{Evidence, given};
    use crate::checkers::log::testing::{begun, entry, life, term};
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
        let seats = log.seats(1).unwrap();
        let pair: NodeSet = [1, 2].map(id).into_iter().collect();
        let given_by = |entry: &Entry, at: u64, counter, voters| {
            let log = [(Op(at), entry)].into_iter();
            given(seats, voters, Op(7), term(counter), log)
        };
        let two: NodeSet = [id(2)].into_iter().collect();
        assert_eq!(given_by(&fenced(2, 1), 6, 9, pair), two);
        assert_eq!(given_by(&fenced(2, 3), 6, 9, pair), NodeSet::EMPTY, "another life");
        assert_eq!(given_by(&fenced(2, 1), 8, 9, pair), NodeSet::EMPTY, "above, of another term");
        assert_eq!(given_by(&fenced(2, 1), 8, 1, pair), two, "above, of the same term");
        assert_eq!(given_by(&fenced(2, 1), 6, 9, NodeSet(7)), NodeSet::EMPTY, "three voters");
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
