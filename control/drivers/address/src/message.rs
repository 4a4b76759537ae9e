//! rtnetlink messages, built once and sent many times.

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope, CacheInfo,
};
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::net::{IpAddr, Ipv4Addr};

/// How long the kernel keeps an address that nobody renews, in seconds: the second net of S2b, should
/// a node's daemons be stopped and its gate be gone. It is no part of any failover.
pub const LIFETIME_S: u32 = 20;

/// Adds `address` for [`LIFETIME_S`]; "exists" comes back as its own error, so that a start is
/// idempotent and still sees it.
#[must_use]
pub fn new_address(address: IpAddr, prefix: u8, interface: u32) -> Vec<u8> {
    let body = RouteNetlinkMessage::NewAddress(floating(address, prefix, interface));
    finish(body, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL)
}

/// Renews it for as long again; one that somebody took away comes back.
#[must_use]
pub fn renew_address(address: IpAddr, prefix: u8, interface: u32) -> Vec<u8> {
    let body = RouteNetlinkMessage::NewAddress(floating(address, prefix, interface));
    finish(body, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE)
}

fn floating(address: IpAddr, prefix: u8, interface: u32) -> AddressMessage {
    let mut message = on_interface(address, prefix, interface);
    if address.is_ipv6() {
        // Duplicate address detection would keep the address silent for more than a second; that no
        // one else has it is what the lease proves (S2, S3). The kernel still makes the local route
        // in a worker, some 50 us after the acknowledgement (p99 0.1 ms, also beside four busy
        // loops).
        message.header.flags = AddressHeaderFlags::Nodad;
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
    let mut life = CacheInfo::default();
    (life.ifa_preferred, life.ifa_valid) = (LIFETIME_S, LIFETIME_S);
    message.attributes.push(AddressAttribute::CacheInfo(life));
    message
}

/// Removes `address`.
#[must_use]
pub fn delete_address(address: IpAddr, prefix: u8, interface: u32) -> Vec<u8> {
    let message = on_interface(address, prefix, interface);
    finish(RouteNetlinkMessage::DelAddress(message), NLM_F_REQUEST | NLM_F_ACK)
}

/// Asks for all addresses of all interfaces.
#[must_use]
pub fn all_addresses() -> Vec<u8> {
    finish(RouteNetlinkMessage::GetAddress(AddressMessage::default()), NLM_F_REQUEST | NLM_F_DUMP)
}

/// Asks for all interfaces.
#[must_use]
pub fn all_interfaces() -> Vec<u8> {
    finish(RouteNetlinkMessage::GetLink(LinkMessage::default()), NLM_F_REQUEST | NLM_F_DUMP)
}

fn on_interface(address: IpAddr, prefix: u8, interface: u32) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family =
        if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.prefix_len = prefix;
    message.header.index = interface;
    message.attributes.push(AddressAttribute::Local(address));
    message.attributes.push(AddressAttribute::Address(address));
    match address {
        IpAddr::V4(v4) => {
            if let Some(broadcast) = broadcast(v4, prefix) {
                message.attributes.push(AddressAttribute::Broadcast(broadcast));
            }
        }
        IpAddr::V6(v6) if v6.is_unicast_link_local() => message.header.scope = AddressScope::Link,
        IpAddr::V6(_) => {}
    }
    message
}

/// The broadcast address of the subnet; point-to-point prefixes have none.
fn broadcast(address: Ipv4Addr, prefix: u8) -> Option<Ipv4Addr> {
    let hosts = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
    (prefix < 31).then(|| Ipv4Addr::from_bits(address.to_bits() | hosts))
}

fn finish(body: RouteNetlinkMessage, flags: u16) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(body));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::{all_addresses, broadcast, delete_address, new_address, renew_address};
    use std::net::Ipv4Addr;

    /// IFA_CACHEINFO: preferred and valid for 20 s.
    const LIFE: [u8; 20] = [20, 0, 6, 0, 20, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    #[test]
    fn golden_renewal_replaces() {
        let address = "10.77.1.100".parse().unwrap();
        let (new, renew) = (new_address(address, 24, 7), renew_address(address, 24, 7));
        assert_eq!(renew[4..8], [20, 0, 0x05, 0x05], "create + replace");
        assert_eq!(renew[16..], new[16..]);
    }

    #[test]
    fn golden_add_ipv4() {
        let bytes = new_address("10.77.1.100".parse().unwrap(), 24, 7);
        let expect = [
            // RTM_NEWADDR, request + acknowledge + create + exclusive.
            &[68u8, 0, 0, 0, 20, 0, 0x05, 0x06, 0, 0, 0, 0, 0, 0, 0, 0][..],
            &[2, 24, 0, 0, 7, 0, 0, 0],
            &[8, 0, 2, 0, 10, 77, 1, 100],
            &[8, 0, 1, 0, 10, 77, 1, 100],
            &[8, 0, 4, 0, 10, 77, 1, 255],
            &LIFE,
        ]
        .concat();
        assert_eq!(bytes, expect);
    }

    #[test]
    fn golden_add_ipv6_skips_duplicate_detection() {
        let bytes = new_address("fd00::64".parse().unwrap(), 64, 3);
        let ip = "fd00::64".parse::<std::net::Ipv6Addr>().unwrap().octets();
        let expect = [
            &[92u8, 0, 0, 0, 20, 0, 0x05, 0x06, 0, 0, 0, 0, 0, 0, 0, 0][..],
            &[10, 64, 0x02, 0, 3, 0, 0, 0],
            &[20, 0, 2, 0],
            &ip,
            &[20, 0, 1, 0],
            &ip,
            &[8, 0, 8, 0, 2, 0, 0, 0],
            &LIFE,
        ]
        .concat();
        assert_eq!(bytes, expect);
    }

    #[test]
    fn golden_delete_and_dump() {
        let bytes = delete_address("10.0.0.9".parse().unwrap(), 32, 2);
        let expect = [
            &[40u8, 0, 0, 0, 21, 0, 0x05, 0, 0, 0, 0, 0, 0, 0, 0, 0][..],
            &[2, 32, 0, 0, 2, 0, 0, 0],
            &[8, 0, 2, 0, 10, 0, 0, 9],
            &[8, 0, 1, 0, 10, 0, 0, 9],
        ]
        .concat();
        assert_eq!(bytes, expect);
        assert_eq!(all_addresses()[4..8], [22, 0, 0x01, 0x03]);
    }

    #[test]
    fn broadcast_of_every_prefix_is_defined() {
        let address = Ipv4Addr::new(10, 77, 1, 100);
        assert_eq!(broadcast(address, 24), Some(Ipv4Addr::new(10, 77, 1, 255)));
        assert_eq!(broadcast(address, 0), Some(Ipv4Addr::BROADCAST));
        for prefix in 31..=255 {
            assert_eq!(broadcast(address, prefix), None);
        }
    }
}
