//! What goes wrong, and what an operator does.

use crate::clock::Real;
use crate::machine::Machine;
use crate::network::{Quality, Wall};
use crate::reform::{Amid, Change};
use crate::shape::{Sabotage, Timing};
use crate::world::{What, World};
use base::Duration;
use node::Command;
use wire::{Generation, NodeId, NodeSet, ServiceId, Stream};

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
    /// Power off, while another node is cut off from all for as long.
    CutAnd(NodeId, NodeId, Duration),
    /// Whoever owns a service loses its power, and so does whoever owns it next, as often as `then`
    /// says, each within 20 ms of its turn.
    CutOwner {
        /// Which.
        service: ServiceId,
        /// How often more.
        then: u8,
        /// How long each is off.
        down: Duration,
    },
    /// The same, for the owner of a later generation than this one, as soon as there is one.
    CutNext {
        /// Which.
        service: ServiceId,
        /// The generation whose owner was cut.
        after: Generation,
        /// How often more.
        then: u8,
        /// How long each is off.
        down: Duration,
        /// How often to look again.
        looks: u16,
    },
    /// Processes are killed.
    Kill(NodeId, Which),
    /// Both processes are killed on all nodes but one, which falls silent later.
    KillOthers(NodeId),
    /// A member is removed, comes back, and then beats but says nothing else to anybody.
    Relapse(NodeId, Duration),
    /// A member says nothing but beats, and one other does not even hear those.
    Mute(NodeId, NodeId, Duration),
    /// Daemons end in good order and come back after a while.
    Leave(NodeId, Duration),
    /// Processes do not run for a while.
    Pause(NodeId, Which, Duration),
    /// Those of all nodes but one do not run for a while, as when one machine carries them all.
    Sleepers(NodeId, Which, Duration),
    /// Frames are held back for a while.
    Wall(Wall, Duration),
    /// Frames are lost both ways between two sides: back at a rate of its own.
    Lossy(Wall, u64, Duration),
    /// The cluster falls into up to three parts.
    Split([NodeSet; 3], Duration),
    /// A node gets other settings while it runs.
    Settings(NodeId, Timing),
    /// The operator wants another interval and other misses for all, asking that node.
    Retime(NodeId, Timing),
    /// The operator wants other members or votes, asking that node.
    Change(Change, NodeId),
    /// The same, and something goes wrong soon after.
    ChangeAmid(Change, NodeId, Amid),
    /// That goes wrong.
    Amid(Amid),
    /// A clock runs at another rate from now on.
    Rate(NodeId, i64),
    /// The gate of a node lacks a filter for a while: its daemons see it. (The second line holds.)
    GateLacks(NodeId, Duration),
    /// It has it again.
    GateWhole(NodeId),
    /// A machine is switched on.
    Start(NodeId),
    /// The operator moves a service, asking the node named last.
    Move(ServiceId, NodeId, NodeId),
    /// The operator has failed nodes tried again.
    Clear(ServiceId, NodeId),
    /// The operator asserts, truly, that a node is off.
    ConfirmOff(NodeId, NodeId),
    /// Somebody at this node has an entry of so many bytes agreed, so many times.
    Write(NodeId, u32, u8),
    /// The streams from and to a node break: what is on its way there is lost.
    BreakStreams(NodeId),
}

/// Everything is lost.
const WHOLE: u64 = 1_000_000;
/// How often, and in what steps, the next owner is waited for.
const LOOKS: u16 = 200;
const LOOK: Duration = Duration::from_millis(1);

fn one(node: NodeId) -> NodeSet {
    [node].into_iter().collect()
}

