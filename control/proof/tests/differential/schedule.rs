//! Schedules that both engines support, by seed.

use crate::engine::Engine;
use base::Prng;

/// Something that happens.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Propose(u8, u64),
    Link(u8, u8, bool),
    /// Nothing passes between a node and the others.
    Isolate(u8, bool),
    /// The same for whoever leads.
    IsolateLeader,
    Pause(u8, bool),
    PauseLeader,
    Delay(u64),
    Heal,
}

/// A schedule: milliseconds from its beginning, and what happens then.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    pub(crate) nodes: u8,
    pub(crate) events: Vec<(u64, Event)>,
}

impl Schedule {
    pub(crate) fn draw(seed: u64) -> Self {
        let mut dice = Prng::new(seed ^ 0xD1FF);
        let nodes = [3, 3, 5, 4][dice.below(4) as usize];
        let (mut at, mut value, mut events) = (0, 0, Vec::new());
        let calm = 1 + dice.below(4);
        for _ in 0..20 + dice.below(60) {
            let gap = [5, 60, 300][dice.below(3) as usize];
            at += dice.below(gap);
            let node = 1 + dice.below(u64::from(nodes)) as u8;
            let other = 1 + (u64::from(node) + dice.below(u64::from(nodes) - 1)) as u8 % nodes;
            if dice.chance(calm, 5) {
                value += 1;
                events.push((at, Event::Propose(node, value)));
                continue;
            }
            events.push((
                at,
                match dice.below(9) {
                    0 => Event::Link(node, other, false),
                    1 => Event::Link(node, other, true),
                    2 => Event::Isolate(node, false),
                    3 => Event::Isolate(node, true),
                    4 => Event::IsolateLeader,
                    5 => Event::Pause(node, dice.chance(1, 3)),
                    6 => Event::PauseLeader,
                    7 => Event::Delay(1 + dice.below(8)),
                    _ => Event::Heal,
                },
            ));
        }
        Self { nodes, events }
    }

    /// The values that it proposes.
    pub(crate) fn proposals(&self) -> impl Iterator<Item = u64> {
        self.events.iter().filter_map(|(_, event)| match event {
            Event::Propose(_, value) => Some(*value),
            _ => None,
        })
    }
}

/// Lets something happen.
pub(crate) fn perform(engine: &mut dyn Engine, event: &Event) {
    match event {
        Event::Propose(node, value) => engine.propose(*node, *value),
        Event::Link(from, to, up) => engine.set_link(*from, *to, *up),
        Event::Isolate(node, up) => isolate(engine, *node, *up),
        Event::IsolateLeader => {
            if let Some(leader) = engine.leader() {
                isolate(engine, leader, false);
            }
        }
        Event::Pause(node, paused) => engine.set_paused(*node, *paused),
        Event::PauseLeader => {
            if let Some(leader) = engine.leader() {
                engine.set_paused(leader, true);
            }
        }
        Event::Delay(ms) => engine.set_delay(*ms),
        Event::Heal => heal(engine),
    }
}

fn isolate(engine: &mut dyn Engine, node: u8, up: bool) {
    for other in (1..=engine.nodes()).filter(|other| *other != node) {
        engine.set_link(node, other, up);
        engine.set_link(other, node, up);
    }
}

/// All links carry, nobody is paused, nothing takes long.
pub(crate) fn heal(engine: &mut dyn Engine) {
    engine.set_delay(1);
    for node in 1..=engine.nodes() {
        engine.set_paused(node, false);
        isolate(engine, node, true);
    }
}
