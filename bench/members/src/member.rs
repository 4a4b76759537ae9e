//! One node: the two cores with a socket each, as its two daemons have them. They share the board and a ring; all else
//! of the daemons (gate, drivers, disk, local socket) is left out.

use crate::costs::Costs;
use crate::shared::{Seen, Shared};
use base::{Duration, Instant};
use heartbeat::{Action as FastAction, Board, Event, EventKind, Heartbeat, Receipt};
use link::{Arrival, BATCH, Destination, Link, OpenError, UdpLink};
use membership::Names;
use node::{Action, Node};
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use testbed::os;
use testbed::waiter::Waiter;
use wire::codec::Writer;
use wire::frame::{self, FRAME_MAX};
use wire::{
    Beat, Charter, ClusterId, EchoBody, Header, Incarnation, Kind, Life, LinkId, Message, NodeId,
    NodeSet, Nonce, Obituary, Replay, Seal, Seq, Stint,
};

/// The heartbeats' port; the agreement's comes after it.
const PORT: u16 = 47_010;
/// Batches taken from a socket in one turn, as the daemons do it.
const FAST_BATCHES: usize = 16;
const CONTROL_BATCHES: usize = 4;
/// Clock rate, margin: as the daemons have them.
const RATE_PPM: u32 = 1_000;
const MARGIN: Duration = Duration::from_micros(50);
/// There is no stream here: a snapshot's slices fit datagrams.
const SLICE: usize = 8 * 1024;

const SEAL: Seal =
    Seal { cluster: ClusterId(0xBE7), key: [11; 32], key_id: 1, config_hash: 5, level: 1 };

/// What all nodes are told.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) nodes: NodeSet,
    pub(crate) interval: Duration,
    pub(crate) misses: u32,
    /// What the file says.
    pub(crate) charter: Charter,
}

impl Plan {
    pub(crate) fn deadline(&self) -> Duration {
        self.interval * u64::from(self.misses)
    }
}

/// What a node keeps on its disk from life to life.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    incarnation: u32,
    era: u32,
    charter: Option<Charter>,
}

/// A node that runs.
pub(crate) struct Member {
    board: Board,
    ring: VecDeque<Event>,
    fast: Fast,
    control: Control,
    /// Since the last time they were asked for.
    pub(crate) costs: Costs,
}

struct Fast {
    me: Life,
    heartbeat: Heartbeat,
    replay: Box<Replay>,
    link: UdpLink,
    place: usize,
    interval: Duration,
    due: Instant,
}

struct Control {
    me: Life,
    node: Node,
    replay: Box<Replay>,
    link: UdpLink,
    place: usize,
    seq: u64,
    body: Writer,
    frame: Vec<u8>,
    /// Its longest sleep.
    turn: Duration,
    due: Instant,
}

/// Where a node is on loopback.
fn address(node: NodeId, port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(127, 77, 0, node.get()), port))
}

fn open(me: NodeId, nodes: NodeSet, port: u16) -> Result<UdpLink, OpenError> {
    let peers = nodes.iter().filter(|node| *node != me);
    UdpLink::open(&link::Settings {
        id: LinkId(0),
        mode: link::Mode::Unicast,
        own: address(me, port),
        interface: 0,
        peers: peers.map(|node| (node, address(node, port))).collect(),
        frame_max: FRAME_MAX,
        stamped: false,
    })
}

impl Member {
    /// A new life of a node.
    pub(crate) fn start(plan: &Plan, node: NodeId, disk: &mut Disk) -> Result<Self, OpenError> {
        disk.incarnation += 1;
        let me = Life { node, incarnation: Incarnation(disk.incarnation) };
        let (interval, misses, now) = (plan.interval, plan.misses, os::now());
        let settings = heartbeat::Settings {
            me,
            interval,
            misses,
            rate_ppm: RATE_PPM,
            margin: MARGIN,
            links: 1,
            nodes: plan.nodes,
        };
        let agreement = agreement::Settings {
            me,
            charter: disk.charter.clone().unwrap_or_else(|| plan.charter.clone()),
            interval,
            misses,
            longest: plan.deadline(),
            rate_ppm: RATE_PPM,
            era_promised: disk.era,
            level: 1,
            limits: agreement::Limits { slice: SLICE, ..agreement::Limits::default() },
        };
        let names = Names::new(plan.nodes.iter().map(|n| (n, format!("n{n}"))));
        let settings_of_node = node::Settings { agreement, services: Vec::new(), names };
        let replay = || Box::new(Replay::new(node, plan.nodes));
        Ok(Self {
            board: Board::default(),
            ring: VecDeque::new(),
            fast: Fast {
                me,
                heartbeat: Heartbeat::new(settings, now),
                replay: replay(),
                link: open(node, plan.nodes, PORT)?,
                place: usize::MAX,
                interval,
                due: now,
            },
            control: Control {
                me,
                node: Node::new(settings_of_node, now),
                replay: replay(),
                link: open(node, plan.nodes, PORT + 1)?,
                place: usize::MAX,
                seq: 0,
                body: Writer::new(),
                frame: vec![0; FRAME_MAX],
                turn: interval / 4,
                due: now,
            },
            costs: Costs::default(),
        })
    }

