//! Copies of routine messages for the links other than the first: sent a moment later, and only if they may be needed.
//!
//! Every message of the agreement goes out on every link. For a Prepare of ordinary requests and its acknowledgement that
//! doubled what a commit costs at each end, before the other end could answer. So these go out on one link at once,
//! and on the others after [`AFTER`], unless it is known by then that they have arrived: a Prepare by the acknowledgements of
//! all peers, an acknowledgement by the primary's release, which is what all members have acknowledged (R-RELEASE). A frame
//! that its first link loses comes [`AFTER`] later, long before the agreement itself repeats anything. What takes part in
//! a change of view is never delayed.

use base::{Duration, Instant};
use link::Destination;
use std::collections::VecDeque;
use wire::frame::Kind;
use wire::{EntryKind, LinkId, Message, NODES_MAX, NodeId, NodeSet, Op, Term};

/// How much later a copy goes out than the first.
pub(crate) const AFTER: Duration = Duration::from_micros(500);
/// Copies that wait at most; one more sends the oldest at once.
const WAITING_MAX: usize = 64;

/// What says that a message has arrived.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Proof {
    /// These have not acknowledged `op` of `term` yet.
    Acknowledged { term: Term, op: Op, by: NodeSet },
    /// The primary of `term` has not released `op` yet.
    Released { term: Term, op: Op },
}

/// One message that may have to be sent again on the other links.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Kept {
    /// Where to.
    pub(crate) to: Destination,
    /// What it is.
    pub(crate) kind: Kind,
    /// Its number, the same on all links.
    pub(crate) seq: u64,
    /// The link that has had it.
    pub(crate) first: LinkId,
    /// Its bytes.
    pub(crate) body: Vec<u8>,
    due: Instant,
    proof: Proof,
}

/// The copies that wait, oldest first, and which link is the first for whom.
#[derive(Debug)]
pub(crate) struct Copies {
    waiting: VecDeque<Kept>,
    /// Memory of copies that are done with.
    spare: Vec<Vec<u8>>,
    /// By node: the link of the last frame that was new.
    links: Box<[LinkId]>,
    /// The link of the last frame of anybody that was new.
    last: LinkId,
    /// By node: its last Prepare was routine.
    routine: Box<[bool]>,
}

impl Default for Copies {
    fn default() -> Self {
        Self {
            waiting: VecDeque::with_capacity(WAITING_MAX),
            spare: Vec::new(),
            links: vec![LinkId(0); NODES_MAX].into_boxed_slice(),
            last: LinkId(0),
            routine: vec![false; NODES_MAX].into_boxed_slice(),
        }
    }
}

/// True for entries that nobody's right to act rests on.
fn is_routine(message: &Message) -> bool {
    let Message::Prepare { entries, .. } = message else { return false };
    let plain = |kind: &EntryKind| matches!(kind, EntryKind::Request { .. } | EntryKind::Noop);
    !entries.is_empty() && entries.iter().all(|entry| plain(&entry.kind))
}

impl Copies {
    /// The link on which a message is sent first: the one that brings what is new from there.
    pub(crate) fn first(&self, to: Destination) -> LinkId {
        match to {
            Destination::All => self.last,
            Destination::Node(node) => self.links[node.index()],
        }
    }

    /// What must be known for `message`, sent to `peers`, to need no copy; none = its copies go out at once.
    fn proof(&self, to: Destination, message: &Message, peers: NodeSet) -> Option<Proof> {
        match (to, message) {
            (Destination::All, Message::Prepare { term, prev_op, entries, .. })
                if is_routine(message) =>
            {
                let op = Op(prev_op.0.saturating_add(entries.len() as u64));
                Some(Proof::Acknowledged { term: *term, op, by: peers })
            }
            (Destination::Node(node), Message::PrepareOk { term, op })
                if self.routine[node.index()] =>
            {
                Some(Proof::Released { term: *term, op: *op })
            }
            _ => None,
        }
    }

