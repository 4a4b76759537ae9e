//! I11: once faults have stopped and a majority of lives is alive, an entry commits, each live node
//! is in the view, and each service runs. What is missing is said in words.

use super::log::Seats;
use crate::machine::Machine;
use crate::world::World;
use services::Phase;
use wire::{Charter, EntryKind, Life, NodeId, NodeSet, Op, ServiceId};

/// What is to be expected of a cluster whose faults have stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hope {
    /// A majority of the lives that hold votes is alive.
    Goes,
    /// A majority of fresh lives is there, one of them that may lead: a cold start.
    Cold,
    /// Neither: an operator has to restart nodes.
    Stuck,
}

/// Lives of machines that are up and configured.
#[must_use]
pub fn live(world: &World) -> Vec<Life> {
    let configured = configured(world);
    let up = world.machines.values().filter(|m| m.is_up() && configured.contains(m.node));
    up.filter_map(Machine::life).collect()
}

/// Who is configured by what is committed, or by the file if nothing is.
#[must_use]
pub fn configured(world: &World) -> NodeSet {
    let log = &world.checkers.log;
    log.seats(log.era()).and_then(Seats::configured).unwrap_or(world.shape.configured)
}

/// Whose votes count by what is committed, or by the file if nothing is.
#[must_use]
pub fn electorate(world: &World) -> NodeSet {
    let log = &world.checkers.log;
    log.seats(log.era()).map_or(world.shape.voters, |seats| seats.electorate)
}

/// The latest charter that a fresh life has stored: who begins an era. (Who has a log tells nobody of its own.)
fn latest_charter(world: &World, fresh: &[Life]) -> Option<Charter> {
    let charters = fresh.iter().map(|life| world.charter_at(life.node));
    charters.max_by_key(|c| (c.version, c.term))
}

/// What is to be expected now.
#[must_use]
pub fn hope(world: &World) -> Hope {
    if votes_suffice(world) {
        return Hope::Goes;
    }
    let up = world.machines.values().filter(|m| m.is_up());
    let fresh: Vec<Life> =
        up.filter_map(Machine::life).filter(|life| is_fresh(world, *life)).collect();
    let Some(charter) = latest_charter(world, &fresh) else { return Hope::Stuck };
    let voters = charter.electorate;
    let fresh: NodeSet =
        fresh.iter().map(|life| life.node).filter(|n| voters.contains(*n)).collect();
    // The first primary of an era is one of those who begin it, and a witness is none (PROTOCOL 7). When only witnesses have
    // restarted, the one that may lead is a life with a log: it gives that up when somebody restarts it (seed 514, an hour).
    let leaders = charter.configuration.leaders(voters);
    let led = fresh.iter().any(|node| leaders.contains(node));
    if fresh.len() > voters.len() / 2 && led { Hope::Cold } else { Hope::Stuck }
}

/// R-PROMISE-QUORUM: a majority of votes is alive by the longest commit that a live life knows, and
/// after every later Admit in a live log. (What was committed without that any live life knows it
/// cannot help.)
fn votes_suffice(world: &World) -> bool {
    let up = world.machines.values().filter(|m| m.is_up());
    let (live, checked): (Vec<Life>, _) =
        (up.filter_map(Machine::life).collect(), &world.checkers.log);
    let era = checked.era();
    let of_era = |life: &Life| {
        let agreement = world.machines.get(&life.node)?.control()?.node.agreement();
        let log = agreement.log();
        (agreement.era() == Some(era)).then_some((log, agreement.commit()))
    };
    let logs: Vec<_> = live.iter().filter_map(of_era).collect();
    let known = logs.iter().map(|(_, commit)| *commit).max().unwrap_or_default();
    let Some(seats) = checked.seats_at(era, known) else { return false };
    // One of two goes on alone when it hears that the other's life is over (R-FENCE).
    // A pair that an uncommitted vote would make has no such evidence yet.
    let pair = seats.electorate.len() == 2;
    let need =
        |seats: &Seats| if pair && seats.electorate.len() == 2 { 1 } else { seats.majority() };
    let leaders = |seats: &Seats| {
        let (all, wanted) = (seats.electorate, seats.wanted.as_ref());
        wanted.map_or(all, |wanted| wanted.leaders(all))
    };
    // Who gets a vote by what is not committed has none by itself (R-VOTE).
    let counts = |later: &Seats, l: &Life| later.votes(*l) && seats.votes(*l);
    let enough = |seats: &Seats| {
        let votes: NodeSet = live.iter().filter(|l| counts(seats, l)).map(|l| l.node).collect();
        votes.len() >= need(seats) && votes.iter().any(|node| leaders(seats).contains(node))
    };
    enough(seats)
        && logs.iter().all(|(log, _)| {
            let mut later = seats.clone();
            log.after(known).all(|(op, entry)| {
                later.apply(op, entry);
                enough(&later)
            })
        })
}

