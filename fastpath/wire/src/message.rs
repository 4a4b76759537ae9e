//! Agreement messages (PROTOCOL 2, 3, 6) and their bytes; each travels in one frame. WIRE.md has the table.

use crate::codec::{Malformed, Reader, Writer};
use crate::configuration::{Charter, Configuration, Edition};
use crate::entry::{BODY_MAX, ENTRY_MIN, Entry};
use crate::ids::{ClientId, Incarnation, Life, NODES_MAX, NodeId, Op, Seq, Stint, Term};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Largest encoded message in bytes: one entry of the largest size and its head, with room to spare. A sender cuts
/// Prepares and Promises at [`PREPARE_TARGET`], and sends at least one entry.
pub const MESSAGE_MAX: usize = 2 * 1024 * 1024;
/// Largest message that travels in a datagram; larger ones take the stream beside the datagrams.
pub const DATAGRAM_MAX: usize = 16 * 1024;
/// Entries are batched into one message up to this many bytes, so that it fits one Ethernet frame.
pub const PREPARE_TARGET: usize = 1_300;
/// Largest slice of a snapshot in bytes. A full one takes the stream: long enough that asking for each costs little, short
/// enough that what waits behind one does not wait long.
pub const SLICE_MAX: usize = 64 * 1024;
/// Most slices of one snapshot.
pub const SLICES_MAX: u32 = 1 << 20;
/// Most entries in one message: as many of the smallest as a datagram holds.
pub const ENTRIES_MAX: usize = DATAGRAM_MAX / ENTRY_MIN;
/// More than any message has besides its lists: numbers, terms, ops, lengths.
const HEAD_MAX: usize = 128;

const _: () = assert!(HEAD_MAX + Entry::HEAD_MAX + BODY_MAX <= MESSAGE_MAX);

/// One node's suspicion of one stint.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Suspicion {
    /// The silent life.
    pub life: Life,
    /// Its stint.
    pub stint: Stint,
    /// True if an obituary of that stint is known.
    pub obituary: bool,
}

/// What an operator orders about one life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Order {
    /// End its present stint.
    Remove,
    /// The operator asserts that the machine is off.
    Fenced,
}

/// What makes two messages of one life to one peer the same, so that the second says nothing that the first does not:
/// the agreement repeats what is not acknowledged, and what is large may still be on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Key {
    /// So many entries after an op; which message, and its term.
    Entries(u8, Term, Op, usize),
    /// A request.
    Request(ClientId, Seq),
    /// A slice of a snapshot.
    Slice(Op, Term, u32),
}

