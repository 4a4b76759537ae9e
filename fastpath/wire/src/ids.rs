//! The words of the protocol (DESIGN section 1, PROTOCOL 1.1) as types.

use core::fmt;

/// Most nodes a cluster may have.
pub const NODES_MAX: usize = 128;

/// A configured node, 1..=128. Its place in the configured list is its rank.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u8);

impl NodeId {
    /// A node id, if `id` is in 1..=128.
    #[must_use]
    pub const fn new(id: u8) -> Option<Self> {
        if id >= 1 && id as usize <= NODES_MAX { Some(Self(id)) } else { None }
    }
    /// The configured number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
    /// Place in an array of [`NODES_MAX`], from 0.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize - 1
    }
    /// The inverse of [`NodeId::index`].
    #[must_use]
    pub const fn from_index(index: usize) -> Option<Self> {
        if index < NODES_MAX { Some(Self(index as u8 + 1)) } else { None }
    }
}

macro_rules! number {
    ($(#[$m:meta])* $name:ident($t:ty), $prefix:literal) => {
        $(#[$m])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $t);
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number!(/** Names one cluster on a shared network: hash of its name. */ ClusterId(u64), "cluster ");
number!(/** Which run of a node's daemons; durable, raised before the first frame of a start. */ Incarnation(u32), "i");
number!(/** Random number of one start; equal incarnations with different nonces are two machines. */ Nonce(u64), "nonce ");
number!(/** Position in the agreed log, from 1; 0 is "before the log". */ Op(u64), "op ");
number!(/** Frame or request number that grows for the life of its sender. */ Seq(u64), "#");
number!(/** One of up to four links, from 0. */ LinkId(u8), "link ");
number!(/** A configured service, by its place in the configuration, from 0. */ ServiceId(u16), "service ");
number!(/** Ownership counter of a service: the fencing token. 0 = never owned. */ Generation(u64), "g");
number!(/** A source of numbered requests. */ ClientId(u64), "client ");

impl Op {
    /// Before the first entry.
    pub const ZERO: Self = Self(0);
    /// The op after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// One membership of one life: era and op of the Admit that began it, in one number. The era is part of it because
/// each era's log begins at op 1 again, and a life that outlives an era would be the same stint twice: an echo, a
/// freeze, an obituary of the old one would count for the new one. Every log begins with a cold start's batch, so 0
/// never is a stint: [`Stint::NONE`] is "not a member".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stint(pub u64);

/// Stints of era `e` are `e` times this and more: far above any op, and in decimal the parts can be told apart.
const STINTS_PER_ERA: u64 = 1_000_000_000;

impl Stint {
    /// Not a member.
    pub const NONE: Self = Self(0);
    /// The stint that an Admit at `op` of era `era` begins.
    #[must_use]
    pub const fn of(era: u32, op: Op) -> Self {
        Self((era as u64).saturating_mul(STINTS_PER_ERA).saturating_add(op.0))
    }
    /// True for a real stint.
    #[must_use]
    pub const fn is_member(self) -> bool {
        self.0 != 0
    }
}
impl fmt::Debug for Stint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stint {}/{}", self.0 / STINTS_PER_ERA, self.0 % STINTS_PER_ERA)
    }
}

/// One run of a node's daemons.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Life {
    /// The configured node.
    pub node: NodeId,
    /// Its run.
    pub incarnation: Incarnation,
}

/// (era, version) of the configured node list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Epoch {
    /// Grows only by a cold start.
    pub era: u32,
    /// Grows by a Configure entry.
    pub version: u32,
}

/// Ballot of the agreement, ordered lexicographically; `life` is its only possible primary.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term {
    /// Era of the log.
    pub era: u32,
    /// Counter within the era.
    pub counter: u32,
    /// The only possible primary.
    pub life: Life,
}

impl Term {
    /// Below every term; the term of "before the log".
    pub const NONE: Self =
        Self { era: 0, counter: 0, life: Life { node: NodeId(1), incarnation: Incarnation(0) } };
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}
impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
impl fmt::Debug for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}.{}", self.node.0, self.incarnation.0)
    }
}
impl fmt::Debug for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "term {}.{}/{:?}", self.era, self.counter, self.life)
    }
}

/// A set of nodes: one bit each.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NodeSet(pub u128);

impl NodeSet {
    /// No node.
    pub const EMPTY: Self = Self(0);

    /// True if `node` is in the set.
    #[must_use]
    pub const fn contains(self, node: NodeId) -> bool {
        self.0 >> node.index() & 1 == 1
    }
    /// Adds `node`.
    pub const fn insert(&mut self, node: NodeId) {
        self.0 |= 1 << node.index();
    }
    /// Takes `node` out.
    pub const fn remove(&mut self, node: NodeId) {
        self.0 &= !(1 << node.index());
    }
    /// The same nodes and `node`.
    #[must_use]
    pub const fn with(mut self, node: NodeId) -> Self {
        self.insert(node);
        self
    }
    /// The same nodes but `node`.
    #[must_use]
    pub const fn without(mut self, node: NodeId) -> Self {
        self.remove(node);
        self
    }
    /// The nodes that are not in `other`.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
    /// The nodes of both.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
    /// Number of nodes.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }
    /// True for no node.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
    /// The nodes in rising order.
    pub fn iter(self) -> impl Iterator<Item = NodeId> {
        // By set bits: most sets are small, and this is asked for with every message.
        let mut left = self.0;
        core::iter::from_fn(move || {
            let index = left.trailing_zeros() as usize;
            let node = NodeId::from_index(index)?;
            left &= left - 1;
            Some(node)
        })
    }
}
impl FromIterator<NodeId> for NodeSet {
    fn from_iter<I: IntoIterator<Item = NodeId>>(nodes: I) -> Self {
        let mut set = Self::EMPTY;
        for node in nodes {
            set.insert(node);
        }
        set
    }
}
impl fmt::Debug for NodeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
