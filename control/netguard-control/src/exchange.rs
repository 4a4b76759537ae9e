//! Agreement messages out and in: sealed, sent on every link, opened, taken once (S9).

use crate::failure::Failure;
use crate::identity::Identity;
use base::{Duration, Instant};
use link::{BATCH, Destination, Faults, Link, Settings, UdpLink};
use shm::{Counter, Counters, LinkCounter, Side};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use wire::codec::Writer;
use wire::frame::{FRAME_MAX, Header, Kind, Seal};
use wire::replay::Replay;
use wire::{Incarnation, Life, LinkId, Message, NODES_MAX, NodeId, Nonce, Reject, Seq};

/// Distance of two answers to one node whose life is over (R-RENUMBER): it may not have heard the first.
const STALE_EVERY: Duration = Duration::from_millis(100);
/// Batches taken from one link per cycle; the rest waits for the next.
const BATCHES_MAX: usize = 4;
/// Keeps the seeded faults of this process apart from fast's.
const FAULT_SALT: u64 = 0xC0;

/// The links of the agreement.
pub struct Exchange {
    seal: Seal,
    me: Life,
    nonce: Nonce,
    links: Vec<Box<dyn Link>>,
    replay: Box<Replay>,
    seq: u64,
    body: Writer,
    frame: Vec<u8>,
    stale_told: Vec<Option<Instant>>,
}

impl Exchange {
    /// Opens the links on the port after the heartbeats'.
    pub fn open(identity: &Identity, seal: Seal, nonce: Nonce) -> Result<Self, Failure> {
        let faults = Faults::from_environment().map_err(|e| Failure::Faults(e.to_string()))?;
        let mut links: Vec<Box<dyn Link>> = Vec::new();
        for (number, (local, configured)) in
            (0u8..).zip(identity.links.iter().zip(&identity.config.links))
        {
            let port = configured.port.saturating_add(1);
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
            };
            let udp: Box<dyn Link> = Box::new(UdpLink::open(&settings)?);
            links.push(match faults {
                Some(faults) => faults.over(udp, FRAME_MAX, FAULT_SALT + u64::from(number)),
                None => udp,
            });
        }
        let me = Life { node: identity.me, incarnation: Incarnation(0) };
        let replay = Box::new(Replay::new(identity.me, identity.nodes(|_| true)));
        Ok(Self {
            seal,
            me,
            nonce,
            links,
            replay,
            seq: 0,
            body: Writer::new(),
            frame: vec![0; FRAME_MAX],
            stale_told: vec![None; NODES_MAX],
        })
    }

    /// Says which life sends from now on; nothing may be sent before.
    pub const fn begin(&mut self, me: Life) {
        self.me = me;
    }

    /// Descriptors to poll, in the order of the links.
    pub fn fds(&self) -> impl Iterator<Item = RawFd> + '_ {
        self.links.iter().map(|link| link.fd().as_raw_fd())
    }

    /// Sends one message on every link. What does not go out is counted there; the agreement repeats.
    pub fn send(&mut self, to: Destination, message: &Message) {
        self.seq += 1;
        self.body.0.clear();
        message.encode(&mut self.body);
        for link in &mut self.links {
            let header = Header {
                kind: Kind::Agreement,
                from: self.me,
                nonce: self.nonce,
                link: link.id(),
                seq: Seq(self.seq),
            };
            if let Some(frame) =
                wire::frame::seal(&self.seal, &header, &self.body.0, &mut self.frame)
            {
                link.send(to, frame);
            }
        }
    }

    /// Takes what waits on all links, bounded, and gives every new message to `each` with its sender. True if
    /// something may be left.
    pub fn receive(
        &mut self,
        now: Instant,
        counters: &Counters,
        each: &mut dyn FnMut(Life, Message),
    ) -> bool {
        let mut more = false;
        let mut outlived = None;
        let Self { links, seal, replay, .. } = self;
        for link in links {
            let id = link.id();
            let mut take = |_: SocketAddr, bytes: &[u8]| match open(seal, replay, id, bytes) {
                Ok((from, message)) => each(from, message),
                Err((reason, from)) => {
                    counters.reject(Side::Control, reason);
                    if reason == Reject::Stale {
                        outlived = from;
                    }
                }
            };
            let full = (0..BATCHES_MAX).all(|_| link.receive(&mut take) >= BATCH);
            more |= full;
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
        self.send(Destination::Node(node), &Message::Stale { node, highest });
    }

    /// Shows the links' counts in the shared map.
    pub fn publish_counts(&self, counters: &Counters) {
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
) -> Result<(Life, Message), (Reject, Option<NodeId>)> {
    let (header, body) = wire::frame::open(seal, link, bytes).map_err(|reason| (reason, None))?;
    let from = header.from;
    let fail = |reason| (reason, Some(from.node));
    if header.kind != Kind::Agreement {
        return Err(fail(Reject::Malformed));
    }
    replay.take(&header).map_err(fail)?;
    let message = Message::decode(body).map_err(|_| fail(Reject::Malformed))?;
    Ok((from, message))
}
