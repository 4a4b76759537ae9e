//! Votes as this node sees them, with the agreement's own hindrances in words.

use crate::node::Node;
use agreement::Waiting;
use alloc::format;
use alloc::string::String;
use membership::{Given, Names, Quorum, Votes};
use wire::NodeSet;

impl Node {
    /// The votes, and why they do or do not suffice (S8).
    #[must_use]
    pub fn quorum(&self) -> Quorum {
        let votes = Votes {
            me: self.me.node,
            voters: self.voters(),
            heard: self.peers.heard(),
            given: self.given(),
            member: self.own_member().is_some(),
        };
        let sets = (self.voters(), self.agreement.era_leaders());
        let hindrance = self.agreement.waiting().map(|w| words(&w, sets, &self.names));
        Quorum::count(&votes, hindrance, &self.names)
    }

    /// The vote of a pair that is given by evidence (R-FENCE).
    fn given(&self) -> Option<Given> {
        let roster = self.agreement.roster();
        let (node, void) = roster.voids().next()?;
        let incarnation = roster.seat(node)?.incarnation;
        Some(Given { node, incarnation, proof: void.proof })
    }
}

fn words(waiting: &Waiting, (voters, leaders): (NodeSet, NodeSet), names: &Names) -> String {
    let absent = |have: &NodeSet| names.list(voters.iter().filter(|n| !have.contains(*n)));
    let led = |by: &NodeSet| by.iter().any(|node| leaders.contains(node));
    match waiting {
        Waiting::ColdStart { fresh, need } if fresh.len() >= *need && !led(fresh) => format!(
            "the cluster is starting: {} are there, and witnesses do not lead: start {}, or restart it",
            names.list(fresh.iter()),
            names.list(leaders.iter())
        ),
        Waiting::ColdStart { fresh, need } => format!(
            "the cluster is starting: {} of {need} voters needed are there; not there yet: {}",
            fresh.len(),
            absent(fresh)
        ),
        Waiting::LivesEnded { ended, need } => format!(
            "a majority of lives with a vote has ended ({}): what only they had agreed is lost, and nothing can be agreed \
             any more; the cluster starts anew when {need} voters have restarted{} (`ng cluster override` for those that \
             cannot)",
            names.list(ended.iter()),
            if led(ended) {
                String::new()
            } else {
                format!(", {} among them (witnesses do not lead)", names.list(leaders.iter()))
            }
        ),
        Waiting::Evidence { about } => {
            let node = names.of(about.node);
            format!(
                "of a pair without a witness one stops alone: start {node}, or, once it is certainly \
                 off, say so: `ng fence confirm {node}`"
            )
        }
        Waiting::Admission => "this node is new and waits to be admitted".into(),
        Waiting::Readmission => "this node was removed and waits to be admitted again".into(),
        Waiting::Primary { promised, need } => format!(
            "there is no primary: {} of {need} votes needed for one; missing: {}",
            promised.len(),
            absent(promised)
        ),
        Waiting::Acknowledgements { have, need } => format!(
            "entries are acknowledged by {} of {need} voters needed; missing: {}",
            have.len(),
            absent(have)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::words;
    use agreement::Waiting;
    use membership::Names;
    use wire::{NodeId, NodeSet};

    fn set(nodes: &[u8]) -> NodeSet {
        nodes.iter().filter_map(|n| NodeId::new(*n)).collect()
    }

    /// Two witnesses have restarted and the third voter has not: a majority, and nobody who may lead it.
    #[test]
    fn a_majority_of_witnesses_says_whom_it_waits_for() {
        let (voters, leaders, names) = (set(&[1, 2, 4]), set(&[2]), Names::default());
        let two = names.list(leaders.iter());
        let cold = |fresh| words(&Waiting::ColdStart { fresh, need: 2 }, (voters, leaders), &names);
        let waits = format!("start {two}, or restart it");
        assert!(cold(set(&[1, 4])).ends_with(&waits), "{}", cold(set(&[1, 4])));
        assert!(
            !cold(set(&[1, 2])).contains("witnesses") && !cold(set(&[1])).contains("witnesses")
        );
        let over =
            |ended| words(&Waiting::LivesEnded { ended, need: 2 }, (voters, leaders), &names);
        assert!(over(set(&[1, 4])).contains(&format!("restarted, {two} among them")));
        assert!(!over(set(&[1, 2])).contains("witnesses"));
    }
}
