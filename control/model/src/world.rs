//! What follows from a step: the real cores run, and the past is asked whether it may be so.

use crate::control::{Control, ControlInput, ControlOut, Fact};
use crate::fast::{Fast, FastInput, FastOut};
use crate::history::{Actor, History, Rule, Said};
use crate::intern::{Memo, Table};
use crate::packet::{Body, Packet};
use crate::state::{Budget, Machine, Roles, Running, Seen, State, Step};
use crate::tell::name;
use base::{Duration, Instant};
use heartbeat::{Board, EventKind};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use wire::{
    Charter, Configuration, EntryKind, Incarnation, Life, Message, NodeId, NodeSet, Op, Term,
};

/// The interval, and the unit of the clocks.
pub const TICK: Duration = Duration::from_millis(10);
/// Clocks begin here: what is older than a start must have a place.
const BEGIN: Instant = Instant(1_000_000_000);
/// Time to store a lease and to read it.
const MARGIN: Duration = Duration::from_micros(50);

/// What one cluster is.
#[derive(Clone, Debug)]
pub struct Shape {
    /// How many nodes.
    pub nodes: u8,
    /// Those that vote by the file.
    pub voters: NodeSet,
    /// Those that an operator wants to vote.
    pub wanted: NodeSet,
    /// Nobody is removed before the votes have followed.
    pub votes_first: bool,
    /// Voters that never lead.
    pub witnesses: NodeSet,
    /// Intervals of silence that make a suspect.
    pub misses: u32,
    /// Intervals that one tick takes.
    pub stride: u16,
    /// Bound of a clock's rate error; large where clocks slip whole ticks.
    pub rate_ppm: u32,
    /// Messages that the network does not carry, by their names: they are lost where they are sent.
    pub lost: Vec<&'static str>,
    /// Who does not hear whose beats: the second that of the first.
    pub deaf: Vec<(NodeId, NodeId)>,
    /// Whom the faults may happen to.
    pub roles: Roles,
    /// A charter takes its time to the disk: a step of its own.
    pub slow_disks: bool,
    /// Who may lose power together, cut off from the others.
    pub outages: Vec<NodeSet>,
    /// Terms after the first within an era: two nodes that suspect each other could take turns for ever.
    pub terms: u32,
    /// Rules that are switched off.
    pub off: Vec<&'static str>,
}

impl Shape {
    /// A cluster whose network carries everything, and where everything may happen to everybody.
    #[must_use]
    pub fn of(nodes: u8) -> Self {
        let voters = (1..=nodes).filter_map(NodeId::new).collect();
        Self {
            nodes,
            voters,
            wanted: voters,
            votes_first: false,
            witnesses: NodeSet::EMPTY,
            misses: 2,
            stride: 1,
            rate_ppm: 1_000,
            lost: vec![],
            deaf: vec![],
            slow_disks: false,
            outages: vec![],
            roles: Roles::default(),
            terms: 2,
            off: vec![],
        }
    }
    /// Its nodes.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> {
        (1..=self.nodes).filter_map(NodeId::new)
    }
    fn set(&self) -> NodeSet {
        self.ids().collect()
    }
}

