//! What `ng` shows: the node's values in the words of the local messages.

use crate::agreed::OwnFile;
use crate::budget::Detection;
use crate::identity::Identity;
use crate::standing::LEFTOVERS;
use crate::system;
use api::LinkState;
use base::{Duration, Instant};
use driver::FencePolicy;
use heartbeat::Board;
use membership::View;
use node::{ConfigurationStatus, MemberStatus, Node, NodeStatus, ServiceStatus};
use std::collections::BTreeMap;
use wire::entry::RemovalCause;
use wire::{Life, NodeId, NodeSet, ServiceId};

/// How long the start's alarm about left-over addresses is shown.
const LEFTOVERS_KEPT_MS: u64 = 3_600_000;

/// What the answers need besides the node itself.
#[derive(Debug)]
pub struct Facts {
    cluster: String,
    name: String,
    me: Life,
    nodes: BTreeMap<NodeId, String>,
    links: Vec<String>,
    config_hash: u64,
    /// The node's own file.
    file: OwnFile,
    interval: Duration,
    deadline: Duration,
    started: Instant,
    /// What the machine did not give this daemon.
    standing: Vec<api::Alarm>,
    /// What its beats may take, and the alarm about that.
    detection: (Option<Detection>, Option<node::Alarm>),
    /// By what the fast path's frames go.
    network_io: Option<shm::NetworkIo>,
}

/// One moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The node's clock.
    pub now: Instant,
    /// The wall clock, for display.
    pub unix_ms: u64,
}

impl Moment {
    /// Reads the wall clock at `now`.
    pub fn at(now: Instant) -> Self {
        Self { now, unix_ms: system::unix_ms() }
    }
    /// When `past` was, by the wall clock.
    fn unix(self, past: Instant) -> u64 {
        self.unix_ms.saturating_sub(self.now.since(past).millis())
    }
}

impl Facts {
    /// Collects them once.
    pub fn new(
        identity: &Identity,
        me: Life,
        started: Instant,
        file: OwnFile,
        standing: Vec<api::Alarm>,
    ) -> Self {
        let config = &identity.config;
        let name = |node: &config::Node| Some((NodeId::new(node.id)?, node.name.clone()));
        let interval = crate::start::interval(identity);
        Self {
            cluster: config.cluster.name.clone(),
            name: identity.name.clone(),
            me,
            nodes: config.nodes.iter().filter_map(name).collect(),
            links: config.links.iter().map(|link| link.name.clone()).collect(),
            config_hash: config.config_hash(),
            file,
            interval,
            deadline: interval * u64::from(config.cluster.heartbeat_misses),
            started,
            standing,
            detection: (None, None),
            network_io: None,
        }
    }
    /// What the fast path says to use.
    pub const fn carried_by(&mut self, io: Option<shm::NetworkIo>) {
        self.network_io = io;
    }
    /// What the fast path's measurements say now. Returns the alarm about it.
    pub fn measured(&mut self, now: Instant, found: Option<Detection>) -> Option<&node::Alarm> {
        let raised = self.detection.1.as_ref().map(|alarm| alarm.since);
        self.detection = (found, found.and_then(|found| found.alarm(raised, now)));
        self.detection.1.as_ref()
    }
    /// Interval and deadline in force.
    pub const fn cadence(&self) -> (Duration, Duration) {
        (self.interval, self.deadline)
    }
    /// The document in force is another one.
    pub fn follow(&mut self, identity: &Identity) {
        let config = &identity.config;
        let name = |node: &config::Node| Some((NodeId::new(node.id)?, node.name.clone()));
        // A node that is configured no more keeps its name where the log still speaks of it.
        self.nodes.extend(config.nodes.iter().filter_map(name));
        self.config_hash = config.config_hash();
        self.interval = crate::start::interval(identity);
        self.deadline = self.interval * u64::from(config.cluster.heartbeat_misses);
    }

