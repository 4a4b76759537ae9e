//! The bytes of the set-up: plain numbers at fixed places, for one machine (native byte order), one
//! release.

use crate::counters::LINKS_MAX;
use crate::error::SetupError;
use crate::setup::{Core, Frames, Key, LinkSetup, Mode, NetworkIo, Setup};
use base::Duration;
use bytemuck::{Pod, Zeroable};
use std::mem::size_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use wire::{ClusterId, Incarnation, Life, NODES_MAX, NodeId, NodeSet, Nonce};

/// Version of the record; a new one for every change of a field.
pub const SETUP_VERSION: u32 = 2;

/// How every record begins.
const MAGIC: [u8; 8] = *b"NGSETUP\0";

/// A peer's address; family 0 = the node has none on this link.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Address {
    bytes: [u8; 16],
    family: u32,
}

/// One link.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct LinkRecord {
    mode: u32,
    /// 0 = UDP, 1 = Ethernet.
    frames: u32,
    interface: u32,
    port: u32,
    own: Address,
    target: Address,
    /// By node, from 0.
    peers: [Address; NODES_MAX],
}

/// The record.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Record {
    magic: [u8; 8],
    version: u32,
    size: u32,
    nonce: u64,
    cluster: u64,
    interval: u64,
    margin: u64,
    nodes: [u64; 2],
    key: [u8; 32],
    node: u32,
    incarnation: u32,
    key_id: u32,
    feature: u32,
    config_hash: u32,
    misses: u32,
    rate_ppm: u32,
    priority: u32,
    /// 0 = none, 1 = auto, 2 + n = core n.
    core: u32,
    /// 0 = auto, 1 = recvmmsg, 2 = io_uring.
    network_io: u32,
    links: u32,
    /// Zero: keeps the size a multiple of eight.
    unused: u32,
    link: [LinkRecord; LINKS_MAX],
}

impl Record {
    /// Magic, version and size come first and never move.
    pub(crate) const HEAD: usize = 16;

    /// A record on the heap: it is 10 KiB.
    pub(crate) fn boxed_zero() -> Box<Self> {
        bytemuck::zeroed_box()
    }

