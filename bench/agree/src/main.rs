//! `ng-bench-agree`: what it costs to agree on an entry, beside the bare round trip between the same
//! namespaces and corosync's closed process groups.
//!
//! | row | from | to |
//! |---|---|---|
//! | `commit_64b_us` | a 64-byte request is handed to the primary's agreement | the primary knows that it is committed |
//! | `bare_udp_rtt_us` | a datagram is sent, by a thread of the event loop's priority | its answer is there |
//! | `bare_udp_rtt_two_us`, `…_one_us` | the same | both ends on cores of their own; on one core |
//! | `cpg_64b_us` | corosync gets a 64-byte multicast | the sender gets it delivered, in agreed order |
//! | `commits_pipelined_per_s` | 64 requests are under way all the time | |
//! | `commit_1mib_ms` | as the first, one of 1 MiB: it takes the stream | |
//! | `primary_loss_to_commit_ms` | the primary's power is cut | the next one knows that its first entry is committed |
//! | `admission_ms` | a node's daemons start, beside a log of 64 MiB, of which a snapshot has most | it is a member with a vote |
//! | `commit_beside_admission_us` | as the first, one a millisecond, while a node pulls a log of 56 MiB | the same |
//!
//! Commits are measured inside the daemon (`Request::Probe`): the local socket is not the agreement's. The
//! rounds of commit and round trip take turns, so that the machine's load is the same for both, and one
//! that overlaps a stall of the machine is void (DESIGN section 4), as is one whose requests were not all agreed. What is
//! promised and not held makes the exit code 1; what was refused, unmeasured or void is told.
//!
//! The bare round trip is two sends and two wake-ups between two threads. A commit on three nodes is besides: a second
//! follower that wants the same two cores, a multicast that the bed's bridge delivers to every port, two tags made and two
//! checked, and what the cores decide. Each is inside `commit_64b_us`; the client's socket is not.

mod cpg;
mod rtt;
mod summary;

use anyhow::{Context, Result, anyhow, bail};
use base::{Duration, Instant};
use clap::{Parser, Subcommand};
use netguard::Client;
use rtt::Cores;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use summary::Summary;
use testbed::bed::wait_until;
use testbed::cluster::Cluster;
use testbed::corosync::Corosync;
use testbed::os;
use testbed::programs::Programs;
use testbed::report::{self, Row, Unit};
use testbed::spec::Spec;
use testbed::stall::StallMeter;
use testbed::topology::{Shape, node_name};

/// Commits and round trips of one round.
const ROUND: u32 = 200;
/// Requests of one round with a window.
const PIPELINED: u32 = 4_000;
/// Requests under way at a time.
const WINDOW: u32 = 64;
/// A stall of this length makes a round of short exchanges void.
const STALL: Duration = Duration::from_millis(1);
/// The state beside which a node is admitted.
const STATE_MIB: u32 = 64;
/// The log that a node pulls whole: what is kept for those that fall behind, less what the commits beside it add.
const PULLED_MIB: u32 = 56;
/// Between two commits beside an admission; all together are far below the entries that are kept.
const BESIDE: Duration = Duration::from_millis(1);
/// No commit beside an admission takes so long (SPECIFICATION.md).
const BESIDE_MAX_US: f64 = 10_000.0;
const MIB: u32 = 1_048_576;
const BESIDE_ID: &str = "commit_beside_admission_us";
/// A commit may take so many bare round trips (SPECIFICATION.md).
const OVER_RTT_MAX: f64 = 1.6;

/// Measures agreement.
#[derive(Parser)]
#[command(name = "ng-bench-agree", version)]
struct Arguments {
    /// Valid trials of what takes long; rounds of 200 of what is short.
    #[arg(long, default_value_t = 20)]
    trials: u32,
    /// Nodes of the bed.
    #[arg(long, default_value_t = 3)]
    nodes: u8,
    /// Links of the bed.
    #[arg(long, default_value_t = 2)]
    links: u8,
    /// One last line of JSON.
    #[arg(long)]
    json: bool,
    /// Where the summary goes, as JSON.
    #[arg(long, default_value = "bench/results/local")]
    out: PathBuf,
    /// Only these: `commit`, `cpg`, `pipelined`, `large`, `loss`, `admission`.
    #[arg(long)]
    only: Option<String>,
    /// The folder of the programs; default: beside this one.
    #[arg(long)]
    bin_dir: Option<PathBuf>,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Subcommand)]
