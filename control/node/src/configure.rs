//! Changing the configuration, and an operator's override of a cold start.

use crate::action::Action;
use crate::command::{CommandDone, CommandRefused};
use crate::node::Node;
use agreement::ConfigureRefused;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::{Duration, Instant};
use wire::{Charter, Configuration, Life, NodeId, NodeSet, Op};

/// What is agreed, as a node knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigurationStatus {
    /// What is in force, and what is wanted, by the committed log.
    pub charter: Charter,
    /// Votes that have not followed.
    pub pending: Vec<PendingVote>,
    /// Who is known to have stored it; a primary knows of all members.
    pub holders: NodeSet,
    /// The highest feature level that every member understands which has shown it.
    pub understood: u16,
}

/// A vote that has not followed the configuration yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PendingVote {
    /// Whose.
    pub node: NodeId,
    /// To be given, or taken.
    pub gives: bool,
    /// What it waits for.
    pub why: &'static str,
}

/// How far a node has come that is configured no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Dropped {
    /// It is configured.
    #[default]
    No,
    /// Its vote is to be taken.
    Votes,
    /// That is committed; its acknowledgement may be what the others lack for knowing it.
    Repeats(Instant),
    /// It leaves.
    Goes,
}

impl Node {
    /// The operator wants another configuration; its version is one above that in force. The answer is
    /// [`Action::Reply`] with this tag, once it is agreed or refused: votes follow after that.
    pub fn handle_configure(&mut self, now: Instant, tag: u64, wanted: Configuration) {
        if let Err(refused) = self.configure(now, tag, wanted) {
            self.reply(tag, Err(refused));
        }
        self.settle(now);
    }

    fn configure(
        &mut self,
        now: Instant,
        tag: u64,
        wanted: Configuration,
    ) -> Result<(), CommandRefused> {
        let quorum = self.quorum();
        if !quorum.held {
            return Err(CommandRefused::NoQuorum { why: quorum.why });
        }
        self.agreement.check_configure(now, &wanted)?;
        self.requests.await_configuration(now, tag, Arc::new(wanted.clone()))?;
        self.agreement.handle_configure(now, wanted)?;
        Ok(())
    }

    /// The operator asserts that these voters are off and wants an era without them. It is refused or taken at once.
    pub fn handle_override(&mut self, now: Instant, tag: u64, absent: NodeSet) {
        let heard = absent.iter().find(|node| self.peers.heard().contains(*node));
        let result = match heard {
            Some(node) => Err(CommandRefused::NodeIsAlive(node)),
            None => self.agreement.handle_override(now, absent).map_err(CommandRefused::from),
        };
        self.reply(tag, result.map(|()| CommandDone::OverrideTaken));
        self.settle(now);
    }

    /// A configuration is committed.
    pub(crate) fn configured(&mut self, now: Instant, op: Op, agreed: &Arc<Configuration>) {
        for (tag, mine) in self.requests.configured(agreed) {
            let version = agreed.version;
            let other = ConfigureRefused::Version { in_force: version };
            let done = CommandDone::Configured { version, op };
            self.reply(tag, if mine { Ok(done) } else { Err(other.into()) });
        }
        self.follow_configuration(agreed);
        // Its services go elsewhere first, as with every orderly end.
        let seated = self.own_member().is_some();
        if seated && !agreed.nodes.contains(self.me.node) && self.leaving.is_none() {
            (self.leaving, self.dropped) = (Some(now), Dropped::Votes);
        }
    }

