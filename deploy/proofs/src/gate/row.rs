//! One line of the table.

use serde_json::{Value, json};

/// A span of measured times, in microseconds; negative is before the lease's end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spread {
    /// Trials.
    pub n: usize,
    /// The middle one.
    pub p50: i64,
    /// The latest.
    pub max: i64,
}

impl Spread {
    /// Of at least one trial.
    pub(super) fn of(mut times: Vec<i64>) -> Option<Self> {
        times.sort_unstable();
        let p50 = *times.get(times.len() / 2)?;
        Some(Self { n: times.len(), p50, max: *times.last()? })
    }
}

/// What a case showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// No answer came while the gate was closed.
    Closes,
    /// Answers came although it was closed.
    Answers,
    /// Cannot be shown here.
    NotHere,
}

/// One line.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// What was done.
    pub case: String,
    /// How the address was asked.
    pub how: String,
    /// Where the gate's filters were, and what else was in place.
    pub measure: String,
    /// What came of it.
    pub seen: Seen,
    /// What NetGuard needs it to be.
    pub wanted: Seen,
    /// What closes it, or why nothing does.
    pub by: String,
    /// When the last answer came, from the moment that `note` names.
    pub lateness: Option<Spread>,
    /// What one packet costs the gate.
    pub cost: Option<String>,
    /// What else there is to know.
    pub note: String,
}

impl Row {
    /// A line about `case`, asked by `how`, with `measure` in place.
    pub(super) fn new(case: &str, how: &str, measure: &str) -> Self {
        Self {
            case: case.to_owned(),
            how: how.to_owned(),
            measure: measure.to_owned(),
            seen: Seen::NotHere,
            wanted: Seen::NotHere,
            by: String::new(),
            lateness: None,
            cost: None,
            note: String::new(),
        }
    }

    /// It was `seen`, and must close.
    pub(super) fn must_close(mut self, seen: Seen, by: &str) -> Self {
        (self.seen, self.wanted) = (seen, Seen::Closes);
        by.clone_into(&mut self.by);
        self
    }

    /// It was `seen`, and is expected to answer: either rightly, or to show what a measure is for.
    pub(super) fn must_answer(mut self, seen: Seen, why: &str) -> Self {
        (self.seen, self.wanted) = (seen, Seen::Answers);
        why.clone_into(&mut self.by);
        self
    }

    /// It cannot be shown on this kernel.
    pub(super) fn not_here(mut self, reason: &str) -> Self {
        self.note = format!("not possible here: {reason}");
        self
    }

    /// With times.
    pub(super) const fn late(mut self, lateness: Option<Spread>) -> Self {
        self.lateness = lateness;
        self
    }

    /// With a cost.
    pub(super) fn cost(mut self, text: String) -> Self {
        self.cost = Some(text);
        self
    }

    /// With a remark.
    pub(super) fn note(mut self, text: impl Into<String>) -> Self {
        self.note = text.into();
        self
    }

    /// True if it is what NetGuard relies on, or could not be tried.
    pub(super) fn is_as_wanted(&self) -> bool {
        self.seen == self.wanted
    }

    /// One JSON object, with the kernel and its load.
    pub(super) fn json(&self, kernel: &str, load: f64) -> Value {
        json!({
            "load": load,
            "case": self.case,
            "how": self.how,
            "measure": self.measure,
            "kernel": kernel,
            "closes": match self.seen {
                Seen::Closes => Some(true),
                Seen::Answers => Some(false),
                Seen::NotHere => None,
            },
            "as_wanted": self.is_as_wanted(),
            "by": self.by,
            "lateness_us": self.lateness.map(|it| json!({"n": it.n, "p50": it.p50, "max": it.max})),
            "cost": self.cost,
            "note": self.note,
        })
    }

    /// One line for a terminal.
    pub(super) fn line(&self) -> String {
        let seen = match self.seen {
            Seen::Closes => "closes ",
            Seen::Answers => "answers",
            Seen::NotHere => "-      ",
        };
        let mark = if self.is_as_wanted() { ' ' } else { '!' };
        let late = self.lateness.map_or_else(String::new, |it| {
            format!(" [last answer {}..{} us, n={}]", it.p50, it.max, it.n)
        });
        let Self { case, how, measure, by, note, .. } = self;
        let cost = self.cost.as_ref().map_or_else(String::new, |it| format!(" [{it}]"));
        format!("{mark}{seen} {case} | {how} | {measure} | {by}{late}{cost} {note}")
    }
}
