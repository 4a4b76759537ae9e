//! S3 against random logs, checked by a second opinion: what a reader of the log alone would
//! allow. The log may hold anything: reports from strangers, removals of stints that are over,
//! wrong assertions, bytes that mean nothing.

use membership::Membership;
use ng_services::model::FencePolicy;
use ng_services::{
    Body, Owner, Phase, Placement, Planner, Report, ResourceSpec, ServiceSpec, client_of,
};
use proptest::prelude::{Strategy, any, prop_oneof, proptest};
use std::collections::BTreeMap;
use std::sync::Arc;
use wire::entry::{FenceProof, RemovalCause};
use wire::{
    Configuration, Entry, EntryKind, Generation, Incarnation, Life, NodeId, NodeSet, Op, Seq,
    ServiceId, Stint, Term,
};

const WITNESS: u8 = 4;

fn id(n: u8) -> NodeId {
    NodeId::new(n).unwrap()
}

/// One random thing that happens; numbers are taken modulo what exists.
#[derive(Clone, Debug)]
enum Step {
    Cold(u8),
    Admit { node: u8, newer: bool },
    Remove { node: u8, wrong_stint: bool },
    Fenced { node: u8 },
    Report { service: u16, kind: u8, stranger: Option<u8>, old: bool },
    Move { service: u16, to: u8 },
    FailBack { service: u16, to: u8 },
    Clear { service: u16 },
    Leave { node: u8 },
    Clean { node: u8 },
    Bytes(Vec<u8>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let node = 1..=WITNESS;
    let service = 0..3_u16;
    let report = (service.clone(), 0..5_u8, any::<bool>(), any::<bool>(), node.clone());
    let report = report.prop_map(|(service, kind, strange, old, by)| {
        let stranger = (strange && kind != 0).then_some(by);
        Step::Report { service, kind, stranger, old: old && strange }
    });
    let step = prop_oneof![
        1 => (1..16_u8).prop_map(Step::Cold),
        6 => (node.clone(), any::<bool>()).prop_map(|(node, newer)| Step::Admit { node, newer }),
        6 => node.clone().prop_map(|node| Step::Remove { node, wrong_stint: false }),
        1 => node.clone().prop_map(|node| Step::Remove { node, wrong_stint: true }),
        2 => node.clone().prop_map(|node| Step::Fenced { node }),
        14 => report,
        4 => (service.clone(), node.clone()).prop_map(|(service, to)| Step::Move { service, to }),
        2 => (service.clone(), node.clone())
            .prop_map(|(service, to)| Step::FailBack { service, to }),
        1 => service.prop_map(|service| Step::Clear { service }),
        1 => node.clone().prop_map(|node| Step::Leave { node }),
        1 => node.prop_map(|node| Step::Clean { node }),
        1 => proptest::collection::vec(any::<u8>(), 0..20).prop_map(Step::Bytes),
    ];
    proptest::collection::vec(step, 0..120)
}

/// What a reader of the log knows about one generation.
#[derive(Clone, Debug)]
struct Tenure {
    owner: Owner,
    /// It said that nothing is left.
    over: bool,
    /// It said that it cannot stop it.
    stuck: bool,
    /// Its stint has been removed.
    removed: bool,
    /// A newer life of its node was admitted.
    newer: bool,
    /// It was said to be off while it was no member, or right before its removal (R-FENCE), and has not spoken since.
    off: bool,
}

struct Log {
    planner: Planner,
    membership: Membership,
    op: u64,
    lives: BTreeMap<u8, u32>,
    tenures: BTreeMap<ServiceId, (Generation, Tenure)>,
    /// The last `Fenced`: where, and of whom.
    fenced: (u64, Option<Life>),
}

fn spec(n: u16, fence: FencePolicy, placement: Placement) -> ServiceSpec {
    let lease_bound = fence == FencePolicy::Lease;
    let resource = ResourceSpec { name: "r".into(), kind: "k".into(), lease_bound };
    let (id, name, nodes) = (ServiceId(n), format!("s{n}"), vec![id(2), id(1), id(WITNESS), id(3)]);
    ServiceSpec { id, name, nodes, placement, fence, resources: vec![resource], revision: 0 }
}

impl Log {
    fn new() -> Self {
        let specs = vec![
            spec(0, FencePolicy::Lease, Placement::FailBack),
            spec(1, FencePolicy::Fenced, Placement::Sticky),
            spec(2, FencePolicy::Lease, Placement::Sticky),
        ];
        let witnesses: NodeSet = [id(WITNESS)].into_iter().collect();
        let planner = Planner::new(specs, witnesses);
        let (membership, lives, tenures) = (Membership::new(), BTreeMap::new(), BTreeMap::new());
        Self { planner, membership, op: 0, lives, tenures, fenced: (0, None) }
    }

