//! Ends the TCP connections of a released address (NETLINK_SOCK_DIAG, SOCK_DESTROY).
//!
//! A connection that stays on a node without the address keeps its process waiting for minutes, and
//! would answer with stale state should the address come back. Listeners stay: they belong to the
//! service's own stop.

use crate::error::AddressError;
use crate::netlink::{HEADER_LEN, Netlink};
use std::net::IpAddr;

const BY_FAMILY: u16 = 20;
const DESTROY: u16 = 21;
/// Offset of the socket's identity (ports, addresses, interface, cookie) in a diagnosis answer.
const ID_AT: usize = 4;
const ID_LEN: usize = 48;
const REQUEST_LEN: usize = HEADER_LEN + 8 + ID_LEN;
const SOURCE: std::ops::Range<usize> = 4..20;
/// All TCP states but LISTEN (10) and the closed ones that hold no process up.
const CONNECTED: u32 = 0xfff & !(1 << 10) & !(1 << 7) & !(1 << 6);
/// Most sockets of one family ended in one pass; the rest is counted as left.
const SOCKETS_MAX: usize = 65_536;

/// What became of the connections of an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ended {
    /// Connections ended.
    pub destroyed: usize,
    /// Connections that would not end.
    pub left: usize,
}

/// Ends connections; open for the life of a driver.
#[derive(Debug)]
pub struct Destroyer {
    netlink: Netlink,
}

impl Destroyer {
    /// Opens the socket and asks the kernel whether it can do this; `None` if it cannot
    /// (built without CONFIG_INET_DIAG_DESTROY).
    pub fn open() -> Result<Option<Self>, AddressError> {
        let mut netlink = Netlink::diagnosis()?;
        // A socket that cannot exist: a kernel that is able says "not found".
        let mut probe = request(DESTROY, libc::AF_INET as u8, 0, &[0xff; ID_LEN]);
        match netlink.request(&mut probe, "probe SOCK_DESTROY") {
            Err(e) if e.errno() == Some(libc::EOPNOTSUPP) => Ok(None),
            Err(AddressError::Kernel { .. }) | Ok(()) => Ok(Some(Self { netlink })),
            Err(e) => Err(e),
        }
    }

    /// Ends every connection whose own address is `address`, also those of dual-stack sockets.
    pub fn destroy(&mut self, address: IpAddr) -> Result<Ended, AddressError> {
        let mut ended = Ended::default();
        self.destroy_family(libc::AF_INET6 as u8, address, &mut ended)?;
        if address.is_ipv4() {
            self.destroy_family(libc::AF_INET as u8, address, &mut ended)?;
        }
        Ok(ended)
    }

    fn destroy_family(
        &mut self,
        family: u8,
        address: IpAddr,
        ended: &mut Ended,
    ) -> Result<(), AddressError> {
        let mut ids: Vec<[u8; ID_LEN]> = Vec::new();
        let mut list = request(BY_FAMILY, family, CONNECTED, &[0; ID_LEN]);
        let wanted = source(family, address);
        self.netlink.dump(&mut list, "list the connections", |kind, payload| {
            let id = payload.get(ID_AT..).and_then(|rest| rest.first_chunk::<ID_LEN>());
            if kind == BY_FAMILY
                && let Some(id) = id
                && id.get(SOURCE) == Some(&wanted[..])
            {
                if ids.len() < SOCKETS_MAX { ids.push(*id) } else { ended.left += 1 }
            }
        })?;
        for id in ids {
            let mut order = request(DESTROY, family, CONNECTED, &id);
            match self.netlink.request(&mut order, "end a connection") {
                Ok(()) => ended.destroyed += 1,
                // It ended by itself meanwhile.
                Err(e) if e.errno() == Some(libc::ENOENT) => {}
                Err(AddressError::Kernel { .. }) => ended.left += 1,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// The address as a diagnosis answer of this family shows it: dual-stack sockets show IPv4 mapped.
fn source(family: u8, address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) if family == libc::AF_INET as u8 => {
            let [a, b, c, d] = v4.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2`.
fn request(kind: u16, family: u8, states: u32, id: &[u8; ID_LEN]) -> Vec<u8> {
    let flags =
        libc::NLM_F_REQUEST | if kind == DESTROY { libc::NLM_F_ACK } else { libc::NLM_F_DUMP };
    let mut bytes = Vec::with_capacity(REQUEST_LEN);
    bytes.extend_from_slice(&(REQUEST_LEN as u32).to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&(flags as u16).to_ne_bytes());
    bytes.extend_from_slice(&[0; 8]); // sequence, filled in when sent, and port
    bytes.extend_from_slice(&[family, libc::IPPROTO_TCP as u8, 0, 0]);
    bytes.extend_from_slice(&states.to_ne_bytes());
    bytes.extend_from_slice(id);
    bytes
}

#[cfg(test)]
mod tests {
    use super::{BY_FAMILY, CONNECTED, DESTROY, ID_LEN, request, source};

    #[test]
    #[cfg(target_endian = "little")]
    fn golden_requests() {
        let list = request(BY_FAMILY, 2, CONNECTED, &[0; ID_LEN]);
        assert_eq!(list.len(), 72);
        assert_eq!(list[..8], [72, 0, 0, 0, 20, 0, 0x01, 0x03]);
        assert_eq!(list[16..24], [2, 6, 0, 0, 0x3f, 0x0b, 0, 0]);
        let order = request(DESTROY, 10, CONNECTED, &[7; ID_LEN]);
        assert_eq!(order[4..8], [21, 0, 0x05, 0]);
        assert_eq!(order[24..], [7; ID_LEN]);
    }

    #[test]
    fn listeners_stay() {
        assert_eq!(CONNECTED >> 10 & 1, 0);
        assert_eq!(CONNECTED >> 1 & 1, 1, "established");
    }

    #[test]
    fn dual_stack_sockets_show_the_mapped_address() {
        let address = "10.0.0.1".parse().unwrap();
        assert_eq!(source(2, address)[..4], [10, 0, 0, 1]);
        assert_eq!(source(10, address)[10..], [0xff, 0xff, 10, 0, 0, 1]);
    }
}
