//! No needless move. A member is removed, and a service goes elsewhere, only for a reason that the
//! world knows of: the life ended, its frames did not get through, it was itself not scheduled for
//! longer than a deadline less two intervals, somebody ordered it, or its resource failed. A node
//! that slept is no reason to remove another (S10).
//!
//! Reasons are what the world *did*, not what the nodes saw: a silence that nobody made is a
//! violation.

use super::Violation;
use crate::clock::Real;
use crate::shape::{Shape, Timing};
use base::Duration;
use services::Reason;
use services::reason::Trigger;
use std::collections::{BTreeMap, BTreeSet};
use wire::entry::RemovalCause;
use wire::{Configuration, Life, NodeId, NodeSet, Seq, ServiceId, Stint, Stream};

/// What one node hears of another.
#[derive(Clone, Copy, Debug, Default)]
struct Hearing {
    newest: Option<(Life, Seq)>,
    at: Real,
    /// When a beat last did not get through in time.
    lost: Real,
    /// When a silence that the world had made last ended.
    silent_until: Real,
}

/// When one process did not run.
#[derive(Clone, Copy, Debug, Default)]
struct Stall {
    from: Real,
    until: Real,
    /// End of the last long one.
    long_until: Real,
}

/// Who votes and who is configured, by what is committed; before that, by the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stated {
    /// Whose votes count.
    pub electorate: NodeSet,
    /// Who is configured.
    pub nodes: NodeSet,
    /// Those of them that own nothing.
    pub witnesses: NodeSet,
}

impl Stated {
    /// What is in force with this electorate.
    #[must_use]
    pub const fn new(electorate: NodeSet, wanted: &Configuration) -> Self {
        Self { electorate, nodes: wanted.nodes, witnesses: wanted.witnesses }
    }
}

/// Messages that are missed in a row before somebody may lose patience: one is sent again.
const MISSED: u32 = 2;
/// Two stalls this close together are one: nothing gets done between them.
const BETWEEN: Duration = Duration::from_micros(500);

impl Stall {
    fn note(&mut self, from: Real, until: Real, long: Duration) {
        if from > self.until.after(BETWEEN) {
            self.from = from;
        }
        self.until = self.until.max(until);
        if self.until.since(self.from) >= long {
            self.long_until = self.until;
        }
    }
}

/// What the world did, and what follows from it.
#[derive(Debug, Default)]
pub struct Needless {
    /// What is in force, and until when what came before it was: a node may learn of it late.
    stated: Stated,
    before: Vec<(Stated, Real)>,
    /// The operator said of these, truly or not, that they are off.
    said_off: BTreeSet<NodeId>,
    /// The longest interval, and the shortest.
    interval: Duration,
    quickest: Duration,
    /// The longest deadline.
    deadline: Duration,
    /// The shortest deadline, as a clock that runs fast may show it.
    shortest: Duration,
    /// A fast path that does not run for that long may be missed.
    long: Duration,
    /// So may a control process.
    patience: Duration,
    hearing: BTreeMap<(NodeId, NodeId), Hearing>,
    fast: BTreeMap<NodeId, Stall>,
    control: BTreeMap<NodeId, Stall>,
    /// Messages of the agreement from one node to another that did not get through in time, since
    /// the last that did.
    missed: BTreeMap<(NodeId, NodeId), u32>,
    /// When some in a row from or to a node last did not.
    unheard: BTreeMap<NodeId, Real>,
    ended: BTreeMap<Life, Real>,
    orders: BTreeSet<(ServiceId, NodeId)>,
    failed: BTreeSet<ServiceId>,
    /// The last thing that was done to anybody.
    trouble: Real,
    /// Reasons as they were when the removal was first proposed.
    proposed: BTreeMap<(Life, Stint), bool>,
}

impl Needless {
    /// Says what the cluster is.
    pub fn configure(&mut self, shape: &Shape) {
        self.stated = Stated::new(shape.voters, &shape.file());
        self.deadline = shape.deadline();
        let least = |of: fn(Timing) -> Duration| shape.timings().map(of).min().unwrap_or_default();
        self.interval = shape.timings().map(|t| t.interval).max().unwrap_or_default();
        self.quickest = least(|t| t.interval);
        let deadline = least(Timing::deadline);
        let faster = deadline.0 * 2 * u64::from(shape.rate_ppm) / 1_000_000;
        self.shortest = deadline.saturating_sub(Duration(faster));
        self.long = least(|t| t.deadline().saturating_sub(t.interval * 2));
        self.patience = deadline * 2;
    }