enum What {
    /// The client of corosync; this program starts it by itself.
    #[command(hide = true)]
    CpgClient {
        /// How many messages.
        #[arg(long)]
        count: u32,
    },
}

fn main() -> ExitCode {
    report::exit(&run(&Arguments::parse()))
}

/// What all measurements share.
struct Bench<'a> {
    arguments: &'a Arguments,
    programs: Programs,
    meter: StallMeter,
    rows: Vec<Row>,
}

fn run(arguments: &Arguments) -> Result<()> {
    if let Some(What::CpgClient { count }) = arguments.what {
        return cpg::client(count);
    }
    os::catch_interrupts();
    let programs = Programs::find(arguments.bin_dir.as_deref());
    let meter = StallMeter::start();
    if !meter.is_realtime() {
        eprintln!("no real-time priority: the stall meter also counts what other programs take");
    }
    let load = os::load();
    let mut bench = Bench { arguments, programs, meter, rows: Vec::new() };
    bench.all()?;
    println!("\n{}", report::table(&bench.rows));
    let p50 = |id| bench.rows.iter().find(|row| row.id == id).map(|row| row.p50);
    let commit_over_rtt = p50("commit_64b_us").zip(p50("bare_udp_rtt_us")).map(|(c, r)| c / r);
    if let Some(ratio) = commit_over_rtt {
        println!("a commit costs {ratio:.2} bare round trips (target: at most {OVER_RTT_MAX:.2})");
    }
    println!("load {load:.2} at the beginning, {:.2} at the end", os::load());
    let beside = bench.rows.iter().find(|row| row.id == BESIDE_ID).map(|row| row.max);
    if let Some(beside) = beside {
        println!(
            "beside an admission a commit took at most {beside:.0} us (target: {BESIDE_MAX_US:.0})"
        );
    }
    let missed = missed(commit_over_rtt, p50("commit_64b_us").zip(p50("cpg_64b_us")), beside);
    let voids = bench.rows.iter().map(|row| row.voids).sum();
    let (commit, host, rows) = (report::commit(), report::host(), bench.rows);
    let name = format!("agree-{commit}");
    let bench = "agree";
    let summary =
        Summary { bench, commit, host, load, voids, commit_over_rtt, missed: &missed, rows };
    let json = serde_json::to_string(&summary)?;
    report::write(&arguments.out, &name, &json)?;
    println!("summary: {}/{name}.json", arguments.out.display());
    if arguments.json {
        println!("{json}");
    }
    if !missed.is_empty() {
        bail!("missed: {}", missed.join("; "));
    }
    Ok(())
}

/// What SPECIFICATION.md promises and the figures do not hold; what was not measured is not missed.
fn missed(
    commit_over_rtt: Option<f64>,
    commit_and_cpg: Option<(f64, f64)>,
    beside: Option<f64>,
) -> Vec<String> {
    let mut missed = Vec::new();
    if let Some(ratio) = commit_over_rtt.filter(|ratio| *ratio > OVER_RTT_MAX) {
        missed.push(format!(
            "a commit costs {ratio:.2} bare round trips, at most {OVER_RTT_MAX:.2} are promised"
        ));
    }
    if let Some((commit, cpg)) = commit_and_cpg.filter(|(commit, cpg)| commit >= cpg) {
        missed.push(format!("a commit takes {commit:.1} us, corosync's delivery {cpg:.1} us"));
    }
    if let Some(beside) = beside.filter(|beside| *beside >= BESIDE_MAX_US) {
        missed.push(format!("a commit beside an admission took {beside:.0} us"));
    }
    missed
}

/// A probe's figures say something only if every request was taken and agreed.
const fn is_whole(probed: &api::Probed) -> bool {
    probed.refused == 0 && probed.open == 0
}

