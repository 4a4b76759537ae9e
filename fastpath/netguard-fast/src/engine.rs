//! One turn of the loop: receive, decide, send. The heartbeat core decides; this file is its hands.

use crate::clock::{self, Wall};
use crate::kernel::{EventFd, Waiter};
use crate::meter::Meter;
use base::{Duration, Instant};
use gate::Words;
use heartbeat::{Action, Event, EventKind, Heartbeat, Receipt, Settings};
use link::{Arrival, BATCH, Counts, Destination, Link};
use shm::measures::Fate;
use shm::{ChangeReader, Counter, LinkCounter, LinkSetup, Map, Setup, Side, Took, TraceKind};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use wire::frame::{self, HEADER_LEN};
use wire::{
    Beat, EchoBody, Header, Kind, Life, LinkId, NodeId, Nonce, Obituary, Reject, Replay, Seal, Seq,
};

/// The longest frame of the fast path; anything longer is not one.
pub const FRAME_MAX: usize = HEADER_LEN + wire::beat::BEAT_MAX;

/// Most batches taken from one link in one turn, so that a flood on one link cannot hold up the
/// beats. 512 frames are four rounds of beats of 128 nodes; what is left waits for the next turn,
/// which comes at once.
const BATCHES_MAX: usize = 16;

/// Most changes taken in one turn; more wait for the next, which comes at once.
const CHANGES_MAX: usize = 4;

/// A wake-up this late is counted and noted.
const LATE: Duration = Duration::from_millis(1);

/// The links, the core, and what they share with control.
pub struct Engine {
    out: Out,
    heartbeat: Heartbeat,
    replay: Box<Replay>,
    links: Vec<Wired>,
    changes: ChangeReader,
    interval: Duration,
    wall: Wall,
}

/// A link and its place among what the loop waits for.
struct Wired {
    link: Box<dyn Link>,
    /// Where the peers of this link listen.
    port: u16,
    place: usize,
    /// What had not been sent by the last turn.
    unsent: u64,
    /// It grew in the last turn; only the first of a row is noted.
    failing: bool,
    /// When the link was last found empty: what comes now came after that, whatever its stamp says.
    emptied: Instant,
}

/// What sending, telling and counting need.
struct Out {
    map: Map,
    /// The kernel's gate, if this machine has one.
    gate: Option<Words>,
    /// The lease end that the gate has.
    gated: Instant,
    events: EventFd,
    seal: Seal,
    me: Life,
    nonce: Nonce,
    told: bool,
    meter: Meter,
    /// The last impostor told of, so that its every beat is not an event.
    impostor: Option<(Life, Nonce)>,
}

impl Engine {
    /// All memory that the loop will ever use is taken here.
    #[must_use]
    pub fn new(
        setup: &Setup,
        map: Map,
        events: EventFd,
        links: Vec<Box<dyn Link>>,
        gate: Option<Words>,
    ) -> Self {
        let settings = Settings {
            me: setup.me,
            interval: setup.interval,
            misses: setup.misses,
            rate_ppm: setup.rate_ppm,
            margin: setup.margin,
            links: links.len() as u8,
            nodes: setup.nodes,
        };
        let seal = Seal {
            cluster: setup.cluster,
            key: setup.key.0,
            key_id: setup.key_id,
            config_hash: setup.config_hash,
            level: setup.feature,
        };
        Self {
            out: Out {
                map,
                gate,
                gated: Instant::MAX,
                events,
                seal,
                me: setup.me,
                nonce: setup.nonce,
                told: false,
                meter: Meter::new(setup.me),
                impostor: None,
            },
            heartbeat: Heartbeat::new(settings, clock::now()),
            replay: Box::new(Replay::new(setup.me.node, setup.nodes)),
            links: links
                .into_iter()
                .zip(&setup.links)
                .map(|(link, LinkSetup { port, .. })| Wired {
                    link,
                    port: *port,
                    place: usize::MAX,
                    unsent: 0,
                    failing: false,
                    emptied: Instant::ZERO,
                })
                .collect(),
            changes: ChangeReader::new(setup),
            interval: setup.interval,
            wall: Wall::default(),
        }
    }