    // What the world did.

    /// A life ends, or was told to.
    pub fn ends(&mut self, now: Real, life: Life) {
        self.ended.entry(life).or_insert(now);
        self.trouble = now;
    }
    /// A process is not scheduled from now on.
    pub fn stalls(&mut self, now: Real, node: NodeId, which: Stream, until: Real) {
        // Others are patient with control for three deadlines; it may have been slow before.
        let (of, long) = match which {
            Stream::Fast => (&mut self.fast, self.long),
            Stream::Control => (&mut self.control, self.patience),
        };
        of.entry(node).or_default().note(now, until, long);
        self.trouble = until.max(self.trouble);
    }
    /// A frame sets out, and its first whole copy arrives after that time, if any does.
    pub fn travels(
        &mut self,
        now: Real,
        stream: Stream,
        from: NodeId,
        to: NodeId,
        takes: Option<Duration>,
    ) {
        let in_time = takes.is_some_and(|takes| takes <= self.quickest / 2);
        if stream == Stream::Control {
            let missed = self.missed.entry((from, to)).or_default();
            *missed = if in_time { 0 } else { *missed + 1 };
            if *missed >= MISSED {
                self.unheard.insert(from, now);
                self.unheard.insert(to, now);
            }
        } else if !in_time {
            self.hearing.entry((from, to)).or_default().lost = now;
        }
        if !in_time {
            self.trouble = now;
        }
    }
    /// A message takes the stream: what is large may come late without anybody's fault.
    pub fn streams(&mut self, now: Real, from: NodeId, to: NodeId, takes: Option<Duration>) {
        if takes.is_none_or(|takes| takes > self.interval / 2) {
            self.unheard.insert(from, now);
            self.unheard.insert(to, now);
            self.trouble = now;
        }
    }
    /// A beat arrives.
    pub fn arrives(&mut self, now: Real, from: Life, to: NodeId, seq: Seq) {
        let silent = self.is_made_silent(now, from.node, to);
        let hearing = self.hearing.entry((from.node, to)).or_default();
        if hearing.newest.is_some_and(|newest| newest >= (from, seq)) {
            return;
        }
        if silent {
            hearing.silent_until = now;
        }
        (hearing.newest, hearing.at) = (Some((from, seq)), now);
    }
    /// The operator wants a service there.
    pub fn ordered(&mut self, service: ServiceId, to: NodeId) {
        self.orders.insert((service, to));
    }
    /// The operator says that a node is off.
    pub fn says_off(&mut self, node: NodeId) {
        self.said_off.insert(node);
    }
    /// Who votes and who is configured from now on.
    pub fn states(&mut self, now: Real, stated: Stated) {
        if stated != self.stated {
            self.before.push((self.stated, now));
            self.stated = stated;
        }
    }
    /// A driver failed, or what it started did.
    pub fn fails(&mut self, service: ServiceId) {
        self.failed.insert(service);
    }

    /// A gate lacks a filter: nothing starts behind it.
    pub fn lacks_gate(&mut self, now: Real) {
        self.trouble = now;
    }

    // What is a reason.

