//! The board: words that the fast path and the control plane of one node share.
//!
//! It is plain atomics with a fixed layout, so that the shared map can hold it and the simulator can
//! run it; all accesses are sequentially consistent, because the seal rests on the order of two pairs
//! (PROTOCOL 5.3b): control stores `frozen[n]`, then loads `ends[n]`; fast stores `ends[n]`, then loads
//! `frozen[n]` when it builds a beat. Either the beat goes without the echo, or control sees the fresh end.
//!
//! Who writes: each word has one writer, named in its comment.

use alloc::vec::Vec;
use base::{Duration, Instant};
use core::hash::{Hash, Hasher};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use wire::{Incarnation, NODES_MAX, NodeId, NodeSet, Stint};

/// Most services whose generation the board shows.
pub const SERVICES_MAX: usize = 64;

/// What a freeze finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frozen {
    /// Receipt of the last beat that may have been echoed; zero if none was.
    pub heard: Instant,
    /// Until when a lease can last that rests on this life's echoes.
    pub end: Instant,
}

/// The shared words. All zero is the state before the first beat.
#[repr(C)]
#[derive(Debug)]
pub struct Board {
    /// Fast: end of the own lease, ns; 0 = closed. A start zeroes it before the first frame.
    lease_end: AtomicU64,
    /// Control: the own stint that is closed for good (R-SELF), 0 = none; fast never clears it.
    closed: AtomicU64,
    /// Control: the own stint by applied entries, 0 = no member.
    stint: AtomicU64,
    /// Control: grows while control makes progress.
    progress: AtomicU64,
    /// Control: nonzero while this node owns a service, so that peers answer its beats at once.
    owner: AtomicU64,
    /// Fast: the longest deadline that this node or a peer that is heard declares, ns; 0 before the first turn.
    slowest: AtomicU64,
    /// Control: nodes whose votes make the majority by the applied log, low and high half.
    voters: [AtomicU64; 2],
    /// Control: the voters of a later electorate that the log names and that is not applied yet; 0 = none.
    voters_next: [AtomicU64; 2],
    /// Control: voters whose vote is given by evidence (R-FENCE), low and high half.
    given: [AtomicU64; 2],
    /// Fast: receipt of the last beat of each node that was made echoable, ns.
    heard: [AtomicU64; NODES_MAX],
    /// Fast: until when a lease of each node can last that rests on echoes of this life, ns: the largest sum of receipt
    /// and declared deadline of all its beats that were made echoable. It never goes back.
    ends: [AtomicU64; NODES_MAX],
    /// Control: the stint of each node that must not be echoed any more, 0 = none.
    frozen: [AtomicU64; NODES_MAX],
    /// Control: each node's stint by applied entries, 0 = no member.
    stints: [AtomicU64; NODES_MAX],
    /// Control: the life that holds each slot's vote by applied entries, 0 = none.
    roster: [AtomicU32; NODES_MAX],
    /// Control: generation of each service that this node holds open, 0 = not here.
    open: [AtomicU64; SERVICES_MAX],
}

impl Default for Board {
    fn default() -> Self {
        Self {
            lease_end: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            stint: AtomicU64::new(0),
            progress: AtomicU64::new(0),
            owner: AtomicU64::new(0),
            slowest: AtomicU64::new(0),
            voters: [const { AtomicU64::new(0) }; 2],
            voters_next: [const { AtomicU64::new(0) }; 2],
            given: [const { AtomicU64::new(0) }; 2],
            heard: [const { AtomicU64::new(0) }; NODES_MAX],
            ends: [const { AtomicU64::new(0) }; NODES_MAX],
            frozen: [const { AtomicU64::new(0) }; NODES_MAX],
            stints: [const { AtomicU64::new(0) }; NODES_MAX],
            roster: [const { AtomicU32::new(0) }; NODES_MAX],
            open: [const { AtomicU64::new(0) }; SERVICES_MAX],
        }
    }
}

impl Board {
    // Fast writes.

    /// Stores the end of the own lease.
    pub fn set_lease_end(&self, end: Instant) {
        self.lease_end.store(end.0, SeqCst);
    }
    /// Stores the receipt of a beat and the end of what can rest on its echo, *before* that echo may be built. A beat that
    /// declares a shorter deadline than one before it takes nothing back: the older one was echoed too.
    pub fn set_heard(&self, node: NodeId, at: Instant, end: Instant) {
        self.heard[node.index()].store(at.0, SeqCst);
        let ends = &self.ends[node.index()];
        // Fast is the only writer, so that nothing comes between the load and the store.
        ends.store(ends.load(SeqCst).max(end.0), SeqCst);
    }

