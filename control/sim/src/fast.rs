//! The fast actor: what netguard-fast does around the heartbeat core, in the same order, but for a
//! clock that it is told and sockets that are a queue. A turn can be interrupted between any two
//! frames and any two actions: that is how the two processes of a node come to interleave (PROTOCOL
//! 5.3b).

use crate::gate::Gate;
use crate::packet::{BelievedDamage, Body, Packet};
use base::{Duration, Instant};
use heartbeat::{Action, Board, Event, EventKind, Heartbeat, Receipt};
use std::collections::VecDeque;
use std::rc::Rc;
use wire::{Beat, Seq};
use wire::{
    EchoBody, Header, Kind, Life, LinkId, NodeId, NodeSet, Nonce, Obituary, Reject, Replay,
};

/// Frames that wait in the sockets; what comes then is lost.
const INBOX_MAX: usize = 4_096;

/// Something that the fast process does to the world.
#[derive(Debug)]
pub enum FastOut {
    /// Sends a frame on every link.
    Beat(Seq, Rc<Beat>),
    /// Answers one node on one link.
    Answer(Seq, NodeId, LinkId, EchoBody),
    /// Says that a stint has ended.
    Obituary(Seq, Obituary),
    /// Tells control.
    Tell(Event),
    /// Ends.
    Stop,
}

/// How a turn ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// All is done; it sleeps.
    Done,
    /// It was interrupted and goes on where it was.
    Interrupted,
    /// It has stopped.
    Stopped,
}

/// A turn under way.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// Receives.
    Hears {
        /// How late it was woken.
        late: Duration,
    },
    /// Performs.
    Acts,
}

/// One life of the fast process.
#[derive(Debug)]
pub struct Fast {
    heartbeat: Heartbeat,
    replay: Box<Replay>,
    /// With the time when each came.
    inbox: VecDeque<(Instant, Packet)>,
    stage: Option<Stage>,
    interval: Duration,
    /// When it wanted to be woken at the latest.
    due: Instant,
    impostor: Option<(Life, Nonce)>,
    /// Settings that wait in the set-up socket.
    changes: VecDeque<heartbeat::Settings>,
    /// S10 is kept.
    forgives_stalls: bool,
    /// Its beats declare what it believes.
    understates: bool,
}

impl Fast {
    /// Begins.
    #[must_use]
    pub fn new(settings: heartbeat::Settings, nodes: NodeSet, now: Instant) -> Self {
        let (me, interval) = (settings.me, settings.interval);
        let mut fast = Self {
            heartbeat: Heartbeat::new(settings, now),
            replay: Box::new(Replay::new(me.node, nodes)),
            inbox: VecDeque::new(),
            stage: None,
            interval,
            due: Instant::MAX,
            impostor: None,
            changes: VecDeque::new(),
            forgives_stalls: true,
            understates: false,
        };
        fast.due = fast.deadline();
        fast
    }

