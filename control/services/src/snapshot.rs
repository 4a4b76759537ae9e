//! The planner's state as bytes, for the snapshot that takes the place of the log: equal states have equal bytes on all
//! nodes, and reading is total. The services are part of it, because they follow the log.

use crate::configure::SERVICES_MAX;
use crate::model::{FencePolicy, Placement, ResourceSpec, ServiceSpec};
use crate::phase::Phase;
use crate::planner::{Planner, Service};
use crate::reason::{Bar, Choice, Reason, Trigger};
use crate::state::{Ending, Failure, Owner, ServiceState, Wish};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use driver::Evidence;
use wire::codec::{Malformed, Reader, Writer};
use wire::entry::RemovalCause;
use wire::{Generation, Incarnation, NODES_MAX, NodeId, Op, ServiceId, Stint};

/// First byte; another layout takes another number.
const VERSION: u8 = 2;
/// Most resources of one service; the configuration allows fewer.
const RESOURCES_MAX: usize = 1 << 8;
/// Longest text in bytes: what drivers say is shorter, names are what the configuration has.
const TEXT_MAX: usize = 1 << 16;

type Read<T> = Result<T, Malformed>;

impl Planner {
    /// Appends its bytes.
    pub fn encode(&self, to: &mut Writer) {
        to.u8(VERSION);
        encode_stints(&self.leaving, to);
        to.nodes(self.clean);
        encode_stints(&self.ungated, to);
        to.u32(self.era);
        to.flag(self.era_begins);
        to.u64(self.spent.0);
        to.nodes(self.witnesses);
        to.nodes(self.configured);
        to.u32(self.services.len() as u32);
        for service in &self.services {
            encode_spec(&service.spec, to);
            to.flag(service.retired);
            service.state.encode(to);
        }
    }

    /// Replaces its state by what [`Planner::encode`] wrote, services included: they follow the log, not the own file.
    /// Returns the services that are not as they were; some may be gone.
    pub fn install(&mut self, from: &mut Reader<'_>) -> Read<Vec<ServiceId>> {
        if from.u8()? != VERSION {
            return Err(Malformed::OutOfRange("version of a plan"));
        }
        let (leaving, clean, ungated) = (decode_stints(from)?, from.nodes()?, decode_stints(from)?);
        let (era, era_begins) = (from.u32()?, from.flag("begin of an era")?);
        let spent = Generation(from.u64()?);
        let (witnesses, configured) = (from.nodes()?, from.nodes()?);
        let count = from.count(usize::from(SERVICES_MAX), "services")?;
        let service = |_| {
            let (spec, retired) = (decode_spec(from)?, from.flag("retired")?);
            Ok(Service { spec, state: ServiceState::decode(from)?, retired })
        };
        let services = (0..count).map(service).collect::<Read<Vec<_>>>()?;
        let before = core::mem::replace(&mut self.services, services);
        (self.leaving, self.clean, self.ungated) = (leaving, clean, ungated);
        (self.era, self.era_begins, self.spent) = (era, era_begins, spent);
        (self.witnesses, self.configured) = (witnesses, configured);
        let same = |old: &Service, new: &Service| {
            (&old.spec, &old.state, old.retired) == (&new.spec, &new.state, new.retired)
        };
        let find = |list: &[Service], id| list.iter().find(|it| it.spec.id == id).cloned();
        let ids: BTreeSet<ServiceId> =
            before.iter().chain(&self.services).map(|it| it.spec.id).collect();
        let changed =
            ids.into_iter().filter(|id| match (find(&before, *id), find(&self.services, *id)) {
                (Some(old), Some(new)) => !same(&old, &new),
                _ => true,
            });
        Ok(changed.collect())
    }
}

fn encode_spec(spec: &ServiceSpec, to: &mut Writer) {
    to.u16(spec.id.0);
    to.bytes(spec.name.as_bytes());
    to.u32(spec.nodes.len() as u32);
    spec.nodes.iter().for_each(|node| to.node(*node));
    to.flag(spec.placement == Placement::FailBack);
    to.flag(spec.fence == FencePolicy::Lease);
    to.u32(spec.resources.len() as u32);
    for resource in &spec.resources {
        to.bytes(resource.name.as_bytes());
        to.bytes(resource.kind.as_bytes());
        to.flag(resource.lease_bound);
    }
    to.u64(spec.revision);
}