    /// The shared map.
    #[must_use]
    pub fn map(&self) -> &Map {
        &self.out.map
    }

    /// Ends the lease, whoever wrote it before.
    pub fn close(&mut self) {
        self.out.map.board().set_lease_end(Instant::ZERO);
        self.out.follow_lease();
    }

    /// Has the loop wait for the links.
    pub fn watch(&mut self, waiter: &mut Waiter) {
        for wired in &mut self.links {
            wired.place = waiter.add_link(wired.link.fd());
        }
    }

    /// Between two beats.
    #[must_use]
    pub const fn interval(&self) -> Duration {
        self.interval
    }

    /// When the core wants its next turn.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.heartbeat.poll_deadline().unwrap_or(Instant::MAX)
    }

    /// Takes what control has told over the set-up socket. False = the other end is gone.
    pub fn follow(&mut self, now: Instant, mut socket: impl Read) -> bool {
        for _ in 0..CHANGES_MAX {
            let Self { out, heartbeat, replay, links, changes, interval, .. } = self;
            let told = match changes.take(&mut socket) {
                Took::Nothing => break,
                Took::Closed => return false,
                Took::Change(told) => told,
                Took::Bad(field) => {
                    out.refuse(now, field);
                    continue;
                }
            };
            let settings = Settings {
                me: out.me,
                interval: told.interval(),
                misses: told.misses(),
                rate_ppm: told.rate_ppm(),
                margin: told.margin(),
                links: links.len() as u8,
                nodes: told.nodes(),
            };
            heartbeat.handle_settings(now, settings);
            replay.set_configured(told.nodes());
            for (number, wired) in links.iter_mut().enumerate() {
                for (node, address) in told.peers(number) {
                    let address = address.map(|ip| SocketAddr::new(ip, wired.port));
                    wired.link.set_peer(node, address);
                }
            }
            *interval = told.interval();
            out.map.counters().count(Side::Fast, Counter::Changes);
            out.map.trace().note(now, TraceKind::Changed(settings.deadline()));
        }
        true
    }

    /// Control has ended: the lease too, and the peers are told.
    pub fn handle_control_lost(&mut self, now: Instant) {
        self.out.map.trace().note(now, TraceKind::ControlGone);
        self.heartbeat.handle_control_lost(now, self.out.map.board());
        self.out.follow_lease();
    }

    /// One turn, after waking at `woke` with `due` as the time when it should have been at the
    /// latest. True = the core has stopped.
    pub fn turn(&mut self, woke: Instant, due: Instant, waiter: &Waiter) -> bool {
        let late = woke.since(due);
        let stalled = late > self.interval / 2;
        self.out.count_wake(woke, late, stalled);
        if woke >= due {
            // A frame that wakes it earlier says nothing of the timer.
            self.out.map.measures().lateness.record(late);
        }
        // S10: what came while this thread did not run is heard before anybody is judged.
        if stalled {
            waiter.gather();
        }
        self.receive(waiter, stalled);
        let now = clock::now();
        if stalled {
            self.heartbeat.handle_stall(now, late);
        }
        self.heartbeat.handle_timeout(now, self.out.map.board());
        // Before anything is sent: an obituary says that the gate is closed.
        self.out.follow_lease();
        let stop = self.perform();
        for wired in &mut self.links {
            wired.link.flush();
            self.out.note_failing(wired);
        }
        let lost = self.heartbeat.dropped();
        self.out.map.counters().raise(Side::Fast, Counter::ActionsLost, lost);
        self.out.finish(woke, &self.links);
        stop
    }

    /// Takes what is waiting on the links that are readable; on all of them after a stall.
    fn receive(&mut self, waiter: &Waiter, all: bool) {
        let Self { out, heartbeat, replay, links, wall, .. } = self;
        // Stamps are of the wall clock: when it has just been set, they say nothing.
        let stamps = wall.is_steady();
        for wired in links {
            if !all && !waiter.ready(wired.place) {
                continue;
            }
            let (link, emptied) = (wired.link.id(), wired.emptied);
            for _ in 0..BATCHES_MAX {
                let began = waiter.emptied(wired.place);
                let taken = wired.link.receive(&mut |arrival| {
                    let Arrival { frame, waited, .. } = arrival;
                    let read = clock::now();
                    let waited = waited.filter(|_| stamps).unwrap_or_default();
                    let receipt = Receipt { link, read, came: emptied.max(read - waited) };
                    let heard = out.hear(heartbeat, replay, receipt, frame);
                    heard.inspect_err(|reason| out.map.counters().reject(Side::Fast, *reason)).ok()
                });
                if taken < BATCH {
                    wired.emptied = began;
                    break;
                }
            }
        }
    }

    /// Does what the core wants. True = it wants to stop.
    fn perform(&mut self) -> bool {
        while let Some(action) = self.heartbeat.poll_action() {
            match action {
                Action::Beat => {
                    // The beat's time is read before the send (PROTOCOL 5.1).
                    let now = clock::now();
                    let (seq, beat) = self.heartbeat.fill_beat(now, self.out.map.board());
                    self.out.meter.sent(seq, now);
                    let mut body = [0; wire::beat::BEAT_MAX];
                    let body = beat.encode(&mut body);
                    self.out.map.counters().count(Side::Fast, Counter::Beats);
                    self.out.send_all(&mut self.links, Kind::Beat, seq, body);
                }
                Action::Answer { to, link, echo } => {
                    self.out.map.counters().count(Side::Fast, Counter::Answers);
                    let seq = self.heartbeat.next_seq();
                    if let Some(wired) = self.links.get_mut(usize::from(link.0)) {
                        let to = Destination::Node(to);
                        self.out.send(wired, to, Kind::Echo, seq, &echo.encode());
                    }
                }
                Action::Obituary(obituary) => {
                    self.out.map.counters().count(Side::Fast, Counter::Obituaries);
                    self.out.map.trace().note(clock::now(), TraceKind::Obituary);
                    let seq = self.heartbeat.next_seq();
                    let body = obituary.encode();
                    self.out.send_all(&mut self.links, Kind::Obituary, seq, &body);
                }
                Action::Tell(event) => self.out.tell(&event),
                Action::Stop => return true,
            }
        }
        false
    }
}

