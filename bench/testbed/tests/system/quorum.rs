//! No quorum, no action (S8); proof before start (S3); and the orderly move.

use crate::Test;
use crate::arena::Arena;
use api::Phase;
use base::Duration;
use testbed::bed::wait_until;
use testbed::cluster::SETTLE;
use testbed::error::{BedError, Result};
use testbed::hold;
use testbed::os;
use testbed::programs::Programs;
use testbed::spec::{SERVICE, Spec};
use testbed::suite::Verdict;
use testbed::topology::node_name;

pub(crate) const TESTS: &[Test] = &[
    Test { name: "two-of-three-gone", run: two_gone },
    Test { name: "all-come-back", run: all_come_back },
    Test { name: "planned-move", run: planned_move },
    Test { name: "fenced-waits-for-proof", run: fenced_waits },
];

const SECONDS: Duration = Duration::from_millis(5_000);

fn two_gone(programs: &Programs) -> Result<Verdict> {
    let mut arena = Arena::start(Spec::default(), programs)?;
    let owner = arena.rest.owner;
    let others: Vec<u8> = arena.cluster.alive().into_iter().filter(|it| *it != owner).collect();
    for node in &others {
        arena.cluster.cut(*node)?;
    }
    let cut = os::now();
    // The lease is over after one deadline; the driver takes the address away.
    let limit = arena.budget() + Duration::from_millis(500);
    os::sleep(limit);
    let late = arena.cluster.bed().observer().record().first_answer(cut + limit, |_| true);
    os::sleep(Duration::from_millis(500));
    hold!(late.is_none(), "without a majority it answers: {late:?}");
    let late = arena.cluster.bed().observer().record().first_answer(cut + limit, |_| true);
    hold!(late.is_none(), "without a majority it answers: {late:?}");
    let status = arena.cluster.status(owner)?;
    hold!(!status.quorum.held && !status.lease.held, "{:?} {:?}", status.quorum, status.lease);
    let named = others.iter().all(|node| status.quorum.why.contains(&node_name(*node)));
    hold!(named, "it does not say who is missing: {:?}", status.quorum);
    let health = status.health();
    let told = health.problems.iter().any(|it| it.message.contains(SERVICE));
    hold!(!health.fine && told, "it does not complain: {:?}", health.problems);
    let why = arena.cluster.client(owner)?.why(Some(SERVICE));
    let why = why.map_err(|error| socket(owner, error))?;
    let summary = why.services.first().map(|it| it.summary.clone()).unwrap_or_default();
    hold!(!summary.is_empty(), "`why` has nothing to say");
    arena.end()
}

fn all_come_back(programs: &Programs) -> Result<Verdict> {
    let mut arena = Arena::start(Spec::default(), programs)?;
    for node in arena.cluster.alive() {
        arena.cluster.cut(node)?;
    }
    for node in arena.cluster.ids() {
        arena.cluster.restore(node)?;
    }
    // A cold start: a majority of fresh lives, one lease of waiting.
    arena.rest = arena.cluster.settle()?;
    arena.end()
}

fn planned_move(programs: &Programs) -> Result<Verdict> {
    let mut arena = Arena::start(Spec::default(), programs)?;
    for _ in 0..3 {
        let before = arena.rest.clone();
        let to = arena.other(&[before.owner]);
        arena.cluster.bed().observer().record().begin_window();
        arena.rest = arena.cluster.move_service(to)?;
        hold!(
            arena.rest.generation == before.generation + 1,
            "a move is one generation: {before:?}, {:?}",
            arena.rest
        );
    }
    // A node that does not exist is refused, with what to do.
    let order = arena.cluster.client(arena.rest.owner)?.move_service(SERVICE, "nobody");
    let refusal = order.err().map(|error| error.remedy()).unwrap_or_default();
    hold!(!refusal.is_empty(), "a move to an unknown node is not refused with a remedy");
    arena.end()
}

fn fenced_waits(programs: &Programs) -> Result<Verdict> {
    let mut arena = Arena::start(Spec { fence: "fenced".into(), ..Spec::default() }, programs)?;
    let (victim, generation) = (arena.rest.owner, arena.rest.generation);
    let seer = arena.other(&[victim]);
    let cut = arena.cluster.cut(victim)?;
    let waits = |arena: &Arena| -> std::result::Result<String, String> {
        let service = arena.cluster.service(seer).map_err(|error| error.to_string())?;
        if service.phase == Phase::WaitingForFence {
            return Ok(service.reason);
        }
        Err(format!("{:?}: {}", service.phase, service.reason))
    };
    let reason = wait_until("the service to wait for proof", SECONDS, || waits(&arena))?;
    hold!(reason.contains(&node_name(victim)), "it does not say for whom it waits: {reason:?}");
    os::sleep(Duration::from_millis(500));
    let early = arena.cluster.bed().observer().record().first_answer(cut.done, |_| true);
    hold!(early.is_none(), "it started without proof: {early:?}");
    let order = arena.cluster.client(seer)?.confirm_off(&node_name(victim));
    order.map_err(|error| socket(seer, error))?;
    let observer = arena.cluster.bed().observer();
    let answer = observer.wait_for(cut.at, SECONDS, |it| it.node != victim);
    hold!(
        answer.is_some_and(|it| it.generation > generation),
        "confirmed off, and nobody starts it: {answer:?}"
    );
    arena.cluster.settle_within(SETTLE)?;
    arena.end()
}

fn socket(node: u8, error: netguard::Error) -> BedError {
    BedError::Socket { node: node_name(node), reason: error.to_string() }
}