    /// What it waits for.
    pub(crate) fn watch(&mut self, waiter: &mut Waiter) {
        self.fast.place = waiter.add(&self.fast.link.fd());
        self.control.place = waiter.add(&self.control.link.fd());
    }

    /// When it wants a turn at the latest.
    pub(crate) fn due(&self) -> Instant {
        let told = if self.ring.is_empty() { Instant::MAX } else { Instant::ZERO };
        self.fast.due.min(self.control.due).min(told)
    }

    /// A turn of each process that has something to do.
    pub(crate) fn turn(&mut self, waiter: &Waiter, disk: &mut Disk, shared: &Shared) {
        let Self { board, ring, fast, control, costs } = self;
        if waiter.ready(fast.place) || os::now() >= fast.due {
            fast.turn(waiter.ready(fast.place), board, ring, costs);
        }
        if waiter.ready(control.place) || !ring.is_empty() || os::now() >= control.due {
            control.turn(board, ring, disk, costs, shared);
        }
    }

    /// Hands over what it has cost, and begins to count anew.
    pub(crate) fn take_costs(&mut self) -> Costs {
        let mut costs = std::mem::take(&mut self.costs);
        costs.node = self.control.me.node.get();
        costs
    }
}

fn header(kind: Kind, from: Life, seq: Seq) -> Header {
    Header { kind, from, nonce: Nonce(u64::from(from.incarnation.0)), link: LinkId(0), seq }
}

impl Fast {
    fn turn(&mut self, ready: bool, board: &Board, ring: &mut VecDeque<Event>, costs: &mut Costs) {
        let (began, woke) = (os::thread_time(), os::now());
        let late = woke.since(self.due);
        let stalled = late > self.interval / 2;
        let mut heard = 0;
        if ready || stalled {
            heard = self.receive(board);
        }
        let now = os::now();
        if stalled {
            costs.stalls += 1;
            self.heartbeat.handle_stall(now, late);
        }
        let received = os::thread_time();
        costs.heard(heard, received.saturating_sub(began));
        self.heartbeat.handle_timeout(now, board);
        while let Some(action) = self.heartbeat.poll_action() {
            match action {
                FastAction::Beat => {
                    let before = os::thread_time();
                    let (seq, beat) = self.heartbeat.fill_beat(os::now(), board);
                    let mut body = [0; wire::beat::BEAT_MAX];
                    let length =
                        self.send(Destination::All, Kind::Beat, seq, beat.encode(&mut body));
                    costs.beat(length, os::thread_time().saturating_sub(before));
                }
                FastAction::Answer { to, echo, .. } => {
                    let seq = self.heartbeat.next_seq();
                    self.send(Destination::Node(to), Kind::Echo, seq, &echo.encode());
                }
                FastAction::Obituary(obituary) => {
                    let seq = self.heartbeat.next_seq();
                    self.send(Destination::All, Kind::Obituary, seq, &obituary.encode());
                }
                FastAction::Tell(event) => ring.push_back(event),
                FastAction::Stop => {}
            }
        }
        self.due = self.heartbeat.poll_deadline().unwrap_or(Instant::MAX);
        costs.fast = costs.fast + os::thread_time().saturating_sub(began);
    }

    /// Returns how many frames came.
    fn receive(&mut self, board: &Board) -> usize {
        let Self { heartbeat, replay, link, .. } = self;
        let mut heard = 0;
        for _ in 0..FAST_BATCHES {
            let taken = link.receive(&mut |Arrival { frame: bytes, .. }| {
                let Ok((header, body)) = frame::open(&SEAL, LinkId(0), bytes) else { return None };
                let now = os::now();
                if let Err(reason) = replay.take(&header) {
                    heartbeat.handle_disorder(header.from.node, LinkId(0), reason);
                    return None;
                }
                heard += 1;
                let from = header.from;
                match header.kind {
                    Kind::Beat => {
                        if let Ok(beat) = Beat::decode(body) {
                            let receipt = Receipt::at(LinkId(0), now);
                            heartbeat.handle_beat(receipt, from, header.seq, &beat, board);
                        }
                    }
                    Kind::Echo => {
                        if let Ok(echo) = EchoBody::decode(body) {
                            heartbeat.handle_echo(now, from, &echo, board);
                        }
                    }
                    Kind::Obituary => {
                        if let Ok(obituary) = Obituary::decode(body) {
                            heartbeat.handle_obituary(now, from, &obituary);
                        }
                    }
                    Kind::Agreement | Kind::Bulk => {}
                }
                None
            });
            if taken < BATCH {
                break;
            }
        }
        heard
    }

    /// Returns the length of the frame.
    fn send(&mut self, to: Destination, kind: Kind, seq: Seq, body: &[u8]) -> usize {
        let mut buffer = [0; FRAME_MAX];
        let header = header(kind, self.me, seq);
        let Some(frame) = frame::seal(&SEAL, &header, body, &mut buffer) else { return 0 };
        self.link.send(to, frame);
        frame.len()
    }
}