/// R-FRESH: no entry in its own log gives it a vote.
fn is_fresh(world: &World, life: Life) -> bool {
    let Some(control) = world.machines.get(&life.node).and_then(Machine::control) else {
        return false;
    };
    let admits = |kind: &EntryKind| {
        *kind == EntryKind::Admit { node: life.node, incarnation: life.incarnation }
    };
    let agreement = control.node.agreement();
    let seated = agreement.roster().seat(life.node).map(|seat| seat.incarnation);
    seated != Some(life.incarnation)
        && !agreement.log().after(Op::ZERO).any(|(_, entry)| admits(&entry.kind))
}

/// What is missing, if anything is. A service that failed everywhere while its drivers behaved
/// badly needs the operator: `forgive` lets it be.
#[must_use]
pub fn missing(world: &World, forgive: bool) -> Option<String> {
    let live = live(world);
    let voters = electorate(world);
    let up = |n: &NodeId| world.machines.get(n).is_some_and(Machine::is_up);
    if voters.iter().filter(up).count() <= voters.len() / 2 {
        return Some(format!("only {live:?} are up, and {voters:?} vote"));
    }
    let wanted = world.checkers.log.seats(world.checkers.log.era()).and_then(|s| s.wanted.as_ref());
    let here = |nodes: NodeSet| nodes.iter().all(|n| live.iter().any(|l| l.node == n));
    if let Some(wanted) = wanted.filter(|w| w.voters != voters && here(w.voters)) {
        return Some(format!("{voters:?} vote, wanted are {:?}", wanted.voters));
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
    let wanted = world.checkers.log.seats(world.checkers.log.era()).and_then(|s| s.wanted.as_ref());
    let witnesses = wanted.map_or(world.shape.witnesses, |wanted| wanted.witnesses);
    for (spec, state) in control.node.planner().services() {
        let all_live = spec.nodes.iter().all(|n| live.iter().any(|l| l.node == *n));
        let eligible = |n: &NodeId| !witnesses.contains(*n) && live.iter().any(|l| l.node == *n);
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
        let answers = answering(world, spec.id);
        if world.shape.is_address(spec.id) && answers != owner.map(|l| l.node) {
            return Some(format!("{} is {owner:?}'s, and {answers:?} answers", spec.name));
        }
    }
    None
}

/// A member that is configured no more, if there is one: it leaves, or is removed after a while.
#[must_use]
pub fn leaving(world: &World) -> Option<Life> {
    let seats = world.checkers.log.seats(world.checkers.log.era())?;
    let configured = seats.configured()?;
    seats.members().map(|(life, _)| life).find(|life| !configured.contains(life.node))
}

/// The node whose answers the observer hears.
#[must_use]
pub fn answering(world: &World, service: ServiceId) -> Option<NodeId> {
    world.observer.answered_by(service, world.now, world.shape.observe * 2)
}

/// The node on which a service is open under a lease.
#[must_use]
pub fn serving(world: &World, service: ServiceId) -> Option<NodeId> {
    let serves = |m: &&Machine| {
        m.lease(world.now).is_some_and(|(s, _)| s.board.open(usize::from(service.0)) != 0)
    };
    world.machines.values().find(serves).map(|m| m.node)
}

/// What an engineer wants to see when something is missing.
#[must_use]
pub fn picture(world: &World) -> String {
    let mut text = String::new();
    for machine in world.machines.values() {
        let Some(control) = machine.control() else { continue };
        let agreement = control.node.agreement();
        let now = machine.clock.local(world.now);
        let lease = if machine.lease(world.now).is_some() { ", lease" } else { "" };
        text += &format!(
            "{:?} {:?} {:?} op {} commit {}{lease}, suspects {:?}, waits {:?}; ",
            machine.life(),
            agreement.status(),
            agreement.term(),
            agreement.op(),
            agreement.commit(),
            agreement.suspects(now),
            agreement.waiting(),
        );
    }
    text + &missing(world, false).unwrap_or_else(|| "all is well".into())
}