/// What the agreement says to its peers.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
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
        /// Acknowledged by the primary itself up to here: with it a follower of three voters knows what is committed.
        held: Op,
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
    /// Asks for entries from an op on. A candidate asks a promiser for more of the promised log with it.
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
    /// A voter's promise with its log tail. A long tail comes in several; only all of it counts as a promise.
    Promise {
        /// The promised term.
        term: Term,
        /// The promiser's commit.
        commit: Op,
        /// Its last entry.
        last_op: Op,
        /// That entry's term.
        last_term: Term,
        /// Op before the first entry of `tail`.
        prev_op: Op,
        /// Term of the entry at `prev_op`: who has that entry needs nothing below it.
        prev_term: Term,
        /// Entries after `prev_op`.
        tail: Vec<Entry>,
    },
    /// A life asks to be admitted, and tells fresh lives that it is there.
    Join {
        /// Op of this life's last Remove in its own log, 0 for a life never admitted.
        removed_at: Op,
        /// How far its own log goes.
        op: Op,
        /// True if no entry of its log gives it a vote and its cold-start wait is over (R-FRESH, R-COLD-WAIT).
        fresh: bool,
        /// Highest era it knows or has promised, so that a cold start takes a new number (R-ERA).
        era: u32,
        /// The charter that it holds durably.
        edition: Edition,
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
        /// The client's lowest number that is not answered yet: all before it are done with.
        first: Seq,
        /// What.
        body: Arc<[u8]>,
    },
    /// A fresh life asks fresh lives to begin an era (PROTOCOL 6, cold start).
    ColdRequest {
        /// The era's first term.
        term: Term,
        /// The charter that the era would rest on: promised only by who holds the same one.
        edition: Edition,
    },
    /// A fresh life promises to begin that era.
    ColdPromise {
        /// The era's first term.
        term: Term,
        /// The charter that it holds durably.
        edition: Edition,
    },
    /// A candidate has given up this era: promises of it bind nobody any more.
    ColdRelease {
        /// The era's first term.
        term: Term,
    },
    /// An operator's order on its way to the primary.
    Order {
        /// The life it is about.
        life: Life,
        /// What.
        order: Order,
    },
    /// Entries that are committed, whatever the term: the answer to a Fetch of who cannot answer with a Prepare.
    Committed {
        /// Op before the first entry.
        prev_op: Op,
        /// Term of the entry at `prev_op`.
        prev_term: Term,
        /// The entries, all committed.
        entries: Vec<Entry>,
    },
    /// By the sender's agreed log this life was said to be off: it must not go on (R-FENCE).
    Ended {
        /// The life.
        life: Life,
    },
    /// What was asked for is not in the sender's log any more, but it has a snapshot: the answer to a Fetch from below
    /// its base, and to a FetchSlice of a snapshot that it has not.
    Offer {
        /// The snapshot's last op.
        op: Op,
        /// Term of the entry there; op and term name the snapshot.
        op_term: Term,
        /// How many slices, from the first, are the agreement's own head.
        heads: u32,
        /// How many slices there are, heads included.
        slices: u32,
        /// Bytes of all slices.
        bytes: u64,
    },
    /// Asks for one slice of an offered snapshot.
    FetchSlice {
        /// The snapshot's last op.
        op: Op,
        /// Term of the entry there.
        op_term: Term,
        /// Which slice, from 0.
        index: u32,
    },
    /// One slice of a snapshot.
    Slice {
        /// The snapshot's last op.
        op: Op,
        /// Term of the entry there.
        op_term: Term,
        /// Which slice, from 0.
        index: u32,
        /// Its bytes, at most [`SLICE_MAX`].
        bytes: Arc<[u8]>,
    },
    /// A wanted configuration on its way to the primary.
    Configure {
        /// What is wanted; its version is one above that in force.
        configuration: Arc<Configuration>,
    },
    /// A fresh life holds a later charter than another fresh life (R-CONF-DURABLE).
    Charter {
        /// It.
        charter: Charter,
    },
}

/// The numbers of the messages on the wire: never reused (WIRE.md).
mod tag {
    pub(super) const PREPARE: u8 = 1;
    pub(super) const PREPARE_OK: u8 = 2;
    pub(super) const REJECT: u8 = 3;
    pub(super) const FETCH: u8 = 4;
    pub(super) const SUSPECT: u8 = 5;
    pub(super) const PROMISE_REQUEST: u8 = 6;
    pub(super) const PROMISE: u8 = 7;
    pub(super) const JOIN: u8 = 8;
    pub(super) const STALE: u8 = 9;
    pub(super) const REQUEST: u8 = 10;
    pub(super) const COLD_REQUEST: u8 = 11;
    pub(super) const COLD_PROMISE: u8 = 12;
    pub(super) const ORDER: u8 = 13;
    pub(super) const COLD_RELEASE: u8 = 14;
    pub(super) const COMMITTED: u8 = 15;
    pub(super) const ENDED: u8 = 16;
    pub(super) const OFFER: u8 = 17;
    pub(super) const FETCH_SLICE: u8 = 18;
    pub(super) const SLICE: u8 = 19;
    pub(super) const CONFIGURE: u8 = 20;
    pub(super) const CHARTER: u8 = 21;
}

