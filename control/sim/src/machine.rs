//! A machine: what survives its daemons (durable numbers, clock, what drivers left), and the
//! daemons of one life.

use crate::clock::{Clock, Real};
use crate::control::Control;
use crate::drivers::Driver;
use crate::fast::Fast;
use crate::gate::Gate;
use crate::shape::Timing;
use base::{Duration, Instant};
use heartbeat::Board;
use std::rc::Rc;
use wire::{Charter, Generation, Incarnation, Life, NodeId, Nonce};

/// A process: its actor, when it will run, and until when it cannot.
#[derive(Debug)]
pub struct Process<T> {
    /// What it does.
    pub actor: T,
    /// When its next turn is planned.
    pub wake_at: Real,
    /// It does not run before.
    pub paused_until: Real,
    /// Turns in a row after which it wanted the next one at once.
    pub spins: u32,
}

/// So many turns in a row without a wait are no work but a spinning process.
const SPINS_MAX: u32 = 500;
/// The least time that a turn takes.
const TURN_MIN: Duration = Duration::from_micros(2);

impl<T> Process<T> {
    /// Asleep.
    pub const fn new(actor: T) -> Self {
        Self { actor, wake_at: Real::MAX, paused_until: Real(0), spins: 0 }
    }
    /// When its next turn is, if it wants it at `wanted`; `None` if it spins.
    pub fn next_turn(&mut self, now: Real, wanted: Real) -> Option<Real> {
        self.spins = if wanted > now { 0 } else { self.spins + 1 };
        (self.spins < SPINS_MAX).then(|| wanted.max(now.after(TURN_MIN)))
    }
}

/// The daemons of one life.
#[derive(Debug)]
pub struct Daemons {
    /// Which life.
    pub life: Life,
    /// Its boot nonce.
    pub nonce: Nonce,
    /// netguard-fast, while it runs.
    pub fast: Option<Process<Fast>>,
    /// netguard-control, while it runs.
    pub control: Option<Process<Control>>,
    /// When the last event reaches control: the ring keeps their order.
    pub ring: Real,
    /// What the checkers have seen of it.
    pub seen: Seen,
}

/// How far the checkers have looked at a life.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Era of its commits.
    pub era: u32,
    /// The last commit looked at.
    pub commit: u64,
    /// Op of the last snapshot looked at.
    pub snapshot: u64,
    /// The last term in which it was seen as primary.
    pub primary_in: Option<(u32, u32)>,
}

/// Words that are shared by the daemons of one life and outlive them.
#[derive(Clone, Debug)]
pub struct Shared {
    /// Whose.
    pub life: Life,
    /// The words.
    pub board: Rc<Board>,
    /// The gate in the kernel.
    pub gate: Rc<Gate>,
    /// Era by which the own stint on the board was published.
    pub era: u32,
    /// The last own stint that was seen on the board.
    pub stint: u64,
}

/// One machine.
#[derive(Debug)]
pub struct Machine {
    /// Its number.
    pub node: NodeId,
    /// Its clock.
    pub clock: Clock,
    /// How often it beats.
    pub timing: Timing,
    /// How often it would by the configuration that was agreed last, if its daemons have seen one.
    pub agreed: Option<Timing>,
    /// Durable: the last incarnation.
    pub incarnation: u32,
    /// Durable: the highest era promised (R-ERA).
    pub era: u32,
    /// When the disk is done with all that it was given: one thing after the other.
    pub disk: Real,
    /// Durable: what was stored of the agreed configuration (R-CONF-DURABLE).
    pub charter: Option<Charter>,
    /// Somebody restarts the daemons when they end.
    pub wanted: bool,
    /// Counts starts and power losses, so that a start that was under way can be forgotten.
    pub boot: u64,
    /// The daemons, while one of them runs.
    pub daemons: Option<Daemons>,
    /// The board of the last life.
    pub shared: Option<Shared>,
    /// One driver per service.
    pub drivers: Vec<Driver>,
}

impl Machine {
    /// A machine that is off.
    #[must_use]
    pub fn new(node: NodeId, clock: Clock, timing: Timing, services: usize) -> Self {
        Self {
            node,
            clock,
            timing,
            agreed: None,
            incarnation: 0,
            era: 0,
            disk: Real(0),
            charter: None,
            wanted: false,
            boot: 0,
            daemons: None,
            shared: None,
            drivers: vec![Driver::default(); services],
        }
    }
    /// The life whose daemons run.
    #[must_use]
    pub fn life(&self) -> Option<Life> {
        self.daemons.as_ref().map(|d| d.life)
    }
    /// The control process of the present life.
    #[must_use]
    pub fn control(&self) -> Option<&Control> {
        self.daemons.as_ref()?.control.as_ref().map(|p| &p.actor)
    }
    /// True while both processes run and none was told to end.
    #[must_use]
    pub fn is_up(&self) -> bool {
        let Some(daemons) = &self.daemons else { return false };
        daemons.fast.is_some() && self.control().is_some_and(|c| !c.is_leaving())
    }
    /// Who holds a lease at `real` by the board of the last life, and by which stint.
    #[must_use]
    pub fn lease(&self, real: Real) -> Option<(&Shared, Instant)> {
        let shared = self.shared.as_ref()?;
        let now = self.clock.local(real);
        shared.board.lease_holds(now).then_some((shared, now))
    }
    /// The life that answers a packet for the address of a service at `real`, and the generation
    /// by which it does: the address is on an interface, and the gate lets the packet pass.
    #[must_use]
    pub fn answers(
        &self,
        real: Real,
        service: usize,
        per_node: bool,
    ) -> Option<(Life, Generation)> {
        let (shared, driver) = (self.shared.as_ref()?, self.drivers.get(service)?);
        let now = self.clock.local(real);
        let generation = if per_node {
            driver.presence().filter(|_| shared.gate.passes_any(now))
        } else {
            shared.gate.passes(now, service)
        };
        generation.filter(|_| driver.has_address()).map(|generation| (shared.life, generation))
    }
    /// The next life's number; durable before its first frame.
    pub const fn next_life(&mut self) -> Life {
        self.incarnation += 1;
        Life { node: self.node, incarnation: Incarnation(self.incarnation) }
    }
}
