//! The fast actor: the heartbeat itself, and around it what netguard-fast does. Each call is one step:
//! between two of them the control plane of the node may do anything.

use crate::packet::Body;
use base::Instant;
use heartbeat::{Action, Board, EventKind, Heartbeat, Receipt, Settings};
use std::collections::BTreeMap;
use wire::{Incarnation, Life, LinkId, NodeId, NodeSet, Seq};

/// One life of the fast path.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Fast {
    heart: Heartbeat,
    me: NodeId,
    nodes: NodeSet,
    /// The highest life of each node and the number of its last beat: what the replay windows of the daemon keep of them.
    highest: BTreeMap<NodeId, (Incarnation, Seq)>,
}

/// What happens to it.
#[derive(Clone, PartialEq, Debug)]
pub enum FastInput {
    /// A frame came.
    Frame(Life, Body),
    /// It wakes.
    Turn,
    /// Control has ended.
    ControlLost,
}

/// What it does.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct FastOut {
    /// Frames, with whom they are for.
    pub frames: Vec<(NodeSet, Body)>,
    /// What it tells control, in order.
    pub events: Vec<EventKind>,
}

impl Fast {
    /// Begins.
    #[must_use]
    pub fn new(settings: Settings, now: Instant) -> Self {
        let (me, nodes) = (settings.me.node, settings.nodes);
        Self { heart: Heartbeat::new(settings, now), me, nodes, highest: BTreeMap::new() }
    }
    /// True if it wants to wake.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        self.heart.poll_deadline().is_some_and(|at| at <= now)
    }

    /// One step.
    pub fn step(&mut self, now: Instant, board: &Board, input: FastInput) -> FastOut {
        match input {
            FastInput::Frame(from, body) => {
                let seq = if let Body::Beat(seq, _) = body { seq } else { Seq(0) };
                let last = self.highest.entry(from.node).or_default();
                let repeated = seq != Seq(0) && (from.incarnation, seq) <= *last;
                if from.incarnation < last.0 || repeated {
                    return FastOut::default();
                }
                *last = (from.incarnation, seq).max(*last);
                match body {
                    Body::Beat(seq, beat) => {
                        self.heart.handle_beat(
                            Receipt::at(LinkId(0), now),
                            from,
                            seq,
                            &beat,
                            board,
                        );
                    }
                    Body::Echo(echo) => self.heart.handle_echo(now, from, &echo, board),
                    Body::Obituary(obituary) => self.heart.handle_obituary(now, from, &obituary),
                    Body::Message(_) => {}
                }
            }
            FastInput::Turn => {
                // Control lives; when it does not, that is an input of its own.
                board.make_progress();
                self.heart.handle_timeout(now, board);
            }
            FastInput::ControlLost => self.heart.handle_control_lost(now, board),
        }
        self.perform(now, board)
    }

    fn perform(&mut self, now: Instant, board: &Board) -> FastOut {
        let mut out = FastOut::default();
        let mut others = self.nodes;
        others.remove(self.me);
        while let Some(action) = self.heart.poll_action() {
            match action {
                Action::Beat => {
                    let (seq, beat) = self.heart.fill_beat(now, board);
                    out.frames.push((others, Body::Beat(seq, Box::new(beat))));
                }
                Action::Answer { to, echo, .. } => {
                    self.heart.next_seq();
                    out.frames.push(([to].into_iter().collect(), Body::Echo(echo)));
                }
                Action::Obituary(obituary) => {
                    self.heart.next_seq();
                    out.frames.push((others, Body::Obituary(obituary)));
                }
                Action::Tell(event) => out.events.push(event.kind),
                Action::Stop => {}
            }
        }
        out
    }
}
