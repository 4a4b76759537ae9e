//! An operator who changes members and votes: what is asked for, and what goes wrong meanwhile.
//!
//! A [`Change`] is made from what is agreed at the node that is asked, as `ng node add | remove` and `ng config apply` do.
//! So two of them at once are a race for one version, and one asked of a node that is behind may be refused.

use crate::checkers::progress;
use crate::faults::Fault;
use crate::machine::Machine;
use crate::shape::{Shape, Timing, id};
use crate::world::World;
use agreement::Status;
use base::{Duration, Prng};
use wire::{Charter, Configuration, NodeId, NodeSet, ServiceId};

/// What an operator wants to be otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// A machine becomes a node, with a vote or without; it is switched on.
    Add {
        /// Which.
        node: NodeId,
        /// It shall vote.
        votes: bool,
    },
    /// A node is configured no more.
    Drop(NodeId),
    /// Whoever leads is configured no more.
    DropPrimary,
    /// Whoever owns a service is configured no more.
    DropOwner(ServiceId),
    /// A node shall vote.
    Give(NodeId),
    /// A node shall vote no more.
    Take(NodeId),
    /// A node is to be a witness: it votes, leads nothing and owns nothing. A witness is to be an ordinary voter.
    Witness(NodeId),
    /// Exactly these vote, and are no witnesses.
    Voters(NodeSet),
    /// Interval and misses of all.
    Retime(Timing),
}

/// What goes wrong while a change is under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Amid {
    /// The daemons of a node are killed.
    Kill(NodeId),
    /// A node loses its power.
    Cut(NodeId, Duration),
    /// Whoever leads loses its power.
    CutPrimary(Duration),
    /// A node is cut off from all.
    Isolate(NodeId, Duration),
    /// The daemons of all are killed: a cold start follows.
    KillAll,
    /// The daemons of all but one are killed.
    KillOthers(NodeId),
    /// Another change is asked of a node.
    Change(Change, NodeId),
}

impl Change {
    /// What is wanted then, if `agreed` is so far; `at` is who is asked.
    fn apply(self, world: &World, agreed: &Configuration) -> Configuration {
        let mut wanted = agreed.clone();
        match self {
            Self::Add { node, votes } => {
                wanted.nodes.insert(node);
                if votes {
                    wanted.voters.insert(node);
                }
            }
            Self::Drop(node) => drop_from(&mut wanted, Some(node)),
            Self::DropPrimary => drop_from(&mut wanted, primary(world)),
            Self::DropOwner(service) => drop_from(&mut wanted, progress::serving(world, service)),
            Self::Give(node) => {
                wanted.nodes.insert(node);
                wanted.voters.insert(node);
            }
            Self::Take(node) => {
                wanted.voters.remove(node);
                wanted.witnesses.remove(node);
            }
            Self::Witness(node) if wanted.witnesses.contains(node) => {
                wanted.witnesses.remove(node);
            }
            Self::Witness(node) => {
                wanted.nodes.insert(node);
                wanted.voters.insert(node);
                wanted.witnesses.insert(node);
            }
            Self::Voters(voters) => {
                wanted.nodes = wanted.nodes.union(voters);
                (wanted.voters, wanted.witnesses) = (voters, NodeSet::EMPTY);
            }
            Self::Retime(timing) => set_timing(&mut wanted, timing),
        }
        wanted
    }
}

fn drop_from(wanted: &mut Configuration, node: Option<NodeId>) {
    let Some(node) = node else { return };
    wanted.nodes.remove(node);
    wanted.voters.remove(node);
    wanted.witnesses.remove(node);
}

fn set_timing(wanted: &mut Configuration, timing: Timing) {
    (wanted.interval_us, wanted.misses) = (timing.interval.micros() as u32, timing.misses);
}

/// The node that leads the highest term.
#[must_use]
pub fn primary(world: &World) -> Option<NodeId> {
    let leads = |m: &Machine| {
        let agreement = m.control()?.node.agreement();
        (agreement.status() == Status::Primary).then(|| (agreement.term(), m.node))
    };
    world.machines.values().filter_map(leads).max().map(|(_, node)| node)
}

