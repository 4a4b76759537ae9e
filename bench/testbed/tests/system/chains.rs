//! One fault comes while another is being dealt with; and an address that comes back to where it was
//! finds nothing of its old connections there.

use crate::Test;
use crate::arena::Arena;
use api::Phase;
use base::{Duration, Instant};
use std::process::Command;
use testbed::bed::wait_until;
use testbed::cluster::Cluster;
use testbed::error::{Result, run};
use testbed::hearing::Hearing;
use testbed::hold;
use testbed::observer::Observer;
use testbed::os;
use testbed::programs::Programs;
use testbed::session::{self, Session};
use testbed::spec::Spec;
use testbed::suite::Verdict;
use testbed::topology::{FLOATING, Shape, floating, node_name};

pub(crate) const TESTS: &[Test] = &[
    Test { name: "chain-two-services", run: two_services },
    Test { name: "chain-death-during-takeover", run: |it| twice(it, Second::During) },
    Test { name: "chain-death-of-the-new-owner", run: |it| twice(it, Second::RightAfter) },
    Test { name: "chain-back-after-move", run: |it| there_and_back(it, Leaving::Moved) },
    Test { name: "chain-back-after-kill", run: |it| there_and_back(it, Leaving::ControlKilled) },
    Test { name: "chain-back-after-kill-of-all", run: |it| there_and_back(it, Leaving::AllKilled) },
    Test { name: "chain-back-after-partition", run: |it| there_and_back(it, Leaving::CutOff) },
];

const SECONDS: Duration = Duration::from_millis(5_000);
/// The second service.
const SECOND: &str = "second";
/// Source ports of the client's connections, as NFS clients use them.
const PORTS: [u16; 3] = [701, 702, 703];

fn five() -> Spec {
    let services = vec![SECOND.to_owned()];
    Spec { shape: Shape { nodes: 5, links: 1 }, services, ..Spec::default() }
}

