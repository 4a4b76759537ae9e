//! What goes wrong, and how it is drawn: swarm style, each seed with weights of its own, so that
//! some seeds see only pauses, some only walls, and some everything at once (Groce and others:
//! Swarm Testing, ISSTA 2012).

use crate::clock::Real;
use crate::machine::Machine;
use crate::network::Wall;
use crate::shape::{Sabotage, Shape};
use crate::world::{What, World};
use base::{Duration, Prng};
use node::Command;
use wire::{NodeId, NodeSet, ServiceId, Stream};

/// Which process of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    /// netguard-fast.
    Fast,
    /// netguard-control.
    Control,
    /// Both.
    Both,
}

/// Something that goes wrong, or that an operator does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Power off, and on again after a while.
    Cut(NodeId, Duration),
    /// Processes are killed.
    Kill(NodeId, Which),
    /// Daemons end in good order and come back after a while.
    Leave(NodeId, Duration),
    /// Processes do not run for a while.
    Pause(NodeId, Which, Duration),
    /// Frames are held back for a while.
    Wall(Wall, Duration),
    /// A machine is switched on.
    Start(NodeId),
    /// The operator moves a service, asking the node named last.
    Move(ServiceId, NodeId, NodeId),
    /// The operator has failed nodes tried again.
    Clear(ServiceId, NodeId),
    /// The operator asserts, truly, that a node is off.
    ConfirmOff(NodeId, NodeId),
}

/// Kinds of faults, as many as [`draw`] knows.
const KINDS: usize = 16;

/// How likely each kind is in one seed.
#[derive(Clone, Copy, Debug)]
pub struct Weights([u64; KINDS]);

impl Weights {
    /// Half of the kinds, each with a weight of its own.
    #[must_use]
    pub fn draw(dice: &mut Prng) -> Self {
        let mut weights = [0; KINDS];
        for weight in &mut weights {
            if dice.chance(1, 2) {
                *weight = 1 + dice.below(8);
            }
        }
        Self(weights)
    }
    fn pick(&self, dice: &mut Prng) -> Option<usize> {
        let mut at = dice.below(self.0.iter().sum());
        self.0.iter().position(|weight| {
            let hit = at < *weight;
            at = at.saturating_sub(*weight);
            hit
        })
    }
}

/// Draws one fault.
pub fn draw(dice: &mut Prng, weights: &Weights, shape: &Shape) -> Option<Fault> {
    let kind = weights.pick(dice)?;
    let nodes: Vec<NodeId> = shape.nodes.iter().collect();
    let node = nodes[dice.below(nodes.len() as u64) as usize];
    let other = nodes[dice.below(nodes.len() as u64) as usize];
    let service = ServiceId(dice.below(shape.services.len() as u64) as u16);
    let down = Duration::from_millis(10 + dice.below(300));
    let long = span(dice, shape.deadline());
    let whole = 1_000_000;
    let all_links = (1 << shape.links) - 1;
    let only = [None, None, Some(Stream::Fast), Some(Stream::Control)][dice.below(4) as usize];
    let wall = |links, from, to, share_ppm| {
        Some(Fault::Wall(Wall { links, from, to, only, share_ppm }, long))
    };
    // About as long as the patience of the others: they suspect, and hear again.
    let brink = Duration(shape.deadline().0 * 3 / 4 + dice.below(shape.deadline().0 / 2));
    let alone = |node: NodeId, only, span| {
        let one: NodeSet = [node].into_iter().collect();
        let to = nodes.iter().copied().filter(|n| *n != node).collect();
        Some(Fault::Wall(Wall { links: all_links, from: one, to, only, share_ppm: whole }, span))
    };
    let one_link = 1 << dice.below(u64::from(shape.links));
    let one: NodeSet = [node].into_iter().collect();
    let some: NodeSet = nodes.iter().copied().filter(|_| dice.chance(1, 2)).collect();
    let rest = |of: NodeSet| nodes.iter().copied().filter(|n| !of.contains(*n)).collect();
    match kind {
        0 => Some(Fault::Cut(node, down)),
        1 => Some(Fault::Kill(node, Which::Both)),
        2 => Some(Fault::Kill(node, Which::Control)),
        3 => Some(Fault::Kill(node, Which::Fast)),
        4 => Some(Fault::Leave(node, down)),
        5 => Some(Fault::Pause(node, Which::Fast, long)),
        6 => Some(Fault::Pause(node, Which::Control, long)),
        7 => Some(Fault::Pause(node, Which::Both, long)),
        // One direction only; strike() builds the other wall for the kinds that cut both ways.
        8 => wall(all_links, some, rest(some), whole),
        9 => wall(all_links, one, rest(one), whole),
        10 => wall(one_link, shape.nodes, one, whole),
        11 => wall(all_links, shape.nodes, shape.nodes, 100_000 + dice.below(500_000)),
        // A member that beats but does not acknowledge (R-PROGRESS), for long enough to be removed.
        12 => alone(node, Some(Stream::Control), shape.deadline() * (3 + dice.below(6))),
        13 => alone(node, None, brink),
        14 => Some(Fault::Pause(node, Which::Fast, brink)),
        _ => Some(match dice.below(4) {
            0 => Fault::ConfirmOff(node, other),
            1 => Fault::Clear(service, other),
            _ => Fault::Move(service, node, other),
        }),
    }
}

