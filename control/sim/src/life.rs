//! Starts and ends: of machines, of daemons, of one of the two processes alone.

use crate::control::Control;
use crate::fast::Fast;
use crate::gate::Gate;
use crate::machine::{Daemons, Machine, Process, Seen, Shared};
use crate::shape::{Sabotage, Shape, Timing};
use crate::world::{What, World, draw_clock};
use base::Duration;
use heartbeat::Board;
use std::rc::Rc;
use wire::{Charter, Configuration, Life, NodeId, Nonce, Stream};

/// How long a stop in good order may take.
const PATIENCE: Duration = Duration::from_millis(3_000);
/// Margin of the lease for the store and the gate's read (PROTOCOL 5.2).
const MARGIN: Duration = Duration::from_micros(50);
/// What netguard-fast of a life is told.
fn fast_settings(shape: &Shape, me: Life, timing: Timing) -> heartbeat::Settings {
    let longer = shape.sabotage == Some(Sabotage::LongLease);
    heartbeat::Settings {
        me,
        interval: timing.interval,
        misses: timing.misses + u32::from(longer),
        rate_ppm: shape.rate_ppm,
        margin: MARGIN,
        links: shape.links,
        nodes: shape.nodes,
        // Some bytes a life, in builds for tests only.
        #[cfg(feature = "mutations")]
        mutations: shape.mutations.clone().leak(),
    }
}

/// A process notices the end of the other within this time.
const NOTICE_MAX: u64 = 200_000;

impl World {
    /// Switches a machine on, or restarts its daemons; nothing happens if they run.
    pub fn start(&mut self, node: NodeId) {
        let clean_up = Duration(200_000 + self.dice.below(3_000_000));
        if self.locked.contains(node) {
            return;
        }
        let Some(machine) = self.machines.get_mut(&node) else { return };
        machine.wanted = true;
        if machine.daemons.is_none() {
            machine.boot += 1;
            let boot = machine.boot;
            self.queue.push(self.now.after(clean_up), What::Start(node, boot));
        }
    }
    /// Power off: everything of the machine is gone at once.
    pub fn cut(&mut self, node: NodeId) {
        let bound = u64::from(self.shape.rate_ppm);
        let clock = draw_clock(&mut self.dice, bound);
        let Some(machine) = self.machines.get_mut(&node) else { return };
        let life = machine.life();
        machine.wanted = false;
        machine.boot += 1;
        machine.daemons = None;
        machine.shared = None;
        machine.clock = clock;
        machine.drivers.iter_mut().for_each(crate::drivers::Driver::clear);
        if let Some(life) = life {
            self.checkers.needless.ends(self.now, life);
        }
        self.tell(|| format!("power of {node:?} is cut ({life:?})"));
    }
    /// Nobody starts this machine any more, whatever was planned.
    pub fn forget_start(&mut self, node: NodeId) {
        if let Some(machine) = self.machines.get_mut(&node) {
            machine.wanted = false;
            machine.boot += 1;
        }
    }
    /// Both daemons are killed; what they made stays, and they are started again if the machine is
    /// wanted.
    pub fn kill(&mut self, node: NodeId) {
        self.tell(|| format!("the daemons of {node:?} are killed"));
        let Some(machine) = self.machines.get_mut(&node) else { return };
        if let Some(life) = machine.life() {
            self.checkers.needless.ends(self.now, life);
        }
        machine.drivers.iter_mut().for_each(crate::drivers::Driver::abandon);
        if machine.daemons.take().is_some() {
            self.again(node);
        }
    }
    /// Control alone is killed.
    pub fn kill_control(&mut self, node: NodeId) {
        let Some(machine) = self.machines.get_mut(&node) else { return };
        let Some(life) = machine.life() else { return };
        machine.drivers.iter_mut().for_each(crate::drivers::Driver::abandon);
        self.tell(|| format!("netguard-control of {life:?} is killed"));
        self.checkers.needless.ends(self.now, life);
        self.control_ends(life);
    }
    /// Fast alone is killed.
    pub fn kill_fast(&mut self, node: NodeId) {
        let Some(life) = self.machines.get(&node).and_then(Machine::life) else { return };
        self.tell(|| format!("netguard-fast of {life:?} is killed"));
        self.checkers.needless.ends(self.now, life);
        self.fast_ends(life);
    }
    /// Stops the daemons in good order; they stay down.
    pub fn leave(&mut self, node: NodeId) {
        let now = self.now;
        let Some(machine) = self.machines.get_mut(&node) else { return };
        machine.wanted = false;
        let Some(life) = machine.life() else { return };
        self.checkers.needless.ends(now, life);
        let local = machine.clock.local(now);
        if let Some(control) = self.control_mut(life) {
            control.actor.leave(local);
            self.tell(|| format!("{life:?} is asked to leave"));
            self.wake_control_soon(life);
        }
    }

