//! `ng-bench-peers`: the same power cuts, on the same kind of bed, for NetGuard and its peers; and the same hogs, to see who
//! believes then that a node failed. In turn, a few cuts of each at a time, so that all have the same machine.
//!
//! They do different things, and the table says what was waited for: an address that answers again, a membership, a session,
//! a write. A trial that overlaps a stall of the machine is void and repeated (DESIGN section 4).

mod bfd;
mod etcd;
mod log;
mod peer;
mod ring;

use anyhow::{Context, Result, bail};
use base::Duration;
use clap::Parser;
use peer::{KINDS, Kind, Peer};
use serde::Serialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use testbed::load::Hogs;
use testbed::os;
use testbed::plot::{self, Curve};
use testbed::programs::Programs;
use testbed::report::{self, Row, Unit};
use testbed::stall::StallMeter;
use testbed::trial::REPEATS_MAX;

/// Cuts of one before the next has its turn.
const BLOCK: u32 = 5;
/// Between a node's return and the next cut.
const REST: Duration = Duration::from_millis(500);
/// What takes longer is counted, and said.
const LIMIT: Duration = Duration::from_millis(10_000);
/// A stall that makes a trial void: half of the interval that all have.
const STALL: Duration = Duration::from_millis(5);
/// Cuts fall anywhere in this.
const PHASE: Duration = Duration::from_millis(10);

/// Compares.
#[derive(Parser)]
#[command(name = "ng-bench-peers", version)]
struct Arguments {
    /// Valid cuts of each.
    #[arg(long, default_value_t = 20)]
    trials: u32,
    /// Seconds under four hogs, of each.
    #[arg(long, default_value_t = 30)]
    hog_seconds: u64,
    /// Only these, with commas between.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// One last line of JSON.
    #[arg(long)]
    json: bool,
    /// Where table and plot go.
    #[arg(long, default_value = "bench/results")]
    out: PathBuf,
    /// The folder of the programs; default: beside this one.
    #[arg(long)]
    bin_dir: Option<PathBuf>,
}

/// What came of one of them.
#[derive(Default)]
struct Outcome {
    values: Vec<Duration>,
    voids: u64,
    /// Cuts after which nothing was seen within the limit.
    missed: u64,
    /// What it believed wrongly, and for how long there were hogs.
    mistakes: u64,
    hogged: Duration,
}

#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    until: &'a str,
    settings: &'a str,
    row: Option<Row>,
    missed: u64,
    mistakes_under_hogs: u64,
    hog_seconds: u64,
}

#[derive(Serialize)]
struct Summary<'a> {
    bench: &'static str,
    commit: String,
    host: String,
    load: f64,
    peers: Vec<Line<'a>>,
}

fn main() -> ExitCode {
    report::exit(&run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    os::catch_interrupts();
    let programs = Programs::find(arguments.bin_dir.as_deref());
    let kinds = chosen(arguments)?;
    let meter = StallMeter::start();
    if !meter.is_realtime() {
        eprintln!("no real-time priority: the stall meter also counts what other programs take");
    }
    let load = os::load();
    let mut outcomes: Vec<Outcome> = kinds.iter().map(|_| Outcome::default()).collect();
    let mut left = arguments.trials;
    while left > 0 {
        let cuts = left.min(BLOCK);
        left -= cuts;
        for (kind, outcome) in kinds.iter().zip(&mut outcomes) {
            let mut peer = (kind.start)(&programs).with_context(|| kind.name)?;
            for _ in 0..cuts {
                trial(kind, peer.as_mut(), &meter, outcome)?;
            }
            if left == 0 && arguments.hog_seconds > 0 {
                hog(kind, peer.as_mut(), arguments.hog_seconds, outcome)?;
            }
        }
    }
    let summary = Summary {
        bench: "peers",
        commit: report::commit(),
        host: report::host(),
        load,
        peers: kinds.iter().zip(&outcomes).map(|(kind, outcome)| line(kind, outcome)).collect(),
    };
    let table = table(&summary);
    println!("\n{table}");
    let curve = |(kind, it): (&&Kind, &Outcome)| Curve::of(kind.name, &it.values);
    let curves: Vec<_> = kinds.iter().zip(&outcomes).map(curve).collect();
    let plot = plot::draw("From the power cut; share of the cuts", &curves);
    write(&arguments.out, &summary, &table, &plot.map_err(anyhow::Error::msg)?)?;
    if arguments.json {
        println!("{}", serde_json::to_string(&summary)?);
    }
    Ok(())
}

/// Those that were asked for and are installed.
fn chosen(arguments: &Arguments) -> Result<Vec<&'static Kind>> {
    let asked = |kind: &&Kind| {
        arguments.only.is_empty() || arguments.only.iter().any(|name| name == kind.name)
    };
    let there = |kind: &&'static Kind| match kind.program {
        Some((program, package)) if !Path::new(program).is_file() => {
            eprintln!("no row for {}: {program} is missing (apt-get install {package})", kind.name);
            false
        }
        _ => true,
    };
    let kinds: Vec<&Kind> = KINDS.iter().filter(asked).filter(there).collect();
    if kinds.is_empty() {
        bail!("nothing to compare: --only takes {}", KINDS.map(|kind| kind.name).join(", "));
    }
    Ok(kinds)
}

