//! One seed: a cluster is drawn, started, troubled, healed, and has to be well in the end.

use crate::checkers::Violation;
use crate::checkers::progress::{self, Hope};
use crate::draw::{Weights, draw};
use crate::drivers::Manners;
use crate::network::Quality;
use crate::reform;
use crate::shape::{Sabotage, Shape, Timing, id};
use crate::world::World;
use agreement::Limits;
use base::{Duration, Prng};
use driver::FencePolicy;
use node::Command;
use services::Placement;
use std::panic::{AssertUnwindSafe, catch_unwind};
use wire::{NodeId, NodeSet};

/// What the caller fixes; the rest is the seed's.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Number of nodes.
    pub nodes: Option<u8>,
    /// Broken on purpose.
    pub sabotage: Option<Sabotage>,
    /// Rules of the agreement that are switched off.
    pub mutations: Vec<&'static str>,
    /// So much of the cluster's own time, with faults spread over it.
    pub span: Option<Duration>,
    /// A line for each thing that happens goes there.
    pub told: Option<fn(&str)>,
    /// Messages of the agreement are told too.
    pub messages: bool,
}

/// What came of a seed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// How long it was, in the cluster's own time.
    pub lasted: Duration,
    /// How many things happened.
    pub planned: u64,
    /// Entries committed in the last era.
    pub entries: u64,
    /// Eras begun.
    pub era: u32,
    /// Times that faults began and were over again.
    pub rounds: u64,
    /// Members removed.
    pub removals: u64,
    /// Snapshots installed.
    pub installs: u64,
    /// How long the cluster took to be well after its faults had ended, in tenths of a deadline.
    pub recovered: u64,
    /// Votes and fresh lives were too few: an operator had to restart the nodes.
    pub helped: bool,
    /// What was found.
    pub found: Option<Violation>,
}

/// Deadlines within which a cluster without faults has to be well (I11).
const DEADLINES: u64 = 20;

/// Who is configured no more is no member after so long.
const DROPS_WITHIN: Duration = Duration::from_millis(4_000);
/// Most votes that follow one change.
const VOTES: u64 = 6;

/// About so often faults come in a long seed.
const ROUNDS: u64 = 60;

/// Runs one seed.
#[must_use]
pub fn run(seed: u64, options: &Options) -> Report {
    let mut dice = Prng::new(seed ^ 0x5EED_0F5E_ED00);
    let quiet = dice.chance(1, 6) && options.span.is_none();
    let mut shape = draw_shape(&mut dice, options, quiet);
    shape.limits = draw_limits(seed);
    let mut changes = Prng::new(seed ^ 0x5EED_C0F1_6000);
    if !quiet && changes.chance(1, 3) {
        reform::draw_shape(&mut changes, &mut shape);
    }
    let mut world = World::new(shape, dice.next_u64());
    (world.told, world.messages) = (options.told, options.messages);
    let timings: Vec<Timing> = world.shape.timings().collect();
    for node in world.shape.nodes.iter().collect::<Vec<_>>() {
        let timing = timings[dice.below(timings.len() as u64) as usize];
        world.set_timing(node, timing);
    }
    world.tell(|| format!("seed {seed}: quiet {quiet}, {:?}", world.shape));
    let mut rounds = 0;
    let run = || match options.span {
        Some(span) => endure(&mut world, &mut dice, span, &mut rounds),
        None if quiet => live_quietly(&mut world),
        None => suffer(&mut world, &mut dice),
    };
    let found = match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.err(),
        Err(panic) => Some(Violation { rule: "no panic", text: words(panic.as_ref()) }),
    };
    let log = &world.checkers.log;
    Report {
        seed,
        lasted: Duration(world.now.0),
        planned: world.planned(),
        entries: log.length(log.era()),
        era: log.era(),
        rounds,
        removals: log.removals(),
        installs: world.checkers.snapshots.installs(),
        recovered: world.recovered,
        helped: world.helped,
        found,
    }
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

