//! Turns of the two processes of a node: when they run, what they do to the world, and what the
//! checkers look at after each of them.

use crate::checkers::Violation;
use crate::checkers::{lease, owner};
use crate::clock::Real;
use crate::control::{Control, ControlOut};
use crate::drivers;
use crate::fast::{Fast, FastOut};
use crate::machine::{Machine, Process};
use crate::packet::{BelievedDamage, Body, Packet};
use crate::world::{What, World};
use crate::{control, fast};
use agreement::{Destination, Status};
use base::{Duration, Prng};
use driver::Outcome;
use heartbeat::Board;
use std::rc::Rc;
use wire::{EntryKind, Generation, Header, Life, LinkId, NodeId, Op, Seq, ServiceId};

/// Damaged bytes passed their check.
fn believed() -> Violation {
    Violation { rule: "S9 authentic", text: "a frame with a turned bit was believed".into() }
}

/// A process that never sleeps.
fn spins(life: Life) -> Violation {
    Violation { rule: "sleeps", text: format!("a process of {life:?} spins") }
}

/// Throws the dice for an interruption.
fn interruption(dice: &mut Prng, per_thousand: u64) -> impl FnMut() -> bool + '_ {
    move || per_thousand > 0 && dice.chance(per_thousand, 1_000)
}

impl World {
    pub(crate) fn fast_mut(&mut self, life: Life) -> Option<&mut Process<Fast>> {
        let daemons = self.machines.get_mut(&life.node)?.daemons.as_mut()?;
        daemons.fast.as_mut().filter(|_| daemons.life == life)
    }
    pub(crate) fn control_mut(&mut self, life: Life) -> Option<&mut Process<Control>> {
        let daemons = self.machines.get_mut(&life.node)?.daemons.as_mut()?;
        daemons.control.as_mut().filter(|_| daemons.life == life)
    }
    fn board(&self, life: Life) -> Option<Rc<Board>> {
        let shared = self.machines.get(&life.node)?.shared.as_ref()?;
        (shared.life == life).then(|| Rc::clone(&shared.board))
    }

    /// Plans a turn of fast, unless an earlier one is planned.
    pub(crate) fn wake_fast(&mut self, life: Life, at: Real) {
        let Some(process) = self.fast_mut(life) else { return };
        let at = at.max(process.paused_until);
        if at < process.wake_at {
            process.wake_at = at;
            self.queue.push(at, What::Fast(life));
        }
    }
    /// Plans a turn of control, unless an earlier one is planned.
    pub(crate) fn wake_control(&mut self, life: Life, at: Real) {
        let Some(process) = self.control_mut(life) else { return };
        let at = at.max(process.paused_until);
        if at < process.wake_at {
            process.wake_at = at;
            self.queue.push(at, What::Control(life));
        }
    }
    pub(crate) fn wake_fast_soon(&mut self, life: Life) {
        let delay = Duration(1_000 + self.dice.below(self.shape.wake_max.0));
        self.wake_fast(life, self.now.after(delay));
    }
    pub(crate) fn wake_control_soon(&mut self, life: Life) {
        let delay = Duration(2_000 + self.dice.below(self.shape.wake_max.0 * 2));
        self.wake_control(life, self.now.after(delay));
    }
    fn chance_of_interrupts(&self) -> u64 {
        if self.interrupts { self.shape.interrupts } else { 0 }
    }
    /// Where an interrupted turn goes on.
    fn after_interruption(&mut self) -> Real {
        self.now.after(Duration(1_000 + self.dice.below(self.shape.interrupt_max.0)))
    }

    pub(crate) fn fast_turn(&mut self, life: Life) {
        let (at, per_thousand) = (self.now, self.chance_of_interrupts());
        let Some(board) = self.board(life) else { return };
        let Some(machine) = self.machines.get_mut(&life.node) else { return };
        let clock = machine.clock;
        let Some(daemons) = machine.daemons.as_mut().filter(|d| d.life == life) else { return };
        let Some(process) = daemons.fast.as_mut() else { return };
        if process.wake_at != at {
            return;
        }
        process.wake_at = Real::MAX;
        if process.paused_until > at {
            let until = process.paused_until;
            return self.wake_fast(life, until);
        }
        let mut out = Vec::new();
        let interrupt = interruption(&mut self.dice, per_thousand);
        let turn = process.actor.turn(clock.local(at), &board, &mut out, interrupt);
        let next = process.next_turn(at, clock.real(process.actor.deadline()));
        for out in out {
            self.fast_out(life, out);
        }
        self.look(life.node);
        match turn {
            Ok(fast::Turn::Done) => match next {
                Some(next) => self.wake_fast(life, next),
                None => self.broken = Some(spins(life)),
            },
            Ok(fast::Turn::Interrupted) => {
                let on = self.after_interruption();
                self.wake_fast(life, on);
            }
            Ok(fast::Turn::Stopped) => self.fast_stops(life),
            Err(BelievedDamage) => self.broken = Some(believed()),
        }
    }

