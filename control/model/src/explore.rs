//! The model as stateright sees it, and how it is run.

use crate::history::Rule;
use crate::state::{Seen, State, Step};
use crate::world::World;
use stateright::{Checker, HasDiscoveries, Model, Property};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Something that some state must show, so that an empty exploration is seen.
pub type Expected = (&'static str, Seen);

/// A world with its first state and its bounds.
#[derive(Debug)]
pub struct Exploration {
    /// The cores.
    pub world: World,
    /// Where it begins.
    pub start: State,
    /// Most lives of a node.
    pub max_life: u32,
    /// What must be seen.
    pub expected: Vec<Expected>,
    /// Its end, complete or not.
    pub end: End,
}

/// When nothing follows any more. (What stateright calls a time limit does not end a single thread.)
#[derive(Debug, Default)]
pub struct End {
    at: Option<Instant>,
    /// All is visited: who retells a path meets every step again.
    over: AtomicBool,
}

impl End {
    fn is_now(&self) -> bool {
        !self.over.load(Ordering::Relaxed) && self.at.is_some_and(|at| Instant::now() >= at)
    }
}

impl Model for Exploration {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![self.start.clone()]
    }
    fn actions(&self, state: &State, actions: &mut Vec<Step>) {
        if self.end.is_now() {
            return;
        }
        self.world.steps(state, self.max_life, actions);
    }
    fn next_state(&self, state: &State, action: Step) -> Option<State> {
        self.world.next(state, action)
    }
    fn properties(&self) -> Vec<Property<Self>> {
        // Conditions are plain functions, so that each rule needs one of its own.
        macro_rules! hold {
            ($($rule:ident),*) => {
                vec![$(Property::always(Rule::$rule.name(), |_, s: &State| {
                    s.broken != Some(Rule::$rule)
                })),*]
            };
        }
        let mut properties = hold![
            Agreement,
            Survival,
            LeaseInView,
            OneOwner,
            OnePromise,
            VoterLife,
            OneEra,
            Quorum,
            TrueEvidence,
            LatestCharter
        ];
        for (name, seen) in &self.expected {
            let condition: fn(&Self, &State) -> bool = match *seen {
                Seen::LEASE => |_, s| s.seen.has(Seen::LEASE),
                Seen::REMOVAL => |_, s| s.seen.has(Seen::REMOVAL),
                Seen::ADMISSION => |_, s| s.seen.has(Seen::ADMISSION),
                Seen::TERM => |_, s| s.seen.has(Seen::TERM),
                Seen::ERA => |_, s| s.seen.has(Seen::ERA),
                Seen::VOTE => |_, s| s.seen.has(Seen::VOTE),
                _ => |_, s| s.seen.has(Seen::EVIDENCE),
            };
            properties.push(Property::sometimes(name, condition));
        }
        properties
    }
}

/// How far an exploration goes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Threads. With one the first counterexample is a shortest one.
    pub threads: usize,
    /// It ends after so many generated states, complete or not.
    pub states: usize,
    /// It ends after this time, complete or not.
    pub time: Duration,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Different states.
    pub unique: usize,
    /// States made, repeated ones too.
    pub generated: usize,
    /// Longest of the shortest paths.
    pub depth: usize,
    /// How long it took.
    pub took: Duration,
    /// Everything within the bounds was visited.
    pub complete: bool,
    /// Different fast processes, control processes, boards, frames, pasts.
    pub cores: [usize; 5],
    /// A rule that did not hold, and the steps to where it does not, in words.
    pub broken: Option<(&'static str, Vec<String>)>,
    /// What should have been seen and was not.
    pub unseen: Vec<&'static str>,
}

impl Outcome {
    /// Everything was visited, every rule held, and it was no empty exploration.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.complete && self.broken.is_none() && self.unseen.is_empty()
    }
}

impl Exploration {
    /// Visits what can be visited.
    #[must_use]
    pub fn run(mut self, limits: &Limits) -> Outcome {
        let began = Instant::now();
        self.end.at = began.checked_add(limits.time);
        let expected = self.expected.clone();
        let checker = self
            .checker()
            .threads(limits.threads)
            .target_state_count(limits.states)
            .finish_when(HasDiscoveries::AnyFailures)
            .spawn_bfs()
            .join();
        let took = began.elapsed();
        checker.model().end.over.store(true, Ordering::Relaxed);
        let found = checker.discoveries();
        let world = &checker.model().world;
        let broken = Rule::ALL.iter().find_map(|rule| {
            let path = found.get(rule.name())?.clone();
            Some((rule.name(), world.tell(path.into_vec())))
        });
        let unseen = expected.iter().map(|(name, _)| *name).filter(|n| !found.contains_key(n));
        Outcome {
            unique: checker.unique_state_count(),
            generated: checker.state_count(),
            depth: checker.max_depth(),
            took,
            complete: broken.is_none()
                && checker.state_count() < limits.states
                && took < limits.time,
            cores: world.sizes(),
            broken,
            unseen: unseen.collect(),
        }
    }
}
