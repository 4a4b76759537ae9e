//! The group of a multicast link: has this node joined it, and will switches keep passing it on?

use crate::files;
use crate::finding::{Area, Check, Finding};
use crate::interfaces::sysfs;
use std::net::IpAddr;

const JOINED: Check = Check {
    area: Area::Links,
    name: "group",
    why: "frames for a group that is not joined do not reach the daemon",
};
const SNOOPING: Check = Check {
    area: Area::Links,
    name: "igmp-snooping",
    why: "a switch that snoops and hears no querier forgets the group after about four minutes",
};

/// What was found for one multicast link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Facts {
    pub(crate) link: String,
    pub(crate) group: IpAddr,
    pub(crate) interface: String,
    /// The daemons run here, so the group must have been joined.
    pub(crate) running: bool,
    pub(crate) joined: Option<bool>,
    pub(crate) bridge: Option<Bridge>,
}

/// A local bridge that the link's frames pass.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Bridge {
    pub(crate) name: String,
    pub(crate) snooping: bool,
    pub(crate) querier: bool,
}

pub(crate) fn sample(link: &str, group: IpAddr, interface: &str, running: bool) -> Facts {
    let list = if group.is_ipv4() { "igmp" } else { "igmp6" };
    let list = files::text(format!("/proc/thread-self/net/{list}"));
    Facts {
        link: link.into(),
        group,
        interface: interface.into(),
        running,
        joined: list.map(|list| joined(&list, group, interface)),
        bridge: bridge(interface),
    }
}

/// The link's interface itself, or what it is a port of.
fn bridge(interface: &str) -> Option<Bridge> {
    let read = |name: &str| {
        let flag = |file| Some(sysfs(name, &format!("bridge/{file}"))? != "0");
        let (snooping, querier) = (flag("multicast_snooping")?, flag("multicast_querier")?);
        Some(Bridge { name: name.into(), snooping, querier })
    };
    read(interface).or_else(|| {
        let master = std::fs::read_link(format!("/sys/class/net/{interface}/master")).ok()?;
        read(master.file_name()?.to_str()?)
    })
}

/// Is the group in the kernel's list, for this interface?
fn joined(list: &str, group: IpAddr, interface: &str) -> bool {
    match group {
        IpAddr::V4(group) => {
            // One line for an interface, then indented lines for its groups, which the kernel
            // prints as a number of the machine's byte order.
            let wanted = format!("{:08X}", u32::from_ne_bytes(group.octets()));
            let mut here = false;
            list.lines().any(|line| {
                if !line.starts_with(char::is_whitespace) {
                    here = line
                        .split_whitespace()
                        .nth(1)
                        .is_some_and(|name| name.trim_end_matches(':') == interface);
                    return false;
                }
                here && line.split_whitespace().next() == Some(wanted.as_str())
            })
        }
        IpAddr::V6(group) => {
            let wanted: String = group.octets().iter().map(|byte| format!("{byte:02x}")).collect();
            list.lines().any(|line| {
                let mut words = line.split_whitespace().skip(1);
                words.next() == Some(interface) && words.next() == Some(wanted.as_str())
            })
        }
    }
}

pub(crate) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    let group = facts.group;
    if facts.running {
        found.push(match facts.joined {
            Some(true) => JOINED.ok(format!("{group} joined on {}", facts.interface)),
            Some(false) => JOINED.failure(
                format!("{group} is not joined on {}", facts.interface),
                "the interface was made anew while the daemons ran: restart netguard-fast",
            ),
            None => JOINED.unchecked("the kernel does not list groups", "mount /proc"),
        });
    }
    // Measured: a Linux bridge that snoops goes on passing everything while nobody queries. Many
    // switches do not, and they cannot be asked from here.
    if let Some(Bridge { name, snooping, querier }) = &facts.bridge {
        let measured = format!(
            "bridge {name}: snooping {}, querier {}",
            if *snooping { "on" } else { "off" },
            if *querier { "on" } else { "off" }
        );
        found.push(if *snooping && !querier {
            SNOOPING.notice(
                format!("{measured}: it passes everything on itself; a switch behind it may not"),
                format!("ip link set {name} type bridge mcast_querier 1"),
            )
        } else {
            SNOOPING.ok(measured)
        });
    }
    found.into_iter().map(|finding| finding.about(&facts.link)).collect()
}

#[cfg(test)]
mod tests {
    use super::{Bridge, Facts, joined, judge};
    use crate::finding::Grade;

    const LIST: &str = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n\
        1\tlo        :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n\
        4\teth0      :     2      V3\n\t\t\t\t014DFFEF     1 0:00000000\t\t0\n\
        \t\t\t\t010000E0     1 0:00000000\t\t0\n";

    #[test]
    #[cfg(target_endian = "little")]
    fn the_kernel_s_list_is_read_per_interface() {
        let group = "239.255.77.1".parse().unwrap();
        assert!(joined(LIST, group, "eth0"));
        assert!(!joined(LIST, group, "lo"));
        assert!(!joined(LIST, "239.255.77.2".parse().unwrap(), "eth0"));
        let six = "4    eth0            ff0200000000000000000000004d0001     1 0000000C 0\n";
        assert!(joined(six, "ff02::4d:1".parse().unwrap(), "eth0"));
        assert!(!joined(six, "ff02::4d:1".parse().unwrap(), "eth1"));
    }

    fn facts() -> Facts {
        Facts {
            link: "blue".into(),
            group: "239.255.77.1".parse().unwrap(),
            interface: "eth0".into(),
            running: true,
            joined: Some(true),
            bridge: Some(Bridge { name: "br0".into(), snooping: true, querier: true }),
        }
    }

    #[test]
    fn a_running_daemon_must_have_joined() {
        assert!(judge(&facts()).iter().all(|finding| finding.grade == Grade::Ok));
        let lost = Facts { joined: Some(false), ..facts() };
        assert_eq!(judge(&lost)[0].grade, Grade::Failure);
        let stopped = Facts { running: false, bridge: None, ..lost };
        assert!(judge(&stopped).is_empty());
    }

    #[test]
    fn snooping_without_a_querier_is_told_with_the_command() {
        let bridge = Some(Bridge { name: "br0".into(), snooping: true, querier: false });
        let found = judge(&Facts { bridge, ..facts() }).remove(1);
        assert_eq!(found.grade, Grade::Notice);
        assert_eq!(found.remedy, "ip link set br0 type bridge mcast_querier 1");
    }
}
