//! Our agreement with a stand-in for the fast path: beats on the same links, a deadline, and its
//! answer to a freeze.

use crate::engine::{Cluster, Server};
use agreement::{Action, Agreement, Destination, Settings, Status};
use base::{Duration, Instant};
use std::collections::{BTreeMap, BTreeSet};
use wire::{
    Charter, ClientId, EntryKind, Incarnation, Life, Message, NodeId, NodeSet, Seq, Stint, Term,
};

const INTERVAL: u64 = 10;
const DEADLINE: u64 = 30;

fn id(n: u8) -> NodeId {
    NodeId::new(n).unwrap()
}

fn life(n: u8) -> Life {
    Life { node: id(n), incarnation: Incarnation(1) }
}

/// What goes over a link.
pub(crate) enum Packet {
    Beat,
    Agreed(Box<Message>),
}

/// One node of ours.
pub(crate) struct Ours {
    node: u8,
    nodes: u8,
    engine: Agreement,
    committed: Vec<u64>,
    heard: BTreeMap<u8, u64>,
    suspected: BTreeSet<u8>,
    /// Values that the engine has not taken yet.
    waiting: Vec<u64>,
    seq: u64,
    awake: u64,
}

const fn at(ms: u64) -> Instant {
    Instant(1_000_000_000 + ms * 1_000_000)
}

/// A cluster of so many.
pub(crate) fn cluster(nodes: u8) -> Cluster<Ours> {
    Cluster::of(nodes, |node| Ours::new(node, nodes))
}

impl Ours {
    fn new(node: u8, nodes: u8) -> Self {
        let settings = Settings {
            me: life(node),
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
        Self {
            node,
            nodes,
            engine: Agreement::new(settings, at(0)),
            committed: Vec::new(),
            heard: BTreeMap::new(),
            suspected: BTreeSet::new(),
            waiting: Vec::new(),
            seq: 0,
            awake: 0,
        }
    }

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
    fn ask(&mut self, now: u64) {
        while let Some(value) = self.waiting.first().copied() {
            let (client, seq) = (ClientId(u64::from(self.node)), Seq(self.seq + 1));
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

impl Server for Ours {
    type Message = Packet;
    type Rank = Term;

    fn turn(&mut self, now: u64, due: Vec<(u8, Packet)>) -> Vec<(u8, Packet)> {
        if now > self.awake + DEADLINE {
            // The sleeper accuses nobody (S10).
            self.heard.values_mut().for_each(|heard| *heard = now);
        }
        self.awake = now;
        for (from, packet) in due {
            match packet {
                Packet::Beat => self.hear(now, from),
                Packet::Agreed(message) => {
                    self.engine.handle_message(at(now), life(from), *message);
                }
            }
        }
        self.judge(now);
        self.ask(now);
        if self.engine.poll_deadline().is_some_and(|due| due <= at(now)) {
            self.engine.handle_timeout(at(now));
        }
        let mut said = Vec::new();
        while let Some(action) = self.engine.poll_action() {
            self.act(now, action, &mut said);
        }
        let others = || (1..=self.nodes).filter(|to| *to != self.node);
        let mut out = Vec::new();
        if now % INTERVAL == u64::from(self.node) {
            out.extend(others().map(|to| (to, Packet::Beat)));
        }
        for (to, message) in said {
            let heard = others().filter(|other| to.is_none_or(|to| to == id(*other)));
            out.extend(heard.map(|other| (other, Packet::Agreed(Box::new(message.clone())))));
        }
        out
    }
    fn propose(&mut self, _: u64, value: u64) {
        self.waiting.push(value);
    }
    fn leads(&self) -> Option<Term> {
        (self.engine.status() == Status::Primary).then(|| self.engine.term())
    }
    /// It does not ask whether a link was down.
    fn mended(&mut self, _: u8) {}
    fn committed(&self) -> &[u64] {
        &self.committed
    }
    fn picture(&self) -> String {
        let (status, term) = (self.engine.status(), self.engine.term());
        let (count, open) = (self.committed.len(), self.waiting.len());
        format!("{status:?} {term:?}, {count} committed, {open} open, {:?}", self.engine.waiting())
    }
}
