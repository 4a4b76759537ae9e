//! S2b: what a packet meets. At any instant at most one node's gate lets packets of a service's
//! address pass; and it is shut before the others act: before the removal of its life is committed
//! anywhere, and before the next generation of the service is.
//!
//! This looks at the words in the kernel and at the clock of their machine, not at what the daemons
//! believe: they may be dead, stopped or late.

use super::Violation;
use super::log::CommittedLog;
use services::Body;
use std::collections::{BTreeMap, BTreeSet};
use wire::{EntryKind, Generation, Life, ServiceId};

/// A gate that would let a packet pass right now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Passing {
    /// The service whose address is asked.
    pub service: ServiceId,
    /// Whose gate it is.
    pub life: Life,
    /// The generation for which it is open.
    pub generation: Generation,
}

/// The newest generation of a service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Newest {
    generation: Generation,
    owner: Option<Life>,
    /// The only life that knows it committed, as far as there is only one: a primary with the only vote commits what it
    /// reports in the turn in which it shuts its gate, and the turn may be interrupted before either leaves the node.
    known_to: Option<Life>,
}

/// What the committed log has given to whom.
#[derive(Debug, Default)]
pub struct Gates {
    newest: BTreeMap<ServiceId, Newest>,
    /// Lives that said that their gate is not whole.
    lacking: BTreeSet<Life>,
    /// Lives whose gate was not whole when they were removed: the end of their lease proves nothing.
    unproven: BTreeSet<Life>,
}

/// The next generation of a service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Next {
    /// Of which service.
    pub service: ServiceId,
    /// Which.
    pub generation: Generation,
    /// Who is responsible for it.
    pub owner: Option<Life>,
    /// Nothing but the end of the last owner's lease is known of it.
    pub by_lease: bool,
    /// Who has committed it.
    pub by: Life,
}

impl Gates {
    /// The state of a service is committed. True if it is another generation; that of an owner whose
    /// gate was not whole does not end by its lease alone (S2b, S3).
    pub fn committed(&mut self, next: Next) -> Result<bool, Violation> {
        let Next { generation, owner, by, .. } = next;
        let state = Newest { generation, owner, known_to: Some(by) };
        let last = *self.newest.entry(next.service).or_insert(state);
        let newer = generation > last.generation;
        if newer {
            self.newest.insert(next.service, state);
        } else if generation == last.generation {
            let known_to = last.known_to.filter(|life| *life == by);
            self.newest.insert(next.service, Newest { known_to, ..state });
        }
        let follows = generation.0 == last.generation.0 + 1;
        let unproven = last.owner.is_some_and(|owner| self.unproven.contains(&owner));
        if newer && follows && unproven && next.by_lease {
            let text = format!("{next:?} rests on the lease of {last:?}, whose gate was not whole");
            return Violation::found("S3 proof behind a gate", text);
        }
        Ok(newer)
    }
    /// An entry is committed for the first time.
    pub fn entry(&mut self, kind: &EntryKind) {
        match kind {
            EntryKind::Request { body, .. } => match Body::decode(body) {
                Ok(Body::Gate { life, whole: false }) => {
                    self.lacking.insert(life);
                }
                Ok(Body::Gate { life, whole: true }) => {
                    self.lacking.remove(&life);
                }
                _ => {}
            },
            EntryKind::Remove { node, incarnation, .. } => {
                let life = Life { node: *node, incarnation: *incarnation };
                if self.lacking.remove(&life) {
                    self.unproven.insert(life);
                }
            }
            EntryKind::Admit { node, incarnation } => {
                let life = Life { node: *node, incarnation: *incarnation };
                // Every stint begins with a gate that counts as whole.
                self.lacking.remove(&life);
                self.unproven.remove(&life);
            }
            _ => {}
        }
    }
    /// Who owns a service by all that is committed, and by which generation.
    #[must_use]
    pub fn owner(&self, service: ServiceId) -> Option<(Generation, Life)> {
        let newest = self.newest.get(&service)?;
        Some((newest.generation, newest.owner?))
    }

