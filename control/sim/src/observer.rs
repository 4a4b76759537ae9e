//! A client outside: it asks each service's address on every node all the time, and knows only what
//! answers.

use crate::clock::Real;
use base::Duration;
use std::collections::BTreeMap;
use wire::{Generation, Life, NodeId, ServiceId};

/// An answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// From whom.
    pub life: Life,
    /// Of which generation.
    pub generation: Generation,
    /// When.
    pub at: Real,
}

/// What was heard last of each service.
#[derive(Debug, Default)]
pub struct Observer {
    last: BTreeMap<ServiceId, Answer>,
    questions: u64,
    answers: u64,
}

impl Observer {
    /// It asks; `answer` is what comes back.
    pub fn asks(&mut self, service: ServiceId, answer: Option<Answer>) {
        self.questions += 1;
        if let Some(answer) = answer {
            self.answers += 1;
            self.last.insert(service, answer);
        }
    }
    /// The node that has answered within `patience`, if any has.
    #[must_use]
    pub fn answered_by(&self, service: ServiceId, now: Real, patience: Duration) -> Option<NodeId> {
        let last = self.last.get(&service)?;
        (now.since(last.at) <= patience).then_some(last.life.node)
    }
    /// How many questions were answered, in parts per thousand.
    #[must_use]
    pub fn share(&self) -> u64 {
        self.answers * 1_000 / self.questions.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Observer};
    use crate::clock::Real;
    use crate::shape::id;
    use base::Duration;
    use wire::{Generation, Incarnation, Life, ServiceId};

    #[test]
    fn silence_begins_when_nobody_has_answered_for_a_while() {
        let (vip, patience) = (ServiceId(0), Duration(10));
        let life = Life { node: id(2), incarnation: Incarnation(1) };
        let mut observer = Observer::default();
        observer.asks(vip, Some(Answer { life, generation: Generation(1), at: Real(100) }));
        observer.asks(vip, None);
        assert_eq!(observer.answered_by(vip, Real(110), patience), Some(id(2)));
        assert_eq!(observer.answered_by(vip, Real(111), patience), None);
        assert_eq!(observer.share(), 500);
    }
}
