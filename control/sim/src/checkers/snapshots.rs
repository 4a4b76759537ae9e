//! Snapshots: at one op all nodes have the same, byte for byte. And the memory that the log takes is bounded.

use super::Violation;
use agreement::{Agreement, Limits, Snapshot};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use wire::{Life, Op, Term};

/// What a primary proposes of itself while requests wait: removals, admissions, evidence.
const OWN: u64 = 64;
/// Entries that a member may lack before it is removed (R-PROGRESS), with the writers that the simulator has.
const LACKED: u64 = 400;

/// All snapshots that were seen.
#[derive(Debug, Default)]
pub struct Snapshots {
    seen: BTreeMap<(Term, Op), (Life, u64)>,
    installs: u64,
}

impl Snapshots {
    /// A node holds this snapshot.
    pub fn held(&mut self, by: Life, snapshot: &Snapshot) -> Result<(), Violation> {
        let mut hasher = DefaultHasher::new();
        (snapshot.heads, &snapshot.slices).hash(&mut hasher);
        let mine = hasher.finish();
        let key = (snapshot.op_term, snapshot.op);
        let (first, known) = *self.seen.entry(key).or_insert((by, mine));
        if known == mine {
            return Ok(());
        }
        let text = format!("{by:?} has another snapshot at {key:?} than {first:?}: {snapshot:?}");
        Violation::found("S1 one snapshot", text)
    }

    /// A node has installed one.
    pub const fn installed(&mut self) {
        self.installs += 1;
    }
    /// How many were installed.
    #[must_use]
    pub const fn installs(&self) -> u64 {
        self.installs
    }

    /// The log is no longer than its bounds allow.
    pub fn bounded(by: Life, agreement: &Agreement, limits: &Limits) -> Result<(), Violation> {
        let log = agreement.log();
        let tail = log.op().0 - agreement.commit().0;
        if tail > limits.waiting + OWN {
            let text = format!("{tail} entries wait at {by:?} for their commit");
            return Violation::found("bounded log", text);
        }
        let most =
            limits.kept + limits.snapshot_every * 2 + limits.waiting.min(LACKED) + OWN + LACKED;
        if log.len() as u64 > most {
            let text = format!("{by:?} keeps {} entries of at most {most}", log.len());
            return Violation::found("bounded log", text);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Snapshots;
    use crate::checkers::log::testing::{life, term};
    use agreement::Snapshot;
    use wire::Op;

    #[test]
    fn another_snapshot_at_the_same_op_is_seen() {
        let mut snapshots = Snapshots::default();
        let snapshot = |op, byte: u8| Snapshot {
            op: Op(op),
            op_term: term(1),
            heads: 1,
            slices: vec![[byte].as_slice().into()],
        };
        snapshots.held(life(1), &snapshot(5, 1)).unwrap();
        assert_eq!(snapshots.held(life(2), &snapshot(5, 1)), Ok(()));
        assert_eq!(snapshots.held(life(2), &snapshot(6, 2)), Ok(()));
        assert_eq!(snapshots.held(life(3), &snapshot(5, 2)).unwrap_err().rule, "S1 one snapshot");
    }
}