    /// Checks every gate that would let a packet pass right now.
    pub fn check(&self, passing: &[Passing], log: &CommittedLog) -> Result<(), Violation> {
        for (i, one) in passing.iter().enumerate() {
            if let Some(other) = passing[i + 1..].iter().find(|o| o.service == one.service) {
                let text = format!("packets pass at {one:?} and at {other:?}");
                return Violation::found("S2b one open gate", text);
            }
            let newest = self.newest.get(&one.service);
            let next = newest.filter(|newest| newest.known_to != Some(one.life));
            if next.is_some_and(|next| one.generation < next.generation) {
                let text = format!("packets pass at {one:?}, committed is {newest:?}");
                return Violation::found("S2b shut before the next", text);
            }
            let era = log.era();
            let member = log.seats(era).is_some_and(|seats| seats.stint(one.life).is_member());
            if !member {
                let text = format!("packets pass at {one:?}, which is no member in era {era}");
                return Violation::found("S2b shut before the removal", text);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Gates, Next, Passing};
    use crate::checkers::log::testing::begun;
    use crate::shape::id;
    use services::Body;
    use wire::{EntryKind, Generation, Incarnation, Life, ServiceId};

    const VIP: ServiceId = ServiceId(0);

    fn passing(n: u8, incarnation: u32, generation: u64) -> Passing {
        let life = Life { node: id(n), incarnation: Incarnation(incarnation) };
        Passing { service: VIP, life, generation: Generation(generation) }
    }

    fn next(generation: u64, owner: Option<Life>) -> Next {
        let by = passing(2, 1, 0).life;
        Next { service: VIP, generation: Generation(generation), owner, by_lease: true, by }
    }

    #[test]
    fn the_lease_of_an_owner_without_a_gate_proves_nothing() {
        let (mut gates, life) = (Gates::default(), passing(1, 1, 0).life);
        gates.committed(next(4, Some(life))).unwrap();
        let (client, seq) = (services::client_of(life), wire::Seq(1));
        let body = Body::Gate { life, whole: false }.encode().into();
        gates.entry(&EntryKind::Request { client, seq, body });
        let (node, incarnation) = (life.node, life.incarnation);
        let (stint, cause) = (wire::Stint(2), wire::entry::RemovalCause::Silent);
        gates.entry(&EntryKind::Remove { node, incarnation, stint, cause });
        let proven = Next { by_lease: false, ..next(5, None) };
        assert_eq!(gates.committed(next(5, None)).unwrap_err().rule, "S3 proof behind a gate");
        assert_eq!(gates.committed(proven), Ok(false), "told before");
    }

    #[test]
    fn two_gates_an_old_generation_and_a_removed_life_are_seen() {
        let (log, _) = begun(&[2]).unwrap();
        let mut gates = Gates::default();
        let rule = |gates: &Gates, passing: &[Passing]| gates.check(passing, &log).err();
        assert_eq!(rule(&gates, &[passing(1, 1, 4)]), None);
        let two = [passing(1, 1, 4), passing(2, 1, 5)];
        assert_eq!(rule(&gates, &two).unwrap().rule, "S2b one open gate");
        gates.committed(next(5, Some(passing(2, 1, 5).life))).unwrap();
        assert_eq!(rule(&gates, &two[..1]).unwrap().rule, "S2b shut before the next");
        assert_eq!(rule(&gates, &two[1..]), None);
        let removed = rule(&gates, &[passing(2, 2, 5)]).unwrap();
        assert_eq!(removed.rule, "S2b shut before the removal");
    }

    #[test]
    fn the_owner_is_that_of_the_newest_generation() {
        let (mut gates, life) = (Gates::default(), passing(1, 1, 0).life);
        assert_eq!(gates.committed(next(4, None)), Ok(false));
        assert_eq!(gates.committed(next(5, Some(life))), Ok(true));
        assert_eq!(gates.committed(next(4, None)), Ok(false), "a node that is behind");
        assert_eq!(gates.owner(VIP), Some((Generation(5), life)));
    }
}
