//! The demo: a cluster loses its active node again and again while a client keeps asking one
//! address.

use anyhow::{Result, bail};
use base::Duration;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use testbed::cluster::Cluster;
use testbed::programs::Programs;
use testbed::spec::{SERVICE, Spec};
use testbed::stall::StallMeter;
use testbed::topology::{FLOATING, Shape, node_name};
use testbed::trial::{REPEATS_MAX, Trial, once};

/// What the demo may be told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many nodes, 3 to 16.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(3..=16))]
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

/// What is said beside the figures, and counts for the exit code.
struct Check {
    what: String,
    holds: bool,
}

/// Runs it.
pub(crate) fn run(arguments: &Arguments, programs: &Programs) -> Result<()> {
    let spec = Spec {
        shape: Shape { nodes: arguments.nodes, links: 2 },
        interval: arguments.interval.clone(),
        ..Spec::default()
    };
    let interval = spec.interval_length();
    if interval == Duration::ZERO {
        bail!("--interval {:?}: give a number with ms, as 10ms", arguments.interval);
    }
    let budget = spec.deadline() + Duration::from_millis(10);
    println!(
        "{} nodes, 2 links, a beat every {interval}, {} misses; the client asks {FLOATING} every \
         millisecond",
        arguments.nodes, spec.misses
    );
    progress("building namespaces, starting daemons, cold start …");
    let mut cluster = Cluster::start(spec, programs)?;
    let meter = StallMeter::start();
    let begin = cluster.settle()?;
    clear();
    println!(
        "settled: {} owns {SERVICE} (g{}), {} is primary",
        node_name(begin.owner),
        begin.generation,
        node_name(begin.primary)
    );
    notes(&cluster, &meter);
    let (trials, done) = cuts(arguments.cuts, &mut cluster, &meter)?;
    progress("the last node comes back …");
    let end = cluster.settle()?;
    clear();
    figures(&trials, done);
    let round_trip = cluster.bed().observer().record().round_trip();
    println!("(a probe's round trip in the idle bed: {round_trip})");
    let checks = checks(&cluster, &trials, budget, end.generation, begin.generation + done);
    println!("\nchecked:");
    for check in &checks {
        println!("  {} {}", if check.holds { "✔" } else { "✘" }, check.what);
    }
    if arguments.keep {
        keep(&mut cluster);
    }
    let failed = checks.iter().filter(|it| !it.holds).count();
    if failed > 0 {
        bail!("{failed} of {} checks failed", checks.len());
    }
    Ok(())
}

fn notes(cluster: &Cluster, meter: &StallMeter) {
    if !meter.is_realtime() || !cluster.bed().observer().is_realtime() {
        println!("no real-time priority here: the figures hold what other programs take");
    }
    println!();
}

/// The power cuts, void ones repeated: the valid trials, and how many cuts there were in all.
fn cuts(count: u32, cluster: &mut Cluster, meter: &StallMeter) -> Result<(Vec<Trial>, u64)> {
    let mut trials = Vec::new();
    let mut done = 0;
    println!("{}", head());
    for number in 1..=count {
        for repeat in 0..=REPEATS_MAX {
            progress(&format!("cut {number} of {count}: waiting for all nodes …"));
            let trial = once(cluster, meter)?;
            done += 1;
            clear();
            println!("{}", line(number, count, &trial));
            let Some(stall) = trial.stall else {
                trials.push(trial);
                break;
            };
            let next = if repeat < REPEATS_MAX { "repeated" } else { "given up" };
            println!("      void, {next}: core {} stood still {}", stall.core, stall.length());
        }
    }
    Ok((trials, done))
}

/// The steps of a failover, in the order of the columns.
const COLUMNS: [&str; 7] =
    ["last beat", "deadline", "sealed", "agreed", "driver began", "address up", "answer"];

fn head() -> String {
    let columns: Vec<String> = COLUMNS.iter().map(|it| format!("{it:>WIDTH$}")).collect();
    format!("{:<16}{}   ms from the cut", "cut", columns.concat())
}

