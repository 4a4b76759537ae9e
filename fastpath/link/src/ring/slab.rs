//! Frames that wait for the next call: bytes and addresses are copied here, and stay until the kernel has taken them.

use crate::name::Name;

/// Messages of one call. More make it two.
pub(crate) const MESSAGES: usize = 256;
/// Different frames among them.
pub(crate) const FRAMES: usize = 64;

/// All memory of the sends.
pub(crate) struct Slab {
    names: Box<[Name]>,
    frames: Box<[u8]>,
    /// Bytes of the longest frame.
    frame_max: usize,
    names_used: usize,
    frames_used: usize,
}

/// A frame in the slab.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    at: usize,
    length: usize,
}

/// A frame and where it goes, for the kernel.
pub(crate) struct Message {
    pub(crate) frame: *const u8,
    pub(crate) length: u32,
    pub(crate) name: *const libc::sockaddr,
    pub(crate) name_length: libc::socklen_t,
}

impl Slab {
    pub(crate) fn new(frame_max: usize) -> Self {
        Self {
            names: vec![Name::EMPTY; MESSAGES].into_boxed_slice(),
            frames: vec![0; FRAMES * frame_max].into_boxed_slice(),
            frame_max,
            names_used: 0,
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

    /// A message of a frame to an address; none if there is no room. What it points to stays where and what it is until
    /// [`Self::clear`], and as long as the slab lives.
    pub(crate) fn address(&mut self, place: Place, name: &Name) -> Option<Message> {
        let frame = self.frames.get(place.at..place.at + place.length)?;
        let copy = self.names.get_mut(self.names_used)?;
        self.names_used += 1;
        *copy = *name;
        let bytes = copy.bytes();
        Some(Message {
            frame: frame.as_ptr(),
            length: frame.len() as u32,
            name: bytes.as_ptr().cast(),
            name_length: bytes.len() as libc::socklen_t,
        })
    }

    /// Forgets all: the kernel has taken them.
    pub(crate) fn clear(&mut self) {
        (self.names_used, self.frames_used) = (0, 0);
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
                let message = slab.address(place, &name).unwrap();
                assert_eq!((message.length, message.name_length), (5, 16));
                assert_eq!(message.frame, slab.frames.as_ptr());
            }
            assert!(slab.address(place, &name).is_none());
            slab.clear();
        }
    }
}
