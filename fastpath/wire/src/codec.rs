//! Bounded little-endian reader and writer for variable-length bodies.

use crate::ids::{Incarnation, Life, NodeId, NodeSet, Op, Stint, Term};
use alloc::vec::Vec;

/// Why bytes were not understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Malformed {
    /// The bytes end before the value does.
    Truncated,
    /// Bytes are left after the value.
    Trailing,
    /// A number that this field cannot have.
    OutOfRange(&'static str),
    /// A list longer than its bound.
    TooLong(&'static str),
}

impl core::fmt::Display for Malformed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Truncated => f.write_str("the bytes end too early"),
            Self::Trailing => f.write_str("bytes are left over"),
            Self::OutOfRange(field) => write!(f, "{field} is out of range"),
            Self::TooLong(field) => write!(f, "{field} is longer than allowed"),
        }
    }
}

/// Appends values to a buffer.
#[derive(Default, Debug)]
pub struct Writer(pub Vec<u8>);

macro_rules! ints {
    ($($t:ident),+) => {
        impl Writer { $(
            /// Appends one number.
            pub fn $t(&mut self, value: $t) {
                self.0.extend_from_slice(&value.to_le_bytes());
            }
        )+ }
        impl Reader<'_> { $(/** Takes one number. */ pub fn $t(&mut self) -> Result<$t, Malformed> {
            let mut raw = [0; size_of::<$t>()];
            raw.copy_from_slice(self.take(size_of::<$t>())?);
            Ok($t::from_le_bytes(raw))
        })+ }
    };
}
ints!(u8, u16, u32, u64);

impl Writer {
    /// An empty buffer.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }
    /// Appends a length and the bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.u32(bytes.len() as u32);
        self.0.extend_from_slice(bytes);
    }
    /// Appends a flag.
    pub fn flag(&mut self, flag: bool) {
        self.u8(u8::from(flag));
    }
    /// Appends a node id.
    pub fn node(&mut self, node: NodeId) {
        self.u8(node.get());
    }
    /// Appends a life.
    pub fn life(&mut self, life: Life) {
        self.node(life.node);
        self.u32(life.incarnation.0);
    }
    /// Appends a term.
    pub fn term(&mut self, term: Term) {
        self.u32(term.era);
        self.u32(term.counter);
        self.life(term.life);
    }
    /// Appends an op.
    pub fn op(&mut self, op: Op) {
        self.u64(op.0);
    }
    /// Appends a set of nodes.
    pub fn nodes(&mut self, nodes: NodeSet) {
        self.0.extend_from_slice(&nodes.0.to_le_bytes());
    }
    /// Appends a stint.
    pub fn stint(&mut self, stint: Stint) {
        self.u64(stint.0);
    }
}

/// Takes values from bytes; every error is an outcome, not a panic.
#[derive(Clone, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.0.split_at_checked(n).ok_or(Malformed::Truncated)?;
        self.0 = rest;
        Ok(head)
    }
    /// How many bytes are left.
    #[must_use]
    pub const fn left(&self) -> usize {
        self.0.len()
    }
    /// Bytes with their length in front, at most `max`.
    pub fn bytes(&mut self, max: usize, field: &'static str) -> Result<&'a [u8], Malformed> {
        let n = self.count(max, field)?;
        self.take(n)
    }
    /// The length of a list whose elements have at least `least` bytes each: more than the bytes that are left can
    /// hold is an error before anything is read.
    pub fn list(
        &mut self,
        max: usize,
        least: usize,
        field: &'static str,
    ) -> Result<usize, Malformed> {
        let n = self.count(max, field)?;
        if n > self.left() / least.max(1) { Err(Malformed::Truncated) } else { Ok(n) }
    }
    /// A length, at most `max`.
    pub fn count(&mut self, max: usize, field: &'static str) -> Result<usize, Malformed> {
        let n = self.u32()? as usize;
        if n > max { Err(Malformed::TooLong(field)) } else { Ok(n) }
    }
    /// A node id.
    pub fn node(&mut self) -> Result<NodeId, Malformed> {
        NodeId::new(self.u8()?).ok_or(Malformed::OutOfRange("node"))
    }
    /// A life.
    pub fn life(&mut self) -> Result<Life, Malformed> {
        Ok(Life { node: self.node()?, incarnation: Incarnation(self.u32()?) })
    }
    /// A term.
    pub fn term(&mut self) -> Result<Term, Malformed> {
        Ok(Term { era: self.u32()?, counter: self.u32()?, life: self.life()? })
    }
    /// An op.
    pub fn op(&mut self) -> Result<Op, Malformed> {
        Ok(Op(self.u64()?))
    }
    /// A set of nodes.
    pub fn nodes(&mut self) -> Result<NodeSet, Malformed> {
        let mut raw = [0; size_of::<u128>()];
        raw.copy_from_slice(self.take(size_of::<u128>())?);
        Ok(NodeSet(u128::from_le_bytes(raw)))
    }
    /// A stint.
    pub fn stint(&mut self) -> Result<Stint, Malformed> {
        Ok(Stint(self.u64()?))
    }
    /// A flag: 0 or 1.
    pub fn flag(&mut self, field: &'static str) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::OutOfRange(field)),
        }
    }
    /// Succeeds only if nothing is left.
    pub const fn finish(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed::Trailing) }
    }
}
