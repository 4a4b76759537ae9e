//! Power cuts: of the owner, of the primary, of a node that is both; and the return of the node.

use crate::Test;
use crate::arena::Arena;
use api::{MemberState, Phase};
use base::{Duration, Instant};
use std::io::ErrorKind;
use std::net::{Ipv6Addr, SocketAddr, TcpStream};
use testbed::bed::wait_until;
use testbed::error::Result;
use testbed::hold;
use testbed::os;
use testbed::power::Cut;
use testbed::programs::Programs;
use testbed::spec::Spec;
use testbed::suite::Verdict;
use testbed::topology::node_name;
use testbed::trial::REPEATS_MAX;

pub(crate) const TESTS: &[Test] = &[
    Test { name: "cut-owner", run: cut_owner },
    Test { name: "cut-primary", run: cut_primary },
    Test { name: "cut-owner-and-primary-in-one", run: cut_both },
    Test { name: "cut-ipv6", run: cut_ipv6 },
    Test { name: "return-sticky", run: return_sticky },
    Test { name: "return-fail-back", run: return_fail_back },
];

const SECONDS: Duration = Duration::from_millis(5_000);

fn cut_owner(programs: &Programs) -> Result<Verdict> {
    takeover(Arena::start(Spec::default(), programs)?, false)
}

fn cut_both(programs: &Programs) -> Result<Verdict> {
    takeover(Arena::start(Spec::default(), programs)?, true)
}

/// Cuts the owner; the service must answer elsewhere within the budget, one generation later.
pub(crate) fn takeover(mut arena: Arena, on_primary: bool) -> Result<Verdict> {
    for _ in 0..=REPEATS_MAX {
        arena.place(on_primary)?;
        let (victim, generation) = (arena.rest.owner, arena.rest.generation);
        let cut = cut(&mut arena, victim)?;
        let observer = arena.cluster.bed().observer();
        let answer = observer.wait_for(cut.at, SECONDS, |it| it.node != victim);
        let Some(answer) = answer else {
            return Ok(Verdict::Fail("nobody took over".into()));
        };
        hold!(answer.generation == generation + 1, "g{generation} was followed by {answer:?}");
        let timeline = arena.cluster.timeline(victim, cut, answer.received)?;
        hold!(timeline.records.len() == 2, "records of {} survivors", timeline.records.len());
        let rest = arena.cluster.settle()?;
        hold!(rest.owner == answer.node, "n{} answered, but {rest:?}", answer.node);
        if !on_primary {
            hold!(rest.primary == arena.rest.primary, "the primary changed without need");
        }
        let status = arena.cluster.status(rest.owner)?;
        let member = status.members.iter().find(|it| it.id == victim);
        hold!(
            member.is_some_and(|it| it.state == MemberState::Down && !it.reason.is_empty()),
            "the cut node is not called down with a reason: {member:?}"
        );
        let took = answer.received.since(cut.at);
        match stalled(&arena, cut, answer.received) {
            None => {
                let budget = arena.budget();
                hold!(took < budget, "{took} from cut to answer: {:?}", timeline.steps("floating"));
                return arena.end();
            }
            Some(stall) => println!("      void ({took}): {stall}"),
        }
        arena.cluster.restore(victim)?;
        arena.rest = arena.cluster.settle()?;
    }
    Ok(Verdict::Fail("void again and again: the machine stands still".into()))
}

/// Cuts at a random phase of the beat.
fn cut(arena: &mut Arena, victim: u8) -> Result<Cut> {
    let interval = arena.cluster.spec().interval_length();
    os::sleep(Duration::from_nanos(os::random() % interval.nanos()));
    arena.cluster.bed().observer().record().begin_window();
    let cut = arena.cluster.cut(victim)?;
    Ok(cut)
}

fn stalled(arena: &Arena, cut: Cut, end: Instant) -> Option<String> {
    os::sleep(Duration::from_millis(20));
    let interval = arena.cluster.spec().interval_length();
    let stall = arena.meter.overlaps(cut.at - interval * 2, end, interval / 2)?;
    Some(format!("core {} stood still {}", stall.core, stall.length()))
}

