//! Agreement messages out and in: sealed, sent on every link, opened, taken once (S9).

use crate::copies::Copies;
use crate::failure::Failure;
use crate::identity::Identity;
use crate::start::interval;
use crate::stream::{self, Plan, Stream};
use crate::system::Wake;
use base::{Duration, Instant};
use link::{Arrival, BATCH, Destination, Faults, Link, Settings, UdpLink};
use shm::{Counter, Counters, LinkCounter, Side};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use wire::codec::Writer;
use wire::frame::{FRAME_MAX, Header, Kind, Seal};
use wire::replay::Replay;
use wire::{
    Incarnation, Life, LinkId, Message, NODES_MAX, NodeId, NodeSet, Nonce, Obituary, Reject, Seq,
    Stint,
};

/// Distance of two answers to one node whose life is over (R-RENUMBER): it may not have heard the
/// first.
const STALE_EVERY: Duration = Duration::from_millis(100);
/// Batches taken from one link per cycle; the rest waits for the next.
const BATCHES_MAX: usize = 4;
/// Messages taken from the stream per cycle.
pub(crate) const FROM_STREAM_MAX: usize = 16;
/// Keeps the seeded faults of this process apart from fast's.
const FAULT_SALT: u64 = 0xC0;

/// What a peer's control says.
#[derive(Clone, PartialEq, Debug)]
pub enum Said {
    /// Something of the agreement.
    Message(Message),
    /// Its fast path is gone and its gate is closed: its stint is over (R-OBIT).
    Obituary(Stint),
    /// The highest feature level that its release understands; before the first message of each life.
    Level(u16),
}

/// The links of the agreement.
pub struct Exchange {
    seal: Seal,
    me: Life,
    nonce: Nonce,
    links: Vec<Box<dyn Link>>,
    /// Where the peers of each link listen.
    ports: Vec<u16>,
    replay: Box<Replay>,
    /// Who may answer: all that are configured, without this node.
    peers: NodeSet,
    copies: Copies,
    seq: u64,
    body: Writer,
    frame: Vec<u8>,
    stale_told: Vec<Option<Instant>>,
    /// The feature level that the last life of each node has shown.
    levels: Vec<Option<(Incarnation, u16)>>,
    /// What the stream's thread begins with.
    plan: Option<Plan>,
    stream: Option<Stream>,
}

impl Exchange {
    /// Opens the links on the port after the heartbeats'.
    pub fn open(identity: &Identity, seal: Seal, nonce: Nonce) -> Result<Self, Failure> {
        let faults = Faults::from_environment().map_err(|e| Failure::Faults(e.to_string()))?;
        let mut links: Vec<Box<dyn Link>> = Vec::new();
        let mut ports = Vec::new();
        for (number, (local, configured)) in
            (0u8..).zip(identity.links.iter().zip(&identity.config.links))
        {
            let port = configured.port.saturating_add(1);
            ports.push(port);
            let peers = identity.peers(usize::from(number)).into_iter();
            let settings = Settings {
                id: LinkId(number),
                mode: match (configured.mode, local.target) {
                    (config::Mode::Multicast { group }, _) => link::Mode::Multicast(group),
                    (config::Mode::Broadcast, Some(to)) => link::Mode::Broadcast(to),
                    (config::Mode::Broadcast | config::Mode::Unicast, _) => link::Mode::Unicast,
                },
                own: SocketAddr::new(local.own, port),
                interface: local.interface.index,
                peers: peers.map(|(node, ip)| (node, SocketAddr::new(ip, port))).collect(),
                frame_max: FRAME_MAX,
                stamped: false,
            };
            let udp: Box<dyn Link> = Box::new(UdpLink::open(&settings)?);
            links.push(match faults {
                Some(faults) => faults.over(udp, FRAME_MAX, FAULT_SALT + u64::from(number)),
                None => udp,
            });
        }
        let deadline = interval(identity) * u64::from(identity.config.cluster.heartbeat_misses);
        let plan = Plan::open(identity, deadline)?;
        let mut exchange = Self::over(links, identity.me, identity.nodes(|_| true), seal, nonce);
        (exchange.ports, exchange.plan) = (ports, Some(plan));
        Ok(exchange)
    }