    /// How long something may go on to have effects: whoever acts on it may be slow too.
    fn lately(&self, now: Real, at: Real) -> bool {
        at != Real(0) && now <= at.after(self.deadline * 24)
    }
    /// True if `to` has not heard `from` for a deadline, and the world made that.
    fn is_made_silent(&self, now: Real, from: NodeId, to: NodeId) -> bool {
        let hearing = self.hearing.get(&(from, to)).copied().unwrap_or_default();
        let silent = now.since(hearing.at) >= self.shortest;
        let before = Real(hearing.at.0.saturating_sub(self.interval.0 * 2));
        let stalled = self.fast.get(&from).is_some_and(|s| s.long_until > before);
        let over = self.ended.iter().any(|(life, at)| life.node == from && *at > before);
        silent && (hearing.newest.is_none() || hearing.lost > before || stalled || over)
    }
    fn is_over(&self, life: Life) -> bool {
        self.ended.contains_key(&life)
    }
    /// Its control process did not run for a while.
    #[must_use]
    pub fn is_held_up(&self, now: Real, node: NodeId) -> bool {
        self.control.get(&node).is_some_and(|stall| self.lately(now, stall.long_until))
    }
    /// What is in force, and what was until lately: whoever acts may not know better.
    fn in_force(&self, now: Real) -> impl Iterator<Item = Stated> {
        let late = self.before.iter().filter(move |(_, until)| self.lately(now, *until));
        late.map(|(stated, _)| *stated).chain([self.stated])
    }
    /// So many votes belong to nodes that have not heard it, now or lately, that it and those who hear it are no majority; and
    /// the world made that. Of four that are half: then neither half may act, and whichever leads when they meet again may still
    /// miss the beats of the other (seed 39469).
    fn is_silent_to_too_many(&self, now: Real, node: NodeId, electorate: NodeSet) -> bool {
        let lately = |to: &NodeId| {
            let known = self.hearing.get(&(node, *to));
            known.is_some_and(|known| {
                self.is_made_silent(now, node, *to) || self.lately(now, known.silent_until)
            })
        };
        let others = electorate.without(node);
        // One vote of two decides only with evidence that the other's life is over.
        let need = electorate.len().div_ceil(2).min(others.len());
        !others.is_empty() && others.iter().filter(lately).count() >= need
    }
    /// The operator wants it out: it is configured no more, or was said to be off.
    fn is_ordered_out(&self, now: Real, node: NodeId) -> bool {
        let dropped = self.in_force(now).any(|stated| !stated.nodes.contains(node));
        dropped || self.said_off.contains(&node)
    }
    /// It leaves: it was told to, or is configured no more, or is to own nothing.
    fn may_give_away(&self, now: Real, node: NodeId) -> bool {
        let barred = |s: Stated| !s.nodes.contains(node) || s.witnesses.contains(node);
        self.ended.keys().any(|life| life.node == node) || self.in_force(now).any(barred)
    }
    fn may_be_removed(&self, now: Real, life: Life, cause: RemovalCause) -> bool {
        let node = life.node;
        let held_up = self.is_held_up(now, node);
        let unheard = self.unheard.get(&node).copied().unwrap_or_default();
        // A primary whose messages do not come counts as silent, however well it beats.
        let mute = now <= unheard.after(self.deadline * 8) && unheard != Real(0);
        let silent = || {
            let mut electorates = self.in_force(now).map(|stated| stated.electorate);
            electorates.any(|voters| self.is_silent_to_too_many(now, node, voters))
        };
        self.is_over(life)
            || match cause {
                RemovalCause::Silent => mute || held_up || silent(),
                RemovalCause::Obituary => held_up,
                RemovalCause::Progress => mute || held_up,
                RemovalCause::Superseded => false,
                RemovalCause::Operator => self.is_ordered_out(now, node),
            }
    }

    // What follows.

    /// A removal is proposed: is there a reason now?
    pub fn proposed(&mut self, now: Real, life: Life, stint: Stint, cause: RemovalCause) {
        let reason = self.may_be_removed(now, life, cause);
        self.proposed.entry((life, stint)).or_insert(reason);
    }
    /// A removal is committed.
    pub fn removed(
        &self,
        now: Real,
        life: Life,
        stint: Stint,
        cause: RemovalCause,
    ) -> Result<(), Violation> {
        let known = self.proposed.get(&(life, stint)).copied();
        if known.unwrap_or_else(|| self.may_be_removed(now, life, cause)) {
            return Ok(());
        }
        let text = format!("{life:?} of stint {} is removed ({cause:?}) without a reason", stint.0);
        Violation::found("no needless move", text)
    }
    /// A service begins its next generation. Removals are judged by themselves.
    pub fn moved(&self, now: Real, service: ServiceId, why: &Reason) -> Result<(), Violation> {
        let Reason::Placed { trigger, node, from, .. } = why else { return Ok(()) };
        let needed = match trigger {
            Trigger::EraBegan | Trigger::Removed(_) | Trigger::Restarted => true,
            Trigger::Leaving => from.is_none_or(|from| self.may_give_away(now, from)),
            Trigger::Moved(to) => self.orders.contains(&(service, *to)),
            // The policy asks for that, and a preferred node that comes back has been away.
            Trigger::FailBack(_) => true,
            Trigger::StartFailed(_) | Trigger::Died(_) | Trigger::Stuck(_) => {
                self.failed.contains(&service)
            }
            // A lapse of twenty deadlines stops it (S8), however long after that it is told.
            Trigger::Stopped => self.trouble != Real(0),
            // Services are the same in every document here.
            Trigger::Changed | Trigger::NotListed | Trigger::NotConfigured => false,
        };
        if needed {
            return Ok(());
        }
        let text =
            format!("{service:?} moves to {node:?} because of {trigger:?}, of which nobody knows");
        Violation::found("no needless move", text)
    }
}