/// What the properties compare with.
#[derive(Clone, Debug, Default)]
pub struct Start {
    removals: usize,
    admissions: usize,
    term: Option<Term>,
    era: u32,
    voters: NodeSet,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum FastKey {
    Frame(u32),
    Turn,
    ControlLost,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum ControlKey {
    Message(u32),
    Told(EventKind),
    Turn,
    Write(u8),
    Remove(NodeId),
    SaysOff(NodeId),
    Accuse(Life),
    Configure(NodeSet),
    Stored(u32),
}

#[derive(Debug)]
struct FastStep {
    fast: u32,
    board: u32,
    packets: Vec<u32>,
    events: Vec<EventKind>,
}

#[derive(Debug)]
struct ControlStep {
    control: u32,
    board: u32,
    packets: Vec<u32>,
    era: Option<u32>,
    charter: Option<u32>,
    end: Option<Incarnation>,
    /// Of the facts; 0 for none.
    facts: u32,
}

/// All cores that were ever met, and what they did.
#[derive(Debug)]
pub struct World {
    /// The cluster.
    pub shape: Shape,
    /// The rules that are off, as the heartbeat wants them.
    #[cfg(feature = "mutations")]
    off: &'static [&'static str],
    packets: Table<Packet>,
    fasts: Table<Fast>,
    controls: Table<Control>,
    boards: Table<Board>,
    charters: Table<Charter>,
    histories: Table<History>,
    facts: Table<Vec<Fact>>,
    fast_steps: Memo<(Running2, u64, FastKey), Arc<FastStep>>,
    control_steps: Memo<(Running2, u64, ControlKey), Arc<ControlStep>>,
    /// What comes of an outage.
    outages: Memo<(State, NodeSet), State>,
    /// What each frame binds its sender to, by its number.
    said: RwLock<Vec<Option<(Life, Said)>>>,
    start: Start,
    /// What the last broken rule saw, for whoever prints it.
    last: Mutex<String>,
}

/// An actor and its board.
type Running2 = (u32, u32);

impl World {
    /// An empty world.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        let facts = Table::default();
        facts.number(Vec::new());
        Self {
            #[cfg(feature = "mutations")]
            off: shape.off.clone().leak(),
            shape,
            packets: Table::default(),
            fasts: Table::default(),
            controls: Table::default(),
            boards: Table::default(),
            charters: Table::default(),
            histories: Table::default(),
            facts,
            fast_steps: Memo::default(),
            control_steps: Memo::default(),
            outages: Memo::default(),
            said: RwLock::default(),
            start: Start::default(),
            last: Mutex::default(),
        }
    }

    /// No node has ever run.
    #[must_use]
    pub fn dark(&self) -> State {
        let Shape { voters, witnesses, misses, .. } = self.shape;
        let file = Configuration {
            nodes: self.shape.set(),
            interval_us: (TICK.0 / 1_000) as u32,
            misses,
            ..Configuration::plain(voters, witnesses)
        };
        let charter = self.charters.number(Charter::of_file(file));
        let machine = |node| Machine {
            node,
            incarnation: 0,
            era: 0,
            charter,
            storing: None,
            behind: 0,
            running: None,
        };
        State {
            machines: self.shape.ids().map(machine).collect(),
            net: Vec::new(),
            arrived: Vec::new(),
            history: self.histories.number(History::default()),
            tick: 0,
            left: Budget::default(),
            broken: None,
            seen: Seen::default(),
        }
    }

    /// The exploration begins here: what the properties must have seen is counted from here, and what `shape` says of
    /// the network, the clock and the disks is so.
    pub fn begin_at(&mut self, state: &State, shape: Shape) {
        self.shape = shape;
        // What was done before was done by a network that lost nothing.
        (self.fast_steps, self.control_steps) = (Memo::default(), Memo::default());
        let history = self.histories.value(state.history);
        let count =
            |is: fn(&EntryKind) -> bool| history.committed().filter(|e| is(&e.kind)).count();
        self.start = Start {
            removals: count(|kind| matches!(kind, EntryKind::Remove { .. })),
            admissions: count(|kind| matches!(kind, EntryKind::Admit { .. })),
            term: history.committed().last().map(|entry| entry.term),
            era: history.era(),
            voters: history.voters(),
        };
    }

    /// How many different fast processes, control processes, boards, frames and pasts were met.
    #[must_use]
    pub fn sizes(&self) -> [usize; 5] {
        let Self { fasts, controls, boards, packets, histories, .. } = self;
        [fasts.len(), controls.len(), boards.len(), packets.len(), histories.len()]
    }

