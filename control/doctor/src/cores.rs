//! The core that beats: does it exist, is it alone, does it doze.

use crate::files;
use crate::finding::{Area, Check, Finding};
use crate::os;
use config::Core;

const CORE: Check = Check {
    area: Area::Scheduling,
    name: "core",
    why: "the beat thread stays on one core; one that nothing else uses is never late",
};
const FREQUENCY: Check = Check {
    area: Area::Scheduling,
    name: "frequency",
    why: "a core that first has to speed up is late by tens of microseconds",
};
const SLEEP_STATES: Check = Check {
    area: Area::Scheduling,
    name: "sleep-states",
    why: "a core wakes from a deep sleep state some hundred microseconds late",
};

/// Slower to leave than this is deep.
const DEEP_US: i64 = 200;
/// Sleep states of one core that are looked at.
const STATES_MAX: usize = 16;

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Facts {
    pub(crate) wanted: Core,
    pub(crate) allowed: Vec<usize>,
    pub(crate) isolated: Vec<usize>,
    /// Of the core that beats.
    pub(crate) governor: Option<String>,
    /// Names and latencies in microseconds of its sleep states that are in use.
    pub(crate) states: Vec<(String, i64)>,
}

impl Facts {
    /// The core that the beat thread will get.
    pub(crate) fn chosen(&self) -> Option<usize> {
        choose(self.wanted, &self.allowed)
    }
}

/// As the daemon chooses: the last one if it may, because interrupts and everything that does not
/// care begin at the first.
fn choose(wanted: Core, allowed: &[usize]) -> Option<usize> {
    match wanted {
        Core::None => None,
        Core::Auto => allowed.last().copied(),
        Core::Number(n) => allowed.iter().copied().find(|core| *core == usize::from(n)),
    }
}

pub(crate) fn sample(wanted: Core) -> Facts {
    let folder = "/sys/devices/system/cpu";
    let list = |name: &str| {
        files::text(format!("{folder}/{name}")).map(|text| files::cores(&text)).unwrap_or_default()
    };
    let allowed = os::allowed_cores();
    let of = choose(wanted, &allowed).or_else(|| allowed.last().copied()).unwrap_or(0);
    let states = (0..STATES_MAX).filter_map(|n| {
        let state = format!("{folder}/cpu{of}/cpuidle/state{n}");
        let used = files::number(format!("{state}/disable")) == Some(0);
        let name = files::text(format!("{state}/name")).filter(|_| used)?;
        Some((name, files::number(format!("{state}/latency"))?))
    });
    Facts {
        wanted,
        isolated: list("isolated"),
        governor: files::text(format!("{folder}/cpu{of}/cpufreq/scaling_governor")),
        states: states.collect(),
        allowed,
    }
}

pub(crate) fn judge(facts: &Facts) -> Vec<Finding> {
    vec![core(facts), frequency(facts), sleep_states(facts)]
}

fn core(facts: &Facts) -> Finding {
    let shown = || facts.allowed.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    match (facts.wanted, facts.chosen()) {
        (Core::None, _) => CORE
            .notice("the beat thread is not pinned", "set core = \"auto\" in [local], or a number"),
        (Core::Number(n), None) => CORE.failure(
            format!("core {n} is configured, {} may be used", shown()),
            "set core in [local] to one of these, or allow it in the daemon's CPU affinity",
        ),
        (_, None) => CORE.unchecked("the system names no core", "mount /proc"),
        (_, Some(core)) if facts.isolated.contains(&core) => {
            CORE.ok(format!("{core}, isolated from other work"))
        }
        (_, Some(core)) if facts.allowed.len() == 1 => CORE.warning(
            format!("{core}, the only one: everything else runs there too"),
            "give this machine a second core",
        ),
        (_, Some(core)) => CORE.notice(
            format!("{core}, shared with other work"),
            format!("for a core of its own: isolcpus={core} nohz_full={core} on the kernel's line"),
        ),
    }
}

fn frequency(facts: &Facts) -> Finding {
    match facts.governor.as_deref() {
        None => FREQUENCY.ok("not scaled by this kernel"),
        Some("performance") => FREQUENCY.ok("performance"),
        Some(other) => FREQUENCY.notice(other, "cpupower frequency-set -g performance"),
    }
}

fn sleep_states(facts: &Facts) -> Finding {
    match facts.states.iter().max_by_key(|(_, latency)| *latency) {
        Some((name, latency)) if *latency > DEEP_US => SLEEP_STATES.notice(
            format!("{name} takes {latency} us to leave"),
            format!("cpupower idle-set -D {DEEP_US} turns off what is slower than {DEEP_US} us"),
        ),
        Some((name, latency)) => SLEEP_STATES.ok(format!("deepest {name}, {latency} us to leave")),
        None => SLEEP_STATES.ok("none that this kernel chooses"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Facts, judge};
    use crate::finding::Grade;
    use config::Core;

    fn facts(wanted: Core) -> Facts {
        Facts {
            wanted,
            allowed: vec![0, 1, 3],
            isolated: vec![3],
            governor: None,
            states: vec![("C1".into(), 2), ("C6".into(), 133)],
        }
    }

    #[test]
    fn automatic_is_the_last_core_as_the_daemon_chooses() {
        assert_eq!(facts(Core::Auto).chosen(), Some(3));
        let found = judge(&facts(Core::Auto));
        assert_eq!(found[0].measured, "3, isolated from other work");
        assert!(found.iter().all(|finding| finding.grade == Grade::Ok));
    }

    #[test]
    fn a_core_that_is_not_there_is_a_failure_and_a_shared_one_a_notice() {
        let missing = judge(&facts(Core::Number(2))).remove(0);
        assert_eq!(missing.grade, Grade::Failure);
        assert!(missing.measured.contains("0,1,3"), "{}", missing.measured);
        assert_eq!(judge(&facts(Core::Number(1)))[0].grade, Grade::Notice);
        let single = Facts { allowed: vec![0], isolated: vec![], ..facts(Core::Auto) };
        assert_eq!(judge(&single)[0].grade, Grade::Warning);
    }

    #[test]
    fn scaling_and_deep_sleep_are_noticed() {
        let lazy = Facts {
            governor: Some("powersave".into()),
            states: vec![("C10".into(), 890)],
            ..facts(Core::Auto)
        };
        let found = judge(&lazy);
        assert_eq!((found[1].grade, found[2].grade), (Grade::Notice, Grade::Notice));
        assert!(found[2].measured.contains("C10 takes 890 us"));
    }
}
