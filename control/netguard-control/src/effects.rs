//! The only file that performs what the node decides.
//!
//! Actions are performed in the order in which they are polled. A freeze (R-ACK 1) is answered at
//! once, before the next action: an acknowledgement that rests on it may be that action.

use crate::driver_threads::DriverThreads;
use crate::exchange::Exchange;
use crate::gatekeeper::Gatekeeper;
use crate::journal::Journal;
use crate::start;
use crate::storage::{Order, Storage};
use agreement::Roster;
use base::{Duration, Instant};
use config::Config;
use driver::Job;
use link::Destination;
use membership::View;
use node::{Action, CommandDone, CommandRefused, Node};
use shm::{Change, ChangeWriter, Counter, Map, Setup, SetupError, Side};
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use wire::{Configuration, Incarnation, Life, Message, NODES_MAX, NodeId, Op, ServiceId, Stint};

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
    /// Fast.
    pub fast: Fast,
    /// The kernel's gate.
    pub gate: Gatekeeper,
    /// The services.
    pub drivers: DriverThreads,
    /// The disk.
    pub storage: Storage,
    /// The operator.
    pub journal: Journal,
}

/// The way to fast: the socket on which it got its set-up, and hears what changes.
pub struct Fast {
    /// Hangs up as soon as fast dies.
    pub lifeline: UnixStream,
    changes: ChangeWriter,
    /// The event loop turns at least this often, so that fast sees it alive.
    pub turn: Duration,
    /// As often as the last change wants.
    wanted: Duration,
}

impl Fast {
    /// After the set-up has been sent. From here on a write to the socket never waits.
    pub fn new(lifeline: UnixStream, setup: &Setup) -> io::Result<Self> {
        lifeline.set_nonblocking(true)?;
        let turn = setup.interval / 4;
        Ok(Self { lifeline, changes: ChangeWriter::new(setup), turn, wanted: turn })
    }

    /// Has fast told, now or as soon as the socket takes it; a change that fast would not believe is refused. The loop
    /// turns as often as the quicker settings want until fast has the new ones.
    pub fn tell(&mut self, change: &Change) -> Result<(), SetupError> {
        self.changes.push(change)?;
        self.wanted = change.interval / 4;
        self.turn = self.turn.min(self.wanted);
        self.flush();
        Ok(())
    }

    /// Once a cycle: goes on with what the socket did not take. That fast is gone is seen elsewhere.
    pub fn flush(&mut self) {
        if matches!(self.changes.flush(&self.lifeline), Ok(false)) {
            self.turn = self.wanted;
        }
    }
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
    /// A configuration is agreed; the node waits for its document.
    Document(Arc<Configuration>),
}

/// Why this life must end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MustEnd {
    /// A newer life of this node exists.
    Superseded(Incarnation),
    /// This life was said to be off (R-FENCE).
    SaidOff,
    /// The agreed state at this op cannot be read by this release.
    Unreadable(Op),
    /// The next life has to take a number above this one.
    Renumbered(Incarnation),
    /// This node is configured no more.
    Dropped,
    /// The log has entries of this feature level, which this release does not understand.
    Outdated(u16),
}

impl Effects {
    /// Performs what the node wants done but for what nobody waits for.
    pub fn perform(&mut self, now: Instant, node: &mut Node) -> Performed {
        let mut performed = Performed::default();
        for _ in 0..ACTIONS_MAX {
            let Some(action) = node.poll_urgent() else { return performed };
            self.act(now, node, action, &mut performed);
        }
        performed.more = true;
        performed
    }

    /// The end of a turn: what nobody waits for, and the copies that are due. No news come of it.
    pub fn perform_rest(&mut self, now: Instant, node: &mut Node) {
        if let Some((to, message)) = node.poll_late() {
            self.send(now, to, message);
        }
        self.exchange.send_copies(now);
    }

    fn send(&mut self, now: Instant, to: agreement::Destination, message: Message) {
        let to = match to {
            agreement::Destination::All => Destination::All,
            agreement::Destination::Node(node) => Destination::Node(node),
        };
        self.exchange.send(now, to, message);
    }

