//! A socket address as the kernel has it: `sockaddr_in` (ip(7)) or `sockaddr_in6` (ipv6(7)), byte by byte.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Bytes of an IPv6 address, the longer of the two.
pub(crate) const NAME_MAX: usize = size_of::<libc::sockaddr_in6>();
const V4_LEN: usize = size_of::<libc::sockaddr_in>();

const V4: [u8; 2] = (libc::AF_INET as u16).to_ne_bytes();
const V6: [u8; 2] = (libc::AF_INET6 as u16).to_ne_bytes();

/// One address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, align(8))]
pub(crate) struct Name {
    bytes: [u8; NAME_MAX],
    length: u32,
}

impl Name {
    /// No address.
    pub(crate) const EMPTY: Self = Self { bytes: [0; NAME_MAX], length: 0 };

    /// Its bytes, as the kernel wants them.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length as usize]
    }

    /// The address that the kernel wrote; none if it is of neither family or too short.
    pub(crate) fn read(bytes: &[u8]) -> Option<SocketAddr> {
        let (family, rest) = bytes.split_first_chunk()?;
        let (port, rest) = rest.split_first_chunk()?;
        let port = u16::from_be_bytes(*port);
        match *family {
            V4 => {
                let (ip, rest) = rest.split_first_chunk::<4>()?;
                // The kernel always fills it up with zeros.
                (rest.len() >= V4_LEN - 8)
                    .then(|| SocketAddrV4::new(Ipv4Addr::from(*ip), port).into())
            }
            V6 => {
                let (_flow, rest) = rest.split_first_chunk::<4>()?;
                let (ip, rest) = rest.split_first_chunk::<16>()?;
                let scope = u32::from_ne_bytes(*rest.first_chunk()?);
                Some(SocketAddrV6::new(Ipv6Addr::from(*ip), port, 0, scope).into())
            }
            _ => None,
        }
    }
}

impl From<SocketAddr> for Name {
    fn from(address: SocketAddr) -> Self {
        let mut name = Self::EMPTY;
        name.bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        match address {
            SocketAddr::V4(v4) => {
                name.bytes[..2].copy_from_slice(&V4);
                name.bytes[4..8].copy_from_slice(&v4.ip().octets());
                name.length = V4_LEN as u32;
            }
            SocketAddr::V6(v6) => {
                name.bytes[..2].copy_from_slice(&V6);
                name.bytes[8..24].copy_from_slice(&v6.ip().octets());
                name.bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                name.length = NAME_MAX as u32;
            }
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::Name;
    use socket2::SockAddr;
    use std::net::{SocketAddr, SocketAddrV6};

    #[test]
    fn what_is_written_is_what_the_system_has_and_reads_back() {
        let scoped = SocketAddrV6::new("fe80::7".parse().unwrap(), 4801, 0, 3);
        for address in
            ["10.0.0.1:4801".parse().unwrap(), "[fd99::1]:1".parse().unwrap(), scoped.into()]
        {
            let address: SocketAddr = address;
            let (name, system) = (Name::from(address), SockAddr::from(address));
            assert_eq!(name.bytes().len(), system.len() as usize);
            // SAFETY: a socket address is that long, and has no padding.
            let system = unsafe {
                std::slice::from_raw_parts(system.as_ptr().cast::<u8>(), system.len() as usize)
            };
            assert_eq!(name.bytes(), system, "{address}");
            assert_eq!(Name::read(name.bytes()), Some(address));
        }
    }

    #[test]
    fn what_is_cut_off_or_foreign_is_no_address() {
        for address in ["10.0.0.1:4801", "[fd99::1]:1"] {
            let name = Name::from(address.parse::<SocketAddr>().unwrap());
            for length in 0..name.bytes().len() {
                assert_eq!(Name::read(&name.bytes()[..length]), None, "{address} {length}");
            }
        }
        assert_eq!(Name::read(&[0xFF; 128]), None);
        assert_eq!(Name::EMPTY.bytes(), []);
    }
}
