//! What a cluster costs: what is sent, and how long the turns of the real cores take on this machine.

use crate::packet::Body;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use wire::frame::HEADER_LEN;
use wire::{Kind, Life, Message, NodeId, Stream};

/// Measures one turn. The simulator's own time is virtual; this is the machine's.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Begins.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }
}

/// Frames and their bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// Sent, one for each link; to all counts once, because it is one multicast.
    pub frames: u64,
    /// Of these frames, header included.
    pub bytes: u64,
    /// Frames as they arrive.
    pub received: u64,
    /// The largest.
    pub largest: usize,
}

/// Turns and their time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Turns {
    /// How many.
    pub count: u64,
    /// All together.
    pub total: Duration,
    /// The longest.
    pub longest: Duration,
}

/// What was counted since the last [`Costs::reset`].
#[derive(Clone, Debug, Default)]
pub struct Costs {
    /// By what it is.
    pub traffic: BTreeMap<&'static str, Traffic>,
    /// By node and process.
    pub turns: BTreeMap<(NodeId, bool), Turns>,
}

impl Costs {
    /// Counts from here.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
    /// A body goes to so many nodes on so many links.
    pub fn sent(&mut self, _: Life, body: &Body, to: usize, links: usize) {
        let length = HEADER_LEN + body.bytes().len();
        let traffic = self.traffic.entry(name(body)).or_default();
        traffic.frames += links as u64;
        traffic.bytes += (length * links) as u64;
        traffic.received += (to * links) as u64;
        traffic.largest = traffic.largest.max(length);
    }
    /// A process has had a turn.
    pub fn turned(&mut self, life: Life, stream: Stream, watch: Stopwatch) {
        let took = watch.0.elapsed();
        let turns = self.turns.entry((life.node, stream == Stream::Control)).or_default();
        turns.count += 1;
        turns.total += took;
        turns.longest = turns.longest.max(took);
    }
    /// The turns of all processes of a kind, and the one that took longest altogether.
    #[must_use]
    pub fn process(&self, stream: Stream) -> (Turns, Turns) {
        let of = self.turns.iter().filter(|((_, c), _)| *c == (stream == Stream::Control));
        of.fold(Default::default(), |(mut all, mut worst): (Turns, Turns), (_, turns)| {
            all.count += turns.count;
            all.total += turns.total;
            all.longest = all.longest.max(turns.longest);
            if turns.total > worst.total {
                worst = *turns;
            }
            (all, worst)
        })
    }
    /// What control sends.
    #[must_use]
    pub fn agreement(&self) -> Traffic {
        let fast = ["beat", "echo", "obituary"];
        let of = self.traffic.iter().filter(|(name, _)| !fast.contains(name));
        of.fold(Traffic::default(), |mut sum, (_, t)| {
            sum.frames += t.frames;
            sum.bytes += t.bytes;
            sum.received += t.received;
            sum.largest = sum.largest.max(t.largest);
            sum
        })
    }
}

fn name(body: &Body) -> &'static str {
    match body.kind() {
        Kind::Beat => "beat",
        Kind::Echo => "echo",
        Kind::Obituary => "obituary",
        Kind::Agreement | Kind::Bulk => match body {
            Body::Agreement(message) => message_name(message),
            _ => "agreement",
        },
    }
}

const fn message_name(message: &Message) -> &'static str {
    match message {
        Message::Prepare { .. } => "Prepare",
        Message::PrepareOk { .. } => "PrepareOk",
        Message::Suspect { .. } => "Suspect",
        Message::Promise { .. } | Message::PromiseRequest { .. } => "Promise",
        Message::Join { .. } => "Join",
        Message::Fetch { .. } => "Fetch",
        Message::Request { .. } => "Request",
        _ => "other",
    }
}
