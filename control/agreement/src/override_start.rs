//! An operator's override of a cold start (PROTOCOL 6).
//!
//! When a majority of the voters cannot come back, an operator names the absent ones and asserts that they are off. The
//! life that gets the order stands for an era without them: their votes leave the electorate (so that two majorities of
//! it share a node, which votes given to all who are there would not do), `Cold` names them, and each gets a `Fenced` with
//! the operator as its proof. They stay wanted voters: as they come back, their votes follow. That nobody of them still
//! acts is the assertion's business, and the log says so.

use crate::api::OverrideRefused;
use crate::replica::Agreement;
use base::{Duration, Instant};
use wire::{NodeId, NodeSet};

/// How long an assertion is used to begin an era.
const PATIENCE: Duration = Duration::from_millis(10_000);

impl Agreement {
    /// The operator asserts that these voters are off and wants an era without them. It begins when a majority of the
    /// others is fresh: [`crate::Waiting::ColdStart`] says who is missing.
    pub fn handle_override(
        &mut self,
        now: Instant,
        absent: NodeSet,
    ) -> Result<(), OverrideRefused> {
        self.check_override(now, absent)?;
        self.cold.absent = Some((absent, now + PATIENCE));
        self.stand_anew();
        self.settle(now);
        Ok(())
    }

    /// Whether an override can be taken now.
    pub fn check_override(&self, now: Instant, absent: NodeSet) -> Result<(), OverrideRefused> {
        let held = &self.conf.held;
        let strangers = absent.minus(held.electorate);
        if !strangers.is_empty() {
            return Err(OverrideRefused::NotVoters(strangers));
        }
        if !self.is_without_log() {
            return Err(OverrideRefused::NotFresh);
        }
        if !self.hears_no_primary(now) {
            return Err(OverrideRefused::PrimarySpeaks);
        }
        if !held.configuration.leaders(held.electorate.minus(absent)).contains(self.me.node) {
            return Err(OverrideRefused::MayNotLead);
        }
        let heard: NodeSet = absent.iter().filter(|node| self.speaks(now, *node)).collect();
        if heard.is_empty() { Ok(()) } else { Err(OverrideRefused::Heard(heard)) }
    }

    /// The absent voters while the assertion about them is in use: not when one of them speaks.
    pub(crate) fn absent_now(&self, now: Instant) -> Option<NodeSet> {
        let (absent, until) = self.cold.absent?;
        let speaks = absent.iter().any(|node| self.speaks(now, node));
        (now < until && !speaks).then_some(absent)
    }

    /// True if any life of this node was heard of late.
    fn speaks(&self, now: Instant, node: NodeId) -> bool {
        self.spoke.get(&node).is_some_and(|at| now.since(*at) < self.deadline() * 2)
    }
}
