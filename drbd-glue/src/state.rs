//! The state of a device as DRBD packs it into 32 bits, unpacked.

use std::fmt;

/// Whether a side may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Not known (the peer's, without a connection).
    Unknown,
    /// May write.
    Primary,
    /// Follows.
    Secondary,
}

/// How good a copy of the data is; DRBD's order, the better the later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Disk {
    /// No disk attached.
    Diskless,
    /// Reading its metadata.
    Attaching,
    /// Failed.
    Failed,
    /// Attached, its state being settled with the peer.
    Negotiating,
    /// Amid a resync: no consistent copy.
    Inconsistent,
    /// Consistent, but known to be old.
    Outdated,
    /// Not known (the peer's).
    Unknown,
    /// Consistent; whether it is old is not known.
    Consistent,
    /// The latest data.
    UpToDate,
    /// A value that this crate does not know.
    Other(u8),
}

/// What the connection does; DRBD's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Link {
    /// None, and none is sought.
    StandAlone,
    /// Being taken down.
    Disconnecting,
    /// About to seek the peer.
    Unconnected,
    /// Ended by a time-out.
    Timeout,
    /// Ended by a broken pipe.
    BrokenPipe,
    /// Ended by the network.
    NetworkFailure,
    /// Ended by an error of the protocol.
    ProtocolError,
    /// Taken down by the peer.
    TearDown,
    /// Seeking the peer.
    Connecting,
    /// Has a socket, settles the parameters.
    Handshake,
    /// Connected, in step.
    Connected,
    /// Connected, and preparing or doing a resync or a verification; DRBD's number.
    Syncing(u8),
    /// A value that this crate does not know.
    Other(u8),
}

/// The state of one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Own role.
    pub role: Role,
    /// The peer's role.
    pub peer_role: Role,
    /// The connection.
    pub link: Link,
    /// Own copy.
    pub disk: Disk,
    /// The peer's copy.
    pub peer_disk: Disk,
    /// Writes are held: by the operator, for want of data, or until a fence handler answers (S4).
    pub suspended: Suspended,
    /// Bytes that differ from the peer's as far as the bitmap knows; `None` without a disk.
    pub out_of_sync: Option<u64>,
}

/// Why writes are held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Suspended {
    /// By the operator.
    pub by_operator: bool,
    /// No up-to-date copy can be reached.
    pub no_data: bool,
    /// The fence handler has not answered yet.
    pub fencing: bool,
}

impl State {
    /// Unpacks DRBD's word; field order is that of little-endian bit fields, as on x86-64 and arm64.
    #[must_use]
    pub const fn from_word(word: u32, out_of_sync: Option<u64>) -> Self {
        Self {
            role: Role::from_bits(word),
            peer_role: Role::from_bits(word >> 2),
            link: Link::from_bits(word >> 4),
            disk: Disk::from_bits(word >> 9),
            peer_disk: Disk::from_bits(word >> 13),
            suspended: Suspended {
                by_operator: word >> 17 & 1 == 1,
                no_data: word >> 21 & 1 == 1,
                fencing: word >> 22 & 1 == 1,
            },
            out_of_sync,
        }
    }
}

impl Suspended {
    /// Whether writes are held for any reason.
    #[must_use]
    pub const fn any(self) -> bool {
        self.by_operator || self.no_data || self.fencing
    }
}

impl Role {
    const fn from_bits(bits: u32) -> Self {
        match bits & 3 {
            1 => Self::Primary,
            2 => Self::Secondary,
            _ => Self::Unknown,
        }
    }
}

impl Disk {
    const fn from_bits(bits: u32) -> Self {
        match bits & 15 {
            0 => Self::Diskless,
            1 => Self::Attaching,
            2 => Self::Failed,
            3 => Self::Negotiating,
            4 => Self::Inconsistent,
            5 => Self::Outdated,
            6 => Self::Unknown,
            7 => Self::Consistent,
            8 => Self::UpToDate,
            other => Self::Other(other as u8),
        }
    }
}

impl Link {
    const fn from_bits(bits: u32) -> Self {
        match bits & 31 {
            0 => Self::StandAlone,
            1 => Self::Disconnecting,
            2 => Self::Unconnected,
            3 => Self::Timeout,
            4 => Self::BrokenPipe,
            5 => Self::NetworkFailure,
            6 => Self::ProtocolError,
            7 => Self::TearDown,
            8 => Self::Connecting,
            9 => Self::Handshake,
            10 => Self::Connected,
            number @ 11..=23 => Self::Syncing(number as u8),
            other => Self::Other(other as u8),
        }
    }
    /// Whether the peer is at the other end of a socket, as far as this side knows.
    #[must_use]
    pub fn has_peer(self) -> bool {
        self >= Self::Handshake && !matches!(self, Self::Other(_))
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { role, peer_role, link, disk, peer_disk, suspended, .. } = self;
        write!(f, "{link:?} {role:?}/{peer_role:?} {disk:?}/{peer_disk:?}")?;
        if suspended.any() { write!(f, " (writes held)") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Disk, Link, Role, State, Suspended};

    /// Secondary, peer Primary, Connected, UpToDate both.
    const FOLLOWING: u32 = 2 | 1 << 2 | 10 << 4 | 8 << 9 | 8 << 13;

    #[test]
    fn a_healthy_standby_reads_as_one() {
        let state = State::from_word(FOLLOWING, Some(0));
        assert_eq!(state.to_string(), "Connected Secondary/Primary UpToDate/UpToDate");
        assert!(state.link.has_peer() && !state.suspended.any());
    }

    #[test]
    fn a_frozen_primary_says_why() {
        let word = 1 | 8 << 4 | 8 << 9 | 6 << 13 | 1 << 22;
        let state = State::from_word(word, None);
        assert_eq!((state.role, state.peer_role), (Role::Primary, Role::Unknown));
        assert_eq!((state.link, state.peer_disk), (Link::Connecting, Disk::Unknown));
        assert_eq!(state.suspended, Suspended { fencing: true, ..Suspended::default() });
        assert!(state.to_string().ends_with("(writes held)"));
        assert!(!state.link.has_peer());
    }

    #[test]
    fn every_word_unpacks_and_unknown_values_keep_their_number() {
        let state = State::from_word(u32::MAX, None);
        assert_eq!((state.disk, state.link), (Disk::Other(15), Link::Other(31)));
        assert!(!state.link.has_peer());
        assert_eq!(State::from_word(16 << 4, None).link, Link::Syncing(16));
    }
}
