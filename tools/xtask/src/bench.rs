//! `cargo xtask bench NAME`: measurements; the harness itself is in `bench/`.

use crate::{demo, lab, machine};
use anyhow::Result;

/// Which bench.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(clap::Subcommand)]
enum Bench {
    /// Power cut to answer, with keepalived beside it in the same run.
    Failover {
        /// Valid trials of ours.
        #[arg(long, default_value_t = 200)]
        trials: u32,
        /// One last line of JSON.
        #[arg(long)]
        json: bool,
        /// Anything else goes to the harness as it is (see `-- --help`).
        #[arg(last = true)]
        more: Vec<String>,
    },
    /// In the lab: an address at 10 ms × 3, and the phases of the NFS takeover (proof 3).
    Lab {
        /// Valid trials of each variant.
        #[arg(long, default_value_t = 20)]
        trials: u32,
        /// Only those whose name contains this.
        #[arg(long)]
        only: Option<String>,
    },
}

/// Builds and runs the bench.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let (trials, json, more) = match &arguments.bench {
        Bench::Failover { trials, json, more } => (trials, json, more),
        Bench::Lab { trials, only } => return lab::test(only.as_deref(), Some(*trials), true),
    };
    machine::provide(machine::PEERS)?;
    let mut packages = demo::CLUSTER.to_vec();
    packages.push("ng-bench-failover");
    demo::build(&packages)?;
    let mut list = vec!["--trials".into(), trials.to_string()];
    if *json {
        list.push("--json".into());
    }
    list.extend(more.iter().cloned());
    demo::run_bed("ng-bench-failover", &list)
}