    /// The configured name.
    pub fn node_name(&self, node: NodeId) -> String {
        self.nodes.get(&node).cloned().unwrap_or_else(|| format!("node {node}"))
    }
    /// The node of that name.
    pub fn node_of(&self, name: &str) -> Option<NodeId> {
        self.nodes.iter().find(|(_, n)| *n == name).map(|(id, _)| *id)
    }

    /// The answer to `status`.
    pub fn status(&self, at: Moment, node: &Node, board: &Board) -> api::Status {
        let status = node.status(at.now);
        api::Status {
            cluster: self.cluster.clone(),
            node: self.name.clone(),
            node_id: self.me.node.get(),
            life: self.me.incarnation.0,
            stint: status.stint.map(|stint| stint.0),
            daemon_version: env!("CARGO_PKG_VERSION").into(),
            config_hash: hex(self.config_hash),
            now_ns: at.now.0,
            unix_ms: at.unix_ms,
            uptime_ms: at.now.since(self.started).millis(),
            heartbeat_interval_ns: self.interval.nanos(),
            deadline_ns: self.deadline.nanos(),
            network_io: self.network_io.map_or("", shm::NetworkIo::name).into(),
            agreement: self.agreement(&status),
            configuration: self.agreed(node),
            quorum: quorum(&status.quorum),
            lease: api::Lease {
                held: status.lease_held,
                left_ms: ms(status.lease_left),
                lapses: status.lapses,
            },
            gate: api::Gate {
                whole: status.gate.lack.is_none(),
                lack: status.gate.lack.clone().unwrap_or_default(),
                cured: status.gate.cured,
            },
            detection: self.detection.0.map(|found| api::Detection {
                budget_ms: ms(found.budget()),
                late_ms: ms(found.late),
                jitter_ms: ms(found.jitter),
                deadline_ms: ms(found.deadline),
            }),
            members: status.members.iter().map(|m| self.member(at, m, board)).collect(),
            services: status.services.iter().map(|s| self.service_now(at, s, &status)).collect(),
            alarms: self.alarms(at, &status),
        }
    }

    /// The answer to `members`.
    pub fn members(&self, at: Moment, node: &Node, board: &Board) -> api::Members {
        let status = node.status(at.now);
        api::Members {
            node: self.name.clone(),
            view: status.view.0,
            configuration: self.agreed(node),
            quorum: quorum(&status.quorum),
            members: status.members.iter().map(|m| self.member(at, m, board)).collect(),
        }
    }

    /// The agreed configuration.
    pub fn agreed(&self, node: &Node) -> api::Configuration {
        let ConfigurationStatus { charter, pending, understood, .. } = node.configuration();
        let names = |nodes: NodeSet| nodes.iter().map(|n| self.node_name(n)).collect();
        let pending = pending.into_iter().map(|vote| api::PendingVote {
            node: self.node_name(vote.node),
            gives: vote.gives,
            why: vote.why.into(),
        });
        api::Configuration {
            version: charter.version.into(),
            hash: hex(charter.configuration.digest),
            voters: names(charter.electorate),
            wanted: names(charter.configuration.voters),
            pending: pending.collect(),
            level: charter.configuration.level,
            understood,
        }
    }

    /// The answer to `configuration`.
    pub fn document(&self, node: &Node) -> api::ConfigurationAnswer {
        let ConfigurationStatus { charter, holders, .. } = node.configuration();
        let primary = node.primary();
        let asked_elsewhere = primary != Some(self.me.node);
        let holder = |id: NodeId| {
            let has = holders.contains(id);
            let note = match (has, primary) {
                (true, _) => String::new(),
                (false, Some(primary)) if asked_elsewhere && id != self.me.node => {
                    format!("the primary knows: ask {}", self.node_name(primary))
                }
                (false, _) => "has not acknowledged it".into(),
            };
            api::Holder { node: self.node_name(id), has, note }
        };
        api::ConfigurationAnswer {
            node: self.name.clone(),
            configuration: self.agreed(node),
            document: String::from_utf8_lossy(&charter.configuration.document).into_owned(),
            file_differs: self.file.differs(self.config_hash).is_some(),
            held_by: charter.configuration.nodes.iter().map(holder).collect(),
        }
    }