    /// The daemons begin a new life: R-START first, then the first frame.
    pub(crate) fn start_daemons(&mut self, node: NodeId, boot: u64) {
        let nonce = Nonce(self.dice.next_u64());
        let shape = &self.shape;
        let Some(machine) = self.machines.get_mut(&node) else { return };
        if machine.boot != boot || machine.daemons.is_some() || !machine.wanted {
            return;
        }
        if shape.sabotage != Some(Sabotage::KeepLeftovers) {
            machine.drivers.iter_mut().for_each(crate::drivers::Driver::clear);
        }
        let life = machine.next_life();
        let timing = machine.timing;
        let forget = shape.sabotage == Some(Sabotage::ForgetEra);
        let agreement = agreement::Settings {
            me: life,
            charter: machine.charter.clone().unwrap_or_else(|| Charter::of_file(shape.file())),
            interval: timing.interval,
            misses: timing.misses,
            longest: shape.deadline(),
            rate_ppm: shape.rate_ppm,
            era_promised: if forget { 0 } else { machine.era },
            level: 1,
            limits: shape.limits,
            #[cfg(feature = "mutations")]
            mutations: shape.mutations.clone(),
        };
        let services = shape.services.clone();
        let settings = node::Settings { agreement, services, names: shape.names() };
        let now = machine.clock.local(self.now);
        let control = Control::new(settings, timing.interval / 4, PATIENCE, now);
        let gate = Rc::new(Gate::new(shape.services.len()));
        let board = Rc::new(Board::default());
        machine.shared = Some(Shared { life, board, gate, era: 0, stint: 0 });
        machine.daemons = Some(Daemons {
            life,
            nonce,
            fast: None,
            control: Some(Process::new(control)),
            ring: self.now,
            seen: Seen::default(),
        });
        self.checkers.promise.begins(life);
        self.tell(|| format!("{life:?} begins"));
        self.wake_control_soon(life);
        let delay = Duration(self.dice.below(2_000_000));
        self.queue.push(self.now.after(delay), What::FastBegins(life));
    }

    pub(crate) fn start_fast(&mut self, life: Life) {
        let longer = self.shape.sabotage == Some(Sabotage::LongLease);
        let Some(machine) = self.machines.get_mut(&life.node) else { return };
        let now = machine.clock.local(self.now);
        let Some(daemons) = machine.daemons.as_mut().filter(|d| d.life == life) else { return };
        if daemons.control.is_none() {
            return;
        }
        let settings = fast_settings(&self.shape, life, machine.timing);
        let mut fast = Fast::new(settings, self.shape.nodes, now);
        if self.shape.sabotage == Some(Sabotage::NoStallRule) {
            fast.forgive_nothing();
        }
        if longer {
            fast.understate();
        }
        daemons.fast = Some(Process::new(fast));
        self.wake_fast(life, self.now);
    }

    /// A node gets other settings while it runs: its agreement follows with its next life.
    pub(crate) fn set_timing(&mut self, node: NodeId, timing: Timing) {
        self.tell(|| format!("{node:?} gets {timing:?}"));
        let Some(machine) = self.machines.get_mut(&node) else { return };
        machine.timing = timing;
        let Some(life) = machine.life() else { return };
        let settings = fast_settings(&self.shape, life, timing);
        // Its own turns first: fast's patience with it becomes shorter at once.
        if let Some(control) = self.control_mut(life) {
            control.actor.set_turn(timing.interval / 4);
            self.wake_control_soon(life);
        }
        if let Some(fast) = self.fast_mut(life) {
            fast.actor.change(settings);
            self.wake_fast_soon(life);
        }
    }

