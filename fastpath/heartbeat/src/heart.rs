//! The machine: hears beats, answers owners, sends its own, accuses the silent, keeps the lease.
//!
//! Feed it with `handle_*`, drain `poll_action`, sleep until `poll_deadline`. After [`Heartbeat::new`] it allocates
//! nothing: the action queue has a bound, and what does not fit is dropped and counted.

use crate::board::Board;
use crate::event::{Event, EventKind};
use crate::lease::Lease;
use crate::peer::{Echoable, Health, HealthEvent, Peer, PeerLink, Quality};
use crate::settings::Settings;
use alloc::collections::VecDeque;
use base::{Duration, Instant};
use wire::replay::LINKS_MAX;
use wire::{
    Beat, Echo, EchoBody, Incarnation, Life, LinkId, NODES_MAX, NodeId, NodeSet, Obituary, Reject,
    Seq, Stint,
};

/// Actions that wait to be polled: an event for each link of each peer, and some answers.
const ACTIONS_MAX: usize = 2_048;
/// How often an obituary is sent, and how far apart.
const OBITUARIES: u32 = 3;
const OBITUARY_GAP: Duration = Duration::from_micros(500);
/// Deadlines without progress after which control counts as lost: as long as a peer's patience with a member that
/// beats but does not acknowledge (R-PROGRESS), because until then nothing is gained by ending sooner.
const CONTROL_DEADLINES: u64 = 3;

/// Beats of a peer after which the quality of its links is judged: 5 s at 10 ms.
const QUALITY_BEATS: u16 = 512;
/// So many lost, doubled or reordered among them make a link poor. Fewer can be a link whose copies were not yet read
/// when this one's were.
const QUALITY_FAULTS: u16 = 4;

/// How a beat came.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Receipt {
    /// The link.
    pub link: LinkId,
    /// When it was read. The seal reckons with this: it is never before the send (PROTOCOL 5.1).
    pub read: Instant,
    /// When it came, as far as that is known. Silence is reckoned from here: a reader that is late is no reason to wait
    /// longer for the next beat. It decides who is suspected, and nothing else, because it can be wrong.
    pub came: Instant,
}

impl Receipt {
    /// Read as soon as it came.
    #[must_use]
    pub const fn at(link: LinkId, read: Instant) -> Self {
        Self { link, read, came: read }
    }
    /// When it came, and not in the future.
    fn came(self) -> Instant {
        self.came.min(self.read)
    }
}

/// What the edge must do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Action {
    /// Read the clock, fill a beat, send it on every link.
    Beat,
    /// Send one echo at once.
    Answer {
        /// To whom.
        to: NodeId,
        /// On the link that the beat came on.
        link: LinkId,
        /// The echo.
        echo: EchoBody,
    },
    /// Send an obituary on every link; the lease word is zero already.
    Obituary(Obituary),
    /// Tell control.
    Tell(Event),
    /// Leave the loop.
    Stop,
}

/// One life of the fast path.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Heartbeat {
    settings: Settings,
    peers: [Peer; NODES_MAX],
    lease: Lease,
    seq: Seq,
    next_beat: Instant,
    /// After the interval has grown: beats that still follow at the former distance, and that.
    haste: Option<(u32, Duration)>,
    next_probe: Instant,
    probing: bool,
    progress: (u64, Instant),
    /// Set once control is lost: the stint that ends, obituaries still to send, when the next one.
    ending: Option<(Stint, u32, Instant)>,
    actions: VecDeque<Action>,
    dropped: u64,
}

impl Heartbeat {
    /// A new life; every deadline begins afresh at `now`. The edge has zeroed the board's lease word.
    #[must_use]
    pub fn new(settings: Settings, now: Instant) -> Self {
        Self {
            settings,
            peers: [Peer::new(now); NODES_MAX],
            lease: Lease::new(),
            seq: Seq(0),
            next_beat: now,
            haste: None,
            next_probe: Instant::MAX,
            probing: false,
            progress: (0, now),
            ending: None,
            actions: VecDeque::with_capacity(ACTIONS_MAX),
            dropped: 0,
        }
    }

