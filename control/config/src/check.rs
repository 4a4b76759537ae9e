//! What only shows between sections: counts, duplicates, families, votes, owners.

use crate::diagnostic::Report;
use crate::model::{Fence, Resource};
use crate::raw::{RawConfig, RawMode, RawNode, RawService};
use crate::suggest::did_you_mean;
use crate::table::At;
use crate::{LINKS_MAX, NODES_MAX, RESOURCES_MAX, SERVICES_MAX};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;

/// Adds what is wrong between the sections. Only for a text that is whole.
pub(crate) fn check(raw: &RawConfig, report: &mut Report) {
    counts(raw, report);
    unique("link", raw.links.iter().filter_map(|link| link.name.as_ref()), report);
    unique("node", raw.nodes.iter().filter_map(|node| node.name.as_ref()), report);
    unique("service", raw.services.iter().filter_map(|service| service.name.as_ref()), report);
    node_ids(raw, report);
    address_lists(raw, report);
    families(raw, report);
    addresses_used_twice(raw, report);
    ports(raw, report);
    votes(raw, report);
    for service in &raw.services {
        service_nodes(raw, service, report);
        lease_bound(service, report);
    }
    floating_addresses(raw, report);
}

fn counts(raw: &RawConfig, report: &mut Report) {
    let mut limit = |what: &str, max: usize, spans: Vec<&Range<usize>>| {
        if let Some(span) = spans.get(max) {
            let message = format!("there are {} {what}s; at most {max} can be", spans.len());
            report.error((*span).clone(), message, format!("remove this {what} and those below"));
        }
    };
    limit("link", LINKS_MAX, raw.links.iter().map(|link| &link.span).collect());
    limit("node", NODES_MAX, raw.nodes.iter().map(|node| &node.span).collect());
    limit("service", SERVICES_MAX, raw.services.iter().map(|service| &service.span).collect());
    for service in &raw.services {
        let spans = service.resources.iter().map(|resource| &resource.span).collect();
        limit("resource", RESOURCES_MAX, spans);
    }
}

fn unique<'a>(what: &str, names: impl Iterator<Item = &'a At<String>>, report: &mut Report) {
    let mut seen = BTreeMap::new();
    for name in names {
        if seen.insert(name.value.as_str(), ()).is_some() {
            let message = format!("another {what} is named \"{}\" already", name.value);
            report.error(name.span.clone(), message, "give each a name of its own");
        }
    }
}

fn node_ids(raw: &RawConfig, report: &mut Report) {
    let mut seen: BTreeMap<u8, &RawNode> = BTreeMap::new();
    for node in &raw.nodes {
        let Some(id) = &node.id else { continue };
        if let Some(other) = seen.get(&id.value) {
            let message = format!("id {} is node {}'s already", id.value, other.shown());
            let free = (1..=128u8).find(|id| {
                raw.nodes.iter().all(|node| node.id.as_ref().map(|at| at.value) != Some(*id))
            });
            let remedy = free.map_or_else(
                || "give each node an id of its own".into(),
                |id| format!("give each node an id of its own; {id} is free"),
            );
            report.error(id.span.clone(), message, remedy);
        } else {
            seen.insert(id.value, node);
        }
    }
}

fn address_lists(raw: &RawConfig, report: &mut Report) {
    let links = raw.links.len();
    for node in &raw.nodes {
        let Some(list) = &node.addresses else { continue };
        if list.value.len() != links && links > 0 {
            let message = format!(
                "node {} has {}, but there {}",
                node.shown(),
                counted(list.value.len(), "address", "addresses"),
                if links == 1 { "is 1 link".into() } else { format!("are {links} links") },
            );
            let names: Vec<&str> =
                raw.links.iter().map(|l| l.name.as_ref().map_or("?", |n| &n.value)).collect();
            let remedy = format!("write one address per link, in this order: {}", names.join(", "));
            report.error(list.span.clone(), message, remedy);
        }
    }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}

/// The readable addresses of one link, with their nodes.
fn on_link(raw: &RawConfig, link: usize) -> impl Iterator<Item = (&RawNode, At<IpAddr>)> {
    raw.nodes.iter().filter_map(move |node| {
        let at = node.addresses.as_ref()?.value.get(link)?;
        at.value.map(|address| (node, at.map(|_| address)))
    })
}

