//! What the observer saw, and the check that there never were two owners. No I/O in here.
//!
//! The check (S3 as a client can see it): once a reply of generation g+1 has been received, no
//! probe *sent later* may be answered by generation g, whichever way the probe went. Stamps are
//! taken before the send and after the receipt, so a verdict never rests on the observer's own
//! delay. One generation has one node.

use base::{Duration, Instant};
use std::collections::BTreeMap;

use crate::probe::{Reply, Via};

/// Most answers kept for one trial; one a millisecond, so more than a minute.
const ANSWERS_MAX: usize = 100_000;
/// Most violations kept word for word; all are counted.
const VIOLATIONS_MAX: usize = 20;

/// One answer, with the times of the question and the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Before the probe was sent.
    pub sent: Instant,
    /// After the reply was received.
    pub received: Instant,
    /// Which way the probe went.
    pub via: Via,
    /// Who answered.
    pub node: u8,
    /// As owner of which generation.
    pub generation: u64,
}

#[derive(Clone, Copy, Debug)]
struct First {
    node: u8,
    received: Instant,
}

/// Answers since the last [`Record::begin_window`], and verdicts since the start.
#[derive(Debug, Default)]
pub struct Record {
    first: BTreeMap<u64, First>,
    violations: Vec<String>,
    violation_count: u64,
    window: Vec<Answer>,
    window_full: u64,
    last_by_kernel: Option<Instant>,
    longest_gap: Duration,
    answers: u64,
    direct_answers: u64,
}

impl Record {
    /// A reply that was received at `received` to a probe sent at `sent`.
    pub fn handle_reply(&mut self, sent: Instant, received: Instant, reply: &Reply) {
        let Reply { probe, node, generation } = *reply;
        let answer = Answer { sent, received, via: probe.via, node, generation };
        self.judge(&answer);
        if generation > 0 {
            self.first.entry(generation).or_insert(First { node, received });
        }
        self.answers += 1;
        if probe.via == Via::Kernel {
            if let Some(last) = self.last_by_kernel {
                self.longest_gap = self.longest_gap.max(received.since(last));
            }
            self.last_by_kernel = Some(received);
        } else {
            self.direct_answers += 1;
        }
        if self.window.len() < ANSWERS_MAX {
            self.window.push(answer);
        } else {
            self.window_full += 1;
        }
    }

    fn judge(&mut self, answer: &Answer) {
        if let Some(first) = self.first.get(&answer.generation)
            && first.node != answer.node
        {
            self.accuse(answer, format!("n{} answered for the same generation", first.node));
        }
        let newer = self.first.range(answer.generation + 1..).next_back();
        let Some((newest, first)) = newer.map(|(newest, first)| (*newest, *first)) else { return };
        // Generation 0 is a node that calls itself no owner (any more): only another node's word
        // counts against it.
        let other = answer.generation > 0 || first.node != answer.node;
        if other && answer.sent > first.received {
            let ago = answer.sent.since(first.received);
            let why =
                format!("g{newest} of n{} had answered {ago} before it was asked", first.node);
            self.accuse(answer, why);
        }
    }

    fn accuse(&mut self, answer: &Answer, why: String) {
        self.violation_count += 1;
        if self.violations.len() < VIOLATIONS_MAX {
            let Answer { via, node, generation, .. } = answer;
            self.violations
                .push(format!("n{node} answered as owner of g{generation} ({via:?}): {why}"));
        }
    }

    /// Forgets answers and gaps of the trial before; verdicts stay.
    pub fn begin_window(&mut self) {
        self.window.clear();
        self.window_full = 0;
        self.longest_gap = Duration::ZERO;
    }

    /// The first answer to a normal probe, sent after `after`, that `accept` takes.
    pub fn first_answer(&self, after: Instant, accept: impl Fn(&Answer) -> bool) -> Option<Answer> {
        let mut asked = self.window.iter().filter(|it| it.via == Via::Kernel && it.sent > after);
        asked.find(|it| accept(it)).copied()
    }

    /// All answers to normal probes in the window, in their order.
    pub fn normal(&self) -> impl Iterator<Item = &Answer> {
        self.window.iter().filter(|it| it.via == Via::Kernel)
    }

    /// The newest answer to a normal probe.
    #[must_use]
    pub fn last_answer(&self) -> Option<Answer> {
        self.window.iter().rev().find(|it| it.via == Via::Kernel).copied()
    }

    /// The newest answer of one node in the window, whichever way it was asked.
    #[must_use]
    pub fn last_of(&self, node: u8) -> Option<Answer> {
        self.window.iter().rev().find(|it| it.node == node).copied()
    }

    /// An answer of `node` to a probe sent after `after`, whichever way: what a closed gate must
    /// not let through.
    #[must_use]
    pub fn answer_of(&self, node: u8, after: Instant) -> Option<Answer> {
        self.window.iter().find(|it| it.node == node && it.sent > after).copied()
    }

