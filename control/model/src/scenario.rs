//! The scenarios and their bounds.

use crate::explore::{End, Expected, Exploration};
use crate::prelude::id;
use crate::state::{Budget, Roles, Seen, State, Step};
use crate::tell::name;
use crate::world::{Shape, World};
use wire::NodeSet;

/// One exploration: a cluster, how it begins, and what may happen then.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// The cluster.
    pub shape: Shape,
    /// From darkness to the first state.
    pub prelude: fn(&World) -> State,
    /// Most lives of a node.
    pub max_life: u32,
    /// Bounds that take seconds.
    pub quick: Budget,
    /// Bounds that take minutes.
    pub large: Budget,
    /// What must be seen within them.
    pub expected: &'static [Expected],
}

const LEASE: Expected = ("a lease is held", Seen::LEASE);
const REMOVAL: Expected = ("a removal commits", Seen::REMOVAL);
const ADMISSION: Expected = ("an admission commits", Seen::ADMISSION);
const TERM: Expected = ("another primary commits", Seen::TERM);
const ERA: Expected = ("an era begins", Seen::ERA);
const VOTE: Expected = ("others vote", Seen::VOTE);
const EVIDENCE: Expected = ("evidence commits", Seen::EVIDENCE);

const NONE: Budget = Budget {
    ticks: 0,
    beats: 0,
    turns: 0,
    crashes: 0,
    starts: 0,
    obituaries: 0,
    accusations: 0,
    removals: 0,
    evidence: 0,
    writes: 0,
    slips: 0,
    configures: 0,
    outages: 0,
};

/// Three nodes, or two, that run.
fn settled(world: &World) -> State {
    let nodes: Vec<u8> = (1..=world.shape.nodes).collect();
    world.settle(world.start(world.dark(), &nodes))
}

/// Nodes by their numbers.
fn nodes(nodes: &[u8]) -> NodeSet {
    nodes.iter().copied().map(id).collect()
}