fn family(address: &IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

fn families(raw: &RawConfig, report: &mut Report) {
    for (place, link) in raw.links.iter().enumerate() {
        let name = link.name.as_ref().map_or("?", |name| name.value.as_str());
        let mode = link.mode.as_ref().map(|mode| mode.value);
        // The group decides if there is one; else the first node does.
        let group = link.group.as_ref().filter(|_| mode == Some(RawMode::Multicast));
        let mut wanted = match group {
            Some(group) => Some((family(&group.value), "its group is".to_owned())),
            None if mode == Some(RawMode::Broadcast) => {
                Some(("IPv4", "its mode is broadcast, which is".into()))
            }
            None => None,
        };
        for (node, at) in on_link(raw, place) {
            let this = family(&at.value);
            match &wanted {
                None => wanted = Some((this, format!("node {}'s address is", node.shown()))),
                Some((want, why)) if *want != this => {
                    let message =
                        format!("{} is {this}, but on link {name} {why} {want}", at.value);
                    let remedy = format!("use one family on a link: write an {want} address here");
                    report.error(at.span, message, remedy);
                }
                Some(_) => {}
            }
        }
    }
}

fn addresses_used_twice(raw: &RawConfig, report: &mut Report) {
    let mut seen: BTreeMap<IpAddr, usize> = BTreeMap::new();
    for (place, node) in raw.nodes.iter().enumerate() {
        for at in node.addresses.iter().flat_map(|list| &list.value) {
            let Some(address) = at.value else { continue };
            match seen.get(&address) {
                Some(other) if *other != place => {
                    let owner = raw.nodes.get(*other).map(RawNode::shown).unwrap_or_default();
                    let message = format!("{address} is node {owner}'s address already");
                    report.error(at.span.clone(), message, "write this node's own address");
                }
                Some(_) => {}
                None => {
                    seen.insert(address, place);
                }
            }
        }
    }
}

/// A node that uses one address on two links needs four different ports on it.
fn ports(raw: &RawConfig, report: &mut Report) {
    let mut told = Vec::new();
    for (later, link) in raw.links.iter().enumerate() {
        for (earlier, other) in raw.links.iter().enumerate().take(later) {
            let shared = raw.nodes.iter().find_map(|node| {
                let list = &node.addresses.as_ref()?.value;
                let (a, b) = (list.get(earlier)?.value?, list.get(later)?);
                (Some(a) == b.value).then(|| b.map(|_| a))
            });
            let (Some(shared), Some(port), Some(before)) = (shared, &link.port, &other.port) else {
                continue;
            };
            let name = other.name.as_ref().map_or("?", |name| name.value.as_str());
            if port.value.abs_diff(before.value) <= 1 && !told.contains(&later) {
                told.push(later);
                let message = format!(
                    "port {} collides with link {name}, which has {} and {} on the same address {}",
                    port.value,
                    before.value,
                    before.value + 1,
                    shared.value
                );
                let remedy = "give this link a port at least 2 away, or addresses of its own";
                report.error(port.span.clone(), message, remedy);
            } else if !told.contains(&later) {
                let message = format!("this address is used on link {name} too");
                let remedy = "two links on one network fail together: give each its own network";
                report.warning(shared.span, message, remedy);
            }
        }
    }
}

fn votes(raw: &RawConfig, report: &mut Report) {
    for node in raw.nodes.iter().filter(|node| node.witness && !node.votes()) {
        let Some(vote) = &node.vote else { continue };
        let message = format!("node {} is a witness without a vote: it does nothing", node.shown());
        report.error(vote.span.clone(), message, "remove vote = false, or witness = true");
    }
    let voters = raw.nodes.iter().filter(|node| node.votes()).count();
    let Some(last) = raw.nodes.last() else { return };
    if voters == 0 {
        let message = "no node has a vote: nothing can be agreed";
        let remedy = "remove vote = false from three of the nodes, or from all";
        report.error(last.span.clone(), message, remedy);
    } else if voters == 1 && raw.nodes.len() > 1 {
        let message = "one node has a vote: nothing runs while that one is down (rule S8)";
        report.warning(last.span.clone(), message, "remove vote = false from two more nodes");
    } else if voters == 1 {
        let message = "there is one node: nobody can take over from it";
        report.warning(last.span.clone(), message, "add two more nodes, one may be a witness");
    } else if voters.is_multiple_of(2) {
        // S8: a majority of the configured votes, or nothing runs.
        let need = voters / 2 + 1;
        let message = if voters == 2 {
            "there are 2 votes and both are needed: when one node is down the other runs no \
             service until the death is proven (rule S8)"
                .to_owned()
        } else {
            format!(
                "there are {voters} votes and {need} are needed: the cluster survives the loss of \
                 {}, no more than with {} votes, and a split in halves stops both (rule S8)",
                counted(voters - need, "node", "nodes"),
                voters - 1
            )
        };
        let remedy = "add a witness: a [[node]] with witness = true, on any small machine";
        report.warning(last.span.clone(), message, remedy);
    }
    if let Some(service) = raw.services.first()
        && raw.nodes.iter().all(|node| node.witness)
    {
        let message = "every node is a witness: nobody can run this service";
        let remedy = "remove witness = true from the nodes that are to run services";
        report.error(service.span.clone(), message, remedy);
    }
}

fn service_nodes(raw: &RawConfig, service: &RawService, report: &mut Report) {
    let Some(list) = &service.nodes else { return };
    if list.value.is_empty() {
        let remedy = "name the nodes that may run it, or remove the key: then all may";
        report.error(list.span.clone(), "nodes is empty: nobody may run the service", remedy);
    }
    let known: Vec<&str> =
        raw.nodes.iter().filter_map(|node| Some(node.name.as_ref()?.value.as_str())).collect();
    let unnamed = raw.nodes.iter().any(|node| node.name.is_none());
    let mut seen = Vec::new();
    for name in &list.value {
        let text = name.value.as_str();
        let node =
            raw.nodes.iter().find(|node| node.name.as_ref().is_some_and(|name| name.value == text));
        if seen.contains(&text) {
            let message = format!("node {text} is named twice");
            report.error(name.span.clone(), message, "name each node once, the preferred first");
        } else if node.is_some_and(|node| node.witness) {
            let message = format!("node {text} is a witness: it holds no services");
            report.error(name.span.clone(), message, "remove it from nodes");
        } else if node.is_none() && !unnamed {
            let shown: String = text.chars().take(40).collect();
            let remedy = match did_you_mean(text, known.iter().copied()) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("add a [[node]] of that name, or use one of: {}", few(&known)),
            };
            report.error(name.span.clone(), format!("there is no node \"{shown}\""), remedy);
        }
        seen.push(text);
    }
}

