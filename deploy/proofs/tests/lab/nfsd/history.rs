//! What the client's work says about a stretch of time.

use super::bed::folder;
use lab::error::Context;
use lab::message::Clock;
use lab::{LabError, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Everything that the client did, in times of the host.
#[derive(Debug, Deserialize)]
pub(crate) struct History {
    spans: BTreeMap<String, Vec<(u64, u64)>>,
    /// What failed.
    pub(crate) errors: Vec<(u64, String)>,
}

/// Operations whose pause is that of data and opens.
pub(crate) const DATA: &[&str] = &["write", "read"];
/// All of them.
pub(crate) const ALL: &[&str] = &["write", "read", "create", "lock"];

impl History {
    /// Reads it and puts it on the host's clock.
    pub(crate) fn load(path: &Path, clock: &Clock) -> Result<Self> {
        let text = std::fs::read(path).context(path.display().to_string())?;
        let mut history: Self = serde_json::from_slice(&text)
            .map_err(|error| LabError::Channel(format!("the client's history: {error}")))?;
        for (from, to) in history.spans.values_mut().flatten() {
            (*from, *to) = (clock.to_host(*from), clock.to_host(*to));
        }
        for (at, _) in &mut history.errors {
            *at = clock.to_host(*at);
        }
        Ok(history)
    }

    /// The longest operation, in ms, of some kinds on a mount that overlaps a stretch of time.
    pub(crate) fn longest(
        &self,
        (service, version): (&str, &str),
        kinds: &[&str],
        (from, to): (u64, u64),
    ) -> f64 {
        let spans = kinds
            .iter()
            .filter_map(|kind| self.spans.get(&format!("{} {kind}", folder(service, version))));
        let inside = spans.flatten().filter(|(begin, end)| *begin < to && *end > from);
        ms(inside.map(|(begin, end)| end - begin).max().unwrap_or_default())
    }

    /// How many operations there were.
    pub(crate) fn count(&self) -> usize {
        self.spans.values().map(Vec::len).sum()
    }
}

/// Nanoseconds as milliseconds.
pub(crate) fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}