    /// Checks the first [`Record::HEAD`] bytes.
    pub(crate) fn check_head(head: &[u8]) -> Result<(), SetupError> {
        let word = |at: usize| {
            head.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes)
        };
        if head.get(..8) != Some(&MAGIC) {
            return Err(SetupError::OutOfRange { field: "magic" });
        }
        if word(8) != SETUP_VERSION || word(12) as usize != size_of::<Self>() {
            return Err(SetupError::Version { found: word(8), want: SETUP_VERSION });
        }
        Ok(())
    }

    /// The record of a checked set-up.
    pub(crate) fn from_setup(setup: &Setup) -> Box<Self> {
        let mut record = Self::boxed_zero();
        *record = Self {
            magic: MAGIC,
            version: SETUP_VERSION,
            size: size_of::<Self>() as u32,
            nonce: setup.nonce.0,
            cluster: setup.cluster.0,
            interval: setup.interval.0,
            margin: setup.margin.0,
            nodes: [setup.nodes.0 as u64, (setup.nodes.0 >> 64) as u64],
            key: setup.key.0,
            node: setup.me.node.get().into(),
            incarnation: setup.me.incarnation.0,
            key_id: setup.key_id.into(),
            feature: setup.feature.into(),
            config_hash: setup.config_hash,
            misses: setup.misses,
            rate_ppm: setup.rate_ppm,
            priority: setup.priority.into(),
            core: match setup.core {
                Core::None => 0,
                Core::Auto => 1,
                Core::Number(n) => 2 + u32::from(n),
            },
            network_io: match setup.network_io {
                NetworkIo::Auto => 0,
                NetworkIo::Recvmmsg => 1,
                NetworkIo::IoUring => 2,
            },
            links: setup.links.len() as u32,
            unused: 0,
            link: record.link,
        };
        for (slot, link) in record.link.iter_mut().zip(&setup.links) {
            slot.mode = match link.mode {
                Mode::Multicast => 0,
                Mode::Broadcast => 1,
                Mode::Unicast => 2,
            };
            slot.frames = match link.frames {
                Frames::Udp => 0,
                Frames::Ethernet => 1,
            };
            slot.interface = link.interface;
            slot.port = link.port.into();
            slot.own = Address::of(Some(link.own));
            slot.target = Address::of(link.target);
            for (node, address) in &link.peers {
                slot.peers[node.index()] = Address::of(Some(*address));
            }
        }
        record
    }

    /// The set-up; relations between fields are checked by the caller.
    pub(crate) fn read(&self) -> Result<Setup, SetupError> {
        let out = |field| SetupError::OutOfRange { field };
        let node = u8::try_from(self.node).ok().and_then(NodeId::new).ok_or(out("node"))?;
        let links = self.link.get(..self.links as usize).ok_or(out("links"))?;
        Ok(Setup {
            me: Life { node, incarnation: Incarnation(self.incarnation) },
            nonce: Nonce(self.nonce),
            cluster: ClusterId(self.cluster),
            key: Key(self.key),
            key_id: self.key_id.try_into().map_err(|_| out("key_id"))?,
            feature: self.feature.try_into().map_err(|_| out("feature"))?,
            config_hash: self.config_hash,
            interval: Duration(self.interval),
            misses: self.misses,
            rate_ppm: self.rate_ppm,
            margin: Duration(self.margin),
            nodes: NodeSet(u128::from(self.nodes[0]) | u128::from(self.nodes[1]) << 64),
            priority: self.priority.try_into().map_err(|_| out("priority"))?,
            core: match self.core {
                0 => Core::None,
                1 => Core::Auto,
                n => Core::Number((n - 2).try_into().map_err(|_| out("core"))?),
            },
            network_io: match self.network_io {
                0 => NetworkIo::Auto,
                1 => NetworkIo::Recvmmsg,
                2 => NetworkIo::IoUring,
                _ => return Err(out("network_io")),
            },
            links: links.iter().map(LinkRecord::read).collect::<Result<_, _>>()?,
        })
    }
}

impl LinkRecord {
    fn read(&self) -> Result<LinkSetup, SetupError> {
        let out = |field| SetupError::OutOfRange { field };
        let mut peers = Vec::new();
        for (index, address) in self.peers.iter().enumerate() {
            if let (Some(node), Some(address)) = (NodeId::from_index(index), address.read()?) {
                peers.push((node, address));
            }
        }
        Ok(LinkSetup {
            mode: match self.mode {
                0 => Mode::Multicast,
                1 => Mode::Broadcast,
                2 => Mode::Unicast,
                _ => return Err(out("mode")),
            },
            frames: match self.frames {
                0 => Frames::Udp,
                1 => Frames::Ethernet,
                _ => return Err(out("frames")),
            },
            own: self.own.read()?.ok_or(out("own address"))?,
            interface: self.interface,
            target: self.target.read()?,
            port: self.port.try_into().map_err(|_| out("port"))?,
            peers,
        })
    }
}

impl Address {
    pub(crate) fn of(address: Option<IpAddr>) -> Self {
        let mut bytes = [0; 16];
        let family = match address {
            None => 0,
            Some(IpAddr::V4(v4)) => {
                bytes[..4].copy_from_slice(&v4.octets());
                4
            }
            Some(IpAddr::V6(v6)) => {
                bytes = v6.octets();
                6
            }
        };
        Self { bytes, family }
    }

    pub(crate) fn read(&self) -> Result<Option<IpAddr>, SetupError> {
        let [a, b, c, d, ..] = self.bytes;
        match self.family {
            0 => Ok(None),
            4 => Ok(Some(Ipv4Addr::new(a, b, c, d).into())),
            6 => Ok(Some(Ipv6Addr::from(self.bytes).into())),
            _ => Err(SetupError::OutOfRange { field: "address family" }),
        }
    }
}
