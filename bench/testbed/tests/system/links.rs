//! Disturbed links: nobody fails over, and what is wrong is named.

use crate::Test;
use crate::arena::Arena;
use api::LinkState;
use base::Duration;
use testbed::bed::wait_until;
use testbed::cluster::Cluster;
use testbed::error::Result;
use testbed::hold;
use testbed::os;
use testbed::programs::Programs;
use testbed::spec::{Spec, link_name};
use testbed::suite::Verdict;
use testbed::topology::{group, port};

pub(crate) const TESTS: &[Test] = &[
    Test { name: "link-down", run: link_down },
    Test { name: "link-flapping", run: link_flapping },
    Test { name: "link-all-of-the-owner-down", run: isolated },
    Test { name: "link-loss-one-percent", run: loss },
    Test { name: "link-duplicates", run: duplicates },
    Test { name: "link-reordering", run: reordering },
];

const NAMED: Duration = Duration::from_millis(3_000);
/// A link is judged by 512 beats, 5 s; by chance it can take a few rounds until one in a hundred shows.
const JUDGED: Duration = Duration::from_millis(30_000);

/// Waits until `seer` calls the link of `node` up or down, in `members`, and has an alarm for it
/// while it is down.
fn named(cluster: &Cluster, seer: u8, node: u8, link: u8, up: bool) -> Result<()> {
    let what = format!(
        "n{seer} to call {} of n{node} {}",
        link_name(link),
        if up { "up" } else { "down" }
    );
    wait_until(&what, NAMED, || {
        let status = cluster.status(seer).map_err(|error| error.to_string())?;
        let member = status.members.iter().find(|it| it.id == node);
        let state = member.and_then(|it| it.links.iter().find(|it| it.link == link_name(link)));
        let health = status.health();
        let told = health.problems.iter().any(|it| it.message.contains(&link_name(link)));
        match state {
            Some(state) if state.up == up && told != up => Ok(()),
            _ => Err(format!("{state:?}, problems {:?}", health.problems)),
        }
    })
}

fn link_down(programs: &Programs) -> Result<Verdict> {
    let mut arena = Arena::start(Spec::default(), programs)?;
    // The second link of the owner, then the first link of another node (the client is on the first
    // one too).
    let owner = arena.rest.owner;
    let other = arena.other(&[owner]);
    for (node, link, seer) in [(owner, 2, other), (other, 1, owner)] {
        let mut down = false;
        let stayed = arena.stays(Duration::from_millis(2_000), |cluster, _| {
            if !down {
                cluster.bed().topology().ports().set_port(&port(node, link), false)?;
                down = true;
                named(cluster, seer, node, link, false)?;
            }
            Ok(())
        })?;
        hold!(stayed.is_ok(), "{} down: {stayed:?}", port(node, link));
        arena.cluster.bed().topology().ports().set_port(&port(node, link), true)?;
        named(&arena.cluster, seer, node, link, true)?;
    }
    arena.end()
}

fn link_flapping(programs: &Programs) -> Result<Verdict> {
    let mut arena = Arena::start(Spec::default(), programs)?;
    let port = port(arena.rest.owner, 2);
    let stayed = arena.stays(Duration::from_millis(6_000), |cluster, since| {
        // 140 ms down, 140 ms up: more than a deadline each.
        let up = since.millis() / 140 % 2 == 1;
        cluster.bed().topology().ports().set_port(&port, up)
    })?;
    hold!(stayed.is_ok(), "{stayed:?}");
    arena.cluster.bed().topology().ports().set_port(&port, true)?;
    called_poor(&arena, "lost")?;
    arena.end()
}

/// The owner loses all links and lives on. It must have given the address up before the next owner
/// answers, and must not answer when the links come back.
fn isolated(programs: &Programs) -> Result<Verdict> {
    let mut arena = Arena::start(Spec::default(), programs)?;
    let (owner, generation) = (arena.rest.owner, arena.rest.generation);
    let ports = arena.cluster.bed().topology().ports();
    let cut = os::now();
    ports.set_group(group(owner), false)?;
    let observer = arena.cluster.bed().observer();
    let answer = observer.wait_for(cut, NAMED, |it| it.node != owner);
    let Some(answer) = answer else {
        return Ok(Verdict::Fail("nobody took over".into()));
    };
    hold!(answer.generation == generation + 1, "g{generation} was followed by {answer:?}");
    let late = os::now().since(answer.received);
    hold!(!arena.has_address(owner), "n{owner} still has the address {late} after the next owner");
    ports.set_group(group(owner), true)?;
    let rest = arena.cluster.settle()?;
    hold!(rest.owner == answer.node, "it moved again when the links came back: {rest:?}");
    arena.end()
}

fn loss(programs: &Programs) -> Result<Verdict> {
    disturbed(programs, "seed=11,loss=0.01", "lost")
}

fn duplicates(programs: &Programs) -> Result<Verdict> {
    disturbed(programs, "seed=12,dup=0.05", "doubled")
}

fn reordering(programs: &Programs) -> Result<Verdict> {
    disturbed(programs, "seed=13,reorder=0.05", "out of order")
}

/// The daemons themselves lose, double or delay what they send, on all links alike.
fn disturbed(programs: &Programs, what: &str, word: &str) -> Result<Verdict> {
    let spec = Spec { loss: Some(what.into()), ..Spec::default() };
    let mut arena = Arena::start(spec, programs)?;
    let stayed = arena.stays(Duration::from_millis(10_000), |_, _| Ok(()))?;
    hold!(stayed.is_ok(), "{stayed:?}");
    let disturbed: u64 = arena
        .cluster
        .counters(arena.rest.owner)
        .iter()
        .filter(|(name, _)| name.contains("disturbed"))
        .map(|(_, count)| count)
        .sum();
    hold!(disturbed > 0, "nothing was disturbed: the test tests nothing");
    // The owner's beats are what the others judge; its links are named with what they do.
    called_poor(&arena, word)?;
    arena.end()
}

/// Waits until another node says which link of the owner does what to its beats, where an operator looks.
fn called_poor(arena: &Arena, word: &str) -> Result<()> {
    let (owner, seer) = (arena.rest.owner, arena.other(&[arena.rest.owner]));
    let what = format!("n{seer} to say that a link of n{owner} has beats {word}");
    wait_until(&what, JUDGED, || {
        let status = arena.cluster.status(seer).map_err(|error| error.to_string())?;
        let links = status.members.iter().filter(|it| it.id == owner).flat_map(|it| &it.links);
        let poor: Vec<_> = links.filter(|it| it.trouble.contains(word)).collect();
        let health = status.health();
        let named =
            |link: &&LinkState| health.problems.iter().any(|it| it.message.contains(&link.link));
        let told = !poor.is_empty() && poor.iter().all(named);
        if told { Ok(()) } else { Err(format!("{:?}", health.problems)) }
    })
}
