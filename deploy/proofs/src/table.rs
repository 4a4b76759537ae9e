//! A proof's figures: a table with what it was measured under, as a JSON file and as text.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

/// One table.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Table {
    /// What it shows.
    pub title: String,
    /// Kernel, load, number of trials and of void ones: what a reader must know to believe it.
    pub conditions: String,
    /// Heads of the columns.
    pub columns: Vec<String>,
    /// The rows, as many cells as there are columns.
    pub rows: Vec<Vec<String>>,
    /// What follows from it.
    pub notes: Vec<String>,
}

impl Table {
    /// An empty one.
    #[must_use]
    pub fn new(title: &str, conditions: String, columns: &[&str]) -> Self {
        Self {
            title: title.to_owned(),
            conditions,
            columns: columns.iter().map(|it| (*it).to_owned()).collect(),
            rows: vec![],
            notes: vec![],
        }
    }

    /// One more row.
    pub fn row(&mut self, cells: &[&dyn fmt::Display]) {
        self.rows.push(cells.iter().map(ToString::to_string).collect());
    }

    /// Writes `NAME.json` into `folder`.
    ///
    /// # Errors
    /// When the folder does not take it.
    pub fn save(&self, folder: &Path, name: &str) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let text = serde_json::to_string_pretty(self).map_err(io::Error::other)?;
        fs::write(folder.join(format!("{name}.json")), text + "\n")
    }

    /// Reads it back.
    ///
    /// # Errors
    /// When it is not there, or is something else.
    pub fn load(folder: &Path, name: &str) -> io::Result<Self> {
        let text = fs::read_to_string(folder.join(format!("{name}.json")))?;
        serde_json::from_str(&text).map_err(io::Error::other)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut widths: Vec<usize> = self.columns.iter().map(|it| it.chars().count()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        writeln!(out, "{}", self.title)?;
        writeln!(out, "({})", self.conditions)?;
        let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
        for row in [&self.columns, &rule].into_iter().chain(&self.rows) {
            let cells: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            writeln!(out, "{}", cells.join("  ").trim_end())?;
        }
        self.notes.iter().try_for_each(|note| writeln!(out, "· {note}"))
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn columns_stand_under_each_other() {
        let mut table = Table::new("t", "n 3".into(), &["case", "closes"]);
        table.row(&[&"through a bridge", &true]);
        table.notes.push("so it is".into());
        let text = table.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[2].find("closes"), lines[4].find("true"));
        assert_eq!(lines.last(), Some(&"· so it is"));
    }
}
