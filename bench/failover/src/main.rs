//! `ng-bench-failover`: from the power cut to the first answer of the next owner, with keepalived
//! beside it.
//!
//! Both run at the same time on beds of their own and are cut in turn, so that the machine's load
//! is the same for both. A trial that overlaps a stall of the machine is void and repeated (DESIGN
//! section 4). Then the owner's daemons are killed one at a time, and clusters whose links lose
//! beats are watched. `soak` is a long time under load.

mod kills;
mod lapses;
mod report;
mod soak;
mod trial;

use anyhow::{Result, bail};
use base::Duration;
use clap::{Parser, Subcommand};
use report::{Rows, Summary};
use std::path::PathBuf;
use std::process::ExitCode;
use testbed::cluster::Cluster;
use testbed::keepalived::Keepalived;
use testbed::os;
use testbed::programs::Programs;
use testbed::spec::Spec;
use testbed::stall::StallMeter;
use testbed::topology::Shape;
use testbed::trial::Contender;
use trial::Voids;

/// Measures failover.
#[derive(Parser)]
#[command(name = "ng-bench-failover", version)]
struct Arguments {
    /// Valid trials of each.
    #[arg(long, default_value_t = 200)]
    trials: u32,
    /// Nodes of each bed.
    #[arg(long, default_value_t = 3)]
    nodes: u8,
    /// One last line of JSON.
    #[arg(long)]
    json: bool,
    /// Where the raw HdrHistogram logs go.
    #[arg(long, default_value = "bench/results/local")]
    out: PathBuf,
    /// Only these: `netguard`, `fast` (1 ms × 3; not without being asked for), `keepalived`, `kills`, `lapses`.
    #[arg(long)]
    only: Option<String>,
    /// Seconds under each loss.
    #[arg(long, default_value_t = 60)]
    lapse_seconds: u64,
    /// The folder of the programs; default: beside this one.
    #[arg(long)]
    bin_dir: Option<PathBuf>,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Subcommand)]
enum What {
    /// A long time under four hogs: no failover that no stall explains.
    Soak {
        /// How long.
        #[arg(long, default_value_t = 30)]
        minutes: u64,
    },
}

fn main() -> ExitCode {
    testbed::report::exit(&run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    os::catch_interrupts();
    let programs = Programs::find(arguments.bin_dir.as_deref());
    if let Some(What::Soak { minutes }) = arguments.what {
        return soak::run(Duration::from_millis(minutes * 60_000), &programs);
    }
    let meter = StallMeter::start();
    if !meter.is_realtime() {
        eprintln!("no real-time priority: the stall meter also counts what other programs take");
    }
    let load = os::load();
    let mut rows = Rows::default();
    let mut void_count = cuts(arguments, &programs, &meter, &mut rows)?;
    if arguments.wants("kills") {
        let voids =
            kills::measure(arguments.trials, arguments.nodes, &programs, &meter, &mut rows)?;
        println!("kills: {} void trials repeated, {} given up", voids.count, voids.given_up);
        void_count += voids.count;
    }
    let mut lapses = Vec::new();
    if arguments.wants("lapses") {
        lapses =
            lapses::measure(Duration::from_millis(arguments.lapse_seconds * 1_000), &programs)?;
    }
    println!("\n{}", rows.table());
    lapses.iter().for_each(|it| println!("{it}"));
    let commit = testbed::report::commit();
    rows.write_logs(&arguments.out, &format!("failover-{commit}"))?;
    println!("raw histograms: {}", arguments.out.display());
    if arguments.json {
        let rows = rows.figures();
        let host = testbed::report::host();
        let summary =
            Summary { bench: "failover", commit, host, load, voids: void_count, rows, lapses };
        println!("{}", serde_json::to_string(&summary)?);
    }
    Ok(())
}

impl Arguments {
    fn wants(&self, name: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == name)
    }
}

