//! The kernel's answers.
//!
//! A request gets one message back: DRBD's own with its code, or netlink's error when the request
//! did not reach DRBD (no permission, unknown family, an attribute that is not one).

use crate::attribute::find;
use crate::error::DrbdError;
use crate::request::{DRBD_HEADER_LEN, HEADER_LEN, context, nest};
use crate::state::State;
use std::io;
use std::net::SocketAddr;

const KIND_AT: usize = 4;
const SEQUENCE_AT: usize = 8;
const KIND_ERROR: u16 = 2;
/// Netlink's own header, without the generic one behind it.
const NETLINK_LEN: usize = 16;
/// DRBD's "no error".
const FINE: i32 = 101;
/// Results of a change of state that mean success: done, nothing to do, agreed with the peer.
const STATE_FINE: std::ops::RangeInclusive<i32> = 1..=4;
const CURRENT_STATE: u16 = 2;
const BITS_OUT_OF_SYNC: u16 = 10;
/// What one bit of DRBD's bitmap stands for.
const BYTES_PER_BIT: u64 = 4096;
const INFO_TEXT: u16 = 1;
/// Room for a socket address as DRBD stores it.
const ADDRESS_MAX: usize = 128;

/// The two ends of a connection, which are its name: socket addresses as the kernel stores them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    mine: Address,
    peer: Address,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Address {
    bytes: [u8; ADDRESS_MAX],
    len: usize,
}

impl Path {
    /// The connection between two addresses.
    #[must_use]
    pub fn new(mine: SocketAddr, peer: SocketAddr) -> Self {
        Self { mine: Address::of(mine), peer: Address::of(peer) }
    }
    /// Own end.
    #[must_use]
    pub fn mine(&self) -> &[u8] {
        self.mine.bytes()
    }
    /// The peer's end.
    #[must_use]
    pub fn peer(&self) -> &[u8] {
        self.peer.bytes()
    }
    fn from_raw(mine: &[u8], peer: &[u8]) -> Option<Self> {
        Some(Self { mine: Address::from_raw(mine)?, peer: Address::from_raw(peer)? })
    }
}

impl Address {
    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
    fn from_raw(raw: &[u8]) -> Option<Self> {
        let mut bytes = [0; ADDRESS_MAX];
        bytes.get_mut(..raw.len())?.copy_from_slice(raw);
        Some(Self { bytes, len: raw.len() })
    }
    fn of(address: SocketAddr) -> Self {
        let port = address.port().to_be_bytes();
        let mut bytes = [0; ADDRESS_MAX];
        // sockaddr_in and sockaddr_in6, field by field: family, port, (flow), address, (scope).
        let fields: &[(usize, &[u8])] = match address {
            SocketAddr::V4(v4) => {
                &[(0, &(libc::AF_INET as u16).to_ne_bytes()), (2, &port), (4, &v4.ip().octets())]
            }
            SocketAddr::V6(v6) => &[
                (0, &(libc::AF_INET6 as u16).to_ne_bytes()),
                (2, &port),
                (8, &v6.ip().octets()),
                (24, &v6.scope_id().to_ne_bytes()),
            ],
        };
        for (at, value) in fields {
            if let Some(place) = bytes.get_mut(*at..at + value.len()) {
                place.copy_from_slice(value);
            }
        }
        let len = if address.is_ipv4() {
            size_of::<libc::sockaddr_in>()
        } else {
            size_of::<libc::sockaddr_in6>()
        };
        Self { bytes, len }
    }
}

/// What belongs to a device number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Name of its resource.
    pub resource: String,
    /// Its number in the resource.
    pub volume: u32,
    /// Its connection; `None` if none was ever configured.
    pub path: Option<Path>,
}

/// One whole message of the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    bytes: &'a [u8],
}

