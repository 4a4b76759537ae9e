//! The control actor: what netguard-control does around the node core, in the same order. A turn
//! can be interrupted between any two of its actions, even between the words of the board that one
//! roster takes.

use crate::gate::Gate;
use crate::packet::{BelievedDamage, Body, Packet};
use agreement::{Destination, Roster};
use base::{Duration, Instant};
use driver::{Job, Outcome};
use heartbeat::{Board, Event, EventKind};
use membership::View;
use node::{Action, Command, CommandDone, CommandRefused, GateState, Node};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use wire::{
    Charter, Configuration, Edition, Incarnation, Life, Message, NodeId, NodeSet, Op, Reject,
    Replay, Seq, ServiceId, Stint,
};

/// Messages that wait in the sockets; what comes then is lost.
const INBOX_MAX: usize = 4_096;
/// Distance of two answers to one node whose life is over (R-RENUMBER).
const STALE_EVERY: Duration = Duration::from_millis(100);

/// Something that the control process does to the world.
#[derive(Debug)]
pub enum ControlOut {
    /// Sends a message on every link.
    Send(Seq, Destination, Rc<Message>),
    /// Says on every link that a stint is over, because fast cannot.
    Obituary(Seq, Stint),
    /// Stores the era durably and comes back with it.
    Store(u32),
    /// Stores the charter durably and comes back with its edition.
    StoreCharter(Charter),
    /// Another configuration is agreed: for fast.
    Configured(Arc<Configuration>),
    /// This node is configured no more: it leaves and stays away.
    Dropped,
    /// Hands a job to the drivers.
    Run(Job),
    /// The answer to a command.
    Reply(u64, Result<CommandDone, CommandRefused>),
    /// Another view.
    View(View),
    /// A service changed.
    Service(ServiceId),
    /// This life is to end; the next one takes a number above this.
    End(Incarnation),
}

/// One store on the board.
#[derive(Clone, Copy, Debug)]
enum Word {
    Voters(NodeSet),
    VotersNext(NodeSet),
    Roster(NodeId, Incarnation),
    Given(NodeSet),
    PeerStint(NodeId, Stint),
    OwnStint(Stint),
}

/// How a turn ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// All is done; it sleeps.
    Done,
    /// It was interrupted and goes on where it was.
    Interrupted,
    /// It has ended in good order.
    Left,
}

/// One life of the control process.
#[derive(Debug)]
pub struct Control {
    /// The decisions.
    pub node: Node,
    /// A snapshot that could not be read: all nodes are of one release here, so that there must be none.
    pub unreadable: Option<Op>,
    me: Life,
    nodes: NodeSet,
    replay: Box<Replay>,
    inbox: VecDeque<Packet>,
    ring: VecDeque<Event>,
    outcomes: VecDeque<Outcome>,
    stored: VecDeque<u32>,
    charters: VecDeque<Edition>,
    commands: VecDeque<(u64, Command)>,
    reforms: VecDeque<(u64, Configuration)>,
    overrides: VecDeque<(u64, NodeSet)>,
    words: VecDeque<Word>,
    /// What the edge sees of the gate, if that has changed.
    gate: Option<GateState>,
    seq: u64,
    /// The clock of the turn that is under way.
    acting: Option<Instant>,
    /// The longest sleep.
    turn: Duration,
    slept: Instant,
    orphaned: bool,
    leaving: Option<Instant>,
    patience: Duration,
    stale_told: BTreeMap<NodeId, Instant>,
    /// R-LIFE is off, here too.
    believes_the_dead: bool,
}

impl Control {
    /// Begins. `turn` is its longest sleep, `patience` how long a stop may take.
    #[must_use]
    pub fn new(settings: node::Settings, turn: Duration, patience: Duration, now: Instant) -> Self {
        let me = settings.agreement.me;
        let nodes = settings.names.nodes().collect();
        #[cfg(feature = "mutations")]
        let believes_the_dead = settings.agreement.mutations.contains(&"life-frame");
        #[cfg(not(feature = "mutations"))]
        let believes_the_dead = false;
        Self {
            node: Node::new(settings, now),
            unreadable: None,
            me,
            nodes,
            replay: Box::new(Replay::new(me.node, nodes)),
            inbox: VecDeque::new(),
            ring: VecDeque::new(),
            outcomes: VecDeque::new(),
            stored: VecDeque::new(),
            charters: VecDeque::new(),
            commands: VecDeque::new(),
            reforms: VecDeque::new(),
            overrides: VecDeque::new(),
            words: VecDeque::new(),
            gate: None,
            seq: 0,
            acting: None,
            turn,
            slept: now,
            orphaned: false,
            leaving: None,
            patience,
            stale_told: BTreeMap::new(),
            believes_the_dead,
        }
    }

