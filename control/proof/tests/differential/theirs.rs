//! OmniPaxos with its log in memory.

use crate::engine::{Cluster, Server};
use omnipaxos::ballot_leader_election::Ballot;
use omnipaxos::messages::Message;
use omnipaxos::storage::{Entry, NoSnapshot, StopSign, Storage, StorageOp, StorageResult};
use omnipaxos::util::LogEntry;
use omnipaxos::{ClusterConfig, OmniPaxos, ServerConfig};
use std::collections::BTreeMap;

/// A proposal that is not committed at its node is proposed again after so many milliseconds.
const RETRY: u64 = 200;
/// Milliseconds between two ticks, and ticks of silence until another leader is elected.
const TICK: u64 = 10;
const ELECTION: u64 = 3;

/// A proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value(u64);

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

/// One node of theirs.
pub(crate) struct Theirs {
    node: u8,
    engine: OmniPaxos<Value, Memory>,
    committed: Vec<u64>,
    /// Values that are proposed here and not committed here, with the time of the last try.
    open: BTreeMap<u64, u64>,
}

/// A cluster of so many.
pub(crate) fn cluster(nodes: u8) -> Cluster<Theirs> {
    let cluster = ClusterConfig {
        configuration_id: 1,
        nodes: (1..=u64::from(nodes)).collect(),
        ..ClusterConfig::default()
    };
    Cluster::of(nodes, |node| {
        let config = ServerConfig {
            pid: u64::from(node),
            election_tick_timeout: ELECTION,
            resend_message_tick_timeout: 5,
            ..ServerConfig::default()
        };
        let engine = cluster.clone().build_for_server(config, Memory::default()).unwrap();
        Theirs { node, engine, committed: Vec::new(), open: BTreeMap::new() }
    })
}

impl Server for Theirs {
    type Message = Message<Value>;
    type Rank = ();

    fn turn(&mut self, now: u64, due: Vec<(u8, Message<Value>)>) -> Vec<(u8, Message<Value>)> {
        for (_, message) in due {
            self.engine.handle_incoming(message);
        }
        if now.is_multiple_of(TICK) {
            self.engine.tick();
        }
        let known = self.committed.len();
        for entry in self.engine.read_decided_suffix(known).unwrap_or_default() {
            if let LogEntry::Decided(value) = entry {
                self.committed.push(value.0);
                self.open.remove(&value.0);
            }
        }
        for (value, tried) in &mut self.open {
            if now >= *tried + RETRY {
                *tried = now;
                let _ = self.engine.append(Value(*value));
            }
        }
        let mut out = Vec::new();
        self.engine.take_outgoing_messages(&mut out);
        let to = |message: &Message<Value>| u8::try_from(message.get_receiver()).unwrap();
        out.into_iter().map(|message| (to(&message), message)).collect()
    }
    fn propose(&mut self, now: u64, value: u64) {
        self.open.insert(value, now);
        let _ = self.engine.append(Value(value));
    }
    fn leads(&self) -> Option<()> {
        let (leader, decided) = self.engine.get_current_leader()?;
        (leader == u64::from(self.node) && decided).then_some(())
    }
    fn mended(&mut self, peer: u8) {
        self.engine.reconnected(u64::from(peer));
    }
    fn committed(&self) -> &[u64] {
        &self.committed
    }
    fn picture(&self) -> String {
        let (leader, count) = (self.engine.get_current_leader(), self.committed.len());
        format!("leader {leader:?}, {count} committed, open {:?}", self.open)
    }
}
