//! The control actor: the agreement itself, and around it what netguard-control does for it: the words of the board, the
//! answer to a freeze, the era on the disk. One input with all that follows from it is one step: the two processes of a
//! node meet at the board between steps. (Interruptions between two words are the simulator's part, PROTOCOL 5.3b.)

use crate::history::{Said, Seats};
use agreement::{Action, Agreement, Destination, Roster, Status};
use base::Instant;
use heartbeat::{Board, EventKind};
use wire::{
    Charter, ClientId, Configuration, Edition, Incarnation, Life, Message, NodeId, NodeSet, Op,
    Seq, Stint, Term,
};

/// One life of the control plane.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Control {
    /// The decisions.
    pub agreement: Agreement,
    nodes: NodeSet,
    /// True if the one service of the cluster is this node's by its own commit.
    pub owns: bool,
}

/// What happens to it.
#[derive(Clone, PartialEq, Debug)]
pub enum ControlInput {
    /// A message came.
    Message(Life, Message),
    /// The fast path tells something.
    Told(EventKind),
    /// It wakes.
    Turn,
    /// A request of this node; the number makes it unique.
    Write(u8),
    /// The operator wants a node out.
    Remove(NodeId),
    /// The operator says that a node is off.
    SaysOff(NodeId),
    /// It takes a life for silent.
    Accuse(Life),
    /// The operator wants other voters.
    Configure(NodeSet),
    /// This charter is on the disk.
    Stored(Edition),
}

/// What it did that the checkers must know.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fact {
    /// It said something that binds it.
    Says(Said),
    /// It leads a term that it did not lead before.
    Leads(Term),
    /// It committed, each op after the one before; from here on.
    Commits(Op),
    /// It committed an op that does not follow the one before.
    Skips(Op),
}

/// What it does.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ControlOut {
    /// Messages, with whom they are for.
    pub messages: Vec<(NodeSet, Message)>,
    /// Stored durably.
    pub era: Option<u32>,
    /// To be stored durably, and to be answered then.
    pub charter: Option<Charter>,
    /// This life is over; the next one takes a number above this.
    pub end: Option<Incarnation>,
    /// For the checkers.
    pub facts: Vec<Fact>,
}

