//! How long a takeover will take here: the real address driver, rehearsed, and the budget.

use crate::finding::{Area, Check, Finding};
use crate::os;
use crate::private;
use api::{FailoverCause, Failovers};
use base::Duration;
use driver_address::{Address, FloatingAddress};
use std::net::{IpAddr, Ipv4Addr};

const REHEARSAL: Check = Check {
    area: Area::Takeover,
    name: "takeover-rehearsal",
    why: "adding and announcing the address is what a takeover waits for after it is agreed",
};
const BUDGET: Check = Check {
    area: Area::Takeover,
    name: "takeover-budget",
    why: "clients retry after a few tens of milliseconds; the promise is 40",
};

const SEEN: Check = Check {
    area: Area::Takeover,
    name: "takeovers-seen",
    why: "what silent deaths really cost here, from the last beat to the first answer",
};

/// The promise.
const PROMISE: Duration = Duration::from_millis(40);
/// What the design allows for the agreement, where no failover has been seen.
const AGREEMENT: Duration = Duration::from_millis(2);
/// Below everything of the daemons.
const PRIORITY: u8 = 1;
/// How often it is rehearsed.
const TIMES: usize = 20;
/// Without a service of its own: an address that no network has.
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 77, 101));

/// Starts and withdraws an address with its announcements, in a namespace of its own; each start's
/// time, sorted.
///
/// # Errors
/// When the kernel refuses the namespace or the address.
pub fn rehearse(address: Option<(IpAddr, u8)>) -> Result<Vec<Duration>, String> {
    private::inside(|| {
        let (address, prefix) = address.unwrap_or((ADDRESS, 24));
        let spec = Address { address, prefix, interface: private::INTERFACE.into() };
        let mut driver = FloatingAddress::open(spec).map_err(|e| e.to_string())?;
        // As the daemon's drivers run. Without: the figures say what an ordinary thread would take.
        let _ = os::realtime(PRIORITY);
        let mut times = Vec::with_capacity(TIMES);
        for _ in 0..TIMES {
            let begin = os::now();
            driver.start(begin).map_err(|e| e.to_string())?;
            times.push(os::now().since(begin));
            driver.withdraw().map_err(|e| e.to_string())?;
        }
        times.sort_unstable();
        Ok(times)
    })
}

/// Time from the deadline to the agreed removal at each silent death that was seen here, sorted.
pub(crate) fn agreements(failovers: &Failovers) -> Vec<Duration> {
    let silent = failovers.failovers.iter().filter(|it| it.cause == FailoverCause::Silent);
    let mut times: Vec<Duration> = silent
        .filter_map(|it| Some(Duration(it.agreed_ns?.checked_sub(it.deadline_ns?)?)))
        .collect();
    times.sort_unstable();
    times
}

/// Time from the dead owner's last beat to the first answer of what this node took over, sorted.
fn answers(failovers: &Failovers) -> Vec<Duration> {
    let silent = failovers.failovers.iter().filter(|it| it.cause == FailoverCause::Silent);
    let mut times: Vec<Duration> = silent
        .flat_map(|it| it.services.iter().map(|service| (it.last_heard_ns, service.answered_ns)))
        .filter_map(|(heard, answered)| Some(Duration(answered?.checked_sub(heard?)?)))
        .collect();
    times.sort_unstable();
    times
}

/// Nothing where none was seen: the budget says what to expect.
pub(crate) fn judge_seen(failovers: &Failovers) -> Option<Finding> {
    let times = answers(failovers);
    let (typical, worst) = (times.get(times.len() / 2)?, times.last()?);
    let measured = format!(
        "p50 {:.1} ms, longest {:.1} ms of {}",
        millis(*typical),
        millis(*worst),
        times.len()
    );
    // A beat's last receipt lies up to an interval before the death: that is on the safe side.
    Some(if *typical > PROMISE {
        SEEN.warning(measured, "`ng failovers` shows which step took so long")
    } else if *worst > PROMISE {
        SEEN.notice(measured, "`ng failovers` shows which step took so long")
    } else {
        SEEN.ok(measured)
    })
}

pub(crate) fn judge(
    rehearsed: &Result<Vec<Duration>, String>,
    deadline: Duration,
    agreements: &[Duration],
    root: bool,
) -> Vec<Finding> {
    let times = match rehearsed {
        Ok(times) => times,
        Err(why) if !root => return vec![REHEARSAL.unchecked(why, "run as root")],
        Err(why) => {
            return vec![REHEARSAL.warning(
                format!("cannot rehearse: {why}"),
                "modprobe veth; allow CAP_NET_ADMIN and CAP_SYS_ADMIN",
            )];
        }
    };
    let (Some(typical), Some(worst)) = (times.get(times.len() / 2), times.last()) else {
        return vec![REHEARSAL.unchecked("it was not rehearsed", "report this")];
    };
    let measured = format!(
        "p50 {:.2} ms, longest {:.2} ms of {}",
        millis(*typical),
        millis(*worst),
        times.len()
    );
    let rehearsal = if *worst > Duration::from_millis(5) {
        REHEARSAL.warning(measured, "see `stalls`: the machine was not given time to run")
    } else {
        REHEARSAL.ok(measured)
    };
    vec![rehearsal, budget(*typical, deadline, agreements)]
}

