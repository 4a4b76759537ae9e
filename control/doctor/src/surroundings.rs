//! What else runs on the machine and matters: a time daemon, a packet filter.

use crate::files;
use crate::finding::{Area, Check, Finding};
use crate::os::Steering;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const TIME: Check = Check {
    area: Area::Clock,
    name: "time-daemon",
    why: "logs of several nodes compare only if their wall clocks agree; no promise rests on it",
};
const FILTER: Check = Check {
    area: Area::Links,
    name: "packet-filter",
    why: "a packet filter that drops the ports of a link silences every peer on it",
};

/// Programs that keep the wall clock, as the kernel names them.
const TIME_DAEMONS: [&str; 6] =
    ["chronyd", "ntpd", "ntpd-rs", "systemd-timesyn", "ptp4l", "openntpd"];
/// Where distributions put chrony's file.
const CHRONY: [&str; 2] = ["/etc/chrony/chrony.conf", "/etc/chrony.conf"];
/// Most processes that are looked at.
const PROCESSES_MAX: usize = 100_000;

/// What was found about time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TimeFacts {
    pub(crate) daemon: Option<String>,
    pub(crate) synchronised: bool,
    /// chrony's file, if chrony runs and it can be read.
    pub(crate) chrony: Option<String>,
}

pub(crate) fn sample_time(steering: Option<&Steering>) -> TimeFacts {
    let daemon = processes().find(|name| TIME_DAEMONS.contains(&name.as_str()));
    let runs_chrony = daemon.as_deref() == Some("chronyd");
    TimeFacts {
        synchronised: steering.is_some_and(|it| it.synchronised),
        chrony: if runs_chrony { CHRONY.iter().find_map(files::text) } else { None },
        daemon,
    }
}

fn processes() -> impl Iterator<Item = String> {
    let folder = std::fs::read_dir("/proc").into_iter().flatten().flatten().take(PROCESSES_MAX);
    folder.filter_map(|entry| {
        let number = entry.file_name().to_str()?.parse::<u32>().ok()?;
        files::text(format!("/proc/{number}/comm"))
    })
}

pub(crate) fn judge_time(facts: &TimeFacts) -> Finding {
    let steered = if facts.synchronised { "the kernel's clock is steered" } else { "not steered" };
    match &facts.daemon {
        None if facts.synchronised => {
            TIME.ok("the wall clock is kept right, by no daemon seen here")
        }
        None => TIME.notice("no time daemon runs", "install chrony, with maxslewrate 500"),
        Some(name) if name == "chronyd" => match facts.chrony.as_deref().map(slew_rate) {
            // Its default, 83333 ppm, is far beyond what the lease's margin holds for.
            Some(rate) if rate > 500.0 => TIME.warning(
                format!("chronyd, {steered}; it may slew at {rate:.0} ppm: that ends leases"),
                "maxslewrate 500 in chrony.conf, and makestep for larger errors",
            ),
            _ => TIME.ok(format!("chronyd, {steered}")),
        },
        Some(name) => TIME.ok(format!("{name}, {steered}")),
    }
}

/// What chrony's file allows.
fn slew_rate(file: &str) -> f64 {
    const DEFAULT: f64 = 83_333.0;
    let value = |line: &str| line.trim().strip_prefix("maxslewrate")?.trim().parse().ok();
    file.lines().filter_map(value).next_back().unwrap_or(DEFAULT)
}

/// The rules of the machine's packet filter: from nftables, or from iptables.
pub(crate) fn sample_filter() -> Option<String> {
    let nft = output("nft", &["list", "ruleset"]).filter(|text| !text.trim().is_empty());
    nft.or_else(|| output("iptables-save", &[]))
}

