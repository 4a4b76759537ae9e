//! How faults are drawn: swarm style, each seed with weights of its own, so that some seeds see
//! only pauses, some only walls, and some everything at once (Groce and others: Swarm Testing,
//! ISSTA 2012).

use crate::faults::{Fault, Which};
use crate::network::Wall;
use crate::shape::{Shape, Timing};
use base::{Duration, Prng};
use wire::{NodeId, NodeSet, ServiceId, Stream};

/// Kinds of faults, as many as [`draw`] knows.
const KINDS: usize = 32;

/// How likely each kind is in one seed.
#[derive(Clone, Copy, Debug)]
pub struct Weights([u64; KINDS]);

impl Weights {
    /// Half of the kinds, or only a few, each with a weight of its own.
    #[must_use]
    pub fn draw(dice: &mut Prng) -> Self {
        let mut weights = [0; KINDS];
        let few = [2, 2, 4, 12][dice.below(4) as usize];
        for weight in &mut weights {
            if dice.chance(1, few) {
                *weight = 1 + dice.below(8);
            }
        }
        weights[dice.below(KINDS as u64) as usize] += 1;
        Self(weights)
    }
    fn pick(&self, dice: &mut Prng) -> usize {
        let mut at = dice.below(self.0.iter().sum());
        for (kind, weight) in self.0.iter().enumerate() {
            if at < *weight {
                return kind;
            }
            at -= weight;
        }
        0
    }
}

/// What the faults of one draw are about.
struct Draw<'a> {
    dice: &'a mut Prng,
    shape: &'a Shape,
    nodes: Vec<NodeId>,
    node: NodeId,
    other: NodeId,
    service: ServiceId,
    /// How long a machine is off.
    down: Duration,
    /// From a tenth of a deadline to eight of them, the short ones more often.
    long: Duration,
    /// About as long as the patience of the others: they suspect, and hear again.
    brink: Duration,
}

/// Everything is lost.
const WHOLE: u64 = 1_000_000;

/// Draws one fault.
pub fn draw(dice: &mut Prng, weights: &Weights, shape: &Shape) -> Fault {
    let kind = weights.pick(dice);
    let nodes: Vec<NodeId> = shape.nodes.iter().collect();
    let mut any = || nodes[dice.below(nodes.len() as u64) as usize];
    let (node, other) = (any(), any());
    let deadline = shape.deadline().0;
    let longest = deadline * [1, 2, 4, 8][dice.below(4) as usize];
    let draw = Draw {
        node,
        other,
        service: ServiceId(dice.below(shape.services.len() as u64) as u16),
        down: Duration::from_millis(10 + dice.below(300)),
        long: Duration(deadline / 10 + dice.below(longest)),
        brink: Duration(deadline * 3 / 4 + dice.below(deadline / 2)),
        dice,
        shape,
        nodes,
    };
    match kind {
        0..8 => draw.process(kind),
        8..16 => draw.network(kind),
        _ => draw.other(kind),
    }
}

/// How large an entry is: mostly some tens of kilobytes, which one frame of Ethernet or ten thousand would carry.
fn large(dice: &mut Prng) -> u32 {
    let most = [2_000, 40_000, 200_000, 1_048_576][dice.below(4) as usize];
    dice.below(most) as u32
}