fn budget(address: Duration, deadline: Duration, agreements: &[Duration]) -> Finding {
    let (agreement, seen) = match agreements.get(agreements.len() / 2) {
        Some(agreement) => (*agreement, format!("agreement p50 of {} seen", agreements.len())),
        None => (AGREEMENT, "agreement as the design allows".to_owned()),
    };
    let sum = Duration(deadline.0.saturating_add(agreement.0).saturating_add(address.0));
    let measured = format!(
        "{:.1} ms of {:.0}: deadline {:.1} + {seen} {:.2} + address {:.2}",
        millis(sum),
        millis(PROMISE),
        millis(deadline),
        millis(agreement),
        millis(address)
    );
    if sum <= PROMISE {
        return BUDGET.ok(measured);
    }
    let remedy = if deadline >= PROMISE {
        "lower heartbeat_interval or heartbeat_misses: the deadline alone uses the budget"
    } else {
        "lower heartbeat_interval, or see `stalls` for why the rest takes so long"
    };
    BUDGET.warning(measured, remedy)
}

fn millis(span: Duration) -> f64 {
    span.nanos() as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::{agreements, judge, judge_seen};
    use crate::finding::{Finding, Grade};
    use api::{Failover, FailoverCause, FailoverService, Failovers};
    use base::Duration;

    fn found(deadline_ms: u64, seen: &[Duration]) -> Vec<Finding> {
        let times = (0..20).map(|n| Duration::from_micros(300 + n)).collect();
        judge(&Ok(times), Duration::from_millis(deadline_ms), seen, true)
    }

    #[test]
    fn the_budget_is_the_sum_of_deadline_agreement_and_address() {
        let fine = found(30, &[]);
        assert_eq!((fine[0].grade, fine[1].grade), (Grade::Ok, Grade::Ok));
        assert!(
            fine[1].measured.starts_with("32.3 ms of 40: deadline 30.0"),
            "{}",
            fine[1].measured
        );
        let slow = found(300, &[]).remove(1);
        assert_eq!(slow.grade, Grade::Warning);
        assert!(slow.remedy.contains("the deadline alone"));
        let seen = [8, 9, 20].map(Duration::from_millis);
        let slow = found(31, &seen).remove(1);
        assert_eq!(slow.grade, Grade::Warning, "{}", slow.measured);
        assert!(slow.measured.contains("agreement p50 of 3 seen 9.00"), "{}", slow.measured);
    }

    #[test]
    fn only_silent_deaths_with_both_stamps_count() {
        let one = |cause, deadline_ns, agreed_ns| Failover {
            cause,
            deadline_ns,
            agreed_ns,
            ..Failover::default()
        };
        let failovers = vec![
            one(FailoverCause::Silent, Some(5), Some(9)),
            one(FailoverCause::Silent, Some(5), Some(7)),
            one(FailoverCause::Silent, Some(9), Some(5)),
            one(FailoverCause::Silent, None, Some(5)),
            one(FailoverCause::Obituary, Some(5), Some(6)),
        ];
        let all = Failovers { node: "n1".into(), failovers };
        assert_eq!(agreements(&all), [Duration(2), Duration(4)]);
    }

    #[test]
    fn takeovers_that_were_seen_are_judged_by_their_first_answer() {
        let seen = |last_heard_ns, answered_ms: &[u64]| {
            let service = |ms: &u64| FailoverService {
                answered_ns: Some(ms * 1_000_000),
                ..FailoverService::default()
            };
            let services = answered_ms.iter().map(service).collect();
            let cause = FailoverCause::Silent;
            let failover = Failover { cause, last_heard_ns, services, ..Failover::default() };
            judge_seen(&Failovers { node: "n1".into(), failovers: vec![failover] })
        };
        assert_eq!(seen(Some(0), &[]), None);
        assert_eq!(seen(None, &[31]), None);
        assert_eq!(seen(Some(0), &[31, 39]).unwrap().grade, Grade::Ok);
        assert_eq!(seen(Some(0), &[31, 33, 80]).unwrap().grade, Grade::Notice);
        let slow = seen(Some(0), &[31, 80, 90]).unwrap();
        assert_eq!(
            (slow.grade, slow.measured.as_str()),
            (Grade::Warning, "p50 80.0 ms, longest 90.0 ms of 3")
        );
    }

    #[test]
    fn what_could_not_be_rehearsed_is_said() {
        let no = Err("no veth".into());
        let found = judge(&no, Duration::from_millis(30), &[], true);
        assert_eq!((found.len(), found[0].grade), (1, Grade::Warning));
        assert_eq!(judge(&no, Duration::ZERO, &[], false)[0].grade, Grade::Notice);
        assert_eq!(judge(&Ok(vec![]), Duration::ZERO, &[], true)[0].grade, Grade::Notice);
    }
}