impl Out {
    /// The gate's lease is the board's: one store when it changed (S2b).
    fn follow_lease(&mut self) {
        let end = self.map.board().lease_end();
        if let Some(gate) = &self.gate
            && end != self.gated
        {
            self.gated = end;
            gate.set_lease_end(end);
        }
    }

    /// Authenticates one datagram and gives it to the core. Returns whose it is.
    fn hear(
        &mut self,
        heartbeat: &mut Heartbeat,
        replay: &mut Replay,
        receipt: Receipt,
        bytes: &[u8],
    ) -> Result<NodeId, Reject> {
        let Receipt { link, read: now, .. } = receipt;
        let (header, body) = frame::open(&self.seal, link, bytes)?;
        if let Err(reason) = replay.take(&header) {
            if header.kind == Kind::Beat {
                heartbeat.handle_disorder(header.from.node, link, reason);
                self.note_disorder(header.from.node, link, reason);
            }
            let mine = header.from.node == self.me.node && header.nonce != self.nonce;
            if mine || reason == Reject::Impostor {
                self.tell_impostor(now, &header);
            }
            return Err(reason);
        }
        let (from, board) = (header.from, self.map.board());
        match header.kind {
            Kind::Beat => {
                let beat = Beat::decode(body)?;
                let (which, at) = ((from, header.seq), (link, receipt.came));
                self.meter.beat(self.map.measures(), at, which, &beat);
                heartbeat.handle_beat(receipt, from, header.seq, &beat, board);
            }
            Kind::Echo => {
                let body = EchoBody::decode(body)?;
                if body.to == self.me.node {
                    let measures = self.map.measures();
                    self.meter.echo(measures, from, receipt.came, body.echo, None);
                }
                heartbeat.handle_echo(now, from, &body, board);
            }
            Kind::Obituary => heartbeat.handle_obituary(now, from, &Obituary::decode(body)?),
            Kind::Agreement | Kind::Bulk => {
                self.map.counters().count(Side::Fast, Counter::WrongKind);
            }
        }
        Ok(from.node)
    }

