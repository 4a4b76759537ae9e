//! What a bench measured: percentiles, for people and for programs.

use crate::os;
use base::Duration;
use serde::Serialize;
use std::fmt;
use std::io;
use std::path::Path;
use std::process::{Command, ExitCode};

/// How a harness ends: a reason in one sentence, without a backtrace.
pub fn exit<E: fmt::Display>(result: &Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// In what a row is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Microseconds.
    Micros,
    /// Milliseconds.
    Millis,
    /// How often in a second.
    PerSecond,
}

impl Unit {
    const fn name(self) -> &'static str {
        match self {
            Self::Micros => "us",
            Self::Millis => "ms",
            Self::PerSecond => "per s",
        }
    }
    fn of(self, value: Duration) -> f64 {
        match self {
            Self::Micros => value.nanos() as f64 / 1e3,
            Self::Millis => value.nanos() as f64 / 1e6,
            Self::PerSecond => 1e9 / (value.nanos().max(1) as f64),
        }
    }
}

/// One row.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What was measured.
    pub id: &'static str,
    unit: &'static str,
    /// Valid values.
    pub n: usize,
    /// Half of them are no more than this.
    pub p50: f64,
    /// 95 of 100.
    pub p95: f64,
    /// 99 of 100.
    pub p99: f64,
    /// The largest.
    pub max: f64,
    /// Trials that a stall of the machine made void.
    pub voids: u64,
}

impl Row {
    /// Of all valid values; `None` if there are none. Rates are given as the time of one.
    #[must_use]
    pub fn new(id: &'static str, unit: Unit, values: &[Duration], voids: u64) -> Option<Self> {
        let mut sorted: Vec<f64> = values.iter().map(|value| unit.of(*value)).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let at = |quantile: f64| {
            let rank = (sorted.len() as f64 * quantile).ceil() as usize;
            sorted.get(rank.saturating_sub(1)).copied()
        };
        let (p50, p95, p99, max) = (at(0.5)?, at(0.95)?, at(0.99)?, *sorted.last()?);
        Some(Self { id, unit: unit.name(), n: sorted.len(), p50, p95, p99, max, voids })
    }
}

/// The table for people.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<28} {:>6} {:>9} {:>9} {:>9} {:>9} {:>6}\n",
        "", "n", "p50", "p95", "p99", "max", "voids"
    );
    for Row { id, n, p50, p95, p99, max, voids, .. } in rows {
        text.push_str(&format!(
            "{id:<28} {n:>6} {p50:>9.1} {p95:>9.1} {p99:>9.1} {max:>9.1} {voids:>6}\n"
        ));
    }
    text
}

/// The machine: its name and how many cores this process has.
#[must_use]
pub fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}, {} cores", name.trim(), os::cores().len())
}

/// The commit that is checked out, short.
#[must_use]
pub fn commit() -> String {
    let answer = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output();
    let text = answer.ok().filter(|it| it.status.success()).map(|it| it.stdout);
    text.map_or_else(|| "unknown".into(), |it| String::from_utf8_lossy(&it).trim().to_owned())
}

/// Writes a summary as `NAME.json` into `dir`, which is made if it is not there.
///
/// # Errors
/// When the disk does not take it.
pub fn write(dir: &Path, name: &str, json: &str) -> io::Result<()> {
    write_file(dir, &format!("{name}.json"), &format!("{json}\n"))
}

/// Writes a file into `dir`, which is made if it is not there; the error names it.
///
/// # Errors
/// When the disk does not take it.
pub fn write_file(dir: &Path, name: &str, text: &str) -> io::Result<()> {
    let path = dir.join(name);
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    std::fs::create_dir_all(dir).and_then(|()| std::fs::write(&path, text)).map_err(named)
}

#[cfg(test)]
mod tests {
    use super::{Row, Unit};
    use base::Duration;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<_> = (1..=100).map(Duration::from_micros).collect();
        let row = Row::new("x", Unit::Micros, &values, 3).expect("values");
        assert_eq!((row.n, row.p50, row.p95, row.p99, row.max), (100, 50.0, 95.0, 99.0, 100.0));
        assert!(Row::new("x", Unit::Micros, &[], 0).is_none());
        let rate = Row::new("x", Unit::PerSecond, &[Duration::from_micros(100)], 0);
        assert_eq!(rate.map(|row| row.p50), Some(10_000.0));
    }
}