impl World {
    /// Something goes wrong.
    pub fn strike(&mut self, fault: Fault) {
        match fault {
            Fault::Cut(node, down) => self.cut_for(node, down),
            Fault::CutAnd(node, other, down) => {
                self.cut_for(node, down);
                self.wall_both(self.shape.nodes, one(other), None, down);
            }
            Fault::CutOwner { service, then, down } => {
                let after = Generation(0);
                self.cut_next(Fault::CutNext { service, after, then, down, looks: 0 });
            }
            Fault::CutNext { .. } => self.cut_next(fault),
            Fault::Kill(node, Which::Both) => self.kill(node),
            Fault::Kill(node, Which::Control) => self.kill_control(node),
            Fault::Kill(node, Which::Fast) => self.kill_fast(node),
            Fault::KillOthers(alive) => {
                for node in self.shape.nodes.iter().filter(|n| *n != alive) {
                    self.kill(node);
                }
                // They have perhaps learned from it when it falls silent: then they begin without it.
                let deadline = self.shape.deadline();
                let at = self.now.after(Duration(self.dice.below(deadline.0 * 3)));
                self.plan(at, Fault::Mute(alive, alive, deadline * 12));
            }
            Fault::Relapse(node, back) => {
                let deadline = self.shape.deadline();
                let span = deadline * 3 / 2;
                self.wall_both(self.shape.nodes, one(node), None, span);
                // What it says when it comes back is partly held up until long after.
                let links = self.network.every_link();
                let late = Wall {
                    only: Some(Stream::Control),
                    share_ppm: WHOLE / 2,
                    ..Wall::whole(links, one(node), self.shape.nodes)
                };
                let late = Wall { held: deadline * 8, ..late };
                self.wall(late, span + back);
                self.plan(self.now.after(span + back), Fault::Mute(node, node, deadline * 8));
            }
            Fault::Mute(node, deaf, span) => {
                let all = self.shape.nodes;
                self.wall_both(all, one(node), Some(Stream::Control), span);
                let wall = Wall::whole(self.network.every_link(), one(node), one(deaf));
                self.wall(Wall { only: Some(Stream::Fast), ..wall }, span);
                // Something that it does not acknowledge.
                for other in all.iter().filter(|n| *n != node) {
                    let at = self.now.after(Duration(self.dice.below(self.shape.interval.0 * 4)));
                    self.plan(at, Fault::Clear(ServiceId(0), other));
                }
            }
            Fault::Leave(node, down) => {
                self.leave(node);
                // It may take long to leave: whoever starts it tries until it is gone.
                self.plan(self.now.after(down), Fault::Start(node));
            }
            Fault::Pause(node, which, span) => self.pause(node, which, span),
            Fault::Sleepers(awake, which, span) => {
                for node in self.shape.nodes.iter().filter(|n| *n != awake) {
                    self.pause(node, which, span);
                }
            }
            Fault::Wall(wall, span) => {
                self.wall(wall, span);
                if self.dice.chance(2, 3) {
                    self.wall(Wall { from: wall.to, to: wall.from, ..wall }, span);
                }
            }
            Fault::Lossy(wall, back, span) => {
                self.wall(wall, span);
                self.wall(Wall { from: wall.to, to: wall.from, share_ppm: back, ..wall }, span);
            }
            Fault::Split(parts, span) => {
                for (i, part) in parts.into_iter().enumerate() {
                    for other in parts.into_iter().skip(i + 1) {
                        self.wall_both(part, other, None, span);
                    }
                }
            }
            Fault::Settings(node, timing) => self.set_timing(node, timing),
            Fault::Retime(node, timing) => {
                self.change(node, Change::Retime(timing));
            }
            Fault::Change(change, node) => {
                self.change(node, change);
            }
            Fault::ChangeAmid(change, node, amid) => self.change_amid(node, change, amid),
            Fault::Amid(amid) => self.amid(amid),
            Fault::Rate(node, rate_ppm) => self.set_rate(node, rate_ppm),
            Fault::GateLacks(node, span) => {
                self.set_gate(node, Some("a filter"));
                self.plan(self.now.after(span), Fault::GateWhole(node));
            }
            Fault::GateWhole(node) => self.set_gate(node, None),
            Fault::Start(node) => self.start(node),
            Fault::Move(service, to, at) => {
                self.command(at, Command::Move { service, to });
            }
            Fault::Clear(service, at) => {
                self.command(at, Command::ClearFailures { service });
            }
            Fault::Write(node, bytes, times) => {
                for _ in 0..times {
                    self.command(node, Command::Probe { bytes });
                }
            }
            Fault::BreakStreams(node) => {
                self.tell(|| format!("the streams of {node:?} break"));
                for other in self.shape.nodes.iter().filter(|n| *n != node) {
                    self.break_stream(node, other);
                    self.break_stream(other, node);
                }
            }
            Fault::ConfirmOff(node, at) => {
                // Only a truth is asserted: the power of that machine is cut.
                if self.machines.get(&node).is_some_and(|m| m.shared.is_none()) {
                    self.command(at, Command::ConfirmOff { node });
                }
            }
        }
    }

