//! Why a frame was dropped; every reason has a counter.

/// A reason for dropping a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum Reject {
    /// Shorter than its header, or another length than it says.
    Truncated,
    /// Not a frame of ours at all.
    Garbage,
    /// Another version of the wire.
    Version,
    /// A frame of another cluster.
    ForeignCluster,
    /// A key id that is not configured here.
    ForeignKey,
    /// The tag does not match.
    Forged,
    /// Not counted any more since nodes agree on their configuration; its place is kept.
    ConfigMismatch,
    /// Sent on another link than it came on.
    WrongLink,
    /// Authenticated, but its fields make no sense: a fault in the sender.
    Malformed,
    /// A node that is not configured, or this node itself.
    Stranger,
    /// Seen before on this link, or too old to tell.
    Replayed,
    /// A beat older than one already heard on this link.
    Reordered,
    /// The same message came over another link already.
    Duplicate,
    /// A life older than one already heard (R-LIFE).
    Stale,
    /// Another machine claims the same life.
    Impostor,
}

impl Reject {
    /// Every reason, in the order of their counters.
    pub const ALL: [Self; 15] = [
        Self::Truncated,
        Self::Garbage,
        Self::Version,
        Self::ForeignCluster,
        Self::ForeignKey,
        Self::Forged,
        Self::ConfigMismatch,
        Self::WrongLink,
        Self::Malformed,
        Self::Stranger,
        Self::Replayed,
        Self::Reordered,
        Self::Duplicate,
        Self::Stale,
        Self::Impostor,
    ];
    /// How many reasons there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Place of its counter.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
    /// Name of its counter.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::Garbage => "garbage",
            Self::Version => "version",
            Self::ForeignCluster => "foreign_cluster",
            Self::ForeignKey => "foreign_key",
            Self::Forged => "forged",
            Self::ConfigMismatch => "config_mismatch",
            Self::WrongLink => "wrong_link",
            Self::Malformed => "malformed",
            Self::Stranger => "stranger",
            Self::Replayed => "replayed",
            Self::Reordered => "reordered",
            Self::Duplicate => "duplicate",
            Self::Stale => "stale",
            Self::Impostor => "impostor",
        }
    }
}
