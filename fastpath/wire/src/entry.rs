//! Entries of the agreed log (PROTOCOL 1.3) and their bytes.

use crate::codec::{Malformed, Reader, Writer};
use crate::configuration::Configuration;
use crate::ids::{ClientId, Incarnation, NODES_MAX, NodeId, NodeSet, Seq, Stint, Term};
use alloc::sync::Arc;

/// Largest body of one request, in bytes. What does not fit a datagram travels by stream.
pub const BODY_MAX: usize = 1024 * 1024;
/// Bytes of the smallest entry: term, level, number.
pub const ENTRY_MIN: usize = 16;

/// One agreed entry.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Entry {
    /// Term of the primary that first appended it.
    pub term: Term,
    /// Feature level that applies it.
    pub level: u16,
    /// What it says.
    pub kind: EntryKind,
}

/// Why a member is removed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
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
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FenceProof {
    /// The operator's assertion, logged as such.
    Operator,
    /// A newer life of the node was seen: it began when this one had ended (R-START).
    NewLife,
}

/// What an entry says.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum EntryKind {
    /// Nothing: the first entry of a term with nobody to remove.
    Noop,
    /// A numbered request for the state machines above the log.
    Request {
        /// Who asks.
        client: ClientId,
        /// Its number.
        seq: Seq,
        /// What; decoded by the crate it is for. Shared: a log hands the same bytes to many.
        body: Arc<[u8]>,
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
    /// Begins a stint: its number is the era and the op of this entry.
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
    /// First entry of an era. In the same batch follow the Admits of the promised lives, a Fenced for each absent voter,
    /// and the Configure that states the document again.
    Cold {
        /// The era.
        era: u32,
        /// How many Admits belong to the batch.
        admits: u8,
        /// Version of the charter that the era rests on.
        version: u32,
        /// Whose votes count from here on.
        electorate: NodeSet,
        /// Voters that an operator asserted to be off; their votes were counted as given to begin the era.
        absent: NodeSet,
    },
    /// States what is wanted. In force from the next entry on, except for votes.
    Configure {
        /// What.
        configuration: Arc<Configuration>,
    },
    /// Gives or takes one vote, for all entries after this one.
    Vote {
        /// Version of the epoch that this makes.
        version: u32,
        /// The node.
        node: NodeId,
        /// The life that its slot has; given to another one it changes nothing but the version.
        incarnation: Incarnation,
        /// True if it votes from now on.
        votes: bool,
    },
}

/// The numbers of the kinds on the wire: never reused (WIRE.md).
mod tag {
    pub(super) const NOOP: u8 = 1;
    pub(super) const REQUEST: u8 = 2;
    pub(super) const REMOVE: u8 = 3;
    pub(super) const ADMIT: u8 = 4;
    pub(super) const FENCED: u8 = 5;
    pub(super) const COLD: u8 = 6;
    pub(super) const CONFIGURE: u8 = 7;
    pub(super) const VOTE: u8 = 8;
}

impl RemovalCause {
    /// Its number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Silent => 1,
            Self::Obituary => 2,
            Self::Progress => 3,
            Self::Superseded => 4,
            Self::Operator => 5,
        }
    }

    /// The cause with this number.
    pub const fn from_number(number: u8) -> Result<Self, Malformed> {
        Ok(match number {
            1 => Self::Silent,
            2 => Self::Obituary,
            3 => Self::Progress,
            4 => Self::Superseded,
            5 => Self::Operator,
            _ => return Err(Malformed::OutOfRange("removal cause")),
        })
    }
}

impl FenceProof {
    /// Its number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Operator => 1,
            Self::NewLife => 2,
        }
    }

    /// The proof with this number.
    pub const fn from_number(number: u8) -> Result<Self, Malformed> {
        match number {
            1 => Ok(Self::Operator),
            2 => Ok(Self::NewLife),
            _ => Err(Malformed::OutOfRange("fence proof")),
        }
    }
}