/// From a tenth of a deadline to eight of them, the short ones more often.
fn span(dice: &mut Prng, deadline: Duration) -> Duration {
    let most = deadline.0 * [1, 2, 4, 8][dice.below(4) as usize];
    Duration(deadline.0 / 10 + dice.below(most))
}

impl World {
    /// Something goes wrong.
    pub fn strike(&mut self, fault: Fault) {
        match fault {
            Fault::Cut(node, down) => {
                self.cut(node);
                self.plan(self.now.after(down), Fault::Start(node));
            }
            Fault::Kill(node, Which::Both) => self.kill(node),
            Fault::Kill(node, Which::Control) => self.kill_control(node),
            Fault::Kill(node, Which::Fast) => self.kill_fast(node),
            Fault::Leave(node, down) => {
                self.leave(node);
                // It may take long to leave: whoever starts it tries until it is gone.
                self.plan(self.now.after(down), Fault::Start(node));
            }
            Fault::Pause(node, which, span) => self.pause(node, which, span),
            Fault::Wall(wall, span) => {
                self.tell(|| format!("for {span}: {wall:?}"));
                let number = self.network.build(wall);
                self.queue.push(self.now.after(span), What::Tear(number));
                if self.dice.chance(2, 3) {
                    let back = Wall { from: wall.to, to: wall.from, ..wall };
                    let number = self.network.build(back);
                    self.queue.push(self.now.after(span), What::Tear(number));
                }
            }
            Fault::Start(node) => self.start(node),
            Fault::Move(service, to, at) => {
                self.command(at, Command::Move { service, to });
            }
            Fault::Clear(service, at) => {
                self.command(at, Command::ClearFailures { service });
            }
            Fault::ConfirmOff(node, at) => {
                // Only a truth is asserted: the power of that machine is cut.
                if self.machines.get(&node).is_some_and(|m| m.shared.is_none()) {
                    self.command(at, Command::ConfirmOff { node });
                }
            }
        }
    }

    /// Processes do not run for a while.
    pub fn pause(&mut self, node: NodeId, which: Which, span: Duration) {
        let until = self.now.after(span);
        self.tell(|| format!("{which:?} of {node:?} does not run for {span}"));
        let Some(daemons) = self.machines.get_mut(&node).and_then(|m| m.daemons.as_mut()) else {
            return;
        };
        // One process is held up as a whole.
        let which =
            if self.shape.sabotage == Some(Sabotage::OneActor) { Which::Both } else { which };
        if which != Which::Control
            && let Some(fast) = &mut daemons.fast
        {
            fast.paused_until = until.max(fast.paused_until);
        }
        if which != Which::Fast
            && let Some(control) = &mut daemons.control
        {
            control.paused_until = until.max(control.paused_until);
        }
    }

    /// Everything outside the nodes works again; machines stay as they are.
    pub fn heal(&mut self) {
        self.tell(|| "everything outside the nodes works again".into());
        self.healed_at = self.now;
        self.network.tear_all();
        self.network.quality = crate::network::Quality::GOOD;
        self.manners = crate::drivers::Manners::GOOD;
        self.interrupts = false;
        let mut awake = Vec::new();
        for machine in self.machines.values_mut() {
            let Some(life) = machine.life() else { continue };
            let Some(daemons) = machine.daemons.as_mut() else { continue };
            if let Some(fast) = &mut daemons.fast {
                fast.paused_until = Real(0);
            }
            if let Some(control) = &mut daemons.control {
                control.paused_until = Real(0);
            }
            awake.push(life);
        }
        for life in awake {
            self.wake_fast_soon(life);
            self.wake_control_soon(life);
        }
    }

    /// Machines whose drivers are stuck, or whose daemons are on their way out.
    #[must_use]
    pub fn ailing(&self) -> Vec<NodeId> {
        let ails = |m: &&Machine| {
            m.drivers.iter().any(crate::drivers::Driver::is_stuck)
                || m.control().is_some_and(crate::control::Control::is_leaving)
        };
        self.machines.values().filter(ails).map(|m| m.node).collect()
    }
}