    /// Breaks S10: it judges by its clock before it has heard what came while it slept, and its own
    /// stalls do not put deadlines off.
    pub const fn forgive_nothing(&mut self) {
        self.forgives_stalls = false;
    }
    /// Breaks S2: its beats declare an interval less than it believes.
    pub const fn understate(&mut self) {
        self.understates = true;
    }
    /// Control has new settings for it.
    pub fn change(&mut self, settings: heartbeat::Settings) {
        self.changes.push_back(settings);
    }
    /// A frame is in the socket.
    pub fn arrive(&mut self, now: Instant, packet: Packet) {
        if self.inbox.len() < INBOX_MAX {
            self.inbox.push_back((now, packet));
        }
    }
    /// When it wants its next turn; at once in the middle of one.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        if self.stage.is_some() {
            return Instant::ZERO;
        }
        self.heartbeat.poll_deadline().unwrap_or(Instant::MAX)
    }
    /// Control has ended.
    pub fn handle_control_lost(&mut self, now: Instant, board: &Board) {
        self.heartbeat.handle_control_lost(now, board);
    }

    /// One turn, or what `interrupt` leaves of it. `now` is its clock all the while: an
    /// interruption is where time passes.
    pub fn turn(
        &mut self,
        now: Instant,
        (board, gate): (&Board, &Gate),
        out: &mut Vec<FastOut>,
        mut interrupt: impl FnMut() -> bool,
    ) -> Result<Turn, BelievedDamage> {
        if self.stage.is_none() {
            while let Some(settings) = self.changes.pop_front() {
                self.interval = settings.interval;
                self.replay.set_configured(settings.nodes);
                self.heartbeat.handle_settings(now, settings);
            }
        }
        let stage = self.stage.unwrap_or(Stage::Hears { late: now.since(self.due) });
        if let Stage::Hears { late } = stage {
            if self.stage.is_none() && late > self.interval / 2 && !self.forgives_stalls {
                self.heartbeat.handle_timeout(now, board);
            }
            self.stage = Some(stage);
            while let Some((came, packet)) = self.inbox.pop_front() {
                self.hear((now, came), board, &packet, out)?;
                if interrupt() {
                    return Ok(Turn::Interrupted);
                }
            }
            // S10: only after what came meanwhile has been heard.
            if late > self.interval / 2 && self.forgives_stalls {
                self.heartbeat.handle_stall(now, late);
            }
            self.heartbeat.handle_timeout(now, board);
            self.stage = Some(Stage::Acts);
        }
        // The gate's word follows the board's as late as it may: before anything is sent.
        gate.set_lease_end(board.lease_end());
        while let Some(action) = self.heartbeat.poll_action() {
            match action {
                Action::Beat => {
                    let (seq, mut beat) = self.heartbeat.fill_beat(now, board);
                    if self.understates {
                        beat.deadline = beat.deadline.saturating_sub(self.interval);
                    }
                    gate.set_lease_end(board.lease_end());
                    out.push(FastOut::Beat(seq, Rc::new(beat)));
                }
                Action::Answer { to, link, echo } => {
                    out.push(FastOut::Answer(self.heartbeat.next_seq(), to, link, echo));
                }
                Action::Obituary(obituary) => {
                    out.push(FastOut::Obituary(self.heartbeat.next_seq(), obituary));
                }
                Action::Tell(event) => out.push(FastOut::Tell(event)),
                Action::Stop => {
                    out.push(FastOut::Stop);
                    return Ok(Turn::Stopped);
                }
            }
            if interrupt() {
                return Ok(Turn::Interrupted);
            }
        }
        self.stage = None;
        self.due = self.deadline();
        Ok(Turn::Done)
    }

    fn hear(
        &mut self,
        (now, came): (Instant, Instant),
        board: &Board,
        packet: &Packet,
        out: &mut Vec<FastOut>,
    ) -> Result<(), BelievedDamage> {
        let Ok((header, body)) = packet.open()? else { return Ok(()) };
        match self.replay.take(&header) {
            Ok(()) => {}
            Err(Reject::Impostor) => {
                self.tell_impostor(now, &header, out);
                return Ok(());
            }
            Err(_) => return Ok(()),
        }
        let from = header.from;
        match body {
            Body::Beat(beat) => {
                let receipt = Receipt { link: header.link, read: now, came };
                self.heartbeat.handle_beat(receipt, from, header.seq, &beat, board);
            }
            Body::Echo(echo) => self.heartbeat.handle_echo(now, from, &echo, board),
            Body::Obituary(obituary) => self.heartbeat.handle_obituary(now, from, &obituary),
            Body::Agreement(_) => debug_assert_eq!(header.kind, Kind::Agreement),
        }
        Ok(())
    }

    fn tell_impostor(&mut self, at: Instant, header: &Header, out: &mut Vec<FastOut>) {
        let claim = Some((header.from, header.nonce));
        if self.impostor != claim {
            self.impostor = claim;
            let Life { node, incarnation } = header.from;
            out.push(FastOut::Tell(Event { at, kind: EventKind::Impostor { node, incarnation } }));
        }
    }
}
