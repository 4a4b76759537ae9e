//! `ng bench`: what is promised, measured on the customer's own machines, with a report that can be sent on.

pub(super) mod agree;
pub(super) mod failover;
pub(super) mod latency;

use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::text::{Paint, Table, Tone};
use base::Duration;
use harness::histogram::write_log;
use harness::os;
use harness::page::{Page, Verdict};
use harness::report;
use std::io;
use std::path::Path;

/// What was counted under one name: values and how often each.
type Counts = Vec<(Duration, u64)>;

/// Writes the report and the histograms into `out`, and prints the figures. The exit code says whether every promise holds.
fn conclude<'c>(
    page: &Page,
    counted: impl Iterator<Item = (&'c str, &'c Counts)>,
    (name, out): (&str, &Path),
    output: &Output,
) -> super::Done {
    for (number, (id, counts)) in counted.enumerate() {
        let row = format!("{number:02}-{}", file_name(id));
        write_log(out, name, &row, counts.iter().copied()).map_err(disk)?;
    }
    let json = serde_json::to_string(page).unwrap_or_default();
    report::write_file(out, "report.json", &json).map_err(disk)?;
    report::write_file(out, "report.html", &page.html()).map_err(disk)?;
    output.answer(page, |paint| show(page, out, paint));
    Ok(if page.holds() { Exit::Fine } else { Exit::Refused })
}

fn show(page: &Page, out: &Path, paint: Paint) -> String {
    let mut text = String::new();
    for Verdict { holds, text: what } in &page.verdicts {
        let (tone, word) = if *holds { (Tone::Good, "holds ") } else { (Tone::Bad, "MISSED") };
        text.push_str(&format!("{}  {}\n", paint.tone(tone, word), paint.tone(Tone::Plain, what)));
    }
    let mut table = Table::new(&["MILLISECONDS", "COUNT", "P50", "P90", "P99", "P99.9", "MAX"]);
    for row in &page.rows {
        let mut cells = vec![(Tone::Plain, row.id.clone()), (Tone::Plain, row.count.to_string())];
        let figures = [row.p50_ms, row.p90_ms, row.p99_ms, row.p999_ms, row.max_ms];
        cells.extend(figures.map(|ms| (Tone::Plain, format!("{ms:.3}"))));
        table.row(cells);
    }
    text.push_str(&format!("\n{}\n{}\n", table.show(paint), out.join("report.html").display()));
    text
}

/// A row's name as part of a file's.
fn file_name(id: &str) -> String {
    let plain = |sign: char| if sign.is_ascii_alphanumeric() { sign } else { '-' };
    id.chars().map(plain).collect()
}

fn disk(error: io::Error) -> Failure {
    Failure::new(Exit::Refused, "file", error.to_string(), "name another folder with --out")
}

/// The core that a process is on; the last one if it is not on one.
fn core_of(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let one = list.and_then(|list| list.trim().parse().ok());
    one.or_else(|| os::cores().last().copied()).unwrap_or(0)
}

fn stopped() -> Failure {
    Failure::new(Exit::Refused, "interrupted", "the measurement was stopped", "run it again")
}

#[cfg(test)]
mod tests {
    use super::file_name;

    #[test]
    fn a_rows_name_is_no_path() {
        assert_eq!(file_name("n2: jitter ../x"), "n2--jitter----x");
    }
}
