//! `ng-sim`: seeds, or a written schedule.

use anyhow::Context;
use clap::Parser;
use ng_sim::large;
use ng_sim::scenario::{Scenario, play};
use ng_sim::seed::{self, Options, Report};
use ng_sim::shape::Sabotage;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Runs clusters under a virtual clock with faults that a seed draws, and checks what must hold.
#[derive(Parser, Debug)]
#[command(name = "ng-sim")]
struct Arguments {
    /// How many seeds.
    #[arg(long, default_value_t = 300)]
    seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Nodes per cluster; drawn if not given.
    #[arg(long)]
    nodes: Option<u8>,
    /// Hours of its own time that each cluster lives, with faults spread over them.
    #[arg(long)]
    hours: Option<f64>,
    /// Goes on after a seed has failed.
    #[arg(long)]
    keep_going: bool,
    /// Threads; seeds are independent of each other.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Prints every thing that happens; for one seed or a schedule.
    #[arg(long)]
    verbose: bool,
    /// Prints the messages of the agreement too.
    #[arg(long)]
    messages: bool,
    /// Rules that are switched off, by name (only in builds with the feature `mutations`).
    #[arg(long)]
    without: Vec<String>,
    /// Breaks the world on purpose: long-lease, forget-era, keep-leftovers, gate-per-node,
    /// no-stall-rule or one-actor.
    #[arg(long)]
    sabotage: Option<Sabotage>,
    /// Plays this schedule instead.
    #[arg(long)]
    scenario: Option<PathBuf>,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    /// The largest cluster: what a beat, a change of the view and an admission of many cost.
    Large {
        /// Nodes.
        #[arg(long, default_value_t = 128)]
        nodes: u8,
        /// Of these, how many vote.
        #[arg(long, default_value_t = 7)]
        voters: u8,
    },
}

/// Between two lines of progress.
const LINE_EVERY: Duration = Duration::from_secs(5);

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let told: Option<fn(&str)> =
        if arguments.verbose { Some(|line| println!("{line}")) } else { None };
    if let Some(What::Large { nodes, voters }) = arguments.what {
        let told = |phase: &large::Phase| {
            println!("{}", large::line(phase, nodes));
            if arguments.messages {
                println!("{:#?}", phase.costs.traffic);
            }
        };
        return Ok(match large::run(nodes, voters, told) {
            Ok(()) => ExitCode::SUCCESS,
            Err(found) => {
                println!("FAILED: {found}");
                ExitCode::FAILURE
            }
        });
    }
    if let Some(path) = &arguments.scenario {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let mut scenario = Scenario::parse(&text)
            .map_err(|mistake| anyhow::anyhow!("{}: {mistake}", path.display()))?;
        scenario.shape.sabotage = arguments.sabotage;
        scenario.shape.mutations = rules(&arguments);
        return Ok(match play(&scenario, told) {
            Ok(()) => {
                println!("{}: as expected", path.display());
                ExitCode::SUCCESS
            }
            Err(what) => {
                println!("{}: {what}", path.display());
                ExitCode::FAILURE
            }
        });
    }
    // A panic of a core is a finding like any other; its own message would tear the lines apart.
    if !arguments.verbose {
        std::panic::set_hook(Box::new(|_| {}));
    }
    let messages = arguments.messages;
    let (sabotage, mutations) = (arguments.sabotage, rules(&arguments));
    let span = arguments.hours.map(|hours| Duration::from_secs_f64(hours.max(0.0) * 3_600.0));
    let span = span.map(|span| base::Duration(span.as_nanos() as u64));
    let options = Options { nodes: arguments.nodes, sabotage, mutations, span, told, messages };
    Ok(if run(&arguments, &options) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The rules that are off. Their names live as long as the program.
fn rules(arguments: &Arguments) -> Vec<&'static str> {
    arguments.without.iter().map(|rule| &*rule.clone().leak()).collect()
}

/// What all seeds together were.
#[derive(Debug, Default)]
struct Sum {
    seeds: u64,
    failed: u64,
    lasted_ms: u64,
    planned: u64,
    entries: u64,
    removals: u64,
    installs: u64,
    installing: u64,
    cold: u64,
    rounds: u64,
    helped: u64,
    slowest: (u64, u64),
    line_at: Option<Instant>,
}

impl Sum {
    fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.failed += u64::from(report.found.is_some());
        self.lasted_ms += report.lasted.millis();
        self.planned += report.planned;
        self.entries += report.entries;
        self.removals += report.removals;
        self.installs += report.installs;
        self.installing += u64::from(report.installs > 0);
        self.cold += u64::from(report.era > 1);
        self.rounds += report.rounds;
        self.helped += u64::from(report.helped);
        self.slowest = self.slowest.max((report.recovered, report.seed));
    }
    fn line(&self, began: Instant) -> String {
        format!(
            "{} seeds, {} failed; {} s of cluster time{}, {} M steps, {} entries, {} removals, \
             {} snapshots installed in {} seeds, {} with another cold start, {} after an operator's restart; \
             slowest recovery {}.{} deadlines (seed {}); {:.1} s",
            self.seeds,
            self.failed,
            self.lasted_ms / 1_000,
            if self.rounds == 0 {
                String::new()
            } else {
                format!(" with {} times of trouble", self.rounds)
            },
            self.planned / 1_000_000,
            self.entries,
            self.removals,
            self.installs,
            self.installing,
            self.cold,
            self.helped,
            self.slowest.0 / 10,
            self.slowest.0 % 10,
            self.slowest.1,
            began.elapsed().as_secs_f64()
        )
    }
}

fn run(arguments: &Arguments, options: &Options) -> bool {
    let began = Instant::now();
    let next = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let sum = Mutex::new(Sum::default());
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads.max(1) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= arguments.seeds {
                        return;
                    }
                    let report = seed::run(arguments.from + number, options);
                    let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
                    sum.add(&report);
                    if let Some(found) = &report.found {
                        println!("seed {} FAILED: {found}", report.seed);
                        println!(
                            "  replay: {}{}",
                            seed::replay_line(report.seed, arguments.nodes, arguments.hours),
                            commit()
                        );
                        stop.store(!arguments.keep_going, Ordering::Relaxed);
                    }
                    if sum.line_at.unwrap_or(began).elapsed() >= LINE_EVERY {
                        sum.line_at = Some(Instant::now());
                        println!("{}", sum.line(began));
                    }
                }
            });
        }
    });
    let sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("{}", sum.line(began));
    sum.failed == 0
}

/// The commit that is checked out, if that can be told.
fn commit() -> String {
    let asked = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    let text = asked.ok().filter(|o| o.status.success()).map(|o| o.stdout);
    let text = text.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
    if text.is_empty() { text } else { format!("   (commit {})", text.trim()) }
}