/// What a program prints within two seconds; none if it is missing, fails or is slow.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    const LONGEST: u64 = 4 << 20;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let out = child.stdout.take()?;
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        out.take(LONGEST).read_to_string(&mut text).map(|_| text).ok()
    });
    let end = Instant::now() + Duration::from_secs(2);
    let done = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status.success(),
            Ok(None) if Instant::now() < end => {
                crate::os::sleep(base::Duration::from_millis(5));
            }
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                break false;
            }
        }
    };
    let text = reader.join().ok().flatten();
    if done { text } else { None }
}

/// `ports`: of all links, heartbeats and agreement. A hint, not a proof: rules are not evaluated.
pub(crate) fn judge_filter(rules: Option<&str>, ports: &[u16]) -> Finding {
    let Some(rules) = rules else {
        return FILTER.unchecked("no nft or iptables-save that could be asked", "");
    };
    let words = |line: &str| -> Vec<String> {
        let parts = line.split(|c: char| !c.is_alphanumeric());
        parts.filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
    };
    let names = |line: &str, wanted: u16| words(line).contains(&wanted.to_string());
    let drops = |line: &str| words(line).iter().any(|word| word == "drop" || word == "reject");
    let dropped =
        ports.iter().find(|port| rules.lines().any(|line| names(line, **port) && drops(line)));
    let closed = rules.lines().any(|line| {
        let line = line.trim();
        line.starts_with(":INPUT DROP")
            || (line.contains("hook input") && line.contains("policy drop"))
    });
    let unnamed = ports.iter().find(|port| !rules.lines().any(|line| names(line, **port)));
    let allow = |port: &u16| {
        format!(
            "nft insert rule inet filter input udp dport {port} accept (names as in your rules)"
        )
    };
    match (dropped, closed, unnamed) {
        (Some(port), _, _) => FILTER.notice(format!("a rule drops port {port}"), allow(port)),
        (None, true, Some(port)) => FILTER.notice(
            format!("input is dropped by policy, and no rule names port {port}"),
            allow(port),
        ),
        _ => FILTER.ok("no rule seen that drops the links' ports"),
    }
}

#[cfg(test)]
mod tests {
    use super::{TimeFacts, judge_filter, judge_time};
    use crate::finding::Grade;

    #[test]
    fn chrony_may_not_slew_beyond_the_lease_s_margin() {
        let of = |chrony: &str| {
            let facts = TimeFacts {
                daemon: Some("chronyd".into()),
                synchronised: true,
                chrony: Some(chrony.into()),
            };
            judge_time(&facts)
        };
        assert_eq!(of("pool x\nmaxslewrate 500").grade, Grade::Ok);
        assert_eq!(of("pool x\n#maxslewrate 500").grade, Grade::Warning);
        assert!(of("pool x").measured.contains("83333 ppm"));
        let none = TimeFacts { daemon: None, synchronised: false, chrony: None };
        assert_eq!(judge_time(&none).grade, Grade::Notice);
        assert_eq!(judge_time(&TimeFacts { daemon: Some("ntpd".into()), ..none }).grade, Grade::Ok);
    }

    #[test]
    fn rules_that_drop_the_ports_are_hinted_at() {
        let grade = |rules| judge_filter(Some(rules), &[5800, 5801]).grade;
        assert_eq!(grade(""), Grade::Ok);
        assert_eq!(
            grade("chain input {\n type filter hook input priority 0; policy accept;\n}"),
            Grade::Ok
        );
        assert_eq!(grade("udp dport { 5800, 5801 } drop"), Grade::Notice);
        let closed =
            "type filter hook input priority filter; policy drop;\nudp dport 5800-5800 accept";
        let found = judge_filter(Some(closed), &[5800, 5801]);
        assert!(found.measured.contains("no rule names port 5801"), "{}", found.measured);
        assert_eq!(
            grade(":INPUT DROP [0:0]\n-A INPUT -p udp --dport 5800:5801 -j ACCEPT"),
            Grade::Ok
        );
        assert_eq!(grade("-A INPUT -p udp --dport 58001 -j DROP"), Grade::Ok, "another port");
        assert_eq!(judge_filter(None, &[5800]).grade, Grade::Notice);
    }
}