    /// Stores the longest deadline that this node or a peer that is heard declares: so patient must control be.
    pub fn set_slowest(&self, deadline: Duration) {
        self.slowest.store(deadline.0, SeqCst);
    }

    // Control writes.

    /// Freezes the echoes of one stint (R-ACK 1) and returns what may have been echoed before.
    pub fn freeze(&self, node: NodeId, stint: Stint) -> Frozen {
        self.frozen[node.index()].store(stint.0, SeqCst);
        Frozen { heard: self.heard(node), end: self.echo_end(node) }
    }
    /// Takes a freeze back: the entry was truncated (R-ACK 3), or the stint is over.
    pub fn unfreeze(&self, node: NodeId) {
        self.frozen[node.index()].store(0, SeqCst);
    }
    /// Closes the own lease for one stint (R-SELF).
    pub fn close(&self, stint: Stint) {
        self.closed.store(stint.0, SeqCst);
    }
    /// Takes a close back: the own Remove was truncated.
    pub fn reopen(&self) {
        self.closed.store(0, SeqCst);
    }
    /// Publishes the own stint by applied entries.
    pub fn set_stint(&self, stint: Stint) {
        self.stint.store(stint.0, SeqCst);
    }
    /// Publishes a peer's stint by applied entries.
    pub fn set_peer_stint(&self, node: NodeId, stint: Stint) {
        let ended = self.stints[node.index()].swap(stint.0, SeqCst);
        // The freeze of an ended stint has done its work. Kept, it would silence the stint of a later era that has the
        // same number. It is cleared after the stint has ended, and fast loads it before the stint.
        if ended != stint.0 && ended != 0 && self.frozen[node.index()].load(SeqCst) == ended {
            self.frozen[node.index()].store(0, SeqCst);
        }
    }
    /// Publishes the life that holds a slot's vote.
    pub fn set_roster(&self, node: NodeId, incarnation: Incarnation) {
        self.roster[node.index()].store(incarnation.0, SeqCst);
    }
    /// Publishes the voters of the applied log.
    pub fn set_voters(&self, voters: NodeSet) {
        store(&self.voters, voters);
    }
    /// Publishes the voters that a later entry of the own log names (R-LEASE-CONF); the empty set = there is none. While it
    /// is set a lease needs the majority in both electorates.
    ///
    /// * On appending the entry: call it *before* the acknowledgement leaves. Who counts this node's acknowledgement may
    ///   then remove it by votes of the later electorate, and every beat that it renews by from here on has that majority.
    /// * On committing it: [`Board::set_voters`] first, then this with the empty set. Fast loads this word first, so that
    ///   whatever comes between, it never sees the older electorate alone again.
    /// * When the entry is truncated: at once, because it can never commit any more.
    ///
    /// Two words suffice: R-BARRIER lets nobody propose a third electorate before every member holds the second and it is
    /// committed; who appends the third has the second as `voters`. Set bits are those of old or new (see below), and two
    /// neighbours differ in one.
    pub fn set_voters_next(&self, voters: NodeSet) {
        store(&self.voters_next, voters);
    }
    /// Publishes the voters whose vote is given (R-FENCE). Call it first of all words of a roster: a vote that is given
    /// no more ends with the Admit of a new life, and must be gone before that life's echo can count, and before the
    /// own stint of another era, which begins without gifts, can rest on it. Given too early it cannot be: it follows
    /// the commit, and the own stint that counts it is published already.
    pub fn set_given(&self, given: NodeSet) {
        store(&self.given, given);
    }
    /// Says whether this node owns a service.
    pub fn set_owner(&self, owner: bool) {
        self.owner.store(u64::from(owner), SeqCst);
    }
    /// Publishes the generation of a service held open here; 0 closes.
    pub fn set_open(&self, service: usize, generation: u64) {
        if let Some(word) = self.open.get(service) {
            word.store(generation, SeqCst);
        }
    }
    /// Control lives.
    pub fn make_progress(&self) {
        self.progress.fetch_add(1, SeqCst);
    }

    // Both read.