fn few(names: &[&str]) -> String {
    let mut text = names.iter().take(8).copied().collect::<Vec<_>>().join(", ");
    if names.len() > 8 {
        text.push_str(", …");
    }
    text
}

/// S3: policy `lease` only if every resource ends with the lease by itself.
fn lease_bound(service: &RawService, report: &mut Report) {
    let Some(fence) = service.fence.as_ref().filter(|fence| fence.value == Fence::Lease) else {
        return;
    };
    let unbound = service.resources.iter().filter_map(|raw| Some(&raw.resource.as_ref()?.value));
    for resource in unbound.filter(|resource| !resource.lease_bound()) {
        let message = format!(
            "service {} cannot have fence = \"lease\": its resource {} \"{}\" goes on without a \
             lease (rule S3)",
            service.shown(),
            resource.kind(),
            resource.name().chars().take(60).collect::<String>()
        );
        let remedy = "write fence = \"fenced\", or move that resource to a service of its own";
        report.error(fence.span.clone(), message, remedy);
    }
}

fn floating_addresses(raw: &RawConfig, report: &mut Report) {
    let mut seen: BTreeMap<IpAddr, &str> = BTreeMap::new();
    for service in &raw.services {
        for resource in &service.resources {
            let Some(at) = &resource.resource else { continue };
            let Resource::Address { address, .. } = &at.value else { continue };
            let own = raw.nodes.iter().find(|node| {
                let list = node.addresses.iter().flat_map(|list| &list.value);
                list.filter_map(|at| at.value).any(|own| own == *address)
            });
            let span = at.span.clone();
            if let Some(node) = own {
                let message = format!("{address} is node {}'s own address", node.shown());
                report.error(span, message, "a floating address must belong to no node");
            } else if let Some(other) = seen.get(address) {
                let message = format!("{address} is an address of service {other} already");
                report.error(span, message, "give each service addresses of its own");
            } else {
                seen.insert(*address, service.shown());
            }
        }
    }
}
