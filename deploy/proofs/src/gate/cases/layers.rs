//! Interfaces on interfaces: VLAN, bridge, bond, macvlan in a namespace of its own, a tunnel.

use super::super::ask::{How, Origin};
use super::super::error::{ProofError, Result};
use super::super::row::{Row, Seen};
use super::super::stage::{FLOATING, FLOATING6, Stage, batch, client_of, enter, floating, ip};
use gate::Tc;
use std::net::IpAddr;
use std::process::Command;
use testbed::error::BedError;
use testbed::namespace::Namespace;

/// What is built on the cable `e0`, at both machines, and how it is to be closed.
struct Layer {
    case: &'static str,
    modules: &'static [&'static str],
    /// `ip` commands for the node and for the client; `{e}` is there already, up and bare.
    node: &'static str,
    client: &'static str,
    /// Where the addresses go.
    node_top: &'static str,
    client_top: &'static str,
    /// Measures, each of which must close alone.
    measures: &'static [(&'static str, Option<&'static [&'static str]>)],
    /// No address resolution there.
    is_tunnel: bool,
}

const VLAN: &str = "link add link e0 name e0.7 type vlan id 7\nlink set e0.7 addrgenmode none up\n";
const VLAN_IN_FRAME: &str = "link add link e0 name e0.7 type vlan id 7 reorder_hdr off\n\
    link set e0.7 addrgenmode none up\n";
const VLAN_TWICE: &str = "link add link e0 name e0.7 type vlan proto 802.1ad id 7\n\
    link set e0.7 addrgenmode none up\n\
    link add link e0.7 name e0.7.8 type vlan id 8\n\
    link set e0.7.8 addrgenmode none up\n";
const BRIDGE: &str = "link add br0 type bridge\nlink set e0 master br0\n\
    link set br0 addrgenmode none up\n";
const BOND: &str = "link add bond0 type bond mode active-backup miimon 10\n\
    link set e0 down\nlink set e1 down\nlink set e0 master bond0\nlink set e1 master bond0\n\
    link set bond0 addrgenmode none up\n";
/// The switch that both ports of a bond lead to.
const SWITCH: &str = "link add br0 type bridge\nlink set e0 master br0\nlink set e1 master br0\n\
    link set br0 addrgenmode none up\n";
const TUNNEL_NODE: &str = "addr add 10.97.0.2/24 dev e0\n\
    link add t0 type sit mode any local 10.97.0.2 remote 10.97.0.1\n\
    link set t0 addrgenmode none up\n";
const TUNNEL_CLIENT: &str = "addr add 10.97.0.1/24 dev e0\n\
    link add t0 type sit mode any local 10.97.0.1 remote 10.97.0.2\n\
    link set t0 addrgenmode none up\n";

const EVERYWHERE: (&str, Option<&[&str]>) = ("gate on every interface", None);

const LAYERS: &[Layer] = &[
    Layer {
        case: "VLAN",
        modules: &["8021q"],
        node: VLAN,
        client: VLAN,
        node_top: "e0.7",
        client_top: "e0.7",
        measures: &[
            ("gate on the VLAN only", Some(&["e0.7"])),
            ("gate on the port only", Some(&["e0"])),
            EVERYWHERE,
        ],
        is_tunnel: false,
    },
    Layer {
        case: "VLAN, tag in the frame",
        modules: &["8021q"],
        node: VLAN_IN_FRAME,
        client: VLAN_IN_FRAME,
        node_top: "e0.7",
        client_top: "e0.7",
        measures: &[("gate on the port only", Some(&["e0"])), EVERYWHERE],
        is_tunnel: false,
    },
    Layer {
        case: "VLAN in a VLAN (802.1ad)",
        modules: &["8021q"],
        node: VLAN_TWICE,
        client: VLAN_TWICE,
        node_top: "e0.7.8",
        client_top: "e0.7.8",
        measures: &[("gate on the port only", Some(&["e0"])), EVERYWHERE],
        is_tunnel: false,
    },
    Layer {
        case: "bridge",
        modules: &["bridge"],
        node: BRIDGE,
        client: "",
        node_top: "br0",
        client_top: "e0",
        measures: &[
            ("gate on the bridge only", Some(&["br0"])),
            ("gate on the port only", Some(&["e0"])),
            EVERYWHERE,
        ],
        is_tunnel: false,
    },
    Layer {
        case: "bond, active-backup",
        modules: &["bonding", "bridge"],
        node: BOND,
        client: SWITCH,
        node_top: "bond0",
        client_top: "br0",
        measures: &[
            ("gate on the bond only", Some(&["bond0"])),
            ("gate on the ports only", Some(&["e0", "e1"])),
            EVERYWHERE,
        ],
        is_tunnel: false,
    },
    Layer {
        case: "tunnel without Ethernet",
        modules: &["sit", "ipip"],
        node: TUNNEL_NODE,
        client: TUNNEL_CLIENT,
        node_top: "t0",
        client_top: "t0",
        measures: &[("gate on the tunnel only", Some(&["t0"])), EVERYWHERE],
        is_tunnel: true,
    },
];