    /// The same over links that are open, without a stream.
    #[must_use]
    pub fn over(
        links: Vec<Box<dyn Link>>,
        me: NodeId,
        nodes: NodeSet,
        seal: Seal,
        nonce: Nonce,
    ) -> Self {
        Self {
            seal,
            me: Life { node: me, incarnation: Incarnation(0) },
            nonce,
            links,
            ports: Vec::new(),
            replay: Box::new(Replay::new(me, nodes)),
            peers: without(nodes, me),
            copies: Copies::default(),
            seq: 0,
            body: Writer::new(),
            frame: vec![0; FRAME_MAX],
            stale_told: vec![None; NODES_MAX],
            levels: vec![None; NODES_MAX],
            plan: None,
            stream: None,
        }
    }

    /// Says which life sends from now on; nothing may be sent before.
    pub const fn begin(&mut self, me: Life) {
        self.me = me;
    }

    /// Says who is configured from now on, and by link where the peers are. Who is not is a stranger, and nothing is sent
    /// there; who is new is heard from its next frame on.
    pub fn set_peers(&mut self, nodes: NodeSet, peers: &[Vec<(NodeId, IpAddr)>]) {
        self.replay.set_configured(nodes);
        self.peers = without(nodes, self.me.node);
        for ((link, port), peers) in self.links.iter_mut().zip(&self.ports).zip(peers) {
            for node in (0..NODES_MAX).filter_map(NodeId::from_index) {
                let at = peers.iter().find(|(id, _)| *id == node);
                link.set_peer(node, at.map(|(_, ip)| SocketAddr::new(*ip, *port)));
            }
        }
        if let Some(stream) = &self.stream {
            stream.set_peers(stream::peers(nodes, &self.ports, peers));
        }
    }

    /// Starts the thread of the stream; `wake` is woken with everything that comes there. Until then
    /// messages that fit no datagram are lost.
    pub fn start_stream(&mut self, priority: Option<u8>, wake: &Arc<Wake>) -> io::Result<()> {
        let Some(plan) = self.plan.take() else { return Ok(()) };
        let who = (self.seal, self.me, self.nonce);
        self.stream = Some(Stream::start(plan, who, priority, Arc::clone(wake))?);
        Ok(())
    }

