//! Bodies of the fast path: beat, echo, obituary (WIRE.md).
//!
//! A beat names, per peer, the last beat of that peer that was made echoable. Eight bytes suffice: the low halves of its
//! number and incarnation. The number implies the stint, because the sender of the echoed beat knows with which stint it
//! sent that number.

use crate::ids::{NODES_MAX, NodeId, NodeSet, Seq, Stint};
use crate::number::{U16, U32, U64};
use crate::reject::Reject;
use base::{Duration, Instant};
use bytemuck::{Pod, Zeroable};

/// Flag: the sender owns a service; answer at once (PROTOCOL 5.6).
pub const FLAG_OWNER: u16 = 1;
/// Flag: sent between two beats of the cadence to renew a lease.
pub const FLAG_PROBE: u16 = 2;
const FLAGS: u16 = FLAG_OWNER | FLAG_PROBE;

/// Shortest deadline that a beat may declare.
pub const DEADLINE_MIN: Duration = Duration::from_millis(3);
/// Longest deadline that a beat may declare: so long a removal can be held up by a beat that was echoed.
pub const DEADLINE_MAX: Duration = Duration::from_millis(60_000);

/// Bytes of a beat before its echoes.
pub const BEAT_HEAD_LEN: usize = 48;
/// Bytes of one echo.
pub const ECHO_LEN: usize = 8;
/// Largest beat body.
pub const BEAT_MAX: usize = BEAT_HEAD_LEN + NODES_MAX * ECHO_LEN;

/// An Ethernet frame's payload, less IPv6 and UDP headers.
const DATAGRAM: usize = 1_500 - 40 - 8;
const _: () = assert!(crate::frame::HEADER_LEN + BEAT_MAX <= DATAGRAM);

#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct RawBeat {
    stint: U64,
    sent: U64,
    deadline_us: U32,
    interval_us: U32,
    flags: U16,
    count: U16,
    reserved: [u8; 4],
    present: [U64; 2],
}
const _: () = assert!(size_of::<RawBeat>() == BEAT_HEAD_LEN && align_of::<RawBeat>() == 1);

#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct RawEcho {
    seq: U32,
    incarnation: U16,
    held: U16,
}
const _: () = assert!(size_of::<RawEcho>() == ECHO_LEN && align_of::<RawEcho>() == 1);

/// Unit of the time that an echo was held, in nanoseconds.
const HELD_UNIT_NS: u64 = 4_000;

/// "I have heard this beat of yours."
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Echo {
    /// Low half of the echoed beat's number.
    pub seq: u32,
    /// Low half of the echoed life's incarnation.
    pub incarnation: u16,
    /// How long ago it was received; saturates at 262 ms.
    pub held: Duration,
}

impl Echo {
    /// A hold of this or longer is written as this.
    pub const HELD_MAX: Duration = Duration(HELD_UNIT_NS * u16::MAX as u64);

    /// The echo of beat `seq` of incarnation `incarnation`.
    #[must_use]
    pub const fn new(seq: Seq, incarnation: crate::ids::Incarnation, held: Duration) -> Self {
        Self { seq: seq.0 as u32, incarnation: incarnation.0 as u16, held }
    }
    fn to_raw(self) -> RawEcho {
        let held = (self.held.0 / HELD_UNIT_NS).min(u64::from(u16::MAX)) as u16;
        RawEcho {
            seq: U32::new(self.seq),
            incarnation: U16::new(self.incarnation),
            held: U16::new(held),
        }
    }
    fn from_raw(raw: &RawEcho) -> Self {
        Self {
            seq: raw.seq.get(),
            incarnation: raw.incarnation.get(),
            held: Duration(u64::from(raw.held.get()) * HELD_UNIT_NS),
        }
    }
}

/// A heartbeat.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Beat {
    /// The sender's stint by its applied entries.
    pub stint: Stint,
    /// The sender's clock, read before the send.
    pub sent: Instant,
    /// The sender's interval × misses.
    pub deadline: Duration,
    /// The sender's interval.
    pub interval: Duration,
    /// The sender owns a service.
    pub owner: bool,
    /// Sent between two beats of the cadence.
    pub probe: bool,
    present: NodeSet,
    echoes: [Echo; NODES_MAX],
}

impl Beat {
    /// A beat without echoes.
    #[must_use]
    pub const fn new(stint: Stint, sent: Instant, deadline: Duration, interval: Duration) -> Self {
        Self {
            stint,
            sent,
            deadline,
            interval,
            owner: false,
            probe: false,
            present: NodeSet::EMPTY,
            echoes: [Echo { seq: 0, incarnation: 0, held: Duration::ZERO }; NODES_MAX],
        }
    }
    /// Adds the echo of a peer's beat.
    pub const fn set_echo(&mut self, peer: NodeId, echo: Echo) {
        self.present.insert(peer);
        self.echoes[peer.index()] = echo;
    }
    /// The echo for `peer`.
    #[must_use]
    pub const fn echo(&self, peer: NodeId) -> Option<Echo> {
        if self.present.contains(peer) { Some(self.echoes[peer.index()]) } else { None }
    }
    /// Whose beats are echoed.
    #[must_use]
    pub const fn echoed(&self) -> NodeSet {
        self.present
    }