impl World {
    /// The operator wants a change, asking that node; the tag of the answer, if a control process runs there.
    pub fn change(&mut self, node: NodeId, change: Change) -> Option<u64> {
        let control = self.machines.get(&node).and_then(Machine::control)?;
        let agreed = Configuration::clone(control.node.agreement().roster().configuration());
        let mut wanted = change.apply(self, &agreed);
        if wanted.interval_us == 0 {
            // The first configuration leaves each node its own.
            set_timing(&mut wanted, self.shape.timing());
        }
        // Nobody hands the cluster to machines that are off for good.
        let here = wanted.voters.minus(wanted.witnesses).minus(self.locked);
        if here.is_empty() && !self.locked.is_empty() {
            return None;
        }
        if let Change::Add { node, .. } | Change::Give(node) | Change::Witness(node) = change {
            self.start(node);
        }
        self.tell(|| format!("the operator wants {change:?}"));
        self.reform(node, wanted)
    }

    /// A change, and what goes wrong within some deadlines of it.
    pub(crate) fn change_amid(&mut self, node: NodeId, change: Change, amid: Amid) {
        self.change(node, change);
        let within = self.shape.deadline().0 * [1, 4][self.dice.below(2) as usize];
        let at = self.now.after(Duration(self.dice.below(within)));
        self.plan(at, Fault::Amid(amid));
    }

    /// It goes wrong now.
    pub(crate) fn amid(&mut self, amid: Amid) {
        match amid {
            Amid::Kill(node) => self.kill(node),
            Amid::Cut(node, down) => self.strike(Fault::Cut(node, down)),
            Amid::CutPrimary(down) => {
                if let Some(node) = primary(self) {
                    self.strike(Fault::Cut(node, down));
                }
            }
            Amid::Isolate(node, span) => self.isolate(node, span),
            Amid::KillAll => {
                for node in self.shape.nodes.iter() {
                    self.kill(node);
                }
            }
            Amid::KillOthers(alive) => {
                for node in self.shape.nodes.iter().filter(|node| *node != alive) {
                    self.kill(node);
                }
            }
            Amid::Change(change, at) => {
                self.change(at, change);
            }
        }
    }

    /// What the node that is asked knows durably of the configuration, or its file.
    #[must_use]
    pub fn charter_at(&self, node: NodeId) -> Charter {
        let stored = self.machines.get(&node).and_then(|machine| machine.charter.clone());
        stored.unwrap_or_else(|| Charter::of_file(self.shape.file()))
    }
}

/// Draws a change, alone or with what goes wrong meanwhile.
pub fn draw(dice: &mut Prng, shape: &Shape) -> Fault {
    let nodes: Vec<NodeId> = shape.nodes.iter().collect();
    let mut any = |dice: &mut Prng| nodes[dice.below(nodes.len() as u64) as usize];
    let change = draw_change(dice, shape, &mut any);
    let at = any(dice);
    let deadline = shape.deadline().0;
    let long = Duration(deadline / 2 + dice.below(deadline * 6));
    let amid = match dice.below(14) {
        0 => Amid::Kill(any(dice)),
        1 => Amid::Cut(any(dice), long),
        2 => Amid::CutPrimary(long),
        3 | 4 => Amid::Isolate(any(dice), long),
        5 => Amid::KillAll,
        6 => Amid::KillOthers(any(dice)),
        7 | 8 => {
            let other = draw_change(dice, shape, &mut any);
            Amid::Change(other, any(dice))
        }
        _ => return Fault::Change(change, at),
    };
    Fault::ChangeAmid(change, at, amid)
}