    /// Descriptors to poll, in the order of the links.
    pub fn fds(&self) -> impl Iterator<Item = RawFd> + '_ {
        self.links.iter().map(|link| link.fd().as_raw_fd())
    }

    /// Sends one message on every link, on those other than the first a moment later if that does no harm (see
    /// `copies`), or by stream if it fits no datagram. What does not go out is counted there; the agreement repeats.
    pub fn send(&mut self, now: Instant, to: Destination, message: Message) {
        if message.is_large() {
            if let Some(stream) = &self.stream {
                stream.send(to, message);
            }
            return;
        }
        self.body.0.clear();
        message.encode(&mut self.body);
        self.seq += 1;
        let (kind, seq) = (Kind::Agreement, self.seq);
        let kept = self.links.len() > 1
            && self.copies.keep(now, (to, &message), self.peers, (kind, seq, &self.body.0));
        let first = self.copies.first(to);
        let body = std::mem::take(&mut self.body);
        self.send_body((to, kind, seq), &body.0, |link| !kept || link == first);
        self.body = body;
    }

    /// When copies are due.
    pub(crate) fn copies_due(&self) -> Option<Instant> {
        self.copies.due()
    }

    /// The configured nodes without this one.
    #[must_use]
    pub const fn peers(&self) -> NodeSet {
        self.peers
    }

    /// Sends the copies that are due.
    pub fn send_copies(&mut self, now: Instant) {
        while let Some(copy) = self.copies.next(now) {
            self.send_body((copy.to, copy.kind, copy.seq), &copy.body, |link| link != copy.first);
            self.copies.done(copy);
        }
    }

    /// Tells all peers that this stint is over.
    pub fn send_obituary(&mut self, stint: Stint) {
        self.seq += 1;
        let body = Obituary { stint }.encode();
        self.send_body((Destination::All, Kind::Obituary, self.seq), &body, |_| true);
    }

    /// Seals and sends one body on those links that `on` names.
    fn send_body(
        &mut self,
        (to, kind, seq): (Destination, Kind, u64),
        body: &[u8],
        on: impl Fn(LinkId) -> bool,
    ) {
        for link in self.links.iter_mut().filter(|link| on(link.id())) {
            let (from, nonce, seq) = (self.me, self.nonce, Seq(seq));
            let header = Header { kind, from, nonce, link: link.id(), seq };
            if let Some(frame) = wire::frame::seal(&self.seal, &header, body, &mut self.frame) {
                link.send(to, frame);
            }
        }
    }

    /// Takes what waits on those links that `on` names by their place, and on the stream if `streamed`, bounded, and gives
    /// everything new to `each` with its sender. True if something may be left.
    pub fn receive(
        &mut self,
        now: Instant,
        counters: &Counters,
        on: impl Fn(usize) -> bool,
        streamed: bool,
        each: &mut dyn FnMut(Life, Said),
    ) -> bool {
        let mut more = false;
        let mut outlived = None;
        let Self { links, seal, replay, copies, stream, levels, .. } = self;
        for (_, link) in links.iter_mut().enumerate().filter(|(place, _)| on(*place)) {
            let id = link.id();
            let mut take = |Arrival { frame, .. }: Arrival<'_>| {
                match open(seal, replay, id, frame) {
                    Ok((from, said)) => {
                        if let Some(level) = new_level(levels, from, frame) {
                            each(from, Said::Level(level));
                        }
                        if let Said::Message(message) = &said {
                            copies.heard(from.node, id, message);
                        }
                        each(from, said);
                    }
                    Err((reason, from)) => {
                        counters.reject(Side::Control, reason);
                        if reason == Reject::Stale {
                            outlived = from;
                        }
                    }
                }
                None
            };
            let full = (0..BATCHES_MAX).all(|_| link.receive(&mut take) >= BATCH);
            more |= full;
        }
        if let Some(stream) = stream.as_ref().filter(|_| streamed) {
            let mut left = FROM_STREAM_MAX;
            while let Some((header, message)) = stream.poll() {
                // Its thread has taken it as new; which lives are over, this window knows as well.
                match replay.take(&header) {
                    Ok(()) => each(header.from, Said::Message(message)),
                    Err(reason) => {
                        counters.reject(Side::Control, reason);
                        if reason == Reject::Stale {
                            outlived = Some(header.from.node);
                        }
                    }
                }
                left -= 1;
                if left == 0 {
                    more = true;
                    break;
                }
            }
        }
        if let Some(node) = outlived {
            self.answer_stale(now, node, counters);
        }
        more
    }

    /// R-RENUMBER: tells a life that is over which one is known.
    fn answer_stale(&mut self, now: Instant, node: NodeId, counters: &Counters) {
        let Some(told) = self.stale_told.get_mut(node.index()) else { return };
        if told.is_some_and(|at| now < at + STALE_EVERY) {
            return;
        }
        *told = Some(now);
        counters.count(Side::Control, Counter::StaleAnswered);
        let highest = self.replay.highest(node);
        self.send(now, Destination::Node(node), Message::Stale { node, highest });
    }

    /// Shows the links' counts in the shared map.
    pub fn publish_counts(&self, counters: &Counters) {
        if let Some(stream) = &self.stream {
            stream.publish_counts(counters);
        }
        for link in &self.links {
            let counts = link.counts();
            let all = [
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
            ];
            for (counter, value) in all {
                counters.set_link(Side::Control, link.id(), counter, value);
            }
        }
    }
}

