//! What the log has done to this node's state machines, as bytes: encoded for a snapshot, replaced by one.
//!
//! Only what follows from committed entries is in it: membership and plan. What this life saw, ran, measured or asked
//! itself stays as it is; it is driven towards the new state as after any entry. Who watches is told of the view and the
//! services that are not as they were; views in between are never told, and none is told twice or backwards.

use crate::action::Action;
use crate::command::CommandRefused;
use crate::node::Node;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::Instant;
use membership::Membership;
use wire::Op;
use wire::codec::{Malformed, Reader, Writer};

/// First byte; another layout takes another number.
const VERSION: u8 = 1;

impl Node {
    /// The state by all committed entries, as bytes that are equal on all nodes.
    #[must_use]
    pub fn encode_state(&self) -> Vec<u8> {
        let mut to = Writer::new();
        to.u8(VERSION);
        self.membership.encode(&mut to);
        self.planner.encode(&mut to);
        to.0
    }

    /// The agreement takes a snapshot here.
    pub(crate) fn take_snapshot(&mut self, now: Instant, op: Op) {
        let slices = self.encode_state().chunks(self.slice).map(Arc::from).collect();
        self.agreement.handle_snapshot(now, op, slices);
    }

    /// The state after `op` comes from elsewhere. One that cannot be read here ends this life: it cannot follow the others.
    pub(crate) fn install(&mut self, now: Instant, op: Op, slices: &[Arc<[u8]>]) {
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        if self.read(now, &bytes).is_err() {
            self.ended = true;
            self.follow(now);
            self.actions.push_back(Action::Unreadable { op });
            return;
        }
        let agreed = Arc::clone(self.agreement.roster().configuration());
        self.follow_configuration(&agreed);
        if !agreed.document.is_empty() {
            self.actions.push_back(Action::Configured(agreed));
        }
        self.tell_view();
        self.timelines.installed(now, &self.membership);
        for tag in self.requests.installed(self.agreement.applied(self.requests.client())) {
            self.reply(tag, Err(CommandRefused::Unknown));
        }
    }

    fn read(&mut self, now: Instant, bytes: &[u8]) -> Result<(), Malformed> {
        let mut from = Reader::new(bytes);
        if from.u8()? != VERSION {
            return Err(Malformed::OutOfRange("version of a node's state"));
        }
        let membership = Membership::decode(&mut from)?;
        let changed = self.planner.install(&mut from)?;
        from.finish()?;
        self.membership = membership;
        for id in changed {
            self.note_change(now, id);
        }
        Ok(())
    }

