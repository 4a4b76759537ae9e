//! Interfaces and the addresses on them, as the kernel lists them now.
//!
//! The answers are read attribute by attribute and what is not understood is skipped, so that a
//! newer kernel's unknown attributes cannot stop a takeover.

use crate::error::AddressError;
use crate::message;
use crate::netlink::Netlink;
use netlink_packet_core::NlasIterator;
use std::net::IpAddr;

const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const LINK_HEADER_LEN: usize = 16;
const ADDRESS_HEADER_LEN: usize = 8;
const LINK_ADDRESS: u16 = 1;
const LINK_NAME: u16 = 3;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// ARPHRD_ETHER: the only kind of interface on which ARP and NA announcements make sense here.
const ETHERNET: u16 = 1;
/// A dump that other changes interrupt is asked for again this many times.
const DUMP_TRIES: usize = 5;

/// One interface of this node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface {
    /// The kernel's number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its Ethernet address; `None` for interfaces without (lo, tunnels).
    pub mac: Option<[u8; 6]>,
    /// Administratively up.
    pub up: bool,
}

/// One address on an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Assigned {
    /// The address.
    pub address: IpAddr,
    /// Its prefix length.
    pub prefix: u8,
    /// Number of the interface it is on.
    pub interface: u32,
}

/// All interfaces.
pub fn interfaces(netlink: &mut Netlink) -> Result<Vec<Interface>, AddressError> {
    collect(netlink, message::all_interfaces(), "list the interfaces", NEW_LINK, parse_link)
}

/// All addresses.
pub fn addresses(netlink: &mut Netlink) -> Result<Vec<Assigned>, AddressError> {
    collect(netlink, message::all_addresses(), "list the addresses", NEW_ADDRESS, parse_address)
}

/// The interface that holds `address`, if any does.
pub fn holder(netlink: &mut Netlink, address: IpAddr) -> Result<Option<Interface>, AddressError> {
    let Some(at) = addresses(netlink)?.into_iter().find(|a| a.address == address) else {
        return Ok(None);
    };
    Ok(interfaces(netlink)?.into_iter().find(|i| i.index == at.interface))
}

fn collect<T>(
    netlink: &mut Netlink,
    mut request: Vec<u8>,
    doing: &'static str,
    wanted: u16,
    parse: fn(&[u8]) -> Option<T>,
) -> Result<Vec<T>, AddressError> {
    let mut tries = 0;
    loop {
        let mut found = Vec::new();
        let answer = netlink.dump(&mut request, doing, |kind, payload| {
            if kind == wanted
                && let Some(item) = parse(payload)
            {
                found.push(item);
            }
        });
        tries += 1;
        match answer {
            Ok(()) => return Ok(found),
            Err(e) if e.errno() == Some(libc::EINTR) && tries < DUMP_TRIES => {}
            Err(e) => return Err(e),
        }
    }
}

fn parse_link(payload: &[u8]) -> Option<Interface> {
    let [_, _, k0, k1, i0, i1, i2, i3, f0, f1, f2, f3, ..] =
        *payload.first_chunk::<LINK_HEADER_LEN>()?;
    let flags = u32::from_ne_bytes([f0, f1, f2, f3]);
    let mut interface = Interface {
        index: u32::from_ne_bytes([i0, i1, i2, i3]),
        name: String::new(),
        mac: None,
        up: flags & libc::IFF_UP as u32 != 0,
    };
    let ethernet = u16::from_ne_bytes([k0, k1]) == ETHERNET;
    for attribute in NlasIterator::new(payload.get(LINK_HEADER_LEN..)?) {
        let Ok(attribute) = attribute else { break };
        match attribute.kind() {
            LINK_ADDRESS if ethernet => interface.mac = attribute.value().first_chunk().copied(),
            LINK_NAME => {
                let bytes = attribute.value();
                let text = bytes.strip_suffix(&[0]).unwrap_or(bytes);
                interface.name = String::from_utf8_lossy(text).into_owned();
            }
            _ => {}
        }
    }
    Some(interface)
}

