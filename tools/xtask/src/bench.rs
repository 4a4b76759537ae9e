//! `cargo xtask bench NAME`: measurements; the harness itself is in `bench/`.

use crate::{demo, lab, machine, test};
use anyhow::Result;

/// Which bench.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(clap::Subcommand)]
enum Bench {
    /// Power cut and daemon kill to answer, with keepalived beside it; lapses of the lease under loss.
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
    /// What a commit costs, beside a bare round trip and corosync's CPG.
    Agree {
        /// Valid trials of what takes long; rounds of 200 of what is short.
        #[arg(long, default_value_t = 20)]
        trials: u32,
        /// One last line of JSON.
        #[arg(long)]
        json: bool,
        /// Anything else goes to the harness as it is (see `-- --help`).
        #[arg(last = true)]
        more: Vec<String>,
    },
    /// The largest cluster in one process, over real sockets: beats, changes of the view, half of the nodes at once.
    Members {
        /// Valid trials.
        #[arg(long, default_value_t = 20)]
        trials: u32,
        /// One last line of JSON.
        #[arg(long)]
        json: bool,
        /// Anything else goes to the harness as it is (see `-- --help`).
        #[arg(last = true)]
        more: Vec<String>,
    },
    /// A long time under four hogs, keepalived and corosync beside it: no failover that no stall explains.
    Soak {
        /// How long.
        #[arg(long, default_value_t = 30)]
        minutes: u64,
    },
    /// Random combinations of faults on the real daemons, by seed.
    Faults {
        /// How many seeds.
        #[arg(long, default_value_t = 200)]
        seeds: u64,
        /// The first seed.
        #[arg(long, default_value_t = 1)]
        from: u64,
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
    match &arguments.bench {
        Bench::Failover { trials, json, more } => {
            let mut list = vec!["--trials".into(), trials.to_string()];
            if *json {
                list.push("--json".into());
            }
            list.extend(more.iter().cloned());
            harness("ng-bench-failover", &list)
        }
        Bench::Agree { trials, json, more } => {
            let mut list = vec!["--trials".into(), trials.to_string()];
            if *json {
                list.push("--json".into());
            }
            list.extend(more.iter().cloned());
            harness("ng-bench-agree", &list)
        }
        Bench::Members { trials, json, more } => {
            let mut list = vec!["--trials".into(), trials.to_string()];
            if *json {
                list.push("--json".into());
            }
            list.extend(more.iter().cloned());
            demo::build(&["ng-bench-members"])?;
            demo::run_bed("ng-bench-members", &list)
        }
        Bench::Soak { minutes } => {
            harness("ng-bench-failover", &["soak".into(), "--minutes".into(), minutes.to_string()])
        }
        Bench::Faults { seeds, from } => test::faults(*seeds, *from),
        Bench::Lab { trials, only } => lab::test(only.as_deref(), Some(*trials), true),
    }
}

fn harness(program: &'static str, list: &[String]) -> Result<()> {
    machine::provide(machine::PEERS)?;
    let mut packages = demo::CLUSTER.to_vec();
    packages.push(program);
    demo::build(&packages)?;
    demo::run_bed(program, list)
}