    /// Keeps a message whose copies may wait; gives back false if they may not. The caller sends it on its first link.
    pub(crate) fn keep(
        &mut self,
        now: Instant,
        (to, message): (Destination, &Message),
        peers: NodeSet,
        (kind, seq, body): (Kind, u64, &[u8]),
    ) -> bool {
        let Some(proof) = self.proof(to, message, peers) else { return false };
        let mut kept = self.spare.pop().unwrap_or_default();
        kept.clear();
        kept.extend_from_slice(body);
        let first = self.first(to);
        self.waiting.push_back(Kept { to, kind, seq, first, body: kept, due: now + AFTER, proof });
        true
    }

    /// Something new came on a link; what it proves needs no copy any more.
    pub(crate) fn heard(&mut self, from: NodeId, link: LinkId, message: &Message) {
        self.links[from.index()] = link;
        self.last = link;
        match message {
            Message::PrepareOk { term, op } => {
                for copy in &mut self.waiting {
                    if let Proof::Acknowledged { term: of, op: end, by } = &mut copy.proof
                        && of == term
                        && *end <= *op
                    {
                        by.remove(from);
                    }
                }
            }
            Message::Prepare { term, release, entries, .. } if term.life.node == from => {
                if !entries.is_empty() {
                    self.routine[from.index()] = is_routine(message);
                }
                for copy in &mut self.waiting {
                    if let Proof::Released { term: of, op } = &mut copy.proof
                        && of == term
                        && *op <= *release
                    {
                        *op = Op::ZERO;
                    }
                }
            }
            _ => return,
        }
        while self.waiting.front().is_some_and(Kept::has_arrived) {
            self.drop_first();
        }
    }

    /// When the next copy is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.waiting.front().map(|copy| copy.due)
    }

    /// The next copy that must go out by now; [`Copies::done`] takes it back.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Kept> {
        loop {
            let first = self.waiting.front()?;
            if first.has_arrived() {
                self.drop_first();
            } else if first.due <= now || self.waiting.len() > WAITING_MAX {
                return self.waiting.pop_front();
            } else {
                return None;
            }
        }
    }

    /// Keeps the memory of a copy for the next one.
    pub(crate) fn done(&mut self, copy: Kept) {
        if self.spare.len() < WAITING_MAX {
            self.spare.push(copy.body);
        }
    }

    fn drop_first(&mut self) {
        if let Some(copy) = self.waiting.pop_front() {
            self.done(copy);
        }
    }
}

