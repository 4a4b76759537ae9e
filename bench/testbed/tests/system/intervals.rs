//! Intervals: nodes that beat every 10 ms and every 100 ms side by side, and an interval that changes while all run.

use crate::Test;
use crate::arena::Arena;
use base::Duration;
use testbed::cluster::Cluster;
use testbed::error::Result;
use testbed::hold;
use testbed::os;
use testbed::programs::Programs;
use testbed::spec::Spec;
use testbed::suite::Verdict;
use testbed::trial::REPEATS_MAX;

pub(crate) const TESTS: &[Test] = &[
    Test { name: "two-intervals", run: two_intervals },
    Test { name: "interval-changes", run: interval_changes },
];

const SECONDS: Duration = Duration::from_millis(5_000);
/// From a deadline to the answer.
const ANSWER: Duration = Duration::from_millis(10);

fn spec() -> Spec {
    Spec { rehearsed: true, ..Spec::default() }
}

/// One node beats every 100 ms. Nobody is suspected, wherever the service is; each death costs the deadline that the dead
/// one declared.
fn two_intervals(programs: &Programs) -> Result<Verdict> {
    let mut arena = Arena::start(spec(), programs)?;
    for slow_dies in [false, true] {
        let mut done = false;
        for _ in 0..=REPEATS_MAX {
            let slow = arena.other(&[arena.rest.owner, arena.rest.primary]);
            arena.cluster.rehearse(slow, "100ms", 3)?;
            if slow_dies {
                arena.rest = arena.cluster.move_service(slow)?;
            }
            let stays = arena.stays(Duration::from_millis(3_000), |_, _| Ok(()))?;
            hold!(stays.is_ok(), "with n{slow} at 100 ms: {stays:?}");
            let (victim, generation) = (arena.rest.owner, arena.rest.generation);
            hold!((victim == slow) == slow_dies, "the service is on n{victim}, n{slow} is slow");
            arena.cluster.bed().observer().record().begin_window();
            let cut = arena.cluster.cut(victim)?;
            let observer = arena.cluster.bed().observer();
            let Some(answer) = observer.wait_for(cut.at, SECONDS, |it| it.node != victim) else {
                return Ok(Verdict::Fail("nobody took over".into()));
            };
            hold!(answer.generation == generation + 1, "g{generation} was followed by {answer:?}");
            let took = answer.received.since(cut.at);
            os::sleep(Duration::from_millis(20));
            let interval = arena.cluster.spec().interval_length();
            let stall = arena.meter.overlaps(cut.at - interval * 2, answer.received, interval / 2);
            let deadline = arena.cluster.spec().deadline() * if slow_dies { 10 } else { 1 };
            match stall {
                None => {
                    println!("      n{victim} (slow: {slow_dies}) was followed after {took}");
                    hold!(took < deadline + ANSWER, "{took} from cut to answer");
                    let soonest =
                        if slow_dies { Duration::from_millis(190) } else { Duration::ZERO };
                    hold!(took >= soonest, "{took}: before the lease can have ended");
                    done = true;
                }
                Some(stall) => println!("      void ({took}): core {} stood still", stall.core),
            }
            // They come back as the file has them.
            arena.cluster.restore(victim)?;
            arena.rest = arena.cluster.settle()?;
            if slow != victim {
                arena.cluster.rehearse(slow, "10ms", 3)?;
            }
            if done {
                break;
            }
        }
        hold!(done, "void again and again: the machine stands still");
    }
    arena.end()
}

/// All nodes go from 10 ms to 100 ms and back, one after the other, while the service runs: no member goes, and the service
/// stays where it is.
fn interval_changes(programs: &Programs) -> Result<Verdict> {
    let mut arena = Arena::start(spec(), programs)?;
    for (interval, misses) in [("100ms", 3), ("10ms", 3), ("20ms", 2), ("10ms", 3)] {
        let mut left = arena.cluster.alive();
        let step = |cluster: &mut Cluster, _: Duration| match left.pop() {
            Some(node) => cluster.rehearse(node, interval, misses),
            None => Ok(()),
        };
        let stays = arena.stays(Duration::from_millis(2_000), step)?;
        hold!(stays.is_ok(), "to {interval} x {misses}: {stays:?}");
    }
    arena.end()
}