fn decode_spec(from: &mut Reader<'_>) -> Read<ServiceSpec> {
    let (id, name) = (ServiceId(from.u16()?), decode_text(from)?);
    let count = from.count(NODES_MAX, "nodes of a service")?;
    let nodes = (0..count).map(|_| from.node()).collect::<Read<_>>()?;
    let placement = if from.flag("placement")? { Placement::FailBack } else { Placement::Sticky };
    let fence = if from.flag("fence")? { FencePolicy::Lease } else { FencePolicy::Fenced };
    let count = from.count(RESOURCES_MAX, "resources")?;
    let resource = |_| {
        let (name, kind) = (decode_text(from)?, decode_text(from)?);
        Ok(ResourceSpec { name, kind, lease_bound: from.flag("lease-bound")? })
    };
    let resources = (0..count).map(resource).collect::<Read<_>>()?;
    Ok(ServiceSpec { id, name, nodes, placement, fence, resources, revision: from.u64()? })
}

impl ServiceState {
    fn encode(&self, to: &mut Writer) {
        to.u64(self.generation.0);
        encode_option(self.owner.as_ref(), to, |owner, to| {
            to.life(owner.life);
            to.stint(owner.stint);
        });
        to.u8(match self.phase {
            Phase::Idle => 1,
            Phase::Starting => 2,
            Phase::Running => 3,
            Phase::Stopping => 4,
            Phase::WaitingForFence => 5,
            Phase::Failed => 6,
        });
        encode_option(self.evidence.as_ref(), to, |evidence, to| {
            let (number, op) = match evidence {
                Evidence::NeverOwned => (1, Op::ZERO),
                Evidence::Stopped(op) => (2, *op),
                Evidence::LeaseEnded(op) => (3, *op),
                Evidence::NewLife(op) => (4, *op),
                Evidence::Operator(op) => (5, *op),
            };
            to.u8(number);
            to.op(op);
        });
        self.ending.encode(to);
        encode_option(self.wish.as_ref(), to, |wish, to| {
            to.flag(matches!(wish, Wish::Operator(_)));
            to.node(wish.node());
        });
        to.u32(self.failures.len() as u32);
        for (node, failure) in &self.failures {
            to.node(*node);
            to.u32(failure.incarnation.0);
            to.op(failure.op);
            to.bytes(failure.reason.as_bytes());
        }
        to.op(self.since);
        encode_reason(&self.reason, to);
        to.flag(self.outdated);
        to.flag(self.bound);
        to.flag(self.is_new);
    }

    fn decode(from: &mut Reader<'_>) -> Read<Self> {
        Ok(Self {
            generation: Generation(from.u64()?),
            owner: decode_option(from, |from| {
                Ok(Owner { life: from.life()?, stint: from.stint()? })
            })?,
            phase: match from.u8()? {
                1 => Phase::Idle,
                2 => Phase::Starting,
                3 => Phase::Running,
                4 => Phase::Stopping,
                5 => Phase::WaitingForFence,
                6 => Phase::Failed,
                _ => return Err(Malformed::OutOfRange("phase")),
            },
            evidence: decode_option(from, decode_evidence)?,
            ending: Ending::decode(from)?,
            wish: decode_option(from, |from| {
                let operator = from.flag("wish")?;
                let node = from.node()?;
                Ok(if operator { Wish::Operator(node) } else { Wish::FailBack(node) })
            })?,
            failures: decode_failures(from)?,
            since: from.op()?,
            reason: decode_reason(from)?,
            outdated: from.flag("outdated")?,
            bound: from.flag("bound")?,
            is_new: from.flag("new")?,
        })
    }
}

impl Ending {
    fn encode(&self, to: &mut Writer) {
        encode_option(self.trigger.as_ref(), to, encode_trigger);
        for op in [self.stopped, self.lease_ended, self.new_life, self.operator] {
            encode_option(op.as_ref(), to, |op, to| to.op(*op));
        }
        to.flag(self.stuck);
        to.flag(self.ungated);
    }

    fn decode(from: &mut Reader<'_>) -> Read<Self> {
        let op = |from: &mut Reader<'_>| from.op();
        Ok(Self {
            trigger: decode_option(from, decode_trigger)?,
            stopped: decode_option(from, op)?,
            lease_ended: decode_option(from, op)?,
            new_life: decode_option(from, op)?,
            operator: decode_option(from, op)?,
            stuck: from.flag("stuck")?,
            ungated: from.flag("ungated")?,
        })
    }
}