    /// What a change of the configuration is judged by.
    pub fn situation(&self, at: Moment, node: &Node) -> config::Situation {
        let status = node.status(at.now);
        let member = |m: &&MemberStatus| {
            matches!(m.state, node::MemberState::Member | node::MemberState::Suspect)
        };
        let owner = |s: &ServiceStatus| Some((s.name.clone(), s.owner?.get()));
        config::Situation {
            members: status.members.iter().filter(member).map(|m| m.node.get()).collect(),
            voters: node.configuration().charter.electorate.iter().map(NodeId::get).collect(),
            primary: status.primary.map(NodeId::get),
            owners: status.services.iter().filter_map(owner).collect(),
        }
    }

    /// The answer to `failovers`.
    pub fn failovers(&self, at: Moment, node: &Node, limit: u32) -> api::Failovers {
        let limit = limit.min(api::FAILOVERS_MAX) as usize;
        let names: BTreeMap<ServiceId, String> =
            node.services().into_iter().map(|s| (s.id, s.name)).collect();
        let failovers = node.timelines().take(limit).map(|f| self.failover(at, f, &names));
        api::Failovers { node: self.name.clone(), failovers: failovers.collect() }
    }

    /// The answer to `why`, if the service exists.
    pub fn why(&self, at: Moment, node: &Node, service: Option<&str>) -> Option<api::Why> {
        let wanted = |s: &ServiceStatus| service.is_none_or(|name| s.name == name);
        let mut services = Vec::new();
        for status in node.services().iter().filter(|s| wanted(s)) {
            let why = node.why(status.id)?;
            let candidates = why.candidates.into_iter().map(|c| api::WhyNode {
                node: self.node_name(c.node),
                eligible: c.eligible,
                reason: c.reason,
            });
            services.push(api::WhyService {
                service: self.service(at, status),
                summary: why.summary,
                candidates: candidates.collect(),
                remedies: why.remedies,
            });
        }
        let known = service.is_none() || !services.is_empty();
        known.then(|| api::Why { node: self.name.clone(), services })
    }

    /// A view for those who watch.
    pub fn view(&self, view: &View) -> api::EventKind {
        let names =
            |lives: &mut dyn Iterator<Item = NodeId>| lives.map(|n| self.node_name(n)).collect();
        api::EventKind::View {
            view: view.number.0,
            members: names(&mut view.members.keys().copied()),
            joined: names(&mut view.joined.iter().map(|j| j.member.life.node)),
            left: names(&mut view.left.iter().map(|l| l.member.life.node)),
        }
    }

    /// One service.
    pub fn service(&self, at: Moment, s: &ServiceStatus) -> api::Service {
        let failed = |(node, reason): &(NodeId, String)| api::NodeFailure {
            node: self.node_name(*node),
            reason: reason.clone(),
        };
        api::Service {
            name: s.name.clone(),
            phase: phase(s.phase),
            owner: s.owner.map(|owner| self.node_name(owner)),
            generation: s.generation.0,
            fence: match s.fence {
                FencePolicy::Fenced => api::Fence::Fenced,
                FencePolicy::Lease => api::Fence::Lease,
            },
            placement: match s.placement {
                services::Placement::Sticky => api::Placement::Sticky,
                services::Placement::FailBack => api::Placement::FailBack,
            },
            nodes: s.nodes.iter().map(|node| self.node_name(*node)).collect(),
            resources: s.resources.iter().map(resource).collect(),
            reason: s.reason.clone(),
            since_unix_ms: s.since.map(|since| at.unix(since)),
            failed_on: s.failed_on.iter().map(failed).collect(),
        }
    }

    /// One service at this moment. Without a quorum the log stands still, and whoever runs a service by it
    /// has lost the lease: nothing is called running then (S8).
    fn service_now(&self, at: Moment, s: &ServiceStatus, status: &NodeStatus) -> api::Service {
        let mut service = self.service(at, s);
        if !status.quorum.held && service.phase == api::Phase::Running {
            service.phase = api::Phase::Idle;
            let last = service.owner.as_deref().unwrap_or("nobody");
            service.reason =
                format!("a node without quorum runs nothing; {last} had it when there was one");
        }
        service
    }

