//! The interfaces under the links and under the services' addresses.

use crate::files;
use crate::finding::{Area, Check, Finding};
use crate::os;
use config::{Config, Node, Resource};
use driver_address::interface;
use driver_address::netlink::Netlink;
use std::net::IpAddr;

const LINK: Check = Check {
    area: Area::Links,
    name: "interface",
    why: "a link whose interface is missing or down carries no beat; the others must",
};
const ROOM: Check = Check {
    area: Area::Links,
    name: "mtu",
    why: "a beat that does not fit one packet is cut, and each lost piece loses the beat",
};
const SERVICE: Check = Check {
    area: Area::Links,
    name: "service-interface",
    why: "a floating address cannot go on an interface that is missing or down",
};

/// Headers of IP and UDP.
const HEADERS: [usize; 2] = [20 + 8, 40 + 8];

/// Bytes of the packet that carries a beat of a cluster of `nodes`.
pub(crate) fn beat_packet(nodes: usize, ipv6: bool) -> usize {
    let nodes = nodes.min(wire::NODES_MAX);
    let body = wire::beat::BEAT_HEAD_LEN + nodes * wire::beat::ECHO_LEN;
    HEADERS[usize::from(ipv6)] + wire::frame::HEADER_LEN + body
}

/// The interface under one link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LinkFacts {
    pub(crate) link: String,
    pub(crate) address: IpAddr,
    /// It must send to a group.
    pub(crate) multicast: bool,
    pub(crate) under: Option<Under>,
}

/// An interface as it is now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Under {
    pub(crate) name: String,
    pub(crate) flags: os::InterfaceFlags,
    pub(crate) mtu: i64,
    /// Mbit/s, where the driver knows.
    pub(crate) speed: Option<i64>,
}

/// Looks at each link of this node, in the order of the configuration.
pub(crate) fn sample(config: &Config, me: &Node) -> Result<Vec<LinkFacts>, String> {
    let mut netlink = Netlink::route().map_err(|e| e.to_string())?;
    let mut all = Vec::new();
    for (link, address) in config.links.iter().zip(&me.addresses) {
        let holder = interface::holder(&mut netlink, *address).map_err(|e| e.to_string())?;
        all.push(LinkFacts {
            link: link.name.clone(),
            address: *address,
            multicast: matches!(link.mode, config::Mode::Multicast { .. }),
            under: holder.and_then(|it| look(&it.name)),
        });
    }
    Ok(all)
}

/// Interfaces that services of this node name, each with the service and what it is now.
pub(crate) fn sample_services(config: &Config, me: &Node) -> Vec<(String, String, Option<Under>)> {
    let mut all = Vec::new();
    for service in config.services.iter().filter(|service| service.nodes.contains(&me.id)) {
        for resource in &service.resources {
            if let Resource::Address { interface: Some(name), .. } = resource {
                all.push((service.name.clone(), name.clone(), look(name)));
            }
        }
    }
    all
}

fn look(name: &str) -> Option<Under> {
    let (flags, mtu) = os::interface_state(name)?;
    let speed = sysfs(name, "speed").and_then(|text| text.parse().ok()).filter(|it| *it > 0);
    Some(Under { name: name.into(), flags, mtu, speed })
}

/// A file about an interface, if /sys shows this thread's namespace (it may show another's).
pub(crate) fn sysfs(name: &str, file: &str) -> Option<String> {
    if name.contains('/') {
        return None;
    }
    let folder = format!("/sys/class/net/{name}");
    let index = files::number(format!("{folder}/ifindex"))?;
    if os::interface_index(name).map(i64::from) != Some(index) {
        return None;
    }
    files::text(format!("{folder}/{file}"))
}

pub(crate) fn judge(links: &[LinkFacts], nodes: usize) -> Vec<Finding> {
    links
        .iter()
        .flat_map(|link| [interface_of(link)].into_iter().chain(room(link, nodes)))
        .collect()
}

fn interface_of(facts: &LinkFacts) -> Finding {
    let LinkFacts { link, address, .. } = facts;
    let Some(under) = &facts.under else {
        return LINK
            .failure(
                format!("no interface of this node has {address}"),
                format!(
                    "ip address add {address}/PREFIX dev INTERFACE, or correct the node's addresses"
                ),
            )
            .about(link);
    };
    let name = &under.name;
    let speed = under.speed.map(|speed| format!(", {speed} Mbit/s")).unwrap_or_default();
    let found = match under.flags {
        flags if !flags.up => {
            LINK.failure(format!("{name} is down"), format!("ip link set {name} up"))
        }
        flags if !flags.carrier => LINK.failure(
            format!("{name} has no carrier"),
            "plug the cable in, or bring up what is at its other end",
        ),
        flags if facts.multicast && !flags.multicast => LINK.failure(
            format!("{name} cannot send to a group"),
            format!("ip link set {name} multicast on, or mode = \"unicast\" for this link"),
        ),
        _ => LINK.ok(format!("{name} has {address}, carrier{speed}")),
    };
    found.about(link)
}