fn put_entries(to: &mut Writer, entries: &[Entry]) {
    to.u32(entries.len() as u32);
    for entry in entries {
        entry.encode(to);
    }
}

fn take_entries(from: &mut Reader<'_>) -> Result<Vec<Entry>, Malformed> {
    let count = from.list(ENTRIES_MAX, ENTRY_MIN, "entries")?;
    (0..count).map(|_| Entry::decode(from)).collect()
}

impl Suspicion {
    /// Its bytes: life, stint, flag.
    const LEN: usize = 5 + 8 + 1;

    fn encode(&self, to: &mut Writer) {
        to.life(self.life);
        to.stint(self.stint);
        to.flag(self.obituary);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { life: from.life()?, stint: from.stint()?, obituary: from.flag("obituary flag")? })
    }
}

impl Order {
    const fn number(self) -> u8 {
        match self {
            Self::Remove => 1,
            Self::Fenced => 2,
        }
    }

    const fn from_number(number: u8) -> Result<Self, Malformed> {
        match number {
            1 => Ok(Self::Remove),
            2 => Ok(Self::Fenced),
            _ => Err(Malformed::OutOfRange("order")),
        }
    }
}

impl Message {
    /// An upper bound of the encoded length, without encoding: says which way it travels.
    #[must_use]
    pub fn size(&self) -> usize {
        let sum = |entries: &[Entry]| entries.iter().map(Entry::size).sum::<usize>();
        HEAD_MAX
            + match self {
                Self::Prepare { entries, .. } | Self::Committed { entries, .. } => sum(entries),
                Self::Promise { tail, .. } => sum(tail),
                Self::Suspect { set, .. } => set.len() * Suspicion::LEN,
                Self::Request { body, .. } => body.len(),
                Self::Slice { bytes, .. } => bytes.len(),
                Self::Configure { configuration } => configuration.size(),
                Self::Charter { charter } => charter.configuration.size(),
                Self::PrepareOk { .. }
                | Self::Reject { .. }
                | Self::Fetch { .. }
                | Self::PromiseRequest { .. }
                | Self::Join { .. }
                | Self::Stale { .. }
                | Self::ColdRequest { .. }
                | Self::ColdPromise { .. }
                | Self::ColdRelease { .. }
                | Self::Order { .. }
                | Self::Offer { .. }
                | Self::FetchSlice { .. }
                | Self::Ended { .. } => 0,
            }
    }

    /// What tells a repetition of it; `None` if every such message is news.
    #[must_use]
    pub fn key(&self) -> Option<Key> {
        match self {
            Self::Prepare { term, prev_op, entries, .. } => {
                Some(Key::Entries(tag::PREPARE, *term, *prev_op, entries.len()))
            }
            Self::Promise { term, prev_op, tail, .. } => {
                Some(Key::Entries(tag::PROMISE, *term, *prev_op, tail.len()))
            }
            Self::Committed { prev_term, prev_op, entries } => {
                Some(Key::Entries(tag::COMMITTED, *prev_term, *prev_op, entries.len()))
            }
            Self::Request { client, seq, .. } => Some(Key::Request(*client, *seq)),
            Self::Slice { op, op_term, index, .. } => Some(Key::Slice(*op, *op_term, *index)),
            _ => None,
        }
    }

    /// True if it may not fit a datagram: it takes the stream.
    #[must_use]
    pub fn is_large(&self) -> bool {
        self.size() > DATAGRAM_MAX
    }

