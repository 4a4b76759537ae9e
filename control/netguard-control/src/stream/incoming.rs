//! One connection that somebody made to us: bytes become frames, and the first frame says who speaks.

use base::Instant;
use std::io::{ErrorKind, Read};
use std::net::IpAddr;
use wire::frame::{BULK_MAX, HEADER_LEN};
use wire::message::SLICE_MAX;
use wire::{Life, Reject};

/// Bytes of the length before each frame.
pub(super) const PREFIX: usize = 4;
/// A buffer of so many bytes is kept from frame to frame: slices of snapshots come one after the other.
const BUFFER_KEPT: usize = SLICE_MAX + 1_024;

/// What reading has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// A whole frame is in [`Incoming::frame`].
    Frame,
    /// Nothing more to read now.
    Blocked,
    /// The connection is over.
    Closed,
    /// The length is none that a frame here can have.
    Refused(Reject),
}

/// The connection. `S` is its socket.
#[derive(Debug)]
pub(super) struct Incoming<S> {
    /// The socket.
    pub(super) socket: S,
    /// From where.
    pub(super) address: IpAddr,
    /// Who speaks, once it has said so.
    pub(super) who: Option<Life>,
    /// When it was accepted, or last made progress within a frame.
    pub(super) since: Instant,
    buffer: Vec<u8>,
    have: usize,
    in_frame: bool,
}

impl<S: Read> Incoming<S> {
    /// Accepted just now.
    pub(super) fn new(socket: S, address: IpAddr, now: Instant) -> Self {
        let buffer = vec![0; PREFIX];
        Self { socket, address, who: None, since: now, buffer, have: 0, in_frame: false }
    }

    /// True in the middle of a frame.
    #[must_use]
    pub(super) const fn is_waiting(&self) -> bool {
        self.have > 0 || self.in_frame
    }

    /// Reads on until a frame is whole, or nothing more is there.
    pub(super) fn read(&mut self, now: Instant) -> Step {
        loop {
            let Some(room) = self.buffer.get_mut(self.have..) else { return Step::Closed };
            if room.is_empty() {
                if self.in_frame {
                    return Step::Frame;
                }
                if let Err(reason) = self.begin_frame() {
                    return Step::Refused(reason);
                }
                continue;
            }
            match self.socket.read(room) {
                Ok(0) => return Step::Closed,
                Ok(n) => {
                    self.have += n;
                    // A stranger's time runs from the accept on, however slowly it goes on.
                    if self.who.is_some() {
                        self.since = now;
                    }
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Step::Blocked,
                Err(_) => return Step::Closed,
            }
        }
    }

    /// The length is here: makes room for its frame. Before somebody has said who it is, no frame is
    /// longer than that takes.
    fn begin_frame(&mut self) -> Result<(), Reject> {
        let prefix = self.buffer.first_chunk::<PREFIX>().copied().unwrap_or_default();
        let length = u32::from_le_bytes(prefix) as usize;
        let most = if self.who.is_some() { BULK_MAX } else { HEADER_LEN };
        if length < HEADER_LEN {
            return Err(Reject::Truncated);
        }
        if length > most {
            return Err(if length > BULK_MAX { Reject::Garbage } else { Reject::Malformed });
        }
        self.buffer.clear();
        self.buffer.resize(length, 0);
        (self.have, self.in_frame) = (0, true);
        Ok(())
    }

    /// The whole frame after [`Step::Frame`].
    #[must_use]
    pub(super) fn frame(&self) -> &[u8] {
        &self.buffer
    }

    /// The frame is taken: the next length comes.
    pub(super) fn next(&mut self) {
        self.buffer.clear();
        self.buffer.resize(PREFIX, 0);
        // A buffer for the largest frame is not kept for a connection that is used once a day.
        self.buffer.shrink_to(BUFFER_KEPT);
        (self.have, self.in_frame) = (0, false);
    }
}

#[cfg(test)]
mod tests {
    use super::{Incoming, Step};
    use base::{Instant, Prng};
    use std::io::{self, ErrorKind, Read};
    use std::net::{IpAddr, Ipv4Addr};
    use wire::frame::HEADER_LEN;
    use wire::{Incarnation, Life, NodeId};

    /// A socket that gives what it has in pieces.
    struct Pieces {
        left: Vec<u8>,
        dice: Prng,
    }

    impl Read for Pieces {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            if self.dice.chance(1, 4) {
                return Err(ErrorKind::WouldBlock.into());
            }
            let most = to.len().min(self.left.len());
            let count = (1 + self.dice.below(most as u64) as usize).min(most);
            to[..count].copy_from_slice(&self.left[..count]);
            self.left.drain(..count);
            Ok(count)
        }
    }

    #[test]
    fn any_bytes_in_pieces_are_frames_or_refused() {
        let (mut dice, mut frames) = (Prng::new(1), 0);
        for _ in 0..3_000 {
            let mut left = Vec::new();
            for number in 0..1 + dice.below(4) {
                let good = number == 0 && dice.chance(3, 4);
                let other = dice.below(9) + dice.below(3) * HEADER_LEN as u64;
                let length = if good { HEADER_LEN as u64 } else { other };
                left.extend((length as u32).to_le_bytes());
                left.extend((0..length).map(|_| dice.next_u64() as u8));
            }
            for _ in 0..dice.below(3) {
                let at = dice.below(left.len() as u64) as usize;
                left[at] = dice.next_u64() as u8;
            }
            let limit = left.len() * 20;
            let socket = Pieces { left, dice: Prng::new(dice.next_u64()) };
            let at = IpAddr::V4(Ipv4Addr::LOCALHOST);
            let mut incoming = Incoming::new(socket, at, Instant(1));
            for turn in 0.. {
                assert!(turn < limit, "it goes on for ever");
                match incoming.read(Instant(2)) {
                    Step::Blocked => {}
                    Step::Frame => {
                        frames += 1;
                        assert!(incoming.frame().len() >= HEADER_LEN);
                        // The first frame says who speaks; after that they may be long.
                        let node = NodeId::new(1).unwrap();
                        incoming.who = Some(Life { node, incarnation: Incarnation(1) });
                        incoming.next();
                    }
                    Step::Refused(_) | Step::Closed => break,
                }
            }
        }
        assert!(frames > 1_000, "{frames}");
    }
}