impl<'a> Reply<'a> {
    /// The first message in what was received; `None` if it is cut.
    #[must_use]
    pub fn first(received: &'a [u8]) -> Option<Self> {
        let len = u32::from_ne_bytes(*received.first_chunk()?) as usize;
        (len >= NETLINK_LEN).then_some(())?;
        Some(Self { bytes: received.get(..len)? })
    }
    /// The number of the request that it answers.
    #[must_use]
    pub fn sequence(&self) -> Option<u32> {
        self.chunk(SEQUENCE_AT).map(u32::from_ne_bytes)
    }
    /// The whole message, if netlink itself has no complaint.
    pub fn accepted(&self, doing: &'static str) -> Result<&'a [u8], DrbdError> {
        let unclear = || DrbdError::Answer { doing };
        let kind = self.chunk(KIND_AT).map(u16::from_ne_bytes).ok_or_else(unclear)?;
        if kind != KIND_ERROR {
            return Ok(self.bytes);
        }
        let code = self.chunk(NETLINK_LEN).map(i32::from_ne_bytes).ok_or_else(unclear)?;
        let number = code.checked_neg().filter(|n| *n > 0).ok_or_else(unclear)?;
        Err(DrbdError::from_io(doing, io::Error::from_raw_os_error(number)))
    }
    /// DRBD's attributes, if it has no complaint.
    pub fn granted(&self, doing: &'static str) -> Result<&'a [u8], DrbdError> {
        let bytes = self.accepted(doing)?;
        let unclear = || DrbdError::Answer { doing };
        let code = self.chunk(HEADER_LEN + 4).map(i32::from_ne_bytes).ok_or_else(unclear)?;
        let list = bytes.get(HEADER_LEN + DRBD_HEADER_LEN..).unwrap_or_default();
        if code == FINE || STATE_FINE.contains(&code) {
            return Ok(list);
        }
        let text = find(list, nest::REPLY)
            .and_then(|reply| find(reply.value, INFO_TEXT))
            .and_then(|text| text.text())
            .unwrap_or_default();
        Err(DrbdError::Refused { doing, code, text: text.into() })
    }

    fn chunk<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.bytes.get(at..)?.first_chunk().copied()
    }
}

/// The state in the attributes of an answer to a status request.
#[must_use]
pub fn state(list: &[u8]) -> Option<State> {
    let fields = find(list, nest::STATE)?.value;
    let bits = find(fields, BITS_OUT_OF_SYNC).and_then(|a| a.u64());
    let word = find(fields, CURRENT_STATE)?.u32()?;
    Some(State::from_word(word, bits.map(|b| b.saturating_mul(BYTES_PER_BIT))))
}

/// What belongs to the device, from the same answer.
#[must_use]
pub fn description(list: &[u8]) -> Option<Description> {
    let fields = find(list, nest::CONTEXT)?.value;
    let end = |kind| find(fields, kind).map(|a| a.value).filter(|raw| !raw.is_empty());
    let path = match (end(context::MINE), end(context::PEER)) {
        (Some(mine), Some(peer)) => Some(Path::from_raw(mine, peer)?),
        _ => None,
    };
    Some(Description {
        resource: find(fields, context::RESOURCE)?.text()?.into(),
        volume: find(fields, context::VOLUME)?.u32()?,
        path,
    })
}

/// DRBD's code in words: those that its administration can meet in a takeover, drbd.h has the rest.
#[must_use]
pub const fn words(code: i32) -> &'static str {
    match code {
        FINE | 1..=4 => "no error",
        0 => "unknown refusal",
        -1 => "the peer is primary too, and two primaries are not allowed",
        -2 => "no up-to-date disk is reachable",
        -4 => "no local disk",
        -5 => "no disk of the peer is reachable",
        -6 => "a connected peer cannot be called outdated",
        -7 => "a primary cannot do this while the peer's disk is not outdated",
        -8 => "a resync is running",
        -9 => "it stands alone already",
        -10 => "the peer refused",
        -11 => "the device has no disk",
        -12 => "the device is in use (mounted or open)",
        -13 => "no network configuration",
        -14 => "no verify algorithm is configured",
        -15 => "this needs a connection",
        -16 => "the disk's state is lower than outdated",
        -17 => "the peer's version does not support it",
        -18 => "in a passing state; try again after the next change",
        -19 => "another change of the cluster's state runs at the same time",
        -20 => "another volume's peer is primary",
        -21 => "the connection went before a peer could be outdated",
        102 => "the own address is in use already",
        103 => "the peer's address is in use already",
        104 => "the disk cannot be opened",
        105 => "the metadata disk cannot be opened",
        118 => "the metadata cannot be read or written",
        119 => "no valid metadata",
        122 => "out of memory",
        124 => "a disk is attached already",
        125 => "a connection is configured already",
        126 => "a mandatory attribute is missing or unknown",
        127 => "there is no such device",
        129 => "interrupted",
        131 => "no side is primary",
        138 => "the device has no disk",
        150 => "only the data of the peer is current",
        151 => "it is connected",
        152 => "not permitted",
        158 => "there is no such resource",
        159 => "the resource is in use",
        160 => "the device is still configured",
        161 => "the device or volume exists already",
        162 => "the request is not valid",
        165 => "the metadata is unclean",
        _ if code > 100 => "a configuration error",
        _ => "a refused change of state",
    }
}

