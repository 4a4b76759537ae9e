//! Combinations of all faults by seed. Whatever they are: one owner at any time, no owner without a
//! majority, and the service back when they have stopped.
//!
//! The suite runs a few seeds from a fixed start; `--seeds N` and `--from S` say otherwise.

use crate::Test;
use crate::arena::Arena;
use crate::draw::{Event, Fault, Plan};
use base::{Duration, Instant};
use std::process::Command;
use std::sync::OnceLock;
use testbed::error::{BedError, Result, run};
use testbed::hearing::Hearing;
use testbed::load::{Hogs, Storm};
use testbed::os;
use testbed::programs::Programs;
use testbed::spec::{SERVICE, Spec};
use testbed::suite::Verdict;
use testbed::topology::{FLOATING, group, node_name};

pub(crate) const TESTS: &[Test] = &[Test { name: "random-combinations", run: combinations }];

/// How many seeds, and the first.
pub(crate) static SEEDS: OnceLock<(u64, u64)> = OnceLock::new();
const SEEDS_OF_THE_SUITE: (u64, u64) = (10, 1);

/// A cold start and an admission fit three times.
const BACK: Duration = Duration::from_millis(15_000);
const SECONDS: Duration = Duration::from_millis(5_000);
const STORM_RATE: u64 = 20_000;

fn combinations(programs: &Programs) -> Result<Verdict> {
    let (count, first) = *SEEDS.get_or_init(|| SEEDS_OF_THE_SUITE);
    let mut wrong = Vec::new();
    let mut slowest = Duration::ZERO;
    for seed in first..first.saturating_add(count) {
        let plan = Plan::draw(seed);
        match one(&plan, programs) {
            Ok(Ok(back)) => slowest = slowest.max(back),
            Err(BedError::Interrupted) => return Err(BedError::Interrupted),
            Ok(Err(why)) => wrong.push(complaint(seed, &plan, &why)),
            Err(error) => wrong.push(complaint(seed, &plan, &error.to_string())),
        }
        if count > SEEDS_OF_THE_SUITE.0 && seed % 10 == 0 {
            println!("      to seed {seed}: {} wrong", wrong.len());
        }
    }
    println!("      {count} seeds from {first}; slowest return {slowest} after the last fault");
    if wrong.is_empty() { Ok(Verdict::Pass) } else { Ok(Verdict::Fail(wrong.join("\n"))) }
}

fn complaint(seed: u64, plan: &Plan, why: &str) -> String {
    let text = format!("seed {seed}: {why}\n  {plan:?}");
    println!("      {}", text.replace('\n', "\n      "));
    text
}

/// One begin or end of a fault.
struct Turn<'p> {
    at: Duration,
    begins: bool,
    event: &'p Event,
}

/// What stays as long as a fault lasts.
#[derive(Default)]
struct Held {
    hogs: Option<Hogs>,
    storm: Option<Storm>,
}

/// One seed: how long the service needed to be back, or what was wrong.
fn one(plan: &Plan, programs: &Programs) -> Result<std::result::Result<Duration, String>> {
    let spec = Spec { shape: plan.shape, witnesses: plan.witnesses.clone(), ..Spec::default() };
    let mut arena = Arena::start(spec, programs)?;
    let hearing = Hearing::install(arena.cluster.bed().topology())?;
    let mut turns = Vec::new();
    for event in &plan.events {
        turns.push(Turn { at: event.from, begins: true, event });
        turns.push(Turn { at: event.to, begins: false, event });
    }
    turns.sort_by_key(|turn| turn.at);
    let begin = os::now();
    let mut held = Held::default();
    for turn in &turns {
        os::sleep_until(begin + turn.at);
        let result = if turn.begins {
            start(&turn.event.fault, &mut arena, &hearing, &mut held)?;
            Ok(())
        } else {
            let result = silent(turn.event, plan, &arena, begin);
            stop(&turn.event.fault, &mut arena, &hearing, &mut held)?;
            result
        };
        if let Err(why) = result {
            return Ok(Err(why));
        }
    }
    whole(&mut arena)?;
    let calm = os::now();
    if let Err(error) = arena.cluster.settle_within(BACK) {
        return Ok(Err(format!("the service is not back: {error}")));
    }
    let back = os::now().since(calm);
    Ok(judge(arena)?.map(|()| back))
}