impl Entry {
    /// Bytes that [`Entry::encode`] writes before a request's body: term, level, tag, client, seq, length.
    pub(crate) const HEAD_MAX: usize = 13 + 2 + 1 + 8 + 8 + 4;
    /// Bytes of a `Cold`: term, level, tag, era, admits, version, two sets.
    const COLD: usize = 13 + 2 + 1 + 4 + 1 + 4 + 2 * 16;
    /// An upper bound of the encoded length, to cut messages without encoding twice.
    #[must_use]
    pub fn size(&self) -> usize {
        match &self.kind {
            EntryKind::Request { body, .. } => Self::HEAD_MAX + body.len(),
            EntryKind::Configure { configuration } => Self::HEAD_MAX + configuration.size(),
            EntryKind::Cold { .. } => Self::COLD,
            _ => Self::HEAD_MAX,
        }
    }

    /// Appends its bytes.
    pub fn encode(&self, to: &mut Writer) {
        to.term(self.term);
        to.u16(self.level);
        match &self.kind {
            EntryKind::Noop => to.u8(tag::NOOP),
            EntryKind::Request { client, seq, body } => {
                to.u8(tag::REQUEST);
                to.u64(client.0);
                to.u64(seq.0);
                to.bytes(body);
            }
            EntryKind::Remove { node, incarnation, stint, cause } => {
                to.u8(tag::REMOVE);
                to.node(*node);
                to.u32(incarnation.0);
                to.stint(*stint);
                to.u8(cause.number());
            }
            EntryKind::Admit { node, incarnation } => {
                to.u8(tag::ADMIT);
                to.node(*node);
                to.u32(incarnation.0);
            }
            EntryKind::Fenced { node, incarnation, proof } => {
                to.u8(tag::FENCED);
                to.node(*node);
                to.u32(incarnation.0);
                to.u8(proof.number());
            }
            EntryKind::Cold { era, admits, version, electorate, absent } => {
                to.u8(tag::COLD);
                to.u32(*era);
                to.u8(*admits);
                to.u32(*version);
                to.nodes(*electorate);
                to.nodes(*absent);
            }
            EntryKind::Configure { configuration } => {
                to.u8(tag::CONFIGURE);
                configuration.encode(to);
            }
            EntryKind::Vote { version, node, incarnation, votes } => {
                to.u8(tag::VOTE);
                to.u32(*version);
                to.node(*node);
                to.u32(incarnation.0);
                to.u8(u8::from(*votes));
            }
        }
    }

    /// Takes one entry.
    pub fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let term = from.term()?;
        let level = from.u16()?;
        let kind = match from.u8()? {
            tag::NOOP => EntryKind::Noop,
            tag::REQUEST => EntryKind::Request {
                client: ClientId(from.u64()?),
                seq: Seq(from.u64()?),
                body: from.bytes(BODY_MAX, "request body")?.into(),
            },
            tag::REMOVE => EntryKind::Remove {
                node: from.node()?,
                incarnation: Incarnation(from.u32()?),
                stint: from.stint()?,
                cause: RemovalCause::from_number(from.u8()?)?,
            },
            tag::ADMIT => {
                EntryKind::Admit { node: from.node()?, incarnation: Incarnation(from.u32()?) }
            }
            tag::FENCED => EntryKind::Fenced {
                node: from.node()?,
                incarnation: Incarnation(from.u32()?),
                proof: FenceProof::from_number(from.u8()?)?,
            },
            tag::COLD => {
                let (era, admits) = (from.u32()?, from.u8()?);
                if admits as usize > NODES_MAX {
                    return Err(Malformed::OutOfRange("admits of a cold start"));
                }
                let (version, electorate, absent) = (from.u32()?, from.nodes()?, from.nodes()?);
                EntryKind::Cold { era, admits, version, electorate, absent }
            }
            tag::CONFIGURE => {
                EntryKind::Configure { configuration: Arc::new(Configuration::decode(from)?) }
            }
            tag::VOTE => EntryKind::Vote {
                version: from.u32()?,
                node: from.node()?,
                incarnation: Incarnation(from.u32()?),
                votes: from.flag("vote flag")?,
            },
            _ => return Err(Malformed::OutOfRange("entry kind")),
        };
        Ok(Self { term, level, kind })
    }
}