impl Bench<'_> {
    fn wants(&self, name: &str) -> bool {
        self.arguments.only.as_deref().is_none_or(|only| only == name)
    }

    fn all(&mut self) -> Result<()> {
        if ["commit", "pipelined", "large", "loss"].iter().any(|name| self.wants(name)) {
            let mut cluster = self.cluster()?;
            if self.wants("commit") {
                self.commits(&mut cluster)?;
            }
            if self.wants("pipelined") {
                self.pipelined(&mut cluster)?;
            }
            if self.wants("large") {
                self.large(&mut cluster)?;
            }
            if self.wants("loss") {
                self.losses(&mut cluster)?;
            }
        }
        if self.wants("cpg") {
            self.cpg()?;
        }
        if self.wants("admission") {
            self.admissions()?;
        }
        Ok(())
    }

    fn cluster(&self) -> Result<Cluster> {
        let shape = Shape { nodes: self.arguments.nodes, links: self.arguments.links };
        let mut cluster =
            Cluster::start(Spec { shape, probes: true, ..Spec::default() }, &self.programs)?;
        cluster.settle()?;
        Ok(cluster)
    }

    fn row(&mut self, id: &'static str, unit: Unit, values: &[Duration], voids: u64) {
        self.rows.extend(Row::new(id, unit, values, voids));
    }

    /// True if the machine stood still meanwhile.
    fn is_void(&self, from: Instant, limit: Duration) -> bool {
        // A stall is known once it is over.
        os::sleep(Duration::from_millis(5));
        self.meter.overlaps(from, os::now(), limit).is_some()
    }

    /// Commits and bare round trips, in turn.
    fn commits(&mut self, cluster: &mut Cluster) -> Result<()> {
        let mut values: [Vec<Duration>; 4] = Default::default();
        let mut voids = [0; 4];
        let ways = [Cores::Free, Cores::Two, Cores::One];
        for round in 1..=self.arguments.trials {
            let primary = cluster.settle()?.primary;
            let peer = if primary == 1 { 2 } else { 1 };
            let mut line = format!("{round:>4}");
            for turn in 0..4_usize {
                let begin = os::now();
                let mut whole = true;
                let took: Vec<Duration> = match turn.checked_sub(1).and_then(|at| ways.get(at)) {
                    None => {
                        let probed = probe(cluster, primary, 64, ROUND, 1)?;
                        whole = is_whole(&probed);
                        probed.nanos.into_iter().map(Duration).collect()
                    }
                    Some(cores) => {
                        let all = rtt::measure(cluster, (primary, peer), *cores, ROUND)?;
                        all.into_iter().map(|(_, took)| took).collect()
                    }
                };
                let void = self.is_void(begin, STALL) || !whole;
                let middle = Row::new("", Unit::Micros, &took, 0).map_or(0.0, |row| row.p50);
                let name = ["commit", "bare", "on two cores", "on one"][turn];
                line.push_str(&format!(
                    "  {name} {middle:.0}{}",
                    if void { " (void)" } else { "" }
                ));
                if void {
                    voids[turn] += 1;
                } else {
                    values[turn].extend(took);
                }
            }
            eprintln!("{line}  µs");
        }
        let ids =
            ["commit_64b_us", "bare_udp_rtt_us", "bare_udp_rtt_two_us", "bare_udp_rtt_one_us"];
        for ((id, values), voids) in ids.into_iter().zip(&values).zip(voids) {
            self.row(id, Unit::Micros, values, voids);
        }
        Ok(())
    }

    fn pipelined(&mut self, cluster: &mut Cluster) -> Result<()> {
        let (mut each, mut voids) = (Vec::new(), 0);
        for _ in 0..self.arguments.trials {
            let primary = cluster.settle()?.primary;
            let begin = os::now();
            let probed = probe(cluster, primary, 64, PIPELINED, WINDOW)?;
            if !is_whole(&probed) || self.is_void(begin, STALL * 5) {
                voids += 1;
            } else {
                each.push(Duration(probed.took_ns / u64::from(PIPELINED)));
            }
        }
        self.row("commits_pipelined_per_s", Unit::PerSecond, &each, voids);
        Ok(())
    }

    /// Requests that take the stream.
    fn large(&mut self, cluster: &mut Cluster) -> Result<()> {
        let (mut all, mut voids) = (Vec::new(), 0);
        for _ in 0..self.arguments.trials {
            let primary = cluster.settle()?.primary;
            let begin = os::now();
            let probed = probe(cluster, primary, MIB, 4, 1)?;
            if !is_whole(&probed) || self.is_void(begin, STALL * 5) {
                voids += 1;
            } else {
                all.extend(probed.nanos.into_iter().map(Duration));
            }
        }
        self.row("commit_1mib_ms", Unit::Millis, &all, voids);
        Ok(())
    }

    /// The primary's power is cut at a random phase.
    fn losses(&mut self, cluster: &mut Cluster) -> Result<()> {
        let interval = cluster.spec().interval_length();
        let (mut all, mut voids) = (Vec::new(), 0);
        let mut number = 0;
        while number < self.arguments.trials && voids < u64::from(self.arguments.trials) * 3 {
            os::sleep(Duration::from_millis(500));
            let primary = cluster.settle()?.primary;
            os::sleep(interval * 4 + Duration::from_nanos(os::random() % interval.nanos().max(1)));
            let cut = cluster.cut(primary)?;
            let agreed = next_commit(cluster, primary, cut.at)?;
            let took = agreed.since(cut.at);
            let void = self.meter.overlaps(cut.at - interval * 2, agreed, interval / 2).is_some();
            eprintln!(
                "{number:>4}  n{primary} cut, agreed after {took}{}",
                if void { " (void)" } else { "" }
            );
            if void {
                voids += 1;
            } else {
                number += 1;
                all.push(took);
            }
            cluster.restore(primary)?;
        }
        self.row("primary_loss_to_commit_ms", Unit::Millis, &all, voids);
        Ok(())
    }

    fn cpg(&mut self) -> Result<()> {
        if let Some(reason) = Corosync::obstacle() {
            eprintln!("no row for corosync: {reason}");
            return Ok(());
        }
        let begin = os::now();
        let count = self.arguments.trials * ROUND;
        let took = cpg::measure(self.arguments.nodes, count, &self.programs)?;
        let voids = u64::from(self.is_void(begin, STALL * 5));
        // Its client prints all at its end: which of them a stall met is not known.
        if voids > 0 {
            eprintln!(
                "the machine stood still while corosync was measured: its tail is not its own"
            );
        }
        self.row("cpg_64b_us", Unit::Micros, &took, voids);
        Ok(())
    }

    /// A node that starts beside a large state.
    fn admissions(&mut self) -> Result<()> {
        let (mut all, mut voids) = (Vec::new(), 0);
        let mut cluster = self.cluster()?;
        fill(&mut cluster, PULLED_MIB)?;
        self.commits_beside(&mut cluster)?;
        fill(&mut cluster, STATE_MIB - PULLED_MIB)?;
        for _ in 0..self.arguments.trials {
            let primary = cluster.settle()?.primary;
            let node = if primary == 3 { 2 } else { 3 };
            cluster.cut(node)?;
            os::sleep(Duration::from_millis(500));
            let begin = os::now();
            cluster.restore(node)?;
            cluster.settle()?;
            let took = os::now().since(begin);
            let void = self.is_void(begin, STALL * 10);
            eprintln!(
                "n{node} is a member with a vote after {took}{}",
                if void { " (void)" } else { "" }
            );
            if void {
                voids += 1;
            } else {
                all.push(took);
            }
        }
        self.row("admission_ms", Unit::Millis, &all, voids);
        Ok(())
    }

    /// Small commits at the primary while a node pulls the log and is admitted: what the others feel.
    fn commits_beside(&mut self, cluster: &mut Cluster) -> Result<()> {
        let (mut all, mut valid, mut voids) = (Vec::new(), 0, 0);
        let trials = self.arguments.trials;
        while valid < trials && voids < u64::from(trials) * 3 {
            let primary = cluster.settle()?.primary;
            let node = if primary == 3 { 2 } else { 3 };
            cluster.cut(node)?;
            os::sleep(Duration::from_millis(500));
            let (client, stop) = (prober(cluster, primary)?, AtomicBool::new(false));
            let begin = os::now();
            let (settled, probed) = std::thread::scope(|scope| {
                let thread = scope.spawn(|| probe_until(client, &stop));
                let settled = cluster.restore(node).and_then(|()| cluster.settle().map(|_| ()));
                stop.store(true, Ordering::Relaxed);
                (settled, thread.join())
            });
            settled?;
            let (took, whole) = probed.map_err(|_| anyhow!("the prober has ended"))??;
            let lasted = os::now().since(begin);
            let void = self.is_void(begin, STALL * 5) || !whole;
            eprintln!(
                "n{node} is back after {lasted}; {} commits meanwhile, {} at most{}",
                took.len(),
                took.iter().copied().max().unwrap_or(Duration::ZERO),
                if void { " (void)" } else { "" }
            );
            if void {
                voids += 1;
            } else {
                valid += 1;
                all.extend(took);
            }
        }
        self.row(BESIDE_ID, Unit::Micros, &all, voids);
        Ok(())
    }
}

