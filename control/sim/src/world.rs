//! The world: machines, network, time. One thing happens after the other, in an order that the seed
//! decides.

use crate::checkers::{Checkers, Violation};
use crate::clock::{Clock, Real};
use crate::costs::Costs;
use crate::drivers::Manners;
use crate::faults::Fault;
use crate::machine::Machine;
use crate::network::Network;
use crate::observer::Observer;
use crate::packet::Packet;
use crate::queue::Queue;
use crate::shape::Shape;
use crate::streams::Streams;
use base::{Duration, Prng};
use heartbeat::Event;
use node::{Command, CommandDone, CommandRefused};
use std::collections::BTreeMap;
use wire::{Charter, Configuration, Kind, Life, NodeId, NodeSet, ServiceId, Stream};

/// Something to come.
#[derive(Debug)]
pub(crate) enum What {
    /// netguard-fast of a life may run.
    Fast(Life),
    /// netguard-control of a life may run.
    Control(Life),
    /// A frame that was sent at that time reaches a socket.
    Arrive(NodeId, Stream, Packet, Real),
    /// A message that fits no datagram is there, unless its connection (the number) has ended.
    Delivered(Life, Life, Packet, u64),
    /// An event reaches control over the ring.
    Ring(Life, Event),
    /// The era is on the disk.
    Stored(Life, u32),
    /// The charter is on the disk.
    StoredCharter(Life, Charter),
    /// A driver is done with its job.
    Driven(Life, ServiceId),
    /// Its outcome reaches control.
    Outcome(Life, driver::Outcome),
    /// One process notices that the other is gone.
    Notice(Life, Stream),
    /// The daemons start, unless the machine was switched on or off in between.
    Start(NodeId, u64),
    /// netguard-fast begins.
    FastBegins(Life),
    /// A fault of the plan.
    Fault(Fault),
    /// A wall comes down.
    Tear(u64),
    /// The observer asks.
    Ask,
}

/// Frames under way when the faults end arrive within this time or not at all.
const STRAGGLERS: Duration = Duration::from_millis(2);

/// A cluster and everything around it.
pub struct World {
    /// What it is.
    pub shape: Shape,
    /// Real time.
    pub now: Real,
    /// The seed's choices.
    pub dice: Prng,
    /// The links.
    pub network: Network,
    /// The streams beside the datagrams.
    pub streams: Streams,
    /// The machines, by node.
    pub machines: BTreeMap<NodeId, Machine>,
    /// The client outside.
    pub observer: Observer,
    /// What is checked at each step.
    pub checkers: Checkers,
    /// How the drivers behave now.
    pub manners: Manners,
    /// Turns are interrupted now.
    pub interrupts: bool,
    /// Answers to commands, by tag.
    pub replies: BTreeMap<u64, Result<CommandDone, CommandRefused>>,
    /// Where a line for each thing that happens goes.
    pub told: Option<fn(&str)>,
    /// The longest that it took to be well again, in tenths of a deadline.
    pub recovered: u64,
    /// An operator had to restart the nodes.
    pub helped: bool,
    /// Machines that are off for good, until somebody thinks otherwise: nothing starts them.
    pub locked: NodeSet,
    /// Messages of the agreement are told too.
    pub messages: bool,
    /// What all that is sent amounts to, and what the turns cost; counted if somebody wants to know.
    pub costs: Option<Box<Costs>>,
    /// When the faults ended: none strikes from then on, whatever was planned.
    pub healed_at: Real,
    pub(crate) queue: Queue<What>,
    pub(crate) broken: Option<Violation>,
    pub(crate) tags: u64,
}

impl World {
    /// Machines that are all off.
    #[must_use]
    pub fn new(shape: Shape, seed: u64) -> Self {
        let mut dice = Prng::new(seed);
        let services = shape.services.len();
        let bound = u64::from(shape.rate_ppm);
        let machines = shape.nodes.iter().map(|node| {
            let clock = draw_clock(&mut dice, bound);
            (node, Machine::new(node, clock, shape.timing(), services))
        });
        let machines = machines.collect();
        let mut checkers = Checkers::default();
        checkers.needless.configure(&shape);
        let mut queue = Queue::new();
        queue.push(Real(0).after(shape.observe), What::Ask);
        Self {
            network: Network::new(shape.links, shape.quality),
            streams: Streams::default(),
            manners: shape.manners,
            interrupts: shape.interrupts > 0,
            shape,
            now: Real(0),
            dice,
            machines,
            observer: Observer::default(),
            checkers,
            replies: BTreeMap::new(),
            told: None,
            recovered: 0,
            helped: false,
            locked: NodeSet::EMPTY,
            messages: false,
            costs: None,
            healed_at: Real(0),
            queue,
            broken: None,
            tags: 0,
        }
    }

    /// Runs until `limit`; the error is what was found.
    pub fn run_until(&mut self, limit: Real) -> Result<(), Violation> {
        while let Some((at, what)) = self.queue.pop_until(limit) {
            self.now = at;
            self.happen(what);
            if let Some(broken) = self.broken.take() {
                return Err(broken);
            }
        }
        self.now = limit;
        Ok(())
    }
    /// Runs for a while.
    pub fn run(&mut self, span: Duration) -> Result<(), Violation> {
        self.run_until(self.now.after(span))
    }
    /// Runs until something holds, looking every `step`; `None` if it does not within `span`.
    pub fn run_while(
        &mut self,
        span: Duration,
        step: Duration,
        holds: impl Fn(&Self) -> bool,
    ) -> Result<Option<Duration>, Violation> {
        let began = self.now;
        let limit = began.after(span);
        while !holds(self) {
            if self.now >= limit {
                return Ok(None);
            }
            self.run_until(self.now.after(step).min(limit))?;
        }
        Ok(Some(self.now.since(began)))
    }
    /// How many things have been planned: tells two runs apart that are not the same.
    #[must_use]
    pub const fn planned(&self) -> u64 {
        self.queue.planned()
    }

