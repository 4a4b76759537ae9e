//! Membership as bytes, for the snapshot that takes the place of the log: equal states have equal bytes on all nodes,
//! and reading is total.

use crate::history::{Admission, Fence, Membership, Removal};
use crate::view::{JoinCause, Joined, Left, LeftCause, Member, View};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use wire::codec::{Malformed, Reader, Writer};
use wire::entry::{FenceProof, RemovalCause};
use wire::{Incarnation, NODES_MAX, NodeId};

/// First byte; another layout takes another number.
const VERSION: u8 = 1;
/// Most lives that one view can name as gone or come: each node once, and once more when it was replaced.
const CHANGES_MAX: usize = 2 * NODES_MAX;

impl Membership {
    /// Appends its bytes.
    pub fn encode(&self, to: &mut Writer) {
        to.u8(VERSION);
        encode_view(&self.view, to);
        encode_map(&self.admitted, to, |admission, to| {
            to.u32(admission.incarnation.0);
            to.op(admission.op);
        });
        encode_map(&self.removed, to, |removal, to| {
            encode_member(removal.member, to);
            to.op(removal.op);
            to.u8(removal.cause.number());
        });
        encode_map(&self.fenced, to, encode_fence);
        encode_map(&self.asserted, to, encode_fence);
        to.u8(self.forming);
        to.u8(u8::from(self.configuring));
    }

    /// Takes what [`Membership::encode`] wrote.
    pub fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        if from.u8()? != VERSION {
            return Err(Malformed::OutOfRange("version of a membership"));
        }
        Ok(Self {
            view: decode_view(from)?,
            admitted: decode_map(from, |from| {
                Ok(Admission { incarnation: Incarnation(from.u32()?), op: from.op()? })
            })?,
            removed: decode_map(from, |from| {
                let (member, op) = (decode_member(from)?, from.op()?);
                Ok(Removal { member, op, cause: RemovalCause::from_number(from.u8()?)? })
            })?,
            fenced: decode_map(from, decode_fence)?,
            asserted: decode_map(from, decode_fence)?,
            forming: from.u8()?,
            configuring: from.flag("configuring")?,
        })
    }
}

fn encode_view(view: &View, to: &mut Writer) {
    to.op(view.number);
    to.u32(view.era);
    encode_map(&view.members, to, |member, to| encode_member(*member, to));
    to.u32(view.joined.len() as u32);
    for joined in &view.joined {
        encode_member(joined.member, to);
        to.u8(match joined.cause {
            JoinCause::ColdStart => 1,
            JoinCause::NewLife => 2,
            JoinCause::Returned => 3,
        });
    }
    // Who was a member when an era began is known only to those who were: it does not follow from the log.
    let left = || view.left.iter().filter(|left| left.cause != LeftCause::EraEnded);
    to.u32(left().count() as u32);
    for left in left() {
        encode_member(left.member, to);
        // Removal causes have the numbers of the wire, which are below these.
        to.u8(match left.cause {
            LeftCause::Removed(cause) => cause.number(),
            LeftCause::Replaced => 254,
            LeftCause::EraEnded => 255,
        });
    }
}

fn decode_view(from: &mut Reader<'_>) -> Result<View, Malformed> {
    let (number, era) = (from.op()?, from.u32()?);
    let members = decode_map(from, decode_member)?;
    let count = from.count(CHANGES_MAX, "lives that joined")?;
    let joined = (0..count).map(|_| decode_joined(from)).collect::<Result<Vec<_>, _>>()?;
    let count = from.count(CHANGES_MAX, "lives that left")?;
    let left = (0..count).map(|_| decode_left(from)).collect::<Result<Vec<_>, _>>()?;
    Ok(View { number, era, members, joined, left })
}

fn decode_joined(from: &mut Reader<'_>) -> Result<Joined, Malformed> {
    let member = decode_member(from)?;
    let cause = match from.u8()? {
        1 => JoinCause::ColdStart,
        2 => JoinCause::NewLife,
        3 => JoinCause::Returned,
        _ => return Err(Malformed::OutOfRange("cause of a join")),
    };
    Ok(Joined { member, cause })
}

fn decode_left(from: &mut Reader<'_>) -> Result<Left, Malformed> {
    let member = decode_member(from)?;
    let cause = match from.u8()? {
        254 => LeftCause::Replaced,
        number => LeftCause::Removed(RemovalCause::from_number(number)?),
    };
    Ok(Left { member, cause })
}

fn encode_member(member: Member, to: &mut Writer) {
    to.life(member.life);
    to.stint(member.stint);
}

fn decode_member(from: &mut Reader<'_>) -> Result<Member, Malformed> {
    Ok(Member { life: from.life()?, stint: from.stint()? })
}

fn encode_fence(fence: &Fence, to: &mut Writer) {
    to.life(fence.life);
    to.op(fence.op);
    to.u8(fence.proof.number());
}

fn decode_fence(from: &mut Reader<'_>) -> Result<Fence, Malformed> {
    let (life, op) = (from.life()?, from.op()?);
    Ok(Fence { life, op, proof: FenceProof::from_number(from.u8()?)? })
}

fn encode_map<T>(map: &BTreeMap<NodeId, T>, to: &mut Writer, encode: impl Fn(&T, &mut Writer)) {
    to.u32(map.len() as u32);
    for (node, value) in map {
        to.node(*node);
        encode(value, to);
    }
}

fn decode_map<T>(
    from: &mut Reader<'_>,
    decode: impl Fn(&mut Reader<'_>) -> Result<T, Malformed>,
) -> Result<BTreeMap<NodeId, T>, Malformed> {
    let count = from.count(NODES_MAX, "nodes")?;
    (0..count).map(|_| Ok((from.node()?, decode(from)?))).collect()
}