fn draw_shape(dice: &mut Prng, options: &Options, quiet: bool) -> Shape {
    let drawn = [3, 3, 3, 3, 3, 3, 5, 5, 4, 4, 2, 2][dice.below(12) as usize];
    let mut shape = Shape::calm(options.nodes.unwrap_or(drawn));
    let nodes: Vec<NodeId> = shape.nodes.iter().collect();
    if nodes.len() == 3 && dice.chance(1, 5) {
        shape.witnesses = [id(3)].into_iter().collect();
    }
    shape.links = 1 + dice.below(3) as u8;
    if dice.chance(1, 5) {
        shape.interval = Duration::from_millis([2, 50][dice.below(2) as usize]);
    }
    if dice.chance(1, 4) {
        shape.rate_ppm = [100, 10_000][dice.below(2) as usize];
    }
    if dice.chance(1, 4) {
        shape.misses = [2, 4, 5][dice.below(3) as usize];
    }
    if dice.chance(1, 4) {
        draw_others(dice, &mut shape);
    }
    let wake_max = if dice.chance(1, 4) { 1_000_000 } else { 50_000 };
    shape.wake_max = Duration(2_000 + dice.below(wake_max));
    draw_services(dice, &mut shape);
    shape.quality = draw_quality(dice, quiet);
    shape.sealed = dice.chance(1, 8);
    if !quiet {
        shape.manners = draw_manners(dice);
        shape.interrupts = [0, 2, 20, 100][dice.below(4) as usize];
        let most = [100_000, 1_000_000, shape.deadline().0][dice.below(3) as usize];
        shape.interrupt_max = Duration(10_000 + most);
        shape.again_max = Duration::from_millis([6, 60][dice.below(2) as usize]);
        if dice.chance(1, 3) {
            shape.ring_max = Duration(dice.below(20_000_000) + 1);
        }
        shape.operator = dice.chance(if nodes.len() == 2 { 3 } else { 1 }, 4);
        shape.observe = Duration(100_000 + dice.below(900_000));
    }
    shape.sabotage = options.sabotage;
    shape.mutations.clone_from(&options.mutations);
    shape
}

/// Nodes that beat more seldom or more often than the others, and settings that change while they run.
fn draw_others(dice: &mut Prng, shape: &mut Shape) {
    for _ in 0..1 + dice.below(2) {
        let base = shape.interval.0;
        let interval = [base, base / 2, base * 2, base * 5, base * 10][dice.below(5) as usize];
        let interval = Duration(interval.clamp(2_000_000, 100_000_000));
        shape.others.push(Timing { interval, misses: 2 + dice.below(4) as u32 });
    }
}

/// Small bounds in most seeds, so that snapshots are made, pulled and installed. They have dice of their own.
fn draw_limits(seed: u64) -> Limits {
    let mut dice = Prng::new(seed ^ 0x5EED_BA5E_0000);
    if dice.chance(1, 8) {
        return Limits::default();
    }
    let every = [2, 4, 16][dice.below(3) as usize];
    let kept = [1, 1, 8][dice.below(3) as usize];
    Limits {
        snapshot_every: 1 + dice.below(every),
        snapshot_bytes: 200 + dice.below(4_000) as usize,
        kept: dice.below(kept),
        kept_bytes: 100 + dice.below(10_000) as usize,
        slice: 20 + dice.below(400) as usize,
        waiting: 8 + dice.below(100),
        waiting_bytes: 1_000 + dice.below(20_000) as usize,
    }
}