    fn fast_out(&mut self, life: Life, out: FastOut) {
        let everybody = self.others(life.node);
        match out {
            FastOut::Beat(seq, beat) => {
                self.send(life, seq, &Body::Beat(beat), &everybody, None);
            }
            FastOut::Answer(seq, to, link, echo) => {
                self.send(life, seq, &Body::Echo(echo), &[to], Some(link));
            }
            FastOut::Obituary(seq, obituary) => {
                self.tell(|| format!("{life:?} says its obituary of {:?}", obituary.stint));
                self.send(life, seq, &Body::Obituary(obituary), &everybody, None);
            }
            FastOut::Tell(event) => {
                self.tell(|| format!("{life:?} sees {:?}", event.kind));
                let delay = Duration(1_000 + self.dice.below(self.shape.wake_max.0));
                let soon = self.now.after(delay);
                let machine = self.machines.get_mut(&life.node);
                let Some(daemons) = machine.and_then(|m| m.daemons.as_mut()) else { return };
                daemons.ring = daemons.ring.max(soon);
                self.queue.push(daemons.ring, What::Ring(life, event));
            }
            FastOut::Stop => {}
        }
    }

    pub(crate) fn control_turn(&mut self, life: Life) {
        let (at, per_thousand) = (self.now, self.chance_of_interrupts());
        let Some(board) = self.board(life) else { return };
        let Some(machine) = self.machines.get_mut(&life.node) else { return };
        let clock = machine.clock;
        let Some(daemons) = machine.daemons.as_mut().filter(|d| d.life == life) else { return };
        let Some(process) = daemons.control.as_mut() else { return };
        if process.wake_at != at {
            return;
        }
        process.wake_at = Real::MAX;
        if process.paused_until > at {
            let until = process.paused_until;
            return self.wake_control(life, until);
        }
        let mut out = Vec::new();
        let interrupt = interruption(&mut self.dice, per_thousand);
        let turn = process.actor.turn(clock.local(at), &board, &mut out, interrupt);
        let next = process.next_turn(at, clock.real(process.actor.deadline()));
        self.look_at_log(life);
        for out in out {
            self.control_out(life, out);
        }
        self.look(life.node);
        match turn {
            Ok(control::Turn::Done) => match next {
                Some(next) => self.wake_control(life, next),
                None => self.broken = Some(spins(life)),
            },
            Ok(control::Turn::Interrupted) => {
                let on = self.after_interruption();
                self.wake_control(life, on);
            }
            Ok(control::Turn::Left) => self.control_leaves(life),
            Err(BelievedDamage) => self.broken = Some(believed()),
        }
    }

