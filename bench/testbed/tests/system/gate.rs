//! The kernel's gate on the real daemons (S2b): an address that is where it should not be answers
//! nobody, whoever put it there, and what takes the gate away is cured and told.

use crate::Test;
use crate::arena::Arena;
use base::Duration;
use std::path::Path;
use std::process::Command;
use testbed::bed::wait_until;
use testbed::error::{Result, run};
use testbed::hold;
use testbed::os;
use testbed::programs::Programs;
use testbed::spec::Spec;
use testbed::suite::Verdict;
use testbed::topology::{FLOATING, group};

pub(crate) const TESTS: &[Test] = &[
    Test { name: "gate-left-over-address", run: left_over },
    Test { name: "gate-left-over-after-boot", run: after_boot },
    Test { name: "gate-filters-deleted", run: filters_deleted },
    Test { name: "gate-interface-made-anew", run: made_anew },
    Test { name: "gate-owners-interface-made-anew", run: owners_interface },
];

const SECONDS: Duration = Duration::from_millis(5_000);
/// So long an address that should be silent is asked.
const ASKED: Duration = Duration::from_millis(200);

/// Puts the floating address on a node by hand, as a careless operator or an old script does.
fn put(arena: &Arena, node: u8) -> Result<()> {
    let name = arena.cluster.bed().topology().node(node).name();
    let address = format!("{FLOATING}/24");
    run(Command::new("ip").args(["-n", name, "address", "add", &address, "dev", "eth0"])).map(drop)
}

/// What another tool does that wants an interface for itself.
fn delete_filters(arena: &Arena, node: u8, device: &str) -> Result<()> {
    let name = arena.cluster.bed().topology().node(node).name();
    run(Command::new("tc").args(["-n", name, "qdisc", "del", "dev", device, "clsact"])).map(drop)
}

/// Waits until the node says that its gate is whole, and what it had to cure.
fn cured(arena: &Arena, node: u8) -> Result<String> {
    wait_until("the gate to be cured, and the alarm", SECONDS, || {
        let status = arena.cluster.status(node).map_err(|error| error.to_string())?;
        let told = status.alarms.iter().find(|it| it.code == "gate-attached-again");
        match told {
            Some(alarm) if status.gate.whole => Ok(alarm.message.clone()),
            _ => Err(format!("{:?}, alarms {:?}", status.gate, status.alarms)),
        }
    })
}

/// A node whose daemons are dead has the address: the gate that they left behind is closed. They
/// start again: closed all the time, and the address is taken away.
fn left_over(programs: &Programs) -> Result<Verdict> {
    let mut arena = Arena::start(Spec::default(), programs)?;
    let node = arena.other(&[arena.rest.owner]);
    arena.cluster.retire(node);
    let all = ["netguard-sweep", "netguard-fast", "netguard-control"];
    arena.cluster.signal(node, &all, libc::SIGKILL)?;
    os::sleep(arena.budget());
    let begin = os::now();
    put(&arena, node)?;
    os::sleep(ASKED);
    let late = arena.cluster.bed().observer().record().answer_of(node, begin);
    hold!(late.is_none(), "a dead node's address answers: {late:?}");
    arena.cluster.start_daemons(node)?;
    arena.cluster.settle()?;
    let late = arena.cluster.bed().observer().record().answer_of(node, begin);
    hold!(late.is_none(), "a starting node's address answers: {late:?}");
    hold!(!arena.has_address(node), "a left-over address is still there");
    arena.end()
}

