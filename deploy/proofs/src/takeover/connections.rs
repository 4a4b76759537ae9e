//! The list of a service's client connections, from the owner to the standby, before the cut.
//!
//! Whoever takes over must speak to clients that it has never heard of: their addresses and ports are
//! known to the dead node only. So the owner tells the list as long as it lives, and the standby
//! keeps the latest. (In the product a dataspace holds it.)

use crate::takeover::error::TakeoverError;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::unix::fs::FileExt;

/// Connections that one datagram holds, with room to spare in an Ethernet frame.
pub const CONNECTIONS_MAX: usize = 200;
const MAGIC: &[u8; 4] = b"NGcl";
const ENTRY_LEN: usize = 6;
/// The kernel's number for "established".
const ESTABLISHED: &str = "01";
/// Room for the kernel's table; what is beyond is not told.
const TABLE_LEN: usize = 256 * 1024;

/// Reads the kernel's table of connections and sends those of one address.
#[derive(Debug)]
pub struct Teller {
    table: File,
    text: Vec<u8>,
    message: Vec<u8>,
    socket: UdpSocket,
    service: SocketAddrV4,
}

impl Teller {
    /// Tells the connections to `service` to `standby`.
    pub fn open(service: SocketAddrV4, standby: SocketAddr) -> Result<Self, TakeoverError> {
        let table = File::open("/proc/net/tcp").map_err(TakeoverError::io("open /proc/net/tcp"))?;
        let socket = UdpSocket::bind("0.0.0.0:0")
            .and_then(|socket| socket.connect(standby).map(|()| socket))
            .map_err(TakeoverError::io("open a socket to the standby"))?;
        let message = Vec::with_capacity(MAGIC.len() + CONNECTIONS_MAX * ENTRY_LEN);
        Ok(Self { table, text: vec![0; TABLE_LEN], message, socket, service })
    }
    /// Reads and sends once; returns how many connections there are.
    pub fn tell(&mut self) -> Result<usize, TakeoverError> {
        let mut filled = 0;
        while let Some(place) = self.text.get_mut(filled..).filter(|place| !place.is_empty()) {
            let n = self
                .table
                .read_at(place, filled as u64)
                .map_err(TakeoverError::io("read /proc/net/tcp"))?;
            if n == 0 {
                break;
            }
            filled += n;
        }
        let text = String::from_utf8_lossy(self.text.get(..filled).unwrap_or_default());
        let clients: Vec<SocketAddrV4> = established(&text, self.service).collect();
        encode(&clients, &mut self.message);
        // A standby that is not there yet is no error: the next list comes soon.
        let _ = self.socket.send(&self.message);
        Ok(clients.len())
    }
}

/// Receives the lists of the owner and keeps the latest.
#[derive(Debug)]
pub struct Listener {
    socket: UdpSocket,
    buffer: Vec<u8>,
    clients: Vec<SocketAddrV4>,
}

impl Listener {
    /// Listens at `address`.
    pub fn open(address: SocketAddr) -> Result<Self, TakeoverError> {
        let socket = UdpSocket::bind(address)
            .and_then(|socket| socket.set_nonblocking(true).map(|()| socket))
            .map_err(TakeoverError::io(&format!("listen at {address}")))?;
        let clients = Vec::with_capacity(CONNECTIONS_MAX);
        Ok(Self { socket, buffer: vec![0; 2048], clients })
    }
    /// The socket, to be waited on.
    #[must_use]
    pub const fn socket(&self) -> &UdpSocket {
        &self.socket
    }
    /// Takes in what has come; a list that is not one is passed over.
    pub fn drain(&mut self) {
        for _ in 0..CONNECTIONS_MAX {
            match self.socket.recv(&mut self.buffer) {
                Ok(n) => {
                    let message = self.buffer.get(..n).unwrap_or_default();
                    if let Some(list) = decode(message) {
                        self.clients.clear();
                        self.clients.extend(list.take(CONNECTIONS_MAX));
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }
    /// The latest list.
    #[must_use]
    pub fn clients(&self) -> &[SocketAddrV4] {
        &self.clients
    }
}

/// The peers of the established connections to `service`, from the kernel's table.
fn established(table: &str, service: SocketAddrV4) -> impl Iterator<Item = SocketAddrV4> {
    table.lines().skip(1).filter_map(move |line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        let (own, peer, state) = (words.next()?, words.next()?, words.next()?);
        (state == ESTABLISHED && end(own)? == service).then_some(())?;
        end(peer)
    })
}

/// One end as the kernel writes it: the address as a number in memory order, the port as a number.
fn end(word: &str) -> Option<SocketAddrV4> {
    let (address, port) = word.split_once(':')?;
    let address = u32::from_str_radix(address, 16).ok()?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(SocketAddrV4::new(Ipv4Addr::from(address.to_ne_bytes()), port))
}

fn encode(clients: &[SocketAddrV4], message: &mut Vec<u8>) {
    message.clear();
    message.extend_from_slice(MAGIC);
    for client in clients.iter().take(CONNECTIONS_MAX) {
        message.extend_from_slice(&client.ip().octets());
        message.extend_from_slice(&client.port().to_be_bytes());
    }
}

fn decode(message: &[u8]) -> Option<impl Iterator<Item = SocketAddrV4> + '_> {
    let list = message.strip_prefix(MAGIC)?;
    let (entries, rest) = list.as_chunks::<ENTRY_LEN>();
    rest.is_empty().then_some(())?;
    Some(entries.iter().map(|&[a, b, c, d, high, low]| {
        SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low]))
    }))
}

#[cfg(test)]
mod tests {
    use super::{decode, encode, established};
    use std::net::SocketAddrV4;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when\n\
       0: 00000000:0801 00000000:0000 0A 00000000:00000000 00:00000000 00000000\n\
       1: 6400140A:0801 0400140A:03E7 01 00000000:00000000 00:00000000 00000000\n\
       2: 6400140A:0801 0500140A:0310 06 00000000:00000000 00:00000000 00000000\n\
       3: 0100140A:0801 0400140A:0311 01 00000000:00000000 00:00000000 00000000\n\
       4: 6400140A:0801 04\n";

    fn address(text: &str) -> SocketAddrV4 {
        text.parse().unwrap()
    }

    #[test]
    fn only_living_connections_to_the_service_are_told() {
        let found: Vec<_> = established(TABLE, address("10.20.0.100:2049")).collect();
        assert_eq!(found, [address("10.20.0.4:999")]);
    }

    #[test]
    fn a_list_arrives_as_it_was_sent() {
        let clients = [address("10.20.0.4:999"), address("192.168.1.7:65535")];
        let mut message = vec![1, 2, 3];
        encode(&clients, &mut message);
        assert_eq!(message, b"NGcl\x0a\x14\x00\x04\x03\xe7\xc0\xa8\x01\x07\xff\xff");
        assert_eq!(decode(&message).unwrap().collect::<Vec<_>>(), clients);
    }

    #[test]
    fn what_is_no_list_is_passed_over() {
        for wrong in [&b""[..], b"NGc", b"XXcl", b"NGcl\x01", b"NGcl1234567"] {
            assert!(decode(wrong).is_none(), "{wrong:?}");
        }
        assert_eq!(decode(b"NGcl").unwrap().count(), 0);
    }
}
