//! `ng-bench-members`: the largest cluster, in one process: every node with its own cores and its own UDP sockets on
//! loopback.
//!
//! | row | from | to |
//! |---|---|---|
//! | `beat_heard_us` | the fast path takes what waits in its socket | all is heard: a core's time for each beat |
//! | `beat_sent_us` | a beat is filled | it is sent to every peer, a datagram each: a core's time |
//! | `member_loss_ms`, `primary_loss_ms` | a member's, the primary's power is cut | the last node has the view without it |
//! | `…_agreed_ms` | a majority of the voters calls it silent | the first node has that view |
//! | `…_known_ms` | the same | the last node has it |
//! | `admission_one_ms` | one node begins a life | the last node, itself included, has it in its view |
//! | `admission_half_ms` | half of the nodes begin a life at once | the last node has the view of all |
//!
//! All nodes share the cores of this machine, and every beat goes to each peer by itself: at the product's 10 ms that would
//! take a dozen cores. The interval is twenty times that, so that 128 nodes take less than one, and what is printed of
//! times after the deadline is what 128 nodes on a few cores need, one after the other. A trial that overlaps a stall of
//! the machine is void (DESIGN section 4).

mod costs;
mod member;
mod shared;
mod watch;
mod worker;

use anyhow::{Context, Result, bail};
use base::{Duration, Instant};
use clap::Parser;
use costs::Costs;
use member::Plan;
use serde::Serialize;
use shared::Shared;
use std::cell::Cell;
use std::process::ExitCode;
use testbed::os;
use testbed::report::{self, Row, Unit};
use testbed::stall::StallMeter;
use watch::Watch;
use wire::{Charter, Configuration, NodeId, NodeSet};

/// A phase that takes longer has failed.
const PATIENCE: Duration = Duration::from_millis(30_000);
/// How long nothing happens while beats are measured.
const QUIET: Duration = Duration::from_millis(3_000);

/// Measures the largest cluster.
#[derive(Parser)]
#[command(name = "ng-bench-members", version)]
struct Arguments {
    /// Nodes.
    #[arg(long, default_value_t = 128)]
    nodes: u8,
    /// Of these, how many vote.
    #[arg(long, default_value_t = 7)]
    voters: u8,
    /// Heartbeat interval in ms.
    #[arg(long, default_value_t = 200)]
    interval_ms: u64,
    /// Valid losses of a member, and of the primary; a quarter as many admissions of half of the nodes.
    #[arg(long, default_value_t = 20)]
    trials: u32,
    /// One last line of JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    report::exit(&run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    let (voters, nodes) = (arguments.voters, arguments.nodes);
    if !(1..=nodes).contains(&voters) || nodes > 128 || nodes < voters.saturating_add(2) {
        bail!("at least two of at most 128 nodes have no vote");
    }
    os::catch_interrupts();
    let set = |last: u8| (1..=last).filter_map(NodeId::new).collect::<NodeSet>();
    let plain = Configuration::plain(set(voters), NodeSet::EMPTY);
    // Every node has its interval from here, not from the document.
    let file = Configuration { nodes: set(nodes), interval_us: 0, misses: 0, ..plain };
    let plan = Plan {
        nodes: set(nodes),
        interval: Duration::from_millis(arguments.interval_ms),
        misses: 3,
        charter: Charter::of_file(file),
    };
    let (shared, cores) = (Shared::new(), os::cores());
    let workers = cores.len().max(1);
    std::thread::scope(|scope| {
        for (place, core) in cores.iter().copied().enumerate() {
            let own = plan.nodes.iter().enumerate().filter(|(at, _)| at % workers == place);
            let own: Vec<NodeId> = own.map(|(_, node)| node).collect();
            let (plan, shared) = (&plan, &shared);
            scope.spawn(move || worker::run(plan, shared, &own, core));
        }
        let mut bench = Bench {
            arguments,
            plan: &plan,
            shared: &shared,
            watch: Watch::new(&shared),
            meter: StallMeter::start(),
            counted: Cell::new(os::now()),
            rows: Vec::new(),
        };
        let result = bench.all();
        shared.stop();
        result
    })
}

struct Bench<'a> {
    arguments: &'a Arguments,
    plan: &'a Plan,
    shared: &'a Shared,
    watch: Watch<'a>,
    meter: StallMeter,
    /// Since when the nodes count what they cost.
    counted: Cell<Instant>,
    rows: Vec<Row>,
}

