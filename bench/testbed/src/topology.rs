//! The network of a bed: a switch with one bridge per link, nodes with one interface per link, a
//! client.
//!
//! ```text
//!   RUN-n1          RUN-n2          RUN-n3         RUN-client
//!   eth0  eth1      eth0  eth1      eth0  eth1      eth0
//!    │     └────────┐│     └────────┐│     └───┐     │
//!   n1a            n1b n2a         n2b n3a    n3b   client      ports, in one group per node
//!    └──── bridge a ────┴──────────────┴─────────────┘           RUN-switch
//!          bridge b ── n1b, n2b, n3b
//! ```
//!
//! Addresses: node N has 10.77.L.N and fd77:L::N on link L (from 1); the client is 10.77.1.250.
//! Every bed uses the same ones, because each has namespaces of its own.

use crate::error::{BedError, Context, Result};
use crate::namespace::Namespace;
use crate::netlink::Ports;
use crate::os;
use crate::run::Run;
use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

/// Most nodes of a bed.
pub const NODES_MAX: u8 = 16;
/// Most links of a bed.
pub const LINKS_MAX: u8 = 4;
/// The floating address of the first service.
pub const FLOATING: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 100);
/// The floating address of service `number` (from 0): they follow each other.
#[must_use]
pub const fn floating(number: u8) -> Ipv4Addr {
    let [a, b, c, first] = FLOATING.octets();
    Ipv4Addr::new(a, b, c, first + number)
}

/// The service whose floating address this is.
#[must_use]
pub const fn service_of(address: Ipv4Addr) -> usize {
    address.octets()[3].saturating_sub(FLOATING.octets()[3]) as usize
}

/// The client's address on link 1.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 250);
/// The interface group of node N at the switch is this plus N.
const GROUP: u32 = 100;

/// How large.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// Nodes, 1..=16.
    pub nodes: u8,
    /// Links, 1..=4.
    pub links: u8,
}

/// The network, and the run it belongs to. Dropping it removes everything.
#[derive(Debug)]
pub struct Topology {
    shape: Shape,
    client: Namespace,
    nodes: Vec<Namespace>,
    ports: Ports,
    switch: Namespace,
    run: Run,
}

/// A node's address on a link.
#[must_use]
pub const fn address(node: u8, link: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, link, node)
}

/// The MAC address of a node's interface.
#[must_use]
pub const fn mac(node: u8, link: u8) -> [u8; 6] {
    [0x02, 0x4e, 0x47, 0, link, node]
}

/// The client's MAC address.
pub const CLIENT_MAC: [u8; 6] = mac(250, 1);

/// The name of a node.
#[must_use]
pub fn node_name(node: u8) -> String {
    format!("n{node}")
}

/// The switch's port for a node's link.
#[must_use]
pub fn port(node: u8, link: u8) -> String {
    format!("n{node}{}", link_letter(link))
}

/// The group that holds all ports of a node.
#[must_use]
pub const fn group(node: u8) -> u32 {
    GROUP + node as u32
}

fn link_letter(link: u8) -> char {
    char::from(b'a' + link.saturating_sub(1))
}

/// A MAC address as `ip` writes it.
#[must_use]
pub fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

impl Topology {
    /// Builds it.
    ///
    /// # Errors
    /// When namespaces are not allowed, or a set-up command fails; what was made until then is
    /// removed.
    pub fn build(shape: Shape) -> Result<Self> {
        let shape = Shape {
            nodes: shape.nodes.clamp(1, NODES_MAX),
            links: shape.links.clamp(1, LINKS_MAX),
        };
        let run = Run::begin()?;
        let name = |part: &str| format!("{}-{part}", run.id());
        let switch = Namespace::create(&name("switch"))?;
        let client = Namespace::create(&name("client"))?;
        let nodes = (1..=shape.nodes)
            .map(|node| Namespace::create(&name(&node_name(node))))
            .collect::<Result<Vec<_>>>()?;
        batch(&switch, &switch_commands(shape, &nodes, &client))?;
        for (node, namespace) in (1..).zip(&nodes) {
            quiet_network(namespace)?;
            let links = 1..=shape.links;
            let mut lines: Vec<String> = links.flat_map(|link| interface(node, link)).collect();
            lines.push(client_known());
            batch(namespace, &lines)?;
        }
        quiet_network(&client)?;
        batch(&client, &interface(250, 1))?;
        let ports = Ports::open(&switch)?;
        Ok(Self { shape, client, nodes, ports, switch, run })
    }

