//! What must hold, judged only by what comes out of the nodes. Nothing here knows how the cores
//! work.
//!
//! * [`log`]: I1 agreement, I2 survival, I8 voter life, I9 one era, I10 quorum, and the roster that the
//!   committed log implies.
//! * [`views`]: I3 one order of views, and one state of the planner per log position (S1).
//! * [`promise`]: I7 one promise, one primary per term.
//! * [`snapshots`]: one snapshot per log position, and a bounded log.
//! * [`lease`]: I4 whoever holds a lease is a member by the committed log (S2).
//! * [`evidence`]: R-FENCE, votes that are given in a pair.
//! * [`gate`]: S2b packets pass one gate, and it is shut before the others act.
//! * [`needless`]: nothing moves without a reason that the world knows of (S10).
//! * [`owner`]: I5 one owner, and a fenced service on one machine only (S3).
//! * [`progress`]: I11, and that nobody is removed without need.

pub mod evidence;
pub mod gate;
pub mod lease;
pub mod log;
pub mod needless;
pub mod owner;
pub mod progress;
pub mod promise;
pub mod snapshots;
pub mod views;

/// A broken promise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The invariant or the rule.
    pub rule: &'static str,
    /// What was seen.
    pub text: String,
}

impl Violation {
    /// A violation as a result.
    pub fn found<T>(rule: &'static str, text: impl Into<String>) -> Result<T, Self> {
        Err(Self { rule, text: text.into() })
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.rule, self.text)
    }
}

/// All checkers that look at single steps.
#[derive(Debug, Default)]
pub struct Checkers {
    /// The committed log.
    pub log: log::CommittedLog,
    /// Views and planner states.
    pub views: views::Views,
    /// Promises and acknowledgements.
    pub promise: promise::Promises,
    /// Snapshots.
    pub snapshots: snapshots::Snapshots,
    /// Owners.
    pub owner: owner::Owners,
    /// Gates.
    pub gate: gate::Gates,
    /// What was said about lives that ended.
    pub evidence: evidence::Evidence,
    /// Reasons.
    pub needless: needless::Needless,
}