/// Parts of the budget and whom they may be spent on.
fn roles(roles: &[(&'static str, &[u8])]) -> Roles {
    Roles(roles.iter().map(|(part, of)| (*part, nodes(of))).collect())
}

/// All of them.
#[must_use]
pub fn all() -> Vec<Scenario> {
    vec![
        primary(),
        removal(),
        restart(),
        admission(),
        pair(),
        cold(),
        bystander(),
        half(),
        clocks(),
        taken(),
        exchange(),
        overtaken(),
        again(),
        evidence_again(),
        evidence_fresh(),
    ]
}

fn primary() -> Scenario {
    Scenario {
        name: "primary",
        about: "the others take a living primary for silent, and one of them stands",
        shape: Shape {
            lost: vec!["Reject"],
            terms: 1,
            roles: roles(&[("accusations", &[1]), ("writes", &[1])]),
            ..Shape::of(3)
        },
        prelude: settled,
        max_life: 1,
        quick: Budget { accusations: 2, ..NONE },
        large: Budget { accusations: 2, writes: 1, ..NONE },
        expected: &[LEASE, TERM],
    }
}

fn removal() -> Scenario {
    Scenario {
        name: "removal",
        about: "a member that beats and holds a lease is removed",
        shape: Shape {
            lost: vec!["Bare", "Suspect"],
            roles: roles(&[("removals", &[3]), ("beats", &[2, 3]), ("turns", &[2])]),
            ..Shape::of(3)
        },
        prelude: settled,
        max_life: 1,
        quick: Budget { removals: 1, ticks: 2, beats: 2, ..NONE },
        large: Budget { removals: 1, ticks: 2, beats: 2, turns: 1, ..NONE },
        expected: &[LEASE, REMOVAL],
    }
}

fn restart() -> Scenario {
    Scenario {
        name: "restart",
        about: "a request is agreed without the third node, the second restarts without memory, the primary dies",
        shape: Shape {
            lost: vec!["Bare", "Fetch", "Reject"],
            terms: 1,
            roles: roles(&[
                ("writes", &[1]),
                ("obituaries", &[1]),
                ("crashes", &[2]),
                ("starts", &[2]),
                ("beats", &[2]),
            ]),
            ..Shape::of(3)
        },
        prelude: settled,
        max_life: 2,
        quick: Budget { writes: 1, obituaries: 1, crashes: 1, starts: 1, beats: 1, ..NONE },
        large: Budget {
            writes: 1,
            obituaries: 1,
            crashes: 1,
            starts: 1,
            beats: 2,
            ticks: 1,
            ..NONE
        },
        expected: &[LEASE, TERM],
    }
}

fn admission() -> Scenario {
    Scenario {
        name: "admission",
        about: "a new life is admitted",
        shape: Shape {
            lost: vec!["Bare", "Suspect", "Reject", "Stale"],
            roles: roles(&[("turns", &[3]), ("beats", &[3]), ("writes", &[1])]),
            ..Shape::of(3)
        },
        prelude: |world| {
            let state = settled(world);
            world.start(world.crash(state, &[3]), &[3])
        },
        max_life: 2,
        quick: Budget { ticks: 1, turns: 1, beats: 1, ..NONE },
        large: Budget { ticks: 1, turns: 1, beats: 1, writes: 1, ..NONE },
        expected: &[LEASE, REMOVAL, ADMISSION],
    }
}

fn pair() -> Scenario {
    Scenario {
        name: "pair",
        about: "a pair whose survivor goes on by evidence",
        shape: Shape {
            lost: vec!["Reject", "Bare"],
            terms: 3,
            roles: roles(&[
                ("crashes", &[2]),
                ("accusations", &[2]),
                ("evidence", &[2]),
                ("turns", &[1]),
                ("writes", &[1]),
            ]),
            ..Shape::of(2)
        },
        prelude: settled,
        max_life: 2,
        quick: Budget {
            ticks: 2,
            turns: 1,
            crashes: 1,
            starts: 1,
            accusations: 1,
            evidence: 1,
            ..NONE
        },
        large: Budget {
            ticks: 2,
            turns: 1,
            crashes: 1,
            starts: 1,
            accusations: 1,
            evidence: 1,
            writes: 1,
            ..NONE
        },
        expected: &[LEASE, EVIDENCE, REMOVAL],
    }
}

fn cold() -> Scenario {
    Scenario {
        name: "cold",
        about: "all three begin again, and with them an era",
        shape: Shape { lost: vec!["Suspect", "Reject", "Bare"], ..Shape::of(3) },
        prelude: |world| {
            let state = settled(world);
            let mut state = world.start(world.crash(state, &[1, 2, 3]), &[1, 2, 3]);
            state = world.rounds(state, 2);
            state.net.clear();
            state
        },
        max_life: 3,
        quick: Budget { ticks: 1, turns: 3, ..NONE },
        large: Budget { ticks: 1, turns: 3, crashes: 1, ..NONE },
        expected: &[ERA],
    }
}

fn half() -> Scenario {
    Scenario {
        name: "half",
        about: "two of three begin an era while the third holds its lease of the old one",
        shape: Shape {
            lost: vec!["Suspect", "Reject", "Bare", "Fetch", "Stale", "Committed"],
            stride: 2,
            roles: roles(&[("turns", &[3]), ("beats", &[1])]),
            ..Shape::of(3)
        },
        prelude: |world| {
            let state = settled(world);
            world.start(world.crash(state, &[2, 3]), &[2, 3])
        },
        max_life: 2,
        quick: Budget { ticks: 5, turns: 1, ..NONE },
        large: Budget { ticks: 6, turns: 1, ..NONE },
        expected: &[LEASE, ERA],
    }
}

fn clocks() -> Scenario {
    Scenario {
        name: "clocks",
        about: "a member whose clock is slow is removed",
        shape: Shape {
            misses: 4,
            rate_ppm: 250_000,
            lost: vec!["Bare", "Suspect"],
            roles: roles(&[
                ("removals", &[3]),
                ("slips", &[3]),
                ("turns", &[2]),
                ("beats", &[2, 3]),
            ]),
            ..Shape::of(3)
        },
        prelude: |world| world.renew(settled(world), id(3)),
        max_life: 1,
        quick: Budget { removals: 1, ticks: 5, turns: 1, slips: 1, ..NONE },
        large: Budget { removals: 1, ticks: 5, turns: 1, slips: 1, beats: 2, ..NONE },
        expected: &[LEASE, REMOVAL],
    }
}

fn bystander() -> Scenario {
    Scenario {
        name: "bystander",
        about: "both voters begin an era while a member without a vote holds its lease of the old one",
        shape: Shape {
            voters: nodes(&[1, 2]),
            lost: vec!["Suspect", "Reject", "Bare", "Fetch", "Stale", "Committed"],
            roles: roles(&[("beats", &[3])]),
            ..Shape::of(3)
        },
        prelude: |world| {
            let state = world.renew(settled(world), id(3));
            world.start(world.crash(state, &[1, 2]), &[1, 2])
        },
        max_life: 2,
        quick: Budget { ticks: 3, turns: 4, ..NONE },
        large: Budget { ticks: 4, turns: 5, beats: 1, ..NONE },
        expected: &[LEASE, ERA],
    }
}

fn taken() -> Scenario {
    Scenario {
        name: "taken",
        about: "two of three votes are taken one after the other; who lost the first one is removed",
        shape: Shape {
            wanted: nodes(&[1]),
            votes_first: true,
            stride: 2,
            deaf: vec![(id(2), id(1)), (id(3), id(1))],
            lost: vec!["Bare", "Suspect", "Fetch", "Reject"],
            roles: roles(&[("removals", &[2]), ("beats", &[2, 3]), ("turns", &[1])]),
            ..Shape::of(3)
        },
        prelude: |world| world.configure(settled(world)),
        max_life: 1,
        quick: Budget { ticks: 1, turns: 1, removals: 1, beats: 2, ..NONE },
        large: Budget { ticks: 2, turns: 3, removals: 1, beats: 2, ..NONE },
        expected: &[LEASE, VOTE, REMOVAL],
    }
}

fn exchange() -> Scenario {
    Scenario {
        name: "exchange",
        about: "one vote is given, one taken; the power may fail at any moment, and what is durable begins an era",
        shape: Shape {
            voters: nodes(&[1, 2]),
            wanted: nodes(&[1, 3]),
            stride: 2,
            slow_disks: true,
            outages: vec![nodes(&[1, 2, 3]), nodes(&[1, 2]), nodes(&[1, 3]), nodes(&[2, 3])],
            lost: vec!["Bare", "Suspect", "Reject"],
            roles: roles(&[("turns", &[1])]),
            ..Shape::of(3)
        },
        prelude: |world| world.configure(settled(world)),
        max_life: 1,
        quick: Budget { ticks: 1, turns: 1, outages: 1, ..NONE },
        large: Budget { ticks: 2, turns: 3, beats: 1, outages: 1, ..NONE },
        expected: &[LEASE, VOTE, ERA],
    }
}

fn overtaken() -> Scenario {
    Scenario {
        name: "overtaken",
        about: "other voters are wanted, one loses its vote, and meanwhile another takes the primary for silent and stands",
        shape: Shape {
            wanted: nodes(&[1, 3]),
            lost: vec!["Bare", "Fetch", "Reject"],
            terms: 1,
            roles: roles(&[("accusations", &[1]), ("writes", &[1]), ("configures", &[1])]),
            ..Shape::of(3)
        },
        prelude: settled,
        max_life: 1,
        quick: Budget { accusations: 2, configures: 1, ..NONE },
        large: Budget { accusations: 2, configures: 1, writes: 1, ..NONE },
        expected: &[LEASE, VOTE, TERM],
    }
}

fn again() -> Scenario {
    Scenario {
        name: "again",
        about: "a member that was removed and admitted again is removed again; what it said the first time is on its way",
        shape: Shape {
            stride: 2,
            deaf: vec![(id(3), id(1)), (id(2), id(1))],
            lost: vec!["Bare", "Suspect", "Fetch", "Reject", "Committed"],
            roles: roles(&[("removals", &[3]), ("beats", &[2, 3]), ("turns", &[1, 2])]),
            ..Shape::of(3)
        },
        prelude: |world| {
            let state = settled(world);
            let mut joins = Vec::new();
            let state = world.perform(&state, Step::Remove(id(1), id(3)));
            let mut state = world.settle_with(state, &mut |frame| {
                let packet = world.packet(frame);
                let from = (packet.from.node, packet.to) == (id(3), id(1));
                if from && packet.message().is_some_and(|m| name(&m) == "Join") {
                    joins.push(frame);
                }
            });
            state.net = joins;
            state.net.sort_unstable();
            state.net.dedup();
            state
        },
        max_life: 1,
        quick: Budget { removals: 1, ticks: 1, beats: 2, turns: 2, ..NONE },
        large: Budget { removals: 1, ticks: 2, beats: 2, turns: 3, ..NONE },
        expected: &[LEASE, REMOVAL],
    }
}

/// The second of a pair is off, and the first goes on by the operator's word.
fn alone(world: &World) -> State {
    let state = world.rounds(world.crash(settled(world), &[2]), 3);
    world.settle(world.perform(&state, Step::SaysOff(id(1), id(2))))
}

fn evidence_again() -> Scenario {
    Scenario {
        name: "evidence-again",
        about: "a pair whose second came back after the first went on by evidence, and is silent again",
        shape: Shape { lost: vec!["Reject", "Bare"], terms: 4, ..Shape::of(2) },
        prelude: |world| world.settle(world.start(alone(world), &[2])),
        max_life: 2,
        quick: Budget { ticks: 1, accusations: 1, beats: 1, ..NONE },
        large: Budget {
            ticks: 2,
            beats: 2,
            turns: 2,
            crashes: 1,
            accusations: 2,
            evidence: 1,
            ..NONE
        },
        expected: &[LEASE],
    }
}

fn evidence_fresh() -> Scenario {
    Scenario {
        name: "evidence-fresh",
        about: "the first of a pair begins again; before it is admitted the second, which may have gone on alone, dies",
        shape: Shape {
            lost: vec!["Reject", "Bare", "Suspect"],
            terms: 3,
            roles: roles(&[
                ("crashes", &[2]),
                ("accusations", &[2]),
                ("evidence", &[2]),
                ("turns", &[1]),
            ]),
            ..Shape::of(2)
        },
        prelude: |world| {
            let state = world.start(world.crash(settled(world), &[1]), &[1]);
            world.pass(state, 1)
        },
        max_life: 2,
        quick: Budget { ticks: 1, turns: 2, crashes: 1, accusations: 1, evidence: 1, ..NONE },
        large: Budget { ticks: 2, turns: 3, crashes: 1, accusations: 1, evidence: 1, ..NONE },
        expected: &[],
    }
}

impl Scenario {
    /// The scenario of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        all().into_iter().find(|scenario| scenario.name == name)
    }
    /// The exploration within `budget`, with these rules off.
    #[must_use]
    pub fn exploration(&self, budget: Budget, off: &[&'static str]) -> Exploration {
        let shape = Shape { off: off.to_vec(), ..self.shape.clone() };
        let calm =
            Shape { lost: vec![], deaf: vec![], stride: 1, slow_disks: false, ..shape.clone() };
        let mut world = World::new(calm);
        let mut start = (self.prelude)(&world);
        world.begin_at(&start, shape);
        start.left = budget;
        start.net.retain(|frame| world.is_carried(*frame));
        // The way here is not judged, and what was said on it is known to all.
        (start.broken, start.arrived) = (None, Vec::new());
        let expected = self.expected.to_vec();
        Exploration { world, start, max_life: self.max_life, expected, end: End::default() }
    }
}
