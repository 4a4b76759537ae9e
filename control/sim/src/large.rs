//! The largest cluster: seven voters and members without a vote up to 128, with the sizes of real
//! messages. What a beat costs, what a change of the view costs, and what happens when half of the
//! nodes are admitted at once.

use crate::checkers::Violation;
use crate::costs::Costs;
use crate::machine::Machine;
use crate::shape::{Shape, id};
use crate::world::World;
use agreement::Status;
use base::Duration;
use driver::FencePolicy;
use services::Placement;
use wire::{NodeId, Stream};

/// How closely the end of a phase is timed.
const STEP: Duration = Duration::from_millis(1);
/// A phase that takes longer has failed.
const PATIENCE: Duration = Duration::from_millis(20_000);

/// What one phase was.
#[derive(Clone, Debug)]
pub struct Phase {
    /// Its name.
    pub name: &'static str,
    /// How long it took, in the cluster's own time.
    pub took: Duration,
    /// What it cost.
    pub costs: Costs,
    /// Leases that lapsed meanwhile of nodes that nothing was done to.
    pub lapses: u64,
}

/// Runs all phases in a cluster of so many nodes, of which so many vote.
pub fn run(nodes: u8, voters: u8, mut told: impl FnMut(&Phase)) -> Result<(), Violation> {
    let mut shape = Shape::calm(nodes);
    shape.links = 1;
    shape.voters = (1..=voters).map(id).collect();
    shape.observe = Duration::from_millis(50);
    let owners: Vec<NodeId> = [voters + 1, voters + 2, 1].map(id).to_vec();
    shape.serve("vip", FencePolicy::Lease, Placement::Sticky, &owners);
    let mut world = World::new(shape, 7);
    world.costs = Some(Box::default());
    let all: Vec<NodeId> = world.shape.nodes.iter().collect();

    all.iter().for_each(|node| world.start(*node));
    phase(&mut world, "all start at once", &mut told, |w| all_know(w, &[]))?;
    world.run(Duration::from_millis(200))?;
    let mut ticks = 0;
    let second = world.now.after(Duration::from_millis(1_000));
    phase(&mut world, "one second of nothing", &mut told, |w| {
        ticks += 1;
        w.now >= second
    })?;

    let member = id(voters + 9);
    world.cut(member);
    phase(&mut world, "a member loses its power", &mut told, |w| all_know(w, &[member]))?;
    let primary = world.machines.values().find(|m| leads(m)).map_or(id(1), |m| m.node);
    world.cut(primary);
    phase(&mut world, "the primary loses its power", &mut told, |w| {
        all_know(w, &[member, primary])
    })?;
    [member, primary].iter().for_each(|node| world.start(*node));
    phase(&mut world, "both come back", &mut told, |w| all_know(w, &[]))?;

    let half: Vec<NodeId> = all.iter().copied().rev().take(all.len() / 2).collect();
    half.iter().for_each(|node| world.cut(*node));
    phase(&mut world, "half of the nodes lose their power", &mut told, |w| all_know(w, &half))?;
    half.iter().for_each(|node| world.start(*node));
    phase(&mut world, "half of the nodes come back at once", &mut told, |w| all_know(w, &[]))
}

fn phase(
    world: &mut World,
    name: &'static str,
    told: &mut impl FnMut(&Phase),
    mut done: impl FnMut(&World) -> bool,
) -> Result<(), Violation> {
    if let Some(costs) = &mut world.costs {
        costs.reset();
    }
    let before = lapses(world);
    let began = world.now;
    while !done(world) {
        if world.now.since(began) >= PATIENCE {
            let text = format!("{name}: not done after {PATIENCE}");
            return Violation::found("I11 progress", text);
        }
        world.run(STEP)?;
    }
    let lapses = lapses(world).saturating_sub(before);
    let costs = world.costs.as_deref().cloned().unwrap_or_default();
    told(&Phase { name, took: world.now.since(began), costs, lapses });
    Ok(())
}

fn leads(machine: &Machine) -> bool {
    machine.control().is_some_and(|c| c.node.agreement().status() == Status::Primary)
}

fn lapses(world: &World) -> u64 {
    let of = |m: &Machine| {
        let now = m.clock.local(world.now);
        m.control().map_or(0, |c| c.node.status(now).lapses)
    };
    world.machines.values().map(of).sum()
}

/// Every node but these is a member by the word of every node but these, and these are not.
fn all_know(world: &World, gone: &[NodeId]) -> bool {
    let wanted = world.shape.nodes.len() - gone.len();
    world.machines.values().filter(|m| !gone.contains(&m.node)).all(|machine| {
        machine.control().is_some_and(|control| {
            let members = &control.node.membership().view().members;
            members.len() == wanted && !gone.iter().any(|node| members.contains_key(node))
        })
    })
}

/// One line for each phase.
#[must_use]
pub fn line(phase: &Phase, nodes: u8) -> String {
    let (agreed, beats) = (phase.costs.agreement(), phase.costs.traffic.get("beat"));
    let beats = beats.copied().unwrap_or_default();
    let micros = |d: std::time::Duration| d.as_secs_f64() * 1e6;
    let share = |total: std::time::Duration| {
        100.0 * total.as_secs_f64() / (phase.took.0 as f64 / 1e9).max(1e-9)
    };
    let (fast, _) = phase.costs.process(Stream::Fast);
    let (control, worst) = phase.costs.process(Stream::Control);
    let heard = beats.received.max(1) as f64;
    format!(
        "{:<36} {:>7.1} ms | agreement {:>7} frames {:>9} bytes, largest {:>5} | beats {:>6} of {:>4} bytes, \
         {:>5.2} us each heard, {:>4.1} % of a core a node | control {:>5.1} % a node, busiest {:>5.1} %, \
         longest turn {:>6.0} us | lapses {}",
        phase.name,
        phase.took.0 as f64 / 1e6,
        agreed.frames,
        agreed.bytes,
        agreed.largest,
        beats.frames,
        beats.largest,
        micros(fast.total) / heard,
        share(fast.total) / f64::from(nodes),
        share(control.total) / f64::from(nodes),
        share(worst.total),
        micros(control.longest),
        phase.lapses,
    )
}