fn draw_services(dice: &mut Prng, shape: &mut Shape) {
    let able: Vec<_> = shape.nodes.iter().filter(|n| !shape.witnesses.contains(*n)).collect();
    for (name, fence) in
        [("vip", FencePolicy::Lease), ("db", FencePolicy::Fenced), ("web", FencePolicy::Lease)]
    {
        if name != "vip" && dice.chance(1, 2) {
            continue;
        }
        let placement = if dice.chance(1, 3) { Placement::FailBack } else { Placement::Sticky };
        let mut nodes = able.clone();
        let first = dice.below(nodes.len() as u64) as usize;
        nodes.rotate_left(first);
        shape.serve(name, fence, placement, &nodes);
    }
}

fn draw_quality(dice: &mut Prng, quiet: bool) -> Quality {
    let share = |dice: &mut Prng, most: u64| if dice.chance(1, 2) { dice.below(most) } else { 0 };
    let most = if quiet { 10_000 } else { 100_000 };
    let late_max = if quiet {
        3_000_000
    } else {
        [1_000_000, 30_000_000, 300_000_000][dice.below(3) as usize]
    };
    let jitter = if quiet { 200_000 } else { [20_000, 1_000_000][dice.below(2) as usize] };
    Quality {
        loss_ppm: share(dice, most),
        double_ppm: share(dice, most),
        late_ppm: share(dice, most),
        damage_ppm: share(dice, 10_000),
        base: Duration(20_000 + dice.below(100_000)),
        jitter: Duration(1_000 + dice.below(jitter)),
        late_max: Duration(late_max),
    }
}

fn draw_manners(dice: &mut Prng) -> Manners {
    let share = |dice: &mut Prng, most: u64| if dice.chance(1, 3) { dice.below(most) } else { 0 };
    Manners {
        fail: share(dice, 200),
        slow: share(dice, 300),
        slow_max: Duration(dice.below(150_000_000)),
        late: share(dice, 300),
        stuck: share(dice, 50),
        die: share(dice, 100),
    }
}

/// Without faults, and with 1 % loss at most, nobody is removed.
fn live_quietly(world: &mut World) -> Result<(), Violation> {
    for node in world.shape.nodes.iter().collect::<Vec<_>>() {
        world.start(node);
    }
    recover(world)?;
    let unwished = world.checkers.log.unwished();
    world.run(world.shape.deadline() * 30)?;
    if world.checkers.log.unwished() > unwished {
        return Violation::found("no needless failover", "a member was removed without a fault");
    }
    Ok(())
}

fn suffer(world: &mut World, dice: &mut Prng) -> Result<(), Violation> {
    let deadline = world.shape.deadline();
    let nodes: Vec<_> = world.shape.nodes.iter().collect();
    for node in &nodes {
        world.run(Duration(dice.below(deadline.0)))?;
        world.start(*node);
    }
    if dice.chance(3, 4) {
        world.run(deadline * 10)?;
    }
    trouble(world, dice)
}

/// Faults for a while, then none; in the end all is well.
fn trouble(world: &mut World, dice: &mut Prng) -> Result<(), Violation> {
    strike(world, dice)?;
    recover(world)?;
    calm(world)?;
    if world.shape.reforms && dice.chance(1, 5) {
        outlast_a_majority(world, dice)?;
    }
    Ok(())
}

/// Faults for a while; then everything outside the nodes works again, and the machines are switched on.
fn strike(world: &mut World, dice: &mut Prng) -> Result<(), Violation> {
    let deadline = world.shape.deadline();
    let nodes: Vec<_> = world.shape.nodes.iter().collect();
    let weights = Weights::draw(dice);
    let gap = deadline.0 * [1, 2, 4, 8][dice.below(4) as usize];
    // How many of eight are an operator's changes.
    let changes = if world.shape.reforms { [1, 3, 6][dice.below(3) as usize] } else { 0 };
    let until = world.now.after(deadline * (10 + dice.below(30)));
    let mut at = world.now;
    while at < until {
        let fault = if changes > 0 && dice.chance(changes, 8) {
            reform::draw(dice, &world.shape)
        } else {
            draw(dice, &weights, &world.shape)
        };
        world.plan(at, fault);
        at = at.after(Duration(dice.below(2 * gap)));
    }
    world.run_until(until)?;
    world.heal();
    // What is about to end on its own ends first, and so do jobs that slow drivers have begun.
    let jobs = world.shape.manners.slow_max + Duration::from_millis(40);
    world.run(jobs.max(deadline * 4).max(world.streams_need()))?;
    let stay_down = dice.chance(1, 3);
    for node in world.ailing() {
        world.cut(node);
    }
    // Whose votes are to follow a change must be here.
    let mut spare = if stay_down && !world.shape.reforms { (nodes.len() - 1) / 2 } else { 0 };
    for node in nodes {
        let up = world.machines.get(&node).is_some_and(|m| m.is_up() || m.wanted);
        if !up && spare > 0 {
            spare -= 1;
            world.forget_start(node);
        } else {
            world.start(node);
        }
    }
    Ok(())
}

