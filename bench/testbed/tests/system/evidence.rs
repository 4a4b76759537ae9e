//! No quorum, no action (S8): half of four, a bare pair that stops on any death until there is
//! evidence, a witness; and what the operator is told in each state.

use crate::Test;
use crate::arena::Arena;
use base::{Duration, Instant};
use testbed::bed::wait_until;
use testbed::error::Result;
use testbed::hearing::Hearing;
use testbed::hold;
use testbed::os;
use testbed::programs::Programs;
use testbed::spec::{SERVICE, Spec};
use testbed::suite::Verdict;
use testbed::topology::{Shape, node_name};

pub(crate) const TESTS: &[Test] = &[
    Test { name: "evidence-half-of-four-cut-off", run: half_of_four },
    Test { name: "evidence-two-of-four-dead", run: two_of_four },
    Test { name: "evidence-pair-loses-its-owner", run: |it| pair_loses(it, true) },
    Test { name: "evidence-pair-loses-the-other", run: |it| pair_loses(it, false) },
    Test { name: "evidence-pair-partitioned", run: pair_partitioned },
    Test { name: "evidence-witness-then-node", run: witness_then_node },
];

const SECONDS: Duration = Duration::from_millis(5_000);
/// Exit code of a daemon whose life is over (another took its place, or evidence ended it).
const SUPERSEDED: i32 = 6;

fn of(nodes: u8, witnesses: Vec<u8>) -> Spec {
    Spec { shape: Shape { nodes, links: 2 }, witnesses, ..Spec::default() }
}

/// Since `begin`, after one deadline, nobody answers.
fn silent_since(arena: &Arena, begin: Instant) -> std::result::Result<(), String> {
    let late =
        arena.cluster.bed().observer().record().first_answer(begin + arena.budget(), |_| true);
    late.map_or(Ok(()), |late| Err(format!("nobody may act, and it answers: {late:?}")))
}

/// Everything that `ng` tells an operator who asks on a node what is wrong.
fn told(arena: &Arena, node: u8) -> Result<String> {
    let (status, _) = arena.cluster.ng(node, &["status"])?;
    let (why, _) = arena.cluster.ng(node, &["why", SERVICE])?;
    Ok(format!("{status}{why}"))
}

/// Waits until `ng status` or `ng why` has all the words.
fn explained(arena: &Arena, node: u8, words: &[&str]) -> Result<()> {
    let what = format!("n{node} to tell {words:?}");
    wait_until(&what, SECONDS, || {
        let text = told(arena, node).map_err(|error| error.to_string())?;
        let missing: Vec<_> = words.iter().filter(|word| !text.contains(**word)).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} is not in:\n{text}")) }
    })
}

/// Two and two: neither half has more than half of the votes.
fn half_of_four(programs: &Programs) -> Result<Verdict> {
    let mut arena = Arena::start(of(4, vec![]), programs)?;
    let hearing = Hearing::install(arena.cluster.bed().topology())?;
    let begin = os::now();
    hearing.split(&[&[1, 2], &[3, 4]]);
    os::sleep(Duration::from_millis(1_000));
    let silent = silent_since(&arena, begin);
    hold!(silent.is_ok(), "{silent:?}");
    explained(&arena, 1, &["2 of 4 votes, 3 needed", "n3", "n4", SERVICE])?;
    explained(&arena, 3, &["2 of 4 votes, 3 needed", "n1", "n2", SERVICE])?;
    hearing.heal();
    arena.rest = arena.cluster.settle()?;
    arena.end()
}

/// Two nodes die one after the other. Half of the lives that hold votes are over then, so that they
/// come back empty is no majority either (S7): the operator hears that only a cold start helps, and
/// what makes one.
fn two_of_four(programs: &Programs) -> Result<Verdict> {
    let mut arena = Arena::start(of(4, vec![]), programs)?;
    let first = arena.other(&[arena.rest.owner]);
    arena.cluster.cut(first)?;
    arena.rest = arena.cluster.settle()?;
    let owner = arena.rest.owner;
    explained(&arena, owner, &["the next death stops every service"])?;
    let second = arena.other(&[owner]);
    let begin = arena.cluster.cut(second)?.done;
    os::sleep(Duration::from_millis(1_000));
    let silent = silent_since(&arena, begin);
    hold!(silent.is_ok(), "{silent:?}");
    let (first_name, second_name) = (node_name(first), node_name(second));
    explained(&arena, owner, &["2 of 4 votes, 3 needed", &first_name, &second_name, "bring back"])?;
    for node in [first, second] {
        arena.cluster.restore(node)?;
    }
    explained(
        &arena,
        owner,
        &["starts anew when 3 voters have restarted", &first_name, &second_name],
    )?;
    let silent = silent_since(&arena, begin);
    hold!(silent.is_ok(), "{silent:?}");
    arena.cluster.signal(owner, &["netguard-fast"], libc::SIGTERM)?;
    arena.cluster.bed_mut().processes(owner).first_mut().and_then(|it| it.wait(SECONDS));
    arena.cluster.start_daemons(owner)?;
    arena.rest = arena.cluster.settle()?;
    arena.end()
}

