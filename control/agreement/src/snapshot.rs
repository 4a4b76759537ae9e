//! Snapshots: what the log up to an op has done, instead of its entries (PROTOCOL 2, Truncation).
//!
//! At a due op the agreement notes its own part, the *head*, and says [`Action::Snapshot`] in the order of the committed
//! entries; the state machines above answer with theirs as slices. Slices are shared, not copied: whoever encodes a
//! big region once may give the same slices in each snapshot until they change. All replicas are due at the same ops, so
//! that equal logs give equal snapshots.
//!
//! *Bounds*: two snapshots are held, the newest and one that somebody still pulls, for as long as that may take at all:
//! who asks for it for ever without coming on does not pin it. The log keeps what not every member
//! has, and at most [`crate::Limits::kept`] entries and [`crate::Limits::kept_bytes`] besides. A member that holds
//! nothing is removed after three deadlines (R-PROGRESS), so that what not every member has is bounded by their writes.

use crate::api::Action;
use crate::clients::Clients;
use crate::pace::SLOWEST_BYTE;
use crate::replica::Agreement;
use crate::roster::Roster;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::{Duration, Instant};
use wire::codec::{Malformed, Reader, Writer};
use wire::{Op, Term};

/// First byte of a head; another layout takes another number.
const HEAD_VERSION: u8 = 1;
/// A snapshot that nobody asked for so many deadlines is pulled by nobody.
const IDLE: u64 = 8;
/// One that is not the newest is held for so many times what it takes on the slowest link, and for the above.
const HELD: u64 = 2;

/// The agreement's own part of a snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Head {
    /// The last op that is in it.
    pub(crate) op: Op,
    /// Term of the entry there.
    pub(crate) op_term: Term,
    /// Term of the era's first entry.
    pub(crate) begun: Term,
    pub(crate) roster: Roster,
    pub(crate) clients: Clients,
}

impl Head {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut to = Writer::new();
        to.u8(HEAD_VERSION);
        to.op(self.op);
        to.term(self.op_term);
        to.term(self.begun);
        self.roster.encode(&mut to);
        self.clients.encode(&mut to);
        to.0
    }
    /// The head in `bytes`, which hold nothing else.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(bytes);
        if from.u8()? != HEAD_VERSION {
            return Err(Malformed::OutOfRange("version of a snapshot's head"));
        }
        let (op, op_term, begun) = (from.op()?, from.term()?, from.term()?);
        let roster = Roster::decode(&mut from, op)?;
        let head = Self { op, op_term, begun, roster, clients: Clients::decode(&mut from)? };
        from.finish()?;
        Ok(head)
    }
}

/// One snapshot, cut in slices: first those of the head, then those of the state machines.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Snapshot {
    /// The last op that is in it.
    pub op: Op,
    /// Term of the entry there; with the op it names the snapshot.
    pub op_term: Term,
    /// How many slices are the head's.
    pub heads: usize,
    /// All slices.
    pub slices: Vec<Arc<[u8]>>,
}

impl Snapshot {
    /// Bytes of all slices.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.slices.iter().map(|slice| slice.len() as u64).sum()
    }
}

/// A head that waits for the slices of the state machines.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Pending {
    op: Op,
    op_term: Term,
    head: Vec<u8>,
}

/// A snapshot that somebody pulls, and that is not the newest.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Pulled {
    snapshot: Snapshot,
    /// When a slice of it was last asked for.
    asked: Instant,
    /// Until when it is offered to others: they still have the time to pull it.
    offered_until: Instant,
    /// Until when it is held.
    held_until: Instant,
}

/// The snapshots of one life.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Snapshots {
    pending: Option<Pending>,
    newest: Option<Snapshot>,
    /// When a slice of the newest was last asked for.
    asked: Option<Instant>,
    /// The one before, while somebody pulls it.
    pulled: Option<Pulled>,
    /// Bytes of the entries committed since the last one.
    bytes: usize,
    /// The commit when the head of the log was last looked at.
    seen: Op,
}

