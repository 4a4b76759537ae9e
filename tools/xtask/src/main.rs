//! Developer commands: `cargo xtask demo | test | check | sim | model | fuzz | bench | lab`.
//!
//! They only call what a person could call by hand, and print each command line before it runs.

mod bench;
mod check;
mod demo;
mod fuzz;
mod lab;
mod layers;
mod machine;
mod model;
mod run;
mod test;
mod tidy;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "NetGuard's developer commands", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Three nodes, two links, a client: ten power cuts of the active node, with the timeline of each.
    Demo(demo::Arguments),
    /// Everything that proves the product on this machine, in tiers.
    Test(test::Arguments),
    /// What a change must pass: format, clippy, tidy, deny, documents.
    Check(check::Arguments),
    /// The deterministic simulator: `--seeds N --from S`.
    Sim(test::SimArguments),
    /// Arbitrary input for every decoder and for `apply`: `--minutes N --from SEED`.
    Fuzz(fuzz::Arguments),
    /// Every schedule within bounds, on the cores: `model [--large] [-- SCENARIO --budget ticks=3]`.
    Model(model::Arguments),
    /// Measurements: `bench failover --trials N [--json]`, `bench lab --trials N`.
    Bench(bench::Arguments),
    /// Real kernels, disks and power on this machine: `lab up | down | run | shell | report …`.
    Lab(lab::Arguments),
}

fn main() {
    let result = match Arguments::parse().command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Sim(arguments) => test::sim(&arguments),
        Command::Fuzz(arguments) => fuzz::run(&arguments),
        Command::Model(arguments) => model::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Lab(arguments) => lab::run(&arguments),
    };
    if let Err(error) = result {
        eprintln!("\nxtask: {error:#}");
        std::process::exit(1);
    }
}