impl Kept {
    fn has_arrived(&self) -> bool {
        match &self.proof {
            Proof::Acknowledged { by, .. } => by.is_empty(),
            Proof::Released { op, .. } => *op == Op::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{AFTER, Copies, Kept, WAITING_MAX};
    use base::Instant;
    use link::Destination;
    use wire::entry::RemovalCause;
    use wire::frame::Kind;
    use wire::{
        ClientId, Entry, EntryKind, Incarnation, Life, LinkId, Message, NodeId, NodeSet, Op, Seq,
        Stint, Term,
    };

    const NOW: Instant = Instant(1_000_000);

    fn node(n: u8) -> NodeId {
        NodeId::new(n).unwrap()
    }

    fn term() -> Term {
        Term { era: 1, counter: 1, life: Life { node: node(1), incarnation: Incarnation(1) } }
    }

    fn peers() -> NodeSet {
        [node(2), node(3)].into_iter().collect()
    }

    fn prepare(op: u64, kinds: Vec<EntryKind>, release: u64) -> Message {
        let entries =
            kinds.into_iter().map(|kind| Entry { term: term(), level: 1, kind }).collect();
        let (prev_op, release) = (Op(op - 1), Op(release));
        Message::Prepare {
            term: term(),
            prev_op,
            prev_term: term(),
            entries,
            commit: release,
            release,
            held: prev_op,
        }
    }

    fn request(op: u64, release: u64) -> Message {
        let kind = EntryKind::Request { client: ClientId(1), seq: Seq(op), body: [0; 4].into() };
        prepare(op, vec![kind], release)
    }

    fn removal(op: u64) -> Message {
        let (node, incarnation, cause) = (node(3), Incarnation(1), RemovalCause::Silent);
        prepare(op, vec![EntryKind::Remove { node, incarnation, stint: Stint(1), cause }], 0)
    }

    const fn ok(op: u64, term: Term) -> Message {
        Message::PrepareOk { term, op: Op(op) }
    }

    fn keep(copies: &mut Copies, now: Instant, to: Destination, message: &Message) -> bool {
        copies.keep(now, (to, message), peers(), (Kind::Agreement, 7, b"body"))
    }

    fn due(copies: &mut Copies, now: Instant) -> usize {
        std::iter::from_fn(|| copies.next(now)).count()
    }

    #[test]
    fn a_prepare_needs_no_copy_once_every_peer_has_acknowledged_it() {
        let mut copies = Copies::default();
        assert!(keep(&mut copies, NOW, Destination::All, &request(5, 0)));
        copies.heard(node(2), LinkId(0), &ok(5, term()));
        assert_eq!(copies.due(), Some(NOW + AFTER), "one has not");
        copies.heard(node(3), LinkId(0), &ok(4, term()));
        copies.heard(node(3), LinkId(0), &ok(5, Term { counter: 2, ..term() }));
        assert_eq!(copies.due(), Some(NOW + AFTER), "less, or in another term");
        copies.heard(node(3), LinkId(0), &ok(6, term()));
        assert_eq!(copies.due(), None);
    }

    #[test]
    fn an_acknowledgement_needs_no_copy_once_the_primary_has_released_what_it_says() {
        let mut copies = Copies::default();
        copies.heard(node(1), LinkId(0), &request(5, 0));
        assert!(keep(&mut copies, NOW, Destination::Node(node(1)), &ok(5, term())));
        copies.heard(node(1), LinkId(0), &request(6, 4));
        assert_eq!(copies.due(), Some(NOW + AFTER));
        copies.heard(node(1), LinkId(0), &request(7, 5));
        assert_eq!(copies.due(), None);
    }

    #[test]
    fn what_did_not_arrive_is_due_a_moment_later_with_its_bytes_and_once() {
        let mut copies = Copies::default();
        assert!(keep(&mut copies, NOW, Destination::All, &request(5, 0)));
        assert_eq!(due(&mut copies, NOW + AFTER - base::Duration(1)), 0);
        let copy = copies.next(NOW + AFTER).expect("due");
        let Kept { to, kind, seq, first, ref body, .. } = copy;
        assert_eq!((to, kind, seq, first), (Destination::All, Kind::Agreement, 7, LinkId(0)));
        assert_eq!(body, b"body");
        copies.done(copy);
        assert_eq!(due(&mut copies, NOW + AFTER), 0);
    }

    #[test]
    fn what_changes_the_view_is_not_delayed_nor_is_its_acknowledgement() {
        let mut copies = Copies::default();
        assert!(!keep(&mut copies, NOW, Destination::All, &removal(5)));
        assert!(!keep(&mut copies, NOW, Destination::All, &prepare(5, Vec::new(), 0)));
        assert!(
            !keep(&mut copies, NOW, Destination::Node(node(2)), &request(5, 0)),
            "a repetition"
        );
        copies.heard(node(1), LinkId(0), &request(4, 0));
        copies.heard(node(1), LinkId(0), &removal(5));
        copies.heard(node(1), LinkId(0), &prepare(6, Vec::new(), 0));
        assert!(!keep(&mut copies, NOW, Destination::Node(node(1)), &ok(5, term())));
    }

    #[test]
    fn the_first_link_is_the_one_that_brings_what_is_new() {
        let mut copies = Copies::default();
        copies.heard(node(2), LinkId(1), &ok(1, term()));
        copies.heard(node(3), LinkId(0), &ok(1, term()));
        assert_eq!(copies.first(Destination::Node(node(2))), LinkId(1));
        assert_eq!(copies.first(Destination::Node(node(3))), LinkId(0));
        assert_eq!(copies.first(Destination::All), LinkId(0));
    }

    #[test]
    fn no_more_than_so_many_wait() {
        let mut copies = Copies::default();
        for op in 1..=WAITING_MAX as u64 + 3 {
            keep(&mut copies, NOW, Destination::All, &request(op, 0));
        }
        assert_eq!(due(&mut copies, NOW), 3);
    }
}