impl Snapshots {
    /// The one that was installed is the newest from now on.
    pub(crate) fn installed(&mut self, snapshot: Snapshot) {
        *self = Self { newest: Some(snapshot), ..Self::default() };
    }
    /// The one that is named, if it is held; notes that it is asked for.
    pub(crate) fn find(&mut self, now: Instant, op: Op, op_term: Term) -> Option<&Snapshot> {
        let is = |s: &Snapshot| (s.op, s.op_term) == (op, op_term);
        if self.newest.as_ref().is_some_and(is) {
            self.asked = Some(now);
            return self.newest.as_ref();
        }
        let pulled = self.pulled.as_mut().filter(|p| is(&p.snapshot) && now < p.held_until)?;
        pulled.asked = now;
        Some(&pulled.snapshot)
    }
    /// The one to offer: that which somebody pulls already while the log goes on from it, so that many who come at the
    /// same time pull the same one.
    pub(crate) fn best(&self, now: Instant, base: Op) -> Option<&Snapshot> {
        let pulled = self.pulled.as_ref().filter(|p| now < p.offered_until);
        let pulled = pulled.map(|p| &p.snapshot).filter(|snapshot| snapshot.op >= base);
        pulled.or(self.newest.as_ref())
    }
}

impl Agreement {
    /// After the entry at `op`, whose encoded size is `bytes`: is a snapshot due? Of several that are due at once only the
    /// last before `target`, where this commit ends, is made.
    pub(crate) fn consider_snapshot(&mut self, op: Op, bytes: usize, target: Op) {
        let limits = &self.settings.limits;
        let every = limits.snapshot_every.max(1);
        self.snapshots.bytes = self.snapshots.bytes.saturating_add(bytes);
        let due = op.0.is_multiple_of(every) && target.0 - op.0 < every;
        let heavy = self.snapshots.bytes >= limits.snapshot_bytes;
        if op < self.log.batch_end() || !(due || heavy) {
            return;
        }
        let (Some(op_term), Some(begun)) = (self.log.term_at(op), self.log.begun()) else { return };
        let (roster, clients) = (self.committed.clone(), self.requests.clients().clone());
        let head = Head { op, op_term, begun, roster, clients }.encode();
        self.snapshots.bytes = 0;
        self.snapshots.pending = Some(Pending { op, op_term, head });
        self.actions.push_back(Action::Snapshot { op });
    }

    /// Answer to [`Action::Snapshot`]: the state after `op`, in slices of at most [`crate::Limits::slice`] bytes. An answer
    /// that is not for the last question, or has a larger slice, is dropped.
    pub fn handle_snapshot(&mut self, now: Instant, op: Op, slices: Vec<Arc<[u8]>>) {
        let largest = self.slice_max();
        let Some(pending) = self.snapshots.pending.take_if(|p| p.op == op) else { return };
        if self.has_ended() || slices.iter().any(|slice| slice.len() > largest) {
            return;
        }
        let mut all: Vec<Arc<[u8]>> = pending.head.chunks(largest).map(Arc::from).collect();
        let heads = all.len();
        all.extend(slices);
        let (op_term, slices) = (pending.op_term, all);
        let idle = self.deadline() * IDLE;
        let snapshots = &mut self.snapshots;
        let asked = snapshots.asked.take().filter(|at| now.since(*at) < idle);
        let before = snapshots.newest.replace(Snapshot { op, op_term, heads, slices });
        if snapshots.pulled.is_none() {
            snapshots.pulled = before.zip(asked).map(|(snapshot, asked)| {
                let takes = Duration(SLOWEST_BYTE.0.saturating_mul(snapshot.bytes()));
                let offered_until = now + takes + idle;
                Pulled { snapshot, asked, offered_until, held_until: now + takes * HELD + idle }
            });
        }
    }

    /// Largest slice of a snapshot in bytes.
    pub(crate) fn slice_max(&self) -> usize {
        self.settings.limits.slice.clamp(1, wire::message::SLICE_MAX)
    }

    /// True while more is kept than the bounds say, or a snapshot that may not be pulled any more.
    pub(crate) fn may_trim(&self) -> bool {
        let snapshots = &self.snapshots;
        let ahead = snapshots.newest.as_ref().is_some_and(|s| s.op > self.log.base());
        snapshots.pulled.is_some() || ahead && self.is_long()
    }

    fn is_long(&self) -> bool {
        let limits = &self.settings.limits;
        self.log.len() as u64 > limits.kept || self.log.bytes() > limits.kept_bytes
    }