/// Fills the log with entries of 1 MiB.
fn fill(cluster: &mut Cluster, mib: u32) -> Result<()> {
    let primary = cluster.settle()?.primary;
    for _ in 0..mib {
        let probed = probe(cluster, primary, MIB, 1, 1)?;
        if probed.nanos.is_empty() {
            bail!("an entry of 1 MiB was not agreed");
        }
    }
    Ok(())
}

/// One small commit after the other until told to stop. What each took, and whether all were agreed.
fn probe_until(mut client: Client, stop: &AtomicBool) -> Result<(Vec<Duration>, bool)> {
    let (mut took, mut whole) = (Vec::new(), true);
    while !stop.load(Ordering::Relaxed) {
        let probed = client.probe(64, 1, 1)?;
        whole &= is_whole(&probed);
        took.extend(probed.nanos.into_iter().map(Duration));
        os::sleep(BESIDE);
    }
    Ok((took, whole))
}

/// A client that waits as long as probes may take.
fn prober(cluster: &Cluster, node: u8) -> Result<Client> {
    let mut client = cluster.client(node)?;
    client.set_timeout(std::time::Duration::from_secs(5));
    Ok(client)
}

/// Probes at a node.
fn probe(cluster: &Cluster, node: u8, bytes: u32, count: u32, window: u32) -> Result<api::Probed> {
    let probed =
        prober(cluster, node)?.probe(bytes, count, window).with_context(|| node_name(node))?;
    if probed.refused > 0 || probed.open > 0 {
        eprintln!(
            "{}: {} refused, {} not agreed in time",
            node_name(node),
            probed.refused,
            probed.open
        );
    }
    Ok(probed)
}

