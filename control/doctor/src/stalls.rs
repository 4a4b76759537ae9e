//! Time in which a thread that should run did not: what the host stole, and what a real-time loop
//! sees.

use crate::files;
use crate::finding::{Area, Check, Finding};
use crate::os;
use base::Duration;

const STEAL: Check = Check {
    area: Area::Scheduling,
    name: "steal",
    why: "time that the host gives to other guests is time in which no beat leaves",
};
const STALLS: Check = Check {
    area: Area::Scheduling,
    name: "stalls",
    why: "after a stall as long as the deadline the peers take over from a node that lives",
};

const BUDGET: Check = Check {
    area: Area::Scheduling,
    name: "detection-budget",
    why: "peers that have to wait longer for a beat than the deadline suspect a node that lives",
};

/// How often the loop wakes.
const PERIOD: Duration = Duration::from_micros(1_000);

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Facts {
    /// Hundredths of a second stolen, and of all time, on all cores.
    pub(crate) stolen: Option<(u64, u64)>,
    pub(crate) span: Duration,
    pub(crate) core: Option<usize>,
    pub(crate) realtime: bool,
    /// Wake-ups of the loop.
    pub(crate) wakes: u64,
    /// Wake-ups later than half an interval.
    pub(crate) over: u64,
    /// The latest.
    pub(crate) worst: Duration,
}

/// Measures for `span` on the core that beats, one below the daemon's priority: it sees what
/// `netguard-fast` would, and never delays it.
pub(crate) fn sample(
    core: Option<usize>,
    priority: u8,
    interval: Duration,
    span: Duration,
) -> Facts {
    let before = files::text("/proc/stat").as_deref().and_then(stolen);
    if let Some(core) = core {
        // An unpinned loop still measures; the `core` check tells.
        let _ = os::pin(core);
    }
    os::exact_timers();
    let realtime = os::realtime(priority.saturating_sub(1).max(1)).is_ok();
    let half = Duration(interval.nanos() / 2);
    let begin = os::now();
    let mut facts =
        Facts { stolen: None, span, core, realtime, wakes: 0, over: 0, worst: Duration::ZERO };
    let mut due = begin + PERIOD;
    while due.since(begin) < span {
        os::sleep_until(due);
        let now = os::now();
        let late = now.since(due);
        facts.wakes += 1;
        facts.over += u64::from(late > half);
        facts.worst = facts.worst.max(late);
        // After a stall the loop goes on from now: one stall is counted once.
        due = now.max(due) + PERIOD;
    }
    let after = files::text("/proc/stat").as_deref().and_then(stolen);
    facts.stolen = before
        .zip(after)
        .map(|((s0, t0), (s1, t1))| (s1.saturating_sub(s0), t1.saturating_sub(t0)));
    facts
}

/// Stolen and all time of the line `cpu` of /proc/stat.
fn stolen(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().find(|line| line.starts_with("cpu "))?;
    let times: Vec<u64> = line.split_whitespace().skip(1).flat_map(str::parse).collect();
    // The last two, guests' time, are in the first two already.
    let all = times.iter().take(8).fold(0_u64, |sum, time| sum.saturating_add(*time));
    Some((*times.get(7)?, all))
}

pub(crate) fn judge(facts: &Facts, interval: Duration, deadline: Duration) -> Vec<Finding> {
    vec![steal(facts), stalls(facts, interval, deadline)]
}

/// What the running fast path has measured of the last minutes.
pub(crate) fn judge_budget(status: &api::Status) -> Finding {
    let Some(found) = status.detection else {
        return BUDGET.unchecked(
            "the daemons have not run long enough",
            "run this again when they have run for some minutes",
        );
    };
    let measured = format!(
        "{:.1} ms of {:.1}: interval, wake-ups late by {:.3} (99.99 %), jitter {:.3} (99.9 %)",
        found.budget_ms, found.deadline_ms, found.late_ms, found.jitter_ms
    );
    if found.budget_ms > found.deadline_ms {
        BUDGET.warning(
            measured,
            "isolate the core (`core` above), or set more heartbeat_misses or a longer heartbeat_interval",
        )
    } else {
        BUDGET.ok(measured)
    }
}

