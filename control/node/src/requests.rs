//! Numbered requests on their way into the log, and the callers that wait for them.
//!
//! The agreement sends a request again until it is committed; this only numbers them, keeps those
//! that it does not take yet, and gives up on behalf of a caller (not of the request) after a
//! while.

use crate::command::CommandRefused;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::{Duration, Instant};
use services::{Body, client_of};
use wire::{ClientId, Configuration, Life, NodeId, Seq};

/// Most callers that wait at a time: a window of probes, and the operator's orders.
pub const CALLERS_MAX: usize = 80;
/// Most requests that wait to be numbered. A generation gives rise to a handful and the next one
/// needs an entry, so that 64 services stay below it.
pub const WAITING_MAX: usize = 512;
/// How long a caller waits.
pub const PATIENCE: Duration = Duration::from_millis(2_000);

#[derive(Clone, Copy, Debug)]
struct Caller {
    tag: u64,
    until: Instant,
}

/// All requests of this life.
#[derive(Clone, Debug)]
pub struct Requests {
    client: ClientId,
    last: u64,
    waiting: VecDeque<(Arc<[u8]>, Option<Caller>)>,
    numbered: BTreeMap<Seq, Option<Caller>>,
    fences: Vec<(NodeId, Caller)>,
    configurations: Vec<(Arc<Configuration>, Caller)>,
    dropped: u64,
}