    /// Forgets entries that stand in a snapshot and that nobody is expected to ask for. Called once a deadline, and never
    /// drops what was committed since the last call: who looks at the log after each turn sees every entry.
    pub(crate) fn trim_log(&mut self, now: Instant) {
        let idle = self.deadline() * IDLE;
        let over = |p: &mut Pulled| now.since(p.asked) >= idle || now >= p.held_until;
        self.snapshots.pulled.take_if(over);
        let seen = core::mem::replace(&mut self.snapshots.seen, self.commit);
        let Some(newest) = self.snapshots.newest.as_ref().map(|s| s.op) else { return };
        // Who pulls a snapshot will want what follows it.
        let pulled = self.snapshots.pulled.as_ref().map_or(newest, |p| p.snapshot.op);
        let limit = newest.min(pulled).min(seen).min(self.release);
        while self.log.base() < limit && self.is_long() {
            let next = self.log.base().next();
            self.log.drop_head(next);
        }
    }

    /// The newest snapshot; the simulator's checkers compare it.
    #[must_use]
    pub const fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshots.newest.as_ref()
    }

    /// The head of a snapshot at the present commit; the simulator's checkers compare it.
    #[must_use]
    pub fn head(&self) -> Vec<u8> {
        let op = self.commit;
        let op_term = self.log.term_at(op).unwrap_or(Term::NONE);
        let begun = self.log.begun().unwrap_or(Term::NONE);
        let (roster, clients) = (self.committed.clone(), self.requests.clients().clone());
        Head { op, op_term, begun, roster, clients }.encode()
    }
}

#[cfg(test)]
mod tests {
    use super::Head;
    use crate::clients::{CLIENTS_MAX, Clients};
    use crate::roster::Roster;
    use wire::entry::{FenceProof, RemovalCause};
    use wire::message::SLICE_MAX;
    use wire::{
        ClientId, Entry, EntryKind, Incarnation, Life, NodeId, NodeSet, Op, Seq, Stint, Term,
    };

    fn id(n: u8) -> NodeId {
        NodeId::new(n).unwrap()
    }

    /// A pair of which one was removed and its vote given, and a client.
    fn head() -> Head {
        let life = Life { node: id(1), incarnation: Incarnation(4) };
        let term = Term { era: 2, counter: 3, life };
        let voters: NodeSet = [1, 2].map(id).into_iter().collect();
        let mut roster = Roster::empty(voters);
        let (node, incarnation) = (id(2), Incarnation(7));
        let proof = FenceProof::Operator;
        let (stint, cause) = (Stint::of(2, Op(3)), RemovalCause::Operator);
        let kinds = [
            EntryKind::Cold {
                era: 2,
                admits: 2,
                version: 0,
                electorate: NodeSet(3),
                absent: NodeSet::EMPTY,
            },
            EntryKind::Admit { node: life.node, incarnation: life.incarnation },
            EntryKind::Admit { node, incarnation },
            EntryKind::Fenced { node, incarnation, proof },
            EntryKind::Remove { node, incarnation, stint, cause },
        ];
        for (op, kind) in (1..).map(Op).zip(kinds) {
            roster.apply(op, &Entry { term, level: 1, kind });
        }
        assert!(roster.is_void(node) && !roster.stint(Life { node, incarnation }).is_member());
        let mut clients = Clients::default();
        clients.apply(Op(4), ClientId(9), Seq(1));
        let begun = Term { counter: 0, ..term };
        Head { op: Op(5), op_term: term, begun, roster, clients }
    }

    #[test]
    fn a_head_comes_back_as_it_was() {
        assert_eq!(Head::decode(&head().encode()), Ok(head()));
    }

    /// The table of answers is part of every snapshot: its bound is the head's.
    #[test]
    fn a_head_with_all_clients_is_a_few_slices() {
        let mut head = head();
        for client in 0..2 * CLIENTS_MAX as u64 {
            head.clients.apply(Op(client + 1), ClientId(client << 40), Seq(u64::MAX));
        }
        let bytes = head.encode();
        assert!(bytes.len() <= 2 * SLICE_MAX, "{}", bytes.len());
        assert_eq!(Head::decode(&bytes), Ok(head));
    }

    #[test]
    fn a_part_of_a_head_is_none_and_a_damaged_one_never_panics() {
        let bytes = head().encode();
        for end in 0..bytes.len() {
            assert!(Head::decode(&bytes[..end]).is_err(), "cut at {end}");
        }
        assert!(Head::decode(&[bytes.clone(), vec![0]].concat()).is_err());
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            if let Ok(other) = Head::decode(&damaged) {
                assert_ne!(other, head(), "bit {bit} says nothing");
            }
        }
    }
}
