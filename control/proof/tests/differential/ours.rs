//! Our agreement with a stand-in for the fast path: beats on the same links, a deadline, and its
//! answer to a freeze.

use crate::engine::{Engine, Links};
use agreement::{Action, Agreement, Destination, Settings, Status};
use base::{Duration, Instant};
use std::collections::{BTreeMap, BTreeSet};
use wire::{Charter, ClientId, EntryKind, Incarnation, Life, Message, NodeId, NodeSet, Seq, Stint};

const INTERVAL: u64 = 10;
const DEADLINE: u64 = 30;

fn id(n: u8) -> NodeId {
    NodeId::new(n).unwrap()
}

fn life(n: u8) -> Life {
    Life { node: id(n), incarnation: Incarnation(1) }
}

#[derive(Clone)]
enum Packet {
    Beat,
    Agreed(Box<Message>),
}

struct Server {
    engine: Agreement,
    committed: Vec<u64>,
    heard: BTreeMap<u8, u64>,
    suspected: BTreeSet<u8>,
    /// Values that the engine has not taken yet.
    waiting: Vec<u64>,
    seq: u64,
    awake: u64,
}

pub(crate) struct Cluster {
    now: u64,
    servers: BTreeMap<u8, Server>,
    links: Links<Packet>,
    paused: BTreeSet<u8>,
}

const fn at(ms: u64) -> Instant {
    Instant(1_000_000_000 + ms * 1_000_000)
}

impl Cluster {
    pub(crate) fn new(nodes: u8) -> Self {
        let server = |n: u8| {
            let settings = Settings {
                me: life(n),
                charter: Charter::plain((1..=nodes).map(id).collect(), NodeSet::EMPTY),
                interval: Duration::from_millis(INTERVAL),
                misses: 3,
                rate_ppm: 1_000,
                longest: Duration::from_millis(DEADLINE),
                era_promised: 0,
                level: 1,
                limits: agreement::Limits::default(),
                #[cfg(feature = "mutations")]
                mutations: Vec::new(),
            };
            let server = Server {
                engine: Agreement::new(settings, at(0)),
                committed: Vec::new(),
                heard: BTreeMap::new(),
                suspected: BTreeSet::new(),
                waiting: Vec::new(),
                seq: 0,
                awake: 0,
            };
            (n, server)
        };
        let servers = (1..=nodes).map(server).collect();
        Self { now: 0, servers, links: Links::new(), paused: BTreeSet::new() }
    }

    fn turn(&mut self, n: u8) {
        let (now, due) = (self.now, self.links.due(self.now, n));
        let Some(server) = self.servers.get_mut(&n) else { return };
        if now > server.awake + DEADLINE {
            // The sleeper accuses nobody (S10).
            server.heard.values_mut().for_each(|heard| *heard = now);
        }
        server.awake = now;
        for (from, packet) in due {
            match packet {
                Packet::Beat => server.hear(now, from),
                Packet::Agreed(message) => {
                    server.engine.handle_message(at(now), life(from), *message);
                }
            }
        }
        server.judge(now);
        server.ask(now, n);
        if server.engine.poll_deadline().is_some_and(|due| due <= at(now)) {
            server.engine.handle_timeout(at(now));
        }
        let mut out = Vec::new();
        while let Some(action) = server.engine.poll_action() {
            server.act(now, action, &mut out);
        }
        let nodes = self.nodes();
        let others = || (1..=nodes).filter(|to| *to != n);
        if now % INTERVAL == u64::from(n) {
            others().for_each(|to| self.links.send(now, n, to, Packet::Beat));
        }
        for (to, message) in out {
            for other in others().filter(|other| to.is_none_or(|to| to == id(*other))) {
                self.links.send(now, n, other, Packet::Agreed(Box::new(message.clone())));
            }
        }
    }
}

impl Server {
    fn hear(&mut self, now: u64, from: u8) {
        if self.heard.insert(from, now).is_none() {
            self.engine.handle_appeared(at(now), life(from));
        }
        if self.suspected.remove(&from) {
            self.engine.handle_trusted(at(now), life(from), Stint::NONE);
        }
    }
    fn judge(&mut self, now: u64) {
        for (from, heard) in &self.heard {
            if now >= heard + DEADLINE && self.suspected.insert(*from) {
                self.engine.handle_suspected(at(now), life(*from), Stint::NONE);
            }
        }
    }
    fn ask(&mut self, now: u64, n: u8) {
        while let Some(value) = self.waiting.first().copied() {
            let (client, seq) = (ClientId(u64::from(n)), Seq(self.seq + 1));
            let body = value.to_le_bytes().to_vec();
            if self.engine.handle_request(at(now), client, seq, body).is_err() {
                return;
            }
            self.seq += 1;
            self.waiting.remove(0);
        }
    }
    fn act(&mut self, now: u64, action: Action, out: &mut Vec<(Option<NodeId>, Message)>) {
        match action {
            Action::Send { to: Destination::All, message } => out.push((None, message)),
            Action::Send { to: Destination::Node(node), message } => {
                out.push((Some(node), message))
            }
            Action::Freeze { node, stint } => {
                let heard = self.heard.get(&node.get()).copied().unwrap_or(0);
                self.engine.handle_frozen(at(now), node, stint, at(heard + DEADLINE));
            }
            Action::StoreConfiguration { charter } => {
                self.engine.handle_configuration_stored(at(now), charter.edition());
            }
            Action::StoreEra { era } => self.engine.handle_era_stored(at(now), era),
            Action::Committed { entry, .. } => {
                if let EntryKind::Request { body, .. } = entry.kind {
                    self.committed.push(u64::from_le_bytes((&*body).try_into().unwrap()));
                }
            }
            Action::Superseded { .. } | Action::SaidOff | Action::Renumber { .. } => {
                panic!("nobody lost its memory: {action:?}")
            }
            _ => {}
        }
    }
}

impl Engine for Cluster {
    fn now(&self) -> u64 {
        self.now
    }
    fn nodes(&self) -> u8 {
        self.servers.len() as u8
    }
    fn step(&mut self) {
        self.now += 1;
        for node in 1..=self.nodes() {
            if !self.paused.contains(&node) {
                self.turn(node);
            }
        }
    }
    fn propose(&mut self, node: u8, value: u64) {
        if let Some(server) = self.servers.get_mut(&node) {
            server.waiting.push(value);
        }
    }
    fn leader(&self) -> Option<u8> {
        let leads = |(_, s): &(&u8, &Server)| s.engine.status() == Status::Primary;
        let newest = self.servers.iter().filter(leads).max_by_key(|(_, s)| s.engine.term());
        newest.map(|(node, _)| *node)
    }
    fn set_link(&mut self, from: u8, to: u8, up: bool) {
        self.links.set(from, to, up);
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
    fn heal(&mut self) {
        self.paused.clear();
        self.links.delay = 1;
        for (from, to) in Links::<()>::every_pair(self.nodes()) {
            self.set_link(from, to, true);
        }
    }
    fn committed(&self, node: u8) -> &[u64] {
        self.servers.get(&node).map_or(&[], |server| &server.committed)
    }
    fn picture(&self) -> String {
        let of = |(node, server): (&u8, &Server)| {
            let (status, term) = (server.engine.status(), server.engine.term());
            let (count, open) = (server.committed.len(), server.waiting.len());
            let waiting = server.engine.waiting();
            format!("{node}: {status:?} {term:?}, {count} committed, {open} open, {waiting:?}")
        };
        self.servers.iter().map(of).collect::<Vec<_>>().join("; ")
    }
}
