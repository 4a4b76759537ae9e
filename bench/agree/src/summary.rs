//! A line of JSON for programs.

use serde::Serialize;
use testbed::report::Row;

/// The last line with `--json`, and what is written.
#[derive(Serialize)]
pub(crate) struct Summary<'a> {
    pub(crate) bench: &'static str,
    pub(crate) commit: String,
    pub(crate) host: String,
    pub(crate) load: f64,
    pub(crate) voids: u64,
    /// Median of a commit over the median of a bare round trip; the target is 1.6.
    pub(crate) commit_over_rtt: Option<f64>,
    /// Promises that these figures do not hold.
    pub(crate) missed: &'a [String],
    pub(crate) rows: Vec<Row>,
}
