//! What the beats and their echoes say about the network: loss, jitter both ways, round trips. Nothing here decides anything.

use base::{Duration, Instant};
use shm::measures::{Fate, Measures};
use wire::replay::LINKS_MAX;
use wire::{Beat, Echo, Incarnation, Life, LinkId, NODES_MAX, Seq};

/// Own beats whose times are kept: echoes of older ones are no news.
const OWN: usize = 64;

/// The last beat of a peer that passed a link.
#[derive(Clone, Copy, Debug)]
struct Passed {
    seq: Seq,
    /// By the peer's clock.
    sent: Instant,
    /// By the own.
    came: Instant,
}

/// The last own beat that a peer echoed.
#[derive(Clone, Copy, Debug)]
struct Echoed {
    seq: u32,
    /// By the own clock.
    sent: Instant,
    /// By the peer's, if its echo said so.
    arrived: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Peer {
    incarnation: Incarnation,
    links: [Option<Passed>; LINKS_MAX],
    echoed: Option<Echoed>,
}

impl Peer {
    const NEW: Self = Self { incarnation: Incarnation(0), links: [None; LINKS_MAX], echoed: None };
}

/// What was seen last; fixed memory.
#[derive(Debug)]
pub struct Meter {
    me: Life,
    peers: Box<[Peer]>,
    /// Number and time of own beats, by the number.
    own: [(u32, Instant); OWN],
}

impl Meter {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(me: Life) -> Self {
        Self { me, peers: vec![Peer::NEW; NODES_MAX].into(), own: [(0, Instant::ZERO); OWN] }
    }

    /// An own beat was sent.
    pub const fn sent(&mut self, seq: Seq, at: Instant) {
        self.own[seq.0 as usize % OWN] = (seq.0 as u32, at);
    }

    /// A beat came on `link`, new there.
    pub fn beat(
        &mut self,
        measures: &Measures,
        (link, came): (LinkId, Instant),
        (from, seq): (Life, Seq),
        beat: &Beat,
    ) {
        let peer = self.peer(from);
        if let Some(last) = peer.links.get_mut(usize::from(link.0))
            && let Some(words) = measures.peer(from.node).link(link)
        {
            let this = Passed { seq, sent: beat.sent, came };
            words.note(last.replace(this).map_or(
                Fate::Carried { lost: 0, jitter: None },
                |before| {
                    let lost = lost_between(before, this, beat.interval);
                    let jitter = apart(before.sent, this.sent, before.came, this.came);
                    Fate::Carried { lost, jitter: Some(jitter) }
                },
            ));
        }
        if let Some(echo) = beat.echo(self.me.node) {
            let held = echo.held;
            let known = held < Echo::HELD_MAX;
            let arrived = known.then(|| beat.sent - held);
            self.echo(measures, from, came, echo, arrived);
        }
    }

    /// An own beat was echoed in a frame that came at `came`; `arrived` is when the peer had it, by its own clock.
    pub fn echo(
        &mut self,
        measures: &Measures,
        from: Life,
        came: Instant,
        echo: Echo,
        arrived: Option<Instant>,
    ) {
        let (seq, sent) = self.own[echo.seq as usize % OWN];
        let me = self.me.incarnation.0 as u16;
        let peer = self.peer(from);
        // Only the first echo of a beat, and only of one whose time is still known.
        let newer = |last: Echoed| (echo.seq.wrapping_sub(last.seq) as i32) > 0;
        let mine = seq == echo.seq && echo.incarnation == me;
        if !mine || sent == Instant::ZERO || !peer.echoed.is_none_or(newer) {
            return;
        }
        let before = peer.echoed.replace(Echoed { seq, sent, arrived });
        let words = measures.peer(from.node);
        if echo.held < Echo::HELD_MAX {
            words.round_trip.record(came.since(sent).saturating_sub(echo.held));
        }
        if let (Some(before), Some(arrived)) = (before, arrived)
            && let Some(first) = before.arrived
        {
            words.outgoing.record(apart(before.sent, sent, first, arrived));
        }
    }

