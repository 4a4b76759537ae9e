//! Proof 3: the fast NFS takeover; a table of its phases for each way to make the file system.

mod held;
mod pair;
mod trial;
mod variants;
mod work;

use crate::Test;
use crate::arena::Arena;
use base::Duration;
use held::Held;
use lab::error::Context;
use lab::{Lab, LabError, Result};
use pair::Pair;
use proofs::table::Table;
use std::fs::File;
use std::io::Write;
use testbed::hold;
use testbed::os;
use testbed::stall::StallMeter;
use testbed::suite::Verdict;
use trial::Trial;
use variants::{VARIANTS, Variant, WAKES, disk};

pub(crate) const TESTS: &[Test] = &[
    Test { name: "takeover-nfs", run: short },
    Test { name: "bench-takeover-nfs", run: bench },
    Test { name: "bench-takeover-wakes", run: wakes },
];

/// A stall longer than this spoils a trial, if it is also longer than this part of what was
/// measured: in half a second of XFS, 6 ms say nothing.
const STALL: Duration = Duration::from_millis(5);
const STALL_PART: u64 = 10;
/// A trial is repeated so often, at most.
const VOID_MAX: usize = 3;
/// Beyond this a resumption is an outlier and told.
const OUTLIER_MS: f64 = 100.0;

/// A takeover, or why there was none.
type Taken = std::result::Result<Trial, String>;

/// A lab with variants that are tried in turn.
trait Bed {
    /// Of the variants.
    fn names(&self) -> Vec<String>;
    /// A power cut under one of them.
    fn trial(&mut self, number: usize, seed: u64) -> Result<Taken>;
}

/// A few variants, a few trials each: everything acknowledged is there, and soon.
fn short(arena: &Arena) -> Result<Verdict> {
    let variants: Vec<Variant> = VARIANTS.iter().copied().filter(|it| it.short).collect();
    let rows = measure(arena, "takeover", &[Group::Files(&variants), Group::Versions])?;
    for row in &rows {
        hold!(row.failed.is_none(), "{}: a takeover failed", row.name);
        hold!(!row.took.is_empty(), "{}: every trial was void", row.name);
        let soonest = of(row, "resume").first().copied().unwrap_or_default();
        hold!(soonest < OUTLIER_MS, "{}: clients were not woken, {soonest:.0} ms", row.name);
    }
    Ok(Verdict::Pass)
}

/// All file systems.
fn bench(arena: &Arena) -> Result<Verdict> {
    judge(&measure(arena, "takeover", &[Group::Files(VARIANTS)])?)
}

/// All ways to wake clients, and both versions as the product will have them.
fn wakes(arena: &Arena) -> Result<Verdict> {
    judge(&measure(arena, "takeover-wakes", &[Group::Files(WAKES), Group::Versions])?)
}

fn judge(rows: &[Row]) -> Result<Verdict> {
    for row in rows {
        let why = row.failed.as_deref().unwrap_or_default();
        hold!(row.failed.is_none(), "{}: a takeover failed: {why}", row.name);
    }
    Ok(Verdict::Pass)
}

/// What is tried in one lab.
#[derive(Clone, Copy)]
enum Group<'a> {
    /// One file system after the other.
    Files(&'a [Variant]),
    /// A service's own nfsd that stands by in grace, NFSv3 and v4.1.
    Versions,
}

/// The trials of one variant that count.
struct Row {
    name: String,
    took: Vec<Trial>,
    void: usize,
    /// A takeover of it failed, and why; it is tried no more.
    failed: Option<String>,
}