/// When the first of the survivors knew that the victim's removal, the first entry of the next primary, is
/// committed.
fn next_commit(cluster: &Cluster, victim: u8, after: Instant) -> Result<Instant> {
    let name = node_name(victim);
    let limit = Duration::from_millis(5_000);
    let agreed = wait_until("the removal of the primary", limit, || {
        let mut first: Option<u64> = None;
        for node in cluster.alive() {
            let mut client = cluster.client(node).map_err(|error| error.to_string())?;
            let all = client.failovers(8).map_err(|error| error.to_string())?.failovers;
            let found =
                all.into_iter().filter(|it| it.victim == name).filter_map(|it| it.agreed_ns);
            let found = found.filter(|at| *at > after.0).min();
            first = first.into_iter().chain(found).min();
        }
        first.ok_or_else(|| "no record of it".to_owned())
    })?;
    Ok(Instant(agreed))
}

#[cfg(test)]
mod tests {
    use super::{is_whole, missed};

    #[test]
    fn a_missed_target_is_named_and_what_was_not_measured_is_not() {
        assert_eq!(missed(Some(1.6), Some((100.0, 179.0)), Some(9_999.0)), Vec::<String>::new());
        assert_eq!(missed(None, None, None), Vec::<String>::new());
        assert_eq!(missed(Some(1.7), Some((180.0, 179.0)), Some(10_000.0)).len(), 3);
    }

    #[test]
    fn probes_that_were_refused_or_are_open_measure_nothing() {
        let probed = api::Probed::default();
        assert!(is_whole(&probed));
        assert!(!is_whole(&api::Probed { refused: 1, ..probed.clone() }));
        assert!(!is_whole(&api::Probed { open: 1, ..probed }));
    }
}