    /// What is known of the peer's present life.
    fn peer(&mut self, life: Life) -> &mut Peer {
        let peer = &mut self.peers[life.node.index()];
        if peer.incarnation != life.incarnation {
            *peer = Peer { incarnation: life.incarnation, ..Peer::NEW };
        }
        peer
    }
}

/// RFC 3550, 6.4.1: by how much more, or less, two came apart than they were sent.
const fn apart(sent: Instant, then: Instant, came: Instant, at: Instant) -> Duration {
    let (sent, came) = (then.0.wrapping_sub(sent.0) as i64, at.0.wrapping_sub(came.0) as i64);
    Duration(came.saturating_sub(sent).unsigned_abs())
}

/// Beats that were sent between two and did not come: as many as there was time for, but no more than numbers are missing.
/// Answers take numbers too, and a sender that slept sends nothing; neither is a loss.
fn lost_between(before: Passed, this: Passed, interval: Duration) -> u64 {
    let numbers = this.seq.0.saturating_sub(before.seq.0).saturating_sub(1);
    let span = this.sent.since(before.sent);
    let times = (span.0 + interval.0 / 2).checked_div(interval.0).unwrap_or(0).saturating_sub(1);
    numbers.min(times)
}

#[cfg(test)]
mod tests {
    use super::Meter;
    use base::{Duration, Instant};
    use shm::Map;
    use wire::{Beat, Echo, Incarnation, Life, LinkId, NodeId, Seq, Stint};

    const LINK: LinkId = LinkId(1);

    fn node(n: u8) -> NodeId {
        NodeId::new(n).unwrap()
    }

    fn peer(incarnation: u32) -> Life {
        Life { node: node(2), incarnation: Incarnation(incarnation) }
    }

    const fn us(n: u64) -> Instant {
        Instant(n * 1_000)
    }

    /// A beat that was sent then, by a clock that is far ahead, with the echo of own beat `seq` held for so long.
    fn beat(sent_us: u64, echo: Option<(u64, u64)>) -> Beat {
        let interval = Duration::from_millis(10);
        let mut beat = Beat::new(Stint(1), us(7_000_000_000 + sent_us), interval * 3, interval);
        if let Some((seq, held_us)) = echo {
            let held = Duration::from_micros(held_us);
            beat.set_echo(node(1), Echo::new(Seq(seq), Incarnation(1), held));
        }
        beat
    }

    #[test]
    fn jitter_and_loss_are_told_from_what_the_sender_says() {
        let map = Map::nameless().unwrap();
        let mut meter = Meter::new(Life { node: node(1), incarnation: Incarnation(1) });
        let mut hear = |life, seq, sent, came| {
            meter.beat(map.measures(), (LINK, us(came)), (peer(life), Seq(seq)), &beat(sent, None));
        };
        hear(1, 1, 0, 500);
        hear(1, 2, 10_000, 10_700);
        // Two are missing; a third number was an answer's.
        hear(1, 6, 40_000, 40_600);
        // It slept: nothing was lost.
        hear(1, 7, 90_000, 90_600);
        // A new life has no predecessor.
        hear(2, 1, 10, 900_000);
        let spread = map.measures().peer(node(2)).link(LINK).unwrap().snapshot();
        assert_eq!((spread.carried, spread.lost), (5, 2));
        assert_eq!(
            (spread.jitter.count(), spread.jitter.largest()),
            (3, Duration::from_micros(200))
        );
    }

    #[test]
    fn an_echo_gives_the_round_trip_and_what_the_way_there_varied_by() {
        let map = Map::nameless().unwrap();
        let mut meter = Meter::new(Life { node: node(1), incarnation: Incarnation(1) });
        let mut hear = |seq, sent, echo, came| {
            let beat = beat(sent, Some(echo));
            meter.sent(Seq(echo.0), us(echo.0 * 10_000));
            meter.beat(map.measures(), (LINK, us(came)), (peer(1), Seq(seq)), &beat);
        };
        // Own beat 1 left at 10 ms and arrived at its 10.1, was held for 4 ms; the echo came at 14.2.
        hear(1, 14_100, (1, 4_000), 14_200);
        // Own beat 2: 300 us on its way.
        hear(2, 24_300, (2, 4_000), 24_400);
        // The same echo again is no news.
        hear(3, 34_300, (2, 14_000), 34_400);
        let peer = map.measures().peer(node(2));
        let (round, out) = (peer.round_trip.snapshot(), peer.outgoing.snapshot());
        assert_eq!((round.count(), round.largest()), (2, Duration::from_micros(400)));
        assert_eq!((out.count(), out.largest()), (1, Duration::from_micros(200)));
        let from = Life { node: node(2), incarnation: Incarnation(1) };
        // An echo of what was never sent, and one of another life's beat.
        let of = |seq, life| Echo::new(Seq(seq), Incarnation(life), Duration::ZERO);
        meter.sent(Seq(3), us(30_000));
        for echo in [of(9, 1), of(3, 2)] {
            meter.echo(map.measures(), from, us(40_000), echo, None);
        }
        assert_eq!(peer.round_trip.snapshot().count(), 2);
        meter.echo(map.measures(), from, us(40_000), of(3, 1), None);
        assert_eq!(peer.round_trip.snapshot().count(), 3);
    }
}
