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
    Failover(Trials),
    /// What a commit costs, beside a bare round trip and corosync's CPG.
    Agree(Trials),
    /// How exactly beats leave, beside a bare timer; what each back end and the whole fast path cost.
    Beat(Trials),
    /// The largest cluster in one process, over real sockets: beats, changes of the view, half of the nodes at once.
    Members(Trials),
    /// The same power cuts and hogs for NetGuard, keepalived, corosync, FRR's bfdd and etcd: one table, one plot.
    Peers(Trials),
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
        Bench::Failover(trials) => harness("ng-bench-failover", &trials.list(200)),
        Bench::Agree(trials) => harness("ng-bench-agree", &trials.list(20)),
        Bench::Beat(trials) => harness("ng-bench-beat", &trials.list(10)),
        Bench::Members(trials) => {
            demo::build(&["ng-bench-members"])?;
            demo::run_bed("ng-bench-members", &trials.list(20))
        }
        Bench::Peers(trials) => {
            machine::provide(machine::MORE_PEERS)?;
            harness("ng-bench-peers", &trials.list(20))
        }
        Bench::Soak { minutes } => {
            harness("ng-bench-failover", &["soak".into(), "--minutes".into(), minutes.to_string()])
        }
        Bench::Faults { seeds, from } => test::faults(*seeds, *from),
        Bench::Lab { trials, only } => lab::test(only.as_deref(), Some(*trials), true),
    }
}

/// What every harness of trials takes.
#[derive(clap::Args)]
struct Trials {
    /// Valid trials [default: 200 of failover, 10 slices of beat, 20 of the others].
    #[arg(long)]
    trials: Option<u32>,
    /// One last line of JSON.
    #[arg(long)]
    json: bool,
    /// Anything else goes to the harness as it is (see `-- --help`).
    #[arg(last = true)]
    more: Vec<String>,
}

impl Trials {
    /// The harness's own arguments.
    fn list(&self, trials: u32) -> Vec<String> {
        let mut list = vec!["--trials".into(), self.trials.unwrap_or(trials).to_string()];
        if self.json {
            list.push("--json".into());
        }
        list.extend(self.more.iter().cloned());
        list
    }
}

fn harness(program: &'static str, list: &[String]) -> Result<()> {
    machine::provide(machine::PEERS)?;
    let mut packages = demo::CLUSTER.to_vec();
    packages.push(program);
    demo::build(&packages)?;
    demo::run_bed(program, list)
}
