//! Entries of the agreed log (PROTOCOL 1.3).

use crate::ids::{ClientId, Incarnation, NodeId, Seq, Stint, Term};
use alloc::vec::Vec;

/// Largest body of one request that travels by datagram, in bytes.
pub const BODY_MAX: usize = 1024;

/// One agreed entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Term of the primary that first appended it.
    pub term: Term,
    /// Feature level that applies it.
    pub level: u16,
    /// What it says.
    pub kind: EntryKind,
}

/// Why a member is removed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum RemovalCause {
    /// A majority calls it silent.
    Silent,
    /// Its own fast path said that it ends.
    Obituary,
    /// It beats but does not acknowledge (R-PROGRESS).
    Progress,
    /// A newer life of the node speaks.
    Superseded,
    /// The operator's order.
    Operator,
}

/// How it is known that a life can do no I/O any more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum FenceProof {
    /// The operator's assertion, logged as such.
    Operator,
}

/// What an entry says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EntryKind {
    /// Nothing: the first entry of a term with nobody to remove.
    Noop,
    /// A numbered request for the state machines above the log.
    Request {
        /// Who asks.
        client: ClientId,
        /// Its number.
        seq: Seq,
        /// What; decoded by the crate it is for.
        body: Vec<u8>,
    },
    /// Ends one stint.
    Remove {
        /// The node.
        node: NodeId,
        /// Its life.
        incarnation: Incarnation,
        /// The stint that ends.
        stint: Stint,
        /// Why.
        cause: RemovalCause,
    },
    /// Begins a stint: its number is this entry's op.
    Admit {
        /// The node.
        node: NodeId,
        /// The life that gets the slot's vote.
        incarnation: Incarnation,
    },
    /// A life is proven unable to do I/O.
    Fenced {
        /// The node.
        node: NodeId,
        /// Its life.
        incarnation: Incarnation,
        /// How that is known.
        proof: FenceProof,
    },
    /// First entry of an era; the Admits of the promised lives follow in the same batch.
    Cold {
        /// The era.
        era: u32,
        /// How many Admits belong to the batch.
        admits: u8,
    },
}