impl Control {
    /// Begins.
    #[must_use]
    pub fn new(settings: agreement::Settings, nodes: NodeSet, now: Instant) -> Self {
        Self { agreement: Agreement::new(settings, now), nodes, owns: false }
    }
    /// True if it wants to wake.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        self.agreement.poll_deadline().is_some_and(|at| at <= now)
    }

    /// One step.
    pub fn step(&mut self, now: Instant, board: &Board, input: ControlInput) -> ControlOut {
        let agreement = &mut self.agreement;
        let before = (agreement.status(), agreement.term());
        let commit = agreement.commit();
        agreement.handle_slowest(board.slowest());
        match input {
            ControlInput::Message(from, message) => agreement.handle_message(now, from, message),
            ControlInput::Told(event) => match event {
                EventKind::Suspected { life, stint, .. } => {
                    agreement.handle_suspected(now, life, stint)
                }
                EventKind::Trusted { life, stint } => agreement.handle_trusted(now, life, stint),
                EventKind::Obituary { life, stint } => agreement.handle_obituary(now, life, stint),
                EventKind::Appeared { life } => agreement.handle_appeared(now, life),
                _ => {}
            },
            ControlInput::Turn => agreement.handle_timeout(now),
            ControlInput::Write(number) => {
                let client = ClientId(u64::from(number) + 1);
                // A refusal is an answer like any other.
                _ = agreement.handle_request(now, client, Seq(1), vec![number]);
            }
            ControlInput::Remove(node) => agreement.handle_removal_order(now, node),
            ControlInput::SaysOff(node) => agreement.handle_fenced_order(now, node),
            ControlInput::Accuse(life) => {
                let stint = agreement.roster().stint(life);
                agreement.handle_suspected(now, life, stint);
            }
            ControlInput::Configure(voters) => {
                let roster = agreement.roster();
                let version = roster.version() + 1;
                let wanted =
                    Configuration { version, voters, ..roster.configuration().as_ref().clone() };
                // So is this one.
                _ = agreement.handle_configure(now, wanted);
            }
            ControlInput::Stored(edition) => agreement.handle_configuration_stored(now, edition),
        }
        let mut out = self.perform(now, board, commit);
        let after = (self.agreement.status(), self.agreement.term());
        if after.0 == Status::Primary && after != before {
            out.facts.push(Fact::Leads(after.1));
        }
        self.owns = self.owner() == Some(self.agreement.life().node);
        out
    }

    /// Does what the agreement wants, in its order; `last` is committed already.
    pub fn perform(&mut self, now: Instant, board: &Board, mut last: Op) -> ControlOut {
        let mut out = ControlOut::default();
        while let Some(action) = self.agreement.poll_action() {
            match action {
                Action::Send { to, message } => self.send(to, message, &mut out),
                Action::Freeze { node, stint } => {
                    let frozen = board.freeze(node, stint);
                    self.agreement.handle_frozen(now, node, stint, frozen.end);
                }
                Action::Unfreeze { node } => board.unfreeze(node),
                Action::CloseLease { stint } => board.close(stint),
                Action::ReopenLease => board.reopen(),
                Action::StoreEra { era } => {
                    out.era = Some(era);
                    self.agreement.handle_era_stored(now, era);
                }
                // One at a time; if the order is repeated it is the same one.
                Action::StoreConfiguration { charter } => out.charter = Some(charter),
                Action::Publish(roster) => self.publish(board, &roster),
                Action::Committed { op, .. } => {
                    // Op 1 begins an era; anything else follows.
                    let follows = op == Op(1) || op == last.next();
                    out.facts.push(if follows { Fact::Commits(op) } else { Fact::Skips(op) });
                    last = op;
                }
                // So long a log no exploration has; the planner's state is of no interest here.
                Action::Snapshot { op } => self.agreement.handle_snapshot(now, op, Vec::new()),
                Action::Install { op, .. } => last = op,
                Action::Reflex { .. } => {}
                Action::Superseded { highest: above } | Action::Renumber { above } => {
                    out.end = Some(above);
                }
                // No exploration has an entry of a higher level.
                Action::SaidOff | Action::Outdated { .. } => {
                    out.end = Some(self.agreement.life().incarnation)
                }
            }
        }
        out
    }

    fn send(&self, to: Destination, message: Message, out: &mut ControlOut) {
        let me = self.agreement.life();
        if let Some(said) = Said::by(&message) {
            out.facts.push(Fact::Says(said));
        }
        let mut nodes = match to {
            Destination::All => self.nodes,
            Destination::Node(node) => [node].into_iter().collect(),
        };
        nodes.remove(me.node);
        out.messages.push((nodes, message));
    }

    /// The words in the order of the product: given votes first, a peer's stint before its life, the own stint last.
    fn publish(&self, board: &Board, roster: &Roster) {
        board.set_given(roster.void());
        board.set_voters(roster.voters);
        board.set_voters_next(roster.next.unwrap_or_default());
        for node in self.nodes.iter() {
            let seat = roster.seat(node);
            board.set_peer_stint(node, seat.map_or(Stint::NONE, |seat| seat.stint));
            board.set_roster(node, seat.map_or(Incarnation(0), |seat| seat.incarnation));
        }
        board.set_stint(roster.stint(self.agreement.life()));
    }

    /// Who owns the one service of the cluster by this life's commit: the first member, and when it is removed the
    /// first of those that are left. (The planner's policy does not matter here, only that every node
    /// derives the same from the same log.)
    fn owner(&self) -> Option<NodeId> {
        let (log, commit) = (self.agreement.log(), self.agreement.commit());
        let mut seats = Seats::default();
        let mut owner: Option<NodeId> = None;
        for (op, entry) in log.after(Op::ZERO).take_while(|(op, _)| *op <= commit) {
            seats.apply(op, entry);
            owner = owner.filter(|node| seats.members().any(|member| member.0.node == *node));
            owner = owner.or_else(|| seats.members().next().map(|member| member.0.node));
        }
        owner
    }
}
