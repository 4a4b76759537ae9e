//! Percentiles for people, a line of JSON for programs, raw HdrHistogram logs for later questions.

use crate::lapses::Lapses;
use anyhow::{Context, Result};
use base::Duration;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use serde::Serialize;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;
use std::time::SystemTime;

/// Values are kept in microseconds, with three digits.
const MICROS_MAX: u64 = 60_000_000;

/// One row: what was measured, and all values.
pub(crate) struct Row {
    id: &'static str,
    values: Histogram<u64>,
}

/// All rows, in the order in which they first appeared.
#[derive(Default)]
pub(crate) struct Rows {
    rows: Vec<Row>,
}

impl Rows {
    /// Adds a value.
    pub(crate) fn add(&mut self, id: &'static str, value: Duration) -> Result<()> {
        let at = match self.rows.iter().position(|row| row.id == id) {
            Some(at) => at,
            None => {
                let values = Histogram::new_with_bounds(1, MICROS_MAX, 3)?;
                self.rows.push(Row { id, values });
                self.rows.len() - 1
            }
        };
        self.rows[at].values.saturating_record(value.micros().max(1));
        Ok(())
    }

    /// The table for people.
    pub(crate) fn table(&self) -> String {
        let mut text = format!(
            "{:<30} {:>5} {:>8} {:>8} {:>8} {:>8}\n",
            "milliseconds", "n", "p50", "p95", "p99", "max"
        );
        for row in &self.rows {
            let figures = Figures::of(row);
            text.push_str(&format!(
                "{:<30} {:>5} {:>8.1} {:>8.1} {:>8.1} {:>8.1}\n",
                row.id, figures.n, figures.p50, figures.p95, figures.p99, figures.max
            ));
        }
        text
    }

    /// The rows of the JSON line.
    pub(crate) fn figures(&self) -> Vec<Figures> {
        self.rows.iter().map(Figures::of).collect()
    }

    /// Writes one HdrHistogram log per row.
    pub(crate) fn write_logs(&self, dir: &Path, name: &str) -> Result<()> {
        fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        for row in &self.rows {
            let path = dir.join(format!("{name}-{}.hlog", row.id));
            let mut file =
                BufWriter::new(File::create(&path).with_context(|| path.display().to_string())?);
            let mut serializer = V2DeflateSerializer::new();
            let mut log = IntervalLogWriterBuilder::new()
                .add_comment("microseconds")
                .with_start_time(SystemTime::now())
                .with_max_value_divisor(1_000.0)
                .begin_log_with(&mut file, &mut serializer)?;
            let zero = std::time::Duration::ZERO;
            log.write_histogram(&row.values, zero, zero, Tag::new(row.id))
                .map_err(|error| anyhow::anyhow!("{}: {error:?}", path.display()))?;
        }
        Ok(())
    }
}

/// One row of the JSON line.
#[derive(Clone, Serialize)]
pub(crate) struct Figures {
    pub(crate) id: &'static str,
    unit: &'static str,
    pub(crate) n: u64,
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Figures {
    fn of(row: &Row) -> Self {
        let at = |quantile| row.values.value_at_quantile(quantile) as f64 / 1_000.0;
        Self {
            id: row.id,
            unit: "ms",
            n: row.values.len(),
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            max: row.values.max() as f64 / 1_000.0,
        }
    }
}

/// The last line with `--json`.
#[derive(Serialize)]
pub(crate) struct Summary {
    pub(crate) bench: &'static str,
    pub(crate) commit: String,
    pub(crate) host: String,
    pub(crate) load: f64,
    pub(crate) voids: u64,
    pub(crate) rows: Vec<Figures>,
    pub(crate) lapses: Vec<Lapses>,
}

#[cfg(test)]
mod tests {
    use super::Rows;
    use base::Duration;

    #[test]
    fn rows_keep_their_order_and_their_extremes() {
        let mut rows = Rows::default();
        for ms in 1..=100 {
            rows.add("one", Duration::from_millis(ms)).expect("in range");
        }
        rows.add("two", Duration::from_micros(1)).expect("in range");
        let figures = rows.figures();
        assert_eq!(figures.iter().map(|it| it.id).collect::<Vec<_>>(), ["one", "two"]);
        assert!((figures[0].p50 - 50.0).abs() < 0.1 && (figures[0].max - 100.0).abs() < 0.1);
        assert_eq!(figures[1].n, 1);
    }
}
