//! OmniPaxos with its log in memory.

use crate::engine::{Engine, Links};
use omnipaxos::ballot_leader_election::Ballot;
use omnipaxos::messages::Message;
use omnipaxos::storage::{Entry, NoSnapshot, StopSign, Storage, StorageOp, StorageResult};
use omnipaxos::util::LogEntry;
use omnipaxos::{ClusterConfig, OmniPaxos, ServerConfig};
use std::collections::{BTreeMap, BTreeSet};

/// A proposal that is not committed at its node is proposed again after so many milliseconds.
const RETRY: u64 = 200;
/// Milliseconds between two ticks, and ticks of silence until another leader is elected.
const TICK: u64 = 10;
const ELECTION: u64 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Value(u64);

impl Entry for Value {
    type Snapshot = NoSnapshot;
}

/// What an acceptor remembers.
#[derive(Default)]
struct Memory {
    log: Vec<Value>,
    promise: Option<Ballot>,
    accepted: Option<Ballot>,
    decided: usize,
    stop: Option<StopSign>,
    compacted: usize,
}

impl Storage<Value> for Memory {
    fn write_atomically(&mut self, ops: Vec<StorageOp<Value>>) -> StorageResult<()> {
        for op in ops {
            match op {
                StorageOp::AppendEntry(entry) => self.append_entry(entry)?,
                StorageOp::AppendEntries(entries) => self.append_entries(entries)?,
                StorageOp::AppendOnPrefix(from, entries) => self.append_on_prefix(from, entries)?,
                StorageOp::SetPromise(ballot) => self.set_promise(ballot)?,
                StorageOp::SetDecidedIndex(index) => self.set_decided_idx(index)?,
                StorageOp::SetAcceptedRound(ballot) => self.set_accepted_round(ballot)?,
                StorageOp::SetCompactedIdx(index) => self.set_compacted_idx(index)?,
                StorageOp::Trim(index) => self.trim(index)?,
                StorageOp::SetStopsign(stop) => self.set_stopsign(stop)?,
                StorageOp::SetSnapshot(snapshot) => self.set_snapshot(snapshot)?,
            }
        }
        Ok(())
    }
    fn append_entry(&mut self, entry: Value) -> StorageResult<()> {
        self.log.push(entry);
        Ok(())
    }
    fn append_entries(&mut self, entries: Vec<Value>) -> StorageResult<()> {
        self.log.extend(entries);
        Ok(())
    }
    fn append_on_prefix(&mut self, from: usize, entries: Vec<Value>) -> StorageResult<()> {
        self.log.truncate(from);
        self.log.extend(entries);
        Ok(())
    }
    fn set_promise(&mut self, ballot: Ballot) -> StorageResult<()> {
        self.promise = Some(ballot);
        Ok(())
    }
    fn set_decided_idx(&mut self, index: usize) -> StorageResult<()> {
        self.decided = index;
        Ok(())
    }
    fn get_decided_idx(&self) -> StorageResult<usize> {
        Ok(self.decided)
    }
    fn set_accepted_round(&mut self, ballot: Ballot) -> StorageResult<()> {
        self.accepted = Some(ballot);
        Ok(())
    }
    fn get_accepted_round(&self) -> StorageResult<Option<Ballot>> {
        Ok(self.accepted)
    }
    fn get_entries(&self, from: usize, to: usize) -> StorageResult<Vec<Value>> {
        Ok(self.log.get(from..to).unwrap_or_default().to_vec())
    }
    fn get_log_len(&self) -> StorageResult<usize> {
        Ok(self.log.len())
    }
    fn get_suffix(&self, from: usize) -> StorageResult<Vec<Value>> {
        Ok(self.log.get(from..).unwrap_or_default().to_vec())
    }
    fn get_promise(&self) -> StorageResult<Option<Ballot>> {
        Ok(self.promise)
    }
    fn set_stopsign(&mut self, stop: Option<StopSign>) -> StorageResult<()> {
        self.stop = stop;
        Ok(())
    }
    fn get_stopsign(&self) -> StorageResult<Option<StopSign>> {
        Ok(self.stop.clone())
    }
    fn trim(&mut self, _: usize) -> StorageResult<()> {
        Err("nothing is trimmed here".into())
    }
    fn set_compacted_idx(&mut self, index: usize) -> StorageResult<()> {
        self.compacted = index;
        Ok(())
    }
    fn get_compacted_idx(&self) -> StorageResult<usize> {
        Ok(self.compacted)
    }
    fn set_snapshot(&mut self, _: Option<NoSnapshot>) -> StorageResult<()> {
        Ok(())
    }
    fn get_snapshot(&self) -> StorageResult<Option<NoSnapshot>> {
        Ok(None)
    }
}