/// A bare pair stops when either node dies; the operator's evidence lets the other go on alone, and
/// only until the dead one is back.
fn pair_loses(programs: &Programs, the_owner: bool) -> Result<Verdict> {
    let mut arena = Arena::start(of(2, vec![]), programs)?;
    let owner = arena.rest.owner;
    let other = arena.other(&[owner]);
    let (victim, survivor) = if the_owner { (owner, other) } else { (other, owner) };
    let begin = arena.cluster.cut(victim)?.done;
    os::sleep(Duration::from_millis(700));
    let silent = silent_since(&arena, begin);
    hold!(silent.is_ok(), "{silent:?}");
    let name = node_name(victim);
    explained(&arena, survivor, &["1 of 2 votes", &format!("ng fence confirm {name}")])?;
    let (said, code) = arena.cluster.ng(survivor, &["fence", "confirm", &name, "--yes"])?;
    hold!(code == Some(0), "the evidence was not taken: {said}");
    arena.rest = arena.cluster.settle()?;
    hold!(arena.rest.owner == survivor, "{:?}", arena.rest);
    explained(&arena, survivor, &["by the operator's order", "the next death stops"])?;
    let why = arena.cluster.status(survivor)?.quorum.why;
    hold!(why.contains("evidence") && why.contains(&name), "the votes are told as {why:?}");

    arena.cluster.restore(victim)?;
    arena.rest = arena.cluster.settle()?;
    hold!(arena.rest.owner == survivor, "it went back without need: {:?}", arena.rest);
    // The evidence was about a life that is over: the next death stops the pair again.
    let begin = arena.cluster.cut(victim)?.done;
    os::sleep(Duration::from_millis(500));
    let silent = silent_since(&arena, begin);
    hold!(silent.is_ok(), "evidence was used twice: {silent:?}");
    arena.end()
}

/// Both live and do not hear each other. The operator confirms on the side that did not own the
/// service. The other side lives, against what was asserted: when they meet again it is told that
/// its life is over, ends with words that say so, and comes back as a new one when it is started.
fn pair_partitioned(programs: &Programs) -> Result<Verdict> {
    let mut arena = Arena::start(of(2, vec![]), programs)?;
    let hearing = Hearing::install(arena.cluster.bed().topology())?;
    let owner = arena.rest.owner;
    let side = arena.other(&[owner]);
    let begin = os::now();
    hearing.split(&[&[1], &[2]]);
    os::sleep(Duration::from_millis(700));
    let silent = silent_since(&arena, begin);
    hold!(silent.is_ok(), "{silent:?}");
    for (node, peer) in [(1, 2), (2, 1)] {
        explained(&arena, node, &["1 of 2 votes", &format!("ng fence confirm n{peer}")])?;
    }
    let name = node_name(owner);
    let (said, code) = arena.cluster.ng(side, &["fence", "confirm", &name, "--yes"])?;
    hold!(code == Some(0), "the evidence was not taken: {said}");
    let observer = arena.cluster.bed().observer();
    let answer = observer.wait_for(begin, SECONDS, |it| it.node == side);
    hold!(answer.is_some(), "n{side} does not go on: {}", told(&arena, side)?);
    os::sleep(Duration::from_millis(500));
    arena.cluster.retire(owner);
    hearing.heal();
    let process = arena.cluster.bed_mut().processes(owner).first_mut();
    let ended = process.and_then(|it| it.wait(SECONDS)).and_then(|it| it.code());
    hold!(ended == Some(SUPERSEDED), "a life that was asserted to be off goes on: {ended:?}");
    let log = arena.cluster.log(owner);
    hold!(log.contains("joins as a new one when it is started again"), "{log}");
    arena.cluster.start_daemons(owner)?;
    arena.rest = arena.cluster.settle()?;
    hold!(arena.rest.owner == side, "{:?}", arena.rest);
    arena.end()
}

/// Two nodes and a witness: the witness is lost and nothing stops; then a node dies, and everything
/// does, until the witness is heard again.
fn witness_then_node(programs: &Programs) -> Result<Verdict> {
    let mut arena = Arena::start(of(3, vec![3]), programs)?;
    let hearing = Hearing::install(arena.cluster.bed().topology())?;
    let (owner, generation) = (arena.rest.owner, arena.rest.generation);
    hearing.split(&[&[1, 2], &[3]]);
    explained(&arena, owner, &["the witness n3 is down", "the next death stops every service"])?;
    let other = arena.other(&[owner, 3]);
    let owners = arena.cluster.bed().observer().record().owners();
    hold!(
        owners.last() == Some(&(generation, owner)),
        "the service moved when the witness was lost: {owners:?}"
    );
    let begin = arena.cluster.cut(other)?.done;
    os::sleep(Duration::from_millis(700));
    let silent = silent_since(&arena, begin);
    hold!(silent.is_ok(), "{silent:?}");
    explained(&arena, owner, &["1 of 3 votes, 2 needed", "n3", &node_name(other), "bring back"])?;
    // The witness alone brings the quorum back.
    hearing.heal();
    arena.rest = arena.cluster.settle()?;
    hold!(arena.rest.owner == owner, "{:?}", arena.rest);
    arena.end()
}
