//! What the log carries and what a snapshot holds: requests to the planner, and the state of the machines above the log.

use super::same;
use crate::apply::{self, LEARNER};
use crate::arbitrary;
use crate::choices::Choices;
use crate::target::Target;
use membership::Membership;
use services::Planner;
use wire::Op;
use wire::codec::{Reader, Writer};

pub(super) const TARGETS: &[Target] = &[
    Target { name: "body", sample: |c| arbitrary::body(c).encode(), check: body_check },
    Target { name: "membership", sample: membership_sample, check: membership_check },
    Target { name: "planner", sample: planner_sample, check: planner_check },
    Target { name: "snapshot", sample: snapshot_sample, check: snapshot_check },
];

fn body_check(bytes: &[u8]) -> Result<(), String> {
    let Ok(body) = services::Body::decode(bytes) else { return Ok(()) };
    let again = body.encode();
    // What fills a probe means nothing, and may be anything.
    if matches!(body, services::Body::Probe { .. }) {
        return same("a probe", &Ok(body), &services::Body::decode(&again));
    }
    same("a request to the planner", &bytes, &&again[..])
}

/// The state after some entries.
fn membership_sample(c: &mut Choices<'_>) -> Vec<u8> {
    let mut membership = Membership::new();
    for op in 1..=c.below(40) {
        let _ = membership.apply(Op(op), &arbitrary::entry(c, 1, op));
    }
    let mut to = Writer::new();
    membership.encode(&mut to);
    to.0
}

fn membership_check(bytes: &[u8]) -> Result<(), String> {
    let mut from = Reader::new(bytes);
    let Ok(membership) = Membership::decode(&mut from) else { return Ok(()) };
    let mut to = Writer::new();
    membership.encode(&mut to);
    let back =
        Membership::decode(&mut Reader::new(&to.0)).map_err(|e| format!("{membership:?}: {e}"))?;
    let mut again = Writer::new();
    back.encode(&mut again);
    same("a membership", &to.0, &again.0)
}

/// A planner that got some entries.
fn planner_sample(c: &mut Choices<'_>) -> Vec<u8> {
    let (mut planner, mut membership) = (planner(), Membership::new());
    for op in 1..=c.below(40) {
        let entry = arbitrary::entry(c, 1, op);
        let _ = membership.apply(Op(op), &entry);
        let _ = planner.apply(Op(op), &entry, &membership);
    }
    let mut to = Writer::new();
    planner.encode(&mut to);
    to.0
}

fn planner() -> Planner {
    Planner::new(apply::settings(apply::life(LEARNER)).services, wire::NodeSet::EMPTY)
}

/// What is installed is written as it was read, and whoever looks at it finds nothing odd.
fn planner_check(bytes: &[u8]) -> Result<(), String> {
    let (mut planner, mut from) = (planner(), Reader::new(bytes));
    if planner.install(&mut from).is_err() {
        return Ok(());
    }
    let mut to = Writer::new();
    planner.encode(&mut to);
    let _ = planner.services().count();
    same("a plan", &&bytes[..bytes.len() - from.left()], &&to.0[..])
}

/// The slices of a snapshot that a node made, each behind its length; the first byte says how many are the agreement's own.
fn snapshot_sample(c: &mut Choices<'_>) -> Vec<u8> {
    let (heads, slices) = apply::snapshot(c);
    let mut bytes = vec![heads as u8];
    for slice in slices {
        bytes.extend((slice.len() as u16).to_le_bytes());
        bytes.extend(&*slice);
    }
    bytes
}

/// A node that is behind is offered the slices, pulls them, and installs them or goes on without.
fn snapshot_check(bytes: &[u8]) -> Result<(), String> {
    let _ = install(bytes);
    Ok(())
}

/// [`apply::offer`] of what [`snapshot_check`] gets.
#[must_use]
pub fn install(bytes: &[u8]) -> Option<bool> {
    let (heads, mut rest) = bytes.split_first()?;
    let mut slices: Vec<&[u8]> = Vec::new();
    while let Some((length, more)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes(*length));
        let (slice, more) = more.split_at(length.min(more.len()));
        slices.push(slice);
        rest = more;
    }
    apply::offer(usize::from(*heads), &slices)
}
