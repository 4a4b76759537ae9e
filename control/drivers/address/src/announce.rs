//! Tells the neighbours where the address lives now: gratuitous ARP (RFC 5227) and unsolicited NA
//! (RFC 4861).
//!
//! Both ARP forms are sent, because some stacks learn only from requests and some only from
//! replies. One frame can be lost, or come while a switch port still blocks: the frames are
//! repeated at growing distances.

use crate::error::AddressError;
use crate::interface::Interface;
use base::{Duration, Instant};
use pnet_packet::Packet;
use pnet_packet::arp::{ArpHardwareTypes, ArpOperation, ArpOperations, MutableArpPacket};
use pnet_packet::ethernet::{EtherTypes, MutableEthernetPacket};
use pnet_packet::icmpv6::ndp::{
    MutableNdpOptionPacket, MutableNeighborAdvertPacket, NdpOptionTypes, NeighborAdvertFlags,
};
use pnet_packet::icmpv6::{Icmpv6Packet, Icmpv6Types, checksum};
use pnet_packet::ip::IpNextHeaderProtocols;
use pnet_packet::ipv6::MutableIpv6Packet;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// When the frames are sent again, counted from the start. A start itself sends them once, at once.
pub const REPEAT_AFTER_MS: [u64; 5] = [10, 50, 200, 1_000, 3_000];

const ETHERNET_LEN: usize = 14;
const ARP_LEN: usize = 28;
const IPV6_LEN: usize = 40;
const ADVERT_LEN: usize = 24;
const OPTION_LEN: usize = 8;
const FRAME_LEN: usize = ETHERNET_LEN + IPV6_LEN + ADVERT_LEN + OPTION_LEN;
const _: () = assert!(FRAME_LEN >= ETHERNET_LEN + ARP_LEN);

const BROADCAST: [u8; 6] = [0xff; 6];
/// The Ethernet form of ff02::1, all nodes on the link.
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The frames that announce `address` at `mac`.
#[must_use]
pub fn frames(address: IpAddr, mac: [u8; 6]) -> Vec<Vec<u8>> {
    match address {
        IpAddr::V4(v4) => [ArpOperations::Request, ArpOperations::Reply]
            .into_iter()
            .filter_map(|form| gratuitous_arp(v4, mac, form))
            .collect(),
        IpAddr::V6(v6) => unsolicited_advert(v6, mac).into_iter().collect(),
    }
}

fn gratuitous_arp(address: Ipv4Addr, mac: [u8; 6], form: ArpOperation) -> Option<Vec<u8>> {
    let mut frame = ethernet(BROADCAST, mac, EtherTypes::Arp, ARP_LEN)?;
    let mut arp = MutableArpPacket::new(frame.get_mut(ETHERNET_LEN..)?)?;
    arp.set_hardware_type(ArpHardwareTypes::Ethernet);
    arp.set_protocol_type(EtherTypes::Ipv4);
    arp.set_hw_addr_len(6);
    arp.set_proto_addr_len(4);
    arp.set_operation(form);
    arp.set_sender_hw_addr(mac.into());
    arp.set_sender_proto_addr(address);
    // A request asks for nobody (zero), a reply answers everybody.
    let target = if form == ArpOperations::Request { [0; 6] } else { BROADCAST };
    arp.set_target_hw_addr(target.into());
    arp.set_target_proto_addr(address);
    Some(frame)
}

fn unsolicited_advert(address: Ipv6Addr, mac: [u8; 6]) -> Option<Vec<u8>> {
    let body = ADVERT_LEN + OPTION_LEN;
    let mut frame = ethernet(ALL_NODES_MAC, mac, EtherTypes::Ipv6, IPV6_LEN + body)?;
    let mut ip = MutableIpv6Packet::new(frame.get_mut(ETHERNET_LEN..)?)?;
    ip.set_version(6);
    ip.set_payload_length(body as u16);
    ip.set_next_header(IpNextHeaderProtocols::Icmpv6);
    ip.set_hop_limit(255); // RFC 4861: anything else is dropped as coming from afar
    ip.set_source(address);
    ip.set_destination(ALL_NODES);
    let advert_at = ETHERNET_LEN + IPV6_LEN;
    let mut option = MutableNdpOptionPacket::new(frame.get_mut(advert_at + ADVERT_LEN..)?)?;
    option.set_option_type(NdpOptionTypes::TargetLLAddr);
    option.set_length(1);
    option.set_data(&mac);
    let mut advert = MutableNeighborAdvertPacket::new(frame.get_mut(advert_at..)?)?;
    advert.set_icmpv6_type(Icmpv6Types::NeighborAdvert);
    advert.set_flags(NeighborAdvertFlags::Override);
    advert.set_target_addr(address);
    let sum = checksum(&Icmpv6Packet::new(advert.packet())?, &address, &ALL_NODES);
    advert.set_checksum(sum);
    Some(frame)
}