    fn life(&self, n: u8) -> Life {
        let incarnation = Incarnation(self.lives.get(&n).copied().unwrap_or(1));
        Life { node: id(n), incarnation }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Cold(set) => {
                let members: Vec<u8> = (1..=WITNESS).filter(|n| set >> (n - 1) & 1 == 1).collect();
                let era = self.membership.view().era + 1;
                (self.op, self.fenced) = (0, (0, None));
                self.tenures.clear();
                let admits = members.len() as u8;
                let (electorate, absent) = (NodeSet(15), NodeSet::EMPTY);
                self.apply(EntryKind::Cold { era, admits, version: 0, electorate, absent });
                for n in members {
                    self.admit(n, true);
                }
                let witnesses = [id(WITNESS)].into_iter().collect();
                let configuration = Arc::new(Configuration::plain(electorate, witnesses));
                self.apply(EntryKind::Configure { configuration });
            }
            Step::Admit { node, newer } => self.admit(*node, *newer),
            Step::Remove { node, wrong_stint } => self.remove(*node, *wrong_stint),
            Step::Fenced { node } => {
                let Life { node, incarnation } = self.life(*node);
                for (_, tenure) in self.tenures.values_mut() {
                    let member = self.membership.view().has(tenure.owner);
                    tenure.off |= tenure.owner.life.node == node && !member;
                }
                self.fenced = (self.op + 1, Some(Life { node, incarnation }));
                let proof = FenceProof::Operator;
                self.apply(EntryKind::Fenced { node, incarnation, proof });
            }
            Step::Report { service, kind, stranger, old } => {
                self.report(ServiceId(*service), *kind, *stranger, *old);
            }
            Step::Move { service, to } => {
                let body = Body::Move { service: ServiceId(*service), to: id(*to) };
                self.request(self.life(1), &body.encode());
            }
            Step::FailBack { service, to } => {
                let service = ServiceId(*service);
                let generation = self.planner.service(service).unwrap().1.generation;
                let body = Body::FailBack { service, generation, to: id(*to) };
                self.request(self.life(1), &body.encode());
            }
            Step::Clear { service } => {
                let body = Body::ClearFailures { service: ServiceId(*service) };
                self.request(self.life(1), &body.encode());
            }
            Step::Leave { node } => {
                let life = self.life(*node);
                self.request(life, &Body::Leave { life }.encode());
            }
            Step::Clean { node } => {
                let life = self.life(*node);
                self.request(life, &Body::Clean { life }.encode());
            }
            // Bytes that happen to be a report would need a place in the second opinion.
            Step::Bytes(bytes) if Body::decode(bytes).is_err() => {
                self.request(self.life(1), bytes);
            }
            Step::Bytes(_) => {}
        }
    }

