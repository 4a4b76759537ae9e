//! Which of the configured nodes this machine is, and where its links are: found by its own
//! addresses.

use crate::failure::Failure;
use config::{Config, Loaded, Mode};
use driver_address::Interface;
use driver_address::interface::{Assigned, addresses, interfaces};
use driver_address::netlink::Netlink;
use std::net::{IpAddr, Ipv4Addr};
use wire::{NodeId, NodeSet};

/// This node as the configuration and the machine know it.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The checked configuration.
    pub config: Config,
    /// The cluster's key.
    pub key: [u8; 32],
    /// The node.
    pub me: NodeId,
    /// Its name.
    pub name: String,
    /// The links, in their order.
    pub links: Vec<LocalLink>,
}

/// One link as it is on this machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LocalLink {
    /// The own address.
    pub own: IpAddr,
    /// The interface that holds it.
    pub interface: Interface,
    /// Group or broadcast address; none for unicast.
    pub target: Option<IpAddr>,
}

/// Finds the node `name` on this machine.
pub fn resolve(loaded: Loaded, name: &str) -> Result<Identity, Failure> {
    let mut netlink = Netlink::route()?;
    let here = addresses(&mut netlink)?;
    let interfaces = interfaces(&mut netlink)?;
    let Loaded { config, key, .. } = loaded;
    let node = config.for_node(name)?;
    let me = node_id(node.id)?;
    let mut links = Vec::with_capacity(config.links.len());
    for (link, own) in config.links.iter().zip(&node.addresses) {
        let (at, interface) = find(&here, &interfaces, *own).ok_or_else(|| Failure::NotHere {
            node: name.to_owned(),
            address: *own,
            link: link.name.clone(),
            candidates: who_is_here(&config, &here),
        })?;
        let target = match link.mode {
            Mode::Multicast { group } => Some(group),
            Mode::Broadcast => broadcast(*own, at.prefix),
            Mode::Unicast => None,
        };
        links.push(LocalLink { own: *own, interface, target });
    }
    let name = name.to_owned();
    Ok(Identity { key: key.0, me, name, links, config })
}

impl Identity {
    /// All configured nodes that `wanted` holds for.
    pub fn nodes(&self, wanted: impl Fn(&config::Node) -> bool) -> NodeSet {
        let ids = self.config.nodes.iter().filter(|n| wanted(n)).filter_map(|n| NodeId::new(n.id));
        ids.collect()
    }
    /// Every floating address of every service: none of them may be here before the first frame
    /// (R-START).
    pub fn floating(&self) -> Vec<IpAddr> {
        self.addresses().concat()
    }
    /// The floating addresses of each service, in configured order.
    pub fn addresses(&self) -> Vec<Vec<IpAddr>> {
        let services = self.config.services.iter();
        services
            .map(|service| service.resources.iter().filter_map(config::Resource::address).collect())
            .collect()
    }
    /// Peers and their addresses on one link.
    pub fn peers(&self, link: usize) -> Vec<(NodeId, IpAddr)> {
        peers(&self.config, self.me, link)
    }
}

/// The configured nodes but `me`, and their addresses on one link.
#[must_use]
pub fn peers(config: &Config, me: NodeId, link: usize) -> Vec<(NodeId, IpAddr)> {
    let peers = config.nodes.iter().filter_map(|node| {
        let id = NodeId::new(node.id).filter(|id| *id != me)?;
        Some((id, *node.addresses.get(link)?))
    });
    peers.collect()
}

/// The configuration allows 1 to 128 only; an error here would be a defect, and still no panic.
fn node_id(id: u8) -> Result<NodeId, Failure> {
    NodeId::new(id).ok_or(Failure::NodeNumber { id })
}

fn find(
    here: &[Assigned],
    interfaces: &[Interface],
    address: IpAddr,
) -> Option<(Assigned, Interface)> {
    let at = here.iter().find(|a| a.address == address)?;
    let interface = interfaces.iter().find(|i| i.index == at.interface)?;
    Some((*at, interface.clone()))
}

/// Names of the configured nodes whose first address is on this machine: what the operator may have
/// meant.
fn who_is_here(config: &Config, here: &[Assigned]) -> Vec<String> {
    let is_here = |node: &&config::Node| {
        node.addresses.iter().any(|address| here.iter().any(|a| a.address == *address))
    };
    config.nodes.iter().filter(is_here).map(|node| node.name.clone()).collect()
}

/// The broadcast address of the subnet; prefixes without one are refused by whoever opens the link.
fn broadcast(own: IpAddr, prefix: u8) -> Option<IpAddr> {
    let IpAddr::V4(own) = own else { return None };
    let hosts = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
    Some(Ipv4Addr::from_bits(own.to_bits() | hosts).into())
}

#[cfg(test)]
mod tests {
    use super::broadcast;

    #[test]
    fn broadcast_is_the_last_address_of_the_subnet() {
        let own = "10.77.1.1".parse().unwrap();
        assert_eq!(broadcast(own, 24), Some("10.77.1.255".parse().unwrap()));
        assert_eq!(broadcast(own, 32), Some(own));
        assert_eq!(broadcast("fd00::1".parse().unwrap(), 64), None);
    }
}