/// The groups one after the other, each in a lab of its own.
fn measure(arena: &Arena, name: &str, groups: &[Group<'_>]) -> Result<Vec<Row>> {
    std::fs::create_dir_all(&arena.results).context("results")?;
    let path = arena.results.join(format!("{name}-trials.jsonl"));
    let mut log = File::create(&path).context(path.display().to_string())?;
    let start = |disks: usize| {
        let disks: Vec<_> = (0..disks).map(|_| disk()).collect();
        arena.start(&arena.pair().with_disks(&disks).only(&["a", "b", "c"]))
    };
    let mut rows = vec![];
    for group in groups {
        match group {
            Group::Files(variants) => {
                let lab = start(variants.len())?;
                rows.extend(rounds(arena, &lab, &mut Pair::prepare(&lab, variants)?, &mut log)?);
            }
            Group::Versions => {
                let lab = start(1)?;
                rows.extend(rounds(arena, &lab, &mut Held::prepare(&lab)?, &mut log)?);
            }
        }
    }
    let table = table(&rows);
    table.save(&arena.results, name).context("results")?;
    print!("{table}");
    Ok(rows)
}

/// Round robin, so that a busy minute of the machine meets every variant alike.
fn rounds(arena: &Arena, lab: &Lab, bed: &mut dyn Bed, log: &mut File) -> Result<Vec<Row>> {
    let meter = StallMeter::start();
    let new = |name| Row { name, took: vec![], void: 0, failed: None };
    let mut rows: Vec<Row> = bed.names().into_iter().map(new).collect();
    for _ in 0..arena.trials * (1 + VOID_MAX) {
        for (number, row) in rows.iter_mut().enumerate() {
            if row.took.len() >= arena.trials || row.failed.is_some() {
                continue;
            }
            if os::interrupted() {
                return Err(LabError::Refused("interrupted".into()));
            }
            let trial = match bed.trial(number, os::random())? {
                Ok(trial) => trial,
                Err(why) => {
                    println!("{}: not taken over: {why}", row.name);
                    row.failed = Some(why);
                    continue;
                }
            };
            let void = is_void(lab, &meter, &trial)?;
            writeln!(log, "{}", line(&row.name, &trial, void)).context("results")?;
            if let Some(complaint) = trial.complaint.clone().filter(|_| trial.report.replicated) {
                println!("{}: {complaint}", row.name);
                row.failed = Some(complaint);
            } else if void {
                row.void += 1;
            } else {
                row.took.push(trial);
            }
        }
    }
    Ok(rows)
}

fn is_void(lab: &Lab, meter: &StallMeter, trial: &Trial) -> Result<bool> {
    if !trial.report.replicated {
        println!(
            "the replication ended before the power did: no takeover of what was acknowledged"
        );
        return Ok(true);
    }
    let (from, to) = trial.span();
    let limit = STALL.max(Duration(to.since(from).nanos() / STALL_PART));
    if meter.overlaps(from, to, limit).is_some() {
        return Ok(true);
    }
    for name in [trial.standby, "c"] {
        if lab.node(name).stall(from, to, limit)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// One trial in milliseconds, for whoever wants to look closer.
fn line(name: &str, trial: &Trial, void: bool) -> String {
    let mut phases = serde_json::Map::new();
    for (phase, ms) in trial.phases() {
        phases.insert(phase.to_owned(), serde_json::json!(ms));
    }
    serde_json::json!({
        "variant": name, "void": void, "load": trial.load, "phases": phases,
        "connections": trial.report.connections, "syscall_ns": trial.report.syscall_ns,
        "acknowledged": trial.acknowledged, "standby": trial.standby,
    })
    .to_string()
}

fn table(rows: &[Row]) -> Table {
    let columns = [
        "variant",
        "n",
        "void",
        "go to write p50",
        "p90",
        "max",
        "read p50",
        "disconnect",
        "promote",
        "mount p50",
        "p90",
        "exports",
        "address",
        "wake",
        "resume",
        "late",
        "before",
        "load",
    ];
    let loads: Vec<f64> =
        rows.iter().flat_map(|row| row.took.iter().map(|trial| trial.load)).collect();
    let costs = rows.iter().flat_map(|row| row.took.iter().filter_map(|it| it.report.syscall_ns));
    let cost = costs.min().unwrap_or_default();
    let mut table = Table::new(
        "NFS: from the order to take over to the first completed write + fsync (ms)",
        format!(
            "DRBD 8.4, default activity log, flushes on; load {:.1} to {:.1}; one system call {:.0} µs; \
             phases are medians",
            loads.iter().copied().fold(f64::INFINITY, f64::min),
            loads.iter().copied().fold(0.0, f64::max),
            cost as f64 / 1e3,
        ),
        &columns,
    );
    for row in rows {
        let p = |phase: &str, part: f64| cell(&of(row, phase), part);
        let late = of(row, "resume").iter().filter(|ms| **ms > OUTLIER_MS).count();
        table.row(&[
            &row.name,
            &row.took.len(),
            &row.void,
            &p("go to write", 0.5),
            &p("go to write", 0.9),
            &p("go to write", 1.0),
            &p("go to read", 0.5),
            &p("disconnect", 0.5),
            &p("promote", 0.5),
            &p("mount", 0.5),
            &p("mount", 0.9),
            &p("exports", 0.5),
            &p("address", 0.5),
            &p("wake", 0.5),
            &p("resume", 0.5),
            &late,
            &p("longest write before", 0.5),
            &load(row),
        ]);
    }
    table
}

/// A phase of all of a row's trials, the shortest first.
fn of(row: &Row, phase: &str) -> Vec<f64> {
    let found = row.took.iter().flat_map(Trial::phases);
    let mut all: Vec<f64> = found.filter(|it| it.0 == phase).map(|it| it.1).collect();
    all.sort_by(f64::total_cmp);
    all
}

/// The median load of the machine under a row's trials.
fn load(row: &Row) -> String {
    let mut all: Vec<f64> = row.took.iter().map(|trial| trial.load).collect();
    all.sort_by(f64::total_cmp);
    cell(&all, 0.5)
}

fn cell(sorted: &[f64], part: f64) -> String {
    let place = (sorted.len() as f64 * part) as usize;
    let found = sorted.get(place.min(sorted.len().saturating_sub(1)));
    found.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1}"))
}