fn room(facts: &LinkFacts, nodes: usize) -> Option<Finding> {
    let under = facts.under.as_ref()?;
    let ipv6 = facts.address.is_ipv6();
    let (now, most) = (beat_packet(nodes, ipv6), beat_packet(wire::NODES_MAX, ipv6));
    let measured =
        format!("{} of {}; a beat needs {now}, of 128 nodes {most}", under.mtu, under.name);
    let mtu = usize::try_from(under.mtu).unwrap_or(0);
    let remedy = format!("ip link set {} mtu 1500", under.name);
    let found = if mtu < now {
        ROOM.failure(measured, remedy)
    } else if mtu < most {
        ROOM.notice(measured, remedy)
    } else {
        ROOM.ok(measured)
    };
    Some(found.about(&facts.link))
}

pub(crate) fn judge_services(all: &[(String, String, Option<Under>)]) -> Vec<Finding> {
    let judge = |(service, name, under): &(String, String, Option<Under>)| {
        let found = match under {
            None => SERVICE.failure(
                format!("there is no interface {name}"),
                "create it, or correct `interface` of the address",
            ),
            Some(under) if !under.flags.up => {
                SERVICE.failure(format!("{name} is down"), format!("ip link set {name} up"))
            }
            Some(under) if !under.flags.carrier => SERVICE.warning(
                format!("{name} has no carrier"),
                "plug the cable in, or bring up what is at its other end",
            ),
            Some(_) => SERVICE.ok(format!("{name} is up")),
        };
        found.about(service)
    };
    all.iter().map(judge).collect()
}

#[cfg(test)]
mod tests {
    use super::{LinkFacts, Under, beat_packet, judge, judge_services};
    use crate::finding::Grade;
    use crate::os::InterfaceFlags;

    fn under(up: bool, carrier: bool, mtu: i64) -> Under {
        let flags = InterfaceFlags { up, carrier, multicast: true };
        Under { name: "eth1".into(), flags, mtu, speed: Some(1_000) }
    }

    fn grades(under: Option<Under>) -> Vec<Grade> {
        let address = "10.77.1.1".parse().unwrap();
        let facts = LinkFacts { link: "blue".into(), address, multicast: true, under };
        let found = judge(&[facts], 3);
        assert!(found.iter().all(|finding| finding.subject == "blue"));
        found.iter().map(|finding| finding.grade).collect()
    }

    #[test]
    fn a_link_needs_an_interface_that_is_up_with_a_carrier() {
        assert_eq!(grades(Some(under(true, true, 1_500))), [Grade::Ok, Grade::Ok]);
        assert_eq!(grades(None), [Grade::Failure]);
        assert_eq!(grades(Some(under(false, false, 1_500)))[0], Grade::Failure);
        assert_eq!(grades(Some(under(true, false, 1_500)))[0], Grade::Failure);
        let mute = InterfaceFlags { up: true, carrier: true, multicast: false };
        assert_eq!(
            grades(Some(Under { flags: mute, ..under(true, true, 1_500) }))[0],
            Grade::Failure
        );
    }

    #[test]
    fn the_largest_packet_is_judged_by_the_beat_of_this_cluster_and_of_the_largest() {
        assert_eq!(beat_packet(128, true), 48 + 64 + 48 + 128 * 8);
        assert!(beat_packet(usize::MAX, true) <= 1_500);
        let of = |mtu| grades(Some(under(true, true, mtu)))[1];
        assert_eq!(of(beat_packet(3, false) as i64 - 1), Grade::Failure);
        assert_eq!(of(beat_packet(3, false) as i64), Grade::Notice);
        assert_eq!(of(beat_packet(128, false) as i64), Grade::Ok);
        assert_eq!(of(-1), Grade::Failure);
    }

    #[test]
    fn a_service_s_interface_that_is_missing_is_named() {
        let found = judge_services(&[("web".into(), "vlan7".into(), None)]);
        assert_eq!((found[0].grade, found[0].subject.as_str()), (Grade::Failure, "web"));
        assert!(found[0].measured.contains("vlan7"));
    }
}
