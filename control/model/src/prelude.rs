//! How a scenario comes to its first state: by the same steps as the exploration, in one order, with no frame lost.

use crate::state::{State, Step};
use crate::world::{World, send};
use agreement::Status;
use wire::{NodeId, NodeSet};

/// Ticks within which a cluster is settled; three nodes take ten.
const ROUNDS_MAX: usize = 80;
/// Frames within one tick; more would be two cores that answer each other for ever.
const FRAMES_MAX: usize = 2_000;

/// A node by its number.
#[must_use]
pub fn id(n: u8) -> NodeId {
    NodeId::new(n).unwrap_or(wire::Term::NONE.life.node)
}

impl World {
    /// All frames arrive once, in the order in which they were first sent.
    #[must_use]
    pub fn deliver_all(&self, state: State) -> State {
        self.deliver_among(state, self.shape.ids().collect())
    }

    /// The same, but these nodes and the others hear nothing of each other. Charters are stored as soon as that.
    #[must_use]
    pub fn deliver_among(&self, mut state: State, nodes: NodeSet) -> State {
        for _ in 0..FRAMES_MAX {
            let storing = state.machines.iter().find(|machine| machine.storing.is_some());
            if let Some(node) = storing.map(|machine| machine.node) {
                state = self.perform(&state, Step::Stored(node));
                continue;
            }
            if state.net.is_empty() {
                break;
            }
            let first = state.net.remove(0);
            send(&mut state.arrived, &[first]);
            let packet = self.packet(first);
            if nodes.contains(packet.from.node) == nodes.contains(packet.to) {
                state = self.perform(&state, Step::Deliver(first));
            }
        }
        state
    }

    /// One tick: everybody wakes who wants to, everything arrives.
    #[must_use]
    pub fn round(&self, state: State) -> State {
        self.round_among(state, self.shape.ids().collect())
    }

    /// The same, but these nodes and the others hear nothing of each other.
    pub(crate) fn round_among(&self, mut state: State, nodes: NodeSet) -> State {
        state = self.pass(state, 1);
        for turn in [Step::Beat as fn(NodeId) -> Step, Step::Turn] {
            for index in 0..state.machines.len() {
                let machine = state.machines[index];
                let Some(running) = machine.running else { continue };
                let now = self.local(&state, &machine);
                let due = match turn(machine.node) {
                    Step::Beat(_) => self.fast(&running).is_due(now),
                    _ => self.control(&running).is_due(now),
                };
                if due {
                    state = self.perform(&state, turn(machine.node));
                }
            }
            state = self.deliver_among(state, nodes);
        }
        state
    }

    /// At the first node, which leads, an operator wants the voters of the scenario, and all learn it. What is still on its
    /// way then is the acknowledgement that lets the first vote follow.
    ///
    /// # Panics
    ///
    /// If none follows: then the scenario is wrong.
    #[must_use]
    pub fn configure(&self, mut state: State) -> State {
        let length = |state: &State| {
            let running = state.machines.first().and_then(|machine| machine.running);
            running.map_or(0, |running| self.control(&running).agreement.op().0)
        };
        state = self.perform(&state, Step::Configure(id(1)));
        let stated = length(&state);
        for _ in 0..FRAMES_MAX {
            let Some(first) = state.net.first().copied() else { break };
            let after = self.perform(&state, Step::Deliver(first));
            if length(&after) > stated {
                return state;
            }
            state = after;
            state.net.retain(|number| *number != first);
        }
        panic!("no vote follows: {}", self.picture(&state));
    }

    /// One more tick, in which all hear a beat of `node` and it hears their echoes at once: its lease is as young as what
    /// they have heard. Nothing is on its way then.
    #[must_use]
    pub fn renew(&self, mut state: State, node: NodeId) -> State {
        state = self.perform(&state, Step::Tick(None));
        let others = self.shape.ids().filter(|other| *other != node);
        for beats in std::iter::once(node).chain(others.collect::<Vec<_>>()) {
            state = self.perform(&state, Step::Beat(beats));
            state = self.deliver_all(state);
        }
        state
    }

    /// Nodes begin their next lives.
    #[must_use]
    pub fn start(&self, state: State, nodes: &[u8]) -> State {
        nodes.iter().fold(state, |state, node| self.perform(&state, Step::Start(id(*node))))
    }
    /// Nodes lose their power.
    #[must_use]
    pub fn crash(&self, state: State, nodes: &[u8]) -> State {
        nodes.iter().fold(state, |state, node| self.perform(&state, Step::Crash(id(*node))))
    }
    /// So many ticks.
    #[must_use]
    pub fn rounds(&self, state: State, ticks: usize) -> State {
        (0..ticks).fold(state, |state, _| self.round(state))
    }

    /// Runs until all that run are members with a lease and know the same; nothing is on its way then.
    ///
    /// # Panics
    ///
    /// If that does not come: then the scenario is wrong.
    #[must_use]
    pub fn settle(&self, state: State) -> State {
        self.settle_with(state, &mut |_| {})
    }

    /// The same; each frame is shown as it arrives.
    #[must_use]
    pub fn settle_with(&self, mut state: State, shown: &mut impl FnMut(u32)) -> State {
        for _ in 0..ROUNDS_MAX {
            if self.is_settled(&state) {
                state.net.clear();
                return state;
            }
            state = self.round(state);
            std::mem::take(&mut state.arrived).into_iter().for_each(&mut *shown);
        }
        panic!("not settled after {ROUNDS_MAX} ticks: {}", self.picture(&state));
    }

    fn is_settled(&self, state: &State) -> bool {
        let history = self.history(state);
        let length = history.committed().count() as u64;
        let mut primaries = 0;
        let fine =
            state.machines.iter().filter_map(|m| Some((m, m.running?))).all(|(m, running)| {
                let control = self.control(&running);
                let agreement = &control.agreement;
                primaries += usize::from(agreement.status() == Status::Primary);
                agreement.roster().stint(agreement.life()).is_member()
                    && self.board(&running).lease_holds(self.local(state, m))
                    && (agreement.commit().0, agreement.op().0) == (length, length)
            });
        fine && primaries == 1
    }
}
