//! Agreement messages (PROTOCOL 2, 3, 6). Their bytes are in WIRE.md; each travels in one frame.

use crate::entry::Entry;
use crate::ids::{ClientId, Incarnation, Life, NodeId, Op, Seq, Stint, Term};
use alloc::vec::Vec;

/// Largest encoded message in bytes; a sender cuts Prepares at [`PREPARE_TARGET`].
pub const MESSAGE_MAX: usize = 16 * 1024;
/// Entries are batched into one Prepare up to this many bytes, so that it fits one Ethernet frame.
pub const PREPARE_TARGET: usize = 1_300;

/// One node's suspicion of one stint.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Suspicion {
    /// The silent life.
    pub life: Life,
    /// Its stint.
    pub stint: Stint,
    /// True if an obituary of that stint is known.
    pub obituary: bool,
}

/// What the agreement says to its peers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// Entries after (prev_op, prev_term), and how far they are committed and released.
    Prepare {
        /// The primary's term.
        term: Term,
        /// Op before the first entry.
        prev_op: Op,
        /// Term of the entry at `prev_op`.
        prev_term: Term,
        /// The entries.
        entries: Vec<Entry>,
        /// Committed up to here.
        commit: Op,
        /// Released up to here (PROTOCOL 9).
        release: Op,
    },
    /// All up to `op` is appended and may be counted.
    PrepareOk {
        /// The term acknowledged in.
        term: Term,
        /// Cumulative.
        op: Op,
    },
    /// The sender has promised a higher term.
    Reject {
        /// That term.
        term: Term,
    },
    /// Asks for entries from an op on.
    Fetch {
        /// The asker's term.
        term: Term,
        /// First op wanted.
        from: Op,
    },
    /// The stints that the sender suspects now; replaces its earlier set.
    Suspect {
        /// The sender's term.
        term: Term,
        /// Grows with each set of this sender.
        number: u64,
        /// All it suspects.
        set: Vec<Suspicion>,
    },
    /// A candidate asks for promises.
    PromiseRequest {
        /// The candidate's term.
        term: Term,
    },
    /// A voter's promise with its log tail.
    Promise {
        /// The promised term.
        term: Term,
        /// The promiser's commit.
        commit: Op,
        /// Op before the first entry of `tail`.
        prev_op: Op,
        /// Term of the entry at `prev_op`.
        prev_term: Term,
        /// Entries above the commit.
        tail: Vec<Entry>,
    },
    /// A life asks to be admitted.
    Join {
        /// Op of this life's last Remove in its own log, 0 for a life never admitted.
        removed_at: Op,
        /// How far its own log goes.
        op: Op,
    },
    /// A life higher than the frame's is known.
    Stale {
        /// The node.
        node: NodeId,
        /// Its highest known incarnation.
        highest: Incarnation,
    },
    /// A numbered request on its way to the primary.
    Request {
        /// Who asks.
        client: ClientId,
        /// Its number.
        seq: Seq,
        /// What.
        body: Vec<u8>,
    },
    /// A fresh life asks fresh lives to begin an era (PROTOCOL 6, cold start).
    ColdRequest {
        /// The era's first term.
        term: Term,
    },
    /// A fresh life promises to begin that era.
    ColdPromise {
        /// The era's first term.
        term: Term,
    },
}