fn ethernet(
    to: [u8; 6],
    from: [u8; 6],
    kind: pnet_packet::ethernet::EtherType,
    body: usize,
) -> Option<Vec<u8>> {
    let mut frame = vec![0; ETHERNET_LEN + body];
    let mut header = MutableEthernetPacket::new(&mut frame)?;
    header.set_destination(to.into());
    header.set_source(from.into());
    header.set_ethertype(kind);
    Some(frame)
}

/// Sends the announcement frames of one address on one interface.
#[derive(Debug)]
pub struct Announcer {
    socket: Socket,
    frames: Vec<Vec<u8>>,
    began: Option<Instant>,
    sent: usize,
    /// Sends that the kernel refused, for the operator.
    pub failed: u64,
}

impl Announcer {
    /// Prepares socket and frames; `None` where there is nobody to tell (no Ethernet address).
    pub fn open(address: IpAddr, interface: &Interface) -> Result<Option<Self>, AddressError> {
        let Some(mac) = interface.mac else { return Ok(None) };
        let socket = packet_socket(interface.index)
            .map_err(|e| AddressError::from_io("open a packet socket for announcements", e))?;
        Ok(Some(Self { socket, frames: frames(address, mac), began: None, sent: 0, failed: 0 }))
    }
    /// Sends the frames now and plans the repeats.
    pub fn start(&mut self, now: Instant) {
        self.began = Some(now);
        self.sent = 0;
        self.send();
    }
    /// No more repeats.
    pub const fn stop(&mut self) {
        self.began = None;
    }
    /// When [`Announcer::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_deadline(&self) -> Option<Instant> {
        let after = REPEAT_AFTER_MS.get(self.sent)?;
        Some(self.began? + Duration::from_millis(*after))
    }
    /// Sends the repeat that is due, if one is.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_deadline().is_some_and(|due| now >= due) {
            self.sent += 1;
            self.send();
        }
    }
    /// An announcement that cannot be sent is no reason to give the address up: it is repeated, and
    /// the neighbours ask anew in the end. It is counted.
    fn send(&mut self) {
        for frame in &self.frames {
            if (&self.socket).write(frame).is_err() {
                self.failed += 1;
            }
        }
    }
}

/// A packet socket that receives nothing and sends on one interface.
fn packet_socket(index: u32) -> io::Result<Socket> {
    // Protocol 0: the kernel delivers no packet to it.
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
    // SAFETY: the closure writes one sockaddr_ll into zeroed storage, which is larger and suitably
    // aligned for every socket address, and sets the length to what it wrote.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, len| {
            let link = &mut *storage.cast::<libc::sockaddr_ll>();
            link.sll_family = libc::AF_PACKET as u16;
            link.sll_ifindex = index as i32;
            *len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            Ok(())
        })?
    };
    socket.bind(&address)?;
    socket.set_nonblocking(true)?; // a full queue is a counted loss, never a wait
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::{REPEAT_AFTER_MS, frames};
    use pnet_packet::icmpv6::{Icmpv6Packet, checksum};

    const MAC: [u8; 6] = [0x02, 0x4e, 0x47, 0, 0, 9];

    #[test]
    fn golden_gratuitous_arp_in_both_forms() {
        let all = frames("10.77.1.100".parse().unwrap(), MAC);
        let arp = |form: u8, target: [u8; 6]| {
            [
                &[0xff; 6][..],
                &MAC,
                &[0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, form],
                &MAC,
                &[10, 77, 1, 100],
                &target,
                &[10, 77, 1, 100],
            ]
            .concat()
        };
        assert_eq!(all, [arp(1, [0; 6]), arp(2, [0xff; 6])]);
    }

    #[test]
    fn golden_unsolicited_advert_overrides_and_its_checksum_holds() {
        let address = "fd00::64".parse::<std::net::Ipv6Addr>().unwrap();
        let all = frames(address.into(), MAC);
        assert_eq!(all.len(), 1);
        let frame = &all[0];
        assert_eq!(frame[..14], [0x33, 0x33, 0, 0, 0, 1, 2, 0x4e, 0x47, 0, 0, 9, 0x86, 0xdd]);
        assert_eq!(frame[14..22], [0x60, 0, 0, 0, 0, 32, 58, 255]);
        assert_eq!(frame[22..38], address.octets());
        assert_eq!(frame[54..56], [136, 0]);
        assert_eq!(frame[58..62], [0x20, 0, 0, 0], "override only: not solicited, no router");
        assert_eq!(frame[62..78], address.octets());
        assert_eq!(frame[78..], [2, 1, 0x02, 0x4e, 0x47, 0, 0, 9]);
        let advert = Icmpv6Packet::new(&frame[54..]).unwrap();
        assert_eq!(advert.get_checksum(), checksum(&advert, &address, &super::ALL_NODES));
        assert_ne!(advert.get_checksum(), 0);
    }

    #[test]
    fn repeats_grow() {
        assert!(REPEAT_AFTER_MS.is_sorted());
    }
}