    /// A message is in the socket.
    pub fn arrive(&mut self, packet: Packet) {
        if self.inbox.len() < INBOX_MAX {
            self.inbox.push_back(packet);
        }
    }
    /// An event is on the ring.
    pub fn tell(&mut self, event: Event) {
        self.ring.push_back(event);
    }
    /// It has other settings: this is its longest sleep now.
    pub const fn set_turn(&mut self, turn: Duration) {
        self.turn = turn;
    }
    /// A driver is done.
    pub fn outcome(&mut self, outcome: Outcome) {
        self.outcomes.push_back(outcome);
    }
    /// The era is on the disk.
    pub fn stored(&mut self, era: u32) {
        self.stored.push_back(era);
    }
    /// The charter is on the disk.
    pub fn stored_charter(&mut self, edition: Edition) {
        self.charters.push_back(edition);
    }
    /// The operator wants another configuration; its version is that in force, and one.
    pub fn reform(&mut self, tag: u64, wanted: Configuration) {
        self.reforms.push_back((tag, wanted));
    }
    /// The operator asserts that voters are off for good.
    pub fn override_start(&mut self, tag: u64, absent: NodeSet) {
        self.overrides.push_back((tag, absent));
    }
    /// The operator orders something.
    pub fn command(&mut self, tag: u64, command: Command) {
        self.commands.push_back((tag, command));
    }
    /// The gate lacks something, or nothing any more.
    pub fn gate(&mut self, lack: Option<&str>) {
        self.gate = Some(GateState { lack: lack.map(Into::into), ..GateState::default() });
    }
    /// The fast process is gone.
    pub const fn orphan(&mut self) {
        self.orphaned = true;
    }
    /// It is to end in good order.
    pub fn leave(&mut self, now: Instant) {
        if self.leaving.is_none() {
            self.leaving = Some(now);
            self.node.handle_leave(now);
        }
    }
    /// True from the order to leave on.
    #[must_use]
    pub const fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }
    /// When it wants its next turn; at once in the middle of one.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        if self.acting.is_some() {
            return Instant::ZERO;
        }
        let turn = self.slept + self.turn;
        self.node.poll_deadline().map_or(turn, |at| at.min(turn))
    }

    /// One turn, or what `interrupt` leaves of it.
    pub fn turn(
        &mut self,
        now: Instant,
        (board, gate): (&Board, &Gate),
        out: &mut Vec<ControlOut>,
        mut interrupt: impl FnMut() -> bool,
    ) -> Result<Turn, BelievedDamage> {
        // An interrupted turn goes on with the clock that it read at its beginning.
        let now = match self.acting {
            Some(began) => began,
            None => {
                board.make_progress();
                if self.orphaned && self.leaving.is_none() {
                    self.close_for_fast(board, gate, out);
                }
                self.take_inputs(now, board, out)?;
                self.node.handle_timeout(now);
                now
            }
        };
        self.acting = Some(now);
        loop {
            if let Some(word) = self.words.pop_front() {
                store(board, gate, word);
            } else if let Some(action) = self.node.poll_action() {
                self.act(now, (board, gate), action, out);
            } else {
                break;
            }
            if interrupt() {
                return Ok(Turn::Interrupted);
            }
        }
        self.acting = None;
        self.slept = now;
        let over = self.leaving.is_some_and(|at| now.since(at) >= self.patience);
        Ok(if over || self.node.has_left(now) { Turn::Left } else { Turn::Done })
    }

    /// Fast is gone, and with it whoever would renew the lease: all is closed, then the peers are
    /// told (R-OBIT).
    fn close_for_fast(&mut self, board: &Board, gate: &Gate, out: &mut Vec<ControlOut>) {
        let stint = board.stint();
        gate.close(stint);
        board.close(stint);
        if stint.is_member() {
            self.seq += 1;
            out.push(ControlOut::Obituary(Seq(self.seq), stint));
        }
    }

    fn take_inputs(
        &mut self,
        now: Instant,
        board: &Board,
        out: &mut Vec<ControlOut>,
    ) -> Result<(), BelievedDamage> {
        self.node.handle_slowest(board.slowest());
        // Without fast nobody renews the lease, whatever its word says.
        let end = if self.orphaned { Instant::ZERO } else { board.lease_end() };
        self.node.handle_lease(now, end);
        if self.orphaned {
            self.leave(now);
        }
        if let Some(state) = self.gate.take() {
            self.node.handle_gate(now, state);
        }
        while let Some(event) = self.ring.pop_front() {
            self.node.handle_event(now, event);
        }
        while let Some(packet) = self.inbox.pop_front() {
            self.hear(now, &packet, out)?;
        }
        while let Some(era) = self.stored.pop_front() {
            self.node.handle_era_stored(now, era);
        }
        while let Some(edition) = self.charters.pop_front() {
            self.node.handle_configuration_stored(now, edition);
        }
        while let Some((tag, wanted)) = self.reforms.pop_front() {
            let version = self.node.agreement().roster().version().saturating_add(1);
            self.node.handle_configure(now, tag, Configuration { version, ..wanted });
        }
        while let Some((tag, absent)) = self.overrides.pop_front() {
            self.node.handle_override(now, tag, absent);
        }
        while let Some(outcome) = self.outcomes.pop_front() {
            self.node.handle_outcome(now, &outcome);
        }
        while let Some((tag, command)) = self.commands.pop_front() {
            self.node.handle_command(now, tag, command);
        }
        Ok(())
    }

    fn hear(
        &mut self,
        now: Instant,
        packet: &Packet,
        out: &mut Vec<ControlOut>,
    ) -> Result<(), BelievedDamage> {
        let Ok((header, body)) = packet.open()? else { return Ok(()) };
        match (self.replay.take(&header), body) {
            (Ok(()), Body::Agreement(message)) => {
                let message = Rc::unwrap_or_clone(message);
                self.node.handle_message(now, header.from, message);
            }
            (Ok(()), Body::Obituary(obituary)) => {
                let (life, stint) = (header.from, obituary.stint);
                let kind = EventKind::Obituary { life, stint };
                self.node.handle_event(now, Event { at: now, kind });
            }
            (Err(Reject::Stale), Body::Agreement(message)) if self.believes_the_dead => {
                self.node.handle_message(now, header.from, Rc::unwrap_or_clone(message));
            }
            (Err(Reject::Stale), _) => self.answer_stale(now, header.from.node, out),
            _ => {}
        }
        Ok(())
    }

    /// R-RENUMBER: tells a life that is over which one is known.
    fn answer_stale(&mut self, now: Instant, node: NodeId, out: &mut Vec<ControlOut>) {
        if self.stale_told.get(&node).is_some_and(|at| now < *at + STALE_EVERY) {
            return;
        }
        self.stale_told.insert(node, now);
        let highest = self.replay.highest(node);
        self.send(Destination::Node(node), Message::Stale { node, highest }, out);
    }

    fn send(&mut self, to: Destination, message: Message, out: &mut Vec<ControlOut>) {
        self.seq += 1;
        out.push(ControlOut::Send(Seq(self.seq), to, Rc::new(message)));
    }

    fn act(
        &mut self,
        now: Instant,
        (board, gate): (&Board, &Gate),
        action: Action,
        out: &mut Vec<ControlOut>,
    ) {
        match action {
            Action::Send { to, message } => self.send(to, message, out),
            Action::Freeze { node, stint } => {
                let frozen = board.freeze(node, stint);
                self.node.handle_frozen(now, node, stint, frozen);
            }
            Action::Unfreeze { node } => board.unfreeze(node),
            Action::CloseLease { stint } => {
                gate.close(stint);
                board.close(stint);
            }
            Action::ReopenLease => {
                board.reopen();
                gate.reopen();
            }
            Action::StoreEra { era } => out.push(ControlOut::Store(era)),
            Action::StoreConfiguration { charter } => out.push(ControlOut::StoreCharter(charter)),
            Action::Configured(agreed) => out.push(ControlOut::Configured(agreed)),
            Action::Dropped => {
                out.push(ControlOut::Dropped);
                self.leave(now);
            }
            Action::Outdated { .. } => self.leave(now),
            Action::Publish(roster) => self.publish(&roster),
            Action::SaidOff => {
                out.push(ControlOut::End(self.me.incarnation));
                self.leave(now);
            }
            Action::Unreadable { op } => self.unreadable = Some(op),
            Action::Superseded { highest: above } | Action::Renumber { above } => {
                out.push(ControlOut::End(above));
                self.leave(now);
            }
            Action::Run(job) => out.push(ControlOut::Run(job)),
            Action::Open { service, generation } => {
                board.set_open(usize::from(service.0), generation.0);
                gate.open_slot(usize::from(service.0), generation);
            }
            Action::Owner(owner) => board.set_owner(owner),
            Action::Reply { tag, result } => out.push(ControlOut::Reply(tag, result)),
            Action::ViewChanged(view) => out.push(ControlOut::View(view)),
            Action::ServiceChanged(service) => out.push(ControlOut::Service(service)),
        }
    }

    /// The words in the order of the product: given votes first, a peer's stint before its life, the
    /// own stint last.
    fn publish(&mut self, roster: &Roster) {
        self.words.push_back(Word::Given(roster.void()));
        self.words.push_back(Word::Voters(roster.voters));
        self.words.push_back(Word::VotersNext(roster.next.unwrap_or_default()));
        for node in self.nodes.iter() {
            let seat = roster.seat(node);
            let incarnation = seat.map_or(Incarnation(0), |seat| seat.incarnation);
            let stint = seat.map_or(Stint::NONE, |seat| seat.stint);
            self.words.push_back(Word::PeerStint(node, stint));
            self.words.push_back(Word::Roster(node, incarnation));
        }
        self.words.push_back(Word::OwnStint(roster.stint(self.me)));
    }
}

fn store(board: &Board, gate: &Gate, word: Word) {
    match word {
        Word::Given(given) => board.set_given(given),
        Word::Voters(voters) => board.set_voters(voters),
        Word::VotersNext(voters) => board.set_voters_next(voters),
        Word::Roster(node, incarnation) => board.set_roster(node, incarnation),
        Word::PeerStint(node, stint) => board.set_peer_stint(node, stint),
        Word::OwnStint(stint) => {
            let before = board.stint();
            board.set_stint(stint);
            // What R-SELF closed stays closed until the life is a member again, by another stint.
            if stint.is_member() && stint != before {
                gate.reopen();
            }
        }
    }
}
