//! Anything in any order into one node: messages that no peer would send, events of lives that never
//! were, outcomes of jobs that nobody ordered, time that jumps. Nothing panics, nothing hangs, and
//! what it does stays bounded.

use crate::apply::{self, id, services_of, settings, settings_of};
use crate::arbitrary;
use crate::choices::Choices;
use agreement::Status;
use base::{Duration, Instant};
use driver::{Done, Outcome};
use heartbeat::Event;
use heartbeat::board::Frozen;
use node::{Action, Command, GateState, Node};
use wire::{
    Configuration, Edition, Generation, Incarnation, Life, Message, Op, ServiceId, Stint, Term,
};

/// Most steps of one input.
const STEPS_MAX: u64 = 120;
/// So many actions for one input are no work but a node that talks to itself.
const ACTIONS_MAX: usize = 4_096;

/// What a case came to, so that a test can see that cases come to anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reached {
    /// Something is committed.
    pub committed: bool,
    /// The node led a term, and committed in it.
    pub led: bool,
    /// A configuration or a vote after that of the file is in force.
    pub reconfigured: bool,
    /// A charter was ordered to be stored.
    pub charter: bool,
}

/// One node and the edges around it.
struct Bench {
    node: Node,
    now: Instant,
    /// Charters that are on their way to the disk.
    storing: Vec<Edition>,
    reached: Reached,
}

/// [`run`], for those who want to know only whether something is wrong.
pub fn check(input: &[u8]) -> Result<(), String> {
    run(input).map(drop)
}

/// Reads the input as steps and takes them.
pub fn run(input: &[u8]) -> Result<Reached, String> {
    let mut c = Choices::new(input);
    let me = Life { node: id(1 + c.below(6) as u8), incarnation: Incarnation(2) };
    let now = Instant(c.edge(64) >> c.below(20));
    // Who is the only voter leads soon.
    let settings = if c.chance(1, 3) {
        settings_of(me, [me.node].into_iter().collect())
    } else {
        settings(me)
    };
    let node = Node::new(settings, now);
    let mut bench = Bench { node, now, storing: Vec::new(), reached: Reached::default() };
    for _ in 0..STEPS_MAX {
        if c.are_used_up() {
            break;
        }
        let jump = if c.chance(1, 20) { c.edge(64) >> 8 } else { c.below(40_000_000) };
        bench.now = Instant(bench.now.0.saturating_add(jump));
        step(&mut c, &mut bench);
        bench.perform(&mut c)?;
        bench.look();
    }
    Ok(bench.reached)
}

/// A Prepare of a primary whose log goes on where this node's ends: what is in it is arbitrary, and is committed.
fn agreed(c: &mut Choices<'_>, agreement: &agreement::Agreement) -> (Life, Message) {
    let (mut term, me) = (agreement.term(), agreement.life());
    if term == Term::NONE || term.life.node == me.node {
        let node = id(1 + me.node.get() % 6);
        term = Term { life: Life { node, incarnation: Incarnation(2) }, ..term };
        (term.era, term.counter) = (term.era.max(1), term.counter.saturating_add(1));
    }
    let prev_op = agreement.op();
    let prev_term = agreement.log().term_at(prev_op).unwrap_or(Term::NONE);
    let mut version = agreement.roster().version();
    let mut entries = if prev_op == Op::ZERO {
        apply::beginning(term, [me.node, term.life.node].into_iter().collect())
    } else {
        Vec::new()
    };
    for mut entry in arbitrary::entries(c, term.era, prev_op) {
        arbitrary::follow(c, &mut entry.kind, &mut version);
        entry.term = term;
        entries.push(entry);
    }
    let commit = Op(prev_op.0.saturating_add(c.below(entries.len() as u64 + 1)));
    let (release, held) = (Op::ZERO, Op::ZERO);
    (term.life, Message::Prepare { term, prev_op, prev_term, entries, commit, release, held })
}