/// Checks and decodes one datagram. The error names the sender where it was authenticated.
fn open(
    seal: &Seal,
    replay: &mut Replay,
    link: LinkId,
    bytes: &[u8],
) -> Result<(Life, Said), (Reject, Option<NodeId>)> {
    let (header, body) = wire::frame::open(seal, link, bytes).map_err(|reason| (reason, None))?;
    let from = header.from;
    let fail = |reason| (reason, Some(from.node));
    if !matches!(header.kind, Kind::Agreement | Kind::Obituary) {
        return Err(fail(Reject::Malformed));
    }
    replay.take(&header).map_err(fail)?;
    let said = if header.kind == Kind::Obituary {
        Obituary::decode(body).map(|obituary| Said::Obituary(obituary.stint))
    } else {
        Message::decode(body).map(Said::Message).map_err(|_| Reject::Malformed)
    };
    Ok((from, said.map_err(fail)?))
}

const fn without(mut nodes: NodeSet, me: NodeId) -> NodeSet {
    nodes.remove(me);
    nodes
}

/// The level that this life's frame shows, unless it has shown it before.
fn new_level(levels: &mut [Option<(Incarnation, u16)>], from: Life, frame: &[u8]) -> Option<u16> {
    let level = wire::frame::level(frame)?;
    let shown = levels.get_mut(from.node.index())?;
    (shown.replace((from.incarnation, level)) != Some((from.incarnation, level))).then_some(level)
}

#[cfg(test)]
mod tests {
    use super::{Exchange, Said};
    use crate::copies::AFTER;
    use crate::identity::{Identity, LocalLink};
    use base::Instant;
    use driver_address::Interface;
    use link::Destination;
    use shm::{Counter, Map, Side};
    use std::net::{IpAddr, UdpSocket};
    use wire::frame::Seal;
    use wire::{
        ClientId, ClusterId, Entry, EntryKind, Incarnation, Life, Message, NodeId, NodeSet, Nonce,
        Op, Reject, Seq, Stint, Term,
    };

    const NOW: Instant = Instant(1);

    fn text(port: u16) -> String {
        format!(
            "[cluster]\nname = \"x\"\nkey_file = \"k\"\n\
             [[link]]\nname = \"a\"\nmode = \"unicast\"\nport = {port}\n\
             [[link]]\nname = \"b\"\nmode = \"unicast\"\nport = {}\n\
             [[node]]\nid = 1\nname = \"n1\"\naddresses = [\"127.0.1.1\", \"127.0.2.1\"]\n\
             [[node]]\nid = 2\nname = \"n2\"\naddresses = [\"127.0.1.2\", \"127.0.2.2\"]\n",
            port + 10
        )
    }

    fn exchange(id: u8, port: u16, life: u32, key: u8) -> Exchange {
        let (config, _) = config::parse("test", &text(port)).unwrap();
        let me = NodeId::new(id).unwrap();
        let interface = Interface { index: 0, name: "lo".into(), mac: None, up: true };
        let links = config.node(id).unwrap().addresses.iter().map(|own: &IpAddr| LocalLink {
            own: *own,
            interface: interface.clone(),
            target: None,
        });
        let links = links.collect();
        let identity = Identity { config, key: [key; 32], me, name: format!("n{id}"), links };
        let (cluster, key_id) = (ClusterId(7), 1);
        let seal = Seal { cluster, key: [key; 32], key_id, config_hash: 5, level: 1 };
        let mut exchange = Exchange::open(&identity, seal, Nonce(u64::from(life))).unwrap();
        exchange.begin(Life { node: me, incarnation: Incarnation(life) });
        exchange
    }

    /// Some message, told apart by a number.
    fn some(number: u32) -> Message {
        let life = Life { node: NodeId::new(1).unwrap(), incarnation: Incarnation(1) };
        Message::ColdRelease { term: Term { era: number, counter: 1, life } }
    }

    /// Takes what comes within a moment.
    fn taken(at: &mut Exchange, now: u64, map: &Map) -> Vec<(Life, Message)> {
        let mut all = Vec::new();
        for _ in 0..20 {
            at.receive(
                Instant(now),
                map.counters(),
                |_| true,
                true,
                &mut |from, said| match said {
                    Said::Message(message) => all.push((from, message)),
                    Said::Obituary(stint) => panic!("an obituary of {stint:?}"),
                    Said::Level(level) => assert_eq!(level, 1),
                },
            );
            std::thread::park_timeout(std::time::Duration::from_millis(1));
        }
        all
    }