fn decode_evidence(from: &mut Reader<'_>) -> Read<Evidence> {
    let (number, op) = (from.u8()?, from.op()?);
    Ok(match number {
        1 if op == Op::ZERO => Evidence::NeverOwned,
        2 => Evidence::Stopped(op),
        3 => Evidence::LeaseEnded(op),
        4 => Evidence::NewLife(op),
        5 => Evidence::Operator(op),
        _ => return Err(Malformed::OutOfRange("evidence")),
    })
}

fn decode_failures(from: &mut Reader<'_>) -> Read<BTreeMap<NodeId, Failure>> {
    let count = from.count(NODES_MAX, "failures")?;
    let failure = |_| {
        let (node, incarnation) = (from.node()?, Incarnation(from.u32()?));
        let op = from.op()?;
        Ok((node, Failure { incarnation, op, reason: decode_text(from)? }))
    };
    by_node((0..count).map(failure))
}

/// A map as it is written: each node once, in order. Then one state has one writing only.
fn by_node<T>(pairs: impl Iterator<Item = Read<(NodeId, T)>>) -> Read<BTreeMap<NodeId, T>> {
    let mut map = BTreeMap::new();
    for pair in pairs {
        let (node, value) = pair?;
        if map.last_key_value().is_some_and(|(last, _)| *last >= node) {
            return Err(Malformed::OutOfRange("order of nodes"));
        }
        map.insert(node, value);
    }
    Ok(map)
}

fn encode_trigger(trigger: &Trigger, to: &mut Writer) {
    to.u8(match trigger {
        Trigger::EraBegan => 1,
        Trigger::Removed(_) => 2,
        Trigger::Restarted => 3,
        Trigger::Moved(_) => 4,
        Trigger::FailBack(_) => 5,
        Trigger::Leaving => 6,
        Trigger::StartFailed(_) => 7,
        Trigger::Died(_) => 8,
        Trigger::Stuck(_) => 9,
        Trigger::Stopped => 10,
        Trigger::Changed => 11,
        Trigger::NotListed => 12,
        Trigger::NotConfigured => 13,
    });
    match trigger {
        Trigger::Removed(cause) => to.u8(cause.number()),
        Trigger::Moved(node) | Trigger::FailBack(node) => to.node(*node),
        Trigger::StartFailed(text) | Trigger::Died(text) | Trigger::Stuck(text) => {
            to.bytes(text.as_bytes());
        }
        Trigger::EraBegan
        | Trigger::Restarted
        | Trigger::Leaving
        | Trigger::Stopped
        | Trigger::Changed
        | Trigger::NotListed
        | Trigger::NotConfigured => {}
    }
}

fn decode_trigger(from: &mut Reader<'_>) -> Read<Trigger> {
    Ok(match from.u8()? {
        1 => Trigger::EraBegan,
        2 => Trigger::Removed(RemovalCause::from_number(from.u8()?)?),
        3 => Trigger::Restarted,
        4 => Trigger::Moved(from.node()?),
        5 => Trigger::FailBack(from.node()?),
        6 => Trigger::Leaving,
        7 => Trigger::StartFailed(decode_text(from)?),
        8 => Trigger::Died(decode_text(from)?),
        9 => Trigger::Stuck(decode_text(from)?),
        10 => Trigger::Stopped,
        11 => Trigger::Changed,
        12 => Trigger::NotListed,
        13 => Trigger::NotConfigured,
        _ => return Err(Malformed::OutOfRange("trigger")),
    })
}