fn parse_address(payload: &[u8]) -> Option<Assigned> {
    let [_, prefix, _, _, i0, i1, i2, i3] = *payload.first_chunk::<ADDRESS_HEADER_LEN>()?;
    let (mut local, mut remote) = (None, None);
    for attribute in NlasIterator::new(payload.get(ADDRESS_HEADER_LEN..)?) {
        let Ok(attribute) = attribute else { break };
        match attribute.kind() {
            IFA_LOCAL => local = ip(attribute.value()),
            IFA_ADDRESS => remote = ip(attribute.value()),
            _ => {}
        }
    }
    // IFA_ADDRESS is the peer on point-to-point interfaces; the own address is IFA_LOCAL where it
    // is given.
    let interface = u32::from_ne_bytes([i0, i1, i2, i3]);
    Some(Assigned { address: local.or(remote)?, prefix, interface })
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(IpAddr::from(*bytes.first_chunk::<4>()?)),
        16 => Some(IpAddr::from(*bytes.first_chunk::<16>()?)),
        _ => None,
    }
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::{Assigned, Interface, parse_address, parse_link};
    use base::Prng;

    #[test]
    fn reads_a_link() {
        let mut bytes = vec![0, 0, 1, 0, 7, 0, 0, 0, 0x43, 0x10, 0, 0, 0, 0, 0, 0];
        bytes.extend([10, 0, 1, 0, 2, 0, 0, 0, 0, 9, 0, 0]);
        bytes.extend([9, 0, 3, 0, b'e', b't', b'h', b'0', 0, 0, 0, 0]);
        bytes.extend([8, 0, 0xff, 0x7f, 1, 2, 3, 4]);
        let expect =
            Interface { index: 7, name: "eth0".into(), mac: Some([2, 0, 0, 0, 0, 9]), up: true };
        assert_eq!(parse_link(&bytes), Some(expect));
    }

    #[test]
    fn own_address_of_a_point_to_point_interface_is_the_local_one() {
        let mut bytes = vec![2, 32, 0, 0, 3, 0, 0, 0];
        bytes.extend([8, 0, 1, 0, 10, 0, 0, 2]);
        bytes.extend([8, 0, 2, 0, 10, 0, 0, 1]);
        let address = "10.0.0.1".parse().unwrap();
        assert_eq!(parse_address(&bytes), Some(Assigned { address, prefix: 32, interface: 3 }));
    }

    #[test]
    fn cut_and_lying_answers_are_skipped() {
        let mut bytes = vec![2, 32, 0, 0, 3, 0, 0, 0, 200, 0, 2, 0, 10, 0, 0, 1];
        assert_eq!(parse_address(&bytes), None);
        while bytes.pop().is_some() {
            let _ = (parse_address(&bytes), parse_link(&bytes));
        }
    }

    /// Answers of a kernel that lies: a good one with some bytes changed, doubled, or cut off.
    #[test]
    fn any_bytes_are_survived() {
        let mut good = vec![0, 0, 1, 0, 7, 0, 0, 0, 0x43, 0x10, 0, 0, 0, 0, 0, 0];
        good.extend([10, 0, 1, 0, 2, 0, 0, 0, 0, 9, 0, 0, 9, 0, 3, 0, b'e', b't', b'h', b'0']);
        let mut dice = Prng::new(1);
        for _ in 0..20_000 {
            let mut bytes = good.repeat(1 + dice.below(2) as usize);
            for _ in 0..dice.below(6) {
                let at = dice.below(bytes.len() as u64) as usize;
                bytes[at] = dice.next_u64() as u8;
            }
            bytes.truncate(dice.below(bytes.len() as u64 + 1) as usize);
            let _ = (parse_address(&bytes), parse_link(&bytes));
        }
    }
}
