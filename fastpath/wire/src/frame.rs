//! The common frame: a 64-byte header with a keyed tag, then a body (WIRE.md).
//!
//! [`seal`] writes header and tag around a body; [`open`] believes nothing before the tag is checked. Neither
//! allocates. The tag is BLAKE3 in keyed mode over the whole frame with the tag field zero, cut to 16 bytes.

use crate::ids::{ClusterId, Incarnation, Life, LinkId, NodeId, Nonce, Seq};
use crate::number::{U16, U32, U64};
use crate::reject::Reject;
use bytemuck::{Pod, Zeroable};

/// First bytes of every frame.
pub const MAGIC: [u8; 2] = *b"NG";
/// Version of the bytes on the wire; a change of any layout is a new version.
pub const VERSION: u8 = 2;
/// Bytes of the header.
pub const HEADER_LEN: usize = 64;
/// Where the cluster id lies in the header.
pub const CLUSTER_AT: usize = 8;
/// Bytes of the tag.
pub const TAG_LEN: usize = 16;
/// Largest body in a datagram: one agreement message.
pub const BODY_MAX: usize = crate::message::DATAGRAM_MAX;
/// Largest frame in a datagram.
pub const FRAME_MAX: usize = HEADER_LEN + BODY_MAX;
/// Largest frame of the stream beside the datagrams.
pub const BULK_MAX: usize = HEADER_LEN + crate::message::MESSAGE_MAX;

/// What a frame is. Numbers are retired, never used again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// A heartbeat.
    Beat = 1,
    /// One echo, sent at once to an owner.
    Echo = 2,
    /// The last frame of a stint.
    Obituary = 3,
    /// An agreement message.
    Agreement = 4,
    /// An agreement message on the stream beside the datagrams; without a body it only says who speaks there.
    Bulk = 5,
}

impl Kind {
    const fn from_wire(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Beat),
            2 => Some(Self::Echo),
            3 => Some(Self::Obituary),
            4 => Some(Self::Agreement),
            5 => Some(Self::Bulk),
            _ => None,
        }
    }
    /// The largest body of this kind.
    const fn body_max(self) -> usize {
        match self {
            Self::Bulk => crate::message::MESSAGE_MAX,
            _ => BODY_MAX,
        }
    }
    /// The process that sends this kind.
    #[must_use]
    pub const fn stream(self) -> Stream {
        match self {
            Self::Beat | Self::Echo | Self::Obituary => Stream::Fast,
            Self::Agreement | Self::Bulk => Stream::Control,
        }
    }
}

/// Which process of a node sends. Each numbers its own frames; control those of its stream apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Stream {
    /// netguard-fast.
    Fast = 0,
    /// netguard-control.
    Control = 1,
}

/// The header as it lies on the wire.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct RawHeader {
    magic: [u8; 2],
    version: u8,
    kind: u8,
    length: U16,
    node: u8,
    link: u8,
    cluster: U64,
    incarnation: U32,
    config_hash: U32,
    nonce: U64,
    seq: U64,
    level: U16,
    key_id: u8,
    /// What the length has above 65,535; zero in every datagram.
    length_high: U16,
    reserved: [u8; 3],
    tag: [u8; TAG_LEN],
}

impl RawHeader {
    fn length(&self) -> usize {
        usize::from(self.length_high.get()) << 16 | usize::from(self.length.get())
    }
}

const _: () = assert!(size_of::<RawHeader>() == HEADER_LEN);
const _: () = assert!(align_of::<RawHeader>() == 1);
const _: () = assert!(core::mem::offset_of!(RawHeader, cluster) == CLUSTER_AT);
const _: () = assert!(core::mem::offset_of!(RawHeader, nonce) == 24);
const _: () = assert!(core::mem::offset_of!(RawHeader, tag) == TAG_AT);
const _: () = assert!(FRAME_MAX <= u16::MAX as usize && BULK_MAX <= u32::MAX as usize);

/// Where the tag lies.
const TAG_AT: usize = HEADER_LEN - TAG_LEN;

/// What all frames of one process have in common.
#[derive(Clone, Copy)]
pub struct Seal {
    /// The cluster.
    pub cluster: ClusterId,
    /// The shared key.
    pub key: [u8; 32],
    /// Which key it is, for rotation.
    pub key_id: u8,
    /// Hash of the configuration that the process began with.
    pub config_hash: u32,
    /// Highest feature level that the sender understands.
    pub level: u16,
}

impl core::fmt::Debug for Seal {
    /// The key is not printed.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Seal").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

/// Who sends a frame, and its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// What it is.
    pub kind: Kind,
    /// Who sends.
    pub from: Life,
    /// The sender's boot nonce.
    pub nonce: Nonce,
    /// The link it is sent on.
    pub link: LinkId,
    /// Its number in the sender's stream.
    pub seq: Seq,
}