/// Wide enough for the longest step.
const WIDTH: usize = 14;

fn line(number: u32, count: u32, trial: &Trial) -> String {
    let steps = trial.timeline.as_ref().map(|it| it.steps(SERVICE)).unwrap_or_default();
    let columns = COLUMNS.iter().map(|column| {
        let found = steps.iter().find(|(step, _)| step == column);
        found.map_or_else(|| format!("{:>WIDTH$}", "-"), |(_, ms)| format!("{ms:>+WIDTH$.1}"))
    });
    let nodes = format!("{} → {}", node_name(trial.victim), node_name(trial.answer.node));
    format!("{:<16}{}", format!("{number:>2}/{count} {nodes}"), columns.collect::<String>())
}

fn figures(trials: &[Trial], done: u64) {
    let mut times: Vec<Duration> = trials.iter().map(Trial::took).collect();
    times.sort_unstable();
    let at = |percent: usize| {
        let place = (times.len() * percent).div_ceil(100).saturating_sub(1);
        times.get(place).map_or(0.0, |it| it.nanos() as f64 / 1e6)
    };
    println!(
        "\npower cut → answer, {} cuts: p50 {:.1} · p95 {:.1} · max {:.1} ms; {} void trials\n",
        times.len(),
        at(50),
        at(95),
        at(100),
        done - times.len() as u64
    );
    let mut bins: BTreeMap<u64, usize> = BTreeMap::new();
    for time in &times {
        *bins.entry(time.millis()).or_default() += 1;
    }
    if let (Some(first), Some(last)) = (bins.keys().next(), bins.keys().next_back()) {
        // An outlier must not make a page of empty lines.
        for bin in (*first..=*last).take(60) {
            let n = bins.get(&bin).copied().unwrap_or(0);
            println!("{bin:>4} ms {}", "█".repeat(n.min(60)));
        }
    }
}

fn checks(
    cluster: &Cluster,
    trials: &[Trial],
    budget: Duration,
    generation: u64,
    expected: u64,
) -> Vec<Check> {
    let record = cluster.bed().observer().record();
    let (answers, direct) = record.answers();
    let mut list = vec![Check {
        what: format!(
            "never two owners: {answers} answers, {direct} of them to probes straight to a node, \
             none by an older generation than one already seen"
        ),
        holds: record.violation_count() == 0 && direct > 0,
    }];
    for violation in record.violations() {
        list.push(Check { what: violation.clone(), holds: false });
    }
    let slow = trials.iter().filter(|it| it.took() >= budget).count();
    list.push(Check {
        what: format!("every valid failover in less than {budget} ({slow} were slower)"),
        holds: slow == 0,
    });
    list.push(Check {
        what: format!("no failover without a cut: generation {generation}, expected {expected}"),
        holds: generation == expected,
    });
    list.push(Check {
        what: format!("every cut node came back as a member: {} of them", cluster.alive().len()),
        holds: cluster.alive().len() == cluster.ids().count(),
    });
    list
}

fn keep(cluster: &mut Cluster) {
    let id = cluster.bed().topology().run().id().to_owned();
    let dir = cluster.bed().programs().dir().display().to_string();
    println!("\nleft running as {id}. To look at it:");
    println!("  {dir}/ng --run-dir {} status", cluster.files(1).run_dir.display());
    println!("  ip netns exec {id}-{} ip address", node_name(1));
    println!("  ip netns exec {id}-client ping {FLOATING}");
    println!("logs: {}", cluster.bed().topology().run().dir().display());
    println!("to remove it:\n  {dir}/netguard-testbed down {id}");
    cluster.keep();
}

/// What is under way, on one line that is overwritten; nothing when nobody looks.
fn progress(text: &str) {
    let mut out = std::io::stdout();
    if out.is_terminal() {
        let _ = write!(out, "\r\x1b[2K{text}");
        let _ = out.flush();
    }
}

fn clear() {
    if std::io::stdout().is_terminal() {
        print!("\r\x1b[2K");
    }
}
