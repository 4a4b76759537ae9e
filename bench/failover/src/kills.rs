//! A daemon of the owner is killed while its machine lives: the other daemon closes the gate and
//! tells the peers, who do not wait for a silence.

use crate::report::Rows;
use crate::trial::Voids;
use anyhow::{Result, bail};
use base::Duration;
use testbed::bed::wait_until;
use testbed::cluster::Cluster;
use testbed::os;
use testbed::programs::Programs;
use testbed::spec::Spec;
use testbed::stall::StallMeter;
use testbed::topology::Shape;
use testbed::trial::REPEATS_MAX;

const LIMIT: Duration = Duration::from_millis(10_000);
/// Between a node's return and the next kill.
const REST: Duration = Duration::from_millis(300);
/// The daemons, killed in turn, and the row of each.
const DAEMONS: [(&str, &str); 2] = [
    ("netguard-control", "control_kill_to_answer_ms"),
    ("netguard-fast", "fast_kill_to_answer_ms"),
];

/// Measures `trials` kills.
pub(crate) fn measure(
    trials: u32,
    nodes: u8,
    programs: &Programs,
    meter: &StallMeter,
    rows: &mut Rows,
) -> Result<Voids> {
    let spec = Spec { shape: Shape { nodes, links: 2 }, ..Spec::default() };
    let mut cluster = Cluster::start(spec, programs)?;
    let mut voids = Voids::default();
    for (number, (daemon, row)) in (1..=trials).zip(DAEMONS.into_iter().cycle()) {
        let mut took = None;
        for _ in 0..=REPEATS_MAX {
            took = once(&mut cluster, daemon, meter, &mut voids)?;
            if took.is_some() {
                break;
            }
        }
        let Some(took) = took else {
            voids.given_up += 1;
            continue;
        };
        eprintln!("{number:>4} {daemon} killed → the next owner answers {took}");
        rows.add("daemon_kill_to_answer_ms", took)?;
        rows.add(row, took)?;
    }
    let record = cluster.bed().observer().record();
    if record.violation_count() > 0 {
        bail!("two owners were seen: {:?}", record.violations());
    }
    Ok(voids)
}

/// One kill; `None` if the machine stood still meanwhile.
fn once(
    cluster: &mut Cluster,
    daemon: &str,
    meter: &StallMeter,
    voids: &mut Voids,
) -> Result<Option<Duration>> {
    cluster.settle()?;
    os::sleep(REST);
    let rest = cluster.settle()?;
    let interval = cluster.spec().interval_length();
    cluster.bed().observer().record().begin_window();
    os::sleep(interval * 4 + Duration::from_nanos(os::random() % interval.nanos().max(1)));
    let begin = cluster.signal(rest.owner, &[daemon], libc::SIGKILL)?;
    let observer = cluster.bed().observer();
    let answer = observer.wait_for(begin, LIMIT, |it| it.generation > rest.generation);
    let Some(answer) = answer else { bail!("nobody took over from n{}", rest.owner) };
    os::sleep(Duration::from_millis(20)); // a stall is known when it is over
    let stall = meter.overlaps(begin, answer.received, interval / 2);
    cluster.retire(rest.owner);
    wait_until("the daemons to end", LIMIT, || {
        let all = ["netguard-fast", "netguard-control", "netguard-sweep"];
        let lives = all.iter().find(|it| cluster.find(rest.owner, it).is_some());
        lives.map_or(Ok(()), |it| Err(format!("{it} goes on")))
    })?;
    cluster.start_daemons(rest.owner)?;
    let Some(stall) = stall else { return Ok(Some(answer.received.since(begin))) };
    voids.count += 1;
    voids.longest = voids.longest.max(stall.length());
    Ok(None)
}
