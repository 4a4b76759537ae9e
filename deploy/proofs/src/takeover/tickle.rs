//! Wakes clients whose server has moved.
//!
//! A client that waits for an answer of the dead server hears nothing until its own retransmission
//! timer fires, 200 ms and more later. A bare segment from the floating address makes it speak at
//! once: its sequence number is wrong, so the client answers with an acknowledgement; the new owner
//! knows no such connection and resets it; the client connects anew.
//!
//! A client answers wrong segments *without data* only twice a second per connection
//! (`tcp_invalid_ratelimit`, 500 ms), against loops. A repetition of a bare acknowledgement is
//! therefore not heard at all; one with a byte of data is. The byte would be read as data only if its
//! number were exactly the next one, one chance in four thousand million; beside it, it waits in a
//! queue that the reset throws away.

use crate::takeover::error::TakeoverError;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::net::{Ipv4Addr, SocketAddrV4};

const IP_LEN: usize = 20;
const TCP_LEN: usize = 20;
const FLAG_PUSH: u8 = 0x08;
const FLAG_ACK: u8 = 0x10;
const TCP: u8 = 6;
const WINDOW: u16 = 512;

/// What is sent to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// Nothing: the client finds out by itself.
    Silent,
    /// An acknowledgement without data.
    Bare,
    /// One with a byte of data, which no rate limit drops.
    Byte,
}

/// Sends segments from the floating address.
#[derive(Debug)]
pub struct Tickler {
    socket: Socket,
    service: SocketAddrV4,
    form: Form,
    number: u32,
    packet: [u8; IP_LEN + TCP_LEN + 1],
}

impl Tickler {
    /// Opens the socket; `service` is the floating address with the service's port.
    pub fn open(service: SocketAddrV4, form: Form) -> Result<Self, TakeoverError> {
        // IPPROTO_RAW: the IP header is ours, the route and the neighbour are the kernel's.
        let protocol = Protocol::from(libc::IPPROTO_RAW);
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(protocol))
            .and_then(|socket| socket.set_nonblocking(true).map(|()| socket))
            .map_err(TakeoverError::io("open a raw socket"))?;
        let packet = [0; IP_LEN + TCP_LEN + 1];
        Ok(Self { socket, service, form, number: 0x6e67_0000, packet })
    }
    /// From now on this form.
    pub const fn set_form(&mut self, form: Form) {
        self.form = form;
    }
    /// One segment to one client; whether the kernel took it.
    pub fn send(&mut self, client: SocketAddrV4) -> bool {
        if self.form == Form::Silent {
            return true;
        }
        // Another number each time, so that no two look like one retransmitted.
        self.number = self.number.wrapping_add(0x0100_0001);
        let len = write(&mut self.packet, self.service, client, self.number, self.form);
        let packet = self.packet.get(..len).unwrap_or_default();
        self.socket.send_to(packet, &SockAddr::from(client)).is_ok()
    }
}

/// Writes the segment and returns its length.
fn write(
    packet: &mut [u8; IP_LEN + TCP_LEN + 1],
    from: SocketAddrV4,
    to: SocketAddrV4,
    number: u32,
    form: Form,
) -> usize {
    let data = usize::from(form == Form::Byte);
    let len = IP_LEN + TCP_LEN + data;
    let flags = if form == Form::Byte { FLAG_ACK | FLAG_PUSH } else { FLAG_ACK };
    let [n0, n1, n2, n3] = number.to_be_bytes();
    let [len0, len1] = (len as u16).to_be_bytes();
    let [w0, w1] = WINDOW.to_be_bytes();
    let [s0, s1, s2, s3] = from.ip().octets();
    let [d0, d1, d2, d3] = to.ip().octets();
    let [sp0, sp1] = from.port().to_be_bytes();
    let [dp0, dp1] = to.port().to_be_bytes();
    *packet = [
        0x45, 0, len0, len1, 0, 0, 0x40, 0, 64, TCP, 0, 0, s0, s1, s2, s3, d0, d1, d2,
        d3, // IP
        sp0, sp1, dp0, dp1, n0, n1, n2, n3, n3, n2, n1, n0, 0x50, flags, w0, w1, 0, 0, 0,
        0, // TCP
        0,
    ];
    let sum = checksum(*from.ip(), *to.ip(), packet.get(IP_LEN..len).unwrap_or_default());
    if let Some(place) = packet.get_mut(IP_LEN + 16..IP_LEN + 18) {
        place.copy_from_slice(&sum.to_be_bytes());
    }
    len // the kernel fills in the checksum of the IP header
}

/// TCP's checksum: ones' complement over the pseudo header and the segment.
fn checksum(from: Ipv4Addr, to: Ipv4Addr, segment: &[u8]) -> u16 {
    let words = |bytes: &[u8]| -> u32 {
        bytes
            .chunks(2)
            .map(|pair| match *pair {
                [high, low] => u32::from(u16::from_be_bytes([high, low])),
                [high] => u32::from(high) << 8,
                _ => 0,
            })
            .sum()
    };
    let pseudo = u32::from(TCP) + segment.len() as u32;
    let mut sum = words(&from.octets()) + words(&to.octets()) + pseudo + words(segment);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::{Form, IP_LEN, TCP_LEN, checksum, write};

    #[test]
    fn golden_bare_acknowledgement() {
        let (from, to) = ("10.20.0.100:2049".parse().unwrap(), "10.20.0.4:999".parse().unwrap());
        let mut packet = [0xff; IP_LEN + TCP_LEN + 1];
        assert_eq!(write(&mut packet, from, to, 0x0102_0304, Form::Bare), 40);
        assert_eq!(packet[..4], [0x45, 0, 0, 40]);
        assert_eq!(packet[12..20], [10, 20, 0, 100, 10, 20, 0, 4]);
        assert_eq!(packet[20..28], [0x08, 0x01, 0x03, 0xe7, 1, 2, 3, 4]);
        assert_eq!(packet[32..34], [0x50, 0x10], "an acknowledgement and nothing else");
        // A receiver sums everything, the checksum included, to zero.
        assert_eq!(checksum(*from.ip(), *to.ip(), &packet[20..40]), 0);
    }

    #[test]
    fn the_form_that_is_repeated_carries_a_byte() {
        let (from, to) = ("10.20.0.100:2049".parse().unwrap(), "10.20.0.4:999".parse().unwrap());
        let mut packet = [0xff; IP_LEN + TCP_LEN + 1];
        assert_eq!(write(&mut packet, from, to, 7, Form::Byte), 41);
        assert_eq!(packet[..4], [0x45, 0, 0, 41]);
        assert_eq!(checksum(*from.ip(), *to.ip(), &packet[20..41]), 0);
    }
}
