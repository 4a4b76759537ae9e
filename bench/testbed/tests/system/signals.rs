//! Daemons that are killed or stopped while their machine lives on, address and all. What closes
//! the old owner then is the gate, and what tells the peers is an obituary or their own deadline.

use crate::Test;
use crate::arena::Arena;
use api::FailoverCause;
use base::{Duration, Instant};
use testbed::error::Result;
use testbed::hold;
use testbed::os;
use testbed::programs::Programs;
use testbed::record::Answer;
use testbed::spec::Spec;
use testbed::suite::Verdict;
use testbed::topology::{FLOATING, mac, mac_text, node_name};
use testbed::trial::REPEATS_MAX;

pub(crate) const TESTS: &[Test] = &[
    Test { name: "signal-kill-control", run: |programs| killed_alone(programs, CONTROL) },
    Test { name: "signal-kill-fast", run: |programs| killed_alone(programs, FAST) },
    Test { name: "signal-kill-both", run: |programs| killed(programs, &[FAST, CONTROL]) },
    Test {
        name: "signal-kill-all-three",
        run: |programs| killed(programs, &[BROOM, FAST, CONTROL]),
    },
    Test { name: "signal-stop-fast", run: |programs| stopped(programs, &[FAST]) },
    Test { name: "signal-stop-control", run: |programs| stopped(programs, &[CONTROL]) },
    Test { name: "signal-stop-both", run: |programs| stopped(programs, &[FAST, CONTROL]) },
];

const FAST: &str = "netguard-fast";
const CONTROL: &str = "netguard-control";
const BROOM: &str = "netguard-sweep";

const SECONDS: Duration = Duration::from_millis(5_000);
/// From a death to the closed gate, nobody being held up.
const ON_THE_SPOT: Duration = Duration::from_millis(10);

/// A hundred milliseconds three times: what an obituary saves is plain, and a stall of this machine
/// is not easily as long.
fn slow() -> Spec {
    Spec { interval: "100ms".into(), ..Spec::default() }
}

/// What happened after a signal.
struct Takeover {
    begin: Instant,
    answer: Answer,
    /// The last answer of the old owner, and when its lease ended.
    last: Option<Answer>,
    lease_end: Instant,
    stall: Option<String>,
}

/// Signals the owner's programs and waits for the next owner's answer.
fn takeover(arena: &mut Arena, programs: &[&str], signal: i32) -> Result<Option<Takeover>> {
    arena.rest = arena.cluster.settle()?;
    let (owner, generation) = (arena.rest.owner, arena.rest.generation);
    arena.cluster.bed().observer().record().begin_window();
    os::sleep(Duration::from_millis(50)); // so that the window has answers of the old owner
    let begin = arena.cluster.signal(owner, programs, signal)?;
    let observer = arena.cluster.bed().observer();
    let Some(answer) = observer.wait_for(begin, SECONDS, |it| it.generation > generation) else {
        return Ok(None);
    };
    os::sleep(Duration::from_millis(20)); // a stall is known when it is over
    let limit = ON_THE_SPOT / 2;
    let stall = arena.meter.overlaps(begin, answer.received, limit);
    let stall = stall.map(|it| format!("core {} stood still {}", it.core, it.length()));
    let last = arena.cluster.bed().observer().record().last_of(owner);
    let lease_end = arena.cluster.lease_end(owner);
    Ok(Some(Takeover { begin, answer, last, lease_end, stall }))
}

/// The address is the next owner's, in the client's own table too, and nobody else's.
fn moved(arena: &Arena, from: u8, to: u8) -> std::result::Result<(), String> {
    if arena.has_address(from) {
        return Err(format!("n{from} still has the address"));
    }
    let neighbour = arena.cluster.bed().topology().clients_neighbour(FLOATING);
    if neighbour.as_deref() != Some(&mac_text(mac(to, 1))) {
        return Err(format!("the client's neighbour table points to {neighbour:?}, not to n{to}"));
    }
    Ok(())
}

/// Why `seer` says that `victim` went down.
fn told(arena: &Arena, victim: u8, seer: u8) -> Result<Option<FailoverCause>> {
    let all = arena.cluster.client(seer)?.failovers(8).map_err(crate::socket(seer))?.failovers;
    Ok(all.into_iter().find(|it| it.victim == node_name(victim)).map(|it| it.cause))
}