    /// The clock of a machine.
    #[must_use]
    pub fn local(&self, state: &State, machine: &Machine) -> Instant {
        BEGIN + TICK * u64::from(state.tick.saturating_sub(u16::from(machine.behind)))
    }
    /// The control process of a node that runs.
    #[must_use]
    pub fn control(&self, running: &Running) -> Arc<Control> {
        self.controls.value(running.control)
    }
    /// The fast process of a node that runs.
    #[must_use]
    pub fn fast(&self, running: &Running) -> Arc<Fast> {
        self.fasts.value(running.fast)
    }
    /// The board of a node that runs.
    #[must_use]
    pub fn board(&self, running: &Running) -> Arc<Board> {
        self.boards.value(running.board)
    }
    /// A frame.
    #[must_use]
    pub fn packet(&self, number: u32) -> Arc<Packet> {
        self.packets.value(number)
    }
    /// The past of a state.
    #[must_use]
    pub fn history(&self, state: &State) -> Arc<History> {
        self.histories.value(state.history)
    }

    /// The present life of a machine.
    #[must_use]
    pub fn life(machine: &Machine) -> Option<Life> {
        let incarnation = Incarnation(machine.incarnation);
        machine.running.map(|_| Life { node: machine.node, incarnation })
    }

    /// What a step makes of a state. The budget is the caller's.
    #[must_use]
    pub fn perform(&self, state: &State, step: Step) -> State {
        let mut next = state.clone();
        match step {
            Step::Deliver(number) => self.arrive(&mut next, number),
            Step::Tick(but) => {
                next = self.pass(next, self.shape.stride);
                next.machines
                    .iter_mut()
                    .filter(|m| Some(m.node) == but)
                    .for_each(|m| m.behind += 1);
            }
            Step::Beat(node) => self.run_fast(&mut next, node, FastKey::Turn),
            Step::Turn(node) => self.run_control(&mut next, node, ControlKey::Turn),
            Step::Crash(node) => Self::end(&mut next, node),
            Step::Start(node) => self.begin(&mut next, node),
            Step::Obituary(node) => {
                self.run_fast(&mut next, node, FastKey::ControlLost);
                Self::end(&mut next, node);
            }
            Step::Accuse(by, of) => {
                let control = next.machines[by.index()].running.map(|r| self.control(&r));
                let seat = control.and_then(|c| c.agreement.roster().seat(of));
                if let Some(seat) = seat {
                    self.run_control(&mut next, by, ControlKey::Accuse(seat.life(of)));
                }
            }
            Step::Remove(by, of) => self.run_control(&mut next, by, ControlKey::Remove(of)),
            Step::SaysOff(by, of) => self.run_control(&mut next, by, ControlKey::SaysOff(of)),
            Step::Write(node) => {
                let number = next.left.writes;
                self.run_control(&mut next, node, ControlKey::Write(number));
            }
            Step::Configure(node) => {
                self.run_control(&mut next, node, ControlKey::Configure(self.shape.wanted));
            }
            Step::Stored(node) => self.store(&mut next, node),
            Step::Outage(of) => return self.outage(next, of),
        }
        self.judge(&mut next);
        next
    }

    /// All clocks move on by so many intervals.
    pub(crate) fn pass(&self, state: State, intervals: u16) -> State {
        let mut next = State { tick: state.tick + intervals, ..state };
        self.judge(&mut next);
        next
    }

    fn arrive(&self, state: &mut State, number: u32) {
        let packet = self.packets.value(number);
        if packet.is_message() {
            self.run_control(state, packet.to, ControlKey::Message(number));
        } else {
            self.run_fast(state, packet.to, FastKey::Frame(number));
        }
    }