/// Moves a service, and waits until it runs there.
fn place(cluster: &Cluster, service: &str, to: u8) -> Result<()> {
    let mut client = cluster.client(to)?;
    let _ = client.move_service(service, &node_name(to)).map_err(crate::socket(to))?;
    wait_until("the service to move", SECONDS, || {
        let status = cluster.status(to).map_err(|error| error.to_string())?;
        let found = status.services.iter().find(|it| it.name == service);
        match found {
            Some(it) if it.phase == Phase::Running && it.owner == Some(node_name(to)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
}

/// The owner of one service dies while the owner of the other is being cut off.
fn two_services(programs: &Programs) -> Result<Verdict> {
    let mut arena = Arena::start(five(), programs)?;
    let hearing = Hearing::install(arena.cluster.bed().topology())?;
    let second = Observer::start_for(arena.cluster.bed().topology(), floating(1))?;
    let dying = arena.rest.owner;
    let cut_off = arena.other(&[dying, arena.rest.primary]);
    place(&arena.cluster, SECOND, cut_off)?;
    let asked = os::now();
    let there = second.wait_for(asked, SECONDS, |it| it.node == cut_off);
    hold!(there.is_some(), "n{cut_off} does not answer for {SECOND}");
    let rest: Vec<u8> = arena.cluster.ids().filter(|it| *it != cut_off).collect();
    let begin = os::now();
    hearing.split(&[&[cut_off], &rest]);
    os::sleep(Duration::from_nanos(os::random() % arena.cluster.spec().deadline().nanos()));
    arena.cluster.cut(dying)?;
    let one = arena.cluster.bed().observer().wait_for(begin, SECONDS, |it| it.node != dying);
    let other = second.wait_for(begin, SECONDS, |it| it.node != cut_off);
    hold!(one.is_some() && other.is_some(), "not both came back: {one:?}, {other:?}");
    os::sleep(Duration::from_millis(300));
    hearing.heal();
    arena.cluster.restore(dying)?;
    arena.rest = arena.cluster.settle()?;
    let record = second.record();
    hold!(record.violation_count() == 0, "two owners of {SECOND}: {:?}", record.violations());
    drop(record);
    arena.end()
}

enum Second {
    /// The next owner dies while it takes over, at any of its steps.
    During,
    /// It dies less than 20 ms after its first answer.
    RightAfter,
}

/// The owner dies, then the next one.
fn twice(programs: &Programs, second: Second) -> Result<Verdict> {
    let spec = Spec { shape: Shape { nodes: 5, links: 1 }, ..Spec::default() };
    let mut arena = Arena::start(spec, programs)?;
    let owner = arena.rest.owner;
    // The planner takes the first in the order of the file.
    let next = arena.other(&[owner]);
    let cut = arena.cluster.cut(owner)?;
    match second {
        Second::During => {
            let wait = Duration::from_nanos(os::random() % Duration::from_millis(15).nanos());
            os::sleep_until(cut.at + Duration::from_millis(20) + wait);
        }
        Second::RightAfter => {
            let observer = arena.cluster.bed().observer();
            let first = observer.wait_for(cut.at, SECONDS, |it| it.node == next);
            hold!(first.is_some(), "n{next} does not take over");
            os::sleep(Duration::from_nanos(os::random() % Duration::from_millis(10).nanos()));
        }
    }
    let again = arena.cluster.cut(next)?;
    let observer = arena.cluster.bed().observer();
    let gone = |node: u8| node == owner || node == next;
    let answer = observer.wait_for(again.done, SECONDS, |it| !gone(it.node));
    let Some(answer) = answer else {
        return Ok(Verdict::Fail("nobody took over after the second death".into()));
    };
    println!("      third owner {} after the second cut", answer.received.since(again.at));
    arena.rest = arena.cluster.settle()?;
    for node in [owner, next] {
        arena.cluster.restore(node)?;
    }
    arena.rest = arena.cluster.settle()?;
    arena.end()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaving {
    Moved,
    ControlKilled,
    AllKilled,
    CutOff,
}

/// From A to B and back to A, with a client that always comes from the same ports.
fn there_and_back(programs: &Programs, how: Leaving) -> Result<Verdict> {
    let mut arena = Arena::start(Spec::default(), programs)?;
    let hearing = Hearing::install(arena.cluster.bed().topology())?;
    let (a, first) = (arena.rest.owner, arena.rest.generation);
    let mut sessions = connect(&arena.cluster)?;
    let serving = served(&mut sessions, a, first);
    hold!(serving.is_ok(), "{serving:?}");
    hold!(established(&arena.cluster, a)? > 0, "the client has no connection to n{a}");
    leave(&mut arena, &hearing, a, how)?;
    let begin = os::now();
    let observer = arena.cluster.bed().observer();
    let answer = observer.wait_for(begin, SECONDS, |it| it.generation > first);
    let Some(answer) = answer else {
        return Ok(Verdict::Fail(format!("nobody took over from n{a}")));
    };
    let serving = served(&mut sessions, answer.node, answer.generation);
    hold!(serving.is_ok(), "{serving:?}");
    hearing.heal();
    if arena.cluster.find(a, "netguard-fast").is_none() {
        arena.cluster.start_daemons(a)?;
    }
    arena.rest = arena.cluster.settle()?;
    let left = established(&arena.cluster, a)?;
    hold!(left == 0, "{left} connections of the former time are still standing on n{a}");
    place(&arena.cluster, testbed::spec::SERVICE, a)?;
    arena.rest = arena.cluster.settle()?;
    let serving = served(&mut sessions, a, arena.rest.generation);
    hold!(serving.is_ok(), "{serving:?}");
    let left = established(&arena.cluster, answer.node)?;
    hold!(left == 0, "{left} connections are still standing on n{}", answer.node);
    arena.end()
}

/// Makes the service leave its owner.
fn leave(arena: &mut Arena, hearing: &Hearing, owner: u8, how: Leaving) -> Result<()> {
    let others: Vec<u8> = arena.cluster.ids().filter(|it| *it != owner).collect();
    let all = ["netguard-sweep", "netguard-fast", "netguard-control"];
    match how {
        Leaving::Moved => {
            let to = others.first().copied().unwrap_or(owner);
            place(&arena.cluster, testbed::spec::SERVICE, to)?;
        }
        Leaving::ControlKilled => drop(arena.cluster.signal(owner, &all[2..], libc::SIGKILL)?),
        Leaving::AllKilled => drop(arena.cluster.signal(owner, &all, libc::SIGKILL)?),
        Leaving::CutOff => hearing.split(&[&[owner], &others]),
    }
    if matches!(how, Leaving::ControlKilled | Leaving::AllKilled) {
        arena.cluster.retire(owner);
        wait_until("the daemons to end", SECONDS, || {
            let lives = all.iter().find(|it| arena.cluster.find(owner, it).is_some());
            lives.map_or(Ok(()), |it| Err(format!("{it} goes on")))
        })?;
    }
    Ok(())
}

/// The client's connections, which stand for the whole test: what ends them is not the client.
fn connect(cluster: &Cluster) -> Result<Vec<Session>> {
    let topology = cluster.bed().topology();
    PORTS.into_iter().map(|port| Session::new(topology, port, FLOATING)).collect()
}

/// Every connection reaches the owner, old or made anew, and never anybody else.
fn served(sessions: &mut [Session], node: u8, generation: u64) -> std::result::Result<(), String> {
    for session in sessions {
        let limit: Instant = os::now() + SECONDS;
        loop {
            match session.ask() {
                Some(it) if it == (node, generation) => break,
                Some(it) => return Err(format!("{it:?} instead of {:?}", (node, generation))),
                None if os::now() > limit => return Err("no answer".into()),
                None => os::sleep(Duration::from_millis(10)),
            }
        }
    }
    Ok(())
}

/// Connections of the floating address that a node's kernel believes in.
fn established(cluster: &Cluster, node: u8) -> Result<usize> {
    let name = cluster.bed().topology().node(node).name().to_owned();
    let local = format!("{FLOATING}:{}", session::PORT);
    let list = run(Command::new("ss").args(["-N", &name, "-Htn", "state", "established"]))?;
    Ok(list.lines().filter(|line| line.contains(&local)).count())
}