    /// Sends one frame to all peers, on every link under the same number.
    fn send_all(&mut self, links: &mut [Wired], kind: Kind, seq: Seq, body: &[u8]) {
        for wired in links {
            self.send(wired, Destination::All, kind, seq, body);
        }
    }

    /// Seals and sends one frame on one link.
    fn send(&self, wired: &mut Wired, to: Destination, kind: Kind, seq: Seq, body: &[u8]) {
        let link = wired.link.id();
        let header = Header { kind, from: self.me, nonce: self.nonce, link, seq };
        let mut buffer = [0; FRAME_MAX];
        let Some(frame) = frame::seal(&self.seal, &header, body, &mut buffer) else { return };
        wired.link.send(to, frame);
    }

    /// Counts a beat that its link brought twice, or after a newer one.
    fn note_disorder(&self, node: NodeId, link: LinkId, reason: Reject) {
        let fate = match reason {
            Reject::Duplicate => Fate::Doubled,
            Reject::Reordered => Fate::Reordered,
            _ => return,
        };
        if let Some(words) = self.map.measures().peer(node).link(link) {
            words.note(fate);
        }
    }

    /// Notes the first failure to send of a row.
    fn note_failing(&self, wired: &mut Wired) {
        let counts = wired.link.counts();
        let failing = counts.unsent() > wired.unsent;
        if failing && !wired.failing {
            let (link, errno) = (wired.link.id(), counts.last_errno);
            self.map.trace().note(clock::now(), TraceKind::SendFailed { link, errno });
        }
        (wired.unsent, wired.failing) = (counts.unsent(), failing);
    }

    /// Tells once of another machine that claims a peer's life, or to be this node.
    fn tell_impostor(&mut self, at: Instant, header: &Header) {
        let claim = Some((header.from, header.nonce));
        if self.impostor != claim {
            self.impostor = claim;
            let Life { node, incarnation } = header.from;
            self.tell(&Event { at, kind: EventKind::Impostor { node, incarnation } });
        }
    }

    /// A change that cannot be believed: that is a fault of control, and has no effect. The first one is told to people.
    fn refuse(&self, now: Instant, field: &str) {
        let counters = self.map.counters();
        if counters.get(Side::Fast, Counter::BadChanges) == 0 {
            // Not by `eprintln`, which may allocate under a test's capture.
            let _ = writeln!(
                io::stderr(),
                "netguard-fast: netguard-control told a change whose {field} cannot be; it has no effect; this is a fault \
                 of netguard-control, please report it"
            );
        }
        counters.count(Side::Fast, Counter::BadChanges);
        self.map.trace().note(now, TraceKind::BadChange);
    }

    /// Puts one event on the ring; control is woken at the end of the turn.
    fn tell(&mut self, event: &Event) {
        self.map.trace().note(event.at, TraceKind::Told(event.kind));
        if !self.map.events().push(event) {
            self.map.trace().note(event.at, TraceKind::EventLost);
            self.map.counters().count(Side::Fast, Counter::EventsLost);
        }
        self.told = true;
    }

