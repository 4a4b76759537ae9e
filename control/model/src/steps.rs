//! What can happen next, and what it costs of the budget.

use crate::state::{Budget, Running, State, Step};
use crate::world::World;
use agreement::Status;
use wire::NodeId;

impl World {
    /// What can happen next.
    pub fn steps(&self, state: &State, max_life: u32, steps: &mut Vec<Step>) {
        if state.broken.is_some() {
            return;
        }
        let mut left = state.left;
        if self.shape.votes_first && self.history(state).voters() != self.shape.wanted {
            left.removals = 0;
        }
        let runs = |node: NodeId| state.machines[node.index()].running.is_some();
        for number in &state.net {
            if runs(self.packet(*number).to) {
                steps.push(Step::Deliver(*number));
            }
        }
        if left.ticks > 0 {
            steps.push(Step::Tick(None));
        }
        if left.outages > 0 {
            steps.extend(self.shape.outages.iter().map(|of| Step::Outage(*of)));
        }
        for machine in &state.machines {
            let node = machine.node;
            let Some(running) = machine.running else {
                if left.starts > 0 && machine.incarnation < max_life {
                    steps.push(Step::Start(node));
                }
                continue;
            };
            if machine.storing.is_some() {
                steps.push(Step::Stored(node));
            }
            let now = self.local(state, machine);
            let control = self.control(&running);
            let allow = |part, node| self.shape.roles.allow(part, node);
            let mut push = |left: u8, part, of, step| {
                if left > 0 && allow(part, of) {
                    steps.push(step);
                }
            };
            if left.beats > 0 && self.fast(&running).is_due(now) {
                push(left.beats, "beats", node, Step::Beat(node));
            }
            if control.is_due(now) {
                push(left.turns, "turns", node, Step::Turn(node));
            }
            push(left.ticks.min(left.slips), "slips", node, Step::Tick(Some(node)));
            push(left.crashes, "crashes", node, Step::Crash(node));
            push(left.obituaries, "obituaries", node, Step::Obituary(node));
            push(left.writes, "writes", node, Step::Write(node));
            let leads = control.agreement.status() == Status::Primary;
            if leads {
                push(left.configures, "configures", node, Step::Configure(node));
            }
            for other in &state.machines {
                let of = other.node;
                if of != node {
                    push(left.accusations, "accusations", of, Step::Accuse(node, of));
                    if other.running.is_none() {
                        push(left.evidence, "evidence", of, Step::SaysOff(node, of));
                    }
                }
                if leads {
                    push(left.removals, "removals", of, Step::Remove(node, of));
                }
            }
        }
    }

    /// The state after a step within the budget; `None` if nothing happened.
    #[must_use]
    pub fn next(&self, state: &State, step: Step) -> Option<State> {
        let mut next = self.perform(state, step);
        let same = next == *state;
        let beyond =
            |running: Running| self.control(&running).agreement.term().counter > self.shape.terms;
        if same || next.machines.iter().filter_map(|m| m.running).any(beyond) {
            return None;
        }
        let left = &mut next.left;
        let part = match step {
            Step::Deliver(_) | Step::Stored(_) => return Some(next),
            // It ends there.
            Step::Outage(_) => {
                next.left = Budget::default();
                return Some(next);
            }
            Step::Tick(but) => {
                if but.is_some() {
                    left.slips -= 1;
                }
                &mut left.ticks
            }
            Step::Beat(_) => &mut left.beats,
            Step::Turn(_) => &mut left.turns,
            Step::Crash(_) => &mut left.crashes,
            Step::Start(_) => &mut left.starts,
            Step::Obituary(_) => &mut left.obituaries,
            Step::Accuse(..) => &mut left.accusations,
            Step::Remove(..) => &mut left.removals,
            Step::SaysOff(..) => &mut left.evidence,
            Step::Write(_) => &mut left.writes,
            Step::Configure(_) => &mut left.configures,
        };
        *part = part.saturating_sub(1);
        Some(next)
    }
}
