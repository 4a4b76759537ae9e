//! Beats in Ethernet frames, without IP: beside a UDP link, as the only way, and with losses.

use crate::Test;
use crate::arena::Arena;
use crate::cuts::takeover;
use base::Duration;
use std::fs;
use testbed::error::{Context, Result};
use testbed::hold;
use testbed::programs::Programs;
use testbed::spec::{PORT_BEATS, Spec, link_name};
use testbed::suite::Verdict;
use testbed::topology::Shape;

pub(crate) const TESTS: &[Test] = &[
    Test { name: "ethernet-beside-udp", run: beside_udp },
    Test { name: "ethernet-alone", run: alone },
    Test { name: "ethernet-loss-one-percent", run: loss },
];

fn beside_udp(programs: &Programs) -> Result<Verdict> {
    let arena = Arena::start(Spec { ethernet: vec![2], ..Spec::default() }, programs)?;
    for node in arena.cluster.alive() {
        // One of each for the beats; the agreement has UDP on both links.
        hold!(sockets(&arena, node)? == (1, 2, 1), "n{node}: {:?}", sockets(&arena, node)?);
        let unheard = unheard(&arena, node, 2)?;
        hold!(unheard.is_none(), "n{node}: {unheard:?}");
    }
    takeover(arena, false)
}

fn alone(programs: &Programs) -> Result<Verdict> {
    let shape = Shape { nodes: 3, links: 1 };
    let arena = Arena::start(Spec { shape, ethernet: vec![1], ..Spec::default() }, programs)?;
    for node in arena.cluster.alive() {
        hold!(sockets(&arena, node)? == (0, 1, 1), "n{node}: {:?}", sockets(&arena, node)?);
        let unheard = unheard(&arena, node, 1)?;
        hold!(unheard.is_none(), "n{node}: {unheard:?}");
    }
    takeover(arena, true)
}

fn loss(programs: &Programs) -> Result<Verdict> {
    let loss = Some("seed=14,loss=0.01,dup=0.01,reorder=0.01".into());
    let spec = Spec { frames: "ethernet".into(), loss, ..Spec::default() };
    let mut arena = Arena::start(spec, programs)?;
    let stayed = arena.stays(Duration::from_millis(5_000), |_, _| Ok(()))?;
    hold!(stayed.is_ok(), "{stayed:?}");
    let counters = arena.cluster.counters(arena.rest.owner);
    let disturbed =
        |(name, _): &(&String, &u64)| name.starts_with("fast.") && name.contains("disturbed");
    hold!(counters.iter().any(|it| disturbed(&it)), "nothing was disturbed: {counters:?}");
    arena.end()
}

/// What a node's kernel lists: UDP sockets on the port of the beats and on that of the agreement, and packet sockets of our
/// ethertype.
fn sockets(arena: &Arena, node: u8) -> Result<(usize, usize, usize)> {
    let Some(pid) = arena.cluster.find(node, "netguard-fast") else { return Ok((0, 0, 0)) };
    let list = |name: &str| {
        let path = format!("/proc/{pid}/net/{name}");
        fs::read_to_string(&path).context(path)
    };
    let udp = list("udp")?;
    let on = |port: u16| {
        let end = format!(":{port:04X}");
        let here = |it: &&str| it.split_whitespace().nth(1).is_some_and(|at| at.ends_with(&end));
        udp.lines().filter(here).count()
    };
    let ethertype = |it: &&str| it.split_whitespace().nth(3) == Some("88b5");
    let packet = list("packet")?.lines().filter(ethertype).count();
    Ok((on(PORT_BEATS), on(PORT_BEATS + 1), packet))
}

/// A peer that this node does not hear on the link, or none of its frames really came that way.
fn unheard(arena: &Arena, node: u8, link: u8) -> Result<Option<String>> {
    let status = arena.cluster.status(node)?;
    let name = link_name(link);
    for member in status.members.iter().filter(|it| it.id != node) {
        let state = member.links.iter().find(|it| it.link == name);
        if !state.is_some_and(|it| it.up) {
            return Ok(Some(format!("{}: {state:?}", member.name)));
        }
    }
    let counters = arena.cluster.counters(node);
    // Those that are zero are not in the list.
    let received = counters.contains_key(&format!("fast.link{}.received", link - 1));
    Ok((!received).then(|| format!("{counters:?}")))
}
