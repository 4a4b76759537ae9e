//! The only file that performs what the node decides.
//!
//! Actions are performed in the order in which they are polled. A freeze (R-ACK 1) is answered at
//! once, before the next action: an acknowledgement that rests on it may be that action.

use crate::driver_threads::DriverThreads;
use crate::exchange::Exchange;
use crate::gatekeeper::Gatekeeper;
use crate::journal::Journal;
use crate::storage::{Order, Storage};
use agreement::Roster;
use base::Instant;
use driver::Job;
use link::Destination;
use membership::View;
use node::{Action, CommandDone, CommandRefused, Node};
use shm::{Counter, Map, Side};
use wire::{Incarnation, Life, NODES_MAX, NodeId, ServiceId, Stint};

/// Actions performed per cycle; what is left comes with the next, which follows at once.
const ACTIONS_MAX: usize = 4_096;

/// What the actions act on.
pub struct Effects {
    /// This life.
    pub me: Life,
    /// Board and counters.
    pub map: Map,
    /// The peers.
    pub exchange: Exchange,
    /// The kernel's gate.
    pub gate: Gatekeeper,
    /// The services.
    pub drivers: DriverThreads,
    /// The disk.
    pub storage: Storage,
    /// The operator.
    pub journal: Journal,
}

/// What one round of actions leaves for the caller.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Performed {
    /// The round ended before the actions did.
    pub more: bool,
    /// This life must end.
    pub end: Option<MustEnd>,
    /// For those who asked or watch.
    pub news: Vec<News>,
}

/// What somebody outside may want to hear.
#[derive(Clone, PartialEq, Debug)]
pub enum News {
    /// The answer to an order.
    Reply(u64, Result<CommandDone, CommandRefused>),
    /// Another view.
    View(View),
    /// A service's state changed.
    Service(ServiceId),
}

/// Why this life must end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MustEnd {
    /// A newer life of this node exists.
    Superseded(Incarnation),
    /// This life was said to be off (R-FENCE).
    SaidOff,
    /// The next life has to take a number above this one.
    Renumbered(Incarnation),
}

impl Effects {
    /// Performs what the node wants done.
    pub fn perform(&mut self, now: Instant, node: &mut Node) -> Performed {
        let mut performed = Performed::default();
        for _ in 0..ACTIONS_MAX {
            let Some(action) = node.poll_action() else { return performed };
            self.act(now, node, action, &mut performed);
        }
        performed.more = true;
        performed
    }

    fn act(&mut self, now: Instant, node: &mut Node, action: Action, performed: &mut Performed) {
        let board = self.map.board();
        match action {
            Action::Send { to, message } => {
                let to = match to {
                    agreement::Destination::All => Destination::All,
                    agreement::Destination::Node(node) => Destination::Node(node),
                };
                self.exchange.send(to, &message);
            }
            // PROTOCOL 5.3b: the freeze is stored before `heard` is loaded; `Board::freeze` does
            // both.
            Action::Freeze { node: peer, stint } => {
                let heard = board.freeze(peer, stint);
                node.handle_frozen(now, peer, stint, heard);
            }
            Action::Unfreeze { node } => board.unfreeze(node),
            Action::CloseLease { stint } => {
                self.gate.close(stint);
                board.close(stint);
            }
            Action::ReopenLease => {
                board.reopen();
                self.gate.reopen();
            }
            Action::StoreEra { era } => self.store(Order::Era(era)),
            Action::Publish(roster) => self.publish(&roster),
            Action::Superseded { highest } => performed.end = Some(MustEnd::Superseded(highest)),
            Action::SaidOff => performed.end = Some(MustEnd::SaidOff),
            Action::Renumber { above } => {
                self.store(Order::HigherThan(above.0));
                performed.end = Some(MustEnd::Renumbered(above));
            }
            Action::Open { service, generation } => {
                board.set_open(usize::from(service.0), generation.0);
                self.gate.open(service, generation);
            }
            Action::Owner(owner) => board.set_owner(owner),
            Action::Run(job) => self.run(job),
            Action::Reply { tag, result } => performed.news.push(News::Reply(tag, result)),
            Action::ViewChanged(view) => performed.news.push(News::View(view)),
            Action::ServiceChanged(service) => performed.news.push(News::Service(service)),
        }
    }

    /// Lives and stints, for fast. The own stint comes last: a lease counts only when its basis is
    /// there.
    fn publish(&self, roster: &Roster) {
        let board = self.map.board();
        // Votes that are given first: `Board::set_given` says why.
        board.set_given(roster.void());
        board.set_voters(roster.voters);
        for node in (0..NODES_MAX).filter_map(NodeId::from_index) {
            let seat = roster.seat(node);
            // The stint first: with it the peer's deadline begins afresh, so that fast never judges a
            // new life by the silence of the old one.
            board.set_peer_stint(node, seat.map_or(Stint::NONE, |seat| seat.stint));
            board.set_roster(node, seat.map_or(Incarnation(0), |seat| seat.incarnation));
        }
        let own = roster.stint(self.me);
        self.gate.follow_stint(own);
        board.set_stint(own);
    }

    /// Fast is gone, and with it whoever would renew the lease: everything is closed at once, and the
    /// peers are told if the kernel can vouch for that (R-OBIT). Calling it again repeats the telling.
    pub fn close_for_fast(&mut self, gate_is_whole: bool) {
        let stint = self.map.board().stint();
        self.gate.end_lease();
        self.gate.close(stint);
        self.map.board().close(stint);
        if stint.is_member() && gate_is_whole {
            self.map.counters().count(Side::Control, Counter::Obituaries);
            self.exchange.send_obituary(stint);
        }
    }

    /// Not taken is not stored, and then nothing rests on it: the agreement asks again.
    fn store(&self, order: Order) {
        if !self.storage.order(order) {
            self.map.counters().count(Side::Control, Counter::QueueFull);
        }
    }

    fn run(&self, job: Job) {
        if !self.drivers.run(job) {
            self.map.counters().count(Side::Control, Counter::QueueFull);
            self.journal.say(format!("a driver is too far behind and did not take {job:?}"));
        }
    }
}