    fn control_out(&mut self, life: Life, out: ControlOut) {
        match out {
            ControlOut::Send(seq, to, message) => {
                if self.messages {
                    self.tell(|| format!("{life:?} to {to:?}: {message:?}"));
                }
                let found = self.checkers.promise.sent(life, &message);
                self.keep(found);
                let to = match to {
                    Destination::All => self.others(life.node),
                    Destination::Node(node) => vec![node],
                };
                self.send(life, seq, &Body::Agreement(message), &to, None);
            }
            ControlOut::Store(era) => {
                let delay = Duration(20_000 + self.dice.below(3_000_000));
                self.queue.push(self.now.after(delay), What::Stored(life, era));
            }
            ControlOut::Run(job) => {
                self.tell(|| format!("{life:?} runs {job:?}"));
                let service = drivers::service(&job);
                if let Some(driver) = self.driver_mut(life.node, service) {
                    driver.take(job);
                }
                self.drive(life, service);
            }
            ControlOut::Reply(tag, result) => {
                self.tell(|| format!("{life:?} answers {tag}: {result:?}"));
                self.replies.insert(tag, result);
            }
            ControlOut::View(view) => {
                self.tell(|| {
                    let members =
                        view.members.values().map(|m| format!("{:?}@{}", m.life, m.stint.0));
                    let members: Vec<_> = members.collect();
                    format!("{life:?} view {}/{}: {}", view.era, view.number, members.join(" "))
                });
                let found = self.checkers.views.told(life, &view);
                self.keep(found);
            }
            ControlOut::Service(service) => self.tell(|| {
                let control = self.machines.get(&life.node).and_then(Machine::control);
                let state = control.and_then(|c| c.node.planner().service(service));
                let state = state.map(|(_, s)| (s.phase, s.generation, s.owner.map(|o| o.life)));
                format!("{life:?} {service:?}: {state:?}")
            }),
            ControlOut::End(above) => {
                self.tell(|| format!("{life:?} has to end"));
                if let Some(machine) = self.machines.get_mut(&life.node) {
                    machine.incarnation = machine.incarnation.max(above.0);
                }
            }
        }
    }

    /// Everybody but `node`.
    fn others(&self, node: NodeId) -> Vec<NodeId> {
        self.shape.nodes.iter().filter(|n| *n != node).collect()
    }

    fn send(&mut self, from: Life, seq: Seq, body: &Body, to: &[NodeId], only: Option<LinkId>) {
        let Some(daemons) = self.machines.get(&from.node).and_then(|m| m.daemons.as_ref()) else {
            return;
        };
        let nonce = daemons.nonce;
        let (kind, stream) = (body.kind(), body.kind().stream());
        for link in (0..self.network.links).filter(|l| only.is_none_or(|o| o.0 == *l)) {
            let header = Header { kind, from, nonce, link: LinkId(link), seq };
            let packet = Packet::new(header, body, self.shape.sealed);
            for node in to.iter().copied().filter(|n| *n != from.node) {
                let copies = self.network.carry(&mut self.dice, (link, stream), from.node, node);
                for copy in copies.into_iter().flatten() {
                    let packet = match copy.damage {
                        Some(random) => packet.damaged(random),
                        None => packet.clone(),
                    };
                    let at = self.now.after(copy.delay);
                    self.queue.push(at, What::Arrive(node, stream, packet, self.now));
                }
            }
        }
    }

    pub(crate) fn stored(&mut self, life: Life, era: u32) {
        if let Some(machine) = self.machines.get_mut(&life.node)
            && machine.life() == Some(life)
        {
            machine.era = machine.era.max(era);
            if let Some(control) = self.control_mut(life) {
                control.actor.stored(era);
                self.wake_control_soon(life);
            }
        }
    }

    fn driver_mut(&mut self, node: NodeId, service: ServiceId) -> Option<&mut drivers::Driver> {
        self.machines.get_mut(&node)?.drivers.get_mut(usize::from(service.0))
    }

    /// Has the driver of a service begin its next job.
    fn drive(&mut self, life: Life, service: ServiceId) {
        let manners = self.manners;
        let Some(machine) = self.machines.get_mut(&life.node) else { return };
        let Some(driver) = machine.drivers.get_mut(usize::from(service.0)) else { return };
        if let Some(doing) = driver.begin(&mut self.dice, &manners) {
            self.queue.push(self.now.after(doing.takes), What::Driven(life, service));
        }
        self.look_at_fenced(service);
    }

    pub(crate) fn driven(&mut self, life: Life, service: ServiceId) {
        if self.control_mut(life).is_none() {
            return;
        }
        let Some(machine) = self.machines.get_mut(&life.node) else { return };
        let clock = machine.clock;
        let Some(driver) = machine.drivers.get_mut(usize::from(service.0)) else { return };
        let Some((doing, result)) = driver.finish() else { return };
        let generation = drivers::generation(&doing.job);
        let (ended, told) = (clock.local(self.now), self.now.after(doing.tells));
        let began = ended - doing.takes;
        self.tell(|| format!("{life:?} {service:?} {generation:?}: {result:?}"));
        let outcome = Outcome { service, generation, result, began, ended };
        self.queue.push(told, What::Outcome(life, outcome));
        if let Some(dies) = doing.dies {
            let result = driver::Done::Died { reason: "died on purpose".into() };
            let outcome = Outcome { service, generation, result, began, ended };
            self.queue.push(told.after(dies), What::Outcome(life, outcome));
        }
        self.drive(life, service);
    }

