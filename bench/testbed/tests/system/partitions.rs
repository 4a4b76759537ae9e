//! Partitions that the client can see both sides of: the minority is closed before the majority
//! acts, and when it is over the network points to the owner.

use crate::Test;
use crate::arena::Arena;
use base::{Duration, Instant};
use testbed::bed::wait_until;
use testbed::error::Result;
use testbed::hearing::Hearing;
use testbed::hold;
use testbed::os;
use testbed::programs::Programs;
use testbed::spec::Spec;
use testbed::suite::Verdict;
use testbed::topology::{FLOATING, Shape, group, mac, mac_text};

pub(crate) const TESTS: &[Test] = &[
    Test { name: "partition-primary-and-owner-alone", run: |it| alone(it, true, Whom::Owner) },
    Test { name: "partition-owner-alone", run: |it| alone(it, false, Whom::Owner) },
    Test { name: "partition-primary-alone", run: |it| alone(it, false, Whom::Primary) },
    Test { name: "partition-all-links-down", run: unplugged },
    Test { name: "partition-owner-unheard", run: |it| one_way(it, Way::Unheard) },
    Test { name: "partition-owner-deaf", run: |it| one_way(it, Way::Deaf) },
    Test { name: "partition-five-in-three", run: five_in_three },
    Test { name: "partition-five-without-majority", run: five_without_majority },
];

const SECONDS: Duration = Duration::from_millis(5_000);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Whom {
    Owner,
    Primary,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It hears the others, who do not hear it.
    Unheard,
    /// The others hear it, and it hears nobody.
    Deaf,
}

/// The service answers from another node, the old owner was silent before, and stays so.
fn taken_over(arena: &Arena, begin: Instant) -> Result<std::result::Result<u8, String>> {
    let (owner, generation) = (arena.rest.owner, arena.rest.generation);
    let observer = arena.cluster.bed().observer();
    let Some(answer) = observer.wait_for(begin, SECONDS, |it| it.generation > generation) else {
        return Ok(Err(format!("nobody took over from n{owner}")));
    };
    let lease_end = arena.cluster.lease_end(owner);
    os::sleep(Duration::from_millis(1_000));
    let record = arena.cluster.bed().observer().record();
    let took = answer.received.since(begin);
    let last = record.last_of(owner).map(|it| answer.received.since(it.sent));
    println!("      next owner after {took}; the old one's last answer {last:?} before");
    if let Some(late) = record.answer_of(owner, lease_end.max(begin)) {
        // A lease of zero was closed before it ran out.
        if late.sent > answer.received || lease_end > Instant::ZERO {
            return Ok(Err(format!("asked after its lease end, n{owner} answered: {late:?}")));
        }
    }
    Ok(Ok(answer.node))
}

/// After healing: one owner, the same, and the client's own table points to it.
fn healed(mut arena: Arena, owner: u8) -> Result<Verdict> {
    let rest = arena.cluster.settle()?;
    hold!(rest.owner == owner, "it moved again when the partition ended: {rest:?}");
    let right = mac_text(mac(owner, 1));
    wait_until("the client's neighbour table to point right", SECONDS, || {
        match arena.cluster.bed().topology().clients_neighbour(FLOATING) {
            Some(mac) if mac == right => Ok(()),
            other => Err(format!("{other:?} instead of {right}")),
        }
    })?;
    for node in arena.cluster.alive() {
        hold!(arena.has_address(node) == (node == owner), "n{node} has the wrong addresses");
    }
    arena.end()
}

/// Two nodes to one.
fn alone(programs: &Programs, on_primary: bool, whom: Whom) -> Result<Verdict> {
    let mut arena = Arena::start(Spec::default(), programs)?;
    arena.place(on_primary)?;
    let hearing = Hearing::install(arena.cluster.bed().topology())?;
    let lonely = if whom == Whom::Owner { arena.rest.owner } else { arena.rest.primary };
    let others: Vec<u8> = arena.cluster.ids().filter(|it| *it != lonely).collect();
    arena.cluster.bed().observer().record().begin_window();
    os::sleep(Duration::from_millis(50));
    let begin = os::now();
    hearing.split(&[&[lonely], &others]);
    let owner = if whom == Whom::Owner {
        match taken_over(&arena, begin)? {
            Ok(next) => next,
            Err(why) => return Ok(Verdict::Fail(why)),
        }
    } else {
        os::sleep(Duration::from_millis(1_000));
        let owners = arena.cluster.bed().observer().record().owners();
        hold!(
            owners.last() == Some(&(arena.rest.generation, arena.rest.owner)),
            "the service moved although its owner is with the majority: {owners:?}"
        );
        arena.rest.owner
    };
    let status = arena.cluster.status(lonely)?;
    hold!(!status.quorum.held && !status.lease.held, "n{lonely} alone: {:?}", status.quorum);
    hearing.heal();
    healed(arena, owner)
}