    /// Plans a fault.
    pub fn plan(&mut self, at: Real, fault: Fault) {
        self.queue.push(at, What::Fault(fault));
    }
    /// Gives a command to the control process of a node; the tag under which the answer comes, if
    /// one runs there.
    pub fn command(&mut self, node: NodeId, command: Command) -> Option<u64> {
        self.tags += 1;
        let tag = self.tags;
        if let Command::Move { service, to } = command {
            self.checkers.needless.ordered(service, to);
        }
        let life = self.machines.get(&node)?.life()?;
        let control = self.control_mut(life)?;
        control.actor.command(tag, command);
        self.tell(|| format!("{life:?} is ordered: {command:?}"));
        self.wake_control(life, self.now);
        Some(tag)
    }

    /// The operator wants another configuration, asking that node.
    pub fn reform(&mut self, node: NodeId, wanted: Configuration) -> Option<u64> {
        self.tags += 1;
        let tag = self.tags;
        let life = self.machines.get(&node)?.life()?;
        self.tell(|| {
            let (nodes, voters, witnesses) = (wanted.nodes, wanted.voters, wanted.witnesses);
            format!("{life:?} is asked for {nodes:?}, voters {voters:?}, witnesses {witnesses:?}")
        });
        self.control_mut(life)?.actor.reform(tag, wanted);
        self.wake_control(life, self.now);
        Some(tag)
    }
    /// The operator says that voters are off for good, asking that node.
    pub fn override_start(&mut self, node: NodeId, absent: NodeSet) -> Option<u64> {
        self.tags += 1;
        let tag = self.tags;
        let life = self.machines.get(&node)?.life()?;
        self.tell(|| format!("{life:?} is told that {absent:?} are off for good"));
        self.control_mut(life)?.actor.override_start(tag, absent);
        self.wake_control(life, self.now);
        Some(tag)
    }

    pub(crate) fn tell(&self, line: impl FnOnce() -> String) {
        if let Some(told) = self.told {
            told(&format!("{:>12} {}", format!("{:?}", self.now), line()));
        }
    }
    /// Keeps the first violation.
    pub(crate) fn keep<T>(&mut self, found: Result<T, Violation>) -> Option<T> {
        match found {
            Ok(value) => Some(value),
            Err(violation) => {
                self.broken.get_or_insert(violation);
                None
            }
        }
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Fast(life) => self.fast_turn(life),
            What::Control(life) => self.control_turn(life),
            What::Arrive(node, stream, packet, sent) => {
                // Frames that were held up are a fault too, and end with the others.
                let late = sent < self.healed_at && self.now > self.healed_at.after(STRAGGLERS);
                if !late {
                    self.arrive(node, stream, packet);
                }
            }
            What::Delivered(from, to, packet, number) => self.deliver(from, to, packet, number),
            What::Ring(life, event) => {
                if let Some(control) = self.control_mut(life) {
                    control.actor.tell(event);
                    self.wake_control_soon(life);
                }
            }
            What::Stored(life, era) => self.stored(life, era),
            What::StoredCharter(life, charter) => self.stored_charter(life, charter),
            What::Driven(life, service) => self.driven(life, service),
            What::Outcome(life, outcome) => {
                if let Some(control) = self.control_mut(life) {
                    control.actor.outcome(outcome);
                    self.wake_control_soon(life);
                }
            }
            What::Notice(life, gone) => self.notice(life, gone),
            What::Start(node, boot) => self.start_daemons(node, boot),
            What::FastBegins(life) => self.start_fast(life),
            What::Fault(fault) => {
                if self.healed_at == Real(0) {
                    self.strike(fault);
                }
            }
            What::Tear(number) => self.network.tear(number),
            What::Ask => self.ask(),
        }
    }

    /// A frame reaches the socket of whichever life runs there.
    pub(crate) fn arrive(&mut self, node: NodeId, stream: Stream, packet: Packet) {
        let header = packet.header;
        if header.kind == Kind::Beat && !packet.is_damaged() {
            self.checkers.needless.arrives(self.now, header.from, node, header.seq);
        }
        let Some(machine) = self.machines.get(&node) else { return };
        let (Some(life), now) = (machine.life(), machine.clock.local(self.now)) else { return };
        match stream {
            Stream::Fast => {
                if let Some(fast) = self.fast_mut(life) {
                    fast.actor.arrive(now, packet);
                    self.wake_fast_soon(life);
                }
            }
            Stream::Control => {
                if let Some(control) = self.control_mut(life) {
                    control.actor.arrive(packet);
                    self.wake_control_soon(life);
                }
            }
        }
    }
}

/// A clock with any offset and a rate within the bound, often at the bound.
pub(crate) fn draw_clock(dice: &mut Prng, bound: u64) -> Clock {
    let rate = match dice.below(3) {
        0 => bound as i64,
        1 => -(bound as i64),
        _ => dice.below(2 * bound + 1) as i64 - bound as i64,
    };
    Clock::new(1_000_000_000 + dice.below(1_000_000_000_000), rate)
}
