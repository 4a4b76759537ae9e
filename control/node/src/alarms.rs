//! What needs attention, each with what to do about it. Codes are stable: operators filter by them.

use crate::node::Node;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use base::{Duration, Instant};
use services::plan;
use wire::NodeId;

/// An alarm about the past stays so long.
pub const ALARM_KEPT: Duration = Duration::from_millis(60_000);

/// How bad an alarm is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// A service does not run, or a promise is broken.
    Critical,
    /// The next failure would need what is lost.
    Warning,
    /// Worth knowing.
    Notice,
}

/// Something that needs attention.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Alarm {
    /// Stable name.
    pub code: &'static str,
    /// How bad.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remedy: String,
    /// Since when.
    pub since: Instant,
}

/// An alarm in one call.
fn alarm(
    code: &'static str,
    severity: Severity,
    since: Instant,
    message: String,
    remedy: impl Into<String>,
) -> Alarm {
    Alarm { code, severity, message, remedy: remedy.into(), since }
}

impl Node {
    pub(crate) fn alarms(&self, now: Instant) -> Vec<Alarm> {
        let mut alarms = Vec::new();
        self.about_others(&mut alarms);
        self.about_joins(now, &mut alarms);
        self.about_rights(now, &mut alarms);
        self.about_redundancy(now, &mut alarms);
        self.about_the_machine(now, &mut alarms);
        alarms.sort_by_key(|a| a.severity);
        alarms
    }

    fn about_others(&self, alarms: &mut Vec<Alarm>) {
        for (node, incarnation, since) in self.peers.impostors() {
            let name = self.names.of(node);
            alarms.push(alarm(
                "impostor",
                Severity::Critical,
                since,
                format!("two machines speak as life {incarnation} of {name}: both are refused"),
                format!(
                    "stop netguard-fast on the machine that is not {name}; give every node its own \
                     --state-dir"
                ),
            ));
        }
    }

    /// Who asks to join with files that contradict what is agreed.
    fn about_joins(&self, now: Instant, alarms: &mut Vec<Alarm>) {
        let nodes = self.contradicting();
        if nodes.is_empty() {
            return;
        }
        let names = self.names.list(nodes.iter().copied());
        alarms.push(alarm(
            "configuration-contradicts",
            Severity::Warning,
            now,
            format!(
                "{names} would join with another configuration of the same version: not taken, because nobody could say \
                 which of them was agreed"
            ),
            format!(
                "before the first start: put one netguard.toml on all nodes; later: stop {names}, remove its state directory, \
                 and start it with what `ng config show --plain` prints"
            ),
        ));
    }

    /// Lease and gate: may this node act?
    fn about_rights(&self, now: Instant, alarms: &mut Vec<Alarm>) {
        let recent = |at: &Instant| now.since(*at) < ALARM_KEPT;
        if let Some(since) = self.lease.lapsed_at().filter(|_| self.here.anything()) {
            alarms.push(alarm(
                "withdrawn",
                Severity::Critical,
                since,
                "the lease has lapsed: what runs here was withdrawn".into(),
                "look at the links in `ng members`: a majority does not answer this node",
            ));
        } else if let Some(since) = self.lease.last_lapse().filter(recent) {
            let times = self.lease.lapses();
            alarms.push(alarm(
                "lapsed",
                Severity::Warning,
                since,
                format!("the lease lapsed for a moment; {times} lapses since the start"),
                "look for lost beats in `ng members` and for stalls in `ng stat`; a larger \
                 `heartbeat_misses` forgives more",
            ));
        }
        if let Some(lack) = self.gate.lack() {
            alarms.push(alarm(
                "gate-lost",
                Severity::Critical,
                self.gate.since,
                format!(
                    "the kernel gate is not whole ({lack}): no service with fence policy `lease` \
                     starts here, and the death of this node wants proof"
                ),
                "see `ng doctor`",
            ));
        } else if let Some(since) = self.gate.cured_at.filter(recent) {
            let (what, times) = (&self.gate.state.last_cure, self.gate.state.cured);
            alarms.push(alarm(
                "gate-attached-again",
                Severity::Warning,
                since,
                format!(
                    "the gate was missing from {what} and was put back ({times} since the start)"
                ),
                "find what deletes clsact or makes interfaces anew (`tc monitor` shows it): until \
                 the gate was back, only its second line stood",
            ));
        }
    }

    /// What the next failure would need.
    fn about_redundancy(&self, now: Instant, alarms: &mut Vec<Alarm>) {
        let view = self.membership.view();
        let quorum = self.quorum();
        if !quorum.held {
            return;
        }
        let is_there = |node: &NodeId| view.member(*node).is_some();
        let since = |node: NodeId| self.since_removal(node).unwrap_or(now);
        for witness in self.witnesses().iter().filter(|n| !is_there(n)) {
            let name = self.names.of(witness).to_string();
            alarms.push(alarm(
                "witness-lost",
                Severity::Warning,
                since(witness),
                format!("the witness {name} is down: its vote is missing when the next node dies"),
                format!("start netguard-fast on {name}, or repair the links to it"),
            ));
        }
        let lost: Vec<NodeId> = self.voters().iter().filter(|n| !is_there(n)).collect();
        let left = self.voters().len() - lost.len();
        if let Some(first) = lost.first().filter(|_| left <= quorum.need) {
            let names = self.names.list(lost.iter().copied());
            alarms.push(alarm(
                "redundancy-lost",
                Severity::Warning,
                since(*first),
                format!(
                    "{left} of {} votes are left and {} are needed: the next death stops every \
                     service",
                    self.voters().len(),
                    quorum.need
                ),
                format!("start netguard-fast on {names}; `ng members` says why it is gone"),
            ));
        }
        let scene = self.planner.scene(&self.membership);
        for (spec, state) in self.planner.services().filter(|(spec, _)| spec.nodes.len() > 1) {
            let can = |n: &&NodeId| plan::start_bar(spec, state, &scene, **n).is_none();
            if let (1, Some(owner)) = (spec.nodes.iter().filter(can).count(), state.holder()) {
                let (name, owner) = (&spec.name, self.names.of(owner.life.node));
                alarms.push(alarm(
                    "service-alone",
                    Severity::Warning,
                    self.since.get(&spec.id).map_or(now, |(_, at)| *at),
                    format!("service {name} on {owner} has no other node to go to"),
                    format!("see `ng why {name}` for what bars its other nodes"),
                ));
            }
        }
    }

    fn about_the_machine(&self, now: Instant, alarms: &mut Vec<Alarm>) {
        let recent = |at: Instant| now.since(at) < ALARM_KEPT;
        if let Some(stall) = self.peers.stall().filter(|s| recent(s.at)) {
            alarms.push(alarm(
                "stalled",
                Severity::Notice,
                stall.at,
                format!(
                    "the heartbeat thread did not run for {}; {} stalls since the start",
                    stall.lost, stall.count
                ),
                "see `ng doctor` for what takes the time: a core of its own and real-time priority help",
            ));
        }
        if self.requests.dropped() > 0 {
            alarms.push(alarm(
                "requests-dropped",
                Severity::Critical,
                now,
                format!("{} reports found no place in the queue", self.requests.dropped()),
                "restart netguard-fast on this node once `ng status` shows a quorum",
            ));
        }
    }

    /// When this node saw the removal of a node agreed.
    fn since_removal(&self, node: NodeId) -> Option<Instant> {
        self.timelines().find(|record| record.life.node == node)?.agreed
    }
}
