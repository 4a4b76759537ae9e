//! What an outage leaves, and what begins from there.
//!
//! Some nodes lose their power, all of them at once, and begin again; from then on they and the others hear nothing of
//! each other. What then happens among them is one schedule, with no frame lost: not *how* an era begins is asked here
//! (scenario `cold`), but whether it may, after every schedule that led to the outage. So a whole cold start is one step
//! of the exploration, and an outage can follow every state of it.

use crate::state::{State, Step};
use crate::world::World;
use wire::NodeSet;

/// Ticks after an outage: a cold start of fresh lives takes nine of them at most when all voters are there.
const ROUNDS: usize = 12;

impl World {
    /// The power of these nodes is cut, and nothing is on its way any more.
    pub(crate) fn black_out(&self, mut state: State, of: NodeSet) -> State {
        let net = std::mem::take(&mut state.net);
        for node in of.iter() {
            state = self.perform(&state, Step::Crash(node));
        }
        // What was said may have been heard by one that goes on.
        let goes_on = state.machines.iter().any(|machine| machine.running.is_some());
        let binds = |number: &u32| goes_on && self.binds(*number);
        state.arrived = net.into_iter().filter(binds).collect();
        state
    }

    /// They begin again, among themselves.
    pub(crate) fn come_back(&self, mut state: State, of: NodeSet) -> State {
        for node in of.iter() {
            state = self.perform(&state, Step::Start(node));
        }
        for _ in 0..ROUNDS {
            if state.broken.is_some() {
                break;
            }
            state = self.round_among(state, of);
        }
        // Nothing follows: it is all the same what was on its way.
        state.net.clear();
        state.arrived.clear();
        state
    }
}