impl Control {
    fn turn(
        &mut self,
        board: &Board,
        ring: &mut VecDeque<Event>,
        disk: &mut Disk,
        costs: &mut Costs,
        shared: &Shared,
    ) {
        let (began, now) = (os::thread_time(), os::now());
        board.make_progress();
        self.node.handle_slowest(board.slowest());
        self.node.handle_lease(now, board.lease_end());
        for event in ring.drain(..) {
            if let EventKind::Suspected { life, .. } = event.kind {
                shared.note(Seen::Suspects { by: self.me.node, whom: life.node, at: event.at });
            }
            self.node.handle_event(now, event);
        }
        let more = self.receive(now, costs);
        self.node.handle_timeout(now);
        while let Some(action) = self.node.poll_action() {
            self.act(now, action, board, disk, (&mut *costs, shared));
        }
        if self.node.agreement().status() == agreement::Status::Primary {
            shared.leads(self.me.node);
        }
        let turn = os::now() + self.turn;
        let next = self.node.poll_deadline().map_or(turn, |at| at.min(turn));
        self.due = if more { Instant::ZERO } else { next };
        costs.control(os::thread_time().saturating_sub(began));
    }

    /// True if something may be left.
    fn receive(&mut self, now: Instant, costs: &mut Costs) -> bool {
        let Self { node, replay, link, .. } = self;
        let mut take = |Arrival { frame: bytes, .. }: Arrival<'_>| {
            let Ok((header, body)) = frame::open(&SEAL, LinkId(0), bytes) else { return None };
            if header.kind != Kind::Agreement || replay.take(&header).is_err() {
                return None;
            }
            costs.received += 1;
            if let Ok(message) = Message::decode(body) {
                node.handle_message(now, header.from, message);
            }
            None
        };
        (0..CONTROL_BATCHES).all(|_| link.receive(&mut take) >= BATCH)
    }

    fn act(
        &mut self,
        now: Instant,
        action: Action,
        board: &Board,
        disk: &mut Disk,
        (costs, shared): (&mut Costs, &Shared),
    ) {
        match action {
            Action::Send { to, message } => self.send(to, &message, costs),
            Action::Freeze { node, stint } => {
                let frozen = board.freeze(node, stint);
                self.node.handle_frozen(now, node, stint, frozen);
            }
            Action::Unfreeze { node } => board.unfreeze(node),
            Action::CloseLease { stint } => board.close(stint),
            Action::ReopenLease => board.reopen(),
            // Its disk answers at once.
            Action::StoreEra { era } => {
                disk.era = disk.era.max(era);
                self.node.handle_era_stored(now, era);
            }
            Action::StoreConfiguration { charter } => {
                let edition = charter.edition();
                disk.charter = Some(charter);
                self.node.handle_configuration_stored(now, edition);
            }
            Action::Publish(roster) => publish(board, self.me, &roster),
            Action::ViewChanged(view) => {
                let members = view.members.keys().copied().collect();
                shared.note(Seen::View { by: self.me.node, members, at: os::now() });
            }
            Action::Configured(_) | Action::Open { .. } | Action::Owner(_) | Action::Run(_) => {}
            Action::Reply { .. } | Action::ServiceChanged(_) => {}
            // No node here has two lives at a time, an operator, another release or a disk that forgets.
            Action::Superseded { .. }
            | Action::SaidOff
            | Action::Unreadable { .. }
            | Action::Renumber { .. }
            | Action::Dropped
            | Action::Outdated { .. } => {
                shared.note(Seen::Ended { who: self.me.node, why: format!("{action:?}") });
            }
        }
    }

    fn send(&mut self, to: node::Destination, message: &Message, costs: &mut Costs) {
        if message.is_large() {
            costs.too_large += 1;
            return;
        }
        self.seq += 1;
        self.body.0.clear();
        message.encode(&mut self.body);
        let to = match to {
            node::Destination::All => Destination::All,
            node::Destination::Node(node) => Destination::Node(node),
        };
        let header = header(Kind::Agreement, self.me, Seq(self.seq));
        if let Some(frame) = frame::seal(&SEAL, &header, &self.body.0, &mut self.frame) {
            costs.sent += 1;
            costs.sent_bytes += frame.len() as u64;
            self.link.send(to, frame);
        }
    }
}

/// Lives and stints for fast, in the daemon's order.
fn publish(board: &Board, me: Life, roster: &node::Roster) {
    board.set_given(roster.void());
    board.set_voters(roster.voters);
    board.set_voters_next(roster.next.unwrap_or_default());
    for node in (0..wire::NODES_MAX).filter_map(NodeId::from_index) {
        let seat = roster.seat(node);
        board.set_peer_stint(node, seat.map_or(Stint::NONE, |seat| seat.stint));
        board.set_roster(node, seat.map_or(Incarnation(0), |seat| seat.incarnation));
    }
    board.set_stint(roster.stint(me));
}
