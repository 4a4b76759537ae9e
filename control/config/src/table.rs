//! Reads values with their spans out of the parsed document.
//!
//! A [`Table`] gives out each key once; what nobody asked for is unknown. A value of the wrong type
//! is told and counts as absent-but-there, so that it is not told again as missing.

use crate::diagnostic::Report;
use crate::suggest::did_you_mean;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value and where it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) span: Range<usize>,
}

impl<T> At<T> {
    pub(crate) fn map<U>(&self, f: impl FnOnce(&T) -> U) -> At<U> {
        At { value: f(&self.value), span: self.span.clone() }
    }
}

/// One table of the document while it is read.
pub(crate) struct Table<'d> {
    /// As the operator would name it: `[cluster]`, `[[node]] "n1"`.
    pub(crate) title: String,
    /// Its header.
    pub(crate) span: Range<usize>,
    entries: &'d DeTable<'d>,
    asked: Vec<&'static str>,
}

impl<'d> Table<'d> {
    pub(crate) fn new(title: &str, span: Range<usize>, entries: &'d DeTable<'d>) -> Self {
        Self { title: title.into(), span, entries, asked: Vec::new() }
    }

    /// True if the key stands there.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries.keys().any(|k| k.get_ref() == key)
    }

    /// Makes the key a known one; true if it stands there.
    pub(crate) fn knows(&mut self, key: &'static str) -> bool {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        self.has(key)
    }

    /// Where the key stands.
    pub(crate) fn key_span(&self, key: &str) -> Option<Range<usize>> {
        self.entries.keys().find(|k| k.get_ref() == key).map(Spanned::span)
    }

    fn get(&mut self, key: &'static str) -> Option<&'d Spanned<DeValue<'d>>> {
        self.knows(key);
        self.entries.iter().find(|(k, _)| k.get_ref() == key).map(|(_, value)| value)
    }

    fn wrong_type(&self, report: &mut Report, key: &str, value: &Spanned<DeValue<'_>>, want: &str) {
        let message =
            format!("{key} in {} is {}, not {want}", self.title, type_name(value.get_ref()));
        report.error(value.span(), message, format!("write {want}"));
    }

    /// A string.
    pub(crate) fn string(&mut self, report: &mut Report, key: &'static str) -> Option<At<String>> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(At { value: text.to_string(), span: value.span() }),
            _ => {
                self.wrong_type(report, key, value, "a string in quotes");
                None
            }
        }
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&mut self, report: &mut Report, key: &'static str) -> Option<At<bool>> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::Boolean(yes) => Some(At { value: *yes, span: value.span() }),
            _ => {
                self.wrong_type(report, key, value, "true or false");
                None
            }
        }
    }

    /// An integer of a range.
    pub(crate) fn integer(
        &mut self,
        report: &mut Report,
        key: &'static str,
        range: std::ops::RangeInclusive<u32>,
    ) -> Option<At<u32>> {
        let value = self.get(key)?;
        let want = format!("a number from {} to {}", range.start(), range.end());
        let Some(number) = integer(value.get_ref()) else {
            self.wrong_type(report, key, value, &want);
            return None;
        };
        match number {
            Some(number) if range.contains(&number) => {
                Some(At { value: number, span: value.span() })
            }
            _ => {
                let message = format!("{key} in {} is out of range", self.title);
                report.error(value.span(), message, format!("write {want}"));
                None
            }
        }
    }

    /// A list of strings.
    pub(crate) fn strings(
        &mut self,
        report: &mut Report,
        key: &'static str,
    ) -> Option<At<Vec<At<String>>>> {
        let value = self.get(key)?;
        let want = "a list of strings in quotes";
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong_type(report, key, value, want);
            return None;
        };
        let mut strings = Vec::new();
        let mut whole = true;
        for item in items {
            match item.get_ref() {
                DeValue::String(text) => {
                    strings.push(At { value: text.to_string(), span: item.span() });
                }
                _ => {
                    self.wrong_type(report, key, item, "a string in quotes");
                    whole = false;
                }
            }
        }
        whole.then(|| At { value: strings, span: value.span() })
    }

    /// An integer or a string, for the one key that is either.
    pub(crate) fn word_or_number(
        &mut self,
        report: &mut Report,
        key: &'static str,
        want: &str,
    ) -> Option<At<String>> {
        let value = self.get(key)?;
        let word = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            other => match integer(other) {
                Some(number) => number.map_or_else(|| "out of range".into(), |n| n.to_string()),
                None => {
                    self.wrong_type(report, key, value, want);
                    return None;
                }
            },
        };
        Some(At { value: word, span: value.span() })
    }

    /// One table, `[key]`.
    pub(crate) fn table(&mut self, report: &mut Report, key: &'static str) -> Option<Self> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::Table(entries) => Some(Table::new(&format!("[{key}]"), value.span(), entries)),
            _ => {
                let message = format!("{key} is {}, not one table", type_name(value.get_ref()));
                report.error(value.span(), message, format!("write [{key}] with one bracket"));
                None
            }
        }
    }

    /// A list of tables, `[[key]]`.
    pub(crate) fn tables(&mut self, report: &mut Report, key: &'static str) -> Vec<Self> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let title = if self.title.is_empty() {
            format!("[[{key}]]")
        } else {
            format!("{key} of {}", self.title)
        };
        let DeValue::Array(items) = value.get_ref() else {
            let message = format!("{key} is {}, not a list of tables", type_name(value.get_ref()));
            report.error(value.span(), message, format!("write [[{key}]] with two brackets"));
            return Vec::new();
        };
        let mut tables = Vec::new();
        for item in items {
            match item.get_ref() {
                DeValue::Table(entries) => tables.push(Table::new(&title, item.span(), entries)),
                _ => self.wrong_type(report, key, item, "a table"),
            }
        }
        tables
    }

    /// Says that a key must be there.
    pub(crate) fn require(&self, report: &mut Report, key: &str, remedy: &str) {
        if !self.has(key) {
            let message = format!("{} has no {key}", self.title);
            report.missing(self.span.clone(), message, remedy);
        }
    }

    /// Tells every key that nobody asked for. `elsewhere` are keys that belong to another kind of
    /// this table.
    pub(crate) fn finish(self, report: &mut Report, elsewhere: &[(&str, &str)]) {
        for key in self.entries.keys() {
            let name: &str = key.get_ref();
            if self.asked.contains(&name) {
                continue;
            }
            if let Some((_, where_)) = elsewhere.iter().find(|(other, _)| *other == name) {
                let message = format!("{} has a key {name} that belongs to {where_}", self.title);
                report.error(key.span(), message, "remove it");
                continue;
            }
            let title =
                if self.title.is_empty() { "the top of the file" } else { self.title.as_str() };
            let shown: String = name.chars().take(40).collect();
            let message = format!("{title} has an unknown key \"{shown}\"");
            let remedy = match did_you_mean(name, self.asked.iter().copied()) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("remove it; keys here are: {}", self.asked.join(", ")),
            };
            report.error(key.span(), message, remedy);
        }
    }
}

/// `None`: no integer. `Some(None)`: one that is negative or too large.
fn integer(value: &DeValue<'_>) -> Option<Option<u32>> {
    match value {
        DeValue::Integer(number) => Some(u32::from_str_radix(number.as_str(), number.radix()).ok()),
        _ => None,
    }
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