    /// An authenticated, new beat.
    pub fn handle_beat(
        &mut self,
        receipt: Receipt,
        from: Life,
        seq: Seq,
        beat: &Beat,
        board: &Board,
    ) {
        if from.node == self.settings.me.node {
            return;
        }
        let Receipt { read: now, link, .. } = receipt;
        if !self.is_newest(from, seq) {
            // The copy of a beat that came over a faster link first: it only proves that this link works.
            self.heard_on(receipt, from);
            return;
        }
        self.heard(now, from, Some(receipt));
        let peer = &mut self.peers[from.node.index()];
        peer.newest = seq;
        peer.beats += 1;
        peer.stint = beat.stint;
        peer.deadline = Some(beat.deadline);
        let own = self.settings.off("declared-seal");
        let end = now + if own { self.settings.deadline() } else { self.patience(from.node) };
        let unbound = self.settings.off("beat-stint");
        let stint = if unbound { board.peer_stint(from.node) } else { beat.stint };
        if may_echo(&self.settings, from, stint, board) {
            // Stored before the frozen word is read again: the answer here, or the next beat, goes without the echo,
            // or control sees what this beat declares (PROTOCOL 5.3b).
            board.set_heard(from.node, now, end);
            let incarnation = from.incarnation;
            let echoable = Echoable { seq, incarnation, stint, at: receipt.came() };
            self.peers[from.node.index()].echoable = Some(echoable);
            // An owner is answered at once (PROTOCOL 5.6), and so is a peer whose lease would end before the next own
            // beats could bring the echo: it beats faster than this node.
            let hurried = beat.deadline <= self.settings.cadence() * 2;
            if (beat.owner || hurried) && may_echo(&self.settings, from, stint, board) {
                let echo = Echo::new(seq, incarnation, Duration::ZERO);
                let echo = EchoBody { to: from.node, stint: board.stint(), echo };
                self.push(Action::Answer { to: from.node, link, echo });
            }
        }
        if let Some(echo) = beat.echo(self.settings.me.node) {
            self.note_echo(now, from, echo, board);
        }
        self.judge_links(now, from.node);
    }

    /// An authenticated echo that was sent at once.
    pub fn handle_echo(&mut self, now: Instant, from: Life, body: &EchoBody, board: &Board) {
        let me = self.settings.me.node;
        if from.node == me || body.to != me {
            return;
        }
        // Only beats count against silence (PROTOCOL 3): an answer to an owner falls between two beats, and
        // would put the accusation off by as much for that owner alone; the others would wait for it.
        if from.incarnation > self.peers[from.node.index()].incarnation {
            self.heard(now, from, None);
        }
        self.note_echo(now, from, body.echo, board);
    }

    /// An authenticated obituary: valid for that stint only (R-OBIT). It is sent several times and told once.
    pub fn handle_obituary(&mut self, now: Instant, from: Life, obituary: &Obituary) {
        if from.node == self.settings.me.node {
            return;
        }
        let peer = &self.peers[from.node.index()];
        if from.incarnation > peer.incarnation {
            self.heard(now, from, None);
        }
        let peer = &mut self.peers[from.node.index()];
        if peer.obituary == (from.incarnation, obituary.stint) {
            return;
        }
        peer.obituary = (from.incarnation, obituary.stint);
        peer.accused = from.incarnation;
        peer.step(HealthEvent::Obituary);
        self.tell(now, EventKind::Obituary { life: from, stint: obituary.stint });
    }

    /// An authenticated beat that was dropped because it came twice, or after a newer one, on `link`.
    pub fn handle_disorder(&mut self, node: NodeId, link: LinkId, reason: Reject) {
        let links = &mut self.peers[node.index()].links;
        let Some(known) = links.get_mut(usize::from(link.0)) else { return };
        let count = match reason {
            Reject::Duplicate => &mut known.quality.doubled,
            Reject::Reordered => &mut known.quality.reordered,
            _ => return,
        };
        *count = count.saturating_add(1);
    }

    /// This thread did not run for `lost`; call after the sockets are drained (S10). It only delays accusations:
    /// the own lease is not extended, and neither is what the seal reads from the board.
    pub fn handle_stall(&mut self, now: Instant, lost: Duration) {
        for peer in &mut self.peers {
            peer.heard = (peer.heard + lost).min(now);
            for link in &mut peer.links {
                link.heard = (link.heard + lost).min(now);
            }
        }
        self.progress.1 = (self.progress.1 + lost).min(now);
        self.push(Action::Tell(Event { at: now, kind: EventKind::Stalled { lost } }));
    }