/// Writes a frame of header and `body` into `buffer`; `None` if it does not fit.
pub fn seal<'b>(
    seal: &Seal,
    header: &Header,
    body: &[u8],
    buffer: &'b mut [u8],
) -> Option<&'b [u8]> {
    let length = HEADER_LEN + body.len();
    if body.len() > header.kind.body_max() {
        return None;
    }
    let frame = buffer.get_mut(..length)?;
    let raw = RawHeader {
        magic: MAGIC,
        version: VERSION,
        kind: header.kind as u8,
        length: U16::new((length & 0xFFFF) as u16),
        node: header.from.node.get(),
        link: header.link.0,
        cluster: U64::new(seal.cluster.0),
        incarnation: U32::new(header.from.incarnation.0),
        config_hash: U32::new(seal.config_hash),
        nonce: U64::new(header.nonce.0),
        seq: U64::new(header.seq.0),
        level: U16::new(seal.level),
        key_id: seal.key_id,
        length_high: U16::new((length >> 16) as u16),
        reserved: [0; 3],
        tag: [0; TAG_LEN],
    };
    frame[..HEADER_LEN].copy_from_slice(bytemuck::bytes_of(&raw));
    frame[HEADER_LEN..].copy_from_slice(body);
    let tag = tag(&seal.key, frame);
    frame[TAG_AT..HEADER_LEN].copy_from_slice(&tag);
    Some(frame)
}

/// Checks a frame that was received on `link` and gives its header and body.
pub fn open<'f>(seal: &Seal, link: LinkId, frame: &'f [u8]) -> Result<(Header, &'f [u8]), Reject> {
    let (head, body) = frame.split_at_checked(HEADER_LEN).ok_or(Reject::Truncated)?;
    let raw: &RawHeader = bytemuck::from_bytes(head);
    if raw.magic != MAGIC {
        return Err(Reject::Garbage);
    }
    if raw.version != VERSION {
        return Err(Reject::Version);
    }
    if raw.length() != frame.len() {
        return Err(Reject::Truncated);
    }
    if raw.cluster.get() != seal.cluster.0 {
        return Err(Reject::ForeignCluster);
    }
    if raw.key_id != seal.key_id {
        return Err(Reject::ForeignKey);
    }
    if !equal(&tag(&seal.key, frame), &raw.tag) {
        return Err(Reject::Forged);
    }
    // From here on a member of the cluster wrote it. Its configuration may be another one: what is agreed changes while
    // lives run, and who has an older one learns it by the log.
    if raw.link != link.0 {
        return Err(Reject::WrongLink);
    }
    let (Some(kind), Some(node)) = (Kind::from_wire(raw.kind), NodeId::new(raw.node)) else {
        return Err(Reject::Malformed);
    };
    // Lives count from 1: 0 is "no life" in every table that a frame is compared with.
    let fits = body.len() <= kind.body_max();
    if raw.reserved != [0; 3] || raw.incarnation.get() == 0 || !fits {
        return Err(Reject::Malformed);
    }
    let from = Life { node, incarnation: Incarnation(raw.incarnation.get()) };
    let nonce = Nonce(raw.nonce.get());
    Ok((Header { kind, from, nonce, link, seq: Seq(raw.seq.get()) }, body))
}

/// The node that a frame says it is of. Nothing proves it before [`open`] took the frame.
#[must_use]
pub fn claimed_node(frame: &[u8]) -> Option<NodeId> {
    let (head, _) = frame.split_at_checked(HEADER_LEN)?;
    NodeId::new(bytemuck::from_bytes::<RawHeader>(head).node)
}

/// Hash of the configuration that the sender of a frame began with; only worth something of a frame that [`open`] took.
#[must_use]
pub fn config_hash(frame: &[u8]) -> Option<u32> {
    let (head, _) = frame.split_at_checked(HEADER_LEN)?;
    Some(bytemuck::from_bytes::<RawHeader>(head).config_hash.get())
}

/// Highest feature level that the sender of a frame understands; only worth something of a frame that [`open`] took.
#[must_use]
pub fn level(frame: &[u8]) -> Option<u16> {
    let (head, _) = frame.split_at_checked(HEADER_LEN)?;
    Some(bytemuck::from_bytes::<RawHeader>(head).level.get())
}

/// Keyed hash of the frame with the tag field zero.
fn tag(key: &[u8; 32], frame: &[u8]) -> [u8; TAG_LEN] {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(&frame[..TAG_AT]);
    hasher.update(&[0; TAG_LEN]);
    hasher.update(&frame[HEADER_LEN..]);
    let mut tag = [0; TAG_LEN];
    tag.copy_from_slice(&hasher.finalize().as_bytes()[..TAG_LEN]);
    tag
}

/// Compares without telling by its time where the first difference is.
fn equal(a: &[u8; TAG_LEN], b: &[u8; TAG_LEN]) -> bool {
    a.iter().zip(b).fold(0, |difference, (x, y)| difference | (x ^ y)) == 0
}

#[cfg(test)]
mod tests;
