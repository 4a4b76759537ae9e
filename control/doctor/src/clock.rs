//! Time: what the clock is made of, how fast it runs, and whether the machine sleeps.
//!
//! The lease's margin rests on |rate - 1| of CLOCK_BOOTTIME (PROTOCOL 5.2). Frequency and tick of
//! adjtimex both turn that clock, not only the wall clock.

use crate::files;
use crate::finding::{Area, Check, Finding};
use crate::os::{self, Steering};
use base::Duration;

/// What the lease's margin assumes (PROTOCOL 5.2).
pub(crate) const RATE_PPM: f64 = 1_000.0;
/// How far a crystal itself may be off, and a slewing time daemon on top of it.
const RESERVE_PPM: f64 = 500.0;

const SOURCE: Check = Check {
    area: Area::Clock,
    name: "clock-source",
    why: "every beat and every look at the lease reads the clock; a slow source costs microseconds",
};
const RATE: Check = Check {
    area: Area::Clock,
    name: "clock-rate",
    why: "the lease's margin holds for a clock that runs wrong by at most 1000 ppm (PROTOCOL 5.2)",
};
const NAMESPACE: Check = Check {
    area: Area::Clock,
    name: "time-namespace",
    why: "the kernel's gate reads the machine's boot clock; netguard-fast does not start beside another",
};
const SUSPEND: Check = Check {
    area: Area::Clock,
    name: "suspend",
    why: "a machine that sleeps is dead for its peers; its services move each time",
};

/// What was found.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Facts {
    pub(crate) source: Option<String>,
    pub(crate) available: String,
    pub(crate) steering: Result<Steering, String>,
    /// CLOCK_BOOTTIME less CLOCK_MONOTONIC.
    pub(crate) slept: Duration,
    /// /proc/self/timens_offsets; absent before Linux 5.6.
    pub(crate) offsets: Option<String>,
}

pub(crate) fn sample() -> Facts {
    let folder = "/sys/devices/system/clocksource/clocksource0";
    let monotonic = os::monotonic();
    Facts {
        source: files::text(format!("{folder}/current_clocksource")),
        available: files::text(format!("{folder}/available_clocksource")).unwrap_or_default(),
        steering: os::steering().map_err(|e| e.to_string()),
        slept: os::now().since(monotonic),
        offsets: files::text("/proc/self/timens_offsets"),
    }
}

pub(crate) fn judge(facts: &Facts) -> Vec<Finding> {
    vec![source(facts), rate(facts), suspend(facts), namespace(facts)]
}

fn source(facts: &Facts) -> Finding {
    let Some(name) = facts.source.as_deref() else {
        return SOURCE.unchecked("the kernel does not name it", "mount /sys");
    };
    let better = ["tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page"];
    let other = better.iter().find(|it| facts.available.split_whitespace().any(|a| a == **it));
    match name {
        _ if better.contains(&name) => SOURCE.ok(name),
        "hpet" | "acpi_pm" | "jiffies" | "refined-jiffies" | "pit" | "xen" => {
            let remedy = match other {
                Some(it) => format!(
                    "echo {it} > /sys/devices/system/clocksource/clocksource0/current_clocksource; \
                     `dmesg | grep -i tsc` says why it was left"
                ),
                None => {
                    "look in `dmesg | grep -i tsc` for why the kernel gave up tsc; in a virtual \
                         machine pass an invariant tsc through"
                        .into()
                }
            };
            let cost = match name {
                "jiffies" | "refined-jiffies" => "it only moves with the timer tick",
                _ => "each read is a slow device access or a system call",
            };
            SOURCE.warning(format!("{name}: {cost}"), remedy)
        }
        other => SOURCE.notice(
            format!("{other}: not known here"),
            "compare the `stalls` check with that of a machine that uses tsc",
        ),
    }
}

fn rate(facts: &Facts) -> Finding {
    let steering = match &facts.steering {
        Ok(steering) => steering,
        Err(error) => return RATE.unchecked(error, "allow adjtimex (reading needs no rights)"),
    };
    let tick_ppm = (steering.tick_us - steering.nominal_tick_us) as f64 * 1e6
        / steering.nominal_tick_us.max(1) as f64;
    let total = steering.frequency_ppm + tick_ppm;
    let measured = format!(
        "{total:+.1} ppm of {RATE_PPM:.0} (frequency {:+.1} ppm, tick {} us, nominal {})",
        steering.frequency_ppm, steering.tick_us, steering.nominal_tick_us
    );
    let nominal = steering.nominal_tick_us;
    if total.abs() > RATE_PPM {
        RATE.failure(
            measured,
            format!(
                "the lease ends while it is so: `adjtimex --tick {nominal} --frequency 0`; let \
                 chrony slew slowly (maxslewrate 500)"
            ),
        )
    } else if total.abs() > RESERVE_PPM {
        RATE.warning(
            measured,
            "little is left of the margin: let chrony slew slowly (maxslewrate 500)",
        )
    } else {
        RATE.ok(measured)
    }
}

