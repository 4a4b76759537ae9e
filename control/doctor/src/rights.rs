//! What the daemons ask the kernel for: real-time priority, memory that stays, processor time.

use crate::files;
use crate::finding::{Area, Check, Finding};
use crate::os;
use std::path::PathBuf;

const PRIORITY: Check = Check {
    area: Area::Scheduling,
    name: "realtime-priority",
    why: "without SCHED_FIFO other work delays beats, and peers may take over from a living node",
};
const THROTTLING: Check = Check {
    area: Area::Scheduling,
    name: "realtime-throttling",
    why: "the kernel stops real-time threads that use more than this share of each period",
};
const MEMORY: Check = Check {
    area: Area::Scheduling,
    name: "locked-memory",
    why: "a page fault under memory pressure can delay beats by more than a deadline",
};
const SHARE: Check = Check {
    area: Area::Scheduling,
    name: "cpu-limit",
    why: "a control group with a CPU quota stops its threads for the rest of each period",
};

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Facts {
    pub(crate) root: bool,
    pub(crate) priority: u8,
    pub(crate) realtime: Result<(), String>,
    pub(crate) locked: Result<(), String>,
    /// Microseconds of real-time work per period, and the period; -1 = no limit.
    pub(crate) throttle: Option<(i64, i64)>,
    /// Whose control group was looked at: the daemon's if it runs.
    pub(crate) of_daemon: bool,
    /// Quota and period in microseconds of each control group above that has one, with its name.
    pub(crate) quotas: Vec<(String, i64, i64)>,
}

/// Tries what the daemons will try; `daemon` is the process to look at instead of this one.
pub(crate) fn sample(priority: u8, daemon: Option<u32>) -> Facts {
    let tried = std::thread::spawn(move || os::realtime(priority)).join();
    let realtime = match tried {
        Ok(result) => result.map_err(|e| e.to_string()),
        Err(_) => Err("the thread that tried it died".into()),
    };
    let kernel = |name| files::number(format!("/proc/sys/kernel/{name}"));
    let who = daemon.map_or_else(|| "self".into(), |pid| pid.to_string());
    let groups = files::text(format!("/proc/{who}/cgroup"));
    let mounts = files::text("/proc/self/mounts").unwrap_or_default();
    Facts {
        root: os::is_root(),
        priority,
        realtime,
        locked: os::try_lock_memory().map_err(|e| e.to_string()),
        throttle: kernel("sched_rt_runtime_us").zip(kernel("sched_rt_period_us")),
        of_daemon: daemon.is_some(),
        quotas: groups.map(|groups| quotas(&groups, &mounts)).unwrap_or_default(),
    }
}

/// Folders that can hold a quota for a process: its own group's and those above it.
fn group_folders(groups: &str, mounts: &str) -> Vec<(PathBuf, bool)> {
    let mut folders = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let unified = controllers.is_empty();
        if !unified && !controllers.split(',').any(|it| it == "cpu") {
            continue;
        }
        let mounted = mounts.lines().find_map(|mount| {
            let words: Vec<&str> = mount.split(' ').collect();
            let (at, kind, options) = (*words.get(1)?, *words.get(2)?, *words.get(3)?);
            let fits = if unified {
                kind == "cgroup2"
            } else {
                kind == "cgroup" && options.split(',').any(|it| it == "cpu")
            };
            fits.then(|| PathBuf::from(at))
        });
        let Some(mounted) = mounted else { continue };
        let own = mounted.join(path.trim_start_matches('/'));
        let above = own.ancestors().take_while(|folder| folder.starts_with(&mounted));
        folders.extend(above.map(|folder| (folder.to_owned(), unified)));
    }
    folders
}

fn quotas(groups: &str, mounts: &str) -> Vec<(String, i64, i64)> {
    let mut found = Vec::new();
    for (folder, unified) in group_folders(groups, mounts) {
        let limit = if unified {
            files::text(folder.join("cpu.max")).as_deref().and_then(quota)
        } else {
            let number = |name| files::number(folder.join(name));
            number("cpu.cfs_quota_us").filter(|quota| *quota > 0).zip(number("cpu.cfs_period_us"))
        };
        found.extend(limit.map(|(quota, period)| (folder.display().to_string(), quota, period)));
    }
    found
}

/// `50000 100000`, or `max 100000` for none.
fn quota(text: &str) -> Option<(i64, i64)> {
    let (quota, period) = text.split_once(' ')?;
    Some((quota.parse().ok()?, period.trim().parse().ok()?))
}

