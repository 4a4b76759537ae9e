//! Entries that fit no datagram take the stream between the controls, also beside a node that is cut
//! off in the middle of one and comes back.

use crate::arena::Arena;
use crate::{Test, socket};
use base::Duration;
use netguard::Client;
use testbed::bed::wait_until;
use testbed::error::Result;
use testbed::hearing::Hearing;
use testbed::hold;
use testbed::os;
use testbed::programs::Programs;
use testbed::spec::Spec;
use testbed::suite::Verdict;

pub(crate) const TESTS: &[Test] = &[
    Test { name: "large-entries", run: all_get_them },
    Test { name: "large-entries-cut-and-healed", run: cut_and_healed },
];

const MIB: u32 = 1_048_576;
const SECONDS: Duration = Duration::from_millis(10_000);

fn start(programs: &Programs) -> Result<Arena> {
    Arena::start(Spec { probes: true, ..Spec::default() }, programs)
}

/// Has `count` entries of 1 MiB agreed at a node; how many were.
fn write(arena: &Arena, node: u8, count: u32, window: u32) -> Result<usize> {
    probe(arena.cluster.client(node)?, node, count, window)
}

fn probe(mut client: Client, node: u8, count: u32, window: u32) -> Result<usize> {
    client.set_timeout(std::time::Duration::from_secs(6));
    let probed = client.probe(MIB, count, window).map_err(socket(node))?;
    println!(
        "      n{node}: {} of {count} agreed in {} ms",
        probed.nanos.len(),
        probed.took_ns / 1_000_000
    );
    Ok(probed.nanos.len())
}

fn counter(arena: &Arena, node: u8, name: &str) -> u64 {
    arena.cluster.counters(node).get(name).copied().unwrap_or(0)
}

/// Every node knows the same entries.
fn all_know_all(arena: &Arena) -> Result<()> {
    wait_until("all to have committed the same", SECONDS, || {
        let mut commits = Vec::new();
        for node in arena.cluster.alive() {
            let status = arena.cluster.status(node).map_err(|error| error.to_string())?;
            commits.push((node, status.agreement.commit_op));
        }
        let all = commits.iter().all(|(_, commit)| Some(commit) == commits.first().map(|(_, c)| c));
        if all { Ok(()) } else { Err(format!("{commits:?}")) }
    })
}

/// From the primary and from another node, which forwards it.
fn all_get_them(programs: &Programs) -> Result<Verdict> {
    let arena = start(programs)?;
    let primary = arena.rest.primary;
    let other = arena.other(&[primary]);
    for node in [primary, other] {
        let agreed = write(&arena, node, 8, 4)?;
        hold!(agreed == 8, "{agreed} of 8 entries were agreed at n{node}");
    }
    all_know_all(&arena)?;
    // Counts are shown every 100 ms.
    wait_until("the counts", SECONDS, || {
        let received = counter(&arena, other, "control.stream_received");
        if received >= 8 { Ok(()) } else { Err(format!("{received} by stream")) }
    })?;
    let removals = arena.cluster.status(primary)?.members;
    hold!(removals.iter().all(|it| it.voter), "somebody lost its vote: {removals:?}");
    arena.end()
}

/// A follower is cut off while entries are on their way, and gets them when it is back.
fn cut_and_healed(programs: &Programs) -> Result<Verdict> {
    let mut arena = start(programs)?;
    let primary = arena.rest.primary;
    let victim = arena.other(&[primary, arena.rest.owner]);
    let others: Vec<u8> = arena.cluster.ids().filter(|it| *it != victim).collect();
    let hearing = Hearing::install(arena.cluster.bed().topology())?;
    let client = arena.cluster.client(primary)?;
    let agreed = std::thread::scope(|scope| {
        let writer = scope.spawn(move || probe(client, primary, 24, 4));
        os::sleep(Duration::from_millis(40));
        hearing.split(&[&[victim], &others]);
        os::sleep(Duration::from_millis(400));
        hearing.heal();
        writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    hold!(agreed == 24, "{agreed} of 24 entries were agreed beside a node that was cut off");
    arena.rest = arena.cluster.settle()?;
    all_know_all(&arena)?;
    let agreed = write(&arena, arena.rest.primary, 4, 1)?;
    hold!(agreed == 4, "{agreed} of 4 entries were agreed when all were back");
    all_know_all(&arena)?;
    arena.end()
}
