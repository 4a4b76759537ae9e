//! What is known of one peer.

use base::{Duration, Instant};
use wire::replay::LINKS_MAX;
use wire::{Incarnation, Seq, Stint};

base::machine! {
    /// This node's own opinion of a peer; revocable.
    pub Health {
        /// Heard within the deadline.
        Alive,
        /// Silent on all links for the whole deadline.
        Suspect,
    }
    /// What changes it.
    HealthEvent {
        /// An authenticated frame came.
        Heard: Alive | Suspect => Alive;
        /// The deadline passed on all links.
        Silence: Alive => Suspect;
        /// It said itself that it ends.
        Obituary: Alive | Suspect => Suspect;
    }
}

/// The last beat that may be echoed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Echoable {
    pub(crate) seq: Seq,
    pub(crate) incarnation: Incarnation,
    pub(crate) stint: Stint,
    pub(crate) at: Instant,
}

/// One link to a peer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct PeerLink {
    pub(crate) heard: Instant,
    pub(crate) up: bool,
    pub(crate) quality: Quality,
}

/// What one link did with the last beats of a peer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Quality {
    pub(crate) carried: u16,
    pub(crate) doubled: u16,
    pub(crate) reordered: u16,
    /// Control was told that it is poor.
    pub(crate) poor: bool,
}

impl PeerLink {
    pub(crate) const fn new(heard: Instant) -> Self {
        let quality = Quality { carried: 0, doubled: 0, reordered: 0, poor: false };
        Self { heard, up: true, quality }
    }
}

/// One peer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Peer {
    pub(crate) incarnation: Incarnation,
    pub(crate) stint: Stint,
    pub(crate) health: Health,
    /// The life under which it was accused.
    pub(crate) accused: Incarnation,
    /// Its stint by the own log, as this core saw it last.
    pub(crate) admitted: Stint,
    /// Its last obituary.
    pub(crate) obituary: (Incarnation, Stint),
    /// Last frame, or the start of this life: deadlines begin afresh. Moved by own stalls (S10).
    pub(crate) heard: Instant,
    /// What the last beat of its life declares; none before its first.
    pub(crate) deadline: Option<Duration>,
    /// Beats since the quality of its links was judged.
    pub(crate) beats: u16,
    pub(crate) links: [PeerLink; LINKS_MAX],
    /// Number of its newest beat.
    pub(crate) newest: Seq,
    pub(crate) echoable: Option<Echoable>,
    /// Until when a lease can last that rests on own beats which this peer echoed, and by which of its lives.
    pub(crate) echoed: Option<(Incarnation, Instant)>,
}

impl Peer {
    pub(crate) const fn new(start: Instant) -> Self {
        Self {
            incarnation: Incarnation(0),
            stint: Stint::NONE,
            health: Health::Alive,
            accused: Incarnation(0),
            admitted: Stint::NONE,
            obituary: (Incarnation(0), Stint::NONE),
            heard: start,
            deadline: None,
            beats: 0,
            links: [PeerLink::new(start); LINKS_MAX],
            newest: Seq(0),
            echoable: None,
            echoed: None,
        }
    }
    /// A transition that the table does not have changes nothing.
    pub(crate) fn step(&mut self, event: HealthEvent) {
        self.health = self.health.on(event).unwrap_or(self.health);
    }
}

#[cfg(test)]
mod tests {
    use super::Health;

    #[test]
    fn the_drawing_of_the_table() {
        let drawing: Vec<String> = Health::EDGES
            .iter()
            .map(|(event, from, to)| format!("{from} -{event}> {to}"))
            .collect();
        let expected = [
            "Alive -Heard> Alive",
            "Suspect -Heard> Alive",
            "Alive -Silence> Suspect",
            "Alive -Obituary> Suspect",
            "Suspect -Obituary> Suspect",
        ];
        assert_eq!(drawing, expected);
    }
}