pub(crate) fn judge(facts: &Facts) -> Vec<Finding> {
    let who = if facts.root { "as root" } else { "as this user; the daemons may be allowed more" };
    let realtime = match &facts.realtime {
        Ok(()) => PRIORITY.ok(format!("SCHED_FIFO {} {who}", facts.priority)),
        Err(why) if !facts.root => PRIORITY.unchecked(format!("{why}, {who}"), "run as root"),
        Err(why) => PRIORITY.failure(
            format!("SCHED_FIFO {}: {why}", facts.priority),
            "set LimitRTPRIO=99 and allow CAP_SYS_NICE; in a cgroup v1 hierarchy with real-time \
             groups give the daemon's group a cpu.rt_runtime_us",
        ),
    };
    let memory = match &facts.locked {
        Ok(()) => MEMORY.ok(format!("can be locked {who}")),
        Err(why) if !facts.root => MEMORY.unchecked(format!("{why}, {who}"), "run as root"),
        Err(why) => MEMORY.warning(why, "set LimitMEMLOCK=infinity, or allow CAP_IPC_LOCK"),
    };
    vec![realtime, throttling(facts), memory, share(facts)]
}

fn throttling(facts: &Facts) -> Finding {
    let Some((runtime, period)) = facts.throttle else {
        return THROTTLING.unchecked("the kernel does not tell", "mount /proc");
    };
    if runtime < 0 {
        return THROTTLING.ok("off");
    }
    let measured = format!("{runtime} of {period} us");
    let remedy = "sysctl -w kernel.sched_rt_runtime_us=950000";
    match runtime * 100 / period.max(1) {
        0 => THROTTLING.failure(format!("{measured}: real-time threads do not run"), remedy),
        1..90 => THROTTLING.warning(measured, remedy),
        _ => THROTTLING.ok(measured),
    }
}

fn share(facts: &Facts) -> Finding {
    let whose = if facts.of_daemon { "the daemons'" } else { "this process's" };
    let tightest =
        facts.quotas.iter().min_by_key(|(_, quota, period)| quota * 1000 / period.max(&1));
    let Some((group, quota, period)) = tightest else {
        return SHARE.ok(format!("no quota in {whose} control group"));
    };
    let measured = format!("{quota} of {period} us in {group}, {whose} group");
    let remedy = "take the quota away from the daemons' unit: CPUQuota= (empty)";
    if quota < period { SHARE.warning(measured, remedy) } else { SHARE.notice(measured, remedy) }
}

#[cfg(test)]
mod tests {
    use super::{Facts, group_folders, judge, quota};
    use crate::finding::Grade;
    use std::path::PathBuf;

    fn fine() -> Facts {
        Facts {
            root: true,
            priority: 50,
            realtime: Ok(()),
            locked: Ok(()),
            throttle: Some((950_000, 1_000_000)),
            of_daemon: false,
            quotas: vec![],
        }
    }

    fn grades(facts: &Facts) -> Vec<Grade> {
        judge(facts).iter().map(|finding| finding.grade).collect()
    }

    #[test]
    fn root_on_an_ordinary_machine_is_fine() {
        assert_eq!(grades(&fine()), [Grade::Ok; 4]);
    }

    #[test]
    fn a_refusal_counts_for_root_and_only_tells_what_to_do_otherwise() {
        let refused = Facts { realtime: Err("not permitted".into()), ..fine() };
        assert_eq!(grades(&refused)[0], Grade::Failure);
        let user = Facts { root: false, locked: Err("no".into()), ..refused };
        assert_eq!(grades(&user)[0], Grade::Notice);
        assert_eq!(grades(&user)[2], Grade::Notice);
        assert_eq!(judge(&user)[0].remedy, "run as root");
    }

    #[test]
    fn throttling_is_judged_by_the_share_that_is_left() {
        let share = |runtime| grades(&Facts { throttle: Some((runtime, 1_000_000)), ..fine() })[1];
        assert_eq!(share(-1), Grade::Ok);
        assert_eq!(share(500_000), Grade::Warning);
        assert_eq!(share(0), Grade::Failure);
    }

    #[test]
    fn the_tightest_quota_counts() {
        let quotas = vec![("/a/b".into(), 400_000, 100_000), ("/a".into(), 50_000, 100_000)];
        let found = judge(&Facts { quotas, ..fine() }).remove(3);
        assert_eq!(found.grade, Grade::Warning);
        assert!(found.measured.contains("in /a,"), "{}", found.measured);
        assert_eq!(quota("max 100000"), None);
        assert_eq!(quota("50000 100000"), Some((50_000, 100_000)));
    }

    #[test]
    fn groups_of_both_hierarchies_are_found_up_to_where_they_are_mounted() {
        let mounts = "cgroup /sys/fs/cgroup/cpu cgroup rw,relatime,cpu 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0";
        let folders = group_folders("1:cpu:/\n2:memory:/m\n0::/x/y", mounts);
        let paths: Vec<_> = folders.iter().map(|(path, _)| path.clone()).collect();
        let wanted = ["cpu", "unified/x/y", "unified/x", "unified"];
        let wanted = wanted.map(|it| PathBuf::from("/sys/fs/cgroup").join(it));
        assert_eq!(paths.len(), wanted.len(), "{paths:?}");
        assert!(wanted.iter().all(|it| paths.contains(it)), "{paths:?}");
    }
}