/// The machine boots with the address in its configuration: the daemons have closed and removed it
/// before their first beat. (Its cables are plugged in then: before, no daemon could have helped.)
fn after_boot(programs: &Programs) -> Result<Verdict> {
    let mut arena = Arena::start(Spec::default(), programs)?;
    let node = arena.other(&[arena.rest.owner]);
    let former = arena.cluster.bed().topology().node(node).processes();
    let begin = arena.cluster.cut(node)?.done;
    // A machine that boots has nothing of its former life: here the kernel still clears it away, a
    // port after a grace period, and the lock that would have a next life wait goes with the map.
    wait_until("the former life to be gone", SECONDS, || {
        let left = former.iter().find(|pid| Path::new(&format!("/proc/{pid}")).exists());
        left.map_or(Ok(()), |pid| Err(format!("process {pid}")))
    })?;
    let _ = std::fs::remove_file(arena.cluster.files(node).map());
    put(&arena, node)?;
    arena.cluster.start_node(node)?;
    wait_until("the first beat", SECONDS, || {
        let beats = arena.cluster.counters(node).get("fast.beats").copied().unwrap_or(0);
        if beats > 0 { Ok(()) } else { Err("no beat".into()) }
    })?;
    arena.cluster.bed().topology().ports().set_group(group(node), true)?;
    let rest = arena.cluster.settle()?;
    hold!(rest.owner != node, "the service went to n{node} without need");
    let late = arena.cluster.bed().observer().record().answer_of(node, begin);
    hold!(late.is_none(), "a left-over address answers: {late:?}");
    hold!(!arena.has_address(node), "a left-over address is still there");
    arena.end()
}

/// Another tool deletes the filters, on a node that has the address by mistake and on the owner.
///
/// Until the watch has put them back, about half a millisecond, only the second line stands, which
/// a bed cannot have, because its nodes share one machine: nobody asks meanwhile.
fn filters_deleted(programs: &Programs) -> Result<Verdict> {
    let mut arena = Arena::start(Spec::default(), programs)?;
    let (owner, generation) = (arena.rest.owner, arena.rest.generation);
    let node = arena.other(&[owner]);
    let begin = os::now();
    put(&arena, node)?;
    os::sleep(ASKED);
    let early = arena.cluster.bed().observer().record().answer_of(node, begin);
    hold!(early.is_none(), "no owner, and it answers: {early:?}");
    arena.cluster.bed().observer().set_paused(true);
    os::sleep(Duration::from_millis(5));
    delete_filters(&arena, node, "eth0")?;
    let message = cured(&arena, node)?;
    hold!(message.contains("eth0"), "the alarm does not name the interface: {message}");
    arena.cluster.bed().observer().set_paused(false);
    os::sleep(ASKED);
    let late = arena.cluster.bed().observer().record().answer_of(node, begin);
    hold!(late.is_none(), "the filters were deleted, and it answers: {late:?}");

    delete_filters(&arena, owner, "eth0")?;
    delete_filters(&arena, owner, "lo")?;
    cured(&arena, owner)?;
    let rest = arena.cluster.settle()?;
    hold!(
        (rest.owner, rest.generation) == (owner, generation),
        "the service moved: {:?}, {rest:?}",
        arena.rest
    );
    arena.end()
}

/// An interface goes and comes back under its name, with the address on it by mistake.
fn made_anew(programs: &Programs) -> Result<Verdict> {
    let mut arena = Arena::start(Spec::default(), programs)?;
    let node = arena.other(&[arena.rest.owner]);
    let begin = os::now();
    arena.cluster.bed().observer().set_paused(true);
    arena.cluster.bed().topology().replace_interface(node, 1)?;
    put(&arena, node)?;
    let message = cured(&arena, node)?;
    hold!(message.contains("eth0"), "the alarm does not name the interface: {message}");
    arena.cluster.bed().observer().set_paused(false);
    os::sleep(ASKED);
    let late = arena.cluster.bed().observer().record().answer_of(node, begin);
    hold!(late.is_none(), "a new interface, and it answers: {late:?}");
    // Nobody else ever takes the hand's address away from a running node; a start does.
    arena.rest = arena.cluster.settle()?;
    arena.rest = arena.cluster.move_service(node)?;
    arena.end()
}

/// The driver hears of it from the kernel, long before it renews the address.
const BACK: Duration = Duration::from_millis(1_000);

/// The owner's own interface is made anew: its address comes back, on that node or another.
fn owners_interface(programs: &Programs) -> Result<Verdict> {
    let mut arena = Arena::start(Spec::default(), programs)?;
    let owner = arena.rest.owner;
    arena.cluster.bed().topology().replace_interface(owner, 1)?;
    let begin = os::now();
    let observer = arena.cluster.bed().observer();
    let answer = observer.wait_for(begin, BACK, |it| it.generation > 0);
    hold!(answer.is_some(), "the address did not come back: {:?}", arena.cluster.status(owner));
    arena.rest = arena.cluster.settle()?;
    arena.end()
}
