//! I5 (S3): at most one node holds a service open under a lease, and no older generation is ever
//! held open again once a newer one was. What a `fenced` service leaves on machines is never on two
//! of them.

use super::Violation;
use std::collections::BTreeMap;
use wire::{Generation, Life, NodeId, ServiceId};

/// A node that holds a service open under a lease, right now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Open {
    /// Which.
    pub service: ServiceId,
    /// By whom.
    pub life: Life,
    /// Which generation.
    pub generation: Generation,
}

/// The newest generation of each service that was ever open under a lease, and whose it was.
#[derive(Debug, Default)]
pub struct Owners {
    newest: BTreeMap<ServiceId, Open>,
}

impl Owners {
    /// Checks everything that is open right now.
    pub fn check(&mut self, open: &[Open]) -> Result<(), Violation> {
        for (i, one) in open.iter().enumerate() {
            if let Some(other) = open[i + 1..].iter().find(|o| o.service == one.service) {
                return Violation::found("I5 one owner", format!("{one:?} and {other:?}"));
            }
            let newest = self.newest.entry(one.service).or_insert(*one);
            let older = one.generation < newest.generation;
            let shared = one.generation == newest.generation && one.life != newest.life;
            if older || shared {
                return Violation::found("I5 one owner", format!("{one:?} after {newest:?}"));
            }
            *newest = *one;
        }
        Ok(())
    }
}

/// Checks on which machines something of a fenced service is.
pub fn check_fenced(service: ServiceId, present: &[(NodeId, Generation)]) -> Result<(), Violation> {
    if present.len() > 1 {
        let text = format!("{service:?} is on {present:?}");
        return Violation::found("S3 fenced on one machine", text);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Open, Owners, check_fenced};
    use crate::shape::id;
    use wire::{Generation, Incarnation, Life, ServiceId};

    fn open(n: u8, generation: u64) -> Open {
        let life = Life { node: id(n), incarnation: Incarnation(1) };
        Open { service: ServiceId(0), life, generation: Generation(generation) }
    }

    #[test]
    fn two_owners_and_an_owner_of_the_past_are_seen() {
        let mut owners = Owners::default();
        owners.check(&[open(1, 1)]).unwrap();
        owners.check(&[open(1, 1)]).unwrap();
        assert!(owners.check(&[open(1, 1), open(2, 2)]).is_err(), "at once");
        let mut owners = Owners::default();
        owners.check(&[open(2, 2)]).unwrap();
        assert!(owners.check(&[open(1, 1)]).is_err(), "an older generation");
        assert!(owners.check(&[open(1, 2)]).is_err(), "the same generation elsewhere");
    }

    #[test]
    fn a_fenced_service_is_on_one_machine() {
        let on = |n| (id(n), Generation(1));
        assert!(check_fenced(ServiceId(0), &[on(1)]).is_ok());
        assert!(check_fenced(ServiceId(0), &[on(1), on(2)]).is_err());
    }
}