/// Power cuts of everybody in turn; how many trials were void.
fn cuts(
    arguments: &Arguments,
    programs: &Programs,
    meter: &StallMeter,
    rows: &mut Rows,
) -> Result<u64> {
    let mut contenders: Vec<Box<dyn Contender>> = Vec::new();
    if arguments.wants("netguard") {
        let spec = Spec { shape: Shape { nodes: arguments.nodes, links: 2 }, ..Spec::default() };
        contenders.push(Box::new(Cluster::start(spec, programs)?));
    }
    // One node's stall of 2 ms is a failover there: not among what runs without being asked for.
    if arguments.only.as_deref() == Some("fast") {
        let shape = Shape { nodes: arguments.nodes, links: 2 };
        let spec = Spec { shape, interval: "1ms".into(), ..Spec::default() };
        contenders.push(Box::new(Cluster::start(spec, programs)?));
    }
    if arguments.wants("keepalived") {
        match Keepalived::obstacle() {
            Some(reason) => eprintln!("no row for keepalived: {reason}"),
            None => contenders.push(Box::new(Keepalived::start(arguments.nodes, programs)?)),
        }
    }
    let mut voids = vec![Voids::default(); contenders.len()];
    for number in 1..=arguments.trials {
        for (contender, voids) in contenders.iter_mut().zip(&mut voids) {
            one_trial(contender.as_mut(), meter, voids, rows, number)?;
        }
    }
    for (contender, voids) in contenders.iter_mut().zip(&voids) {
        println!("{}", closing_line(contender.as_mut(), voids));
    }
    let two_owners = contenders.iter_mut().map(|it| it.bed_mut().observer().record());
    let two_owners: u64 = two_owners.map(|it| it.violation_count()).sum();
    if two_owners > 0 {
        bail!("two owners were seen {two_owners} times: the figures above are worth nothing");
    }
    Ok(voids.iter().map(|it| it.count).sum())
}

fn one_trial(
    contender: &mut dyn Contender,
    meter: &StallMeter,
    voids: &mut Voids,
    rows: &mut Rows,
    number: u32,
) -> Result<()> {
    let Some(trial) = trial::valid(contender, meter, voids)? else {
        eprintln!("{number:>4} {:<11} given up: the machine stalls", contender.name());
        return Ok(());
    };
    let took = trial.took();
    let mut line = format!("{number:>4} {:<11} n{} cut", contender.name(), trial.victim);
    line.push_str(&format!(" → n{} answers {took}", trial.answer.node));
    let Some(timeline) = &trial.timeline else {
        rows.add("keepalived_cut_to_answer_ms", took)?;
        eprintln!("{line}");
        return Ok(());
    };
    let fast = contender.interval() < Duration::from_millis(10);
    rows.add(if fast { "cut_to_answer_1ms_ms" } else { "cut_to_answer_ms" }, took)?;
    if let Some(agreed) = timeline.cut_to_agreed() {
        rows.add("cut_to_agreed_ms", agreed)?;
        line.push_str(&format!(" · agreed {agreed}"));
    }
    if let Some(rest) = timeline.deadline_to_answer() {
        rows.add("deadline_to_answer_ms", rest)?;
        line.push_str(&format!(" · from the deadline {rest}"));
    }
    eprintln!("{line}");
    Ok(())
}

fn closing_line(contender: &mut dyn Contender, voids: &Voids) -> String {
    let name = contender.name();
    let record = contender.bed_mut().observer().record();
    let Voids { count, given_up, longest, cut_longest } = *voids;
    let mut line = format!("{name}: {count} void trials repeated");
    if count > 0 {
        line.push_str(&format!(" (stalls up to {longest}, {given_up} given up)"));
    }
    line.push_str(&format!("; the cut itself took {cut_longest} at most"));
    line.push_str(&format!("; {} answers", record.answers().0));
    let middle = record.round_trip();
    line.push_str(&format!(", round trip of a probe {middle} (median of the last trial)"));
    line
}