    fn admit(&mut self, n: u8, newer: bool) {
        if newer {
            *self.lives.entry(n).or_insert(0) += 1;
        }
        let Life { node, incarnation } = self.life(n);
        // The agreement admits the same life only after its removal (R-JOIN).
        if self.membership.view().member(node).is_some_and(|m| m.life.incarnation == incarnation) {
            return;
        }
        for (_, tenure) in self.tenures.values_mut() {
            if tenure.owner.life.node == node {
                tenure.newer |= incarnation > tenure.owner.life.incarnation;
                tenure.off &= incarnation > tenure.owner.life.incarnation;
            }
        }
        self.apply(EntryKind::Admit { node, incarnation });
    }

    fn remove(&mut self, n: u8, wrong_stint: bool) {
        let Some(member) = self.membership.view().member(id(n)) else { return };
        let stint = if wrong_stint { Stint(member.stint.0 + 1) } else { member.stint };
        for (_, tenure) in self.tenures.values_mut() {
            let ends = !wrong_stint && tenure.owner == member;
            tenure.removed |= ends;
            tenure.off |= ends && self.fenced == (self.op, Some(member.life));
        }
        let (node, incarnation) = (member.life.node, member.life.incarnation);
        let cause = RemovalCause::Silent;
        self.apply(EntryKind::Remove { node, incarnation, stint, cause });
    }

    fn report(&mut self, service: ServiceId, kind: u8, stranger: Option<u8>, old: bool) {
        let Some((generation, tenure)) = self.tenures.get_mut(&service) else { return };
        let by = stranger.map(|n| (n, self.lives.get(&n).copied().unwrap_or(1)));
        let by = by
            .map_or(tenure.owner.life, |(n, i)| Life { node: id(n), incarnation: Incarnation(i) });
        let named = Generation(generation.0 - u64::from(old));
        if by == tenure.owner.life && named == *generation {
            tenure.over |= kind == 1 || kind == 2;
            tenure.stuck |= kind == 3;
        }
        let report = match kind {
            0 => Report::Started,
            1 => Report::Stopped,
            2 => Report::Failed("f".into()),
            3 => Report::Stuck("s".into()),
            _ => Report::Died("d".into()),
        };
        let body = Body::Outcome { service, generation: named, report };
        self.request(by, &body.encode());
    }

    fn request(&mut self, by: Life, body: &[u8]) {
        let (client, seq) = (client_of(by), Seq(self.op));
        self.apply(EntryKind::Request { client, seq, body: body.into() });
    }

    fn apply(&mut self, kind: EntryKind) {
        self.op += 1;
        let term = Term { era: 1, counter: 1, life: self.life(1) };
        let entry = Entry { term, level: 1, kind };
        self.membership.apply(Op(self.op), &entry);
        self.planner.apply(Op(self.op), &entry, &self.membership);
        self.check();
    }

    fn check(&mut self) {
        for (spec, state) in self.planner.services() {
            let last = self.tenures.get(&spec.id).cloned();
            let Some(owner) = state.owner else { continue };
            if last.as_ref().is_some_and(|(generation, _)| *generation == state.generation) {
                continue;
            }
            assert!(self.membership.view().has(owner), "S8: {owner:?} is no member");
            assert_ne!(owner.life.node, id(WITNESS));
            assert_eq!(state.phase, Phase::Starting);
            if let Some((generation, tenure)) = last {
                assert_eq!(state.generation.0, generation.0 + 1);
                let lease = spec.fence == FencePolicy::Lease && !tenure.stuck;
                let may = tenure.over || tenure.newer || tenure.off || (lease && tenure.removed);
                assert!(may, "S3: {} passed from {tenure:?} to {owner:?}", spec.name);
            }
            let (over, stuck, removed, newer, off) = (false, false, false, false, false);
            let tenure = Tenure { owner, over, stuck, removed, newer, off };
            self.tenures.insert(spec.id, (state.generation, tenure));
        }
    }
}

proptest! {
    #[test]
    fn no_log_makes_two_owners(steps in steps()) {
        let mut log = Log::new();
        log.step(&Step::Cold(7));
        for step in &steps {
            log.step(step);
        }
    }
}