    /// The daemons begin: R-START first, then the first frame.
    fn begin(&self, state: &mut State, node: NodeId) {
        let machine = &mut state.machines[node.index()];
        machine.incarnation += 1;
        let now = BEGIN + TICK * u64::from(state.tick.saturating_sub(u16::from(machine.behind)));
        let me = Life { node, incarnation: Incarnation(machine.incarnation) };
        let (shape, board) = (&self.shape, Board::default());
        let settings = agreement::Settings {
            me,
            charter: Charter::clone(&self.charters.value(machine.charter)),
            interval: TICK,
            misses: shape.misses,
            longest: TICK * u64::from(shape.misses),
            rate_ppm: shape.rate_ppm,
            era_promised: machine.era,
            level: 1,
            limits: agreement::Limits::default(),
            #[cfg(feature = "mutations")]
            mutations: shape.off.clone(),
        };
        let mut control = Control::new(settings, shape.set(), now);
        let out = control.perform(now, &board, Op::ZERO);
        let settings = heartbeat::Settings {
            me,
            interval: TICK,
            misses: shape.misses,
            rate_ppm: shape.rate_ppm,
            margin: MARGIN,
            links: 1,
            nodes: shape.set(),
            #[cfg(feature = "mutations")]
            mutations: self.off,
        };
        let fast = self.fasts.number(Fast::new(settings, now));
        let (control, board) = (self.controls.number(control), self.boards.number(board));
        machine.running = Some(Running { fast, control, board });
        let packets = self.pack(me, &out);
        send(&mut state.net, &packets);
    }

    /// A life is gone; what it sent is on its way all the same.
    fn end(state: &mut State, node: NodeId) {
        let machine = &mut state.machines[node.index()];
        (machine.running, machine.storing) = (None, None);
    }

    /// The charter is on the disk, and control learns it.
    fn store(&self, state: &mut State, node: NodeId) {
        let machine = &mut state.machines[node.index()];
        if let Some(charter) = machine.storing.take() {
            machine.charter = charter;
            self.run_control(state, node, ControlKey::Stored(charter));
        }
    }

    /// What comes of an outage, remembered: of many states only what is durable is left.
    fn outage(&self, mut state: State, of: NodeSet) -> State {
        let left = std::mem::take(&mut state.left);
        let state = self.black_out(state, of);
        let run = || self.come_back(state.clone(), of);
        State { left, ..self.outages.get((state.clone(), of), run) }
    }

    fn run_fast(&self, state: &mut State, node: NodeId, key: FastKey) {
        let machine = &state.machines[node.index()];
        let (Some(life), Some(running)) = (Self::life(machine), machine.running) else { return };
        let now = self.local(state, machine);
        let run = || {
            let (mut fast, board) =
                ((*self.fast(&running)).clone(), (*self.board(&running)).clone());
            let input = match key {
                FastKey::Frame(number) => {
                    let packet = self.packets.value(number);
                    packet.body().map(|body| FastInput::Frame(packet.from, body))
                }
                FastKey::Turn => Some(FastInput::Turn),
                FastKey::ControlLost => Some(FastInput::ControlLost),
            };
            let out = input.map(|input| fast.step(now, &board, input)).unwrap_or_default();
            let FastOut { frames, events } = out;
            let packets = frames.iter().flat_map(|(to, body)| {
                let deaf = self.shape.deaf.iter().filter(|(from, _)| *from == node);
                self.pack_one(life, to.minus(deaf.map(|(_, to)| *to).collect()), body)
            });
            let packets = packets.collect();
            let (fast, board) = (self.fasts.number(fast), self.boards.number(board));
            Arc::new(FastStep { fast, board, packets, events })
        };
        let done = self.fast_steps.get(((running.fast, running.board), now.0, key), run);
        let (fast, board) = (done.fast, done.board);
        state.machines[node.index()].running = Some(Running { fast, board, ..running });
        send(&mut state.net, &done.packets);
        // The ring between the two is never behind here.
        for event in &done.events {
            let told = matches!(
                event,
                EventKind::Suspected { .. }
                    | EventKind::Trusted { .. }
                    | EventKind::Obituary { .. }
                    | EventKind::Appeared { .. }
            );
            if told {
                self.run_control(state, node, ControlKey::Told(*event));
            }
        }
    }

