//! Two bridges, and a tap per node and bridge; all taps of a node are one interface group, so that a
//! power cut takes its links in one netlink call.

use crate::error::Result;
use crate::spec::{BRIDGES, NodeSpec, Spec};
use std::collections::BTreeSet;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use testbed::error::run;
use testbed::netlink::Ports;

/// Interface groups of nodes begin here.
const GROUP: u32 = 100;

/// The lab's network, in the namespace of the thread that builds it.
#[derive(Debug)]
pub(crate) struct Network {
    ports: Ports,
    cables: Mutex<Cables>,
}

#[derive(Debug, Default)]
struct Cables {
    /// Taps whose cable is out.
    out: BTreeSet<String>,
    /// Numbers of the nodes that have power.
    powered: BTreeSet<u8>,
}

impl Network {
    /// Builds it.
    pub(crate) fn build(spec: &Spec) -> Result<Self> {
        ip(&["link", "set", "lo", "up"])?;
        for (number, bridge) in BRIDGES.iter().enumerate() {
            ip(&["link", "add", bridge, "type", "bridge"])?;
            ip(&["addr", "add", &format!("10.20.{number}.254/24"), "dev", bridge])?;
            ip(&["link", "set", bridge, "up"])?;
        }
        for node in &spec.nodes {
            for (number, bridge) in BRIDGES.iter().enumerate() {
                let tap = tap(node, number);
                ip(&["tuntap", "add", "dev", &tap, "mode", "tap"])?;
                let group = group(node).to_string();
                ip(&["link", "set", &tap, "master", bridge, "group", &group])?;
            }
            if node.bmc {
                let address = format!("{}/24", node.bmc_address());
                ip(&["addr", "add", &address, "dev", BRIDGES[1]])?;
            }
        }
        Ok(Self { ports: Ports::here()?, cables: Mutex::default() })
    }

    /// The interfaces of a node with its power. A cable that is out stays out.
    pub(crate) fn set_node(&self, node: &NodeSpec, up: bool) -> Result<()> {
        let mut cables = self.cables.lock().unwrap_or_else(PoisonError::into_inner);
        self.ports.set_group(group(node), up)?;
        if !up {
            cables.powered.remove(&node.id);
            return Ok(());
        }
        cables.powered.insert(node.id);
        let taps = (0..BRIDGES.len()).map(|bridge| tap(node, bridge));
        for tap in taps.filter(|tap| cables.out.contains(tap)) {
            forward(&tap, false)?;
        }
        Ok(())
    }

    /// One cable in or out. The bridge's port closes and the tap stays up: a guest that writes to a tap
    /// that is down gets EIO, upon which the driver of User Mode Linux 6.1 never sends again.
    pub(crate) fn set_cable(&self, node: &NodeSpec, bridge: usize, up: bool) -> Result<()> {
        let tap = tap(node, bridge);
        let mut cables = self.cables.lock().unwrap_or_else(PoisonError::into_inner);
        if up {
            cables.out.remove(&tap);
        } else {
            cables.out.insert(tap.clone());
        }
        if cables.powered.contains(&node.id) { forward(&tap, up) } else { Ok(()) }
    }
}

/// The host's end of a node's cable.
pub(crate) fn tap(node: &NodeSpec, bridge: usize) -> String {
    format!("{}{bridge}", node.name)
}

/// The address that the node's interface has on the wire.
pub(crate) fn hardware_address(node: &NodeSpec, bridge: usize) -> String {
    format!("02:4e:47:00:{bridge:02x}:{:02x}", node.id)
}

fn group(node: &NodeSpec) -> u32 {
    GROUP + u32::from(node.id)
}

/// Opens or closes a port of a bridge: `forwarding` and `disabled` of the spanning tree's states.
fn forward(tap: &str, open: bool) -> Result<()> {
    let state = if open { "3" } else { "0" };
    run(Command::new("bridge").args(["link", "set", "dev", tap, "state", state]))?;
    Ok(())
}

fn ip(words: &[&str]) -> Result<()> {
    run(Command::new("ip").args(words))?;
    Ok(())
}
