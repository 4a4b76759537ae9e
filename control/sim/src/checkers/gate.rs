//! S2b: what a packet meets. At any instant at most one node's gate lets packets of a service's
//! address pass; and it is shut before the others act: before the removal of its life is committed
//! anywhere, and before the next generation of the service is.
//!
//! This looks at the words in the kernel and at the clock of their machine, not at what the daemons
//! believe: they may be dead, stopped or late.

use super::Violation;
use super::log::CommittedLog;
use std::collections::BTreeMap;
use wire::{Generation, Life, ServiceId};

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

/// What the committed log has given to whom.
#[derive(Debug, Default)]
pub struct Gates {
    newest: BTreeMap<ServiceId, (Generation, Option<Life>)>,
}

impl Gates {
    /// A generation is committed; `owner` is who is responsible for it. True if it is a new one.
    pub fn committed(
        &mut self,
        service: ServiceId,
        generation: Generation,
        owner: Option<Life>,
    ) -> bool {
        let newest = self.newest.entry(service).or_insert((generation, owner));
        let newer = generation > newest.0;
        if generation >= newest.0 {
            *newest = (generation, owner);
        }
        newer
    }
    /// Who owns a service by all that is committed, and by which generation.
    #[must_use]
    pub fn owner(&self, service: ServiceId) -> Option<(Generation, Life)> {
        let (generation, owner) = self.newest.get(&service)?;
        Some((*generation, (*owner)?))
    }

    /// Checks every gate that would let a packet pass right now.
    pub fn check(&self, passing: &[Passing], log: &CommittedLog) -> Result<(), Violation> {
        for (i, one) in passing.iter().enumerate() {
            if let Some(other) = passing[i + 1..].iter().find(|o| o.service == one.service) {
                let text = format!("packets pass at {one:?} and at {other:?}");
                return Violation::found("S2b one open gate", text);
            }
            let newest = self.newest.get(&one.service).map(|(generation, _)| *generation);
            if newest.is_some_and(|newest| one.generation < newest) {
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
    use super::{Gates, Passing};
    use crate::checkers::log::testing::begun;
    use crate::shape::id;
    use wire::{Generation, Incarnation, Life, ServiceId};

    const VIP: ServiceId = ServiceId(0);

    fn passing(n: u8, incarnation: u32, generation: u64) -> Passing {
        let life = Life { node: id(n), incarnation: Incarnation(incarnation) };
        Passing { service: VIP, life, generation: Generation(generation) }
    }

    #[test]
    fn two_gates_an_old_generation_and_a_removed_life_are_seen() {
        let (log, _) = begun(&[2]).unwrap();
        let mut gates = Gates::default();
        let rule = |gates: &Gates, passing: &[Passing]| gates.check(passing, &log).err();
        assert_eq!(rule(&gates, &[passing(1, 1, 4)]), None);
        let two = [passing(1, 1, 4), passing(2, 1, 5)];
        assert_eq!(rule(&gates, &two).unwrap().rule, "S2b one open gate");
        gates.committed(VIP, Generation(5), Some(passing(2, 1, 5).life));
        assert_eq!(rule(&gates, &two[..1]).unwrap().rule, "S2b shut before the next");
        assert_eq!(rule(&gates, &two[1..]), None);
        let removed = rule(&gates, &[passing(2, 2, 5)]).unwrap();
        assert_eq!(removed.rule, "S2b shut before the removal");
    }

    #[test]
    fn the_owner_is_that_of_the_newest_generation() {
        let (mut gates, life) = (Gates::default(), passing(1, 1, 0).life);
        assert!(!gates.committed(VIP, Generation(4), None));
        assert!(gates.committed(VIP, Generation(5), Some(life)));
        assert!(!gates.committed(VIP, Generation(4), None), "a node that is behind");
        assert_eq!(gates.owner(VIP), Some((Generation(5), life)));
    }
}