    fn count_wake(&self, woke: Instant, late: Duration, stalled: bool) {
        let counters = self.map.counters();
        counters.count(Side::Fast, Counter::Wakes);
        counters.raise(Side::Fast, Counter::LateMaxUs, late.micros());
        if late > LATE {
            counters.count(Side::Fast, Counter::LateWakes);
            self.map.trace().note(woke, TraceKind::Late(late));
        }
        if stalled {
            counters.count(Side::Fast, Counter::Stalls);
            counters.add(Side::Fast, Counter::StalledUs, late.micros());
        }
    }

    /// Wakes control if it was told something, and publishes the counts.
    fn finish(&mut self, woke: Instant, links: &[Wired]) {
        if std::mem::take(&mut self.told) {
            self.events.signal();
        }
        let counters = self.map.counters();
        for wired in links {
            for (counter, value) in named(&wired.link.counts()) {
                counters.set_link(Side::Fast, wired.link.id(), counter, value);
            }
        }
        let duty = clock::now().since(woke);
        counters.raise(Side::Fast, Counter::DutyMaxUs, duty.micros());
    }
}

/// A link's counts under their names in the map.
fn named(counts: &Counts) -> [(LinkCounter, u64); 11] {
    [
        (LinkCounter::Sent, counts.sent),
        (LinkCounter::Received, counts.received),
        (LinkCounter::NoBuffer, counts.no_buffer),
        (LinkCounter::Unreachable, counts.unreachable),
        (LinkCounter::Forbidden, counts.forbidden),
        (LinkCounter::SendFailed, counts.send_failed),
        (LinkCounter::Oversize, counts.oversize),
        (LinkCounter::Own, counts.own),
        (LinkCounter::ReceiveFailed, counts.receive_failed),
        (LinkCounter::NoAddress, counts.no_address),
        (LinkCounter::Disturbed, counts.disturbed),
    ]
}

#[cfg(test)]
mod tests {
    use super::{Engine, FRAME_MAX};
    use crate::clock;
    use crate::kernel::{EventFd, Waiter};
    use base::{Duration, Instant};
    use heartbeat::{Event, EventKind};
    use link::{Link, UdpLink};
    use shm::{
        Change, ChangeWriter, Core, Counter, Frames, Key, LinkSetup, Map, Mode, NetworkIo, Setup,
        Side,
    };
    use std::net::{SocketAddr, UdpSocket};
    use wire::{ClusterId, Incarnation, Life, LinkId, NodeId, Nonce, Reject};

    fn node(n: u8) -> NodeId {
        NodeId::new(n).unwrap()
    }

    fn life(n: u8) -> Life {
        Life { node: node(n), incarnation: Incarnation(1) }
    }

    fn settings(own: SocketAddr) -> link::Settings {
        link::Settings {
            id: LinkId(0),
            mode: link::Mode::Unicast,
            own,
            interface: 0,
            peers: Vec::new(),
            frame_max: FRAME_MAX,
            stamped: true,
        }
    }

    fn open() -> UdpLink {
        UdpLink::open(&settings("127.0.0.1:0".parse().unwrap())).unwrap()
    }

    fn setup(n: u8, key: u8, link: &UdpLink) -> Setup {
        let own = link.local().unwrap();
        Setup {
            me: life(n),
            nonce: Nonce(n.into()),
            cluster: ClusterId(1),
            key: Key([key; 32]),
            key_id: 1,
            feature: 1,
            config_hash: 5,
            // Long, so that nothing is due while the test runs.
            interval: Duration::from_millis(1_000),
            misses: 3,
            rate_ppm: 1_000,
            margin: Duration::from_micros(50),
            nodes: [node(1), node(2)].into_iter().collect(),
            priority: 0,
            core: Core::None,
            network_io: NetworkIo::Auto,
            links: vec![LinkSetup {
                mode: Mode::Unicast,
                frames: Frames::Udp,
                own: own.ip(),
                interface: 0,
                target: None,
                port: own.port(),
                peers: Vec::new(),
            }],
        }
    }