    /// Longest time between two answers to normal probes since the window began; `now` ends the
    /// last gap.
    #[must_use]
    pub fn longest_gap(&self, now: Instant) -> Duration {
        let open = self.last_by_kernel.map_or(Duration::ZERO, |last| now.since(last));
        self.longest_gap.max(open)
    }

    /// Violations of "never two owners": the first ones in words.
    #[must_use]
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    /// How many there were.
    #[must_use]
    pub const fn violation_count(&self) -> u64 {
        self.violation_count
    }

    /// All answers, and those to probes that went straight to a node's MAC address.
    #[must_use]
    pub const fn answers(&self) -> (u64, u64) {
        (self.answers, self.direct_answers)
    }

    /// The median round trip of normal probes in the window: what the bed itself costs.
    #[must_use]
    pub fn round_trip(&self) -> Duration {
        let normal = self.window.iter().filter(|it| it.via == Via::Kernel);
        let mut times: Vec<Duration> = normal.map(|it| it.received.since(it.sent)).collect();
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or(Duration::ZERO)
    }

    /// Generations seen, each with its node.
    #[must_use]
    pub fn owners(&self) -> Vec<(u64, u8)> {
        self.first.iter().map(|(generation, first)| (*generation, first.node)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Record;
    use crate::probe::{Probe, Reply, Via};
    use base::{Duration, Instant};

    fn reply(record: &mut Record, sent: u64, received: u64, via: Via, node: u8, generation: u64) {
        let probe = Probe { via, observer: 1, seq: sent };
        let reply = Reply { probe, node, generation };
        record.handle_reply(Instant(sent), Instant(received), &reply);
    }

    #[test]
    fn a_clean_takeover_is_no_violation() {
        let mut record = Record::default();
        reply(&mut record, 1, 2, Via::Kernel, 1, 1);
        reply(&mut record, 10, 11, Via::Kernel, 2, 2);
        reply(&mut record, 9, 12, Via::Direct(1), 1, 1); // asked before, late on its way
        reply(&mut record, 20, 21, Via::Kernel, 2, 2);
        assert_eq!(record.violation_count(), 0, "{:?}", record.violations());
        assert_eq!(record.owners(), [(1, 1), (2, 2)]);
    }

    #[test]
    fn an_old_owner_that_answers_a_later_probe_is_seen() {
        let mut record = Record::default();
        reply(&mut record, 1, 2, Via::Kernel, 1, 1);
        reply(&mut record, 10, 11, Via::Kernel, 2, 2);
        reply(&mut record, 12, 13, Via::Direct(1), 1, 1);
        assert_eq!(record.violation_count(), 1);
        assert!(record.violations()[0].contains("n1 answered as owner of g1"));
    }

    #[test]
    fn one_generation_has_one_node() {
        let mut record = Record::default();
        reply(&mut record, 1, 2, Via::Kernel, 1, 1);
        reply(&mut record, 1, 3, Via::Direct(2), 2, 1);
        assert_eq!(record.violation_count(), 1);
    }

    #[test]
    fn a_node_that_calls_itself_no_owner_but_answers_beside_the_owner_is_seen() {
        let mut record = Record::default();
        reply(&mut record, 1, 2, Via::Kernel, 1, 1);
        reply(&mut record, 3, 4, Via::Kernel, 1, 0); // its lease lapsed: nobody else owns it
        assert_eq!(record.violation_count(), 0);
        reply(&mut record, 5, 6, Via::Kernel, 2, 2);
        reply(&mut record, 7, 8, Via::Direct(1), 1, 0);
        assert_eq!(record.violation_count(), 1);
    }

    #[test]
    fn an_answer_counts_against_a_closed_gate_by_when_it_was_asked() {
        let mut record = Record::default();
        reply(&mut record, 4, 6, Via::Direct(1), 1, 1);
        assert_eq!(record.answer_of(1, Instant(5)), None, "asked before, late on its way");
        reply(&mut record, 7, 8, Via::Direct(1), 1, 1);
        assert_eq!(record.answer_of(1, Instant(5)).map(|it| it.sent), Some(Instant(7)));
        assert_eq!(record.last_of(1).map(|it| it.received), Some(Instant(8)));
        assert_eq!(record.last_of(2), None);
    }

    #[test]
    fn the_first_answer_counts_only_probes_sent_after_the_cut() {
        let mut record = Record::default();
        reply(&mut record, 4, 6, Via::Kernel, 1, 1);
        reply(&mut record, 30, 31, Via::Direct(2), 2, 2);
        reply(&mut record, 31, 33, Via::Kernel, 2, 2);
        let first = record.first_answer(Instant(5), |it| it.generation > 1).map(|it| it.received);
        assert_eq!(first, Some(Instant(33)));
        assert_eq!(record.longest_gap(Instant(34)), Duration(27));
    }
}