fn step(c: &mut Choices<'_>, bench: &mut Bench) {
    let (node, now) = (&mut bench.node, bench.now);
    let agreement = node.agreement();
    let (era, about) = (agreement.term().era.max(1), agreement.op().0);
    let (life, stint) = (arbitrary::life(c), arbitrary::stint(c, era, about));
    match c.below(16) {
        0..=3 => {
            let message = arbitrary::message(c, era, about);
            node.handle_message(now, life, message);
        }
        4 | 5 => {
            let (from, message) = agreed(c, agreement);
            node.handle_message(now, from, message);
        }
        6 => {
            let kind = arbitrary::event(c, life, stint);
            node.handle_event(now, Event { at: Instant(c.edge(64)), kind });
        }
        7 => {
            let service = ServiceId(c.below(5) as u16);
            let result = match c.below(5) {
                0 => Done::Started,
                1 => Done::Stopped,
                2 => Done::Failed { reason: c.text(20) },
                3 => Done::Stuck { reason: c.text(20) },
                _ => Done::Died { reason: c.text(20) },
            };
            let generation = Generation(c.below(4));
            node.handle_outcome(
                now,
                &Outcome { service, generation, result, began: now, ended: now },
            );
        }
        8 => {
            let service = ServiceId(c.below(5) as u16);
            let command = match c.below(4) {
                0 => Command::Move { service, to: life.node },
                1 => Command::ConfirmOff { node: life.node },
                2 => Command::Probe { bytes: c.below(2_000) as u32 },
                _ => Command::ClearFailures { service },
            };
            node.handle_command(now, c.edge(64), command);
        }
        9 => node.handle_lease(now, Instant(now.0.saturating_add(c.below(60_000_000)))),
        10 if c.chance(1, 8) => node.handle_leave(now),
        10 => node.handle_gate(now, GateState { lack: Some(c.text(8)), ..GateState::default() }),
        11 => {
            let wanted = arbitrary::configuration(c);
            let version = agreement.roster().version().saturating_add(1);
            let version = if c.chance(1, 6) { wanted.version } else { version };
            node.handle_configure(now, c.edge(64), Configuration { version, ..wanted });
        }
        12 if c.chance(1, 2) => node.handle_override(now, c.edge(64), arbitrary::nodes(c)),
        12 => node.handle_level(life, c.edge(16) as u16),
        // A disk that took its time.
        13 if !bench.storing.is_empty() => {
            let at = c.below(bench.storing.len() as u64) as usize;
            node.handle_configuration_stored(now, bench.storing.swap_remove(at));
        }
        13 if c.chance(1, 2) => node.handle_slowest(Duration(c.edge(40))),
        13 => {
            let (service, generation) = (ServiceId(c.below(4) as u16), Generation(c.below(4)));
            let asked = c.chance(1, 2).then(|| Instant(c.edge(64)));
            node.handle_answered(service, generation, asked, Instant(c.edge(64)));
        }
        _ => node.handle_timeout(now),
    }
}

impl Bench {
    /// Performs what it wants, answers what wants an answer: sometimes late, wrongly, or never, which is a disk that failed.
    fn perform(&mut self, c: &mut Choices<'_>) -> Result<(), String> {
        let (node, now) = (&mut self.node, self.now);
        for _ in 0..ACTIONS_MAX {
            match node.poll_action() {
                None => return Ok(()),
                Some(Action::Freeze { node: of, stint }) => {
                    let heard = if c.chance(1, 6) { Instant(c.edge(64) >> 1) } else { now };
                    let stint = if c.chance(1, 10) { Stint(c.edge(64)) } else { stint };
                    let end = if c.chance(1, 6) { Instant(c.edge(64) >> 1) } else { now };
                    node.handle_frozen(now, of, stint, Frozen { heard, end });
                }
                Some(Action::Configured(configuration)) => {
                    let settings = settings(node.agreement().life());
                    let services = services_of(&settings, &configuration.document);
                    node.handle_document(now, services, settings.names);
                }
                Some(Action::StoreEra { era }) => {
                    if !c.chance(1, 6) {
                        node.handle_era_stored(now, era);
                    }
                }
                Some(Action::StoreConfiguration { charter }) => {
                    self.reached.charter = true;
                    match c.below(8) {
                        0..=3 => node.handle_configuration_stored(now, charter.edition()),
                        4 | 5 => self.storing.push(charter.edition()),
                        6 => {
                            let other = arbitrary::edition(c, charter.term.era);
                            node.handle_configuration_stored(now, other);
                        }
                        _ => {}
                    }
                }
                Some(_) => {}
            }
        }
        Err(format!("{ACTIONS_MAX} actions and no end"))
    }

    /// What the local socket shows must not panic either.
    fn look(&mut self) {
        let (node, now) = (&self.node, self.now);
        let _ = (node.status(now), node.quorum(), node.has_left(now), node.poll_deadline());
        for service in 0..4 {
            let _ = node.why(ServiceId(service));
        }
        let _ = (node.configuration(), node.lags_behind(), node.contradicting());
        let (agreement, timelines) = (node.agreement(), node.timelines().count());
        let _ = (timelines, agreement.waiting());
        let (leads, commit) = (agreement.status() == Status::Primary, agreement.commit());
        self.reached.committed |= commit > Op::ZERO;
        self.reached.led |= leads && agreement.log().term_at(commit) == Some(agreement.term());
        self.reached.reconfigured |= agreement.roster().version() > 1;
    }
}