    /// The node's, worst first, then what holds all the time.
    fn alarms(&self, at: Moment, status: &NodeStatus) -> Vec<api::Alarm> {
        let alarms = status.alarms.iter().chain(&self.detection.1);
        let alarms = alarms.map(|alarm| api_alarm(at, alarm));
        let fades = |alarm: &&api::Alarm| {
            alarm.code != LEFTOVERS
                || at.unix_ms.saturating_sub(alarm.since_unix_ms) < LEFTOVERS_KEPT_MS
        };
        let standing = self.standing.iter().filter(fades).cloned();
        alarms.chain(standing).chain(self.about_file()).collect()
    }

    /// The file says something else than what was agreed.
    fn about_file(&self) -> Option<api::Alarm> {
        Some(api::Alarm {
            code: "configuration-file".into(),
            severity: api::Severity::Notice,
            message: self.file.differs(self.config_hash)?,
            remedy: format!(
                "`ng config diff {0}` shows what differs; `ng config apply {0}` makes it so, or put into it what `ng config \
                 show --plain` prints",
                self.file.path
            ),
            since_unix_ms: system::unix_ms(),
        })
    }

    fn agreement(&self, status: &NodeStatus) -> api::Agreement {
        api::Agreement {
            era: status.term.era,
            term: status.term.counter,
            role: match status.role {
                agreement::Status::Learner => api::Role::Learner,
                agreement::Status::Follower => api::Role::Follower,
                agreement::Status::Candidate => api::Role::Candidate,
                agreement::Status::Primary => api::Role::Primary,
                agreement::Status::Silent => api::Role::Silent,
            },
            primary: status.primary.map(|primary| self.node_name(primary)),
            view: status.view.0,
            commit_op: status.commit.0,
            last_op: status.last.0,
        }
    }

    fn member(&self, at: Moment, m: &MemberStatus, board: &Board) -> api::Member {
        let me = m.node == self.me.node;
        let heard = board.heard(m.node);
        let hears = matches!(m.state, node::MemberState::Member | node::MemberState::Joining);
        let links = self.links.iter().enumerate().map(|(number, link)| LinkState {
            link: link.clone(),
            up: hears && !m.silent_links.iter().any(|l| usize::from(l.0) == number),
            trouble: m
                .poor_links
                .iter()
                .find(|(l, _)| usize::from(l.0) == number)
                .map(|(_, trouble)| trouble_in_words(trouble))
                .unwrap_or_default(),
        });
        api::Member {
            id: m.node.get(),
            name: self.node_name(m.node),
            me,
            witness: m.witness,
            voter: m.voter,
            state: match m.state {
                node::MemberState::Member => api::MemberState::Member,
                node::MemberState::Suspect => api::MemberState::Suspect,
                node::MemberState::Joining => api::MemberState::Joining,
                node::MemberState::Down => api::MemberState::Down,
            },
            life: m.life.map_or(0, |life| life.0),
            stint: m.stint.map(|stint| stint.0),
            reason: m.reason.clone(),
            heard_ms_ago: (!me && heard != Instant::ZERO).then(|| ms(at.now.since(heard))),
            links: if me { Vec::new() } else { links.collect() },
        }
    }

