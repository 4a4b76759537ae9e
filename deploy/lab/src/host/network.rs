//! Two bridges, and a tap per node and bridge; all taps of a node are one interface group, so that a
//! power cut takes its links in one netlink call.

use crate::error::Result;
use crate::spec::{BRIDGES, NodeSpec, Spec};
use std::process::Command;
use testbed::error::run;
use testbed::netlink::Ports;

/// Interface groups of nodes begin here.
const GROUP: u32 = 100;

/// The lab's network, in the namespace of the thread that builds it.
#[derive(Debug)]
pub(crate) struct Network {
    ports: Ports,
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
        Ok(Self { ports: Ports::here()? })
    }

    /// All cables of a node in or out.
    pub(crate) fn set_node(&self, node: &NodeSpec, up: bool) -> Result<()> {
        Ok(self.ports.set_group(group(node), up)?)
    }

    /// One cable.
    pub(crate) fn set_cable(&self, node: &NodeSpec, bridge: usize, up: bool) -> Result<()> {
        Ok(self.ports.set_port(&tap(node, bridge), up)?)
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

fn ip(words: &[&str]) -> Result<()> {
    run(Command::new("ip").args(words))?;
    Ok(())
}
