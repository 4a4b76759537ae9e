//! What the cluster is to be, as one agreed document, and what is in force of it (PROTOCOL 8).
//!
//! A [`Configuration`] is desired state: who is configured, who shall vote. Votes follow it one by one, each by an
//! entry of its own, so that the *electorate* in force may still differ from it. Both together, with the number that
//! grows with each such entry, are a [`Charter`]: what a node keeps durably, and what a cold start rests on.

use crate::codec::{Malformed, Reader, Writer};
use crate::ids::{NodeSet, Term};
use alloc::sync::Arc;

/// Longest document, in bytes.
pub const DOCUMENT_MAX: usize = 64 * 1024;

/// What is wanted.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Configuration {
    /// Version of the epoch that the entry which states it makes; 0 = from a file, never agreed.
    pub version: u32,
    /// Who is configured.
    pub nodes: NodeSet,
    /// Those of them that shall have a vote, witnesses included.
    pub voters: NodeSet,
    /// Those of them that own nothing, and lead only where nobody else may ([`Configuration::leaders`]).
    pub witnesses: NodeSet,
    /// Heartbeat interval in µs.
    pub interval_us: u32,
    /// Intervals of silence that make a suspect.
    pub misses: u32,
    /// Feature level of the entries from here on.
    pub level: u16,
    /// Digest of all that must be equal everywhere, made by who made the document.
    pub digest: u64,
    /// The text of `netguard.toml`; nothing below the daemons reads it.
    pub document: Arc<[u8]>,
}

impl Configuration {
    /// Bytes beside the document: version, three sets, interval, misses, level, digest, length.
    const HEAD: usize = 4 + 3 * 16 + 4 + 4 + 2 + 8 + 4;

    /// Every node with a vote, 10 ms × 3, no document: for tests and simulations.
    #[must_use]
    pub fn plain(voters: NodeSet, witnesses: NodeSet) -> Self {
        Self {
            version: 0,
            nodes: voters,
            voters,
            witnesses,
            interval_us: 10_000,
            misses: 3,
            level: 1,
            digest: 0,
            document: Arc::from([]),
        }
    }
    /// Those of an electorate that may lead: the witnesses only while nobody else has a vote. (Votes follow what is wanted
    /// one by one, so the only vote of a moment may be that of a node which has just been made a witness.)
    #[must_use]
    pub const fn leaders(&self, electorate: NodeSet) -> NodeSet {
        let others = electorate.minus(self.witnesses);
        if others.is_empty() { electorate } else { others }
    }
    /// Its encoded length in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        Self::HEAD + self.document.len()
    }
    /// True if both say the same, whatever version states it.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        let version = self.version;
        *self == Self { version, ..other.clone() }
    }

    /// Appends its bytes.
    pub fn encode(&self, to: &mut Writer) {
        to.u32(self.version);
        to.nodes(self.nodes);
        to.nodes(self.voters);
        to.nodes(self.witnesses);
        to.u32(self.interval_us);
        to.u32(self.misses);
        to.u16(self.level);
        to.u64(self.digest);
        to.bytes(&self.document);
    }

    /// Takes one.
    pub fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            version: from.u32()?,
            nodes: from.nodes()?,
            voters: from.nodes()?,
            witnesses: from.nodes()?,
            interval_us: from.u32()?,
            misses: from.u32()?,
            level: from.u16()?,
            digest: from.u64()?,
            document: Arc::from(from.bytes(DOCUMENT_MAX, "document")?),
        })
    }
}

/// Which charter a node holds. Two of the same version and term with different digests come from files that differ.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Edition {
    /// Version of the epoch: grows by one with each `Configure` and `Vote`, never reset by an era.
    pub version: u32,
    /// Term of the entry that made it: of two entries of one version at most the later one was committed.
    pub term: Term,
    /// Digest of the configuration.
    pub digest: u64,
}

impl Edition {
    /// True if the other is about the same version and says something else.
    #[must_use]
    pub fn contradicts(&self, other: &Self) -> bool {
        (self.version, self.term) == (other.version, other.term) && self.digest != other.digest
    }

    /// Appends its bytes.
    pub fn encode(&self, to: &mut Writer) {
        to.u32(self.version);
        to.term(self.term);
        to.u64(self.digest);
    }

    /// Takes one.
    pub fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { version: from.u32()?, term: from.term()?, digest: from.u64()? })
    }
}

/// What is in force, and what is wanted.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Charter {
    /// Version of the epoch: that of the last `Configure` or `Vote`.
    pub version: u32,
    /// Term of that entry.
    pub term: Term,
    /// Whose votes count.
    pub electorate: NodeSet,
    /// What is wanted.
    pub configuration: Arc<Configuration>,
}

impl Charter {
    /// What a file says that was never agreed.
    #[must_use]
    pub fn of_file(configuration: Configuration) -> Self {
        let (version, electorate) = (configuration.version, configuration.voters);
        Self { version, term: Term::NONE, electorate, configuration: Arc::new(configuration) }
    }
    /// Every node with a vote; see [`Configuration::plain`].
    #[must_use]
    pub fn plain(voters: NodeSet, witnesses: NodeSet) -> Self {
        Self::of_file(Configuration::plain(voters, witnesses))
    }
    /// Which one it is.
    #[must_use]
    pub fn edition(&self) -> Edition {
        Edition { version: self.version, term: self.term, digest: self.configuration.digest }
    }

    /// Appends its bytes.
    pub fn encode(&self, to: &mut Writer) {
        to.u32(self.version);
        to.term(self.term);
        to.nodes(self.electorate);
        self.configuration.encode(to);
    }

    /// Takes one.
    pub fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            version: from.u32()?,
            term: from.term()?,
            electorate: from.nodes()?,
            configuration: Arc::new(Configuration::decode(from)?),
        })
    }
}
