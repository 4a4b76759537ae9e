//! The kernel's time of receipt: SO_TIMESTAMPNS (socket(7)), taken from the wall clock when the datagram came in.

use base::Duration;
use std::mem::size_of;

/// Room for the one control message that a stamped socket gives with each datagram.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Control {
    head: libc::cmsghdr,
    stamp: libc::timespec,
}

// What the kernel writes lies as CMSG_DATA(3) says: behind the head, without a gap.
const _: () =
    assert!(size_of::<Control>() == size_of::<libc::cmsghdr>() + size_of::<libc::timespec>());

impl Control {
    /// Nothing in it yet.
    pub(crate) const EMPTY: Self = Self {
        head: libc::cmsghdr { cmsg_len: 0, cmsg_level: 0, cmsg_type: 0 },
        stamp: libc::timespec { tv_sec: 0, tv_nsec: 0 },
    };

    /// The stamp in control data that lie anywhere, if they are one.
    pub(crate) fn read(bytes: &[u8]) -> Option<libc::timespec> {
        let (length, rest) = bytes.split_first_chunk()?;
        let (level, rest) = rest.split_first_chunk()?;
        let (kind, rest) = rest.split_first_chunk()?;
        let (seconds, rest) = rest.split_first_chunk()?;
        let nanos = rest.first_chunk()?;
        let head = libc::cmsghdr {
            cmsg_len: usize::from_ne_bytes(*length),
            cmsg_level: i32::from_ne_bytes(*level),
            cmsg_type: i32::from_ne_bytes(*kind),
        };
        let stamp = libc::timespec {
            tv_sec: i64::from_ne_bytes(*seconds),
            tv_nsec: i64::from_ne_bytes(*nanos),
        };
        Self { head, stamp }.stamp(bytes.len())
    }

    /// The stamp, if `filled` bytes hold one.
    pub(crate) fn stamp(&self, filled: usize) -> Option<libc::timespec> {
        let whole = filled >= size_of::<Self>() && self.head.cmsg_len >= size_of::<Self>();
        let one = (self.head.cmsg_level, self.head.cmsg_type)
            == (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS);
        (whole && one).then_some(self.stamp)
    }
}

/// The clock that the stamps are taken from.
pub(crate) fn now() -> libc::timespec {
    let mut now = Control::EMPTY.stamp;
    // SAFETY: a timespec, alive during the call; this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut now) };
    now
}

/// How long ago a stamp was; none if that lies ahead.
pub(crate) fn waited(now: libc::timespec, stamp: libc::timespec) -> Option<Duration> {
    let nanos = |t: libc::timespec| i128::from(t.tv_sec) * 1_000_000_000 + i128::from(t.tv_nsec);
    u64::try_from(nanos(now) - nanos(stamp)).ok().map(Duration)
}

#[cfg(test)]
mod tests {
    use super::{Control, waited};
    use base::Duration;
    use std::mem::size_of;

    const fn time(tv_sec: i64, tv_nsec: i64) -> libc::timespec {
        libc::timespec { tv_sec, tv_nsec }
    }

    #[test]
    fn an_age_is_the_difference_and_one_in_the_future_is_none() {
        assert_eq!(waited(time(5, 100), time(4, 999_999_900)), Some(Duration(200)));
        assert_eq!(waited(time(5, 0), time(5, 0)), Some(Duration(0)));
        assert_eq!(waited(time(5, 0), time(5, 1)), None, "the wall clock was set back");
        assert_eq!(waited(time(i64::MAX, 0), time(i64::MIN, 0)), None, "longer than any age");
    }

    #[test]
    fn only_a_whole_control_message_of_that_kind_is_a_stamp() {
        let mut control = Control::EMPTY;
        control.head.cmsg_len = size_of::<Control>();
        control.head.cmsg_level = libc::SOL_SOCKET;
        control.head.cmsg_type = libc::SCM_TIMESTAMPNS;
        control.stamp = time(7, 8);
        assert!(
            control.stamp(size_of::<Control>()).is_some_and(|t| (t.tv_sec, t.tv_nsec) == (7, 8))
        );
        assert!(control.stamp(size_of::<Control>() - 1).is_none());
        // The same, byte by byte.
        let mut bytes = [0_u8; size_of::<Control>()];
        bytes[..8].copy_from_slice(&control.head.cmsg_len.to_ne_bytes());
        bytes[8..12].copy_from_slice(&control.head.cmsg_level.to_ne_bytes());
        bytes[12..16].copy_from_slice(&control.head.cmsg_type.to_ne_bytes());
        bytes[16..24].copy_from_slice(&7_i64.to_ne_bytes());
        bytes[24..].copy_from_slice(&8_i64.to_ne_bytes());
        assert!(Control::read(&bytes).is_some_and(|t| (t.tv_sec, t.tv_nsec) == (7, 8)));
        assert!((0..bytes.len()).all(|length| Control::read(&bytes[..length]).is_none()));
        control.head.cmsg_type = libc::SCM_RIGHTS;
        assert!(control.stamp(size_of::<Control>()).is_none());
    }
}
