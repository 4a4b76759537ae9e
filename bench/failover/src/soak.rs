//! A long time under load: four ordinary programs that never sleep, and nobody fails. Every failover
//! must be explained by a stall of the machine that the meter saw.

use crate::lapses::hours;
use anyhow::{Result, bail};
use base::{Duration, Instant};
use std::collections::BTreeMap;
use testbed::cluster::Cluster;
use testbed::corosync::{Corosync, Told};
use testbed::keepalived::Keepalived;
use testbed::load::Hogs;
use testbed::observer::Observer;
use testbed::os;
use testbed::programs::Programs;
use testbed::spec::Spec;
use testbed::stall::StallMeter;
use testbed::trial::Contender;

/// How often everybody is asked.
const LOOK: Duration = Duration::from_millis(500);
/// A failover is told within this of the stall that brought it about.
const AFTER_STALL: Duration = Duration::from_millis(150);

/// What was seen of NetGuard.
#[derive(Debug, Default)]
struct Seen {
    /// Removals by log position: when agreed, and whether a stall explains it.
    removals: BTreeMap<u64, bool>,
    /// Stalls of the machine of two intervals and more, by the meter.
    stalls: u64,
    longest: Duration,
}

/// Soaks for `span`.
pub(crate) fn run(span: Duration, programs: &Programs) -> Result<()> {
    let mut cluster = Cluster::start(Spec::default(), programs)?;
    let mut peer = match Keepalived::obstacle() {
        Some(reason) => {
            eprintln!("no row for keepalived: {reason}");
            None
        }
        None => Some(Keepalived::start(3, programs)?),
    };
    cluster.settle()?;
    if let Some(peer) = &mut peer {
        peer.settle()?;
    }
    let mut ring = match Corosync::obstacle() {
        Some(reason) => {
            eprintln!("no row for corosync: {reason}");
            None
        }
        None => Some(Corosync::start(3, programs)?),
    };
    let ring_before = ring.as_mut().map_or_else(Told::default, Corosync::told);
    let meter = StallMeter::start();
    let load = os::load();
    let before = sums(&cluster);
    let hogs = Hogs::start();
    let begin = os::now();
    let (mut seen, mut moves, mut peers_moves) =
        (Seen::default(), Moves::default(), Moves::default());
    cluster.bed().observer().record().begin_window();
    while os::now().since(begin) < span && !os::interrupted() {
        let from = os::now();
        os::sleep(LOOK);
        look(&cluster, &meter, begin, from, &mut seen);
        moves.look(cluster.bed().observer());
        if let Some(peer) = &mut peer {
            peers_moves.look(peer.bed_mut().observer());
        }
    }
    drop(hogs);
    let took = os::now().since(begin);
    let after = sums(&cluster);
    println!(
        "{:.2} hours, four hogs on {} cores, load before {load}",
        hours(took),
        os::cores().len()
    );
    print_row("netguard", seen.removals.len() as u64, moves.longest);
    let void = seen.removals.values().filter(|explained| **explained).count();
    println!(
        "  lapses {} · own stalls {} ({} in all) · stalls of the machine over two intervals {} \
         (longest {}) · void failovers {void}",
        after.lapses - before.lapses,
        after.stalls - before.stalls,
        Duration::from_micros(after.stalled_us - before.stalled_us),
        seen.stalls,
        seen.longest,
    );
    if peer.is_some() {
        print_row("keepalived", peers_moves.count, peers_moves.longest);
    }
    if let Some(ring) = &mut ring {
        let told = ring.told();
        println!(
            "corosync (token 36 ms): {} failures believed, {} rings formed anew, {} daemons gone, over all nodes",
            told.failed - ring_before.failed,
            told.formed - ring_before.formed,
            told.ended
        );
    }
    cluster.settle()?;
    let record = cluster.bed().observer().record();
    if record.violation_count() > 0 {
        bail!("two owners were seen: {:?}", record.violations());
    }
    let bare = seen.removals.len() - void;
    if bare > 0 {
        bail!("{bare} failovers that no stall of the machine explains");
    }
    Ok(())
}

fn print_row(name: &str, failovers: u64, gap: Duration) {
    println!("{name}: {failovers} failovers, longest silence of the address {gap}");
}

/// What the daemons count, over all nodes.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    lapses: u64,
    stalls: u64,
    stalled_us: u64,
}

fn sums(cluster: &Cluster) -> Sums {
    let mut sums = Sums::default();
    for node in cluster.alive() {
        sums.lapses += cluster.status(node).map_or(0, |it| it.lease.lapses);
        let counters = cluster.counters(node);
        let of = |name: &str| counters.get(name).copied().unwrap_or(0);
        sums.stalls += of("fast.stalls");
        sums.stalled_us += of("fast.stalled_us");
    }
    sums
}

/// Looks at what the nodes and the meter tell since `from`.
fn look(cluster: &Cluster, meter: &StallMeter, begin: Instant, from: Instant, seen: &mut Seen) {
    let limit = cluster.spec().interval_length() * 2;
    if let Some(stall) = meter.overlaps(from, os::now(), limit) {
        seen.stalls += 1;
        seen.longest = seen.longest.max(stall.length());
    }
    for node in cluster.alive() {
        // A node that is itself held up answers at the next look.
        let Ok(mut client) = cluster.client(node) else { continue };
        let Ok(all) = client.failovers(api::FAILOVERS_MAX) else { continue };
        for failover in all.failovers {
            let (Some(op), Some(agreed)) = (failover.op, failover.agreed_ns) else { continue };
            if agreed > begin.0 && !seen.removals.contains_key(&op) {
                let agreed = Instant(agreed);
                let stall = meter.overlaps(agreed - AFTER_STALL, agreed, limit);
                eprintln!("{} removed ({:?}); stall: {stall:?}", failover.victim, failover.cause);
                seen.removals.insert(op, stall.is_some());
            }
        }
    }
}

/// An address moves: its observer sees another node answer.
#[derive(Debug, Default)]
struct Moves {
    at: Option<u8>,
    count: u64,
    longest: Duration,
}

impl Moves {
    fn look(&mut self, observer: &Observer) {
        let mut record = observer.record();
        for answer in record.normal() {
            if self.at.is_some_and(|at| at != answer.node) {
                self.count += 1;
            }
            self.at = Some(answer.node);
        }
        self.longest = self.longest.max(record.longest_gap(os::now()));
        record.begin_window();
    }
}