    #[test]
    fn a_message_goes_out_on_every_link_and_counts_once() {
        let (mut one, mut two) = (exchange(1, 46_000, 3, 9), exchange(2, 46_000, 4, 9));
        let map = Map::nameless().unwrap();
        one.send(NOW, Destination::All, some(1));
        one.send(NOW, Destination::Node(NodeId::new(2).unwrap()), some(2));
        let from = Life { node: NodeId::new(1).unwrap(), incarnation: Incarnation(3) };
        assert_eq!(taken(&mut two, 1, &map), [(from, some(1)), (from, some(2))]);
        assert_eq!(map.counters().rejected(Side::Control, Reject::Duplicate), 2);
    }

    #[test]
    fn what_is_routine_goes_out_on_one_link_and_on_the_other_unless_it_has_arrived() {
        let (mut one, mut two) = (exchange(1, 47_000, 3, 9), exchange(2, 47_000, 4, 9));
        let map = Map::nameless().unwrap();
        let from = Life { node: NodeId::new(1).unwrap(), incarnation: Incarnation(3) };
        let term = Term { era: 1, counter: 1, life: from };
        let request = |op| {
            let kind =
                EntryKind::Request { client: ClientId(1), seq: Seq(op), body: [1; 64].into() };
            let (prev_op, entries) = (Op(op - 1), vec![Entry { term, level: 1, kind }]);
            let (commit, release, held) = (Op::ZERO, Op::ZERO, Op(op));
            Message::Prepare { term, prev_op, prev_term: term, entries, commit, release, held }
        };
        one.send(NOW, Destination::All, request(1));
        assert_eq!(taken(&mut two, 1, &map).len(), 1);
        two.send(NOW, Destination::Node(from.node), Message::PrepareOk { term, op: Op(1) });
        assert_eq!(taken(&mut one, 1, &map).len(), 1);
        one.send_copies(NOW + AFTER);
        assert_eq!(one.copies_due(), None, "it is known to have arrived");
        one.send(NOW, Destination::All, request(2));
        assert_eq!(taken(&mut two, 1, &map).len(), 1);
        let twice = || map.counters().rejected(Side::Control, Reject::Duplicate);
        assert_eq!(twice(), 0, "so far on one link only");
        one.send_copies(NOW + AFTER);
        assert_eq!(taken(&mut two, 1, &map), []);
        assert_eq!(twice(), 1, "and on the other a moment later");
    }

    #[test]
    fn an_obituary_travels_where_the_agreement_does() {
        let (mut one, mut two) = (exchange(1, 46_120, 3, 9), exchange(2, 46_120, 4, 9));
        let map = Map::nameless().unwrap();
        one.send_obituary(Stint(7));
        let mut heard = Vec::new();
        for _ in 0..20 {
            let mut hear = |from, said| heard.push((from, said));
            two.receive(Instant(1), map.counters(), |_| true, true, &mut hear);
            std::thread::park_timeout(std::time::Duration::from_millis(1));
        }
        let from = Life { node: NodeId::new(1).unwrap(), incarnation: Incarnation(3) };
        heard.dedup(); // every link tells it
        // What its release understands is said once, before all else.
        assert_eq!(heard, [(from, Said::Level(1)), (from, Said::Obituary(Stint(7)))]);
        one.seal.level = 2;
        one.send(NOW, Destination::All, some(1));
        one.send(NOW, Destination::All, some(2));
        let mut heard = Vec::new();
        for _ in 0..20 {
            two.receive(Instant(1), map.counters(), |_| true, true, &mut |_, said| {
                heard.push(said)
            });
            std::thread::park_timeout(std::time::Duration::from_millis(1));
        }
        let messages = [1, 2].map(|number| Said::Message(some(number)));
        assert_eq!(heard[0], Said::Level(2));
        assert_eq!(heard[1..], messages);
    }

