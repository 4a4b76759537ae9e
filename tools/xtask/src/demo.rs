//! `cargo xtask demo`: builds as the user, then lets the test bed run as root.

use crate::machine;
use crate::run::{self, as_root, cargo, target_dir};
use anyhow::Result;

/// What the demo may be told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many nodes.
    #[arg(long, default_value_t = 3)]
    nodes: u8,
    /// Heartbeat interval.
    #[arg(long, default_value = "10ms")]
    interval: String,
    /// How many power cuts.
    #[arg(long, default_value_t = 10)]
    cuts: u32,
    /// Leave the cluster running, and say how to look at it.
    #[arg(long)]
    keep: bool,
}

/// The programs that a cluster in namespaces is made of.
pub(crate) const CLUSTER: &[&str] = &["netguard-fast", "netguard-control", "ng", "ng-testbed"];

/// Builds them for speed.
pub(crate) fn build(packages: &[&str]) -> Result<()> {
    let mut arguments = vec!["build", "--release", "--locked"];
    for package in packages {
        arguments.extend(["--package", package]);
    }
    run::run(cargo(&arguments))
}

/// Why root is needed.
pub(crate) const WHY: &str =
    "the cluster runs in network namespaces of its own, with real-time priority";

/// Runs one of the bed's programs as root.
pub(crate) fn run_bed(program: &str, arguments: &[String]) -> Result<()> {
    run::run(as_root(target_dir().join("release").join(program), arguments, WHY)?)
}

/// Runs the demo.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    machine::provide(machine::BED)?;
    build(CLUSTER)?;
    let mut list: Vec<String> = vec!["demo".into()];
    list.extend(["--nodes".into(), arguments.nodes.to_string()]);
    list.extend(["--interval".into(), arguments.interval.clone()]);
    list.extend(["--cuts".into(), arguments.cuts.to_string()]);
    if arguments.keep {
        list.push("--keep".into());
    }
    run_bed("netguard-testbed", &list)
}