    /// After a turn of control: what is committed now, and whether it became primary.
    fn look_at_log(&mut self, life: Life) {
        let Some(machine) = self.machines.get_mut(&life.node) else { return };
        let Some(daemons) = machine.daemons.as_mut().filter(|d| d.life == life) else { return };
        let (Some(process), seen) = (&daemons.control, &mut daemons.seen) else { return };
        let (node, checkers) = (&process.actor.node, &mut self.checkers);
        let agreement = node.agreement();
        let (log, term) = (agreement.log(), agreement.term());
        let begins = log.get(Op(1)).map(|entry| &entry.kind);
        let Some(EntryKind::Cold { era, .. }) = begins.cloned() else { return };
        if era != seen.era {
            (seen.era, seen.commit) = (era, 0);
        }
        let mut found = Ok(());
        let mut news = Vec::new();
        while seen.commit < agreement.commit().0 && found.is_ok() {
            seen.commit += 1;
            let op = Op(seen.commit);
            let Some(entry) = log.get(op) else { break };
            let promises = &checkers.promise;
            found = checkers.log.committed(life, era, op, entry, term, promises).map(|first| {
                if first {
                    news.push((op, entry.kind.clone()));
                }
            });
            if seen.commit == agreement.commit().0 && found.is_ok() {
                let states: Vec<_> = node.planner().services().map(|(_, state)| state).collect();
                found = checkers.views.planned(life, era, op, &states);
            }
        }
        if agreement.status() == Status::Primary
            && seen.primary_in != Some((term.era, term.counter))
            && found.is_ok()
        {
            seen.primary_in = Some((term.era, term.counter));
            found = checkers.log.became_primary(life, term, |op| log.get(op));
            news.push((Op::ZERO, EntryKind::Noop));
        }
        self.keep(found);
        for (op, kind) in news {
            match kind {
                EntryKind::Noop if op == Op::ZERO => {
                    self.tell(|| format!("{life:?} is primary of {term:?}"));
                }
                kind => {
                    self.tell(|| format!("{life:?} commits first: {op:?} {kind:?}"));
                    if !matches!(kind, EntryKind::Request { .. } | EntryKind::Noop) {
                        self.look_at_all();
                    }
                }
            }
        }
    }

    fn look_at_all(&mut self) {
        let nodes: Vec<_> = self.machines.keys().copied().collect();
        for node in nodes {
            self.look(node);
        }
    }

    /// After a turn: the lease of this node, and what is open anywhere.
    fn look(&mut self, node: NodeId) {
        let at = self.now;
        let Some(machine) = self.machines.get_mut(&node) else { return };
        let era = machine.daemons.as_ref().map_or(0, |d| d.seen.era);
        if let Some(shared) = machine.shared.as_mut() {
            let stint = shared.board.stint();
            if stint.0 != shared.stint {
                (shared.stint, shared.era) = (stint.0, era);
            }
        }
        let Some((shared, _)) = machine.lease(at) else { return };
        let (life, era, stint) = (shared.life, shared.era, shared.board.stint());
        let found = lease::check(lease::Held { life, era, stint }, &self.checkers.log);
        self.keep(found);
        let mut open = Vec::new();
        for machine in self.machines.values() {
            let Some((shared, _)) = machine.lease(at) else { continue };
            for service in 0..self.shape.services.len() {
                let generation = Generation(shared.board.open(service));
                if generation.0 != 0 {
                    let (service, life) = (ServiceId(service as u16), shared.life);
                    open.push(owner::Open { service, life, generation });
                }
            }
        }
        let found = self.checkers.owner.check(&open);
        self.keep(found);
    }

    /// On which machines something of a fenced service is.
    fn look_at_fenced(&mut self, service: ServiceId) {
        let index = usize::from(service.0);
        let fenced = self.shape.services.get(index).is_some_and(|s| s.unbound().is_some());
        if !fenced {
            return;
        }
        let presence = |m: &Machine| Some((m.node, m.drivers.get(index)?.presence()?));
        let present: Vec<_> = self.machines.values().filter_map(presence).collect();
        let found = owner::check_fenced(service, &present);
        self.keep(found);
    }
}