fn steal(facts: &Facts) -> Finding {
    let Some((stolen, all)) = facts.stolen else {
        return STEAL.unchecked("the kernel does not tell", "mount /proc");
    };
    let share = stolen as f64 * 100.0 / all.max(1) as f64;
    let measured = format!("{share:.2} % in {}", seconds(facts.span));
    let remedy = "give the virtual machine cores of its own on its host";
    if share >= 2.0 {
        STEAL.warning(measured, remedy)
    } else if stolen > 0 {
        STEAL.notice(measured, remedy)
    } else {
        STEAL.ok(measured)
    }
}

fn stalls(facts: &Facts, interval: Duration, deadline: Duration) -> Finding {
    let place = facts.core.map_or_else(|| "any core".into(), |core| format!("core {core}"));
    let how = if facts.realtime { "SCHED_FIFO" } else { "at normal priority" };
    let measured = format!(
        "longest {:.2} ms, {} of {} wake-ups later than half an interval, in {} on {place}, {how}",
        millis(facts.worst),
        facts.over,
        facts.wakes,
        seconds(facts.span)
    );
    let remedy = "isolate the core (`core` above); in a virtual machine give it cores of its own; \
                  on shared machines set a longer heartbeat_interval";
    if facts.wakes == 0 || !facts.realtime {
        let needs = "run as root, for a real-time loop";
        return STALLS.unchecked(measured, needs);
    }
    if facts.worst >= deadline {
        STALLS.failure(measured, remedy)
    } else if facts.worst >= interval || facts.over > 0 {
        STALLS.warning(measured, remedy)
    } else {
        STALLS.ok(measured)
    }
}

fn millis(span: Duration) -> f64 {
    span.nanos() as f64 / 1e6
}

fn seconds(span: Duration) -> String {
    format!("{:.1} s", span.nanos() as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::{Facts, judge, judge_budget, stolen};
    use crate::finding::Grade;
    use base::Duration;

    const INTERVAL: Duration = Duration::from_millis(10);
    const DEADLINE: Duration = Duration::from_millis(30);

    #[test]
    fn a_deadline_below_the_budget_is_a_warning() {
        let of = |budget_ms| {
            let detection =
                api::Detection { budget_ms, deadline_ms: 30.0, ..api::Detection::default() };
            judge_budget(&api::Status { detection: Some(detection), ..api::Status::default() })
                .grade
        };
        assert_eq!((of(30.0), of(30.1)), (Grade::Ok, Grade::Warning));
        assert_eq!(judge_budget(&api::Status::default()).grade, Grade::Notice);
    }

    fn facts(worst_us: u64, over: u64) -> Facts {
        Facts {
            stolen: Some((0, 400)),
            span: Duration::from_millis(2_000),
            core: Some(1),
            realtime: true,
            wakes: 1_990,
            over,
            worst: Duration::from_micros(worst_us),
        }
    }

    fn grade(facts: &Facts) -> Grade {
        judge(facts, INTERVAL, DEADLINE)[1].grade
    }

    #[test]
    fn stalls_are_judged_by_interval_and_deadline() {
        assert_eq!(grade(&facts(80, 0)), Grade::Ok);
        assert_eq!(grade(&facts(6_000, 1)), Grade::Warning);
        assert_eq!(grade(&facts(30_000, 1)), Grade::Failure);
        let ordinary = Facts { realtime: false, ..facts(40_000, 9) };
        assert_eq!(grade(&ordinary), Grade::Notice, "an ordinary thread may be late");
        let found = judge(&facts(6_000, 1), INTERVAL, DEADLINE).remove(1);
        assert!(found.measured.starts_with("longest 6.00 ms, 1 of 1990"), "{}", found.measured);
    }

    #[test]
    fn stolen_time_is_read_from_its_column() {
        let stat = "cpu  100 0 50 800 10 0 5 35 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10";
        assert_eq!(stolen(stat), Some((35, 1_000)));
        assert_eq!(stolen("cpu  1 2 3"), None);
        assert_eq!(stolen(""), None);
        let robbed = Facts { stolen: Some((20, 400)), ..facts(80, 0) };
        let found = judge(&robbed, INTERVAL, DEADLINE).remove(0);
        assert_eq!((found.grade, found.measured.as_str()), (Grade::Warning, "5.00 % in 2.0 s"));
    }
}