    /// New settings from the next beat on; `me` and `links` stay. The cadence stays: no beat comes later than it would
    /// have, and when the interval grows the next ones still follow at the former distance. The peers judge by the last
    /// declaration that they heard, and so may lose as many beats as before without suspecting anybody.
    ///
    /// Nodes that are new begin afresh; those that are gone are forgotten.
    pub fn handle_settings(&mut self, now: Instant, settings: Settings) {
        let (before, cadence) = (self.settings, self.cadence());
        let left = self.haste.map_or(0, |(left, _)| left).max(before.misses);
        self.settings = Settings { me: before.me, links: before.links, ..settings };
        self.settings.nodes.insert(before.me.node);
        self.haste = (cadence < self.settings.cadence()).then_some((left, cadence));
        for index in 0..NODES_MAX {
            let Some(node) = NodeId::from_index(index) else { continue };
            if self.settings.nodes.contains(node) != before.nodes.contains(node) {
                self.peers[index] = Peer::new(now);
            }
        }
        // Control has just spoken; and it may have turned as seldom as the former settings allow.
        self.progress.1 = self.progress.1.max(now);
    }

    /// Control has ended: the lease too, at once; the peers are told, then this life ends.
    pub fn handle_control_lost(&mut self, now: Instant, board: &Board) {
        if self.ending.is_some() {
            return;
        }
        if !self.settings.off("obit-reflex") {
            board.set_lease_end(Instant::ZERO);
            self.lease.end = Instant::ZERO;
        }
        self.ending = Some((board.stint(), OBITUARIES, now));
        self.handle_timeout(now, board);
    }

    /// What is due is done.
    pub fn handle_timeout(&mut self, now: Instant, board: &Board) {
        if self.ending.is_some() {
            self.end(now);
            return;
        }
        let progress = board.progress();
        if progress != self.progress.0 {
            self.progress = (progress, now);
        } else if now >= self.control_deadline() {
            self.handle_control_lost(now, board);
            return;
        }
        self.follow_stint(board);
        self.accuse(now, board);
        self.beat_if_due(now, board);
        self.renew(now, board);
        self.judge_lease(now, board);
    }

    /// A beat with its number; the edge sends it on every link. `now` is read just before.
    pub fn fill_beat(&mut self, now: Instant, board: &Board) -> (Seq, Beat) {
        self.follow_stint(board);
        let seq = self.next_seq();
        let stint = self.lease.stint;
        self.lease.sent(seq, stint, now, self.settings.lease());
        let mut beat = Beat::new(stint, now, self.settings.deadline(), self.settings.interval);
        beat.owner = board.owner();
        beat.probe = core::mem::take(&mut self.probing);
        for node in self.settings.nodes.iter() {
            let Some(echoable) = self.peers[node.index()].echoable else { continue };
            let from = Life { node, incarnation: echoable.incarnation };
            // Read after `heard` was stored: either this beat goes without the echo, or control sees that receipt.
            if may_echo(&self.settings, from, echoable.stint, board) {
                let held = now.since(echoable.at);
                beat.set_echo(node, Echo::new(echoable.seq, echoable.incarnation, held));
            }
        }
        (seq, beat)
    }

    /// The next number of this life's frames.
    pub fn next_seq(&mut self) -> Seq {
        self.seq = Seq(self.seq.0 + 1);
        self.seq
    }

    /// The next thing to do, in order.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Heartbeat::handle_timeout`] is due next.
    #[must_use]
    pub fn poll_deadline(&self) -> Option<Instant> {
        if let Some((_, _, next)) = self.ending {
            return Some(next);
        }
        let mut next = self.next_beat.min(self.next_probe).min(self.control_deadline());
        if self.lease.told {
            next = next.min(self.lease.end);
        }
        for node in self.others() {
            let peer = &self.peers[node.index()];
            if peer.health == Health::Alive {
                next = next.min(peer.heard + self.patience(node));
            }
        }
        Some(next)
    }

