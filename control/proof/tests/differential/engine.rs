//! What a schedule needs of an engine, links that both run on, and the judge of what is committed.

use std::collections::{BTreeMap, VecDeque};

/// A cluster of some engine. Time goes in milliseconds.
pub(crate) trait Engine {
    fn now(&self) -> u64;
    /// One millisecond.
    fn step(&mut self);
    /// A node proposes a value; it repeats that until the value is committed at it.
    fn propose(&mut self, node: u8, value: u64);
    /// The node that leads, if one says so.
    fn leader(&self) -> Option<u8>;
    /// One direction of a pair carries nothing, or carries again.
    fn set_link(&mut self, from: u8, to: u8, up: bool);
    /// Every message takes so long.
    fn set_delay(&mut self, ms: u64);
    /// A node does not run until it is resumed.
    fn set_paused(&mut self, node: u8, paused: bool);
    /// All links carry, nobody is paused, nothing takes long.
    fn heal(&mut self);
    /// The values committed at a node, in order.
    fn committed(&self, node: u8) -> &[u64];
    /// For the person who reads a failure.
    fn picture(&self) -> String;
    fn nodes(&self) -> u8;
}

/// Links between all pairs: in order, lost while cut.
#[derive(Debug)]
pub(crate) struct Links<M> {
    queues: BTreeMap<(u8, u8), VecDeque<(u64, M)>>,
    down: BTreeMap<(u8, u8), bool>,
    pub(crate) delay: u64,
}

impl<M> Links<M> {
    pub(crate) const fn new() -> Self {
        Self { queues: BTreeMap::new(), down: BTreeMap::new(), delay: 1 }
    }
    pub(crate) fn is_up(&self, from: u8, to: u8) -> bool {
        !self.down.contains_key(&(from, to))
    }
    /// True if it was down before.
    pub(crate) fn set(&mut self, from: u8, to: u8, up: bool) -> bool {
        if up {
            return self.down.remove(&(from, to)).is_some();
        }
        self.queues.remove(&(from, to));
        self.down.insert((from, to), true);
        false
    }
    pub(crate) fn send(&mut self, now: u64, from: u8, to: u8, message: M) {
        if self.is_up(from, to) {
            let queue = self.queues.entry((from, to)).or_default();
            let before = queue.back().map_or(0, |(at, _)| *at);
            queue.push_back((before.max(now + self.delay), message));
        }
    }
    /// What reaches `to` by now.
    pub(crate) fn due(&mut self, now: u64, to: u8) -> Vec<(u8, M)> {
        let mut due = Vec::new();
        for ((from, _), queue) in self.queues.iter_mut().filter(|((_, t), _)| *t == to) {
            while queue.front().is_some_and(|(at, _)| *at <= now) {
                due.extend(queue.pop_front().map(|(_, message)| (*from, message)));
            }
        }
        due
    }
    pub(crate) fn every_pair(nodes: u8) -> impl Iterator<Item = (u8, u8)> {
        (1..=nodes).flat_map(move |a| (1..=nodes).map(move |b| (a, b))).filter(|(a, b)| a != b)
    }
}

/// One order: whoever is first at a position says what stands there.
pub(crate) struct Judge {
    order: Vec<u64>,
    seen: BTreeMap<u8, usize>,
}

impl Judge {
    pub(crate) fn new(nodes: u8) -> Self {
        Self { order: Vec::new(), seen: (1..=nodes).map(|node| (node, 0)).collect() }
    }
    pub(crate) fn order(&self) -> &[u64] {
        &self.order
    }
    /// Compares what is new at every node. What a node has committed is never taken back.
    pub(crate) fn look(&mut self, engine: &dyn Engine) -> Result<(), String> {
        for (node, seen) in &mut self.seen {
            let committed = engine.committed(*node);
            if committed.len() < *seen {
                return Err(format!("node {node} took back {:?}", &self.order[committed.len()..]));
            }
            for (at, value) in committed.iter().enumerate().skip(*seen) {
                match self.order.get(at) {
                    Some(known) if known != value => {
                        return Err(format!("node {node} has {value} at {at}, not {known}"));
                    }
                    Some(_) => {}
                    None => self.order.push(*value),
                }
            }
            *seen = committed.len();
        }
        Ok(())
    }
    /// True if every node has committed these, and as much as any other.
    pub(crate) fn everybody_has(&self, engine: &dyn Engine, wanted: &[u64]) -> bool {
        (1..=engine.nodes()).all(|node| {
            let committed = engine.committed(node);
            committed.len() == self.order.len() && wanted.iter().all(|v| committed.contains(v))
        })
    }
}