/// A majority of the votes is off for good, and all others have restarted: a careful operator overrides the cold start.
/// Some faults later the absent come back, once the others are well, and join.
fn outlast_a_majority(world: &mut World, dice: &mut Prng) -> Result<(), Violation> {
    let Some((leader, absent)) = reform::draw_loss(dice, world) else { return Ok(()) };
    let (deadline, all) = (world.shape.deadline(), world.shape.nodes);
    world.tell(|| format!("{absent:?} are off for good"));
    all.iter().for_each(|node| world.cut(node));
    world.locked = absent;
    all.iter().for_each(|node| world.start(node));
    let limit = world.now.after(deadline * DEADLINES + world.shape.store_max * VOTES);
    loop {
        world.run(deadline / 2)?;
        let off = world.charter_at(leader).electorate.minus(all.minus(absent));
        let tag = world.override_start(leader, off);
        world.run(deadline / 4)?;
        match tag.and_then(|tag| world.replies.get(&tag)) {
            Some(Ok(_)) => break,
            refused if world.now >= limit => {
                let text = format!("{leader:?} does not begin without {off:?}: {refused:?}");
                return Violation::found("I11 progress", text);
            }
            _ => {}
        }
    }
    become_well(world, false)?;
    commits(world)?;
    if dice.chance(1, 2) {
        world.trouble_again();
        strike(world, dice)?;
        recover(world)?;
    }
    world.tell(|| format!("{absent:?} come back"));
    world.locked = NodeSet::EMPTY;
    all.iter().for_each(|node| world.start(node));
    recover(world)?;
    calm(world)
}

/// Long: faults come and go, and in between it only has to stay as it is.
fn endure(
    world: &mut World,
    dice: &mut Prng,
    span: Duration,
    rounds: &mut u64,
) -> Result<(), Violation> {
    for node in world.shape.nodes.iter().collect::<Vec<_>>() {
        world.start(node);
    }
    recover(world)?;
    let calm_max = span.0 / ROUNDS;
    while world.now.0 < span.0 {
        let unwished = world.checkers.log.unwished();
        world.run(Duration(dice.below(2 * calm_max)))?;
        if world.checkers.log.unwished() > unwished {
            return Violation::found(
                "no needless failover",
                "a member was removed without a fault",
            );
        }
        world.trouble_again();
        trouble(world, dice)?;
        *rounds += 1;
    }
    Ok(())
}

/// Waits until the machines are up, and then for what I11 promises.
fn recover(world: &mut World) -> Result<(), Violation> {
    let deadline = world.shape.deadline();
    let step = Duration(deadline.0 / 10);
    let wanted = |w: &World| w.machines.values().all(|m| !m.wanted || m.is_up());
    // A machine that has just been started may still find its life superseded, or stall: it starts
    // again.
    world.run_while(Duration::from_millis(4_000), step, wanted)?;
    if progress::hope(world) == Hope::Stuck {
        world.tell(|| "no majority of votes and none of fresh lives: all are restarted".into());
        world.helped = true;
        world.run(deadline * 2)?;
        for node in world.shape.nodes.iter().collect::<Vec<_>>() {
            world.cut(node);
            world.start(node);
        }
        world.run_while(Duration::from_millis(1_000), step, wanted)?;
    }
    become_well(world, true)?;
    commits(world)?;
    become_well(world, false)
}

