//! The kernel gate of this node (S2b), as far as decisions need it: whether it is whole, whether the
//! log must be told, and what the operator should know.

use alloc::string::String;
use base::Instant;
use wire::Stint;

/// What the edge sees of the gate.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GateState {
    /// What is missing, in words; none if every packet of every floating address passes it.
    pub lack: Option<String>,
    /// How often something that another tool took away was put back.
    pub cured: u64,
    /// What was put back last, in words.
    pub last_cure: String,
}

/// The gate since this life began.
#[derive(Clone, Debug, Default)]
pub(crate) struct GateWatch {
    pub(crate) state: GateState,
    /// Since when it is as it is.
    pub(crate) since: Instant,
    /// When something was put back last.
    pub(crate) cured_at: Option<Instant>,
    /// The stint in which the log was told that it is not whole.
    told: Stint,
}

impl GateWatch {
    /// Takes what the edge sees.
    pub(crate) fn note(&mut self, now: Instant, state: GateState) {
        if state.lack.is_some() != self.state.lack.is_some() {
            self.since = now;
        }
        if state.cured != self.state.cured {
            self.cured_at = Some(now);
        }
        self.state = state;
    }

    /// What it lacks.
    pub(crate) fn lack(&self) -> Option<&str> {
        self.state.lack.as_deref()
    }

    /// What the log must be told in this stint, if anything: whether the gate is whole. Every stint
    /// begins with a gate that counts as whole, because nobody starts anything without looking at it.
    pub(crate) fn news(&mut self, stint: Stint) -> Option<bool> {
        let whole = self.state.lack.is_none();
        let told = self.told == stint;
        if whole != told {
            return None;
        }
        self.told = if whole { Stint::NONE } else { stint };
        Some(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::{GateState, GateWatch};
    use base::Instant;
    use wire::Stint;

    fn lacking() -> GateState {
        GateState { lack: Some("eth0 has no filter".into()), ..GateState::default() }
    }

    #[test]
    fn the_log_is_told_of_a_loss_and_its_end_once_in_each_stint() {
        let mut watch = GateWatch::default();
        assert_eq!(watch.news(Stint(4)), None, "whole needs no word");
        watch.note(Instant(5), lacking());
        assert_eq!(watch.news(Stint(4)), Some(false));
        assert_eq!(watch.news(Stint(4)), None);
        assert_eq!(watch.news(Stint(9)), Some(false), "another stint has not heard it");
        watch.note(Instant(7), GateState { cured: 1, ..GateState::default() });
        assert_eq!(watch.news(Stint(9)), Some(true));
        assert_eq!(watch.news(Stint(9)), None);
        assert_eq!((watch.since, watch.cured_at), (Instant(7), Some(Instant(7))));
    }

    #[test]
    fn a_loss_that_ended_with_its_stint_is_no_news_in_the_next() {
        let mut watch = GateWatch::default();
        watch.note(Instant(5), lacking());
        assert_eq!(watch.news(Stint(4)), Some(false));
        watch.note(Instant(6), GateState::default());
        assert_eq!(watch.news(Stint(9)), None);
    }
}