    fn act(&mut self, now: Instant, node: &mut Node, action: Action, performed: &mut Performed) {
        let board = self.map.board();
        match action {
            Action::Send { to, message } => self.send(now, to, message),
            // PROTOCOL 5.3b: the freeze is stored before what was echoed is loaded; `Board::freeze`
            // does both.
            Action::Freeze { node: peer, stint } => {
                let frozen = board.freeze(peer, stint);
                node.handle_frozen(now, peer, stint, frozen);
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
            Action::StoreConfiguration { charter } => self.store(Order::Charter(charter)),
            Action::Configured(configuration) => {
                performed.news.push(News::Document(configuration));
            }
            Action::Dropped => performed.end = Some(MustEnd::Dropped),
            Action::Outdated { level } => performed.end = Some(MustEnd::Outdated(level)),
            Action::Publish(roster) => self.publish(&roster),
            Action::Superseded { highest } => performed.end = Some(MustEnd::Superseded(highest)),
            Action::SaidOff => performed.end = Some(MustEnd::SaidOff),
            Action::Unreadable { op } => performed.end = Some(MustEnd::Unreadable(op)),
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

    /// The agreed configuration has changed: interval, misses, nodes and addresses, here and in fast. Peers that are new are
    /// heard from their next frame on; the interval counts from the next beat. Links, ports and what else a life is told
    /// only at its start stay as they are; other links are refused, and then nothing has changed.
    pub fn configure(&mut self, config: &Config) -> Result<(), SetupError> {
        let change = start::change(config, self.me.node);
        self.fast.tell(&change)?;
        self.exchange.set_peers(change.nodes, &change.peers);
        Ok(())
    }

    /// Lives and stints, for fast. The own stint comes last: a lease counts only when its basis is
    /// there.
    fn publish(&self, roster: &Roster) {
        let board = self.map.board();
        // Votes that are given first: `Board::set_given` says why.
        board.set_given(roster.void());
        board.set_voters(roster.voters);
        board.set_voters_next(roster.next.unwrap_or_default());
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

#[cfg(test)]
mod tests {
    use super::Fast;
    use base::Duration;
    use shm::{
        Change, ChangeReader, Core, Frames, Key, LinkSetup, Mode, NetworkIo, Setup, SetupError,
        Took,
    };
    use std::os::unix::net::UnixStream;
    use wire::{ClusterId, Incarnation, Life, NodeId, Nonce};

    fn setup() -> Setup {
        let me = NodeId::new(1).unwrap();
        let link = LinkSetup {
            mode: Mode::Unicast,
            frames: Frames::Udp,
            own: "127.0.0.1".parse().unwrap(),
            interface: 0,
            target: None,
            port: 5,
            peers: Vec::new(),
        };
        Setup {
            me: Life { node: me, incarnation: Incarnation(1) },
            nonce: Nonce(1),
            cluster: ClusterId(1),
            key: Key([7; 32]),
            key_id: 1,
            feature: 1,
            config_hash: 5,
            interval: Duration::from_millis(100),
            misses: 3,
            rate_ppm: 1_000,
            margin: Duration::from_micros(50),
            nodes: [me].into_iter().collect(),
            priority: 0,
            core: Core::None,
            network_io: NetworkIo::Auto,
            links: vec![link],
        }
    }

    fn change(interval_ms: u64) -> Change {
        Change {
            interval: Duration::from_millis(interval_ms),
            misses: 3,
            rate_ppm: 1_000,
            margin: Duration::from_micros(50),
            nodes: setup().nodes,
            peers: vec![vec![]],
        }
    }

    #[test]
    fn the_loop_turns_as_often_as_fast_can_want() {
        let (own, other) = UnixStream::pair().unwrap();
        other.set_nonblocking(true).unwrap();
        let mut fast = Fast::new(own, &setup()).unwrap();
        let quarter = |ms| Duration::from_millis(ms) / 4;
        assert_eq!(fast.turn, quarter(100));
        fast.tell(&change(10)).unwrap();
        assert_eq!(fast.turn, quarter(10));
        // Until the socket is full: then fast does not know of the last one, and wants what it knows.
        while fast.turn == quarter(10) {
            fast.tell(&change(10)).unwrap();
            fast.tell(&change(40)).unwrap();
            if fast.turn == quarter(40) {
                fast.tell(&change(10)).unwrap();
            } else {
                break;
            }
        }
        fast.tell(&change(1_000)).unwrap();
        assert_eq!(fast.turn, quarter(10));
        let mut reader = ChangeReader::new(&setup());
        let mut last = None;
        loop {
            match reader.take(&other) {
                Took::Change(told) => last = Some(told.interval()),
                Took::Nothing if fast.turn == quarter(1_000) => break,
                Took::Nothing => fast.flush(),
                Took::Bad(_) | Took::Closed => panic!("not what was told"),
            }
        }
        assert_eq!(last, Some(Duration::from_millis(1_000)));
    }

    #[test]
    fn what_fast_would_not_believe_is_refused_and_changes_nothing() {
        let (own, _other) = UnixStream::pair().unwrap();
        let mut fast = Fast::new(own, &setup()).unwrap();
        let links = Change { peers: vec![vec![], vec![]], ..change(10) };
        assert!(matches!(fast.tell(&links), Err(SetupError::OutOfRange { field: "links" })));
        assert_eq!(fast.turn, Duration::from_millis(25));
    }
}
