//! Which frames are new: growing numbers per life (S9), and one life per node (R-LIFE).
//!
//! Fast frames are judged per link, because a beat proves that *this link* works: there an older number is reordered
//! and useless. Answers and obituaries share the beats' numbers but not their order: an answer goes to one node, a beat
//! to all, and a network card may deliver them through different queues; an answer that comes first must not cost the
//! beat. Control messages travel on every link under one number; the first copy counts, and a window lets late ones in.
//!
//! A higher incarnation begins afresh; a lower one is stale. An equal one with another nonce is a second machine with
//! the same id: both are refused until a higher incarnation comes. Taking the first that was heard would be worse than
//! refusing both: two peers may have heard different ones first, and each machine would collect an echo for its lease.

use crate::frame::{Header, Kind};
use crate::ids::{Incarnation, NODES_MAX, NodeId, NodeSet, Nonce, Seq};
use crate::reject::Reject;
use core::cmp::Ordering;

/// Most links a cluster may have.
pub const LINKS_MAX: usize = 4;
/// How far behind the highest number a late control message may be.
pub const WINDOW: u64 = 1_024;
const WORDS: usize = WINDOW as usize / 64;

/// Numbers seen of one sender on one stream.
#[derive(Clone, Copy)]
struct Window {
    highest: u64,
    seen: [u64; WORDS],
}

impl Window {
    const NEW: Self = Self { highest: 0, seen: [0; WORDS] };

    /// Takes a number once; the answer says why not.
    fn take(&mut self, seq: Seq) -> Result<(), Reject> {
        if seq.0 == 0 || seq.0.saturating_add(WINDOW) <= self.highest {
            return Err(Reject::Replayed);
        }
        if seq.0 > self.highest {
            // Numbers skipped over leave the window's far end: forget what they displace.
            let steps = (seq.0 - self.highest).min(WINDOW);
            for step in 0..steps {
                self.clear(seq.0 - step);
            }
            self.highest = seq.0;
        }
        let (word, bit) = Self::place(seq.0);
        if self.seen[word] & bit != 0 {
            return Err(Reject::Duplicate);
        }
        self.seen[word] |= bit;
        Ok(())
    }
    fn clear(&mut self, seq: u64) {
        let (word, bit) = Self::place(seq);
        self.seen[word] &= !bit;
    }
    const fn place(seq: u64) -> (usize, u64) {
        let at = seq % WINDOW;
        ((at / 64) as usize, 1 << (at % 64))
    }
}

/// What is known of one peer.
#[derive(Clone, Copy)]
struct Peer {
    incarnation: Incarnation,
    nonce: Nonce,
    /// Two machines claim this life.
    contested: bool,
    /// Last beat, by link.
    beats: [u64; LINKS_MAX],
    /// Last answer or obituary, by link.
    answers: [u64; LINKS_MAX],
    messages: Window,
    /// The stream's own numbers: what waits there for a megabyte is not late by the datagrams'.
    bulk: Window,
}

impl Peer {
    const NEW: Self = Self {
        incarnation: Incarnation(0),
        nonce: Nonce(0),
        contested: false,
        beats: [0; LINKS_MAX],
        answers: [0; LINKS_MAX],
        messages: Window::NEW,
        bulk: Window::NEW,
    };

    /// Takes a number of the fast stream, if it is higher than the last of its sort on its link.
    fn take_fast(&mut self, header: &Header) -> Result<(), Reject> {
        let sort = if header.kind == Kind::Beat { &mut self.beats } else { &mut self.answers };
        let last = sort.get_mut(usize::from(header.link.0)).ok_or(Reject::WrongLink)?;
        match header.seq.0.cmp(last) {
            Ordering::Greater => {
                *last = header.seq.0;
                Ok(())
            }
            Ordering::Equal => Err(Reject::Duplicate),
            Ordering::Less => Err(Reject::Reordered),
        }
    }
}

/// The windows of all peers; fixed memory.
pub struct Replay {
    own: NodeId,
    configured: NodeSet,
    peers: [Peer; NODES_MAX],
}

impl core::fmt::Debug for Replay {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Replay").field("configured", &self.configured).finish_non_exhaustive()
    }
}

