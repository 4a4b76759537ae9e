//! The services' part of the plan. Services are told apart by their names; a new name is a new service.

use crate::model::{Config, Fence, Placement, Service};
use crate::plan::{Cost, Plan, Situation};

pub(crate) fn services(present: &Config, wanted: &Config, now: &Situation, plan: &mut Plan) {
    let named =
        |config: &'_ Config, name: &str| config.services.iter().position(|it| it.name == name);
    for new in &wanted.services {
        match named(present, &new.name).and_then(|place| present.services.get(place)) {
            Some(old) => changed(old, new, present, wanted, now, plan),
            None => {
                let on =
                    if new.nodes.is_empty() { "nobody".into() } else { names(wanted, &new.nodes) };
                plan.step(
                    subject(new),
                    format!("is added: may run on {on}"),
                    Cost::Nothing,
                    "it starts once this is agreed",
                );
            }
        }
    }
    for old in present.services.iter().filter(|old| named(wanted, &old.name).is_none()) {
        let on =
            owner(old, now).map_or_else(String::new, |id| format!(" on {}", name(present, id)));
        plan.step(
            subject(old),
            "is removed",
            Cost::Stop,
            format!("it is stopped{on} and forgotten"),
        );
    }
}

fn subject(service: &Service) -> String {
    format!("service {}", service.name)
}

fn name(config: &Config, id: u8) -> String {
    config.node(id).map_or_else(|| format!("node {id}"), |node| node.name.clone())
}

fn names(config: &Config, ids: &[u8]) -> String {
    ids.iter().map(|id| name(config, *id)).collect::<Vec<_>>().join(", ")
}

fn owner(service: &Service, now: &Situation) -> Option<u8> {
    now.owners.iter().find(|(name, _)| *name == service.name).map(|(_, owner)| *owner)
}

fn changed(
    old: &Service,
    new: &Service,
    present: &Config,
    wanted: &Config,
    now: &Situation,
    plan: &mut Plan,
) {
    let owner = owner(new, now);
    // The owner must go: then somebody has to take it.
    let leaves = owner.filter(|id| !new.nodes.contains(id));
    if let Some(id) = leaves
        && !new.nodes.iter().any(|node| now.members.contains(node))
    {
        plan.refuse(
            format!(
                "service {} runs on {}, and of the nodes that may have it then ({}) none is a member",
                new.name,
                name(present, id),
                names(wanted, &new.nodes)
            ),
            "start one of them first, or let it run on another node too",
        );
    }
    if old.resources != new.resources {
        let costs = match owner {
            Some(id) => {
                format!("it is stopped on {} and started with the new list", name(present, id))
            }
            None => "it starts with the new list".into(),
        };
        plan.step(subject(new), resources(old, new), Cost::Stop, costs);
    }
    if old.nodes != new.nodes {
        let what =
            format!("may run on {}, now {}", names(wanted, &new.nodes), names(present, &old.nodes));
        match leaves {
            Some(id) => {
                plan.step(
                    subject(new),
                    what,
                    Cost::Move,
                    format!("it moves away from {}", name(present, id)),
                );
            }
            None => plan.step(subject(new), what, Cost::Nothing, "no interruption"),
        }
    }
    if old.placement != new.placement {
        let word = |placement| if placement == Placement::Sticky { "sticky" } else { "fail-back" };
        let costs = match (new.placement, owner, new.nodes.first()) {
            (Placement::FailBack, Some(owner), Some(first)) if *first != owner => (
                Cost::Move,
                format!("it moves to {} once that is a member for a while", name(wanted, *first)),
            ),
            _ => (Cost::Nothing, "no interruption".into()),
        };
        let what = format!("placement {} -> {}", word(old.placement), word(new.placement));
        plan.step(subject(new), what, costs.0, costs.1);
    }
    if old.fence != new.fence {
        let word = |fence| if fence == Fence::Lease { "lease" } else { "fenced" };
        let costs = match new.fence {
            Fence::Lease => "no interruption; from then only nodes with a whole gate may own it",
            Fence::Fenced => "no interruption; from then a takeover waits for proof",
        };
        plan.step(
            subject(new),
            format!("fence {} -> {}", word(old.fence), word(new.fence)),
            Cost::Nothing,
            costs,
        );
    }
}

fn resources(old: &Service, new: &Service) -> String {
    let gone = old.resources.iter().filter(|it| !new.resources.contains(it));
    let come = new.resources.iter().filter(|it| !old.resources.contains(it));
    let gone: Vec<String> = gone.map(|it| format!("-{} {}", it.kind(), it.name())).collect();
    let come: Vec<String> = come.map(|it| format!("+{} {}", it.kind(), it.name())).collect();
    if gone.is_empty() && come.is_empty() {
        return "resources in another order".into();
    }
    // Some changes are in what the name does not show: an interface, a time-out.
    format!("resources: {}", [gone, come].concat().join(", "))
}
