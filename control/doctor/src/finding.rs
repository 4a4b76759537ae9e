//! What a check says: how bad, what was measured, why it matters, what to do.

use serde::Serialize;

/// How bad.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grade {
    /// As it should be.
    Ok,
    /// Worth knowing, or not checked; no promise rests on it.
    Notice,
    /// A promise is weaker than it could be.
    Warning,
    /// A promise will not be kept.
    Failure,
}

/// What a check is about; findings are shown by area, in this order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Area {
    /// Configuration, key, daemons.
    Cluster,
    /// Time.
    Clock,
    /// Cores, priorities, stalls.
    Scheduling,
    /// Interfaces and what passes between the nodes.
    Links,
    /// The kernel's gate (S2b).
    Gate,
    /// How long a takeover takes.
    Takeover,
    /// What the configuration means when a node dies.
    Policy,
}

impl Area {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Clock => "clock",
            Self::Scheduling => "scheduling",
            Self::Links => "links",
            Self::Gate => "gate",
            Self::Takeover => "takeover",
            Self::Policy => "policy",
        }
    }
}

/// One check's result.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// What it is about.
    pub area: Area,
    /// Stable name of the check, for programs.
    pub check: &'static str,
    /// The link, node or service, where there are several; or empty.
    pub subject: String,
    /// How bad.
    pub grade: Grade,
    /// What was found.
    pub measured: String,
    /// Why it matters, one line.
    pub why: &'static str,
    /// What to do; empty if nothing is to be done.
    pub remedy: String,
}

impl Finding {
    /// Says which link, node or service it is about.
    #[must_use]
    pub(crate) fn about(mut self, subject: &str) -> Self {
        subject.clone_into(&mut self.subject);
        self
    }
}

/// A kind of check; each module lists its own as constants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Check {
    pub(crate) area: Area,
    pub(crate) name: &'static str,
    pub(crate) why: &'static str,
}

impl Check {
    pub(crate) fn ok(self, measured: impl Into<String>) -> Finding {
        self.graded(Grade::Ok, measured, "")
    }
    pub(crate) fn notice(self, measured: impl Into<String>, remedy: impl Into<String>) -> Finding {
        self.graded(Grade::Notice, measured, remedy)
    }
    pub(crate) fn warning(self, measured: impl Into<String>, remedy: impl Into<String>) -> Finding {
        self.graded(Grade::Warning, measured, remedy)
    }
    pub(crate) fn failure(self, measured: impl Into<String>, remedy: impl Into<String>) -> Finding {
        self.graded(Grade::Failure, measured, remedy)
    }
    /// The check could not be made: a notice that says what it needs.
    pub(crate) fn unchecked(self, why: impl std::fmt::Display, needs: &str) -> Finding {
        self.graded(Grade::Notice, format!("not checked: {why}"), needs)
    }
    pub(crate) fn graded(
        self,
        grade: Grade,
        measured: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        Finding {
            area: self.area,
            check: self.name,
            subject: String::new(),
            grade,
            measured: measured.into(),
            why: self.why,
            remedy: remedy.into(),
        }
    }
}

/// Everything that was found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// The node that this machine is, if that is known.
    pub node: Option<String>,
    /// The worst grade.
    pub worst: Grade,
    /// By area, in the order in which they were made.
    pub findings: Vec<Finding>,
}

impl Report {
    pub(crate) fn new(node: Option<String>, mut findings: Vec<Finding>) -> Self {
        // Stable: within an area the order of the checks stays.
        findings.sort_by_key(|finding| finding.area);
        let worst = findings.iter().map(|finding| finding.grade).max().unwrap_or(Grade::Ok);
        Self { node, worst, findings }
    }
    /// How many findings have this grade.
    #[must_use]
    pub fn count(&self, grade: Grade) -> usize {
        self.findings.iter().filter(|finding| finding.grade == grade).count()
    }
}

#[cfg(test)]
mod tests {
    use super::{Area, Check, Grade, Report};

    const A: Check = Check { area: Area::Takeover, name: "a", why: "because" };
    const B: Check = Check { area: Area::Clock, name: "b", why: "because" };

    #[test]
    fn findings_are_grouped_by_area_and_the_worst_counts() {
        let found = vec![A.ok("1"), B.warning("2", "x"), A.notice("3", "y"), B.ok("4")];
        let report = Report::new(None, found);
        let order: Vec<_> = report.findings.iter().map(|f| f.measured.as_str()).collect();
        assert_eq!(order, ["2", "4", "1", "3"]);
        assert_eq!(report.worst, Grade::Warning);
        assert_eq!((report.count(Grade::Ok), report.count(Grade::Failure)), (2, 0));
    }

    #[test]
    fn what_could_not_be_checked_is_neither_fine_nor_bad() {
        assert_eq!(A.unchecked("no root", "run as root").grade, Grade::Notice);
    }
}