struct Server {
    engine: OmniPaxos<Value, Memory>,
    committed: Vec<u64>,
    /// Values that are proposed here and not committed here, with the time of the last try.
    open: BTreeMap<u64, u64>,
}

pub(crate) struct Cluster {
    now: u64,
    servers: BTreeMap<u8, Server>,
    links: Links<Message<Value>>,
    paused: BTreeSet<u8>,
}

impl Cluster {
    pub(crate) fn new(nodes: u8) -> Self {
        let cluster = ClusterConfig {
            configuration_id: 1,
            nodes: (1..=u64::from(nodes)).collect(),
            ..ClusterConfig::default()
        };
        let server = |node: u8| {
            let config = ServerConfig {
                pid: u64::from(node),
                election_tick_timeout: ELECTION,
                resend_message_tick_timeout: 5,
                ..ServerConfig::default()
            };
            let engine = cluster.clone().build_for_server(config, Memory::default()).unwrap();
            (node, Server { engine, committed: Vec::new(), open: BTreeMap::new() })
        };
        let servers = (1..=nodes).map(server).collect();
        Self { now: 0, servers, links: Links::new(), paused: BTreeSet::new() }
    }

    fn turn(&mut self, node: u8) {
        let (now, due) = (self.now, self.links.due(self.now, node));
        let Some(server) = self.servers.get_mut(&node) else { return };
        for (_, message) in due {
            server.engine.handle_incoming(message);
        }
        if now % TICK == 0 {
            server.engine.tick();
        }
        let known = server.committed.len();
        for entry in server.engine.read_decided_suffix(known).unwrap_or_default() {
            if let LogEntry::Decided(value) = entry {
                server.committed.push(value.0);
                server.open.remove(&value.0);
            }
        }
        for (value, tried) in &mut server.open {
            if now >= *tried + RETRY {
                *tried = now;
                let _ = server.engine.append(Value(*value));
            }
        }
        let mut out = Vec::new();
        server.engine.take_outgoing_messages(&mut out);
        for message in out {
            let to = u8::try_from(message.get_receiver()).unwrap();
            self.links.send(now, node, to, message);
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
        let now = self.now;
        if let Some(server) = self.servers.get_mut(&node) {
            server.open.insert(value, now);
            let _ = server.engine.append(Value(value));
        }
    }
    fn leader(&self) -> Option<u8> {
        let leads = |(node, server): (&u8, &Server)| {
            let (leader, decided) = server.engine.get_current_leader()?;
            (leader == u64::from(*node) && decided).then_some(*node)
        };
        self.servers.iter().find_map(leads)
    }
    fn set_link(&mut self, from: u8, to: u8, up: bool) {
        if self.links.set(from, to, up) {
            // A new session of the link: both ends are told.
            for (at, of) in [(from, to), (to, from)] {
                if let Some(server) = self.servers.get_mut(&at) {
                    server.engine.reconnected(u64::from(of));
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
            let (leader, open) = (server.engine.get_current_leader(), &server.open);
            format!(
                "{node}: leader {leader:?}, {} committed, open {open:?}",
                server.committed.len()
            )
        };
        self.servers.iter().map(of).collect::<Vec<_>>().join("; ")
    }
}