    fn run_control(&self, state: &mut State, node: NodeId, key: ControlKey) {
        let machine = &state.machines[node.index()];
        let (Some(life), Some(running)) = (Self::life(machine), machine.running) else { return };
        let now = self.local(state, machine);
        let run = || {
            let mut control = (*self.control(&running)).clone();
            let board = (*self.board(&running)).clone();
            let input = match key {
                ControlKey::Message(number) => {
                    let packet = self.packets.value(number);
                    packet.message().map(|message| ControlInput::Message(packet.from, message))
                }
                ControlKey::Told(event) => Some(ControlInput::Told(event)),
                ControlKey::Turn => Some(ControlInput::Turn),
                ControlKey::Write(number) => Some(ControlInput::Write(number)),
                ControlKey::Remove(of) => Some(ControlInput::Remove(of)),
                ControlKey::SaysOff(of) => Some(ControlInput::SaysOff(of)),
                ControlKey::Accuse(life) => Some(ControlInput::Accuse(life)),
                ControlKey::Configure(voters) => Some(ControlInput::Configure(voters)),
                ControlKey::Stored(charter) => {
                    Some(ControlInput::Stored(self.charters.value(charter).edition()))
                }
            };
            let out = input.map(|input| control.step(now, &board, input)).unwrap_or_default();
            let packets = self.pack(life, &out);
            let (control, board) = (self.controls.number(control), self.boards.number(board));
            let facts = self.facts.number(out.facts);
            let charter = out.charter.map(|charter| self.charters.number(charter));
            let (era, end) = (out.era, out.end);
            Arc::new(ControlStep { control, board, packets, era, charter, end, facts })
        };
        let done = self.control_steps.get(((running.control, running.board), now.0, key), run);
        let (control, board) = (done.control, done.board);
        let machine = &mut state.machines[node.index()];
        machine.running = Some(Running { control, board, ..running });
        machine.era = machine.era.max(done.era.unwrap_or(0));
        machine.storing = done.charter.or(machine.storing);
        if done.facts != 0 {
            self.remember(state, life, control, done.facts);
        }
        send(&mut state.net, &done.packets);
        self.match_logs(state, node);
        if let Some(above) = done.end {
            Self::end(state, node);
            let machine = &mut state.machines[node.index()];
            machine.incarnation = machine.incarnation.max(above.0);
        } else if done.charter.is_some() && !self.shape.slow_disks {
            self.store(state, node);
        }
    }

    /// The past takes what a life did.
    fn remember(&self, state: &mut State, life: Life, control: u32, facts: u32) {
        let living: Vec<Life> = state.machines.iter().filter_map(Self::life).collect();
        let said = self.said(state.arrived.iter().chain(&state.net)).collect();
        let (after, facts) = (self.controls.value(control), self.facts.value(facts));
        let mut history = (*self.histories.value(state.history)).clone();
        let mut by = Actor { life, agreement: &after.agreement, living: &living, said };
        match history.takes(&mut by, &facts) {
            Ok(()) => state.history = self.histories.number(history),
            Err(broken) => self.breaks(state, broken.rule, &broken.text),
        }
    }