impl Replay {
    /// Nothing seen yet. About 50 KiB: keep it in memory that is allocated once.
    #[must_use]
    pub const fn new(own: NodeId, configured: NodeSet) -> Self {
        Self { own, configured, peers: [Peer::NEW; NODES_MAX] }
    }

    /// Says who is configured from now on. What was seen of a node is kept: should it be configured again, its former lives
    /// are as over as before.
    pub const fn set_configured(&mut self, configured: NodeSet) {
        self.configured = configured;
    }

    /// Takes an authenticated frame if it is new.
    pub fn take(&mut self, header: &Header) -> Result<(), Reject> {
        let from = header.from;
        if from.node == self.own || !self.configured.contains(from.node) {
            return Err(Reject::Stranger);
        }
        let peer = &mut self.peers[from.node.index()];
        if from.incarnation < peer.incarnation {
            return Err(Reject::Stale);
        }
        if from.incarnation > peer.incarnation {
            *peer = Peer { incarnation: from.incarnation, nonce: header.nonce, ..Peer::NEW };
        }
        peer.contested |= header.nonce != peer.nonce;
        if peer.contested {
            return Err(Reject::Impostor);
        }
        match header.kind {
            Kind::Agreement => peer.messages.take(header.seq),
            Kind::Bulk => peer.bulk.take(header.seq),
            Kind::Beat | Kind::Echo | Kind::Obituary => peer.take_fast(header),
        }
    }

    /// The highest incarnation of `node` that an authenticated frame showed; 0 = none yet.
    #[must_use]
    pub const fn highest(&self, node: NodeId) -> Incarnation {
        self.peers[node.index()].incarnation
    }
}

#[cfg(test)]
mod tests {
    use super::{Replay, WINDOW};
    use crate::frame::{Header, Kind};
    use crate::ids::{Incarnation, Life, LinkId, NodeId, NodeSet, Nonce, Seq};
    use crate::reject::Reject;

    fn node(id: u8) -> NodeId {
        NodeId::new(id).unwrap()
    }
    fn replay() -> Replay {
        Replay::new(node(1), NodeSet(0b111))
    }
    fn header(kind: Kind, incarnation: u32, link: u8, seq: u64) -> Header {
        let from = Life { node: node(2), incarnation: Incarnation(incarnation) };
        Header {
            kind,
            from,
            nonce: Nonce(u64::from(incarnation)),
            link: LinkId(link),
            seq: Seq(seq),
        }
    }

    #[test]
    fn a_message_counts_once_over_all_links_and_may_be_late() {
        let mut replay = replay();
        assert_eq!(replay.take(&header(Kind::Agreement, 1, 0, 5)), Ok(()));
        assert_eq!(replay.take(&header(Kind::Agreement, 1, 1, 5)), Err(Reject::Duplicate));
        assert_eq!(replay.take(&header(Kind::Agreement, 1, 0, 4)), Ok(()));
        assert_eq!(replay.take(&header(Kind::Agreement, 1, 0, 5 + WINDOW)), Ok(()));
        assert_eq!(replay.take(&header(Kind::Agreement, 1, 0, 5)), Err(Reject::Replayed));
        assert_eq!(replay.take(&header(Kind::Agreement, 1, 0, 6)), Ok(()));
        assert_eq!(replay.take(&header(Kind::Agreement, 1, 0, 6)), Err(Reject::Duplicate));
    }

    #[test]
    fn the_stream_has_numbers_of_its_own_and_the_same_lives() {
        let mut replay = replay();
        assert_eq!(replay.take(&header(Kind::Agreement, 1, 0, 5_000)), Ok(()));
        assert_eq!(replay.take(&header(Kind::Bulk, 1, 0, 5)), Ok(()));
        assert_eq!(replay.take(&header(Kind::Bulk, 1, 0, 5)), Err(Reject::Duplicate));
        assert_eq!(replay.take(&header(Kind::Agreement, 2, 0, 1)), Ok(()));
        assert_eq!(replay.take(&header(Kind::Bulk, 1, 0, 6)), Err(Reject::Stale));
    }