    /// Another configuration is agreed: fast follows, unless only what this node has for itself differs from it.
    pub(crate) fn follow(&mut self, life: Life, agreed: &Configuration) {
        let interval = Duration::from_micros(u64::from(agreed.interval_us));
        let timing = Timing { interval, misses: agreed.misses };
        if !self.shape.timings().any(|known| known == timing) {
            return;
        }
        let base = self.shape.timing();
        let Some(machine) = self.machines.get_mut(&life.node) else { return };
        if machine.agreed.replace(timing).unwrap_or(base) != timing {
            self.set_timing(life.node, timing);
        }
    }

    /// Fast has stopped: a control that hangs does not outlive it.
    pub(crate) fn fast_stops(&mut self, life: Life) {
        if self.checkers.needless.is_held_up(self.now, life.node) {
            self.checkers.needless.ends(self.now, life);
        }
        let hangs = self.control_mut(life).is_some();
        if let Some(machine) = self.machines.get_mut(&life.node).filter(|_| hangs) {
            machine.drivers.iter_mut().for_each(crate::drivers::Driver::abandon);
            self.control_ends(life);
        }
        self.fast_ends(life);
    }
    /// Fast is gone: control notices.
    pub(crate) fn fast_ends(&mut self, life: Life) {
        let Some(machine) = self.machines.get_mut(&life.node) else { return };
        let Some(daemons) = machine.daemons.as_mut().filter(|d| d.life == life) else { return };
        daemons.fast = None;
        if daemons.control.is_some() {
            self.notice_later(life, Stream::Fast);
        } else {
            machine.daemons = None;
            self.again(life.node);
        }
        self.tell(|| format!("netguard-fast of {life:?} is gone"));
    }
    /// Control has stopped in good order: nothing of any service is left.
    pub(crate) fn control_leaves(&mut self, life: Life) {
        if let Some(machine) = self.machines.get_mut(&life.node)
            && let Some(shared) = &machine.shared
        {
            (0..machine.drivers.len()).for_each(|service| shared.board.set_open(service, 0));
            shared.board.set_owner(false);
            shared.gate.close_slots();
            machine.drivers.iter_mut().for_each(crate::drivers::Driver::clear);
        }
        self.tell(|| format!("netguard-control of {life:?} has stopped"));
        self.control_ends(life);
    }
    fn control_ends(&mut self, life: Life) {
        let Some(machine) = self.machines.get_mut(&life.node) else { return };
        let Some(daemons) = machine.daemons.as_mut().filter(|d| d.life == life) else { return };
        daemons.control = None;
        if daemons.fast.is_some() {
            self.notice_later(life, Stream::Control);
        } else {
            machine.daemons = None;
            self.again(life.node);
        }
    }

    fn notice_later(&mut self, life: Life, gone: Stream) {
        let delay = Duration(self.dice.below(NOTICE_MAX));
        self.queue.push(self.now.after(delay), What::Notice(life, gone));
    }
    pub(crate) fn notice(&mut self, life: Life, gone: Stream) {
        match gone {
            Stream::Fast => {
                if let Some(control) = self.control_mut(life) {
                    control.actor.orphan();
                    self.wake_control_soon(life);
                }
            }
            Stream::Control => self.notice_control_gone(life),
        }
    }
    fn notice_control_gone(&mut self, life: Life) {
        let Some(machine) = self.machines.get_mut(&life.node) else { return };
        let now = machine.clock.local(self.now);
        let Some(board) = machine.shared.as_ref().map(|s| Rc::clone(&s.board)) else { return };
        let at = self.now;
        let Some(fast) = self.fast_mut(life) else { return };
        if fast.paused_until > at {
            let until = fast.paused_until;
            self.queue.push(until, What::Notice(life, Stream::Control));
            return;
        }
        fast.actor.handle_control_lost(now, &board);
        self.wake_fast(life, self.now);
    }

    /// Whoever watches the daemons starts them again.
    fn again(&mut self, node: NodeId) {
        let delay = Duration(1_000_000 + self.dice.below(self.shape.again_max.0));
        let Some(machine) = self.machines.get_mut(&node) else { return };
        if machine.wanted {
            machine.boot += 1;
            let boot = machine.boot;
            self.queue.push(self.now.after(delay), What::Start(node, boot));
        }
    }
}