    fn engine(n: u8, key: u8, link: UdpLink) -> Engine {
        let setup = setup(n, key, &link);
        let links: Vec<Box<dyn Link>> = vec![Box::new(link)];
        Engine::new(&setup, Map::nameless().unwrap(), EventFd::new().unwrap(), links, None)
    }

    /// Two engines, of which the first knows where the second is; and that place.
    fn pair(key: u8) -> (Engine, Engine, SocketAddr) {
        let (mut a, b) = (open(), open());
        let place = b.local().unwrap();
        a.set_peer(node(2), Some(place));
        (engine(1, key, a), engine(2, 7, b), place)
    }

    /// One turn on time, with every link readable.
    fn turn(engine: &mut Engine) {
        let mut waiter = Waiter::default();
        engine.watch(&mut waiter);
        let now = clock::now();
        waiter.wait(now, now + Duration::from_millis(100));
        assert!(!engine.turn(clock::now(), Instant::MAX, &waiter));
    }

    fn told(engine: &Engine) -> Vec<EventKind> {
        std::iter::from_fn(|| engine.map().events().pop()).map(|Event { kind, .. }| kind).collect()
    }

    #[test]
    fn a_sleeper_hears_what_came_before_it_judges() {
        let (mut a, mut b, _) = pair(7);
        turn(&mut a);
        // Nothing is marked as readable, as if the wake-up came from the timer: S10 drains all the
        // same.
        let waiter = Waiter::default();
        let woke = clock::now();
        let lost = Duration::from_millis(501);
        assert!(!b.turn(woke, woke - lost, &waiter));
        assert_eq!(told(&b), [EventKind::Appeared { life: life(1) }, EventKind::Stalled { lost }]);
        assert_eq!(b.map().counters().get(Side::Fast, Counter::Stalls), 1);
    }

    #[test]
    fn a_sleeper_whose_links_are_in_a_ring_asks_it_before_it_judges() {
        let ring = match link::Ring::open(FRAME_MAX) {
            Ok(ring) => ring,
            Err(why) => return println!("SKIPPED: {why}"),
        };
        let mut a = open();
        // The port of one that is closed again.
        let settings = settings(open().local().unwrap());
        let in_ring = link::UringLink::open(&settings, &ring).unwrap();
        a.set_peer(node(2), Some(settings.own));
        let mut a = engine(1, 7, a);
        let setup = setup(2, 7, &open());
        let (map, events) = (Map::nameless().unwrap(), EventFd::new().unwrap());
        let mut b = Engine::new(&setup, map, events, vec![Box::new(in_ring)], None);
        let mut waiter = Waiter::new(Some(ring));
        b.watch(&mut waiter);
        waiter.wait(clock::now(), Instant::ZERO);
        // After the wait, as if it had lost its core there.
        turn(&mut a);
        let woke = clock::now();
        let lost = Duration::from_millis(501);
        assert!(!b.turn(woke, woke - lost, &waiter));
        assert_eq!(told(&b), [EventKind::Appeared { life: life(1) }, EventKind::Stalled { lost }]);
    }