    /// Tells the present view, unless it or a later one was told before: a learner that gave up a later era goes through
    /// its old one again.
    pub(crate) fn tell_view(&mut self) {
        let view = self.membership.view();
        let number = (view.era, view.number);
        if number > self.told {
            self.told = number;
            self.actions.push_back(Action::ViewChanged(view.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::node::{Node, Settings};
    use agreement::Limits;
    use alloc::sync::Arc;
    use base::{Duration, Instant};
    use driver::FencePolicy;
    use membership::Names;
    use proptest::collection::vec;
    use proptest::prelude::{
        Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest,
    };
    use services::{Body, Placement, Report, ResourceSpec, ServiceSpec, client_of};
    use wire::entry::{FenceProof, RemovalCause};
    use wire::{
        Charter, Configuration, Entry, EntryKind, Generation, Incarnation, Life, NodeId, NodeSet,
        Op, Seq, ServiceId, Stint, Term,
    };

    fn id(n: u8) -> NodeId {
        NodeId::new(n).unwrap()
    }

    fn spec(number: u16, fence: FencePolicy, placement: Placement) -> ServiceSpec {
        let lease_bound = fence == FencePolicy::Lease;
        let (name, kind) = (format!("s{number}"), "address".to_owned());
        let resources = vec![ResourceSpec { name: name.clone(), kind, lease_bound }];
        let nodes = [1, 2, 3].map(id).to_vec();
        ServiceSpec { id: ServiceId(number), name, nodes, placement, fence, resources, revision: 0 }
    }

    fn node() -> Node {
        let agreement = agreement::Settings {
            me: Life { node: id(3), incarnation: Incarnation(9) },
            charter: Charter::plain([1, 2, 3].map(id).into_iter().collect(), NodeSet::EMPTY),
            interval: Duration::from_millis(10),
            misses: 3,
            longest: Duration::ZERO,
            rate_ppm: 1_000,
            era_promised: 0,
            level: 1,
            limits: Limits::default(),
        };
        let services = vec![
            spec(0, FencePolicy::Lease, Placement::Sticky),
            spec(1, FencePolicy::Fenced, Placement::FailBack),
        ];
        let names = Names::new([1, 2, 3].map(|n| (id(n), format!("n{n}"))));
        Node::new(Settings { agreement, services, names }, Instant(1_000_000_000))
    }

    fn apply(node: &mut Node, first: u64, kinds: &[EntryKind]) {
        let life = Life { node: id(1), incarnation: Incarnation(1) };
        let term = Term { era: 1, counter: 1, life };
        for (op, kind) in (first..).zip(kinds) {
            let entry = Entry { term, level: 1, kind: kind.clone() };
            node.commit(Instant(2_000_000_000), Op(op), &entry);
        }
    }

    fn any_life() -> impl Strategy<Value = Life> {
        (1..=3_u8, 1..=2_u32).prop_map(|(n, i)| Life { node: id(n), incarnation: Incarnation(i) })
    }

    fn any_report() -> impl Strategy<Value = Report> {
        prop_oneof![
            3 => Just(Report::Started),
            1 => Just(Report::Stopped),
            1 => "[a-z]{0,9}".prop_map(Report::Failed),
            1 => "[a-z]{0,9}".prop_map(Report::Died),
            1 => "[a-z]{0,9}".prop_map(Report::Stuck),
        ]
    }

    fn any_body() -> impl Strategy<Value = Body> {
        let service = || (0..3_u16).prop_map(ServiceId);
        let generation = || (0..4_u64).prop_map(|g| Generation(1_000_000_000 + g));
        let outcome = (service(), generation(), any_report());
        let fail_back = (service(), generation(), 1..=3_u8);
        prop_oneof![
            4 => outcome.prop_map(|(service, generation, report)| {
                Body::Outcome { service, generation, report }
            }),
            2 => (service(), 1..=3_u8).prop_map(|(service, n)| Body::Move { service, to: id(n) }),
            1 => service().prop_map(|service| Body::ClearFailures { service }),
            1 => fail_back.prop_map(|(service, generation, n)| {
                Body::FailBack { service, generation, to: id(n) }
            }),
            1 => any_life().prop_map(|life| Body::Leave { life }),
            1 => any_life().prop_map(|life| Body::Clean { life }),
            1 => (any_life(), any::<bool>()).prop_map(|(life, whole)| Body::Gate { life, whole }),
        ]
    }

    fn any_kind() -> impl Strategy<Value = EntryKind> {
        let request =
            (any_life(), 1..9_u64, any_body()).prop_map(|(life, seq, body)| EntryKind::Request {
                client: client_of(life),
                seq: Seq(seq),
                body: body.encode().into(),
            });
        let stint = (1..12_u64).prop_map(|op| Stint::of(1, Op(op)));
        let remove = (any_life(), stint).prop_map(|(Life { node, incarnation }, stint)| {
            EntryKind::Remove { node, incarnation, stint, cause: RemovalCause::Silent }
        });
        let admit = any_life()
            .prop_map(|Life { node, incarnation }| EntryKind::Admit { node, incarnation });
        let proof = prop_oneof![Just(FenceProof::Operator), Just(FenceProof::NewLife)];
        let fenced = (any_life(), proof).prop_map(|(Life { node, incarnation }, proof)| {
            EntryKind::Fenced { node, incarnation, proof }
        });
        prop_oneof![
            8 => request,
            2 => remove,
            2 => admit,
            1 => fenced,
            1 => Just(EntryKind::Noop),
            1 => (1..3_u32, 0..4_u8).prop_map(|(era, admits)| cold(era, admits)),
            1 => (0..9_u128, 0..9_u128).prop_map(|(nodes, witnesses)| EntryKind::Configure {
                configuration: Arc::new(Configuration::plain(NodeSet(nodes), NodeSet(witnesses))),
            }),
        ]
    }

    fn cold(era: u32, admits: u8) -> EntryKind {
        let (electorate, absent) = (NodeSet(7), NodeSet::EMPTY);
        EntryKind::Cold { era, admits, version: 0, electorate, absent }
    }

    /// The beginning of an era, so that arbitrary entries find something to act on.
    fn batch() -> Vec<EntryKind> {
        let admit = |n| EntryKind::Admit { node: id(n), incarnation: Incarnation(1) };
        let configuration = Arc::new(Configuration::plain(NodeSet(7), NodeSet::EMPTY));
        let configure = EntryKind::Configure { configuration };
        vec![cold(1, 3), admit(1), admit(2), admit(3), configure]
    }

    proptest! {
        /// Entries 1..n one by one, or a snapshot of the first k and the rest: the same state, byte for byte.
        #[test]
        fn a_snapshot_stands_for_the_entries_before_it(
            entries in vec(any_kind(), 0..60), cut in 0..64_usize, slice in 1..300_usize,
        ) {
            let kinds = [batch(), entries].concat();
            let cut = cut.min(kinds.len());
            let (mut whole, mut before, mut after) = (node(), node(), node());
            apply(&mut whole, 1, &kinds);
            apply(&mut before, 1, &kinds[..cut]);
            let state = before.encode_state();
            let slices: Vec<Arc<[u8]>> = state.chunks(slice).map(Arc::from).collect();
            after.install(Instant(2_000_000_000), Op(cut as u64), &slices);
            prop_assert!(!after.ended);
            prop_assert_eq!(&after.encode_state(), &state);
            apply(&mut after, cut as u64 + 1, &kinds[cut..]);
            prop_assert_eq!(after.encode_state(), whole.encode_state());
        }

        #[test]
        fn a_damaged_state_is_refused_or_read_and_never_panics(
            entries in vec(any_kind(), 0..40), at in any::<usize>(), bit in 0..8_u32, end in any::<usize>(),
        ) {
            let mut whole = node();
            apply(&mut whole, 1, &[batch(), entries].concat());
            let state = whole.encode_state();
            let mut damaged = state.clone();
            damaged[at % state.len()] ^= 1 << bit;
            node().install(Instant(2_000_000_000), Op(9), &[Arc::from(damaged)]);
            let mut short = node();
            short.install(Instant(2_000_000_000), Op(9), &[Arc::from(&state[..end % state.len()])]);
            prop_assert!(short.ended, "a part of a state is none");
        }
    }
}