fn draw_change(
    dice: &mut Prng,
    shape: &Shape,
    any: &mut impl FnMut(&mut Prng) -> NodeId,
) -> Change {
    let node = any(dice);
    match dice.below(16) {
        0..4 => Change::Add { node, votes: dice.chance(3, 4) },
        4 | 5 => Change::Drop(node),
        6 => Change::DropPrimary,
        7 => Change::DropOwner(ServiceId(dice.below(shape.services.len() as u64) as u16)),
        8 | 9 => Change::Give(node),
        10 => Change::Take(node),
        11 => Change::Witness(node),
        12..15 => {
            let size = [2, 3, 3, 3, 4, 5][dice.below(6) as usize];
            let mut voters = NodeSet::EMPTY;
            (0..size).for_each(|_| voters.insert(any(dice)));
            Change::Voters(voters)
        }
        _ => {
            let timings: Vec<Timing> = shape.timings().collect();
            Change::Retime(timings[dice.below(timings.len() as u64) as usize])
        }
    }
}

/// Who is lost so that no majority of the votes is left, and who then is asked to go on: a voter that may lead.
pub fn draw_loss(dice: &mut Prng, world: &World) -> Option<(NodeId, NodeSet)> {
    let electorate = progress::electorate(world);
    let log = &world.checkers.log;
    let witnesses = log.seats(log.era())?.wanted.as_ref()?.witnesses;
    let configured = progress::configured(world);
    let leaders = electorate.minus(witnesses).iter().filter(|node| configured.contains(*node));
    let leaders: Vec<NodeId> = leaders.collect();
    if leaders.is_empty() || electorate.len() < 2 {
        return None;
    }
    let leader = leaders[dice.below(leaders.len() as u64) as usize];
    let others: Vec<NodeId> = electorate.without(leader).iter().collect();
    let least = others.len() + 2 - electorate.len() / 2 - 1;
    let mut absent = NodeSet::EMPTY;
    let first = dice.below(others.len() as u64) as usize;
    let count = least + dice.below((others.len() - least + 1) as u64) as usize;
    others.iter().cycle().skip(first).take(count).for_each(|node| absent.insert(*node));
    Some((leader, absent))
}

/// Most machines of a cluster whose members change.
const MACHINES_MAX: usize = 6;

/// The cluster that a seed with changes begins as: some spare machines more, of all of them some are configured, and of
/// those some vote.
pub fn draw_shape(dice: &mut Prng, shape: &mut Shape) {
    shape.reforms = true;
    let more = 1 + dice.below(3) as usize;
    let total = (shape.nodes.len() + more).min(MACHINES_MAX).max(shape.nodes.len());
    shape.nodes = (1..=total as u8).map(id).collect();
    let first = dice.below(total as u64) as usize;
    let machines: Vec<NodeId> = shape.nodes.iter().collect();
    let order: Vec<NodeId> = machines.iter().cycle().skip(first).take(total).copied().collect();
    let configured = 2 + dice.below(total as u64 - 1) as usize;
    let most = if dice.chance(1, 2) { 3 } else { total };
    let voters = (2 + dice.below(configured as u64 - 1) as usize).min(most);
    shape.configured = order.iter().take(configured).copied().collect();
    shape.voters = order.iter().take(voters).copied().collect();
    shape.witnesses = NodeSet::EMPTY;
    if voters > 2 && dice.chance(1, 5) {
        shape.witnesses.insert(order[2]);
    }
    // A fenced service waits for all of its nodes after a cold start: it lists none that may never come.
    for service in &mut shape.services {
        let lists = |n: &NodeId| service.unbound().is_none() || shape.configured.contains(*n);
        service.nodes = order.iter().copied().filter(lists).collect();
    }
    shape.store_max = Duration::from_millis([3, 3, 30, 100][dice.below(4) as usize]);
}

#[cfg(test)]
mod tests {
    use super::draw_shape;
    use crate::shape::Shape;
    use base::Prng;

    #[test]
    fn what_is_drawn_is_a_cluster() {
        for seed in 0..200 {
            let mut dice = Prng::new(seed);
            let mut shape = Shape::calm(2 + (seed % 4) as u8);
            draw_shape(&mut dice, &mut shape);
            assert!(shape.configured.minus(shape.nodes).is_empty());
            assert!(shape.voters.minus(shape.configured).is_empty());
            assert!(shape.witnesses.minus(shape.voters).is_empty());
            assert!(shape.voters.minus(shape.witnesses).len() >= 2);
        }
    }
}