/// One valid cut.
fn trial(
    kind: &Kind,
    peer: &mut dyn Peer,
    meter: &StallMeter,
    outcome: &mut Outcome,
) -> Result<()> {
    for _ in 0..=REPEATS_MAX {
        peer.settle()?;
        // Starting a node is work for the machine, and its first moments are not what is measured.
        os::sleep(REST);
        let victim = peer.settle()?;
        os::sleep(PHASE * 4 + Duration::from_nanos(os::random() % PHASE.nanos()));
        let (cut, seen) = peer.cut(victim, LIMIT)?;
        // A stall is known when it is over.
        os::sleep(Duration::from_millis(20));
        let stall = meter.overlaps(cut.at - PHASE * 2, seen.unwrap_or(cut.at), STALL);
        peer.restore(victim)?;
        if os::interrupted() {
            bail!("interrupted");
        }
        match (stall, seen) {
            (Some(_), _) => outcome.voids += 1,
            (None, Some(seen)) => {
                let took = seen.since(cut.at);
                eprintln!("{:<11} n{victim} cut: {took}", kind.name);
                outcome.values.push(took);
                return Ok(());
            }
            (None, None) => {
                eprintln!("{:<11} n{victim} cut: nothing within {LIMIT}", kind.name);
                outcome.missed += 1;
                return Ok(());
            }
        }
    }
    eprintln!("{:<11} given up: the machine stalls", kind.name);
    Ok(())
}

/// Some time under four programs that never sleep.
fn hog(kind: &Kind, peer: &mut dyn Peer, seconds: u64, outcome: &mut Outcome) -> Result<()> {
    peer.settle()?;
    os::sleep(REST);
    peer.mistakes()?;
    let hogs = Hogs::start();
    outcome.hogged = Duration::from_millis(seconds * 1_000);
    os::sleep(outcome.hogged);
    drop(hogs);
    outcome.mistakes = peer.mistakes()?;
    eprintln!("{:<11} {} mistakes in {seconds} s under four hogs", kind.name, outcome.mistakes);
    Ok(())
}

fn line<'k>(kind: &'k Kind, outcome: &Outcome) -> Line<'k> {
    Line {
        name: kind.name,
        until: kind.until,
        settings: kind.settings,
        row: Row::new(kind.name, Unit::Millis, &outcome.values, outcome.voids),
        missed: outcome.missed,
        mistakes_under_hogs: outcome.mistakes,
        hog_seconds: outcome.hogged.millis() / 1_000,
    }
}

/// The table, as Markdown.
fn table(summary: &Summary<'_>) -> String {
    let Summary { commit, host, load, peers, .. } = summary;
    let mut text = format!(
        "From a power cut of one of three nodes; milliseconds. Commit {commit}, {host}, load {load:.2} at the beginning.\n\n\
         | who | until | n | p50 | p95 | max | voids | nothing in 10 s | mistakes under four hogs |\n\
         |---|---|---|---|---|---|---|---|---|\n"
    );
    for Line { name, until, settings, row, missed, mistakes_under_hogs, hog_seconds } in peers {
        let figures = row.as_ref().map_or_else(
            || "0 | – | – | – | –".to_owned(),
            |Row { n, p50, p95, max, voids, .. }| {
                format!("{n} | {p50:.1} | {p95:.1} | {max:.1} | {voids}")
            },
        );
        let _ = writeln!(
            text,
            "| {name} ({settings}) | {until} | {figures} | {missed} | {mistakes_under_hogs} in {hog_seconds} s |"
        );
    }
    text
}

/// `peers-COMMIT.md`, `.svg` and `.json`.
fn write(dir: &Path, summary: &Summary<'_>, table: &str, plot: &str) -> Result<()> {
    let name = format!("peers-{}", summary.commit);
    report::write(dir, &name, &serde_json::to_string(summary)?)?;
    for (end, text) in [("md", table), ("svg", plot)] {
        let path = dir.join(format!("{name}.{end}"));
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
        println!("{}", path.display());
    }
    Ok(())
}
