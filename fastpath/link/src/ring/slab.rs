//! Frames that wait for the next call: bytes and addresses are copied here, and stay until the kernel has taken them.

use crate::name::Name;
use std::mem::zeroed;

/// Messages of one call. More make it two.
pub(crate) const MESSAGES: usize = 256;
/// Different frames among them.
pub(crate) const FRAMES: usize = 64;

/// What the kernel reads of one message (sendmsg(2)).
struct Message {
    header: libc::msghdr,
    vector: libc::iovec,
    name: Name,
}

/// All memory of the sends.
pub(crate) struct Slab {
    messages: Box<[Message]>,
    frames: Box<[u8]>,
    /// Bytes of the longest frame.
    frame_max: usize,
    messages_used: usize,
    frames_used: usize,
}

/// A frame in the slab.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    at: usize,
    length: usize,
}

impl Slab {
    pub(crate) fn new(frame_max: usize) -> Self {
        let message = || Message {
            // SAFETY: C structs of integers and pointers, for which zero is a valid value.
            header: unsafe { zeroed() },
            // SAFETY: as above.
            vector: unsafe { zeroed() },
            name: Name::EMPTY,
        };
        Self {
            messages: (0..MESSAGES).map(|_| message()).collect(),
            frames: vec![0; FRAMES * frame_max].into_boxed_slice(),
            frame_max,
            messages_used: 0,
            frames_used: 0,
        }
    }

    /// The longest frame that has room.
    pub(crate) const fn frame_max(&self) -> usize {
        self.frame_max
    }

    /// Copies a frame; none if there is no room.
    pub(crate) fn put(&mut self, frame: &[u8]) -> Option<Place> {
        if self.frames_used == FRAMES || frame.len() > self.frame_max {
            return None;
        }
        let at = self.frames_used * self.frame_max;
        self.frames.get_mut(at..at + frame.len())?.copy_from_slice(frame);
        self.frames_used += 1;
        Some(Place { at, length: frame.len() })
    }

    /// A message of a frame to an address, for the kernel; none if there is no room. It stays where and what it is until
    /// [`Self::clear`], and as long as the slab lives.
    pub(crate) fn address(&mut self, place: Place, name: &Name) -> Option<*const libc::msghdr> {
        let frame = self.frames.get_mut(place.at..place.at + place.length)?;
        let message = self.messages.get_mut(self.messages_used)?;
        self.messages_used += 1;
        message.name = *name;
        message.vector.iov_base = frame.as_mut_ptr().cast();
        message.vector.iov_len = frame.len();
        message.header.msg_name = (&raw mut message.name).cast();
        message.header.msg_namelen = name.bytes().len() as libc::socklen_t;
        message.header.msg_iov = &raw mut message.vector;
        message.header.msg_iovlen = 1;
        Some(&raw const message.header)
    }

    /// Forgets all: the kernel has taken them.
    pub(crate) fn clear(&mut self) {
        (self.messages_used, self.frames_used) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::{FRAMES, MESSAGES, Slab};
    use crate::name::Name;

    #[test]
    fn what_has_no_room_is_refused_until_the_slab_is_cleared() {
        let mut slab = Slab::new(8);
        let name = Name::from(std::net::SocketAddr::from(([127, 0, 0, 1], 7)));
        for _ in 0..2 {
            assert!(slab.put(&[0; 9]).is_none(), "longer than any frame");
            let place = slab.put(b"frame").unwrap();
            for _ in 1..FRAMES {
                assert!(slab.put(b"other").is_some());
            }
            assert!(slab.put(b"more").is_none());
            for _ in 0..MESSAGES {
                let header = slab.address(place, &name).unwrap();
                // SAFETY: the slab lives and was not cleared.
                let (length, name) =
                    unsafe { ((*(*header).msg_iov).iov_len, (*header).msg_namelen) };
                assert_eq!((length, name), (5, 16));
            }
            assert!(slab.address(place, &name).is_none());
            slab.clear();
        }
    }
}
