//! I11: once faults have stopped and a majority of lives is alive, an entry commits, each live node is in the view,
//! and each service runs. What is missing is said in words.

use crate::machine::Machine;
use crate::world::World;
use services::Phase;
use wire::{EntryKind, Life, NodeId, ServiceId};

/// What is to be expected of a cluster whose faults have stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hope {
    /// A majority of the lives that hold votes is alive.
    Goes,
    /// A majority of fresh lives is there: a cold start.
    Cold,
    /// Neither: an operator has to restart nodes.
    Stuck,
}

/// Lives of machines that are up.
#[must_use]
pub fn live(world: &World) -> Vec<Life> {
    world.machines.values().filter(|m| m.is_up()).filter_map(Machine::life).collect()
}

/// What is to be expected now.
#[must_use]
pub fn hope(world: &World) -> Hope {
    let live = live(world);
    let need = world.shape.majority();
    let log = &world.checkers.log;
    let seats = log.seats(log.era());
    if live.iter().filter(|l| seats.is_some_and(|s| s.votes(**l))).count() >= need {
        return Hope::Goes;
    }
    let fresh = live.iter().filter(|l| is_fresh(world, **l)).count();
    if fresh >= need { Hope::Cold } else { Hope::Stuck }
}

/// R-FRESH: no entry in its own log gives it a vote.
fn is_fresh(world: &World, life: Life) -> bool {
    let Some(control) = world.machines.get(&life.node).and_then(Machine::control) else {
        return false;
    };
    let admits = |kind: &EntryKind| {
        *kind == EntryKind::Admit { node: life.node, incarnation: life.incarnation }
    };
    let log = control.node.agreement().log();
    !log.after(wire::Op::ZERO).any(|(_, entry)| admits(&entry.kind))
}

/// What is missing, if anything is. A service that failed everywhere while its drivers behaved badly needs the operator:
/// `forgive` lets it be.
#[must_use]
pub fn missing(world: &World, forgive: bool) -> Option<String> {
    let live = live(world);
    if live.len() < world.shape.majority() {
        return Some(format!("only {live:?} are up"));
    }
    for life in &live {
        let Some(view) = world.checkers.views.current(*life) else {
            return Some(format!("{life:?} has no view"));
        };
        let members: Vec<Life> = view.members.values().map(|m| m.life).collect();
        if members != live {
            return Some(format!("{life:?} has the view {members:?}, live are {live:?}"));
        }
        let holds = world.machines.get(&life.node).is_some_and(|m| m.lease(world.now).is_some());
        if !holds {
            return Some(format!("{life:?} holds no lease"));
        }
    }
    live.iter().find_map(|life| service_missing(world, *life, &live, forgive))
}

fn service_missing(world: &World, by: Life, live: &[Life], forgive: bool) -> Option<String> {
    let control = world.machines.get(&by.node)?.control()?;
    let all_live = live.len() == world.shape.nodes.len();
    for (spec, state) in control.node.planner().services() {
        let eligible = |n: &NodeId| live.iter().any(|l| l.node == *n);
        let excused = !spec.nodes.iter().any(eligible) || (spec.unbound().is_some() && !all_live);
        let failed = forgive && !state.failures.is_empty();
        // Proof about an owner that is gone is the operator's to give.
        let gone = state.holder().is_some_and(|o| !live.contains(&o.life));
        let waits = state.phase == Phase::WaitingForFence && gone && !all_live;
        if excused || failed || waits {
            continue;
        }
        let owner = state.holder().map(|o| o.life).filter(|l| live.contains(l));
        let open = owner
            .and_then(|l| world.machines.get(&l.node))
            .and_then(|m| m.shared.as_ref().map(|s| s.board.open(usize::from(spec.id.0))));
        if state.phase != Phase::Running || open != Some(state.generation.0) {
            let (phase, reason) = (state.phase, &state.reason);
            let name = &spec.name;
            return Some(format!(
                "{by:?} sees {name} {phase:?} at {owner:?}, {open:?}: {reason:?}"
            ));
        }
    }
    None
}

/// The node on which a service is open under a lease.
#[must_use]
pub fn serving(world: &World, service: ServiceId) -> Option<NodeId> {
    let serves = |m: &&Machine| {
        m.lease(world.now).is_some_and(|(s, _)| s.board.open(usize::from(service.0)) != 0)
    };
    world.machines.values().find(serves).map(|m| m.node)
}
