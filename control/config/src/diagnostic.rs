//! Faults with their places, and how they are shown.
//!
//! ```text
//! netguard.toml:4:22: error: heartbeat_interval "10" is no duration: it has no unit
//!    4 | heartbeat_interval = "10"
//!      |                      ^^^^
//!    remedy: write a number with a unit, such as "10ms"
//! ```

use std::fmt;
use std::ops::Range;

/// So many faults are shown; a file with more is no configuration.
const SHOWN_MAX: usize = 40;
/// Columns of a long line that are shown around the fault.
const WINDOW: usize = 100;

/// How bad a fault is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// The configuration is not used.
    Error,
    /// It is used; the operator should know.
    Warning,
}

/// One fault and its remedy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// How bad.
    pub severity: Severity,
    /// From 1; 0 = the fault has no place in the file.
    pub line: usize,
    /// From 1, in characters; 0 = no place.
    pub column: usize,
    /// Characters that the fault covers on its first line, at least 1.
    pub width: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

/// All that was found in one file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// The file's name as the operator gave it.
    pub file: String,
    /// The faults in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
    text: String,
    /// The text is no TOML: what seems missing may stand where the parser lost its way.
    broken: bool,
}

impl Report {
    pub(crate) fn new(file: &str, text: &str) -> Self {
        Self { file: file.into(), diagnostics: Vec::new(), text: text.into(), broken: false }
    }

    /// True if there is an error, not only warnings.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// How many there are of one severity.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.diagnostics.iter().filter(|d| d.severity == severity).count()
    }

    pub(crate) const fn is_broken(&self) -> bool {
        self.broken
    }

    /// Adds what the TOML parser found. Every later fault on the same line is its consequence.
    pub(crate) fn broken(&mut self, span: Range<usize>, message: String, remedy: &str) {
        self.broken = true;
        self.add(Severity::Error, span, message, remedy.into());
    }

    pub(crate) fn error(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(Severity::Error, span, message.into(), remedy.into());
    }

    /// Something is not there. Not said of a broken text.
    pub(crate) fn missing(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        if !self.broken {
            self.error(span, message, remedy);
        }
    }

    pub(crate) fn warning(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(Severity::Warning, span, message.into(), remedy.into());
    }

    /// A fault without a place: the file itself.
    pub(crate) fn placeless(file: &str, message: String, remedy: String) -> Self {
        let mut report = Self::new(file, "");
        let (severity, line, column, width) = (Severity::Error, 0, 0, 1);
        report.diagnostics.push(Diagnostic { severity, line, column, width, message, remedy });
        report
    }

    /// A report of one error without a place, for what a user of the configuration finds.
    #[must_use]
    pub fn about(file: &str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::placeless(file, message.into(), remedy.into())
    }

    pub(crate) fn sort(&mut self) {
        self.diagnostics.sort_by_key(|d| (d.line, d.column, d.severity));
    }

    fn add(&mut self, severity: Severity, span: Range<usize>, message: String, remedy: String) {
        let start = floor_boundary(&self.text, span.start);
        let end = floor_boundary(&self.text, span.end.max(start));
        let before = &self.text[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.matches('\n').count() + 1;
        let column = self.text[line_start..start].chars().count() + 1;
        let covered = self.text[start..end].lines().next().unwrap_or_default();
        let width = covered.chars().count().max(1);
        self.diagnostics.push(Diagnostic { severity, line, column, width, message, remedy });
    }

    fn show(&self, f: &mut fmt::Formatter<'_>, diagnostic: &Diagnostic) -> fmt::Result {
        let Diagnostic { line, column, message, remedy, .. } = diagnostic;
        let word = match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        if *line == 0 {
            writeln!(f, "{}: {word}: {}", self.file, clean(message))?;
        } else {
            writeln!(f, "{}:{line}:{column}: {word}: {}", self.file, clean(message))?;
            let text = self.text.lines().nth(line - 1).unwrap_or_default();
            let skipped = column.saturating_sub(WINDOW * 2 / 3);
            let shown: String = text.chars().skip(skipped).take(WINDOW).map(visible).collect();
            let dots = if skipped > 0 { "…" } else { "" };
            writeln!(f, "{line:>5} | {dots}{}", shown.trim_end())?;
            let indent = column - 1 - skipped + dots.chars().count();
            let width = diagnostic.width.min(WINDOW.saturating_sub(indent)).max(1);
            writeln!(f, "      | {}{}", " ".repeat(indent), "^".repeat(width))?;
        }
        writeln!(f, "  remedy: {}", clean(remedy))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, diagnostic) in self.diagnostics.iter().take(SHOWN_MAX).enumerate() {
            if place > 0 {
                writeln!(f)?;
            }
            self.show(f, diagnostic)?;
        }
        match self.diagnostics.len().saturating_sub(SHOWN_MAX) {
            0 => Ok(()),
            more => writeln!(f, "\n… and {more} more"),
        }
    }
}

impl std::error::Error for Report {}

/// The file is foreign text: what would move the cursor of a terminal or forge a log line is not
/// shown.
fn visible(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control() || is_direction_mark(c) => '\u{fffd}',
        c => c,
    }
}

const fn is_direction_mark(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn clean(text: &str) -> String {
    text.chars().map(visible).collect()
}

/// The nearest character boundary at or before `at`.
fn floor_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::Report;

    #[test]
    fn shows_place_line_caret_and_remedy() {
        let mut report = Report::new("x.toml", "a = 1\nb =\t2\n");
        report.error(10..11, "no two", "write three");
        assert_eq!(
            report.to_string(),
            "x.toml:2:5: error: no two\n    2 | b = 2\n      |     ^\n  remedy: write three\n"
        );
    }

    #[test]
    fn columns_are_characters_and_spans_may_be_wrong() {
        let mut report = Report::new("x", "\u{e9}\u{e9} = 1");
        report.error(7..8, "m", "r");
        report.error(1..usize::MAX, "m", "r");
        report.error(900..901, "m", "r");
        let places: Vec<_> = report.diagnostics.iter().map(|d| (d.line, d.column)).collect();
        assert_eq!(places, [(1, 6), (1, 1), (1, 7)]);
        let _ = report.to_string();
    }

    #[test]
    fn a_long_line_is_cut_and_escapes_are_not_shown() {
        let mut report = Report::new("x", &format!("{}\u{1b}[31m", "a".repeat(5000)));
        report.error(4999..5000, "bad \u{1b}[2J", "r");
        let shown = report.to_string();
        assert!(!shown.contains('\u{1b}'));
        assert!(shown.lines().all(|line| line.chars().count() < 130), "{shown}");
        let caret = shown.lines().nth(2).unwrap().chars().count();
        assert_eq!(shown.lines().nth(1).unwrap().chars().nth(caret - 1), Some('a'));
    }
}