/// What a quiet cluster costs.
#[derive(Serialize)]
struct Quiet {
    beat_bytes: usize,
    /// Percent of a core: a node's fast path, its control, and the busiest control.
    fast_percent: f64,
    control_percent: f64,
    busiest_control_percent: f64,
    /// Messages of the agreement each second, by all nodes together.
    messages_per_s: f64,
    /// Turns that came so late that S10 applied.
    stalls: u64,
}

/// The last line with `--json`.
#[derive(Serialize)]
struct Summary<'a> {
    bench: &'static str,
    nodes: u8,
    voters: u8,
    interval_ms: u64,
    load: f64,
    voids: u64,
    quiet: Quiet,
    rows: &'a [Row],
}

/// Values of the losses of one kind of node.
#[derive(Default)]
struct Losses {
    whole: Vec<Duration>,
    agreed: Vec<Duration>,
    known: Vec<Duration>,
    back: Vec<Duration>,
    voids: u64,
}

impl Bench<'_> {
    fn all(&mut self) -> Result<()> {
        if !self.meter.is_realtime() {
            eprintln!(
                "no real-time priority: the stall meter also counts what other programs take"
            );
        }
        let load = os::load();
        let all = self.plan.nodes;
        let begin = os::now();
        all.iter().for_each(|node| self.shared.switch(node, true));
        let (_, last) = self.watch.until_view("all are members", all, PATIENCE)?;
        println!("{} nodes are members {} after their start", all.len(), last.since(begin));
        self.report("the start of all");
        let quiet = self.quiet()?;
        let member = self.losses("a member", |bench, number| {
            let strangers = bench.plan.nodes.minus(bench.voters());
            strangers.iter().nth(number as usize % strangers.len())
        })?;
        let primary = self.losses("the primary", |bench, _| bench.shared.leader())?;
        self.rows("member_loss_ms", "member_loss_agreed_ms", "member_loss_known_ms", &member);
        self.rows("primary_loss_ms", "primary_loss_agreed_ms", "primary_loss_known_ms", &primary);
        self.rows.extend(Row::new("admission_one_ms", Unit::Millis, &member.back, member.voids));
        self.halves()?;
        println!("\n{}", report::table(&self.rows));
        println!("load {load:.2} at the beginning, {:.2} at the end", os::load());
        if self.arguments.json {
            let Arguments { nodes, voters, interval_ms, .. } = *self.arguments;
            let (rows, bench) = (&self.rows[..], "members");
            let voids = rows.iter().map(|row| row.voids).sum();
            let summary = Summary { bench, nodes, voters, interval_ms, load, voids, quiet, rows };
            println!("{}", serde_json::to_string(&summary)?);
        }
        Ok(())
    }

    fn voters(&self) -> NodeSet {
        self.plan.charter.electorate
    }

    fn rows(
        &mut self,
        whole: &'static str,
        agreed: &'static str,
        known: &'static str,
        losses: &Losses,
    ) {
        let Losses { voids, .. } = *losses;
        let all = [(whole, &losses.whole), (agreed, &losses.agreed), (known, &losses.known)];
        for (id, values) in all {
            self.rows.extend(Row::new(id, Unit::Millis, values, voids));
        }
    }

    /// True if the machine stood still meanwhile.
    fn is_void(&self, from: Instant) -> bool {
        // A stall is known once it is over.
        os::sleep(Duration::from_millis(5));
        self.meter.overlaps(from, os::now(), self.plan.interval / 2).is_some()
    }

    /// What all nodes have cost since the last time, and how long that is ago. What was cut meanwhile is part of it.
    fn costs(&self) -> (Vec<Costs>, Duration) {
        let now = os::now();
        self.shared.next_round();
        os::sleep(Duration::from_millis(50));
        let since = self.counted.replace(now);
        (self.shared.take_costs(), now.since(since))
    }

    fn report(&self, what: &str) {
        let mut sum = Costs::default();
        let (all, took) = self.costs();
        all.into_iter().for_each(|costs| sum.add(costs));
        let share = |part: Duration| 100.0 * part.nanos() as f64 / took.nanos().max(1) as f64;
        println!(
            "  {what}: {} messages of the agreement, {} bytes, {} received; {:.0} % of a core fast, {:.0} % control, \
             longest turn {}; {} too large, {} late turns",
            sum.sent,
            sum.sent_bytes,
            sum.received,
            share(sum.fast),
            share(sum.control),
            sum.longest,
            sum.too_large,
            sum.stalls
        );
    }

    /// Beats, and nothing else.
    fn quiet(&mut self) -> Result<Quiet> {
        os::sleep(self.plan.deadline());
        self.costs();
        let begin = os::now();
        os::sleep(QUIET);
        let (all, took) = self.costs();
        let voids = u64::from(self.is_void(begin));
        let share = |part: Duration| 100.0 * part.nanos() as f64 / took.nanos() as f64;
        let busiest =
            all.iter().max_by_key(|costs| costs.control).context("nobody costs anything")?;
        let (busiest, node) = (share(busiest.control), busiest.node);
        let (nodes, mut sum) = (all.len() as f64, Costs::default());
        all.into_iter().for_each(|costs| sum.add(costs));
        let quiet = Quiet {
            beat_bytes: sum.beat_bytes,
            fast_percent: share(sum.fast) / nodes,
            control_percent: share(sum.control) / nodes,
            busiest_control_percent: busiest,
            messages_per_s: sum.sent as f64 * 1e9 / took.nanos() as f64,
            stalls: sum.stalls,
        };
        println!(
            "quiet, {} ms: a beat of {} bytes; of a core a node's fast path takes {:.2} %, its control {:.2} %, the busiest \
             control (n{node}) {:.2} %; {} beats heard, {:.0} messages of the agreement a second, {} late turns",
            self.plan.interval.millis(),
            quiet.beat_bytes,
            quiet.fast_percent,
            quiet.control_percent,
            quiet.busiest_control_percent,
            sum.beats_heard,
            quiet.messages_per_s,
            quiet.stalls
        );
        self.rows.extend(Row::new("beat_heard_us", Unit::Micros, &sum.each_heard, voids));
        self.rows.extend(Row::new("beat_sent_us", Unit::Micros, &sum.each_sent, voids));
        Ok(quiet)
    }

    /// Cuts one node after the other, and lets it come back.
    fn losses(
        &mut self,
        what: &str,
        victim: impl Fn(&Self, u32) -> Option<NodeId>,
    ) -> Result<Losses> {
        let (all, voters) = (self.plan.nodes, self.voters());
        let mut losses = Losses::default();
        let (mut number, mut tried) = (0, 0);
        while number < self.arguments.trials && tried < self.arguments.trials * 4 {
            tried += 1;
            let node = victim(self, tried).context("nobody to cut")?;
            // At any phase.
            os::sleep(self.plan.deadline() + Duration(os::random() % self.plan.interval.0.max(1)));
            self.watch.forget_suspicions();
            self.costs();
            let begin = os::now();
            self.shared.switch(node, false);
            let (first, last) = self.watch.until_view(what, all.without(node), PATIENCE)?;
            if tried == 1 {
                self.report(&format!("the loss of {what}"));
            }
            let cut = self.watch.switched(node);
            let silent = self.watch.suspected(node, voters, voters.len() / 2 + 1).unwrap_or(first);
            let void = self.is_void(begin);
            self.costs();
            let again = os::now();
            self.shared.switch(node, true);
            let (_, back) = self.watch.until_view("it is back", all, PATIENCE)?;
            if tried == 1 {
                self.report("its return");
            }
            if void || self.is_void(again) {
                losses.voids += 1;
                continue;
            }
            number += 1;
            losses.whole.push(last.since(cut));
            losses.agreed.push(first.since(silent));
            losses.known.push(last.since(silent));
            losses.back.push(back.since(self.watch.switched(node)));
        }
        Ok(losses)
    }

    /// Half of the nodes, at once.
    fn halves(&mut self) -> Result<()> {
        let all = self.plan.nodes;
        let half: Vec<NodeId> = all.minus(self.voters()).iter().collect();
        let half: Vec<NodeId> = half.into_iter().rev().take(all.len() / 2).collect();
        let left = all.minus(half.iter().copied().collect());
        let (mut values, mut lost, mut voids) = (Vec::new(), Vec::new(), 0);
        for trial in 0..(self.arguments.trials / 4).max(1) {
            os::sleep(self.plan.deadline());
            self.costs();
            let begin = os::now();
            half.iter().for_each(|node| self.shared.switch(*node, false));
            let (_, gone) = self.watch.until_view("half are gone", left, PATIENCE)?;
            if trial == 0 {
                self.report("the loss of half");
            }
            self.costs();
            let again = os::now();
            half.iter().for_each(|node| self.shared.switch(*node, true));
            let (_, back) = self.watch.until_view("half come back", all, PATIENCE)?;
            if trial == 0 {
                self.report("the return of half");
            }
            if self.is_void(begin) {
                voids += 1;
            } else {
                lost.push(gone.since(begin));
                values.push(back.since(again));
            }
        }
        self.rows.extend(Row::new("loss_of_half_ms", Unit::Millis, &lost, voids));
        self.rows.extend(Row::new("admission_half_ms", Unit::Millis, &values, voids));
        Ok(())
    }
}
