//! Turns of the two processes of a node: when they run, and what they do to the world.

use crate::checkers::Violation;
use crate::clock::Real;
use crate::control::{Control, ControlOut};
use crate::costs::Stopwatch;
use crate::drivers;
use crate::fast::{Fast, FastOut};
use crate::gate::Gate;
use crate::machine::{Machine, Process};
use crate::packet::{BelievedDamage, Body, Packet};
use crate::world::{What, World};
use crate::{control, fast};
use agreement::Destination;
use base::{Duration, Prng};
use driver::{Done, Outcome};
use heartbeat::Board;
use std::rc::Rc;
use wire::{
    Charter, EntryKind, Header, Kind, Life, LinkId, Message, NodeId, Obituary, Op, Seq, ServiceId,
    Stream,
};

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
    fn words(&self, life: Life) -> Option<(Rc<Board>, Rc<Gate>)> {
        let shared = self.machines.get(&life.node)?.shared.as_ref()?;
        let words = || (Rc::clone(&shared.board), Rc::clone(&shared.gate));
        (shared.life == life).then(words)
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
        let Some((board, gate)) = self.words(life) else { return };
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
        let watch = self.costs.as_ref().map(|_| Stopwatch::start());
        let turn = process.actor.turn(clock.local(at), (&board, &gate), &mut out, interrupt);
        let next = process.next_turn(at, clock.real(process.actor.deadline()));
        if let (Some(costs), Some(watch)) = (&mut self.costs, watch) {
            costs.turned(life, Stream::Fast, watch);
        }
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
                self.checkers.needless.stalls(at, life.node, Stream::Fast, on);
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
                self.send(life, (Stream::Fast, seq), &Body::Beat(beat), &everybody, None);
            }
            FastOut::Answer(seq, to, link, echo) => {
                self.send(life, (Stream::Fast, seq), &Body::Echo(echo), &[to], Some(link));
            }
            FastOut::Obituary(seq, obituary) => {
                self.tell(|| format!("{life:?} says its obituary of {:?}", obituary.stint));
                let body = Body::Obituary(obituary);
                self.send(life, (Stream::Fast, seq), &body, &everybody, None);
            }
            FastOut::Tell(event) => {
                self.tell(|| format!("{life:?} sees {:?}", event.kind));
                let delay = Duration(1_000 + self.dice.below(self.shape.ring_max.0));
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
        let Some((board, gate)) = self.words(life) else { return };
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
        let watch = self.costs.as_ref().map(|_| Stopwatch::start());
        let turn = process.actor.turn(clock.local(at), (&board, &gate), &mut out, interrupt);
        let next = process.next_turn(at, clock.real(process.actor.deadline()));
        if let (Some(costs), Some(watch)) = (&mut self.costs, watch) {
            costs.turned(life, Stream::Control, watch);
        }
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
                self.checkers.needless.stalls(at, life.node, Stream::Control, on);
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
                self.look_at_charter(life, &message);
                self.note_proposals(life, &message);
                let to = match to {
                    Destination::All => self.others(life.node),
                    Destination::Node(node) => vec![node],
                };
                if message.is_large() {
                    return self.send_by_stream(life, seq, &message, &to);
                }
                let body = Body::Agreement(message);
                self.send(life, (Stream::Control, seq), &body, &to, None);
            }
            ControlOut::Obituary(seq, stint) => {
                self.tell(|| {
                    format!("{life:?} says that its stint {stint:?} is over: fast is gone")
                });
                let (body, to) = (Body::Obituary(Obituary { stint }), self.others(life.node));
                self.send(life, (Stream::Control, seq), &body, &to, None);
            }
            ControlOut::Store(era) => {
                let delay = Duration(20_000 + self.dice.below(3_000_000));
                let at = self.disk_takes(life.node, delay);
                self.queue.push(at, What::Stored(life, era));
            }
            ControlOut::StoreCharter(charter) => {
                let delay = Duration(20_000 + self.dice.below(self.shape.store_max.0));
                let at = self.disk_takes(life.node, delay);
                self.queue.push(at, What::StoredCharter(life, charter));
            }
            ControlOut::Configured(agreed) => self.follow(life, &agreed),
            ControlOut::Dropped => {
                self.tell(|| format!("{life:?} is configured no more: it leaves"));
                self.checkers.needless.ends(self.now, life);
                if let Some(machine) = self.machines.get_mut(&life.node) {
                    machine.wanted = false;
                }
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
                self.checkers.needless.ends(self.now, life);
                if let Some(machine) = self.machines.get_mut(&life.node) {
                    machine.incarnation = machine.incarnation.max(above.0);
                }
            }
        }
    }

    /// Removals that a primary tells of for the first time.
    fn note_proposals(&mut self, by: Life, message: &Message) {
        let Message::Prepare { term, prev_op, entries, .. } = message else { return };
        for (op, entry) in (prev_op.0 + 1..).zip(entries).filter(|_| term.life == by) {
            let op = Op(op);
            if let EntryKind::Vote { node, incarnation, votes: true, .. } = entry.kind
                && entry.term == *term
            {
                let life = Life { node, incarnation };
                let found = self.checkers.promise.gets_vote(by, life, *term, op);
                self.keep(found);
            }
            if let EntryKind::Remove { node, incarnation, stint, cause } = entry.kind {
                let life = Life { node, incarnation };
                self.checkers.needless.proposed(self.now, life, stint, cause);
            }
        }
    }
    /// Everybody but `node`.
    fn others(&self, node: NodeId) -> Vec<NodeId> {
        self.shape.nodes.iter().filter(|n| *n != node).collect()
    }

    fn send(
        &mut self,
        from: Life,
        (stream, seq): (Stream, Seq),
        body: &Body,
        to: &[NodeId],
        only: Option<LinkId>,
    ) {
        let Some(daemons) = self.machines.get(&from.node).and_then(|m| m.daemons.as_ref()) else {
            return;
        };
        let nonce = daemons.nonce;
        let kind = body.kind();
        let links = (0..self.network.links).filter(|l| only.is_none_or(|o| o.0 == *l));
        let packet = |link| {
            let header = Header { kind, from, nonce, link: LinkId(link), seq };
            (link, Packet::new(header, body, self.shape.sealed))
        };
        let packets: Vec<(u8, Packet)> = links.map(packet).collect();
        if let Some(costs) = &mut self.costs {
            costs.sent(from, body, to.len(), packets.len());
        }
        for node in to.iter().copied().filter(|n| *n != from.node) {
            let mut soonest: Option<Duration> = None;
            for (link, packet) in &packets {
                let copies = self.network.carry(&mut self.dice, (*link, stream), from.node, node);
                for copy in copies.into_iter().flatten() {
                    let packet = match copy.damage {
                        Some(random) => packet.damaged(random),
                        None => packet.clone(),
                    };
                    if !packet.is_damaged() {
                        soonest = Some(soonest.map_or(copy.delay, |s| s.min(copy.delay)));
                    }
                    let at = self.now.after(copy.delay);
                    self.queue.push(at, What::Arrive(node, stream, packet, self.now));
                }
            }
            if matches!(kind, Kind::Beat | Kind::Agreement) {
                self.checkers.needless.travels(self.now, stream, from.node, node, soonest);
            }
        }
    }

    /// When the disk of a node will have stored something that takes so long: what it was given before comes first.
    fn disk_takes(&mut self, node: NodeId, delay: Duration) -> Real {
        let now = self.now;
        let Some(machine) = self.machines.get_mut(&node) else { return now };
        machine.disk = now.after(delay).max(machine.disk);
        machine.disk
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

    pub(crate) fn stored_charter(&mut self, life: Life, charter: Charter) {
        if let Some(machine) = self.machines.get_mut(&life.node)
            && machine.life() == Some(life)
        {
            let edition = charter.edition();
            machine.charter = Some(charter);
            if let Some(control) = self.control_mut(life) {
                control.actor.stored_charter(edition);
                self.wake_control_soon(life);
            }
        }
    }

    /// R-CONF-DURABLE: who acknowledges an entry that makes a charter, and does not know it committed, has stored it.
    fn look_at_charter(&mut self, life: Life, message: &Message) {
        let Message::PrepareOk { op: acknowledged, term } = message else { return };
        let Some(machine) = self.machines.get(&life.node) else { return };
        let Some(agreement) = machine.control().map(|c| c.node.agreement()) else { return };
        if agreement.term() != *term {
            // Its log is another one since.
            return;
        }
        let stored = machine.charter.as_ref().map(|c| (c.version, c.term));
        let mut roster = agreement.roster().clone();
        let lacking = agreement.log().after(agreement.commit()).find_map(|(op, entry)| {
            // A vote that makes something else of a pair is stored when it is known to be committed.
            let pair = roster.voters.len() == 2;
            let effective = roster.apply(op, entry);
            let made = match &entry.kind {
                EntryKind::Configure { configuration } => (configuration.version, entry.term),
                EntryKind::Vote { version, .. } if !pair => (*version, entry.term),
                _ => return None,
            };
            let lacks = stored.is_none_or(|stored| stored < made);
            (op <= *acknowledged && effective && lacks).then_some(made)
        });
        if let Some(made) = lacking {
            let text = format!("{life:?} acknowledges {made:?} and has stored {stored:?}");
            self.keep::<()>(Violation::found("R-CONF-DURABLE", text));
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
        if doing.dies.is_some() || matches!(result, Done::Failed { .. } | Done::Stuck { .. }) {
            self.checkers.needless.fails(service);
        }
        let (ended, told) = (clock.local(self.now), self.now.after(doing.tells));
        let began = ended - doing.takes;
        self.tell(|| format!("{life:?} {service:?} {generation:?}: {result:?}"));
        let outcome = Outcome { service, generation, result, began, ended };
        self.queue.push(told, What::Outcome(life, outcome));
        if let Some(dies) = doing.dies {
            let result = Done::Died { reason: "died on purpose".into() };
            let outcome = Outcome { service, generation, result, began, ended };
            self.queue.push(told.after(dies), What::Outcome(life, outcome));
        }
        self.drive(life, service);
    }
}