#[cfg(test)]
mod tests {
    use super::{Description, Path, Reply, description, state, words};
    use crate::attribute::Writer;
    use crate::error::DrbdError;
    use crate::state::{Disk, Link, Role};
    use proptest::prelude::{any, prop};
    use proptest::{prop_assert, proptest};

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = (16 + body.len() as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(body);
        bytes
    }
    fn drbd(code: i32, list: &[u8]) -> Vec<u8> {
        let code = code.to_ne_bytes();
        message(27, &[&[14, 1, 0, 0, 3, 0, 0, 0][..], &code, list].concat())
    }
    fn outcome(bytes: &[u8]) -> Result<Vec<u8>, DrbdError> {
        Reply::first(bytes).unwrap().granted("promote").map(<[u8]>::to_vec)
    }

    #[test]
    fn done_and_nothing_to_do_are_both_success() {
        for code in [101, 1, 2, 3, 4] {
            assert!(outcome(&drbd(code, &[])).is_ok(), "code {code}");
        }
    }

    #[test]
    fn a_refusal_tells_the_reason_and_the_kernels_own_words() {
        let mut list = vec![];
        Writer::new(&mut list).nest(1, |reply| {
            reply.text(1, "unknown minor");
        });
        let text = outcome(&drbd(127, &list)).unwrap_err().to_string();
        assert_eq!(text, "promote: there is no such device (code 127): unknown minor");
        let text = outcome(&drbd(-2, &[])).unwrap_err().to_string();
        assert_eq!(text, "promote: no up-to-date disk is reachable (code -2)");
    }

    #[test]
    fn netlinks_own_errors_are_sorted() {
        let of = |code: i32| outcome(&message(2, &code.to_ne_bytes())).unwrap_err();
        assert!(matches!(of(-libc::EPERM), DrbdError::Privilege { .. }));
        assert!(matches!(of(-libc::ENOENT), DrbdError::NoModule { .. }));
        assert!(matches!(of(-libc::EINVAL), DrbdError::Io { .. }));
        assert!(matches!(of(i32::MIN), DrbdError::Answer { .. }));
        assert!(matches!(of(0), DrbdError::Answer { .. }));
    }

    #[test]
    fn a_status_answer_names_resource_connection_and_state() {
        let path = Path::new("10.20.1.1:7788".parse().unwrap(), "10.20.1.2:7788".parse().unwrap());
        let mut list = vec![];
        Writer::new(&mut list)
            .nest(2, |context| {
                context.u32(1, 0).text(2, "data").bytes(3, path.mine()).bytes(4, path.peer());
            })
            .nest(8, |fields| {
                // Tags as the kernel sends them: with its "mandatory" bit.
                fields.u32(0x4000 | 2, 1 | 2 << 2 | 10 << 4 | 8 << 9 | 8 << 13);
                fields.bytes(0x4000 | 10, &3u64.to_ne_bytes());
            });
        let told = description(&list).unwrap();
        assert_eq!(told, Description { resource: "data".into(), volume: 0, path: Some(path) });
        let state = state(&list).unwrap();
        assert_eq!((state.role, state.peer_role), (Role::Primary, Role::Secondary));
        assert_eq!((state.link, state.disk), (Link::Connected, Disk::UpToDate));
        assert_eq!(state.out_of_sync, Some(12_288));
    }

    #[test]
    fn an_ipv6_end_is_laid_out_as_the_kernel_stores_it() {
        let path = Path::new("[fd00::1]:7788".parse().unwrap(), "[fd00::2]:7789".parse().unwrap());
        assert_eq!(path.peer().len(), 28);
        assert_eq!(path.peer()[..8], [10, 0, 0x1e, 0x6d, 0, 0, 0, 0]);
        assert_eq!(path.peer()[8..10], [0xfd, 0]);
        assert_eq!(path.peer()[23], 2);
    }

    #[test]
    fn every_code_has_words() {
        assert_eq!(words(-12), "the device is in use (mounted or open)");
        assert_eq!(words(9_999), "a configuration error");
        assert_eq!(words(-9_999), "a refused change of state");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300), kind: u16) {
            let _ = (state(&bytes), description(&bytes), Reply::first(&bytes).is_some());
            let framed = message(kind, &bytes);
            let reply = Reply::first(&framed).unwrap();
            prop_assert!(reply.sequence() == Some(5));
            let _ = reply.granted("promote").map(|list| (state(list), description(list)));
        }
    }
}