    #[test]
    fn a_beat_counts_on_each_link_and_never_backwards() {
        let mut replay = replay();
        assert_eq!(replay.take(&header(Kind::Beat, 1, 0, 5)), Ok(()));
        assert_eq!(replay.take(&header(Kind::Beat, 1, 1, 5)), Ok(()));
        assert_eq!(replay.take(&header(Kind::Beat, 1, 0, 5)), Err(Reject::Duplicate));
        assert_eq!(replay.take(&header(Kind::Beat, 1, 0, 4)), Err(Reject::Reordered));
        assert_eq!(replay.take(&header(Kind::Beat, 1, 9, 9)), Err(Reject::WrongLink));
    }

    #[test]
    fn an_answer_that_overtakes_a_beat_does_not_cost_it() {
        let mut replay = replay();
        assert_eq!(replay.take(&header(Kind::Echo, 1, 0, 6)), Ok(()));
        assert_eq!(replay.take(&header(Kind::Beat, 1, 0, 5)), Ok(()));
        assert_eq!(replay.take(&header(Kind::Echo, 1, 0, 6)), Err(Reject::Duplicate));
        assert_eq!(replay.take(&header(Kind::Obituary, 1, 0, 4)), Err(Reject::Reordered));
    }

    #[test]
    fn number_zero_is_never_sent_and_never_taken() {
        let mut replay = replay();
        assert_eq!(replay.take(&header(Kind::Agreement, 1, 0, 0)), Err(Reject::Replayed));
        assert_eq!(replay.take(&header(Kind::Beat, 1, 0, 0)), Err(Reject::Duplicate));
        assert_eq!(replay.take(&header(Kind::Agreement, 1, 0, u64::MAX)), Ok(()));
        assert_eq!(replay.take(&header(Kind::Agreement, 1, 0, 1)), Err(Reject::Replayed));
    }

    #[test]
    fn a_newer_life_silences_the_older_and_a_second_nonce_is_refused() {
        let mut replay = replay();
        assert_eq!(replay.take(&header(Kind::Beat, 2, 0, 100)), Ok(()));
        assert_eq!(replay.take(&header(Kind::Beat, 1, 0, 101)), Err(Reject::Stale));
        let other = Header { nonce: Nonce(77), ..header(Kind::Beat, 2, 0, 102) };
        assert_eq!(replay.take(&other), Err(Reject::Impostor));
        assert_eq!(replay.take(&header(Kind::Beat, 2, 0, 103)), Err(Reject::Impostor), "both");
        assert_eq!(replay.take(&header(Kind::Beat, 3, 0, 1)), Ok(()));
        assert_eq!(replay.highest(node(2)), Incarnation(3));
    }

    #[test]
    fn a_node_is_heard_from_the_moment_it_is_configured_and_its_old_lives_stay_over() {
        let mut replay = replay();
        let frame = |incarnation, seq| {
            let from = Life { node: node(9), incarnation: Incarnation(incarnation) };
            Header { from, ..header(Kind::Beat, incarnation, 0, seq) }
        };
        assert_eq!(replay.take(&frame(2, 1)), Err(Reject::Stranger));
        replay.set_configured(NodeSet(0b1_0000_0111));
        assert_eq!(replay.take(&frame(2, 2)), Ok(()));
        replay.set_configured(NodeSet(0b111));
        assert_eq!(replay.take(&frame(2, 3)), Err(Reject::Stranger));
        replay.set_configured(NodeSet(0b1_0000_0111));
        assert_eq!(replay.take(&frame(1, 4)), Err(Reject::Stale));
        assert_eq!(replay.take(&frame(2, 2)), Err(Reject::Duplicate));
        assert_eq!(replay.take(&frame(2, 4)), Ok(()));
    }

    #[test]
    fn strangers_and_this_node_itself_are_refused() {
        let mut replay = replay();
        for id in [1, 9] {
            let from = Life { node: node(id), incarnation: Incarnation(1) };
            let frame = Header { from, ..header(Kind::Beat, 1, 0, 1) };
            assert_eq!(replay.take(&frame), Err(Reject::Stranger));
        }
    }
}