    /// Power off for a while. An operator who sees to it says so to somebody, and tries again.
    fn cut_for(&mut self, node: NodeId, down: Duration) {
        self.cut(node);
        self.plan(self.now.after(down), Fault::Start(node));
        if self.shape.operator {
            for _ in 0..3 {
                let at = self.now.after(Duration(self.dice.below(down.0)));
                let others: Vec<_> = self.shape.nodes.iter().filter(|n| *n != node).collect();
                let told = others[self.dice.below(others.len() as u64) as usize];
                self.plan(at, Fault::ConfirmOff(node, told));
            }
        }
    }
    /// Cuts the owner of a service within 20 ms, if it is the one of a later generation.
    fn cut_next(&mut self, fault: Fault) {
        let Fault::CutNext { service, after, then, down, looks } = fault else { return };
        let owner = self.checkers.gate.owner(service).filter(|(now, _)| *now > after);
        let Some((generation, life)) = owner else {
            if looks > 0 {
                let again = Fault::CutNext { service, after, then, down, looks: looks - 1 };
                self.plan(self.now.after(LOOK), again);
            }
            return;
        };
        let at = self.now.after(Duration(self.dice.below(20_000_000)));
        self.plan(at, Fault::Cut(life.node, down));
        if then > 0 {
            let (after, then) = (generation, then - 1);
            self.plan(at, Fault::CutNext { service, after, then, down, looks: LOOKS });
        }
    }
    /// Nothing passes between a node and the others for a while.
    pub(crate) fn isolate(&mut self, node: NodeId, span: Duration) {
        self.wall_both(self.shape.nodes, one(node), None, span);
    }
    fn wall(&mut self, wall: Wall, span: Duration) {
        self.tell(|| format!("for {span}: {wall:?}"));
        let number = self.network.build(wall);
        self.queue.push(self.now.after(span), What::Tear(number));
    }
    fn wall_both(&mut self, a: NodeSet, b: NodeSet, only: Option<Stream>, span: Duration) {
        let links = self.network.every_link();
        for (from, to) in [(a, b), (b, a)] {
            self.wall(Wall { only, ..Wall::whole(links, from, to) }, span);
        }
    }
    /// A clock changes its rate: what was to happen at a time that it shows is looked at again.
    fn set_rate(&mut self, node: NodeId, rate_ppm: i64) {
        self.tell(|| format!("the clock of {node:?} runs at {rate_ppm} ppm"));
        let now = self.now;
        let Some(machine) = self.machines.get_mut(&node) else { return };
        machine.clock.set_rate(now, rate_ppm);
        if let Some(life) = machine.life() {
            self.wake_fast_soon(life);
            self.wake_control_soon(life);
        }
    }
    fn set_gate(&mut self, node: NodeId, lack: Option<&str>) {
        let Some(life) = self.machines.get(&node).and_then(Machine::life) else { return };
        if lack.is_some() {
            self.checkers.needless.lacks_gate(self.now);
        }
        if let Some(control) = self.control_mut(life) {
            control.actor.gate(lack);
            self.tell(|| format!("the gate of {life:?} lacks {lack:?}"));
            self.wake_control_soon(life);
        }
    }

    /// Processes do not run for a while.
    pub fn pause(&mut self, node: NodeId, which: Which, span: Duration) {
        let until = self.now.after(span);
        self.tell(|| format!("{which:?} of {node:?} does not run for {span}"));
        for (process, other) in [(Stream::Fast, Which::Control), (Stream::Control, Which::Fast)] {
            if which != other {
                self.checkers.needless.stalls(self.now, node, process, until);
            }
        }
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
        self.network.quality = Quality::GOOD;
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
            self.set_gate(life.node, None);
            self.wake_control_soon(life);
        }
    }

    /// The faults that [`World::heal`] ended may come again.
    pub fn trouble_again(&mut self) {
        self.tell(|| "the links and drivers are as bad as before".into());
        self.healed_at = Real(0);
        self.network.quality = self.shape.quality;
        self.manners = self.shape.manners;
        self.interrupts = self.shape.interrupts > 0;
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
