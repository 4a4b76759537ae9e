//! `ng-bench-beat`: how exactly beats leave, beside a bare timer on the same core; what stands between the clock and the wire,
//! per back end; and what the fast path costs, with 3 nodes and with 128.
//!
//! The bare timer and the beats are measured in turn, in slices, so that the machine is the same for both. A beat or a wake-up
//! that overlaps a stall of the machine is void and counted (DESIGN section 4).

mod flood;
mod tap;

use anyhow::{Context, Result, bail};
use base::{Duration, Instant};
use clap::Parser;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use tap::Tap;
use testbed::cluster::Cluster;
use testbed::jitter;
use testbed::os;
use testbed::programs::Programs;
use testbed::report::{self, Row, Unit};
use testbed::spec::Spec;
use testbed::stall::StallMeter;
use testbed::topology::{Shape, address};
use wire::{ClusterId, Seal};

const INTERVAL: Duration = Duration::from_millis(10);
/// Beats leave a 64th earlier than the interval says (`heartbeat::Settings::cadence`).
const CADENCE: Duration = Duration::from_nanos(10_000_000 - 10_000_000 / 64);
/// Beats may be later than a bare timer by this (SPECIFICATION.md).
const BESIDE_BARE: Duration = Duration::from_micros(20);
/// The fast path's share of a core (SPECIFICATION.md).
const CPU_MAX: f64 = 1.0;
const CPU_MAX_LARGE: f64 = 5.0;

/// Measures beats.
#[derive(Parser)]
#[command(name = "ng-bench-beat", version)]
struct Arguments {
    /// Slices of each.
    #[arg(long, default_value_t = 10)]
    trials: u32,
    /// Seconds of a slice.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// One last line of JSON.
    #[arg(long)]
    json: bool,
    /// Where the summary goes, as JSON.
    #[arg(long, default_value = "bench/results/local")]
    out: PathBuf,
    /// Only these: `jitter`, `back-ends`, `cpu`, `large`.
    #[arg(long)]
    only: Option<String>,
    /// The folder of the programs; default: beside this one.
    #[arg(long)]
    bin_dir: Option<PathBuf>,
}

/// The last line with `--json`, and what is written.
#[derive(Serialize)]
struct Summary<'a> {
    bench: &'static str,
    commit: String,
    host: String,
    load: f64,
    voids: u64,
    notes: &'a [String],
    missed: &'a [String],
    rows: &'a [Row],
}

struct Bench<'a> {
    arguments: &'a Arguments,
    programs: Programs,
    meter: StallMeter,
    rows: Vec<Row>,
    notes: Vec<String>,
    missed: Vec<String>,
}

