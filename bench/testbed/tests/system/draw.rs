//! Combinations of faults drawn by seed: the same seed is the same plan.

use base::{Duration, Prng};
use testbed::topology::Shape;

/// Faults begin within this.
const BEGIN_MS: u64 = 1_200;
/// A fault lasts so long, at least and at most.
const SPAN_MS: (u64, u64) = (80, 1_500);

/// What is done to one node, or to all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// Its power is cut; it boots at the end.
    Cut(u8),
    /// Programs are killed; they start again at the end.
    Kill(u8, &'static [&'static str]),
    /// Programs are stopped, and go on at the end.
    Stop(u8, &'static [&'static str]),
    /// All its cables are out.
    Unplug(u8),
    /// Groups that do not hear each other.
    Split(Vec<Vec<u8>>),
    /// Nobody hears it.
    Unheard(u8),
    /// It hears nobody.
    Deaf(u8),
    /// Somebody puts the floating address on it by hand.
    HandPut(u8),
    /// Another tool deletes the gate's filters.
    Filters(u8),
    /// Its first interface goes and comes back.
    Anew(u8),
    /// The operator orders the service there.
    Move(u8),
    /// Ordinary work on all cores.
    Hogs,
    /// Foreign frames at its ports.
    Storm,
}

/// One fault and its time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Event {
    pub(crate) fault: Fault,
    pub(crate) from: Duration,
    pub(crate) to: Duration,
}

/// What happens in one seed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Plan {
    pub(crate) shape: Shape,
    pub(crate) witnesses: Vec<u8>,
    pub(crate) events: Vec<Event>,
}

const FAST: &str = "netguard-fast";
const CONTROL: &str = "netguard-control";
const BROOM: &str = "netguard-sweep";
const KILLED: [&[&str]; 4] = [&[FAST], &[CONTROL], &[FAST, CONTROL], &[BROOM, FAST, CONTROL]];
const STOPPED: [&[&str]; 3] = [&[FAST], &[CONTROL], &[FAST, CONTROL]];

impl Plan {
    /// Draws one. Which nodes own the service and lead is not known yet, but by the order of the
    /// file the first does both; so the first is drawn more often.
    pub(crate) fn draw(seed: u64) -> Self {
        let mut prng = Prng::new(seed);
        // Odd numbers of votes: whichever lives end, either the living or the fresh are a majority.
        let (nodes, witnesses) = match prng.below(4) {
            0 => (5, vec![]),
            1 => (3, vec![3]),
            _ => (3, vec![]),
        };
        let mut free: Vec<u8> = (1..=nodes).collect();
        let mut wires = true;
        let mut events = Vec::new();
        for _ in 0..2 + prng.below(3) {
            let fault = one(&mut prng, nodes, &mut free, &mut wires);
            let from = Duration::from_millis(prng.below(BEGIN_MS));
            let span = SPAN_MS.0 + prng.below(SPAN_MS.1 - SPAN_MS.0);
            events.extend(fault.map(|fault| Event {
                fault,
                from,
                to: from + Duration::from_millis(span),
            }));
        }
        Self { shape: Shape { nodes, links: 2 }, witnesses, events }
    }

    /// More than half of the votes.
    pub(crate) fn majority(&self) -> usize {
        usize::from(self.shape.nodes) / 2 + 1
    }
}

/// One fault of a node that has none yet; `wires` says whether the cables are still to be had.
fn one(prng: &mut Prng, nodes: u8, free: &mut Vec<u8>, wires: &mut bool) -> Option<Fault> {
    match prng.below(16) {
        0..=2 if *wires => {
            *wires = false;
            return Some(cables(prng, nodes));
        }
        3 => return Some(Fault::Hogs),
        4 => return Some(Fault::Storm),
        _ => {}
    }
    if free.is_empty() {
        return None;
    }
    let at = if prng.chance(1, 2) { 0 } else { prng.below(free.len() as u64) as usize };
    let node = free.remove(at);
    Some(match prng.below(14) {
        0 | 1 => Fault::Cut(node),
        2..=4 => Fault::Kill(node, KILLED[prng.below(KILLED.len() as u64) as usize]),
        5..=8 => Fault::Stop(node, STOPPED[prng.below(STOPPED.len() as u64) as usize]),
        9 | 10 => Fault::Unplug(node),
        11 => Fault::HandPut(node),
        12 => Fault::Filters(node),
        // A new interface has a new port, which knows nothing of who hears whom.
        _ if *wires => {
            *wires = false;
            Fault::Anew(node)
        }
        _ => Fault::Move(node),
    })
}

fn cables(prng: &mut Prng, nodes: u8) -> Fault {
    let node = 1 + prng.below(u64::from(nodes)) as u8;
    match prng.below(4) {
        0 => Fault::Unheard(node),
        1 => Fault::Deaf(node),
        _ => {
            let mut groups = vec![Vec::new(); 2 + prng.below(2) as usize];
            for node in 1..=nodes {
                let group = prng.below(groups.len() as u64) as usize;
                groups[group].push(node);
            }
            Fault::Split(groups)
        }
    }
}