impl Draw<'_> {
    /// Processes and machines.
    fn process(self, kind: usize) -> Fault {
        let (node, down, long) = (self.node, self.down, self.long);
        match kind {
            0 => Fault::Cut(node, down),
            1 => Fault::Kill(node, Which::Both),
            2 => Fault::Kill(node, Which::Control),
            3 => Fault::Kill(node, Which::Fast),
            4 => Fault::Leave(node, down),
            5 => Fault::Pause(node, Which::Fast, long),
            6 => Fault::Pause(node, Which::Control, long),
            _ => Fault::Pause(node, Which::Both, long),
        }
    }

    /// Links. One direction only: `strike` builds the other wall for the kinds that cut both ways.
    fn network(self, kind: usize) -> Fault {
        let (dice, shape, nodes) = (self.dice, self.shape, &self.nodes);
        let all = shape.nodes;
        let links = (1 << shape.links) - 1;
        let only = [None, None, Some(Stream::Fast), Some(Stream::Control)][dice.below(4) as usize];
        let one: NodeSet = [self.node].into_iter().collect();
        let some: NodeSet = nodes.iter().copied().filter(|_| dice.chance(1, 2)).collect();
        let rest = |of: NodeSet| nodes.iter().copied().filter(|n| !of.contains(*n)).collect();
        let wall =
            |from, share_ppm| Wall { only, share_ppm, ..Wall::whole(links, from, rest(from)) };
        match kind {
            8 => Fault::Wall(wall(some, WHOLE), self.long),
            9 => Fault::Wall(wall(one, WHOLE), self.long),
            10 => {
                let links = 1 << dice.below(u64::from(shape.links));
                Fault::Wall(Wall { only, ..Wall::whole(links, all, one) }, self.long)
            }
            11 => {
                let share_ppm = 100_000 + dice.below(500_000);
                Fault::Wall(Wall { only, share_ppm, ..Wall::whole(links, all, all) }, self.long)
            }
            // A member that beats but does not acknowledge (R-PROGRESS), long enough to be removed.
            12 => {
                let wall = Wall { only: Some(Stream::Control), ..wall(one, WHOLE) };
                Fault::Wall(wall, shape.deadline() * (3 + dice.below(6)))
            }
            13 => Fault::Wall(Wall { only: None, ..wall(one, WHOLE) }, self.brink),
            14 => Fault::Lossy(wall(one, dice.below(WHOLE)), dice.below(WHOLE), self.long),
            _ => {
                let mut parts = [NodeSet::EMPTY; 3];
                for node in nodes {
                    parts[dice.below(3) as usize].insert(*node);
                }
                Fault::Split(parts, self.long)
            }
        }
    }

    /// Clocks, gates, operators, and what needs more than one fault.
    fn other(self, kind: usize) -> Fault {
        let (dice, shape, service, node) = (self.dice, self.shape, self.service, self.node);
        match kind {
            16 => Fault::Pause(node, Which::Fast, self.brink),
            17 | 28 => {
                let which = [Which::Fast, Which::Both][dice.below(2) as usize];
                let span = self.brink + Duration(dice.below(shape.deadline().0));
                Fault::Sleepers(node, which, span)
            }
            18 | 19 => Fault::CutOwner { service, then: dice.below(3) as u8, down: self.down },
            20 => {
                let bound = u64::from(shape.rate_ppm);
                Fault::Rate(node, dice.below(2 * bound + 1) as i64 - bound as i64)
            }
            21 => Fault::GateLacks(node, self.long),
            22 => Fault::CutAnd(node, self.other, self.down),
            23 if shape.operator => Fault::Cut(node, self.down * 2),
            24 => Fault::KillOthers(node),
            25 | 27 => Fault::Relapse(node, Duration(dice.below(shape.deadline().0 * 2))),
            29 => {
                let timings: Vec<Timing> = shape.timings().collect();
                let timing = timings[dice.below(timings.len() as u64) as usize];
                match dice.below(2) {
                    0 => Fault::Settings(node, timing),
                    _ => Fault::Retime(node, timing),
                }
            }
            30 => Fault::Write(node, large(dice), 1 + dice.below(3) as u8),
            31 => Fault::BreakStreams(node),
            26 => Fault::Mute(node, self.other, shape.deadline() * (3 + dice.below(6))),
            _ => match dice.below(4) {
                0 => Fault::ConfirmOff(node, self.other),
                1 => Fault::Clear(service, self.other),
                _ => Fault::Move(service, node, self.other),
            },
        }
    }
}