fn suspend(facts: &Facts) -> Finding {
    // The two clocks are not read at the same moment.
    if facts.slept < Duration::from_millis(100) {
        return SUSPEND.ok("has not slept since it started");
    }
    SUSPEND.warning(
        format!("slept for {} s since it started", facts.slept.nanos() / 1_000_000_000),
        "systemctl mask sleep.target suspend.target hibernate.target hybrid-sleep.target",
    )
}

fn namespace(facts: &Facts) -> Finding {
    let lines = facts.offsets.iter().flat_map(|it| it.lines());
    let mut boottime = lines.filter_map(|line| line.trim_start().strip_prefix("boottime"));
    match boottime.find(|it| it.split_whitespace().any(|number| number != "0")) {
        None => NAMESPACE.ok("the machine's own"),
        Some(offset) => NAMESPACE.failure(
            format!("the boot clock here is off by {} (s, ns)", offset.trim()),
            "run NetGuard in the machine's own time namespace (no `unshare --time` around it)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{Facts, judge};
    use crate::finding::{Finding, Grade};
    use crate::os::Steering;
    use base::Duration;

    fn fine() -> Facts {
        Facts {
            source: Some("tsc".into()),
            available: "tsc hpet acpi_pm".into(),
            steering: Ok(Steering {
                frequency_ppm: -12.5,
                tick_us: 10_000,
                nominal_tick_us: 10_000,
                synchronised: true,
            }),
            slept: Duration::from_micros(3),
            offsets: Some("monotonic 0 0\nboottime  0  0".into()),
        }
    }

    fn grades(findings: &[Finding]) -> Vec<Grade> {
        findings.iter().map(|finding| finding.grade).collect()
    }

    #[test]
    fn an_ordinary_server_is_fine() {
        assert_eq!(grades(&judge(&fine())), [Grade::Ok; 4]);
    }

    #[test]
    fn a_slow_source_is_told_with_the_better_one_that_is_there() {
        let facts = Facts { source: Some("hpet".into()), ..fine() };
        let found = judge(&facts).remove(0);
        assert_eq!(found.grade, Grade::Warning);
        assert!(found.remedy.starts_with("echo tsc > "), "{}", found.remedy);
        let facts = Facts { available: "hpet".into(), ..facts };
        assert!(judge(&facts)[0].remedy.contains("dmesg"));
    }

    #[test]
    fn a_tick_beyond_the_margin_is_a_failure_even_if_the_frequency_is_right() {
        let steered = |tick_us, frequency_ppm| {
            let steering =
                Steering { tick_us, frequency_ppm, nominal_tick_us: 10_000, synchronised: true };
            judge(&Facts { steering: Ok(steering), ..fine() })[1].clone()
        };
        let fast = steered(10_011, 0.0);
        assert_eq!(fast.grade, Grade::Failure);
        assert!(fast.measured.starts_with("+1100.0 ppm"), "{}", fast.measured);
        assert!(fast.remedy.contains("--tick 10000"));
        assert_eq!(steered(9_991, -200.0).grade, Grade::Failure);
        assert_eq!(steered(10_006, 0.0).grade, Grade::Warning);
        assert_eq!(steered(10_010, -900.0).grade, Grade::Ok, "the sum counts");
    }

    #[test]
    fn a_machine_that_slept_is_told() {
        let facts = Facts { slept: Duration::from_millis(3_600_000), ..fine() };
        let found = judge(&facts).remove(2);
        assert_eq!((found.grade, found.measured.contains("3600 s")), (Grade::Warning, true));
    }

    #[test]
    fn a_boot_clock_of_its_own_is_a_failure() {
        let facts = Facts { offsets: Some("monotonic 0 0\nboottime  3600 0".into()), ..fine() };
        let found = judge(&facts).remove(3);
        assert_eq!((found.grade, found.measured.contains("3600")), (Grade::Failure, true));
        let facts = Facts { offsets: None, ..fine() };
        assert_eq!(judge(&facts)[3].grade, Grade::Ok);
    }
}