fn encode_reason(reason: &Reason, to: &mut Writer) {
    match reason {
        Reason::NoView => to.u8(1),
        Reason::Placed { node, from, trigger, choice } => {
            to.u8(2);
            to.node(*node);
            encode_option(from.as_ref(), to, |node, to| to.node(*node));
            encode_trigger(trigger, to);
            match choice {
                Choice::Wished => to.u8(1),
                Choice::Stays => to.u8(3),
                Choice::Preferred { barred } => {
                    to.u8(2);
                    encode_barred(barred, to);
                }
            }
        }
        Reason::Releasing { node, trigger } => {
            to.u8(3);
            to.node(*node);
            encode_trigger(trigger, to);
        }
        Reason::WaitsForNodes(nodes) => {
            to.u8(4);
            to.u32(nodes.len() as u32);
            nodes.iter().for_each(|node| to.node(*node));
        }
        Reason::WaitsForProof { node, trigger, ungated } => {
            to.u8(5);
            to.node(*node);
            encode_trigger(trigger, to);
            to.flag(*ungated);
        }
        Reason::NoCandidate(barred) => {
            to.u8(6);
            encode_barred(barred, to);
        }
        Reason::AllFailed => to.u8(7),
        Reason::NotConfigured => to.u8(9),
        Reason::Misfit(resource) => {
            to.u8(8);
            to.bytes(resource.as_bytes());
        }
    }
}

fn decode_reason(from: &mut Reader<'_>) -> Read<Reason> {
    Ok(match from.u8()? {
        1 => Reason::NoView,
        2 => Reason::Placed {
            node: from.node()?,
            from: decode_option(from, |from| from.node())?,
            trigger: decode_trigger(from)?,
            choice: match from.u8()? {
                1 => Choice::Wished,
                3 => Choice::Stays,
                2 => Choice::Preferred { barred: decode_barred(from)? },
                _ => return Err(Malformed::OutOfRange("choice")),
            },
        },
        3 => Reason::Releasing { node: from.node()?, trigger: decode_trigger(from)? },
        4 => {
            let count = from.count(NODES_MAX, "nodes")?;
            Reason::WaitsForNodes((0..count).map(|_| from.node()).collect::<Read<_>>()?)
        }
        5 => Reason::WaitsForProof {
            node: from.node()?,
            trigger: decode_trigger(from)?,
            ungated: from.flag("ungated")?,
        },
        6 => Reason::NoCandidate(decode_barred(from)?),
        7 => Reason::AllFailed,
        9 => Reason::NotConfigured,
        8 => Reason::Misfit(decode_text(from)?),
        _ => return Err(Malformed::OutOfRange("reason")),
    })
}

fn encode_barred(barred: &[(NodeId, Bar)], to: &mut Writer) {
    to.u32(barred.len() as u32);
    for (node, bar) in barred {
        to.node(*node);
        to.u8(match bar {
            Bar::NotAMember => 1,
            Bar::Witness => 2,
            Bar::Failed => 3,
            Bar::Leaving => 4,
            Bar::NoGate => 5,
            Bar::NotListed => 6,
        });
    }
}

fn decode_barred(from: &mut Reader<'_>) -> Read<Vec<(NodeId, Bar)>> {
    let count = from.count(NODES_MAX, "barred nodes")?;
    let barred = |_| {
        let node = from.node()?;
        let bar = match from.u8()? {
            1 => Bar::NotAMember,
            2 => Bar::Witness,
            3 => Bar::Failed,
            4 => Bar::Leaving,
            5 => Bar::NoGate,
            6 => Bar::NotListed,
            _ => return Err(Malformed::OutOfRange("bar")),
        };
        Ok((node, bar))
    };
    (0..count).map(barred).collect()
}

fn encode_stints(stints: &BTreeMap<NodeId, Stint>, to: &mut Writer) {
    to.u32(stints.len() as u32);
    for (node, stint) in stints {
        to.node(*node);
        to.stint(*stint);
    }
}

fn decode_stints(from: &mut Reader<'_>) -> Read<BTreeMap<NodeId, Stint>> {
    let count = from.count(NODES_MAX, "stints")?;
    by_node((0..count).map(|_| Ok((from.node()?, from.stint()?))))
}

fn decode_text(from: &mut Reader<'_>) -> Read<String> {
    let text = core::str::from_utf8(from.bytes(TEXT_MAX, "text")?);
    text.map(String::from).map_err(|_| Malformed::OutOfRange("text"))
}

fn encode_option<T>(value: Option<&T>, to: &mut Writer, encode: impl Fn(&T, &mut Writer)) {
    to.flag(value.is_some());
    if let Some(value) = value {
        encode(value, to);
    }
}

fn decode_option<T>(
    from: &mut Reader<'_>,
    decode: impl Fn(&mut Reader<'_>) -> Read<T>,
) -> Read<Option<T>> {
    if from.flag("option")? { decode(from).map(Some) } else { Ok(None) }
}