    /// How large it is.
    #[must_use]
    pub const fn shape(&self) -> Shape {
        self.shape
    }
    /// The run it belongs to.
    #[must_use]
    pub const fn run(&self) -> &Run {
        &self.run
    }
    /// The client's namespace.
    #[must_use]
    pub const fn client(&self) -> &Namespace {
        &self.client
    }
    /// The switch's ports.
    #[must_use]
    pub const fn ports(&self) -> &Ports {
        &self.ports
    }
    /// Runs `work` inside the switch.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn on_switch<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.switch.inside(work)
    }
    /// The ids of the nodes, from 1.
    pub fn ids(&self) -> impl Iterator<Item = u8> + use<> {
        1..=self.shape.nodes
    }
    /// A node's namespace. Ids beyond the shape are a mistake of the caller.
    #[must_use]
    pub fn node(&self, node: u8) -> &Namespace {
        &self.nodes[usize::from(node) - 1]
    }

    /// Gives a node only the addresses that it was born with: those of a machine that was off are
    /// gone.
    ///
    /// # Errors
    /// When a command fails.
    pub fn forget_addresses(&self, node: u8) -> Result<()> {
        for link in 1..=self.shape.links {
            let mut lines = vec![format!("address flush dev {}", device(link))];
            lines.extend(addresses(node, link));
            batch(self.node(node), &lines)?;
        }
        Ok(())
    }

    /// Takes a node's interface out of the machine and puts one of the same name, with the same
    /// addresses, in its place; its port gets no filter again.
    ///
    /// # Errors
    /// When a command fails.
    pub fn replace_interface(&self, node: u8, link: u8) -> Result<()> {
        let namespace = self.node(node);
        batch(namespace, &[format!("link del {}", device(link))])?;
        batch(&self.switch, &plug(&port(node, link), group(node), node, link, namespace))?;
        batch(namespace, &interface(node, link))?;
        if link == 1 {
            batch(namespace, &[client_known()])?;
        }
        Ok(())
    }

    /// The MAC address that the client's kernel would send a packet for `address` to.
    #[must_use]
    pub fn clients_neighbour(&self, address: Ipv4Addr) -> Option<String> {
        let name = self.client.name();
        let mut command = Command::new("ip");
        command.args(["-n", name, "neigh", "show", &address.to_string(), "dev", "eth0"]);
        let text = crate::error::run(&mut command).ok()?;
        let words: Vec<&str> = text.split_whitespace().collect();
        let at = words.iter().position(|it| *it == "lladdr")?;
        words.get(at + 1).map(|it| (*it).to_owned())
    }

    /// Leaves everything standing when this value goes.
    pub fn keep(&mut self) {
        self.run.keep();
        self.switch.keep();
        self.client.keep();
        self.nodes.iter_mut().for_each(Namespace::keep);
    }
}

/// A node's interface on a link.
#[must_use]
pub fn device(link: u8) -> String {
    format!("eth{}", link.saturating_sub(1))
}

/// Bridges and ports. Snooping is off: without a querier a bridge would forget the groups after
/// minutes.
fn switch_commands(shape: Shape, nodes: &[Namespace], client: &Namespace) -> Vec<String> {
    let mut lines = Vec::new();
    let mut bridges = Vec::new();
    for link in 1..=shape.links {
        let letter = link_letter(link);
        bridges.push(format!("link add bridge-{letter} type bridge mcast_snooping 0 stp_state 0"));
        bridges.push(format!("link set bridge-{letter} up"));
        for (node, namespace) in (1..).zip(nodes) {
            lines.extend(plug(&port(node, link), group(node), node, link, namespace));
        }
    }
    lines.extend(plug("client", GROUP, 250, 1, client));
    bridges.extend(lines);
    bridges
}

/// A cable from a port of the switch to the interface of a machine.
fn plug(port: &str, group: u32, machine: u8, link: u8, to: &Namespace) -> [String; 2] {
    let (letter, device, mac) = (link_letter(link), device(link), mac_text(mac(machine, link)));
    [
        format!(
            "link add {port} group {group} type veth peer name {device} address {mac} netns {}",
            to.name()
        ),
        format!("link set {port} master bridge-{letter} up"),
    ]
}

fn interface(node: u8, link: u8) -> Vec<String> {
    let mut lines = vec![format!("link set {} up", device(link))];
    lines.extend(addresses(node, link));
    lines
}

/// Every node knows the client's MAC address. Else a new owner would have to ask for it in order to
/// answer a direct probe, and that question tells the client where the floating address now is: the
/// observer would help the takeover.
fn client_known() -> String {
    format!("neigh replace {CLIENT} lladdr {} nud permanent dev eth0", mac_text(CLIENT_MAC))
}

fn addresses(node: u8, link: u8) -> [String; 2] {
    let device = device(link);
    [
        format!("address add {}/24 dev {device}", address(node, link)),
        format!("address add fd77:{link}::{node:x}/64 dev {device} nodad"),
    ]
}

/// No link-local addresses: their duplicate detection and router search are noise in a bed.
fn quiet_network(namespace: &Namespace) -> Result<()> {
    namespace.inside(|| {
        for (file, value) in [
            ("/proc/sys/net/ipv6/conf/default/addr_gen_mode", "1"),
            ("/proc/sys/net/ipv6/conf/default/accept_ra", "0"),
            ("/proc/sys/net/ipv6/conf/eth0/addr_gen_mode", "1"),
        ] {
            // A kernel without IPv6 has no such file, and no such noise.
            let _ = std::fs::write(file, value);
        }
        Ok(())
    })
}

/// Many `ip` lines in one process.
fn batch(namespace: &Namespace, lines: &[String]) -> Result<()> {
    let mut child = Command::new("ip")
        .args(["-n", namespace.name(), "-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("`ip` could not be started (package iproute2)")?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(lines.join("\n").as_bytes()).context("`ip -batch`")?;
    }
    let output = child.wait_with_output().context("`ip -batch`")?;
    if output.status.success() {
        return Ok(());
    }
    Err(BedError::Command {
        line: format!("ip -n {} -batch", namespace.name()),
        output: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

/// True if this process can build a bed; else why not.
///
/// # Errors
/// With the reason.
pub fn possible() -> std::result::Result<(), String> {
    if !os::is_root() {
        return Err("root is needed for network namespaces".into());
    }
    let name = format!("ng{:04x}-probe", os::random() as u16);
    Namespace::create(&name).map(drop).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::{group, mac, mac_text, port};

    #[test]
    fn names_tell_node_and_link() {
        assert_eq!(port(2, 1), "n2a");
        assert_eq!(port(16, 4), "n16d");
        assert_eq!(group(3), 103);
        assert_eq!(mac_text(mac(2, 1)), "02:4e:47:00:01:02");
    }
}
