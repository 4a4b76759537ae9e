//! Anything in any order into one node: messages that no peer would send, events of lives that never
//! were, outcomes of jobs that nobody ordered, time that jumps. Nothing panics, nothing hangs, and
//! what it does stays bounded.

use crate::apply::{id, services_of, settings};
use crate::arbitrary;
use crate::choices::Choices;
use base::{Duration, Instant};
use driver::{Done, Outcome};
use heartbeat::board::Frozen;
use heartbeat::{Event, EventKind};
use node::{Action, Command, GateState, Node};
use wire::{Generation, Incarnation, Life, Op, ServiceId, Stint};

/// Most steps of one input.
const STEPS_MAX: u64 = 120;
/// So many actions for one input are no work but a node that talks to itself.
const ACTIONS_MAX: usize = 4_096;

/// Reads the input as steps and takes them.
pub fn check(input: &[u8]) -> Result<(), String> {
    let mut c = Choices::new(input);
    let me = Life { node: id(1 + c.below(6) as u8), incarnation: Incarnation(2) };
    let mut now = Instant(c.edge(64) >> c.below(20));
    let mut node = Node::new(settings(me), now);
    for _ in 0..STEPS_MAX {
        if c.are_used_up() {
            break;
        }
        let jump = if c.chance(1, 20) { c.edge(64) >> 8 } else { c.below(40_000_000) };
        now = Instant(now.0.saturating_add(jump));
        step(&mut c, &mut node, now);
        perform(&mut c, &mut node, now)?;
    }
    look(&node, now);
    Ok(())
}

fn step(c: &mut Choices<'_>, node: &mut Node, now: Instant) {
    let agreement = node.agreement();
    let (era, about) = (agreement.term().era.max(1), agreement.op().0);
    let (life, stint) = (arbitrary::life(c), arbitrary::stint(c, era, about));
    match c.below(12) {
        0..=5 => {
            let message = arbitrary::message(c, era, about);
            node.handle_message(now, life, message);
        }
        6 => {
            let kind = match c.below(6) {
                0 => EventKind::Suspected {
                    life,
                    stint,
                    heard: Instant(c.edge(64)),
                    deadline: Instant(c.edge(64)),
                },
                1 => EventKind::Trusted { life, stint },
                2 => EventKind::Obituary { life, stint },
                3 => EventKind::Appeared { life },
                4 => EventKind::Stalled { lost: Duration(c.edge(64)) },
                _ => EventKind::Impostor { node: life.node, incarnation: life.incarnation },
            };
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
            let command = match c.below(3) {
                0 => Command::Move { service, to: life.node },
                1 => Command::ConfirmOff { node: life.node },
                _ => Command::ClearFailures { service },
            };
            node.handle_command(now, c.edge(64), command);
        }
        9 => node.handle_lease(now, Instant(now.0.saturating_add(c.below(60_000_000)))),
        10 if c.chance(1, 8) => node.handle_leave(now),
        10 => node.handle_gate(now, GateState { lack: Some(c.text(8)), ..GateState::default() }),
        _ => node.handle_timeout(now),
    }
}

/// Performs what it wants, answers what wants an answer, sometimes wrongly.
fn perform(c: &mut Choices<'_>, node: &mut Node, now: Instant) -> Result<(), String> {
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
            Some(_) => {}
        }
    }
    Err(format!("{ACTIONS_MAX} actions and no end"))
}

/// What the local socket shows must not panic either.
fn look(node: &Node, now: Instant) {
    let _ = (node.status(now), node.quorum(), node.has_left(now), node.poll_deadline());
    for service in 0..4 {
        let _ = node.why(ServiceId(service));
    }
    let _ = (
        node.timelines().count(),
        node.agreement().waiting(),
        node.agreement().commit() >= Op::ZERO,
    );
}