    #[test]
    fn peers_come_and_go_while_it_runs() {
        let (mut one, mut two) = (exchange(1, 46_160, 3, 9), exchange(2, 46_160, 4, 9));
        let map = Map::nameless().unwrap();
        let node = |n| NodeId::new(n).unwrap();
        let from = Life { node: node(1), incarnation: Incarnation(3) };
        let only = |n| [node(n)].into_iter().collect::<NodeSet>();
        // Two does not know one any more: what it says is a stranger's, and counted.
        two.set_peers(only(2), &[vec![], vec![]]);
        one.send(NOW, Destination::All, some(1));
        assert_eq!(taken(&mut two, 1, &map), []);
        assert_eq!(map.counters().rejected(Side::Control, Reject::Stranger), 2);
        // It comes back, on one of the two links.
        let both: NodeSet = [node(1), node(2)].into_iter().collect();
        let back = vec![(node(1), "127.0.1.1".parse().unwrap())];
        two.set_peers(both, &[back, vec![]]);
        one.send(NOW, Destination::All, some(2));
        assert_eq!(taken(&mut two, 1, &map), [(from, some(2))]);
        two.send(NOW, Destination::All, some(3));
        assert_eq!(taken(&mut one, 1, &map).len(), 1);
        assert_eq!(
            map.counters().rejected(Side::Control, Reject::Duplicate),
            1,
            "once from one, never from two"
        );
        // One moves: what is for it goes to the new place.
        let moved = vec![(node(1), "127.0.1.9".parse().unwrap())];
        two.set_peers(both, &[moved, vec![]]);
        let socket = UdpSocket::bind("127.0.1.9:46161").unwrap();
        socket.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        two.send(NOW, Destination::All, some(4));
        assert!(socket.recv(&mut [0; 2_000]).is_ok());
        assert_eq!(taken(&mut one, 1, &map), []);
    }

    #[test]
    fn forged_and_garbage_frames_are_dropped_and_counted() {
        let (mut stranger, mut two) = (exchange(1, 46_040, 3, 8), exchange(2, 46_040, 4, 9));
        let map = Map::nameless().unwrap();
        stranger.send(NOW, Destination::All, some(1));
        let socket = UdpSocket::bind("127.0.1.1:0").unwrap();
        socket.send_to(&[0; 3], "127.0.1.2:46041").unwrap();
        socket.send_to(&[0x55; 900], "127.0.1.2:46041").unwrap();
        assert_eq!(taken(&mut two, 1, &map), []);
        let counters = map.counters();
        assert_eq!(counters.rejected(Side::Control, Reject::Forged), 2);
        assert_eq!(counters.rejected(Side::Control, Reject::Truncated), 1);
        assert_eq!(counters.rejected(Side::Control, Reject::Garbage), 1);
    }

    #[test]
    fn a_life_that_is_over_is_told_so_but_not_for_every_frame() {
        let mut two = exchange(2, 46_080, 4, 9);
        let map = Map::nameless().unwrap();
        let mut newer = exchange(1, 46_080, 6, 9);
        newer.send(NOW, Destination::All, some(1));
        assert_eq!(taken(&mut two, 1, &map).len(), 1);
        drop(newer);
        let mut older = exchange(1, 46_080, 5, 9);
        for n in 0..5 {
            older.send(NOW, Destination::All, some(n));
        }
        assert_eq!(taken(&mut two, 1_000, &map), []);
        let node = NodeId::new(1).unwrap();
        let stale = Message::Stale { node, highest: Incarnation(6) };
        let told: Vec<_> = taken(&mut older, 1_000, &map).into_iter().map(|(_, m)| m).collect();
        assert_eq!(told, [stale], "R-RENUMBER, once");
        assert_eq!(map.counters().get(Side::Control, Counter::StaleAnswered), 1);
        older.send(NOW, Destination::All, some(9));
        assert_eq!(taken(&mut two, 200_000_000, &map), []);
        assert_eq!(taken(&mut older, 1, &map).len(), 1, "again after a while");
    }
}