    /// The bytes of a change for node 2, whose peers are told.
    fn change(setup: &Setup, interval_ms: u64, peers: &[u8]) -> Vec<u8> {
        let mut writer = ChangeWriter::new(setup);
        let told = Change {
            interval: Duration::from_millis(interval_ms),
            misses: 3,
            rate_ppm: 1_000,
            margin: Duration::from_micros(50),
            nodes: peers.iter().map(|n| node(*n)).chain([node(2)]).collect(),
            peers: vec![peers.iter().map(|n| (node(*n), "127.0.0.1".parse().unwrap())).collect()],
        };
        writer.push(&told).unwrap();
        let mut bytes = Vec::new();
        writer.flush(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn control_changes_interval_and_peers_while_it_runs() {
        let (mut a, mut b, place) = pair(7);
        let told_to = setup(2, 7, &open());
        // Node 1 is gone: its beats are a stranger's.
        assert!(!b.follow(clock::now(), &*change(&told_to, 1_000, &[3])), "and then the end");
        turn(&mut a);
        turn(&mut b);
        assert_eq!(told(&b), []);
        assert_eq!(b.map().counters().rejected(Side::Fast, Reject::Stranger), 1);
        // It is there again, and the interval is another: late by more than half of it is a stall now.
        b.follow(clock::now(), &*change(&told_to, 100, &[1]));
        let mut link = open();
        link.set_peer(node(2), Some(place));
        turn(&mut engine(1, 7, link));
        turn(&mut b);
        assert!(told(&b).contains(&EventKind::Appeared { life: life(1) }));
        let woke = clock::now();
        let lost = Duration::from_millis(51);
        b.turn(woke, woke - lost, &Waiter::default());
        assert!(told(&b).contains(&EventKind::Stalled { lost }));
        assert_eq!(b.map().counters().get(Side::Fast, Counter::Changes), 2);
    }

    #[test]
    fn a_change_that_cannot_be_is_counted_and_has_no_effect() {
        let (_, mut b, _) = pair(7);
        let told_to = setup(2, 7, &open());
        let mut bad = change(&told_to, 100, &[1]);
        bad[16..24].fill(0xFF);
        b.follow(clock::now(), &*bad);
        let woke = clock::now();
        b.turn(woke, woke - Duration::from_millis(499), &Waiter::default());
        assert_eq!(told(&b), [], "its interval is still 1 s");
        let counted = |counter| b.map().counters().get(Side::Fast, counter);
        assert_eq!((counted(Counter::BadChanges), counted(Counter::Changes)), (1, 0));
    }

    #[test]
    fn half_an_interval_late_is_late_but_no_stall() {
        let (_, mut b, _) = pair(7);
        let woke = clock::now();
        b.turn(woke, woke - Duration::from_millis(499), &Waiter::default());
        assert_eq!(told(&b), []);
        let counters = b.map().counters();
        assert_eq!(counters.get(Side::Fast, Counter::LateWakes), 1);
        assert_eq!(counters.get(Side::Fast, Counter::LateMaxUs), 499_000);
        assert_eq!(counters.get(Side::Fast, Counter::Stalls), 0);
    }

    #[test]
    fn frames_that_nobody_of_the_cluster_wrote_change_nothing_and_are_counted_by_reason() {
        let (mut forger, mut b, place) = pair(8);
        turn(&mut forger);
        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        stranger.send_to(&[0xFF; 64], place).unwrap();
        stranger.send_to(b"NG", place).unwrap();
        turn(&mut b);
        assert_eq!(told(&b), []);
        let rejected = |reason| b.map().counters().rejected(Side::Fast, reason);
        assert_eq!(rejected(Reject::Forged), 1);
        assert_eq!(rejected(Reject::Garbage), 1);
        assert_eq!(rejected(Reject::Truncated), 1);
    }

    #[test]
    fn a_second_machine_with_a_peers_life_is_told_once() {
        let (mut a, mut b, place) = pair(7);
        turn(&mut a);
        turn(&mut b);
        let mut impostor = open();
        impostor.set_peer(node(2), Some(place));
        let mut impostor = engine(1, 7, impostor);
        impostor.out.nonce = Nonce(99);
        turn(&mut impostor);
        turn(&mut b);
        let claim = EventKind::Impostor { node: node(1), incarnation: Incarnation(1) };
        assert_eq!(told(&b), [EventKind::Appeared { life: life(1) }, claim]);
        assert_eq!(b.map().counters().rejected(Side::Fast, Reject::Impostor), 1);
        // And one that claims to be this node itself.
        let mut double = open();
        double.set_peer(node(2), Some(place));
        let mut double = engine(2, 7, double);
        double.out.nonce = Nonce(99);
        turn(&mut double);
        turn(&mut b);
        assert_eq!(told(&b), [EventKind::Impostor { node: node(2), incarnation: Incarnation(1) }]);
    }
}