    /// What was said that binds. Holds the table as long as it lives: a thread that asked for a second one meanwhile would wait
    /// behind a writer who waits for the first.
    fn said<'f>(
        &self,
        frames: impl Iterator<Item = &'f u32>,
    ) -> impl Iterator<Item = (Life, Said)> {
        let said = self.said.read().unwrap_or_else(PoisonError::into_inner);
        frames.filter_map(move |number| said.get(*number as usize).copied().flatten())
    }

    /// True if a frame says something that binds.
    pub(crate) fn binds(&self, frame: u32) -> bool {
        self.said(std::iter::once(&frame)).next().is_some()
    }

    /// I7: an entry of a term is that of its one primary, wherever it stands.
    fn match_logs(&self, state: &mut State, node: NodeId) {
        let running = |machine: &Machine| machine.running.map(|running| self.control(&running));
        let Some(own) = running(&state.machines[node.index()]) else { return };
        let others = state.machines.iter().filter(|m| m.node != node).filter_map(running);
        let differs = |other: Arc<Control>| {
            let (own, other) = (own.agreement.log(), other.agreement.log());
            own.after(Op::ZERO).any(|(op, entry)| {
                other.get(op).is_some_and(|o| o.term == entry.term && o != entry)
            })
        };
        if others.into_iter().any(differs) {
            self.breaks(state, Rule::OnePromise, "two entries of one term at one op");
        }
    }

    fn breaks(&self, state: &mut State, rule: Rule, text: &str) {
        if state.broken.is_none() {
            state.broken = Some(rule);
            text.clone_into(&mut self.last.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// What the last broken rule saw.
    #[must_use]
    pub fn last_broken(&self) -> String {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What holds of the state as it is: leases, owners, and what has been seen.
    fn judge(&self, state: &mut State) {
        let history = self.histories.value(state.history);
        let mut seen = Seen::default();
        let mut owners = 0;
        let mut found = None;
        for machine in &state.machines {
            let (Some(life), Some(running)) = (Self::life(machine), machine.running) else {
                continue;
            };
            let board = self.board(&running);
            if !board.lease_holds(self.local(state, machine)) {
                continue;
            }
            seen.add(Seen::LEASE);
            owners += usize::from(self.control(&running).owns);
            found = found.or(history.check_lease(life, board.stint()).err());
        }
        if let Some(broken) = found {
            self.breaks(state, broken.rule, &broken.text);
        }
        if owners > 1 {
            self.breaks(state, Rule::OneOwner, "two nodes own the service and hold a lease");
        }
        let (mut removals, mut admissions) = (0, 0);
        let new_era = history.era() > self.start.era;
        for entry in history.committed() {
            match entry.kind {
                EntryKind::Remove { .. } => removals += 1,
                EntryKind::Admit { .. } => admissions += 1,
                EntryKind::Fenced { .. } => seen.add(Seen::EVIDENCE),
                _ => {}
            }
            if !new_era && self.start.term.is_some_and(|term| entry.term > term) {
                seen.add(Seen::TERM);
            }
        }
        if new_era {
            seen.add(Seen::ERA);
        } else {
            if removals > self.start.removals {
                seen.add(Seen::REMOVAL);
            }
            if admissions > self.start.admissions {
                seen.add(Seen::ADMISSION);
            }
        }
        if history.voters() != self.start.voters {
            seen.add(Seen::VOTE);
        }
        state.seen = seen;
    }

    /// True if the network carries this frame.
    pub(crate) fn is_carried(&self, frame: u32) -> bool {
        self.packet(frame).message().is_none_or(|message| self.carries(&message))
    }

    fn carries(&self, message: &Message) -> bool {
        !self.shape.lost.contains(&name(message))
    }

    fn pack(&self, from: Life, out: &ControlOut) -> Vec<u32> {
        let carried = out.messages.iter().filter(|(_, message)| self.carries(message));
        carried.flat_map(|(to, m)| self.pack_one(from, *to, &Body::Message(m.clone()))).collect()
    }

    fn pack_one(&self, from: Life, to: NodeSet, body: &Body) -> Vec<u32> {
        let frame = body.frame();
        let packet = |to| Packet { from, to, frame: frame.clone() };
        let says = match body {
            Body::Message(message) => Said::by(message),
            _ => None,
        };
        let numbers: Vec<u32> = to.iter().map(|to| self.packets.number(packet(to))).collect();
        let mut said = self.said.write().unwrap_or_else(PoisonError::into_inner);
        for number in &numbers {
            let place = *number as usize;
            if said.len() <= place {
                said.resize(place + 1, None);
            }
            said[place] = says.map(|says| (from, says));
        }
        numbers
    }
}

/// Puts frames on their way; one that is there already is one.
pub(crate) fn send(net: &mut Vec<u32>, packets: &[u32]) {
    for number in packets {
        if let Err(at) = net.binary_search(number) {
            net.insert(at, *number);
        }
    }
}
