//! The streams beside the datagrams: messages that fit no datagram travel between two nodes in order,
//! one after the other, as long as their size takes; when the connection breaks, all on their way are
//! lost. What is on its way already is not sent again, as the product's stream does it.

use crate::clock::Real;
use crate::packet::{Body, Packet};
use crate::world::{What, World};
use base::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use wire::message::Key;
use wire::{Header, Kind, Life, LinkId, Message, NodeId, Seq, Stream};

/// A byte at 1 Gbit/s.
const BYTE: Duration = Duration(8);
/// What waits for longer than this finds no room: eight megabytes.
const QUEUE_MAX: Duration = Duration::from_millis(64);
/// Bytes of a segment.
const SEGMENT: u64 = 1_448;
const ALL: u64 = 1_000_000;

/// One direction between two nodes.
#[derive(Clone, Debug, Default)]
struct Lane {
    /// Which connection it is.
    number: u64,
    /// When its last message is out.
    free_at: Real,
    /// When its last message is there.
    last: Real,
    on_the_way: VecDeque<(Option<Key>, Real)>,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Streams {
    lanes: BTreeMap<(NodeId, NodeId), Lane>,
    /// Messages that went this way.
    pub carried: u64,
}

impl World {
    /// Sends a message that fits no datagram.
    pub(crate) fn send_by_stream(
        &mut self,
        from: Life,
        seq: Seq,
        message: &Rc<Message>,
        to: &[NodeId],
    ) {
        let Some(daemons) = self.machines.get(&from.node).and_then(|m| m.daemons.as_ref()) else {
            return;
        };
        let header = Header { kind: Kind::Bulk, from, nonce: daemons.nonce, link: LinkId(0), seq };
        let body = Body::Agreement(Rc::clone(message));
        let packet = Packet::new(header, &body, self.shape.sealed);
        for node in to.iter().copied().filter(|n| *n != from.node) {
            let takes = self.queue_on_stream(from, node, message, &packet);
            self.checkers.needless.streams(self.now, from.node, node, takes);
        }
    }

    /// Puts it behind what is on its way to a node; how long it takes, if it may come.
    fn queue_on_stream(
        &mut self,
        from: Life,
        node: NodeId,
        message: &Message,
        packet: &Packet,
    ) -> Option<Duration> {
        let receiver = self.machines.get(&node).and_then(crate::machine::Machine::life);
        let (Some(receiver), true) = (receiver, self.network.connects(from.node, node)) else {
            self.break_stream(from.node, node);
            return None;
        };
        let (now, size) = (self.now, message.size() as u64);
        let latency = self.latency_of(size);
        let lane = self.streams.lanes.entry((from.node, node)).or_default();
        lane.on_the_way.retain(|(_, until)| *until > now);
        let key = message.key();
        let known = lane.on_the_way.iter().find(|(other, _)| key.is_some() && *other == key);
        if let Some((_, until)) = known {
            return Some(until.since(now));
        }
        if lane.free_at.since(now) > QUEUE_MAX {
            return None;
        }
        lane.free_at = lane.free_at.max(now).after(BYTE * size);
        lane.last = lane.last.max(lane.free_at.after(latency));
        lane.on_the_way.push_back((key, lane.last));
        let (at, number) = (lane.last, lane.number);
        self.streams.carried += 1;
        self.queue.push(at, What::Delivered(from, receiver, packet.clone(), number));
        Some(at.since(now))
    }

    /// What the way costs besides the size: TCP sends again what is lost, mostly soon.
    fn latency_of(&mut self, size: u64) -> Duration {
        let quality = self.network.quality;
        let mut latency = quality.base + Duration(self.dice.below(quality.jitter.0 + 1));
        let lossy = (quality.loss_ppm * (size / SEGMENT + 1)).min(ALL);
        if lossy > 0 && self.dice.chance(lossy, ALL) {
            latency = latency + quality.base * 4 + Duration(self.dice.below(5_000_000));
            if self.dice.chance(1, 20) {
                latency = latency + Duration::from_millis(200);
            }
        }
        latency
    }

    /// How long what is on its way takes to be there. What TCP lost while datagrams were lost it may send again only 200 ms
    /// later, which can be more than twenty deadlines, and everything behind it waits: the product holds on to such a
    /// connection for as long (seeds 28876, 30149). That is a fault's own end, not what follows it.
    #[must_use]
    pub fn streams_need(&self) -> Duration {
        let lanes = self.streams.lanes.values();
        lanes.map(|lane| lane.last.since(self.now)).max().unwrap_or(Duration::ZERO)
    }

    /// It is there, if its connection has lasted.
    pub(crate) fn deliver(&mut self, from: Life, to: Life, packet: Packet, number: u64) {
        let lane = self.streams.lanes.get(&(from.node, to.node));
        let lasted = lane.is_some_and(|lane| lane.number == number);
        if !lasted {
            return;
        }
        let life = |node| self.machines.get(&node).and_then(crate::machine::Machine::life);
        let stands = life(to.node) == Some(to) && self.network.connects(from.node, to.node);
        // What the kernel of a life that is over had taken may still come.
        let sent = life(from.node) == Some(from) || self.dice.chance(1, 2);
        if stands && sent {
            self.arrive(to.node, Stream::Control, packet);
        } else {
            self.break_stream(from.node, to.node);
        }
    }

    /// The connection ends: all on their way are lost, and the next one takes a moment.
    pub(crate) fn break_stream(&mut self, from: NodeId, to: NodeId) {
        let pause = Duration::from_millis(1 + self.dice.below(20));
        let now = self.now;
        let lane = self.streams.lanes.entry((from, to)).or_default();
        if lane.on_the_way.iter().any(|(_, until)| *until > now) {
            self.checkers.needless.streams(now, from, to, None);
        }
        lane.number += 1;
        lane.on_the_way.clear();
        lane.free_at = now.after(pause);
        lane.last = now;
    }
}
