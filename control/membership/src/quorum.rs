//! Votes as an operator counts them (S8). The agreement decides by its own rules; this only
//! explains.

use crate::names::Names;
use alloc::format;
use alloc::string::String;
use wire::{NodeId, NodeSet};

/// What one node knows about votes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Votes {
    /// The node that counts.
    pub me: NodeId,
    /// All nodes whose votes count, witnesses included.
    pub voters: NodeSet,
    /// Nodes that it hears now.
    pub heard: NodeSet,
    /// True while it is a member of the view.
    pub member: bool,
}

/// The count and its explanation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Quorum {
    /// True if this node sees a majority and is a member: the cluster acts.
    pub held: bool,
    /// Votes heard, the own one included.
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
        let have = votes.voters.iter().filter(|n| heard.contains(*n)).count();
        let missing = votes.voters.iter().filter(|n| !heard.contains(*n));
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
    use super::{Quorum, Votes};
    use crate::names::Names;
    use wire::NodeId;

    fn id(n: u8) -> NodeId {
        NodeId::new(n).unwrap()
    }

    fn count(heard: &[u8], member: bool, hindrance: Option<&str>) -> Quorum {
        let names = Names::new([1, 2, 3].map(|n| (id(n), format!("n{n}"))));
        let voters = [1, 2, 3].map(id).into_iter().collect();
        let heard = heard.iter().map(|n| id(*n)).collect();
        let votes = Votes { me: id(1), voters, heard, member };
        Quorum::count(&votes, hindrance.map(Into::into), &names)
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
