//! Votes as an operator counts them (S8). The agreement decides by its own rules; this only
//! explains.

use crate::names::Names;
use alloc::format;
use alloc::string::String;
use wire::entry::FenceProof;
use wire::{Incarnation, NodeId, NodeSet};

/// A vote that is given because its life was proven ended (R-FENCE).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Given {
    /// Whose vote.
    pub node: NodeId,
    /// The life that ended.
    pub incarnation: Incarnation,
    /// The evidence.
    pub proof: FenceProof,
}

/// What one node knows about votes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Votes {
    /// The node that counts.
    pub me: NodeId,
    /// All nodes whose votes count, witnesses included.
    pub voters: NodeSet,
    /// Nodes that it hears now.
    pub heard: NodeSet,
    /// The vote of a pair that is given by evidence.
    pub given: Option<Given>,
    /// True while it is a member of the view.
    pub member: bool,
}

/// The count and its explanation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Quorum {
    /// True if this node sees a majority and is a member: the cluster acts.
    pub held: bool,
    /// Votes heard and given, the own one included.
    pub have: usize,
    /// Votes that make the majority: more than half of the *configured* ones.
    pub need: usize,
    /// One sentence.
    pub why: String,
}

impl Quorum {
    /// Counts. `hindrance` is what the agreement itself waits for, in its words, if it does.
    #[must_use]
    pub fn count(votes: &Votes, hindrance: Option<String>, names: &Names) -> Self {
        let need = votes.voters.len() / 2 + 1;
        let mut heard = votes.heard;
        heard.insert(votes.me);
        // A given vote counts, whether its node is heard again or not: it has none before its admission.
        let given = votes.given.map(|given| given.node);
        let own = |n: &NodeId| heard.contains(*n) && given != Some(*n);
        let cast = votes.voters.iter().filter(own).count();
        let have = cast + usize::from(given.is_some());
        let missing = votes.voters.iter().filter(|n| !heard.contains(*n) && given != Some(*n));
        let all = votes.voters.len();
        let held = have >= need && votes.member && hindrance.is_none();
        let why = if have < need {
            let missing = names.list(missing);
            let votes = format!("{have} of {all} votes, {need} needed; not heard: {missing}");
            hindrance.map_or_else(|| votes.clone(), |hindrance| format!("{votes} ({hindrance})"))
        } else if let Some(hindrance) = hindrance {
            hindrance
        } else if !votes.member {
            String::from("this node is no member yet: it waits to be admitted")
        } else if let Some(given) = votes.given {
            let Given { node, incarnation, proof } = given;
            let by = match proof {
                FenceProof::Operator => "operator",
                FenceProof::NewLife => "it has restarted",
            };
            let node = names.of(node);
            format!(
                "{cast} of {all} votes; {node}'s vote is given by evidence ({by}, life {incarnation})"
            )
        } else if have == all {
            format!("all {all} votes")
        } else {
            format!("{have} of {all} votes, {need} needed; not heard: {}", names.list(missing))
        };
        Self { held, have, need, why }
    }
}

#[cfg(test)]
mod tests {
    use super::{Given, Quorum, Votes};
    use crate::names::Names;
    use wire::entry::FenceProof;
    use wire::{Incarnation, NodeId, NodeSet};

    fn id(n: u8) -> NodeId {
        NodeId::new(n).unwrap()
    }

    fn count(heard: &[u8], member: bool, hindrance: Option<&str>) -> Quorum {
        let names = Names::new([1, 2, 3].map(|n| (id(n), format!("n{n}"))));
        let voters = [1, 2, 3].map(id).into_iter().collect();
        let heard = heard.iter().map(|n| id(*n)).collect();
        let votes = Votes { me: id(1), voters, heard, given: None, member };
        Quorum::count(&votes, hindrance.map(Into::into), &names)
    }

    #[test]
    fn a_vote_that_is_given_counts_and_says_by_what() {
        let names = Names::new([1, 2].map(|n| (id(n), format!("n{n}"))));
        let voters = [1, 2].map(id).into_iter().collect();
        let given = Given { node: id(2), incarnation: Incarnation(3), proof: FenceProof::Operator };
        for heard in [NodeSet::EMPTY, voters] {
            let votes = Votes { me: id(1), voters, heard, given: Some(given), member: true };
            let q = Quorum::count(&votes, None, &names);
            assert_eq!((q.held, q.have), (true, 2));
            assert_eq!(q.why, "1 of 2 votes; n2's vote is given by evidence (operator, life 3)");
        }
    }

    #[test]
    fn the_count_says_who_is_missing() {
        let q = count(&[2], true, None);
        assert!(q.held);
        assert_eq!(q.why, "2 of 3 votes, 2 needed; not heard: n3");
        let q = count(&[], true, None);
        assert!(!q.held);
        assert_eq!(q.why, "1 of 3 votes, 2 needed; not heard: n2, n3");
        assert_eq!(count(&[2, 3], true, None).why, "all 3 votes");
    }

    #[test]
    fn a_majority_alone_is_no_quorum_for_a_node_that_is_no_member() {
        assert!(!count(&[2, 3], false, None).held);
        let waits = count(&[2, 3], true, Some("a cold start waits for n3"));
        assert_eq!((waits.held, waits.why.as_str()), (false, "a cold start waits for n3"));
    }
}