impl Requests {
    /// None yet.
    #[must_use]
    pub fn new(me: Life) -> Self {
        Self {
            client: client_of(me),
            last: 0,
            waiting: VecDeque::new(),
            numbered: BTreeMap::new(),
            fences: Vec::new(),
            configurations: Vec::new(),
            dropped: 0,
        }
    }
    /// This life as a client.
    #[must_use]
    pub const fn client(&self) -> ClientId {
        self.client
    }
    /// Something this node itself has to say.
    pub fn say(&mut self, body: &Body) {
        self.push(body.encode(), None);
    }
    /// A caller's order.
    pub fn ask(&mut self, now: Instant, tag: u64, body: &Body) -> Result<(), CommandRefused> {
        let caller = self.caller(now, tag)?;
        self.push(body.encode(), Some(caller));
        Ok(())
    }
    /// A caller waits for a fence entry about `node`.
    pub fn await_fence(
        &mut self,
        now: Instant,
        tag: u64,
        node: NodeId,
    ) -> Result<(), CommandRefused> {
        let caller = self.caller(now, tag)?;
        self.fences.push((node, caller));
        Ok(())
    }
    /// A caller waits for a configuration to be agreed.
    pub fn await_configuration(
        &mut self,
        now: Instant,
        tag: u64,
        wanted: Arc<Configuration>,
    ) -> Result<(), CommandRefused> {
        let caller = self.caller(now, tag)?;
        self.configurations.push((wanted, caller));
        Ok(())
    }
    /// A configuration is committed: the tags of those that wait for its version, and whether it is theirs.
    pub fn configured(&mut self, agreed: &Configuration) -> Vec<(u64, bool)> {
        let due = |wanted: &Configuration| wanted.version <= agreed.version;
        let tags = self.configurations.iter().filter(|(wanted, _)| due(wanted));
        let tags = tags.map(|(wanted, c)| (c.tag, **wanted == *agreed)).collect();
        self.configurations.retain(|(wanted, _)| !due(wanted));
        tags
    }
    /// Offers the next waiting request; `take` says whether it was taken. True if it was.
    pub fn offer(&mut self, take: impl FnOnce(ClientId, Seq, Arc<[u8]>) -> bool) -> bool {
        let Some((body, caller)) = self.waiting.front() else { return false };
        let seq = Seq(self.last + 1);
        if !take(self.client, seq, body.clone()) {
            return false;
        }
        self.last = seq.0;
        self.numbered.insert(seq, *caller);
        self.waiting.pop_front();
        true
    }
    /// A request is committed: the tag of its caller, if it is ours and one waits.
    pub fn committed(&mut self, client: ClientId, seq: Seq) -> Option<u64> {
        if client != self.client {
            return None;
        }
        // What is below was applied before, or its commit came as a repetition: nobody waits for
        // it any more.
        let done = self.numbered.remove(&seq)?;
        done.map(|caller| caller.tag)
    }
    /// A snapshot says that all of this life's requests up to `applied` are: the tags of those that wait for them.
    pub fn installed(&mut self, applied: Seq) -> Vec<u64> {
        let later = self.numbered.split_off(&Seq(applied.0.saturating_add(1)));
        let done = core::mem::replace(&mut self.numbered, later);
        done.into_values().flatten().map(|caller| caller.tag).collect()
    }
    /// A fence entry is committed: the tags of those that wait for it.
    pub fn fenced(&mut self, node: NodeId) -> Vec<u64> {
        let tags = self.fences.iter().filter(|(n, _)| *n == node).map(|(_, c)| c.tag).collect();
        self.fences.retain(|(n, _)| *n != node);
        tags
    }
    /// Tags of callers that have waited long enough; the requests themselves stay.
    pub fn expired(&mut self, now: Instant) -> Vec<u64> {
        let mut tags = Vec::new();
        let mut expire = |caller: &mut Option<Caller>| {
            if let Some(c) = caller.filter(|c| now >= c.until) {
                tags.push(c.tag);
                *caller = None;
            }
        };
        self.numbered.values_mut().for_each(&mut expire);
        self.waiting.iter_mut().for_each(|(_, caller)| expire(caller));
        tags.extend(self.fences.iter().filter(|(_, c)| now >= c.until).map(|(_, c)| c.tag));
        self.fences.retain(|(_, c)| now < c.until);
        let late = self.configurations.iter().filter(|(_, c)| now >= c.until);
        tags.extend(late.map(|(_, c)| c.tag));
        self.configurations.retain(|(_, c)| now < c.until);
        tags
    }
    /// When the next caller gives up.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.callers().map(|c| c.until).min()
    }
    /// Requests that are not committed yet.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.waiting.len() + self.numbered.len()
    }
    /// Requests that found no place.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    fn caller(&self, now: Instant, tag: u64) -> Result<Caller, CommandRefused> {
        if self.callers().count() >= CALLERS_MAX {
            return Err(CommandRefused::Busy);
        }
        Ok(Caller { tag, until: now + PATIENCE })
    }
    fn callers(&self) -> impl Iterator<Item = Caller> + '_ {
        let fences = self.fences.iter().map(|(_, c)| *c);
        let waiting = self.waiting.iter().filter_map(|(_, c)| *c);
        let configurations = self.configurations.iter().map(|(_, c)| *c);
        self.numbered.values().copied().flatten().chain(waiting).chain(fences).chain(configurations)
    }
    fn push(&mut self, body: Vec<u8>, caller: Option<Caller>) {
        if self.waiting.len() >= WAITING_MAX {
            self.dropped += 1;
        } else {
            self.waiting.push_back((body.into(), caller));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CALLERS_MAX, PATIENCE, Requests};
    use crate::command::CommandRefused;
    use base::{Duration, Instant};
    use services::{Body, client_of};
    use wire::{Incarnation, Life, NodeId, Seq, ServiceId};

    fn me() -> Life {
        Life { node: NodeId::new(1).unwrap(), incarnation: Incarnation(4) }
    }

    fn body() -> Body {
        Body::ClearFailures { service: ServiceId(0) }
    }

    #[test]
    fn numbers_are_given_only_to_what_is_taken() {
        let mut requests = Requests::new(me());
        requests.say(&body());
        requests.ask(Instant(0), 77, &body()).unwrap();
        assert!(!requests.offer(|_, _, _| false));
        let mut seqs = Vec::new();
        while requests.offer(|_, seq, _| {
            seqs.push(seq);
            true
        }) {}
        assert_eq!(seqs, [Seq(1), Seq(2)]);
        assert_eq!(requests.committed(client_of(me()), Seq(1)), None);
        assert_eq!(requests.committed(client_of(me()), Seq(2)), Some(77));
        assert_eq!(requests.committed(client_of(me()), Seq(2)), None, "answered once");
        assert_eq!(requests.outstanding(), 0);
    }

    #[test]
    fn a_caller_gives_up_but_the_request_stays() {
        let mut requests = Requests::new(me());
        requests.ask(Instant(5), 77, &body()).unwrap();
        assert_eq!(requests.deadline(), Some(Instant(5) + PATIENCE));
        assert!(requests.expired(Instant(5) + PATIENCE - Duration(1)).is_empty());
        assert_eq!(requests.expired(Instant(5) + PATIENCE), [77]);
        assert_eq!((requests.outstanding(), requests.deadline()), (1, None));
    }

    #[test]
    fn callers_are_bounded() {
        let mut requests = Requests::new(me());
        for tag in 0..CALLERS_MAX as u64 {
            requests.await_fence(Instant(0), tag, me().node).unwrap();
        }
        assert_eq!(requests.ask(Instant(0), 99, &body()), Err(CommandRefused::Busy));
        assert_eq!(requests.fenced(me().node).len(), CALLERS_MAX);
        assert_eq!(requests.ask(Instant(0), 99, &body()), Ok(()));
    }
}