    /// This node's opinion of a peer.
    #[must_use]
    pub const fn health(&self, node: NodeId) -> Health {
        self.peers[node.index()].health
    }
    /// Actions lost because nobody polled.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    fn push(&mut self, action: Action) {
        if self.actions.len() < ACTIONS_MAX {
            self.actions.push_back(action);
        } else {
            self.dropped += 1;
        }
    }

    fn tell(&mut self, at: Instant, kind: EventKind) {
        self.push(Action::Tell(Event { at, kind }));
    }

    /// Configured peers without this node.
    fn others(&self) -> impl Iterator<Item = NodeId> + use<> {
        let mut nodes = self.settings.nodes;
        nodes.remove(self.settings.me.node);
        nodes.iter()
    }

    /// How long a peer may be silent: as long as it declares, and before its first beat as long as this node would.
    fn patience(&self, node: NodeId) -> Duration {
        let declared = self.peers[node.index()].deadline;
        declared
            .filter(|_| !self.settings.off("declared-deadline"))
            .unwrap_or_else(|| self.settings.deadline())
    }

    /// Distance of the next two beats.
    fn cadence(&self) -> Duration {
        self.haste.map_or_else(|| self.settings.cadence(), |(_, cadence)| cadence)
    }

    fn control_deadline(&self) -> Instant {
        self.progress.1 + self.settings.deadline() * CONTROL_DEADLINES
    }

    /// A frame of a peer came, with a receipt if it proves that its link works.
    fn heard(&mut self, now: Instant, from: Life, receipt: Option<Receipt>) {
        let node = from.node;
        let peer = &mut self.peers[node.index()];
        let newer = from.incarnation > peer.incarnation;
        // Or it was accused by the log's number before it was heard, and a late frame of its predecessor came between.
        let early = newer && peer.accused == from.incarnation;
        let suspected = peer.health == Health::Suspect || early;
        if newer {
            peer.incarnation = from.incarnation;
            peer.newest = Seq(0);
            peer.echoable = None;
            peer.echoed = None;
            peer.deadline = None;
            peer.stint = Stint::NONE;
        }
        peer.heard = receipt.map_or(now, Receipt::came);
        peer.step(HealthEvent::Heard);
        if suspected {
            // What its links do is judged afresh.
            for known in &mut peer.links {
                *known = PeerLink::new(now);
            }
        }
        let stint = peer.stint;
        if newer {
            self.tell(now, EventKind::Appeared { life: from });
        }
        if suspected {
            self.tell(now, EventKind::Trusted { life: from, stint });
        }
        if let Some(receipt) = receipt {
            self.heard_on(receipt, from);
        }
    }

    /// A frame of a peer came on a link.
    fn heard_on(&mut self, receipt: Receipt, from: Life) {
        let peer = &mut self.peers[from.node.index()];
        let Receipt { read: now, link, .. } = receipt;
        let Some(known) = peer.links.get_mut(usize::from(link.0)) else { return };
        known.heard = receipt.came();
        known.quality.carried = known.quality.carried.saturating_add(1);
        if !known.up {
            known.up = true;
            self.tell(now, EventKind::LinkUp { node: from.node, link });
        }
    }

    /// Every [`QUALITY_BEATS`] beats of a peer: which of its links lose, double or reorder? A beat counts as lost on a
    /// link if it came over another, so this needs no gaps in numbers, which answers share with beats.
    fn judge_links(&mut self, now: Instant, node: NodeId) {
        let peer = &mut self.peers[node.index()];
        if peer.beats < QUALITY_BEATS {
            return;
        }
        let of = core::mem::take(&mut peer.beats);
        for link in 0..self.settings.links.min(LINKS_MAX as u8) {
            let known = &mut self.peers[node.index()].links[usize::from(link)];
            let Quality { carried, doubled, reordered, poor } = known.quality;
            // What was reordered did come.
            let lost = of.saturating_sub(carried).saturating_sub(reordered);
            let now_poor = known.up && lost.max(doubled).max(reordered) >= QUALITY_FAULTS;
            known.quality = Quality { poor: now_poor, ..Quality::default() };
            let link = LinkId(link);
            if now_poor {
                self.tell(now, EventKind::LinkPoor { node, link, lost, doubled, reordered, of });
            } else if poor {
                self.tell(now, EventKind::LinkGood { node, link });
            }
        }
    }

    /// Is this the first copy of the newest beat of its life?
    fn is_newest(&self, from: Life, seq: Seq) -> bool {
        let peer = &self.peers[from.node.index()];
        from.incarnation > peer.incarnation
            || (from.incarnation == peer.incarnation && seq > peer.newest)
    }

    /// Remembers which own beat a peer's life has heard; whether that life's echo counts is judged by the roster when
    /// the lease is renewed.
    fn note_echo(&mut self, now: Instant, from: Life, echo: Echo, board: &Board) {
        self.follow_stint(board);
        if echo.incarnation != self.settings.me.incarnation.0 as u16 {
            return;
        }
        let Some(end) = self.lease.echoed(echo.seq, self.settings.off("lease-stint")) else {
            return;
        };
        let peer = &mut self.peers[from.node.index()];
        match peer.echoed {
            Some((life, latest)) if life == from.incarnation && latest >= end => return,
            _ => peer.echoed = Some((from.incarnation, end)),
        }
        self.renew(now, board);
        self.judge_lease(now, board);
    }

    /// A new stint begins without a lease.
    fn follow_stint(&mut self, board: &Board) {
        let stint = board.stint();
        if stint != self.lease.stint {
            self.lease.stint = stint;
            self.lease.end = Instant::ZERO;
            board.set_lease_end(Instant::ZERO);
            for peer in &mut self.peers {
                peer.echoed = None;
            }
        }
    }

    /// Stores the lease that the echoes support. An echo counts only from the life that holds its slot's vote: its
    /// predecessor may have acknowledged this node's removal (R-ECHO-VOTER).
    fn renew(&mut self, now: Instant, board: &Board) {
        let stint = self.lease.stint;
        let gone = self.ending.is_some() && !self.settings.off("obit-reflex");
        if !stint.is_member() || board.closed() == stint || gone {
            return;
        }
        // `voters_next` is loaded first: `Board::set_voters_next` says why.
        let next = board.voters_next();
        let (voters, given) = (board.voters(), board.given());
        if voters.is_empty() {
            return;
        }
        let mut end = self.supported(voters, given, board);
        if !next.is_empty() && !self.settings.off("lease-conf") {
            end = end.min(self.supported(next, given, board));
        }
        if end == Instant::MAX {
            // This node and given votes suffice.
            end = now + self.settings.lease();
        }
        if self.lease.renew(end, (voters, next)) {
            board.set_lease_end(self.lease.end);
        }
    }

    /// Until when the echoes of a majority of `electorate` support a lease; this node's own support and a given vote have
    /// no end. Each voter's echo bounds its own acknowledgement of a removal by what the echoed beat declared.
    fn supported(&self, electorate: NodeSet, given: NodeSet, board: &Board) -> Instant {
        let mut ends = [Instant::ZERO; NODES_MAX];
        let mut count = 0;
        for node in electorate.iter() {
            let end = if node == self.settings.me.node || given.contains(node) {
                Some(Instant::MAX)
            } else {
                let roster = board.roster(node);
                let echoed = self.peers[node.index()].echoed;
                let counts = |life| {
                    life == roster && roster != Incarnation(0) || self.settings.off("echo-voter")
                };
                echoed.filter(|(life, _)| counts(*life)).map(|e| e.1)
            };
            if let (Some(end), Some(slot)) = (end, ends.get_mut(count)) {
                *slot = end;
                count += 1;
            }
        }
        let ends = &mut ends[..count];
        ends.sort_unstable_by(|a, b| b.cmp(a));
        ends.get(electorate.len() / 2).copied().unwrap_or(Instant::ZERO)
    }

    /// Tells control when the lease begins and when it has ended.
    fn judge_lease(&mut self, now: Instant, board: &Board) {
        let holds = board.lease_holds(now);
        if holds != self.lease.told {
            self.lease.told = holds;
            let kind = if holds { EventKind::LeaseGained } else { EventKind::LeaseLost };
            self.tell(now, kind);
        }
    }

    /// Silence on all links makes a suspect; silence on one while another is heard, a link that is down.
    fn accuse(&mut self, now: Instant, board: &Board) {
        let mut slowest = self.settings.deadline();
        for node in self.others() {
            let deadline = self.patience(node);
            let peer = &mut self.peers[node.index()];
            // Deadlines start afresh when an Admit is applied (PROTOCOL 4): a new life may be admitted
            // before its first beat.
            let admitted = board.peer_stint(node);
            if admitted != peer.admitted {
                peer.admitted = admitted;
                if admitted.is_member() {
                    peer.heard = peer.heard.max(now);
                    peer.links.iter_mut().for_each(|link| link.heard = link.heard.max(now));
                }
            }
            // A peer never heard by this life is accused under the life that the log knows, and again when it
            // knows another.
            let incarnation = peer.incarnation.max(board.roster(node));
            if peer.health == Health::Suspect && peer.accused == incarnation {
                continue;
            }
            if now < peer.heard + deadline {
                slowest = slowest.max(deadline);
            } else {
                peer.step(HealthEvent::Silence);
                peer.accused = incarnation;
                let life = Life { node, incarnation };
                let heard = peer.heard;
                let deadline = heard + deadline;
                // One that never beat is silent in the stint that the log knows.
                let known = incarnation == board.roster(node) && !peer.stint.is_member();
                let stint = if known { board.peer_stint(node) } else { peer.stint };
                self.tell(now, EventKind::Suspected { life, stint, heard, deadline });
                continue;
            }
            for link in 0..self.settings.links.min(LINKS_MAX as u8) {
                let peer = &mut self.peers[node.index()];
                let peer_heard = peer.heard;
                let known = &mut peer.links[usize::from(link)];
                // Silent while the peer itself was heard for a whole deadline: a death silences all links alike.
                if known.up && peer_heard >= known.heard + deadline {
                    known.up = false;
                    self.tell(now, EventKind::LinkDown { node, link: LinkId(link) });
                }
            }
        }
        board.set_slowest(slowest);
    }

    /// The cadence is absolute: a late beat does not move the next one. An owner whose last beat no majority has
    /// echoed by half an interval sends a probe (PROTOCOL 5.6).
    fn beat_if_due(&mut self, now: Instant, board: &Board) {
        let interval = self.cadence();
        if now >= self.next_beat {
            self.haste = self.haste.and_then(|(left, at)| Some((left.checked_sub(1)?, at)));
            let distance = self.cadence();
            let behind = now.since(self.next_beat).0 / distance.0.max(1);
            self.next_beat += distance * (behind + 1);
            self.next_probe = if board.owner() { now + interval / 2 } else { Instant::MAX };
            self.push(Action::Beat);
        } else if now >= self.next_probe {
            self.next_probe = Instant::MAX;
            let confirmed = self.settings.lease().saturating_sub(interval * 3 / 4);
            if self.lease.stint.is_member() && self.lease.end.since(now) < confirmed {
                self.probing = true;
                self.push(Action::Beat);
            }
        }
    }

    /// Obituaries, then the end.
    fn end(&mut self, now: Instant) {
        let Some((stint, left, next)) = self.ending else { return };
        if now < next {
            return;
        }
        if left == 0 {
            self.ending = Some((stint, 0, Instant::MAX));
            self.push(Action::Stop);
            return;
        }
        self.ending = Some((stint, left - 1, now + OBITUARY_GAP));
        if stint.is_member() {
            self.push(Action::Obituary(Obituary { stint }));
        }
    }
}

/// R-ACK 1, R-STINT, R-ECHO-VOTER at the sending end: an echo goes out only from a life that votes, for a life
/// and stint that are members by the own log, and only while that stint is not frozen.
fn may_echo(settings: &Settings, from: Life, stint: Stint, board: &Board) -> bool {
    let me = settings.me;
    // `frozen` is loaded before `peer_stint`: control clears a freeze only after it has ended the stint.
    board.frozen(from.node) != stint
        && stint.is_member()
        && (board.roster(me.node) == me.incarnation
            || settings.off("learner-echo")
            || settings.off("echo-voter"))
        && board.roster(from.node) == from.incarnation
        && board.peer_stint(from.node) == stint
}
