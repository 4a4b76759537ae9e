//! Somebody else's work takes cores, memory and network: the heartbeat goes on (S10), because it is
//! real-time, locked in memory, and does little.

use crate::Test;
use crate::arena::Arena;
use base::Duration;
use testbed::error::Result;
use testbed::hold;
use testbed::load::{Hogs, Storm, page_out, resident};
use testbed::os;
use testbed::programs::Programs;
use testbed::spec::Spec;
use testbed::suite::Verdict;
use testbed::topology::node_name;

pub(crate) const TESTS: &[Test] = &[
    Test { name: "cpu-hogs", run: hogs },
    Test { name: "load-paged-out", run: paged_out },
    Test { name: "load-storm", run: storm },
];

/// Foreign frames a second.
const RATE: u64 = 50_000;

fn hogs(programs: &Programs) -> Result<Verdict> {
    if os::realtime(1).is_err() {
        return Ok(Verdict::Skip("no real-time priority here (CAP_SYS_NICE)".into()));
    }
    os::ordinary();
    let mut arena = Arena::start(Spec::default(), programs)?;
    let hogs = Hogs::start();
    let stayed = arena.stays(Duration::from_millis(60_000), |_, _| Ok(()))?;
    drop(hogs);
    hold!(stayed.is_ok(), "{stayed:?}");
    arena.end()
}

/// The kernel takes every page of the daemons that is not locked, ten times a second.
fn paged_out(programs: &Programs) -> Result<Verdict> {
    let mut arena = Arena::start(Spec::default(), programs)?;
    let names = ["netguard-fast", "netguard-control", "netguard-sweep"];
    let mut all = Vec::new();
    for node in arena.cluster.ids() {
        let found = names.map(|name| Some((node, name, arena.cluster.find(node, name)?)));
        all.extend(found.into_iter().flatten());
    }
    hold!(all.len() == 9, "three programs on each of three nodes: {all:?}");
    let before: Vec<_> = all.iter().map(|(_, _, pid)| resident(*pid)).collect();
    let pids: Vec<i32> = all.iter().map(|(_, _, pid)| *pid).collect();
    let mut turns = 0_u32;
    let stayed = arena.stays(Duration::from_millis(8_000), |_, _| {
        turns += 1;
        if turns.is_multiple_of(5) {
            pids.iter().try_for_each(|pid| page_out(*pid))?;
        }
        Ok(())
    })?;
    hold!(stayed.is_ok(), "{stayed:?}");
    for ((node, name, pid), before) in all.iter().zip(before) {
        let after = resident(*pid);
        let node = node_name(*node);
        hold!(after.locked_kib > 0, "{name} of {node} has nothing locked: {after:?}");
        println!("      {name} of {node}: {} KiB resident, {} KiB left", before.kib, after.kib);
    }
    arena.end()
}

/// Somebody floods the owner's ports of heartbeat and agreement.
fn storm(programs: &Programs) -> Result<Verdict> {
    let mut arena = Arena::start(Spec::default(), programs)?;
    let owner = arena.rest.owner;
    let storm = Storm::start(arena.cluster.bed().topology(), &[owner], RATE)?;
    let begin = (os::now(), storm.sent());
    let stayed = arena.stays(Duration::from_millis(10_000), |_, _| Ok(()))?;
    let (span, sent) = (os::now().since(begin.0), storm.sent() - begin.1);
    drop(storm);
    let rate = sent * 1_000 / span.millis().max(1);
    println!("      {rate} frames a second");
    hold!(stayed.is_ok(), "at {rate} frames a second: {stayed:?}");
    hold!(rate > RATE / 2, "only {rate} frames a second: the test tests less than it should");
    let counted = arena.cluster.counters(owner);
    let garbage = counted.get("fast.reject.garbage").copied().unwrap_or(0);
    hold!(garbage > 0, "nobody counts them: {counted:?}");
    arena.end()
}