    /// Appends its bytes.
    pub fn encode(&self, to: &mut Writer) {
        match self {
            Self::Prepare { term, prev_op, prev_term, entries, commit, release, held } => {
                to.u8(tag::PREPARE);
                to.term(*term);
                to.op(*prev_op);
                to.term(*prev_term);
                to.op(*commit);
                to.op(*release);
                to.op(*held);
                put_entries(to, entries);
            }
            Self::Suspect { term, number, set } => {
                to.u8(tag::SUSPECT);
                to.term(*term);
                to.u64(*number);
                to.u32(set.len() as u32);
                for suspicion in set {
                    suspicion.encode(to);
                }
            }
            Self::Promise { term, commit, last_op, last_term, prev_op, prev_term, tail } => {
                to.u8(tag::PROMISE);
                to.term(*term);
                to.op(*commit);
                to.op(*last_op);
                to.term(*last_term);
                to.op(*prev_op);
                to.term(*prev_term);
                put_entries(to, tail);
            }
            Self::Request { client, seq, first, body } => {
                to.u8(tag::REQUEST);
                to.u64(client.0);
                to.u64(seq.0);
                to.u64(first.0);
                to.bytes(body);
            }
            Self::Committed { prev_op, prev_term, entries } => {
                to.u8(tag::COMMITTED);
                to.op(*prev_op);
                to.term(*prev_term);
                put_entries(to, entries);
            }
            Self::Slice { op, op_term, index, bytes } => {
                to.u8(tag::SLICE);
                to.op(*op);
                to.term(*op_term);
                to.u32(*index);
                to.bytes(bytes);
            }
            _ => self.encode_short(to),
        }
    }

    /// The messages without lists.
    fn encode_short(&self, to: &mut Writer) {
        match self {
            Self::PrepareOk { term, op } => {
                to.u8(tag::PREPARE_OK);
                to.term(*term);
                to.op(*op);
            }
            Self::Reject { term } => Self::encode_term(to, tag::REJECT, *term),
            Self::Fetch { term, from } => {
                to.u8(tag::FETCH);
                to.term(*term);
                to.op(*from);
            }
            Self::PromiseRequest { term } => Self::encode_term(to, tag::PROMISE_REQUEST, *term),
            Self::Join { removed_at, op, fresh, era, edition } => {
                to.u8(tag::JOIN);
                to.op(*removed_at);
                to.op(*op);
                to.flag(*fresh);
                to.u32(*era);
                edition.encode(to);
            }
            Self::Stale { node, highest } => {
                to.u8(tag::STALE);
                to.node(*node);
                to.u32(highest.0);
            }
            Self::ColdRequest { term, edition } => {
                Self::encode_term(to, tag::COLD_REQUEST, *term);
                edition.encode(to);
            }
            Self::ColdPromise { term, edition } => {
                Self::encode_term(to, tag::COLD_PROMISE, *term);
                edition.encode(to);
            }
            Self::ColdRelease { term } => Self::encode_term(to, tag::COLD_RELEASE, *term),
            Self::Order { life, order } => {
                to.u8(tag::ORDER);
                to.life(*life);
                to.u8(order.number());
            }
            Self::Ended { life } => {
                to.u8(tag::ENDED);
                to.life(*life);
            }
            Self::Offer { op, op_term, heads, slices, bytes } => {
                to.u8(tag::OFFER);
                to.op(*op);
                to.term(*op_term);
                to.u32(*heads);
                to.u32(*slices);
                to.u64(*bytes);
            }
            Self::FetchSlice { op, op_term, index } => {
                to.u8(tag::FETCH_SLICE);
                to.op(*op);
                to.term(*op_term);
                to.u32(*index);
            }
            Self::Configure { configuration } => {
                to.u8(tag::CONFIGURE);
                configuration.encode(to);
            }
            Self::Charter { charter } => {
                to.u8(tag::CHARTER);
                charter.encode(to);
            }
            // Written by `encode`, which calls this for nothing of the kind.
            Self::Prepare { .. }
            | Self::Suspect { .. }
            | Self::Promise { .. }
            | Self::Committed { .. }
            | Self::Slice { .. }
            | Self::Request { .. } => {}
        }
    }

    fn encode_term(to: &mut Writer, tag: u8, term: Term) {
        to.u8(tag);
        to.term(term);
    }

