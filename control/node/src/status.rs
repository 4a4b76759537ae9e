//! Everything `ng` shows, as plain values: this node's view of itself and of the cluster.

use crate::alarms::Alarm;
use crate::gate::GateState;
use crate::here::Local;
use crate::node::Node;
use crate::peers::Trouble;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use base::{Duration, Instant};
use driver::{Evidence, FencePolicy};
use membership::{LeftCause, Quorum};
use services::{Phase, Placement, ResourceSpec};
use wire::{Generation, Incarnation, Life, LinkId, NodeId, Op, ServiceId, Stint, Term};

/// The whole picture.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// This life.
    pub me: Life,
    /// Its membership, if it is a member.
    pub stint: Option<Stint>,
    /// The highest term it promised.
    pub term: Term,
    /// What it is in that term.
    pub role: agreement::Status,
    /// The term's primary, once this node has heard it.
    pub primary: Option<NodeId>,
    /// Number of the view.
    pub view: Op,
    /// Era of the view.
    pub era: u32,
    /// Last committed op.
    pub commit: Op,
    /// Last op of the own log.
    pub last: Op,
    /// Votes.
    pub quorum: Quorum,
    /// True while this node may act.
    pub lease_held: bool,
    /// What is left of the lease.
    pub lease_left: Duration,
    /// How often it lapsed while this node was a member.
    pub lapses: u64,
    /// The kernel's gate.
    pub gate: GateState,
    /// All configured nodes, by id.
    pub members: Vec<MemberStatus>,
    /// All services, in configured order.
    pub services: Vec<ServiceStatus>,
    /// What needs attention, worst first.
    pub alarms: Vec<Alarm>,
}

/// What a configured node is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemberState {
    /// In the view.
    Member,
    /// In the view, but silent for this node.
    Suspect,
    /// Heard, not in the view.
    Joining,
    /// Neither.
    Down,
}

/// One configured node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberStatus {
    /// Which.
    pub node: NodeId,
    /// A voter that owns nothing.
    pub witness: bool,
    /// Its newest life holds its vote.
    pub voter: bool,
    /// What it is.
    pub state: MemberState,
    /// Its newest known life.
    pub life: Option<Incarnation>,
    /// Its membership.
    pub stint: Option<Stint>,
    /// Why it is in that state, or empty.
    pub reason: String,
    /// Links on which it is silent while it is heard on another.
    pub silent_links: Vec<LinkId>,
    /// Links that lose, double or reorder what it sends.
    pub poor_links: Vec<(LinkId, Trouble)>,
}

/// One service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceStatus {
    /// Which.
    pub id: ServiceId,
    /// Its name.
    pub name: String,
    /// Where it stands by the log.
    pub phase: Phase,
    /// Who is responsible for it now.
    pub owner: Option<NodeId>,
    /// The generation.
    pub generation: Generation,
    /// What its start rested on.
    pub evidence: Option<Evidence>,
    /// Its policy.
    pub fence: FencePolicy,
    /// Its placement.
    pub placement: Placement,
    /// Its nodes.
    pub nodes: Vec<NodeId>,
    /// Its resources.
    pub resources: Vec<ResourceSpec>,
    /// One sentence.
    pub reason: String,
    /// When this node saw its phase begin.
    pub since: Option<Instant>,
    /// Where it failed, and what the driver said.
    pub failed_on: Vec<(NodeId, String)>,
    /// What it is on this node.
    pub here: Local,
}

impl Node {
    /// Everything, at `now`.
    #[must_use]
    pub fn status(&self, now: Instant) -> NodeStatus {
        let lease_held = self.lease_held(now);
        let left = if lease_held { self.lease.end().since(now) } else { Duration::ZERO };
        NodeStatus {
            me: self.me,
            stint: self.own_member().map(|m| m.stint),
            term: self.agreement.term(),
            role: self.agreement.status(),
            primary: self.primary(),
            view: self.membership.view().number,
            era: self.membership.view().era,
            commit: self.agreement.commit(),
            last: self.agreement.op(),
            quorum: self.quorum(),
            lease_held,
            lease_left: left,
            lapses: self.lease.lapses(),
            gate: self.gate.state.clone(),
            members: self.members(),
            services: self.services(),
            alarms: self.alarms(now),
        }
    }

    /// The primary that this node follows, or itself. A term has one possible primary.
    #[must_use]
    pub fn primary(&self) -> Option<NodeId> {
        match self.agreement.status() {
            agreement::Status::Follower | agreement::Status::Primary => {
                Some(self.agreement.term().life.node)
            }
            _ => None,
        }
    }

    /// All configured nodes.
    #[must_use]
    pub fn members(&self) -> Vec<MemberStatus> {
        self.names.nodes().map(|node| self.member_status(node)).collect()
    }

    /// All services.
    #[must_use]
    pub fn services(&self) -> Vec<ServiceStatus> {
        self.planner.services().map(|(spec, _)| spec.id).filter_map(|id| self.service(id)).collect()
    }

    /// One service.
    #[must_use]
    pub fn service(&self, id: ServiceId) -> Option<ServiceStatus> {
        let (spec, state) = self.planner.service(id)?;
        let failures = state.failures.iter();
        Some(ServiceStatus {
            id,
            name: spec.name.clone(),
            phase: state.phase,
            owner: state.holder().map(|o| o.life.node),
            generation: state.generation,
            evidence: state.evidence,
            fence: spec.fence,
            placement: spec.placement,
            nodes: spec.nodes.clone(),
            resources: spec.resources.clone(),
            reason: state.reason.words(&self.names),
            since: self.since.get(&id).map(|(_, at)| *at),
            failed_on: failures.map(|(node, f)| (*node, f.reason.clone())).collect(),
            here: self.here.local(id).map_or(Local::Absent, |(local, _)| local),
        })
    }

    fn member_status(&self, node: NodeId) -> MemberStatus {
        let member = self.membership.view().member(node);
        let heard = node == self.me.node || self.peers.heard().contains(node);
        let state = match (member, heard) {
            (Some(_), true) => MemberState::Member,
            (Some(_), false) => MemberState::Suspect,
            (None, true) => MemberState::Joining,
            (None, false) => MemberState::Down,
        };
        let admitted = self.membership.admission(node).map(|a| a.incarnation);
        let own = (node == self.me.node).then_some(self.me.incarnation);
        let life = admitted.max(self.peers.newest(node)).max(own);
        MemberStatus {
            node,
            witness: self.witnesses().contains(node),
            voter: self.voters().contains(node) && admitted.is_some() && admitted == life,
            state,
            life,
            stint: member.map(|m| m.stint),
            reason: self.member_reason(node, state),
            silent_links: self.peers.silent_links(node).collect(),
            poor_links: self.peers.poor_links(node).collect(),
        }
    }

    fn member_reason(&self, node: NodeId, state: MemberState) -> String {
        let removal = self.membership.removal(node);
        match (state, removal) {
            (MemberState::Member, _) => String::new(),
            (MemberState::Suspect, _) => {
                "not heard by this node; its removal takes a majority".into()
            }
            (MemberState::Joining, None) => "waits to be admitted".into(),
            (MemberState::Down, None) => match self.left_with_era(node) {
                true => "not heard since another era began".into(),
                false => "not heard since the cluster started".into(),
            },
            (_, Some(removal)) => {
                let words = services::reason::removal_words(removal.cause);
                format!("removed at op {}: {words}", removal.op)
            }
        }
    }

    fn left_with_era(&self, node: NodeId) -> bool {
        let view = self.membership.view();
        view.left.iter().any(|l| l.member.life.node == node && l.cause == LeftCause::EraEnded)
    }
}
