//! `cargo xtask test [unit|sim|model|system|lab]`: everything that proves the product on this machine.

use crate::run::{as_root, built_test, cargo, run as run_command, target_dir};
use crate::{demo, lab, machine, model};
use anyhow::Result;
use clap::ValueEnum;
use std::time::Instant;

/// Which tiers.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The tiers to run, in this order; all of them if none is named.
    #[arg(value_enum)]
    tiers: Vec<Tier>,
    /// Only system and lab tests whose name contains this.
    #[arg(long)]
    only: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Tier {
    /// Beside the code: no sleeping, no ports, no root.
    Unit,
    /// Scenario files, rules switched off that must be caught, and 300 seeds of the simulator.
    Sim,
    /// Every schedule within small bounds, and rules switched off that it must miss.
    Model,
    /// The real daemons in network namespaces, and the gate in this kernel (root).
    System,
    /// Real kernels, disks and power in the lab (root).
    Lab,
}

/// How many seeds.
#[derive(clap::Args)]
pub(crate) struct SimArguments {
    /// How many seeds.
    #[arg(long, default_value_t = 300)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Anything else goes to the simulator as it is.
    #[arg(last = true)]
    more: Vec<String>,
}

/// Runs the tiers.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let all = [Tier::Unit, Tier::Sim, Tier::Model, Tier::System, Tier::Lab];
    let tiers = if arguments.tiers.is_empty() { &all[..] } else { &arguments.tiers };
    for tier in tiers {
        let begin = Instant::now();
        let name = match tier {
            Tier::Unit => unit().map(|()| "unit"),
            Tier::Sim => simulator().map(|()| "sim"),
            Tier::Model => model::test().map(|()| "model"),
            Tier::System => system(arguments.only.as_deref()).map(|()| "system"),
            Tier::Lab => lab::test(arguments.only.as_deref(), None, false).map(|()| "lab"),
        }?;
        eprintln!("\n✔ test {name}: {:.0} s", begin.elapsed().as_secs_f64());
    }
    Ok(())
}

/// Packages whose integration tests have a tier of their own: they need root, or take twenty times longer without
/// optimization.
const WITH_A_TIER: [&str; 5] = ["ng-testbed", "ng-gate", "ng-doctor", "ng-proofs", "ng-sim"];

fn unit() -> Result<()> {
    let list = ["test", "--workspace", "--locked", "--lib", "--bins", "--tests", "--quiet"];
    let mut tests = cargo(&list);
    let mut others = cargo(&["test", "--locked", "--lib", "--bins", "--quiet"]);
    for package in WITH_A_TIER {
        tests.args(["--exclude", package]);
        others.args(["--package", package]);
    }
    run_command(tests)?;
    run_command(others)?;
    run_command(cargo(&["test", "--workspace", "--locked", "--doc", "--quiet"]))
}

/// Written schedules, rules switched off that the checkers must catch, and then seeds.
fn simulator() -> Result<()> {
    let list = ["test", "--release", "--locked", "--quiet", "--package", "ng-sim"];
    let mut schedules = cargo(&list);
    schedules.args(["--features", "mutations"]);
    run_command(schedules)?;
    // Schedules that only single messages can say, with their rules on and off.
    let list = ["test", "--release", "--locked", "--quiet", "--package", "ng-agreement"];
    let mut scripts = cargo(&list);
    scripts.args(["--features", "mutations", "--test", "cluster"]);
    run_command(scripts)?;
    sim(&SimArguments { seeds: 300, from: 1, more: vec![] })
}

/// Runs seeds of the simulator.
pub(crate) fn sim(arguments: &SimArguments) -> Result<()> {
    let (seeds, from) = (arguments.seeds.to_string(), arguments.from.to_string());
    let mut list = vec!["run", "--release", "--locked", "--quiet", "--package", "ng-sim", "--"];
    list.extend(["--seeds", &seeds, "--from", &from]);
    list.extend(arguments.more.iter().map(String::as_str));
    run_command(cargo(&list))
}

fn system(only: Option<&str>) -> Result<()> {
    machine::provide(machine::BED)?;
    demo::build(demo::CLUSTER)?;
    for package in ["ng-gate", "ng-doctor"] {
        run_command(as_root(built_test(package, "kernel")?, &["--quiet".into()], demo::WHY)?)?;
    }
    bed(only.map(str::to_owned).into_iter().collect())
}

/// The system tests of the bed, with these words.
fn bed(words: Vec<String>) -> Result<()> {
    let program = built_test("ng-testbed", "system")?;
    let mut list = vec!["--bin-dir".to_owned(), target_dir().join("release").display().to_string()];
    list.extend(words);
    run_command(as_root(program, &list, demo::WHY)?)
}

/// Random combinations of faults by seed.
pub(crate) fn faults(seeds: u64, from: u64) -> Result<()> {
    machine::provide(machine::BED)?;
    demo::build(demo::CLUSTER)?;
    let words = ["--seeds", &seeds.to_string(), "--from", &from.to_string(), "random-combinations"];
    bed(words.map(str::to_owned).to_vec())
}