    /// End of the own lease; zero = closed.
    pub fn lease_end(&self) -> Instant {
        Instant(self.lease_end.load(SeqCst))
    }
    /// The own stint that is closed.
    pub fn closed(&self) -> Stint {
        Stint(self.closed.load(SeqCst))
    }
    /// The own stint.
    pub fn stint(&self) -> Stint {
        Stint(self.stint.load(SeqCst))
    }
    /// True while this node may act as a member at `now`: not closed, and the lease runs.
    pub fn lease_holds(&self, now: Instant) -> bool {
        let stint = self.stint();
        stint.is_member() && self.closed() != stint && now < self.lease_end()
    }
    /// Last receipt of `node` that was made echoable.
    pub fn heard(&self, node: NodeId) -> Instant {
        Instant(self.heard[node.index()].load(SeqCst))
    }
    /// Until when a lease of `node` can last that rests on this life's echoes; zero if none can.
    pub fn echo_end(&self, node: NodeId) -> Instant {
        Instant(self.ends[node.index()].load(SeqCst))
    }
    /// The longest deadline that this node or a peer that is heard declares; zero before fast's first turn.
    pub fn slowest(&self) -> Duration {
        Duration(self.slowest.load(SeqCst))
    }
    /// The frozen stint of `node`.
    pub fn frozen(&self, node: NodeId) -> Stint {
        Stint(self.frozen[node.index()].load(SeqCst))
    }
    /// A peer's stint by applied entries.
    pub fn peer_stint(&self, node: NodeId) -> Stint {
        Stint(self.stints[node.index()].load(SeqCst))
    }
    /// The life that holds a slot's vote, 0 = none.
    pub fn roster(&self, node: NodeId) -> Incarnation {
        Incarnation(self.roster[node.index()].load(SeqCst))
    }
    /// The voters of the applied log.
    pub fn voters(&self) -> NodeSet {
        load(&self.voters)
    }
    /// The voters of a later electorate; the empty set = there is none.
    pub fn voters_next(&self) -> NodeSet {
        load(&self.voters_next)
    }
    /// The voters whose vote is given.
    pub fn given(&self) -> NodeSet {
        load(&self.given)
    }
    /// True while this node owns a service.
    pub fn owner(&self) -> bool {
        self.owner.load(SeqCst) != 0
    }
    /// Generation of a service held open here, 0 = not here.
    pub fn open(&self, service: usize) -> u64 {
        self.open.get(service).map_or(0, |word| word.load(SeqCst))
    }
    /// Control's progress count.
    pub fn progress(&self) -> u64 {
        self.progress.load(SeqCst)
    }
}

/// A copy of every word as it is now, one after the other: for a model, which keeps many moments of one node. The daemons
/// share one board and never copy it.
impl Clone for Board {
    fn clone(&self) -> Self {
        let Self { lease_end, closed, stint, progress, owner, slowest, voters, .. } = self;
        let Self { voters_next, given, heard, ends, frozen, stints, roster, open, .. } = self;
        let copy = |word: &AtomicU64| AtomicU64::new(word.load(SeqCst));
        Self {
            lease_end: copy(lease_end),
            closed: copy(closed),
            stint: copy(stint),
            progress: copy(progress),
            owner: copy(owner),
            slowest: copy(slowest),
            voters: voters.each_ref().map(copy),
            voters_next: voters_next.each_ref().map(copy),
            given: given.each_ref().map(copy),
            heard: heard.each_ref().map(copy),
            ends: ends.each_ref().map(copy),
            frozen: frozen.each_ref().map(copy),
            stints: stints.each_ref().map(copy),
            roster: roster.each_ref().map(|word| AtomicU32::new(word.load(SeqCst))),
            open: open.each_ref().map(copy),
        }
    }
}
impl PartialEq for Board {
    fn eq(&self, other: &Self) -> bool {
        self.words() == other.words()
    }
}
impl Eq for Board {}
impl Hash for Board {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.words().hash(state);
    }
}
impl Board {
    /// All words; a new one that is missing here is a compile error.
    fn words(&self) -> Vec<u64> {
        let Self {
            lease_end,
            closed,
            stint,
            progress,
            owner,
            slowest,
            voters,
            voters_next,
            given,
            heard,
            ends,
            frozen,
            stints,
            roster,
            open,
        } = self;
        let single = [lease_end, closed, stint, progress, owner, slowest].into_iter();
        let sets = single.chain(voters).chain(voters_next).chain(given);
        let wide = sets.chain(heard).chain(ends).chain(frozen).chain(stints).chain(open);
        let wide = wide.map(|word| word.load(SeqCst));
        wide.chain(roster.iter().map(|word| u64::from(word.load(SeqCst)))).collect()
    }
}

/// Each node's bit has one meaning, so that a reader between the two stores sees a set of old and new bits, all true.
fn store(halves: &[AtomicU64; 2], set: NodeSet) {
    halves[0].store(set.0 as u64, SeqCst);
    halves[1].store((set.0 >> 64) as u64, SeqCst);
}

fn load(halves: &[AtomicU64; 2]) -> NodeSet {
    let half = |i: usize| u128::from(halves[i].load(SeqCst));
    NodeSet(half(0) | half(1) << 64)
}