fn cut_primary(programs: &Programs) -> Result<Verdict> {
    let mut arena = Arena::start(Spec::default(), programs)?;
    for _ in 0..=REPEATS_MAX {
        arena.place(false)?;
        let before = arena.rest.clone();
        let cut = cut(&mut arena, before.primary)?;
        let rest = arena.cluster.settle()?;
        let gap = arena.cluster.bed().observer().record().longest_gap(os::now());
        hold!(rest.primary != before.primary, "the dead primary is still called primary");
        hold!(
            (rest.owner, rest.generation) == (before.owner, before.generation),
            "the service moved although its owner lives: {before:?}, {rest:?}"
        );
        match stalled(&arena, cut, os::now()) {
            None => {
                hold!(gap < Duration::from_millis(10), "the address was silent for {gap}");
                return arena.end();
            }
            Some(stall) => println!("      void (gap {gap}): {stall}"),
        }
        arena.cluster.restore(before.primary)?;
        arena.rest = arena.cluster.settle()?;
    }
    Ok(Verdict::Fail("void again and again: the machine stands still".into()))
}

/// A second service with an IPv6 address: it must answer at once, without the second that the
/// kernel takes to look for a duplicate of it.
fn cut_ipv6(programs: &Programs) -> Result<Verdict> {
    let more = "\n[[service]]\nname = \"six\"\nfence = \"lease\"\n[[service.resource]]\n\
                kind = \"address\"\naddress = \"fd77:1::100/64\"\n";
    let mut arena = Arena::start(Spec { more: more.into(), ..Spec::default() }, programs)?;
    reachable(&arena, SECONDS)?;
    let status = arena.cluster.status(arena.rest.owner)?;
    let six = status.services.iter().find(|it| it.name == "six");
    let owner = six.and_then(|it| it.owner.clone()).unwrap_or_default();
    let Some(victim) = arena.cluster.ids().find(|node| node_name(*node) == owner) else {
        return Ok(Verdict::Fail(format!("nobody owns it: {six:?}")));
    };
    let begin = arena.cluster.cut(victim)?.at;
    // One deadline, and far less than the 1.1 s of a duplicate search.
    reachable(&arena, Duration::from_millis(500))?;
    let took = os::now().since(begin);
    hold!(took < Duration::from_millis(500), "it was reachable after {took} only");
    arena.rest = arena.cluster.settle()?;
    arena.end()
}

/// Waits until the IPv6 address answers the client: a refused connection is an answer.
fn reachable(arena: &Arena, limit: Duration) -> Result<()> {
    let address = SocketAddr::from((Ipv6Addr::new(0xfd77, 1, 0, 0, 0, 0, 0, 0x100), 9));
    let wait = std::time::Duration::from_millis(20);
    let client = arena.cluster.bed().topology().client();
    client.inside(|| {
        wait_until("fd77:1::100 to answer", limit, || {
            match TcpStream::connect_timeout(&address, wait) {
                Ok(_) => Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
                Err(error) => Err(error.to_string()),
            }
        })
    })
}

fn return_sticky(programs: &Programs) -> Result<Verdict> {
    let mut arena = Arena::start(Spec::default(), programs)?;
    let victim = arena.rest.owner;
    let life = life(&arena, victim)?;
    let cut = arena.cluster.cut(victim)?;
    let observer = arena.cluster.bed().observer();
    hold!(observer.wait_for(cut.at, SECONDS, |it| it.node != victim).is_some(), "no takeover");
    let taken = arena.cluster.settle()?;
    arena.cluster.restore(victim)?;
    let back = arena.cluster.settle()?;
    hold!(
        (back.owner, back.generation) == (taken.owner, taken.generation),
        "a sticky service moved when a node came back: {taken:?}, {back:?}"
    );
    let now = self::life(&arena, victim)?;
    hold!(now > life, "it came back as life {now}, it was {life}");
    arena.end()
}

fn life(arena: &Arena, node: u8) -> Result<u32> {
    let status = arena.cluster.status(node)?;
    Ok(status.life)
}

fn return_fail_back(programs: &Programs) -> Result<Verdict> {
    let spec = Spec { placement: "fail-back".into(), ..Spec::default() };
    let mut arena = Arena::start(spec, programs)?;
    hold!(arena.rest.owner == 1, "fail-back prefers the first node, but {:?}", arena.rest);
    let cut = arena.cluster.cut(1)?;
    let observer = arena.cluster.bed().observer();
    hold!(observer.wait_for(cut.at, SECONDS, |it| it.node != 1).is_some(), "no takeover");
    arena.cluster.settle()?;
    arena.cluster.restore(1)?;
    wait_until("the service to go back", testbed::cluster::SETTLE, || {
        let service = arena.cluster.service(1).map_err(|error| error.to_string())?;
        let home = service.owner == Some(node_name(1)) && service.phase == Phase::Running;
        if home { Ok(()) } else { Err(format!("{:?} on {:?}", service.phase, service.owner)) }
    })?;
    arena.rest = arena.cluster.settle()?;
    arena.end()
}
