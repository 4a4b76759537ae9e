//! The network: per directed link, what is lost, doubled, late, or behind a wall.

use base::{Duration, Prng};
use std::collections::BTreeMap;
use wire::{NodeId, NodeSet, Stream};

/// What one link does to frames. Shares are in parts per million.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quality {
    /// Frames that are lost.
    pub loss_ppm: u64,
    /// Frames that come twice.
    pub double_ppm: u64,
    /// Frames that are held up for up to `late_max`, so that others pass them.
    pub late_ppm: u64,
    /// Frames with a turned bit (sealed frames only).
    pub damage_ppm: u64,
    /// Least time under way.
    pub base: Duration,
    /// Time that is added at random.
    pub jitter: Duration,
    /// Longest hold-up.
    pub late_max: Duration,
}

impl Quality {
    /// A switch in the same rack.
    pub const GOOD: Self = Self {
        loss_ppm: 0,
        double_ppm: 0,
        late_ppm: 0,
        damage_ppm: 0,
        base: Duration::from_micros(30),
        jitter: Duration::from_micros(40),
        late_max: Duration::ZERO,
    };
}

/// Frames from one set of nodes to another do not get through, on some links.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wall {
    /// The links, one bit each.
    pub links: u8,
    /// From these.
    pub from: NodeSet,
    /// To those.
    pub to: NodeSet,
    /// Of one process only: its frames have a port of their own.
    pub only: Option<Stream>,
    /// How many of a million frames it holds back: all, or a burst of loss.
    pub share_ppm: u64,
    /// They are not lost, but come up to so much later; zero = lost.
    pub held: Duration,
    /// And at least so much later, if they are held.
    pub held_least: Duration,
}

impl Wall {
    /// Nothing gets through.
    #[must_use]
    pub const fn whole(links: u8, from: NodeSet, to: NodeSet) -> Self {
        Self {
            links,
            from,
            to,
            only: None,
            share_ppm: ALL,
            held: Duration::ZERO,
            held_least: Duration::ZERO,
        }
    }
}

/// A copy of a frame on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Copy {
    /// How long it takes.
    pub delay: Duration,
    /// It is damaged, at this place.
    pub damage: Option<u64>,
}

/// All links.
#[derive(Clone, Debug)]
pub struct Network {
    /// How many links there are.
    pub links: u8,
    /// What they do to frames.
    pub quality: Quality,
    walls: BTreeMap<u64, Wall>,
    next: u64,
}

const ALL: u64 = 1_000_000;

impl Network {
    /// Links without walls.
    #[must_use]
    pub const fn new(links: u8, quality: Quality) -> Self {
        Self { links, quality, walls: BTreeMap::new(), next: 0 }
    }
    /// Every link, one bit each.
    #[must_use]
    pub const fn every_link(&self) -> u8 {
        (1 << self.links) - 1
    }
    /// Builds a wall; the number takes it down again.
    pub fn build(&mut self, wall: Wall) -> u64 {
        self.next += 1;
        self.walls.insert(self.next, wall);
        self.next
    }
    /// Takes a wall down.
    pub fn tear(&mut self, number: u64) {
        self.walls.remove(&number);
    }
    /// Takes all walls down.
    pub fn tear_all(&mut self) {
        self.walls.clear();
    }

    /// True if a connection between two nodes stands: some link carries what control says both ways.
    #[must_use]
    pub fn connects(&self, a: NodeId, b: NodeId) -> bool {
        let stands = |link: u8, from: NodeId, to: NodeId| {
            let meets = |wall: &Wall| {
                wall.links >> link & 1 == 1
                    && wall.from.contains(from)
                    && wall.to.contains(to)
                    && wall.only.is_none_or(|only| only == Stream::Control)
                    && wall.share_ppm >= ALL
                    && wall.held == Duration::ZERO
            };
            !self.walls.values().any(meets)
        };
        (0..self.links).any(|link| stands(link, a, b) && stands(link, b, a))
    }

    /// The copies of one frame that arrive: none, one or two.
    pub fn carry(
        &self,
        dice: &mut Prng,
        (link, stream): (u8, Stream),
        from: NodeId,
        to: NodeId,
    ) -> [Option<Copy>; 2] {
        let meets = |wall: &Wall| {
            wall.links >> link & 1 == 1
                && wall.from.contains(from)
                && wall.to.contains(to)
                && wall.only.is_none_or(|only| only == stream)
        };
        let mut held = Duration::ZERO;
        for wall in self.walls.values().filter(|wall| meets(wall)) {
            if wall.share_ppm >= ALL || dice.chance(wall.share_ppm, ALL) {
                if wall.held == Duration::ZERO {
                    return [None, None];
                }
                held = held.max(wall.held_least + Duration(dice.below(wall.held.0)));
            }
        }
        let quality = self.quality;
        if quality.loss_ppm > 0 && dice.chance(quality.loss_ppm, ALL) {
            return [None, None];
        }
        let twice = quality.double_ppm > 0 && dice.chance(quality.double_ppm, ALL);
        let again = twice.then(|| self.copy(dice));
        // A copy that some switch has kept comes when all else is long past.
        let kept = again.map(|copy| match dice.below(2) {
            0 => copy,
            _ => Copy { delay: copy.delay + Duration(dice.below(quality.late_max.0 + 1)), ..copy },
        });
        let first = self.copy(dice);
        [Some(Copy { delay: first.delay + held, ..first }), kept.filter(|_| held == Duration::ZERO)]
    }

    fn copy(&self, dice: &mut Prng) -> Copy {
        let quality = self.quality;
        let mut delay = quality.base + Duration(dice.below(quality.jitter.0));
        if quality.late_ppm > 0 && dice.chance(quality.late_ppm, ALL) {
            delay = delay + Duration(dice.below(quality.late_max.0));
        }
        let damaged = quality.damage_ppm > 0 && dice.chance(quality.damage_ppm, ALL);
        Copy { delay, damage: damaged.then(|| dice.next_u64()) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Network, Quality, Wall};
    use base::Prng;
    use wire::{NodeId, NodeSet, Stream};

    fn node(n: u8) -> NodeId {
        NodeId::new(n).unwrap()
    }

    #[test]
    fn a_wall_stands_in_one_direction_on_its_links_until_it_is_torn() {
        let mut network = Network::new(2, Quality::GOOD);
        let mut dice = Prng::new(1);
        let set = |n| [node(n)].into_iter().collect::<NodeSet>();
        let wall = Wall::whole(0b01, set(1), set(2));
        let number = network.build(wall);
        let mut passes = |network: &Network, link, a, b| {
            network.carry(&mut dice, (link, Stream::Fast), node(a), node(b))[0].is_some()
        };
        assert!(!passes(&network, 0, 1, 2));
        assert!(passes(&network, 1, 1, 2), "the other link");
        assert!(passes(&network, 0, 2, 1), "the other direction");
        network.tear(number);
        assert!(passes(&network, 0, 1, 2));
    }

    #[test]
    fn loss_and_doubles_come_at_their_rate() {
        let quality = Quality { loss_ppm: 100_000, double_ppm: 50_000, ..Quality::GOOD };
        let network = Network::new(1, quality);
        let mut dice = Prng::new(2);
        let (mut none, mut two) = (0, 0);
        for _ in 0..10_000 {
            match network.carry(&mut dice, (0, Stream::Fast), node(1), node(2)) {
                [None, _] => none += 1,
                [_, Some(_)] => two += 1,
                _ => {}
            }
        }
        assert!((800..1_200).contains(&none), "{none}");
        assert!((350..550).contains(&two), "{two}");
    }
}