    /// Who is configured no more leaves when its vote is taken, which may need its own acknowledgement: of a pair the other
    /// half would be left alone with a vote of two. It repeats that for a deadline, since it may know of the commit first. It
    /// stays if it is configured again meanwhile.
    pub(crate) fn consider_leaving(&mut self, now: Instant) {
        let roster = self.agreement.roster();
        if !self.waits_to_be_dropped() {
            return;
        }
        if roster.configuration().nodes.contains(self.me.node) {
            (self.leaving, self.dropped) = (None, Dropped::No);
        } else if roster.voters.contains(self.me.node) {
            self.dropped = Dropped::Votes;
        } else if self.dropped == Dropped::Votes {
            self.dropped = Dropped::Repeats(now);
        } else if self.dropped_deadline().is_some_and(|at| now >= at) {
            self.dropped = Dropped::Goes;
            self.actions.push_back(Action::Dropped);
        }
    }

    /// True while it stays although it is configured no more.
    pub(crate) const fn waits_to_be_dropped(&self) -> bool {
        matches!(self.dropped, Dropped::Votes | Dropped::Repeats(_))
    }

    /// When it has repeated enough.
    pub(crate) fn dropped_deadline(&self) -> Option<Instant> {
        match self.dropped {
            Dropped::Repeats(since) => Some(since + self.deadline),
            _ => None,
        }
    }

    /// Who ends in good order says so; that a node is configured no more the log says itself.
    pub(crate) fn says_leave(&self) -> bool {
        self.leaving.is_some() && self.dropped == Dropped::No
    }

    /// Settings follow what is agreed.
    pub(crate) fn follow_configuration(&mut self, agreed: &Configuration) {
        let interval = Duration::from_micros(u64::from(agreed.interval_us));
        let deadline = interval * u64::from(agreed.misses);
        if deadline > Duration::ZERO {
            self.deadline = deadline;
        }
    }

    /// What is agreed, and which votes have not followed it yet.
    #[must_use]
    pub fn configuration(&self) -> ConfigurationStatus {
        let charter = self.agreement.roster().charter();
        let (voters, wanted) = (charter.electorate, charter.configuration.voters);
        let gives = wanted.minus(voters).iter().map(|node| self.pending(node, true));
        let takes = voters.minus(wanted).iter().map(|node| self.pending(node, false));
        let pending = gives.chain(takes).collect();
        let holders = self.agreement.charter_holders();
        let members = self.agreement.roster().members();
        let levels = members.filter_map(|(life, _)| self.agreement.level_of(life));
        let own = self.agreement.level_of(self.me).unwrap_or_default();
        let understood = levels.fold(own, u16::min);
        ConfigurationStatus { charter, pending, holders, understood }
    }

    /// A member whose release understands less than this one's does.
    #[must_use]
    pub fn lags_behind(&self) -> Option<NodeId> {
        let own = self.agreement.level_of(self.me)?;
        let mut members = self.agreement.roster().members().map(|(life, _)| life);
        let lags = |life: &Life| self.agreement.level_of(*life).is_some_and(|level| level < own);
        members.find(lags).map(|life| life.node)
    }

    fn pending(&self, node: NodeId, gives: bool) -> PendingVote {
        let member = self.membership.view().member(node).is_some();
        let heard = node == self.me.node || self.peers.heard().contains(node);
        let primary = self.primary() == Some(node);
        let why = match (gives, member, heard) {
            (true, false, false) => "its daemons do not run, or are not heard",
            (true, false, true) => "it is heard, and waits to be admitted",
            (true, true, _) => "it is a member, and gets it once it and the others have the log",
            (false, _, _) if primary => "it is the primary, and hands over first",
            (false, _, _) => "it goes once a majority without it lives and has the log",
        };
        PendingVote { node, gives, why }
    }

    /// Whose votes count now.
    pub(crate) fn voters(&self) -> NodeSet {
        self.agreement.roster().voters
    }

    /// Voters that own nothing.
    pub(crate) fn witnesses(&self) -> NodeSet {
        self.agreement.roster().witnesses()
    }

    /// Nodes that ask to join with another configuration of the same version: they are not taken.
    #[must_use]
    pub fn contradicting(&self) -> Vec<NodeId> {
        self.agreement.contradicting().iter().collect()
    }
}