    /// The message that `bytes` hold, all of them.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > MESSAGE_MAX {
            return Err(Malformed::TooLong("message"));
        }
        let mut from = Reader::new(bytes);
        let message = Self::decode_from(&mut from)?;
        from.finish()?;
        Ok(message)
    }

    fn decode_from(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match from.u8()? {
            tag::PREPARE => {
                let (term, prev_op, prev_term) = (from.term()?, from.op()?, from.term()?);
                let (commit, release, held) = (from.op()?, from.op()?, from.op()?);
                let entries = take_entries(from)?;
                Self::Prepare { term, prev_op, prev_term, entries, commit, release, held }
            }
            tag::PREPARE_OK => Self::PrepareOk { term: from.term()?, op: from.op()? },
            tag::REJECT => Self::Reject { term: from.term()? },
            tag::FETCH => Self::Fetch { term: from.term()?, from: from.op()? },
            tag::SUSPECT => {
                let (term, number) = (from.term()?, from.u64()?);
                let count = from.list(NODES_MAX, Suspicion::LEN, "suspicions")?;
                let set = (0..count).map(|_| Suspicion::decode(from)).collect::<Result<_, _>>()?;
                Self::Suspect { term, number, set }
            }
            tag::PROMISE_REQUEST => Self::PromiseRequest { term: from.term()? },
            tag::PROMISE => {
                let (term, commit, last_op) = (from.term()?, from.op()?, from.op()?);
                let (last_term, prev_op, prev_term) = (from.term()?, from.op()?, from.term()?);
                let tail = take_entries(from)?;
                Self::Promise { term, commit, last_op, last_term, prev_op, prev_term, tail }
            }
            tag::JOIN => Self::Join {
                removed_at: from.op()?,
                op: from.op()?,
                fresh: from.flag("fresh flag")?,
                era: from.u32()?,
                edition: Edition::decode(from)?,
            },
            tag::STALE => Self::Stale { node: from.node()?, highest: Incarnation(from.u32()?) },
            tag::REQUEST => Self::Request {
                client: ClientId(from.u64()?),
                seq: Seq(from.u64()?),
                first: Seq(from.u64()?),
                body: from.bytes(BODY_MAX, "request body")?.into(),
            },
            tag::COLD_REQUEST => {
                Self::ColdRequest { term: from.term()?, edition: Edition::decode(from)? }
            }
            tag::COLD_PROMISE => {
                Self::ColdPromise { term: from.term()?, edition: Edition::decode(from)? }
            }
            tag::COLD_RELEASE => Self::ColdRelease { term: from.term()? },
            tag::ORDER => {
                Self::Order { life: from.life()?, order: Order::from_number(from.u8()?)? }
            }
            tag::ENDED => Self::Ended { life: from.life()? },
            tag::CONFIGURE => {
                Self::Configure { configuration: Arc::new(Configuration::decode(from)?) }
            }
            tag::CHARTER => Self::Charter { charter: Charter::decode(from)? },
            tag::COMMITTED => Self::Committed {
                prev_op: from.op()?,
                prev_term: from.term()?,
                entries: take_entries(from)?,
            },
            tag::OFFER => {
                let (op, op_term) = (from.op()?, from.term()?);
                let (heads, slices) = (from.u32()?, from.u32()?);
                if slices > SLICES_MAX || heads == 0 || heads > slices {
                    return Err(Malformed::OutOfRange("slices of a snapshot"));
                }
                Self::Offer { op, op_term, heads, slices, bytes: from.u64()? }
            }
            tag::FETCH_SLICE => {
                Self::FetchSlice { op: from.op()?, op_term: from.term()?, index: from.u32()? }
            }
            tag::SLICE => {
                let (op, op_term, index) = (from.op()?, from.term()?, from.u32()?);
                let bytes = Arc::from(from.bytes(SLICE_MAX, "slice")?);
                Self::Slice { op, op_term, index, bytes }
            }
            _ => return Err(Malformed::OutOfRange("message kind")),
        })
    }
}
