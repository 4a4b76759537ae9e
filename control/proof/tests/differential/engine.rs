//! What a schedule needs of an engine, the cluster and the links that both run in, and the judge of what is committed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// One node of some engine. Time goes in milliseconds.
pub(crate) trait Server {
    /// What its peers tell each other.
    type Message;
    /// Of several that say they lead, the greatest does.
    type Rank: Ord;
    /// One millisecond: what arrives, by its sender; what it sends, by its receiver.
    fn turn(&mut self, now: u64, due: Vec<(u8, Self::Message)>) -> Vec<(u8, Self::Message)>;
    /// It proposes a value, and again until the value is committed here.
    fn propose(&mut self, now: u64, value: u64);
    /// If it leads.
    fn leads(&self) -> Option<Self::Rank>;
    /// The link with `peer` carries again.
    fn mended(&mut self, peer: u8);
    /// The values committed here, in order.
    fn committed(&self) -> &[u64];
    /// For the person who reads a failure.
    fn picture(&self) -> String;
}

/// What a schedule needs of a cluster, whatever its engine.
pub(crate) trait Engine {
    fn now(&self) -> u64;
    /// One millisecond.
    fn step(&mut self);
    fn propose(&mut self, node: u8, value: u64);
    /// The node that leads, if one says so.
    fn leader(&self) -> Option<u8>;
    /// One direction of a pair carries nothing, or carries again.
    fn set_link(&mut self, from: u8, to: u8, up: bool);
    /// Every message takes so long.
    fn set_delay(&mut self, ms: u64);
    /// A node does not run until it is resumed.
    fn set_paused(&mut self, node: u8, paused: bool);
    /// The values committed at a node, in order.
    fn committed(&self, node: u8) -> &[u64];
    /// For the person who reads a failure.
    fn picture(&self) -> String;
    fn nodes(&self) -> u8;
}

/// Servers, numbered from 1, and the links between them.
pub(crate) struct Cluster<S: Server> {
    now: u64,
    servers: BTreeMap<u8, S>,
    links: Links<S::Message>,
    paused: BTreeSet<u8>,
}

impl<S: Server> Cluster<S> {
    /// `server` makes the one of a number.
    pub(crate) fn of(nodes: u8, server: impl Fn(u8) -> S) -> Self {
        let servers = (1..=nodes).map(|node| (node, server(node))).collect();
        Self { now: 0, servers, links: Links::new(), paused: BTreeSet::new() }
    }
}

impl<S: Server> Engine for Cluster<S> {
    fn now(&self) -> u64 {
        self.now
    }
    fn nodes(&self) -> u8 {
        self.servers.len() as u8
    }
    fn step(&mut self) {
        self.now += 1;
        for (node, server) in self.servers.iter_mut().filter(|(n, _)| !self.paused.contains(n)) {
            let due = self.links.due(self.now, *node);
            for (to, message) in server.turn(self.now, due) {
                self.links.send(self.now, *node, to, message);
            }
        }
    }
    fn propose(&mut self, node: u8, value: u64) {
        let now = self.now;
        if let Some(server) = self.servers.get_mut(&node) {
            server.propose(now, value);
        }
    }
    fn leader(&self) -> Option<u8> {
        let leading = self.servers.iter().filter_map(|(node, s)| Some((s.leads()?, *node)));
        leading.max().map(|(_, node)| node)
    }
    fn set_link(&mut self, from: u8, to: u8, up: bool) {
        if self.links.set(from, to, up) {
            // A new session of the link: both ends are told.
            for (at, of) in [(from, to), (to, from)] {
                if let Some(server) = self.servers.get_mut(&at) {
                    server.mended(of);
                }
            }
        }
    }
    fn set_delay(&mut self, ms: u64) {
        self.links.delay = ms;
    }
    fn set_paused(&mut self, node: u8, paused: bool) {
        if paused {
            self.paused.insert(node);
        } else {
            self.paused.remove(&node);
        }
    }
    fn committed(&self, node: u8) -> &[u64] {
        self.servers.get(&node).map_or(&[], |server| server.committed())
    }
    fn picture(&self) -> String {
        let of = |(node, server): (&u8, &S)| format!("{node}: {}", server.picture());
        self.servers.iter().map(of).collect::<Vec<_>>().join("; ")
    }
}

/// Links between all pairs: in order, lost while cut.
#[derive(Debug)]
struct Links<M> {
    queues: BTreeMap<(u8, u8), VecDeque<(u64, M)>>,
    down: BTreeSet<(u8, u8)>,
    delay: u64,
}

impl<M> Links<M> {
    const fn new() -> Self {
        Self { queues: BTreeMap::new(), down: BTreeSet::new(), delay: 1 }
    }
    /// True if it carries again.
    fn set(&mut self, from: u8, to: u8, up: bool) -> bool {
        if up {
            return self.down.remove(&(from, to));
        }
        self.queues.remove(&(from, to));
        self.down.insert((from, to));
        false
    }
    fn send(&mut self, now: u64, from: u8, to: u8, message: M) {
        if !self.down.contains(&(from, to)) {
            let queue = self.queues.entry((from, to)).or_default();
            let before = queue.back().map_or(0, |(at, _)| *at);
            queue.push_back((before.max(now + self.delay), message));
        }
    }
    /// What reaches `to` by now.
    fn due(&mut self, now: u64, to: u8) -> Vec<(u8, M)> {
        let mut due = Vec::new();
        for ((from, _), queue) in self.queues.iter_mut().filter(|((_, t), _)| *t == to) {
            while queue.front().is_some_and(|(at, _)| *at <= now) {
                due.extend(queue.pop_front().map(|(_, message)| (*from, message)));
            }
        }
        due
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
