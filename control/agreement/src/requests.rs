//! Numbered requests (PROTOCOL 2, Client): forwarded to the primary, sent again until committed, applied once.
//!
//! A client numbers its requests from 1 without gaps. The primary takes them in that order only. What comes too early (the
//! one before it may take the stream), or while too much waits for its commit, waits for its turn, as far as there is room and
//! as long as its sender repeats it.

use crate::api::{Destination, OUTSTANDING_MAX, Refusal, Status};
use crate::clients::Clients;
use crate::replica::Agreement;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::{Duration, Instant};
use wire::entry::{BODY_MAX, FenceProof};
use wire::message::Order;
use wire::{ClientId, Entry, EntryKind, Life, Message, NodeId, Op, Seq, Term};

/// Most orders of the operator that wait.
const ORDERS_MAX: usize = 16;
/// How long an order is repeated before it is dropped.
const ORDER_PATIENCE: Duration = Duration::from_millis(2_000);

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Outstanding {
    client: ClientId,
    seq: Seq,
    body: Arc<[u8]>,
    /// The term whose primary has been told.
    told: Option<Term>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct PendingOrder {
    life: Life,
    order: Order,
    until: Instant,
    told: Option<Term>,
}

/// Requests of this node, the client table, and the operator's orders.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Requests {
    outstanding: VecDeque<Outstanding>,
    clients: Clients,
    /// Highest number that stands in the log uncommitted, of each client that has one there.
    appended: BTreeMap<ClientId, Seq>,
    orders: Vec<PendingOrder>,
    /// As primary: what others asked and cannot be proposed yet (R-BARRIER, its number, back-pressure). Those of one client
    /// are in the order of their numbers.
    held: VecDeque<Held>,
}

/// A request of another node, as it came.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Held {
    client: ClientId,
    seq: Seq,
    first: Seq,
    body: Arc<[u8]>,
    /// Its sender would have repeated it by then.
    until: Instant,
}

impl Requests {
    /// True if requests of others wait here.
    pub(crate) fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }
    /// True if the operator's orders wait here.
    pub(crate) fn has_orders(&self) -> bool {
        !self.orders.is_empty()
    }
    /// Out of office: whoever asked asks the next primary.
    pub(crate) fn leave_office(&mut self) {
        self.held.clear();
    }

    /// An entry stands in the log.
    pub(crate) fn appended(&mut self, entry: &Entry) {
        if let EntryKind::Request { client, seq, .. } = entry.kind {
            let known = self.appended.entry(client).or_default();
            *known = seq.max(*known);
        }
    }

    /// The log was cut; `tail` is what it still holds uncommitted.
    pub(crate) fn truncated<'a>(&mut self, tail: impl Iterator<Item = &'a Entry>) {
        self.appended.clear();
        tail.for_each(|entry| self.appended(entry));
    }

    /// An entry is committed. A request that was applied before becomes a Noop for all above.
    pub(crate) fn committed(&mut self, op: Op, entry: &mut Entry) {
        match entry.kind {
            EntryKind::Request { client, seq, .. } => {
                if !self.clients.apply(op, client, seq) {
                    entry.kind = EntryKind::Noop;
                }
                if self.appended.get(&client).is_some_and(|last| *last <= seq) {
                    self.appended.remove(&client);
                }
                self.outstanding.retain(|o| o.client != client || o.seq > seq);
            }
            EntryKind::Fenced { node, incarnation, .. } => {
                let life = Life { node, incarnation };
                self.orders.retain(|o| o.order != Order::Fenced || o.life != life);
            }
            EntryKind::Remove { node, incarnation, .. } => {
                let life = Life { node, incarnation };
                self.orders.retain(|o| o.order != Order::Remove || o.life != life);
            }
            _ => {}
        }
    }

    /// The log begins anew; what is outstanding is asked again.
    pub(crate) fn new_era(&mut self) {
        self.clients = Clients::default();
        self.appended.clear();
        self.resend();
    }

    /// Everything is told again.
    pub(crate) fn resend(&mut self) {
        self.outstanding.iter_mut().for_each(|o| o.told = None);
        self.orders.iter_mut().for_each(|o| o.told = None);
    }

    pub(crate) fn is_waiting(&self) -> bool {
        !self.outstanding.is_empty() || !self.orders.is_empty()
    }

    /// True if the operator ordered this life's removal.
    pub(crate) fn wants_removed(&self, life: Life) -> bool {
        self.orders.iter().any(|o| o.life == life && o.order == Order::Remove)
    }

    /// What is applied of each client.
    pub(crate) const fn clients(&self) -> &Clients {
        &self.clients
    }

    /// A snapshot takes the place of the log, with this table.
    pub(crate) fn installed(&mut self, clients: Clients) {
        self.outstanding.retain(|o| o.seq > clients.applied(o.client));
        self.clients = clients;
        self.appended.clear();
        self.resend();
    }

    /// The number that comes next of a client whose requests before `first` are done with.
    fn next_of(&self, client: ClientId, first: Seq) -> Seq {
        let known = self.appended.get(&client).copied().unwrap_or_default();
        let known = known.max(self.clients.applied(client));
        Seq(known.0.max(first.0.saturating_sub(1)).saturating_add(1))
    }

    /// Keeps what cannot be proposed yet, if there is room: the sender repeats what is dropped.
    fn hold(&mut self, held: Held, most_bytes: usize) {
        let same = |h: &&mut Held| (h.client, h.seq) == (held.client, held.seq);
        if let Some(known) = self.held.iter_mut().find(same) {
            (known.first, known.until) = (held.first, held.until);
            return;
        }
        let bytes = self.held.iter().map(|h| h.body.len()).sum::<usize>() + held.body.len();
        if self.held.len() >= OUTSTANDING_MAX || !self.held.is_empty() && bytes > most_bytes {
            return;
        }
        let after = |h: &Held| h.client == held.client && h.seq > held.seq;
        let at = self.held.iter().position(after).unwrap_or(self.held.len());
        self.held.insert(at, held);
    }

    fn is_applied(&self, client: ClientId, seq: Seq) -> bool {
        seq <= self.clients.applied(client)
    }

    fn first_of(&self, client: ClientId) -> Seq {
        let mine = self.outstanding.iter().filter(|o| o.client == client);
        mine.map(|o| o.seq).min().unwrap_or_default()
    }
}