/// One of the two daemons is killed: the other closes the gate on the spot and tells the peers.
fn killed_alone(programs: &Programs, victim: &'static str) -> Result<Verdict> {
    let mut arena = Arena::start(slow(), programs)?;
    for _ in 0..=REPEATS_MAX {
        let Some(seen) = takeover(&mut arena, &[victim], libc::SIGKILL)? else {
            return Ok(Verdict::Fail("nobody took over".into()));
        };
        let (owner, next) = (arena.rest.owner, seen.answer.node);
        arena.cluster.retire(owner);
        let process = arena.cluster.bed_mut().processes(owner).first_mut();
        hold!(process.and_then(|it| it.wait(SECONDS)).is_some(), "{FAST} of n{owner} goes on");
        hold!(arena.cluster.find(owner, CONTROL).is_none(), "{CONTROL} of n{owner} goes on");
        let closed = seen.last.map_or(Duration::ZERO, |last| last.sent.since(seen.begin));
        let took = seen.answer.received.since(seen.begin);
        println!("      last answer {closed}, next owner's first {took} after the signal");
        if let Some(stall) = seen.stall {
            println!("      void: {stall}");
            arena.cluster.restore(owner)?;
            continue;
        }
        hold!(closed < ON_THE_SPOT, "it answered for {closed} after {victim} was killed");
        let interval = arena.cluster.spec().interval_length();
        hold!(took < interval, "{took} until the next owner answered: not by an obituary");
        arena.cluster.settle()?;
        let told = told(&arena, owner, next)?;
        hold!(told == Some(FailoverCause::Obituary), "n{next} says that n{owner} ended: {told:?}");
        let moved = moved(&arena, owner, next);
        hold!(moved.is_ok(), "{moved:?}");
        return returns(arena, owner, seen.answer.sent);
    }
    Ok(Verdict::Fail("void again and again: the machine stands still".into()))
}

/// Everything that could act is killed at once: the lease end in the kernel closes the address,
/// and the peers' deadline, which is later, opens it elsewhere.
fn killed(programs: &Programs, victims: &[&str]) -> Result<Verdict> {
    let mut arena = Arena::start(Spec::default(), programs)?;
    let Some(seen) = takeover(&mut arena, victims, libc::SIGKILL)? else {
        return Ok(Verdict::Fail("nobody took over".into()));
    };
    let owner = arena.rest.owner;
    arena.cluster.retire(owner);
    hold!(seen.lease_end > seen.begin - SECONDS, "no lease was written: {:?}", seen.lease_end);
    let late = arena.cluster.bed().observer().record().answer_of(owner, seen.lease_end);
    hold!(late.is_none(), "asked after the lease end, n{owner} answered: {late:?}");
    let last = seen.last.map(|it| seen.lease_end.since(it.sent));
    println!("      last answer {last:?} before the lease end; void: {:?}", seen.stall);
    returns(arena, owner, seen.answer.sent)
}

/// The node's daemons start again while the address may still be on the interface: closed before
/// the first beat, and given up.
fn returns(mut arena: Arena, node: u8, since: Instant) -> Result<Verdict> {
    arena.cluster.start_daemons(node)?;
    let rest = arena.cluster.settle()?;
    hold!(rest.owner != node, "the service went back to n{node} without need");
    let late = arena.cluster.bed().observer().record().answer_of(node, since);
    hold!(late.is_none(), "n{node} answered after the next owner: {late:?}");
    let moved = moved(&arena, node, rest.owner);
    hold!(moved.is_ok(), "{moved:?}");
    arena.end()
}

/// Stopped, not killed: nobody on the machine acts, and five seconds later everybody goes on as if
/// nothing had been.
fn stopped(programs: &Programs, sleepers: &[&str]) -> Result<Verdict> {
    let mut arena = Arena::start(Spec::default(), programs)?;
    let Some(seen) = takeover(&mut arena, sleepers, libc::SIGSTOP)? else {
        return Ok(Verdict::Fail("nobody took over".into()));
    };
    let owner = arena.rest.owner;
    let record = || arena.cluster.bed().observer().record().answer_of(owner, seen.answer.received);
    hold!(record().is_none(), "n{owner} answered after the next owner: {:?}", record());
    if sleepers.contains(&FAST) {
        let late = arena.cluster.bed().observer().record().answer_of(owner, seen.lease_end);
        hold!(late.is_none(), "asked after the lease end, n{owner} answered: {late:?}");
        let last = seen.last.map(|it| seen.lease_end.since(it.sent));
        println!("      last answer {last:?} before the lease end");
    }
    os::sleep(Duration::from_millis(5_000));
    for sleeper in sleepers {
        // Fast ends a control that makes no progress: then there is nobody to be woken.
        let _ = arena.cluster.signal(owner, &[sleeper], libc::SIGCONT);
    }
    os::sleep(Duration::from_millis(500));
    if arena.cluster.find(owner, FAST).is_none() {
        hold!(sleepers == [CONTROL], "the daemons of n{owner} ended: {}", arena.cluster.log(owner));
        return returns(arena, owner, seen.answer.sent);
    }
    let rest = arena.cluster.settle()?;
    hold!(rest.owner != owner, "the service went back to n{owner} without need");
    let late = arena.cluster.bed().observer().record().answer_of(owner, seen.answer.received);
    hold!(late.is_none(), "n{owner} answered after the next owner: {late:?}");
    let moved = moved(&arena, owner, rest.owner);
    hold!(moved.is_ok(), "{moved:?}");
    arena.end()
}