/// Within some deadlines all is as it should be. Who is configured no more has its own time to leave, and each vote that
/// follows takes a disk's.
fn become_well(world: &mut World, forgive: bool) -> Result<(), Violation> {
    let deadline = world.shape.deadline();
    let step = Duration(deadline.0 / 10);
    let mut limit = deadline * DEADLINES;
    if world.shape.reforms {
        limit = limit + world.shape.store_max * VOTES + deadline * 2 * VOTES;
    }
    let began = world.now;
    let mut dropping = Duration::ZERO;
    while progress::missing(world, forgive).is_some() {
        if world.now.since(began) >= limit + dropping {
            world.tell(|| progress::picture(world));
            let what = progress::missing(world, forgive).unwrap_or_default();
            let hope = progress::hope(world);
            let text = format!("after {DEADLINES} deadlines ({hope:?}): {what}");
            return Violation::found("I11 progress", text);
        }
        if progress::leaving(world).is_some() && dropping < DROPS_WITHIN {
            dropping = dropping + step;
        }
        world.run(step)?;
    }
    let took = world.now.since(began);
    world.tell(|| format!("all is well after {took}"));
    world.recovered = world.recovered.max(took.saturating_sub(dropping).0 * 10 / deadline.0.max(1));
    Ok(())
}

/// An entry for each service commits: the operator has its failed nodes tried again.
fn commits(world: &mut World) -> Result<(), Violation> {
    for service in world.shape.services.iter().map(|s| s.id).collect::<Vec<_>>() {
        let limit = world.now.after(world.shape.deadline() * DEADLINES);
        while let Err(refused) = order(world, Command::ClearFailures { service })? {
            if world.now >= limit {
                let text = format!("after {DEADLINES} deadlines an order is not done: {refused}");
                return Violation::found("I11 progress", text);
            }
            // The operator reads the answer and tries again.
            world.run(world.shape.deadline() / 4)?;
        }
    }
    Ok(())
}

/// Orders something at the first node that is up.
fn order(world: &mut World, command: Command) -> Result<Result<(), String>, Violation> {
    let deadline = world.shape.deadline();
    let node = progress::live(world).first().map(|life| life.node);
    let Some(tag) = node.and_then(|node| world.command(node, command)) else {
        return Ok(Err("nobody is up".into()));
    };
    let answered = |w: &World| w.replies.contains_key(&tag);
    world.run_while(deadline * DEADLINES, Duration(deadline.0 / 10), answered)?;
    Ok(match world.replies.get(&tag) {
        Some(Ok(_)) => Ok(()),
        Some(Err(refused)) => Err(refused.to_string()),
        None => Err("no answer".into()),
    })
}

/// A healed cluster stays as it is.
fn calm(world: &mut World) -> Result<(), Violation> {
    let unwished = world.checkers.log.unwished();
    world.run(world.shape.deadline() * 5)?;
    if world.checkers.log.unwished() > unwished {
        return Violation::found("no needless failover", "a healed cluster removed a member");
    }
    // A service may be on its way back to the node that comes first.
    become_well(world, false)
}

/// The line that replays a seed.
#[must_use]
pub fn replay_line(seed: u64, nodes: Option<u8>, hours: Option<f64>) -> String {
    let nodes = nodes.map(|n| format!(" --nodes {n}")).unwrap_or_default();
    let more = nodes + &hours.map(|hours| format!(" --hours {hours}")).unwrap_or_default();
    let more = if more.is_empty() { more } else { format!(" --{more}") };
    format!("cargo xtask sim --seeds 1 --from {seed}{more}")
}