/// All links of the owner are down for five seconds.
fn unplugged(programs: &Programs) -> Result<Verdict> {
    let arena = Arena::start(Spec::default(), programs)?;
    let owner = arena.rest.owner;
    let begin = os::now();
    let ports = arena.cluster.bed().topology().ports();
    ports.set_group(group(owner), false)?;
    let next = match taken_over(&arena, begin)? {
        Ok(next) => next,
        Err(why) => return Ok(Verdict::Fail(why)),
    };
    os::sleep(Duration::from_millis(4_000));
    hold!(!arena.has_address(owner), "n{owner} still has the address");
    arena.cluster.bed().topology().ports().set_group(group(owner), true)?;
    healed(arena, next)
}

/// One direction only.
fn one_way(programs: &Programs, way: Way) -> Result<Verdict> {
    let mut arena = Arena::start(Spec::default(), programs)?;
    arena.place(false)?;
    let hearing = Hearing::install(arena.cluster.bed().topology())?;
    let owner = arena.rest.owner;
    let others: Vec<u8> = arena.cluster.ids().filter(|it| *it != owner).collect();
    arena.cluster.bed().observer().record().begin_window();
    os::sleep(Duration::from_millis(50));
    let begin = os::now();
    match way {
        Way::Unheard => others.iter().for_each(|it| hearing.set_deaf(*it, 0, &[owner])),
        Way::Deaf => hearing.set_deaf(owner, 0, &others),
    }
    let next = match taken_over(&arena, begin)? {
        Ok(next) => next,
        Err(why) => return Ok(Verdict::Fail(why)),
    };
    hearing.heal();
    healed(arena, next)
}

/// Five nodes on one link.
fn five() -> Spec {
    Spec { shape: Shape { nodes: 5, links: 1 }, ..Spec::default() }
}

/// The owner alone, another alone, three together.
fn five_in_three(programs: &Programs) -> Result<Verdict> {
    let arena = Arena::start(five(), programs)?;
    let hearing = Hearing::install(arena.cluster.bed().topology())?;
    let owner = arena.rest.owner;
    let second = arena.other(&[owner, arena.rest.primary]);
    let rest: Vec<u8> = arena.cluster.ids().filter(|it| ![owner, second].contains(it)).collect();
    let begin = os::now();
    hearing.split(&[&[owner], &[second], &rest]);
    let next = match taken_over(&arena, begin)? {
        Ok(next) => next,
        Err(why) => return Ok(Verdict::Fail(why)),
    };
    hold!(rest.contains(&next), "n{next} has no majority");
    hearing.heal();
    healed(arena, next)
}

/// Two, two and one: nobody acts (S8), and when they meet again the service is back.
fn five_without_majority(programs: &Programs) -> Result<Verdict> {
    let mut arena = Arena::start(five(), programs)?;
    let hearing = Hearing::install(arena.cluster.bed().topology())?;
    let begin = os::now();
    hearing.split(&[&[1, 2], &[3, 4], &[5]]);
    os::sleep(Duration::from_millis(1_500));
    let silent = begin + arena.budget();
    let late = arena.cluster.bed().observer().record().first_answer(silent, |_| true);
    hold!(late.is_none(), "nobody has a majority, and it answers: {late:?}");
    for node in arena.cluster.ids() {
        let status = arena.cluster.status(node)?;
        hold!(!status.quorum.held && !status.lease.held, "n{node}: {:?}", status.quorum);
    }
    hearing.heal();
    let rest = arena.cluster.settle()?;
    healed(arena, rest.owner)
}