#[cfg(test)]
mod tests {
    use super::Needless;
    use crate::clock::Real;
    use crate::shape::{Shape, id};
    use base::Duration;
    use wire::entry::RemovalCause;
    use wire::{Incarnation, Life, Seq, Stint, Stream};

    const MS: u64 = 1_000_000;

    fn life(n: u8) -> Life {
        Life { node: id(n), incarnation: Incarnation(1) }
    }
    fn at(ms: u64) -> Real {
        Real(ms * MS)
    }
    /// Three nodes of which the second and the third hear the first every ten milliseconds.
    fn beaten(until: u64) -> Needless {
        let mut needless = Needless::default();
        needless.configure(&Shape::calm(3));
        for ms in (10..=until).step_by(10) {
            for to in [2, 3] {
                needless.travels(at(ms), Stream::Fast, id(1), id(to), Some(Duration(1)));
                needless.arrives(at(ms), life(1), id(to), Seq(ms));
            }
        }
        needless
    }
    /// So many nodes, of which those named hear the first no more after 100 ms.
    fn half_deaf(nodes: u8, deaf: &[u8]) -> Needless {
        let mut needless = Needless::default();
        needless.configure(&Shape::calm(nodes));
        for ms in (10..=200).step_by(10) {
            for to in 2..=nodes {
                let arrives = ms <= 100 || !deaf.contains(&to);
                needless.travels(
                    at(ms),
                    Stream::Fast,
                    id(1),
                    id(to),
                    arrives.then_some(Duration(1)),
                );
                if arrives {
                    needless.arrives(at(ms), life(1), id(to), Seq(ms));
                }
            }
        }
        needless
    }
    fn removed(needless: &Needless, now: u64, cause: RemovalCause) -> bool {
        needless.removed(at(now), life(1), Stint(4), cause).is_ok()
    }

    #[test]
    fn who_has_no_majority_with_those_who_hear_it_may_be_removed() {
        assert!(removed(&half_deaf(4, &[2, 3]), 205, RemovalCause::Silent), "half of four");
        assert!(!removed(&half_deaf(4, &[2]), 205, RemovalCause::Silent));
        assert!(removed(&half_deaf(5, &[2, 3, 4]), 205, RemovalCause::Silent));
        assert!(!removed(&half_deaf(5, &[2, 3]), 205, RemovalCause::Silent), "three of five");
    }

    #[test]
    fn who_was_heard_all_the_time_is_not_removed() {
        let needless = beaten(100);
        assert!(!removed(&needless, 125, RemovalCause::Silent));
        assert!(!removed(&needless, 150, RemovalCause::Silent), "silent, but nobody made it so");
        assert!(!removed(&needless, 150, RemovalCause::Obituary));
        assert!(!removed(&needless, 150, RemovalCause::Progress));
    }

    #[test]
    fn a_cut_a_wall_and_a_stall_are_reasons() {
        let mut needless = beaten(100);
        needless.ends(at(101), life(1));
        assert!(removed(&needless, 131, RemovalCause::Silent));
        let mut needless = beaten(100);
        for to in [2, 3] {
            needless.travels(at(110), Stream::Fast, id(1), id(to), None);
        }
        assert!(!removed(&needless, 125, RemovalCause::Silent), "too early");
        assert!(removed(&needless, 131, RemovalCause::Silent));
        let mut needless = beaten(100);
        needless.stalls(at(105), id(1), Stream::Fast, at(140));
        assert!(removed(&needless, 131, RemovalCause::Silent));
        let mut needless = beaten(100);
        needless.stalls(at(105), id(2), Stream::Fast, at(140));
        assert!(!removed(&needless, 131, RemovalCause::Silent), "the stall of another");
    }

    #[test]
    fn silence_on_one_way_of_two_is_no_reason() {
        let mut needless = beaten(100);
        needless.travels(at(110), Stream::Fast, id(1), id(2), None);
        assert!(!removed(&needless, 131, RemovalCause::Silent));
    }

    #[test]
    fn what_was_a_reason_when_it_was_proposed_is_one() {
        let mut needless = beaten(100);
        needless.proposed(at(101), life(1), Stint(4), RemovalCause::Silent);
        needless.ends(at(102), life(1));
        assert!(!removed(&needless, 131, RemovalCause::Silent), "it was proposed before the cut");
    }
}
