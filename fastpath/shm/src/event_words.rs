//! An event as eight words: time, kind, and up to six values. Numbers of kinds are never reused.

use base::{Duration, Instant};
use heartbeat::{Event, EventKind};
use wire::{Incarnation, Life, LinkId, NodeId, Stint};

/// Words of a record: 64 bytes, one cache line.
pub const WORDS: usize = 8;

const SUSPECTED: u64 = 1;
const TRUSTED: u64 = 2;
const OBITUARY: u64 = 3;
const APPEARED: u64 = 4;
const LEASE_GAINED: u64 = 5;
const LEASE_LOST: u64 = 6;
const STALLED: u64 = 7;
const LINK_DOWN: u64 = 8;
const LINK_UP: u64 = 9;
const IMPOSTOR: u64 = 10;
// 11 was an event that nothing told; the number is not used again.
const LINK_POOR: u64 = 12;
const LINK_GOOD: u64 = 13;

/// The event's words.
#[must_use]
pub fn encode(event: &Event) -> [u64; WORDS] {
    let (kind, a, b, c) = match event.kind {
        EventKind::Suspected { life, stint, heard, deadline } => {
            return [event.at.0, SUSPECTED, pack(life), stint.0, heard.0, deadline.0, 0, 0];
        }
        EventKind::Trusted { life, stint } => (TRUSTED, pack(life), stint.0, 0),
        EventKind::Obituary { life, stint } => (OBITUARY, pack(life), stint.0, 0),
        EventKind::Appeared { life } => (APPEARED, pack(life), 0, 0),
        EventKind::LeaseGained => (LEASE_GAINED, 0, 0, 0),
        EventKind::LeaseLost => (LEASE_LOST, 0, 0, 0),
        EventKind::Stalled { lost } => (STALLED, lost.0, 0, 0),
        EventKind::LinkDown { node, link } => (LINK_DOWN, node.get().into(), link.0.into(), 0),
        EventKind::LinkUp { node, link } => (LINK_UP, node.get().into(), link.0.into(), 0),
        EventKind::Impostor { node, incarnation } => {
            (IMPOSTOR, pack(Life { node, incarnation }), 0, 0)
        }
        EventKind::LinkPoor { node, link, lost, doubled, reordered, of } => {
            let counts = [lost, doubled, reordered, of];
            let counts = counts.iter().fold(0, |word, count| word << 16 | u64::from(*count));
            (LINK_POOR, node.get().into(), link.0.into(), counts)
        }
        EventKind::LinkGood { node, link } => (LINK_GOOD, node.get().into(), link.0.into(), 0),
    };
    [event.at.0, kind, a, b, c, 0, 0, 0]
}

/// The event of these words; none if they are not an event's.
#[must_use]
pub fn decode(words: &[u64; WORDS]) -> Option<Event> {
    let [at, kind, a, b, c, d, ..] = *words;
    let kind = match kind {
        SUSPECTED => EventKind::Suspected {
            life: life(a)?,
            stint: Stint(b),
            heard: Instant(c),
            deadline: Instant(d),
        },
        TRUSTED => EventKind::Trusted { life: life(a)?, stint: Stint(b) },
        OBITUARY => EventKind::Obituary { life: life(a)?, stint: Stint(b) },
        APPEARED => EventKind::Appeared { life: life(a)? },
        LEASE_GAINED => EventKind::LeaseGained,
        LEASE_LOST => EventKind::LeaseLost,
        STALLED => EventKind::Stalled { lost: Duration(a) },
        LINK_DOWN => EventKind::LinkDown { node: node(a)?, link: link(b)? },
        LINK_UP => EventKind::LinkUp { node: node(a)?, link: link(b)? },
        IMPOSTOR => {
            let Life { node, incarnation } = life(a)?;
            EventKind::Impostor { node, incarnation }
        }
        LINK_POOR => EventKind::LinkPoor {
            node: node(a)?,
            link: link(b)?,
            lost: (c >> 48) as u16,
            doubled: (c >> 32) as u16,
            reordered: (c >> 16) as u16,
            of: c as u16,
        },
        LINK_GOOD => EventKind::LinkGood { node: node(a)?, link: link(b)? },
        _ => return None,
    };
    Some(Event { at: Instant(at), kind })
}

/// Node in the upper half, incarnation in the lower.
fn pack(life: Life) -> u64 {
    u64::from(life.node.get()) << 32 | u64::from(life.incarnation.0)
}

fn life(word: u64) -> Option<Life> {
    Some(Life { node: node(word >> 32)?, incarnation: Incarnation(word as u32) })
}

fn node(word: u64) -> Option<NodeId> {
    NodeId::new(u8::try_from(word).ok()?)
}

fn link(word: u64) -> Option<LinkId> {
    u8::try_from(word).ok().map(LinkId)
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};
    use base::{Duration, Instant};
    use heartbeat::{Event, EventKind};
    use wire::{Incarnation, Life, LinkId, NodeId, Stint};

    /// One event of every kind.
    pub(crate) fn samples() -> Vec<Event> {
        let node = NodeId::new(128).unwrap();
        let life = Life { node, incarnation: Incarnation(u32::MAX) };
        let stint = Stint(u64::MAX);
        [
            EventKind::Suspected { life, stint, heard: Instant(3), deadline: Instant(4) },
            EventKind::Trusted { life, stint },
            EventKind::Obituary { life, stint },
            EventKind::Appeared { life },
            EventKind::LeaseGained,
            EventKind::LeaseLost,
            EventKind::Stalled { lost: Duration(9) },
            EventKind::LinkDown { node, link: LinkId(3) },
            EventKind::LinkUp { node, link: LinkId(0) },
            EventKind::Impostor { node, incarnation: Incarnation(7) },
            EventKind::LinkPoor {
                node,
                link: LinkId(2),
                lost: 1,
                doubled: u16::MAX,
                reordered: 3,
                of: 512,
            },
            EventKind::LinkGood { node, link: LinkId(2) },
        ]
        .into_iter()
        .map(|kind| Event { at: Instant(u64::MAX), kind })
        .collect()
    }

    #[test]
    fn every_kind_comes_back_as_it_went() {
        for event in samples() {
            assert_eq!(decode(&encode(&event)), Some(event));
        }
    }

    #[test]
    fn words_that_are_no_event_are_refused() {
        assert_eq!(decode(&[0; 8]), None);
        assert_eq!(decode(&[0, 999, 0, 0, 0, 0, 0, 0]), None);
        // Node 0, node 129, a link beyond a byte.
        assert_eq!(decode(&[0, super::TRUSTED, 5, 0, 0, 0, 0, 0]), None);
        assert_eq!(decode(&[0, super::TRUSTED, 129 << 32, 0, 0, 0, 0, 0]), None);
        assert_eq!(decode(&[0, super::LINK_UP, 1, 256, 0, 0, 0, 0]), None);
        assert_eq!(decode(&[0, 11, 5, 0, 0, 0, 0, 0]), None, "a retired number");
    }
}