    fn failover(
        &self,
        at: Moment,
        f: &node::Failover,
        names: &BTreeMap<ServiceId, String>,
    ) -> api::Failover {
        let ns = |stamp: Option<Instant>| stamp.map(|at| at.0);
        let when = f.agreed.or(f.obituary).or(f.suspected).or(f.last_heard);
        let services = f.services.iter().map(|s| api::FailoverService {
            name: names.get(&s.service).cloned().unwrap_or_default(),
            generation: s.generation.0,
            to: s.to.map(|to| self.node_name(to)),
            evidence: s.evidence.map(evidence),
            run_ns: ns(s.run),
            driver_began_ns: ns(s.began),
            driver_ended_ns: ns(s.ended),
            started_ns: ns(s.started),
            asked_ns: ns(s.asked),
            answered_ns: ns(s.answered),
        });
        api::Failover {
            op: f.op.map(|op| op.0),
            victim: self.node_name(f.life.node),
            life: f.life.incarnation.0,
            cause: cause(f.cause),
            unix_ms: when.map_or(0, |when| at.unix(when)),
            last_heard_ns: ns(f.last_heard),
            deadline_ns: ns(f.deadline),
            suspected_ns: ns(f.suspected),
            sealed_ns: ns(f.sealed),
            agreed_ns: ns(f.agreed),
            services: services.collect(),
        }
    }
}

/// What a link does to beats.
fn trouble_in_words(trouble: &node::peers::Trouble) -> String {
    let counts =
        [(trouble.lost, "lost"), (trouble.doubled, "doubled"), (trouble.reordered, "out of order")];
    let words = counts.iter().filter(|(count, _)| *count > 0);
    let words: Vec<String> = words.map(|(count, what)| format!("{count} {what}")).collect();
    format!("{} of the last {} beats", words.join(", "), trouble.of)
}

/// One alarm.
pub fn api_alarm(at: Moment, alarm: &node::Alarm) -> api::Alarm {
    api::Alarm {
        code: alarm.code.into(),
        severity: match alarm.severity {
            node::Severity::Critical => api::Severity::Critical,
            node::Severity::Warning => api::Severity::Warning,
            node::Severity::Notice => api::Severity::Notice,
        },
        message: alarm.message.clone(),
        remedy: alarm.remedy.clone(),
        since_unix_ms: at.unix(alarm.since),
    }
}

/// A hash as it is shown.
pub fn hex(hash: u64) -> String {
    format!("{hash:016x}")
}

fn ms(span: Duration) -> f64 {
    span.micros() as f64 / 1_000.0
}

fn quorum(quorum: &membership::Quorum) -> api::Quorum {
    let votes = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    api::Quorum {
        held: quorum.held,
        have: votes(quorum.have),
        need: votes(quorum.need),
        why: quorum.why.clone(),
    }
}

const fn phase(phase: services::Phase) -> api::Phase {
    match phase {
        services::Phase::Idle => api::Phase::Idle,
        services::Phase::Starting => api::Phase::Starting,
        services::Phase::Running => api::Phase::Running,
        services::Phase::Stopping => api::Phase::Stopping,
        services::Phase::WaitingForFence => api::Phase::WaitingForFence,
        services::Phase::Failed => api::Phase::Failed,
    }
}

fn resource(spec: &services::ResourceSpec) -> api::Resource {
    api::Resource {
        kind: spec.kind.clone(),
        name: spec.name.clone(),
        lease_bound: spec.lease_bound,
    }
}

const fn cause(cause: Option<RemovalCause>) -> api::FailoverCause {
    match cause {
        Some(RemovalCause::Silent) => api::FailoverCause::Silent,
        Some(RemovalCause::Obituary) => api::FailoverCause::Obituary,
        Some(RemovalCause::Progress) => api::FailoverCause::NoProgress,
        Some(RemovalCause::Superseded) => api::FailoverCause::NewLife,
        Some(RemovalCause::Operator) => api::FailoverCause::Operator,
        None => api::FailoverCause::Unknown,
    }
}

const fn evidence(evidence: driver::Evidence) -> api::Evidence {
    match evidence {
        driver::Evidence::NeverOwned => api::Evidence::NeverOwned,
        driver::Evidence::Stopped(op) => api::Evidence::Stopped { op: op.0 },
        driver::Evidence::LeaseEnded(op) => api::Evidence::LeaseEnded { op: op.0 },
        driver::Evidence::NewLife(op) => api::Evidence::NewLife { op: op.0 },
        driver::Evidence::Operator(op) => api::Evidence::Operator { op: op.0 },
    }
}