fn main() -> ExitCode {
    report::exit(&run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    os::catch_interrupts();
    let programs = Programs::find(arguments.bin_dir.as_deref());
    let meter = StallMeter::start();
    if !meter.is_realtime() {
        eprintln!("no real-time priority: the stall meter also counts what other programs take");
    }
    let load = os::load();
    let (rows, notes, missed) = (Vec::new(), Vec::new(), Vec::new());
    let mut bench = Bench { arguments, programs, meter, rows, notes, missed };
    bench.all()?;
    println!("\n{}", report::table(&bench.rows));
    bench.notes.iter().for_each(|note| println!("{note}"));
    println!("load {load:.2} at the beginning, {:.2} at the end", os::load());
    let (commit, host) = (report::commit(), report::host());
    let name = format!("beat-{commit}");
    let voids = bench.rows.iter().map(|row| row.voids).sum();
    let Bench { rows, notes, missed, .. } = &bench;
    let summary = Summary { bench: "beat", commit, host, load, voids, notes, missed, rows };
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

/// What the wire has: a name for the row, `[local]` settings and a `[[link]]` setting.
const BACK_ENDS: [(&str, &str, &str); 3] = [
    ("wake_to_beat_recvmmsg_us", "network_io = \"recvmmsg\"\n", "udp"),
    ("wake_to_beat_io_uring_us", "network_io = \"io_uring\"\n", "udp"),
    ("wake_to_beat_ethernet_us", "", "ethernet"),
];

impl Bench<'_> {
    fn wants(&self, name: &str) -> bool {
        self.arguments.only.as_deref().is_none_or(|only| only == name)
    }

    fn slice(&self) -> Duration {
        Duration::from_millis(self.arguments.seconds * 1_000)
    }

    fn all(&mut self) -> Result<()> {
        if self.wants("jitter") || self.wants("cpu") {
            let core = os::cores().last().copied().unwrap_or(0);
            let mut cluster = self.cluster(Spec { core: core.to_string(), ..spec() })?;
            if self.wants("jitter") {
                self.jitter(&cluster, core)?;
            }
            if self.wants("cpu") {
                self.cpu(&cluster)?;
            }
            cluster.daemons_run()?;
        }
        if self.wants("back-ends") {
            self.back_ends()?;
        }
        if self.wants("large") {
            self.large()?;
        }
        Ok(())
    }

    /// A cluster at rest.
    fn cluster(&self, spec: Spec) -> Result<Cluster> {
        let mut cluster = Cluster::start(spec, &self.programs)?;
        cluster.settle()?;
        Ok(cluster)
    }

    /// Beats and a bare timer on one core, in turn.
    fn jitter(&mut self, cluster: &Cluster, core: usize) -> Result<()> {
        let tap = Tap::open(cluster.bed().topology().client(), seal(cluster)?)?;
        let (mut beats, mut bare) = (Vec::new(), Vec::new());
        let (mut beats_void, mut bare_void) = (0, 0);
        for slice in 1..=self.arguments.trials {
            let mut sent = Vec::new();
            tap.listen(os::now() + self.slice(), |heard| {
                if heard.from.get() == 1 {
                    sent.push(heard.sent);
                }
            })?;
            let Some(last) = sent.last().copied() else { bail!("no beat of node 1 was heard") };
            let (late, voids) = jitter::lateness(&sent, CADENCE, &self.meter);
            beats.push(late);
            beats_void += voids;
            // In the middle between two beats.
            let turns = os::now().since(last).0 / CADENCE.0 + 2;
            let begin = last + CADENCE * turns + CADENCE / 2;
            let woke = jitter::bare(core, CADENCE, begin, begin + self.slice());
            let (late, voids) = jitter::lateness(&woke, CADENCE, &self.meter);
            bare.push(late);
            bare_void += voids;
            println!(
                "slice {slice} of {}: {} beats, {} wake-ups",
                self.arguments.trials,
                sent.len(),
                woke.len()
            );
        }
        self.row("beat_jitter_us", &beats.concat(), beats_void);
        self.row("bare_timer_jitter_us", &bare.concat(), bare_void);
        for share in [0.5, 0.9] {
            let (ours, timer) = (jitter::median_of(&beats, share), jitter::median_of(&bare, share));
            let percent = share * 100.0;
            self.notes.push(format!(
                "median over slices of p{percent:.0}: beats {ours}, bare timer {timer} (target: at most {BESIDE_BARE} more)"
            ));
            if ours > timer + BESIDE_BARE {
                self.missed
                    .push(format!("p{percent:.0} of the beats is {ours}, of a bare timer {timer}"));
            }
        }
        Ok(())
    }

    /// From the clock that a beat carries to the wire, per back end; in turn, so that all have the same machine.
    fn back_ends(&mut self) -> Result<()> {
        let mut values = [const { (Vec::new(), 0) }; BACK_ENDS.len()];
        // A few seconds of each at a time.
        let rounds = self.arguments.trials.clamp(1, 3);
        for _ in 0..rounds {
            for ((_, local, frames), (values, voids)) in BACK_ENDS.iter().zip(&mut values) {
                let spec = Spec { more: (*local).into(), frames: (*frames).into(), ..spec() };
                let cluster = self.cluster(spec)?;
                let tap = Tap::open(cluster.bed().topology().client(), seal(&cluster)?)?;
                tap.listen(os::now() + self.slice(), |heard| {
                    let (from, to) = (heard.sent, heard.came);
                    if self.meter.overlaps(from, to, Duration::from_millis(1)).is_some() {
                        *voids += 1;
                    } else {
                        values.push(to.since(from));
                    }
                })?;
            }
        }
        for ((id, ..), (values, voids)) in BACK_ENDS.iter().zip(values) {
            self.row(id, &values, voids);
        }
        Ok(())
    }

    /// What the fast path of a cluster of three takes of a core.
    fn cpu(&mut self, cluster: &Cluster) -> Result<()> {
        let pid = cluster.find(1, "netguard-fast").context("no fast path on node 1")?;
        let percent = share(pid, self.slice() * 3)?;
        self.note_cpu("fast_cpu_percent", "3 nodes", percent, CPU_MAX);
        Ok(())
    }

    /// The same in a cluster of 128, whose other beats a thread makes.
    fn large(&mut self) -> Result<()> {
        let mut cluster = Cluster::prepare(spec(), &self.programs)?;
        let key = cluster.key().display().to_string();
        cluster.files(1).write(&flood::configuration(&key))?;
        cluster.start_node(1)?;
        let seal = seal(&cluster)?;
        let stop = AtomicBool::new(false);
        let measured = std::thread::scope(|scope| {
            let topology = cluster.bed().topology();
            let flood = scope.spawn(|| {
                flood::beats(topology.node(2), address(2, 1).into(), &seal, INTERVAL, &stop)
            });
            os::sleep(Duration::from_millis(3_000));
            let (began, before) = (os::now(), cluster.counters(1));
            let pid = cluster.find(1, "netguard-fast").context("no fast path on node 1");
            let percent = pid.and_then(|pid| share(pid, self.slice() * 3));
            let (span, after) = (os::now().since(began), cluster.counters(1));
            stop.store(true, Ordering::Relaxed);
            let sent = flood.join().unwrap_or_else(|_| bail!("the flood ended"));
            let received = |counters: &std::collections::BTreeMap<String, u64>| {
                counters.get("fast.link0.received").copied().unwrap_or(0)
            };
            let rate = (received(&after) - received(&before)) as f64 * 1e9 / span.0 as f64;
            sent.and(percent).map(|percent| (percent, rate))
        });
        let (percent, rate) = measured?;
        // Or it was not measured what a cluster of that size costs.
        if rate < 12_000.0 {
            bail!("only {rate:.0} beats a second arrived of 12,700");
        }
        let what = format!("128 nodes, {rate:.0} beats/s heard");
        self.note_cpu("fast_cpu_percent_128", &what, percent, CPU_MAX_LARGE);
        Ok(())
    }

    fn note_cpu(&mut self, id: &'static str, what: &str, percent: f64, limit: f64) {
        self.notes.push(format!("{id}: {percent:.2} ({what}; target: at most {limit})"));
        if percent > limit {
            self.missed.push(format!("{id} is {percent:.2}, at most {limit} is promised"));
        }
    }

    fn row(&mut self, id: &'static str, values: &[Duration], voids: u64) {
        self.rows.extend(Row::new(id, Unit::Micros, values, voids));
    }
}

/// One link, so that a beat is one frame.
fn spec() -> Spec {
    Spec { shape: Shape { nodes: 3, links: 1 }, ..Spec::default() }
}

/// What the frames of a cluster are sealed with.
fn seal(cluster: &Cluster) -> Result<Seal> {
    let loaded =
        config::load(&cluster.files(1).config).map_err(|report| anyhow::anyhow!("{report}"))?;
    Ok(Seal {
        cluster: ClusterId(loaded.config.cluster_id()),
        key: loaded.key.0,
        key_id: config::KEY_ID,
        config_hash: loaded.config.frame_hash(),
        level: 1,
    })
}

/// Percent of a core that a process of one thread takes for so long.
fn share(pid: i32, span: Duration) -> Result<f64> {
    let path = format!("/proc/{pid}/schedstat");
    let ran = || -> Result<u64> {
        let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
        let first = text.split_whitespace().next().context("an empty schedstat")?;
        Ok(first.parse()?)
    };
    let (began, before): (Instant, u64) = (os::now(), ran()?);
    os::sleep(span);
    let (ended, after) = (os::now(), ran()?);
    Ok((after - before) as f64 * 100.0 / ended.since(began).0 as f64)
}