    /// Writes the body and returns its bytes.
    pub fn encode<'b>(&self, buffer: &'b mut [u8; BEAT_MAX]) -> &'b [u8] {
        let flag = |set, flag| if set { flag } else { 0 };
        let head = RawBeat {
            stint: U64::new(self.stint.0),
            sent: U64::new(self.sent.0),
            deadline_us: U32::new(self.deadline.micros().min(u64::from(u32::MAX)) as u32),
            interval_us: U32::new(self.interval.micros().min(u64::from(u32::MAX)) as u32),
            flags: U16::new(flag(self.owner, FLAG_OWNER) | flag(self.probe, FLAG_PROBE)),
            count: U16::new(self.present.len() as u16),
            reserved: [0; 4],
            present: [U64::new(self.present.0 as u64), U64::new((self.present.0 >> 64) as u64)],
        };
        buffer[..BEAT_HEAD_LEN].copy_from_slice(bytemuck::bytes_of(&head));
        let mut at = BEAT_HEAD_LEN;
        for peer in self.present.iter() {
            let raw = self.echoes[peer.index()].to_raw();
            buffer[at..at + ECHO_LEN].copy_from_slice(bytemuck::bytes_of(&raw));
            at += ECHO_LEN;
        }
        &buffer[..at]
    }

    /// Reads a body.
    pub fn decode(body: &[u8]) -> Result<Self, Reject> {
        let (head, echoes) = body.split_at_checked(BEAT_HEAD_LEN).ok_or(Reject::Malformed)?;
        let head: &RawBeat = bytemuck::from_bytes(head);
        let present =
            NodeSet(u128::from(head.present[0].get()) | u128::from(head.present[1].get()) << 64);
        let flags = head.flags.get();
        if head.reserved != [0; 4]
            || flags & !FLAGS != 0
            || present.len() != head.count.get() as usize
            || echoes.len() != present.len() * ECHO_LEN
        {
            return Err(Reject::Malformed);
        }
        let mut beat = Self::new(
            Stint(head.stint.get()),
            Instant(head.sent.get()),
            Duration::from_micros(u64::from(head.deadline_us.get())),
            Duration::from_micros(u64::from(head.interval_us.get())),
        );
        if !(DEADLINE_MIN..=DEADLINE_MAX).contains(&beat.deadline) || beat.interval > beat.deadline
        {
            return Err(Reject::Malformed);
        }
        beat.owner = flags & FLAG_OWNER != 0;
        beat.probe = flags & FLAG_PROBE != 0;
        for (peer, raw) in present.iter().zip(echoes.chunks_exact(ECHO_LEN)) {
            beat.set_echo(peer, Echo::from_raw(bytemuck::from_bytes(raw)));
        }
        Ok(beat)
    }
}

/// Body of an Echo frame: one echo for its only addressee, which it names: redirected to another node it says nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct EchoBody {
    /// Whose beat is echoed.
    pub to: NodeId,
    /// The sender's stint.
    pub stint: Stint,
    /// The echo.
    pub echo: Echo,
}

#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct RawEchoBody {
    stint: U64,
    echo: RawEcho,
    to: u8,
    reserved: [u8; 7],
}
const _: () = assert!(size_of::<RawEchoBody>() == ECHO_BODY_LEN && align_of::<RawEchoBody>() == 1);

/// Bytes of an Echo body.
pub const ECHO_BODY_LEN: usize = 24;

impl EchoBody {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; ECHO_BODY_LEN] {
        let raw = RawEchoBody {
            stint: U64::new(self.stint.0),
            echo: self.echo.to_raw(),
            to: self.to.get(),
            reserved: [0; 7],
        };
        let mut body = [0; ECHO_BODY_LEN];
        body.copy_from_slice(bytemuck::bytes_of(&raw));
        body
    }
    /// Reads a body.
    pub fn decode(body: &[u8]) -> Result<Self, Reject> {
        let body: &[u8; ECHO_BODY_LEN] = body.try_into().map_err(|_| Reject::Malformed)?;
        let raw: &RawEchoBody = bytemuck::from_bytes(body);
        let to = NodeId::new(raw.to).ok_or(Reject::Malformed)?;
        if raw.reserved != [0; 7] {
            return Err(Reject::Malformed);
        }
        Ok(Self { to, stint: Stint(raw.stint.get()), echo: Echo::from_raw(&raw.echo) })
    }
}

/// Body of an Obituary: the header's life ends this stint; its lease word is zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Obituary {
    /// The stint that ended.
    pub stint: Stint,
}

impl Obituary {
    /// Its bytes.
    #[must_use]
    pub const fn encode(&self) -> [u8; 8] {
        self.stint.0.to_le_bytes()
    }
    /// Reads a body.
    pub fn decode(body: &[u8]) -> Result<Self, Reject> {
        let body: [u8; 8] = body.try_into().map_err(|_| Reject::Malformed)?;
        Ok(Self { stint: Stint(u64::from_le_bytes(body)) })
    }
}