fn start(fault: &Fault, arena: &mut Arena, hearing: &Hearing, held: &mut Held) -> Result<()> {
    let all: Vec<u8> = arena.cluster.ids().collect();
    let topology = arena.cluster.bed().topology();
    match fault {
        Fault::Cut(node) => drop(arena.cluster.cut(*node)?),
        // What is not there any more (its other half has ended it) cannot be signalled.
        Fault::Kill(node, names) => {
            let _ = arena.cluster.signal(*node, names, libc::SIGKILL);
            arena.cluster.retire(*node);
        }
        Fault::Stop(node, names) => drop(arena.cluster.signal(*node, names, libc::SIGSTOP)),
        Fault::Unplug(node) => topology.ports().set_group(group(*node), false)?,
        Fault::Split(groups) => {
            hearing.split(&groups.iter().map(Vec::as_slice).collect::<Vec<_>>());
        }
        Fault::Unheard(node) => {
            let others = all.iter().filter(|it| *it != node);
            others.for_each(|it| hearing.set_deaf(*it, 0, &[*node]));
        }
        Fault::Deaf(node) => {
            let others: Vec<u8> = all.iter().copied().filter(|it| it != node).collect();
            hearing.set_deaf(*node, 0, &others);
        }
        Fault::HandPut(node) => {
            let (name, address) = (topology.node(*node).name(), format!("{FLOATING}/24"));
            // The owner has it already.
            let _ =
                run(Command::new("ip")
                    .args(["-n", name, "address", "add", &address, "dev", "eth0"]));
        }
        Fault::Filters(node) => {
            let name = topology.node(*node).name();
            run(Command::new("tc").args(["-n", name, "qdisc", "del", "dev", "eth0", "clsact"]))?;
        }
        Fault::Anew(node) => topology.replace_interface(*node, 1)?,
        Fault::Move(node) => {
            // Refused or not: the planner's affair.
            if let Ok(mut client) = arena.cluster.client(*node) {
                let _ = client.move_service(SERVICE, &node_name(*node));
            }
        }
        Fault::Hogs => held.hogs = Some(Hogs::start()),
        Fault::Storm => held.storm = Some(Storm::start(topology, &all, STORM_RATE)?),
    }
    Ok(())
}

fn stop(fault: &Fault, arena: &mut Arena, hearing: &Hearing, held: &mut Held) -> Result<()> {
    match fault {
        Fault::Cut(node) => arena.cluster.restore(*node)?,
        Fault::Stop(node, names) => {
            for name in *names {
                // Fast ends a control that makes no progress.
                let _ = arena.cluster.signal(*node, &[name], libc::SIGCONT);
            }
        }
        Fault::Unplug(node) => {
            arena.cluster.bed().topology().ports().set_group(group(*node), true)?;
        }
        Fault::Split(_) | Fault::Unheard(_) | Fault::Deaf(_) => hearing.heal(),
        Fault::Hogs => held.hogs = None,
        Fault::Storm => held.storm = None,
        Fault::Kill(node, _) => restart(arena, *node)?,
        Fault::HandPut(_) | Fault::Filters(_) | Fault::Anew(_) | Fault::Move(_) => {}
    }
    Ok(())
}

/// Starts the daemons of a node once the former ones have ended.
fn restart(arena: &mut Arena, node: u8) -> Result<()> {
    let end = os::now() + SECONDS;
    let all = ["netguard-fast", "netguard-control", "netguard-sweep"];
    while all.iter().any(|it| arena.cluster.find(node, it).is_some()) && os::now() < end {
        os::sleep(Duration::from_millis(5));
    }
    arena.cluster.start_daemons(node)
}

/// No fault is left: a node whose daemons ended meanwhile (control was stopped, a life is over) gets
/// them started again, as a machine's service manager does.
fn whole(arena: &mut Arena) -> Result<()> {
    os::sleep(Duration::from_millis(300));
    for node in arena.cluster.ids() {
        if arena.cluster.find(node, "netguard-fast").is_none() {
            restart(arena, node)?;
        }
    }
    Ok(())
}

/// While no group had a majority, nobody answered (S8).
fn silent(
    event: &Event,
    plan: &Plan,
    arena: &Arena,
    begin: Instant,
) -> std::result::Result<(), String> {
    let Fault::Split(groups) = &event.fault else { return Ok(()) };
    if groups.iter().any(|group| group.len() >= plan.majority()) {
        return Ok(());
    }
    let after = begin + event.from + arena.cluster.spec().deadline() + Duration::from_millis(20);
    let late = arena.cluster.bed().observer().record().first_answer(after, |_| true);
    late.map_or(Ok(()), |late| Err(format!("nobody has a majority, and it answers: {late:?}")))
}

/// One answerer at a time, no panic, and every alarm says what is wrong and what to do.
fn judge(arena: Arena) -> Result<std::result::Result<(), String>> {
    for node in arena.cluster.ids() {
        let log = arena.cluster.log(node);
        if let Some(line) = log.lines().find(|line| line.contains("panicked")) {
            return Ok(Err(format!("n{node}: {line}")));
        }
        for problem in arena.cluster.status(node)?.health().problems {
            if problem.message.is_empty() || problem.remedy.is_empty() {
                return Ok(Err(format!("n{node}: an alarm without words: {problem:?}")));
            }
        }
    }
    Ok(match arena.end()? {
        Verdict::Pass => Ok(()),
        Verdict::Fail(why) | Verdict::Skip(why) => Err(why),
    })
}