impl Agreement {
    /// A request of this node. Repeating one is allowed: it is applied once.
    pub fn handle_request(
        &mut self,
        now: Instant,
        client: ClientId,
        seq: Seq,
        body: impl Into<Arc<[u8]>>,
    ) -> Result<(), Refusal> {
        let body = body.into();
        if body.len() > BODY_MAX {
            return Err(Refusal::TooLarge);
        }
        let known = self.requests.outstanding.iter().any(|o| (o.client, o.seq) == (client, seq));
        if known || self.has_ended() || self.requests.is_applied(client, seq) {
            return Ok(());
        }
        if self.is_busy() {
            return Err(Refusal::Busy);
        }
        if self.requests.outstanding.len() >= OUTSTANDING_MAX {
            return Err(Refusal::TooMany);
        }
        self.requests.outstanding.push_back(Outstanding { client, seq, body, told: None });
        self.settle_calmly(now);
        Ok(())
    }

    /// Highest number applied of a client, by the committed log; 0 if none is known.
    #[must_use]
    pub fn applied(&self, client: ClientId) -> Seq {
        self.requests.clients.applied(client)
    }

    /// True while so much waits for its commit that requests are refused ([`Refusal::Busy`]). What the agreement itself
    /// proposes is not: removals and admissions are few, and without them nothing would ever commit again.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        let limits = &self.settings.limits;
        let waiting = self.log.op().0.saturating_sub(self.commit.0);
        waiting >= limits.waiting || self.tail_bytes >= limits.waiting_bytes
    }

    /// The operator wants a member out.
    pub fn handle_removal_order(&mut self, now: Instant, node: NodeId) {
        self.take_order(now, node, Order::Remove);
    }

    /// The operator asserts that a node is off: `Fenced`, with that as its evidence. Of a pair it is what the survivor
    /// goes on with (R-FENCE), at once or not at all: [`Agreement::check_fenced_order`] says which.
    pub fn handle_fenced_order(&mut self, now: Instant, node: NodeId) {
        if self.needs_evidence(node) {
            self.take_evidence(now, node);
        } else {
            self.take_order(now, node, Order::Fenced);
        }
    }

    fn take_order(&mut self, now: Instant, node: NodeId, order: Order) {
        // Off may also be said of a node that this era has not seen: services wait for that (S3).
        let unseen = (order == Order::Fenced).then(|| self.newest(node));
        let seat = self.committed.seat(node).map(|seat| seat.life(node));
        let Some(life) = seat.or(unseen).filter(|_| !self.has_ended()) else { return };
        self.on_order(now, life, order);
        self.settle(now);
    }

    pub(crate) fn on_order(&mut self, now: Instant, life: Life, order: Order) {
        let orders = &mut self.requests.orders;
        let known = orders.iter().any(|o| o.life == life && o.order == order);
        let pointless = order == Order::Remove && !self.committed.stint(life).is_member();
        if !known && !pointless && orders.len() < ORDERS_MAX {
            let until = now + ORDER_PATIENCE;
            orders.push(PendingOrder { life, order, until, told: None });
        }
    }

    pub(crate) fn on_request(
        &mut self,
        now: Instant,
        (client, seq, first): (ClientId, Seq, Seq),
        body: Arc<[u8]>,
    ) {
        if self.status != Status::Primary || self.commit < self.office.first {
            return;
        }
        let until = self.held_until(now);
        let asked = Held { client, seq, first, body, until };
        if self.is_barred() {
            self.hold(asked);
        } else if let Some(later) = self.take_request(now, asked) {
            self.hold(later);
        }
    }

    /// Who asks repeats it each deadline.
    fn held_until(&self, now: Instant) -> Instant {
        now + self.slowest() * 2
    }

    fn hold(&mut self, asked: Held) {
        self.calm = false;
        self.requests.hold(asked, self.settings.limits.waiting_bytes);
    }

    /// As primary: appends a request that is its client's next, and gives a later one back. What is done with is dropped.
    fn take_request(&mut self, now: Instant, asked: Held) -> Option<Held> {
        let next = self.requests.next_of(asked.client, asked.first);
        if asked.body.len() > BODY_MAX || asked.seq < next {
            return None;
        }
        if asked.seq > next || self.is_busy() {
            return Some(asked);
        }
        let Held { client, seq, body, .. } = asked;
        self.propose(now, EntryKind::Request { client, seq, body });
        None
    }

    /// As primary in office: takes the requests of this node, and those that waited.
    pub(crate) fn propose_requests(&mut self, now: Instant) {
        let until = self.held_until(now);
        let untold = |o: &&Outstanding| o.told != Some(self.term);
        let held = |o: &Outstanding| Held {
            client: o.client,
            seq: o.seq,
            first: self.requests.first_of(o.client),
            body: o.body.clone(),
            until,
        };
        let own: Vec<Held> = self.requests.outstanding.iter().filter(untold).map(held).collect();
        let later: Vec<Held> =
            own.into_iter().filter_map(|own| self.take_request(now, own)).collect();
        for held in core::mem::take(&mut self.requests.held) {
            if held.until > now
                && let Some(later) = self.take_request(now, held)
            {
                self.requests.held.push_back(later);
            }
        }
        later.into_iter().for_each(|own| self.hold(own));
        let term = self.term;
        self.requests.outstanding.iter_mut().for_each(|o| o.told = Some(term));
    }

    /// As primary in office: `Fenced` for whom the operator says is off, once it is no member.
    pub(crate) fn propose_orders(&mut self, now: Instant) {
        self.requests.orders.retain(|o| o.until > now);
        let due: Vec<Life> = self
            .requests
            .orders
            .iter()
            .filter(|o| o.order == Order::Fenced && !self.latest.stint(o.life).is_member())
            .map(|o| o.life)
            .collect();
        for Life { node, incarnation } in due {
            let proof = FenceProof::Operator;
            let kind = EntryKind::Fenced { node, incarnation, proof };
            if !self.log.after(self.commit).any(|(_, entry)| entry.kind == kind) {
                self.propose(now, kind);
            }
        }
    }

    /// Sends what the present primary has not been told.
    pub(crate) fn forward_requests(&mut self, now: Instant) {
        self.requests.orders.retain(|o| o.until > now);
        self.forward_configuration(now);
        let Some(primary) = self.primary_elsewhere().filter(|_| self.requests.is_waiting()) else {
            return;
        };
        let term = Some(self.term);
        let mut messages = Vec::new();
        for o in self.requests.outstanding.iter().filter(|o| o.told != term) {
            let first = self.requests.first_of(o.client);
            let (client, seq, body) = (o.client, o.seq, o.body.clone());
            messages.push(Message::Request { client, seq, first, body });
        }
        for o in self.requests.orders.iter().filter(|o| o.told != term) {
            messages.push(Message::Order { life: o.life, order: o.order });
        }
        self.requests.outstanding.iter_mut().for_each(|o| o.told = term);
        self.requests.orders.iter_mut().for_each(|o| o.told = term);
        for message in messages {
            self.send(Destination::Node(primary), message);
        }
    }
}