/// All rows about layers.
pub(in super::super) fn rows() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for layer in LAYERS {
        rows.extend(or_not_here(layer.case, rows_of(layer))?);
    }
    rows.extend(or_not_here("macvlan in a service namespace", service_namespace())?);
    Ok(rows)
}

/// A kernel without the kind of interface is no error.
fn or_not_here(case: &str, rows: Result<Vec<Row>>) -> Result<Vec<Row>> {
    match rows {
        Err(ProofError::Bed(BedError::Command { output, .. }))
            if output.contains("Unknown device type") || output.contains("not supported") =>
        {
            let reason = "this kernel has no such interfaces";
            Ok(vec![Row::new(case, "-", "-").not_here(reason)])
        }
        other => other,
    }
}

/// Loads modules where there are some; a kernel that has them built in needs none.
pub(in super::super) fn load_modules(names: &[&str]) {
    for name in names {
        let _ = Command::new("modprobe").arg(name).output();
    }
}

fn rows_of(layer: &Layer) -> Result<Vec<Row>> {
    load_modules(layer.modules);
    let mut rows = Vec::new();
    for (measure, only) in layer.measures {
        let mut stage = Stage::bare()?;
        stage.cable("e0", "e0")?;
        if layer.node.contains("e1") {
            stage.cable("e1", "e1")?;
        }
        batch(&stage.node, layer.node)?;
        batch(&stage.client, layer.client)?;
        stage.address(layer.node_top, layer.client_top)?;
        stage.answer()?;
        stage.attach(*only)?;
        let mut seen = Seen::Closes;
        let mut names = Vec::new();
        for to in floating() {
            for how in [How::Resolve, How::Udp, How::Fragments, How::Tcp] {
                if layer.is_tunnel && how == How::Resolve {
                    continue;
                }
                let from = Origin {
                    namespace: &stage.client,
                    interface: layer.client_top,
                    own: client_of(to),
                };
                names.push(how.name(to));
                if stage.see(layer.case, from, to, how)? == Seen::Answers {
                    seen = Seen::Answers;
                }
            }
        }
        let how = if layer.is_tunnel { "IPv4 and IPv6" } else { "ARP, ND, IPv4 and IPv6" };
        rows.push(
            Row::new(layer.case, how, measure)
                .must_close(seen, "the filter that every packet passes there")
                .note(format!("{} ways", names.len())),
        );
    }
    Ok(rows)
}

/// The service, its address and its interface in a namespace of their own, on the node.
fn service_namespace() -> Result<Vec<Row>> {
    let case = "macvlan in a service namespace";
    let mut rows = Vec::new();
    for (measure, host, service) in [
        ("gate in the host's namespace only", true, false),
        ("gate in the service's namespace only", false, true),
        ("gate in both", true, true),
    ] {
        let (mut stage, inner) = macvlan()?;
        if host {
            stage.attach(None)?;
        }
        if service {
            let mut tc = enter(&inner, Tc::open)?;
            for interface in tc.interfaces()? {
                tc.attach(&stage.gate, &interface)?;
            }
        }
        let mut seen = Seen::Closes;
        for to in floating() {
            for how in How::ALL {
                let from = stage.client_at(client_of(to));
                if stage.see(case, from, to, how)? == Seen::Answers {
                    seen = Seen::Answers;
                }
            }
        }
        rows.push(
            Row::new(case, "all ways, IPv4 and IPv6", measure)
                .must_close(seen, "the filter on either side of the macvlan"),
        );
        let [to, _] = floating();
        let within = Origin { namespace: &inner, interface: "lo", own: ip("10.99.0.2") };
        let seen = stage.see(case, within, to, How::Udp)?;
        let row = Row::new("… asked inside that namespace, over lo", "UDP", measure);
        rows.push(if service {
            row.must_close(seen, "the filter on its lo")
        } else {
            row.must_answer(seen, "nothing: the gate must be in the service's namespace too")
        });
        stage.hush();
    }
    Ok(rows)
}

/// The node's `e0` carries a macvlan that lives in a namespace of the service.
fn macvlan() -> Result<(Stage, Namespace)> {
    let mut stage = Stage::bare()?;
    let inner = Namespace::create(&format!("{}-svc", stage.node.name()))?;
    stage.cable("e0", "e0")?;
    batch(
        &stage.node,
        &format!("link add link e0 name m0 netns {} type macvlan mode bridge\n", inner.name()),
    )?;
    batch(
        &inner,
        &format!(
            "link set m0 addrgenmode none up\naddr add 10.99.0.2/24 dev m0\n\
             addr add {FLOATING}/24 dev m0\naddr add fd99::2/64 dev m0 nodad\n\
             addr add {FLOATING6}/64 dev m0 nodad\n"
        ),
    )?;
    batch(&stage.client, "addr add 10.99.0.1/24 dev e0\naddr add fd99::1/64 dev e0 nodad\n")?;
    for address in floating() {
        let address: IpAddr = address;
        stage.answer_at(&inner, address)?;
    }
    Ok((stage, inner))
}
