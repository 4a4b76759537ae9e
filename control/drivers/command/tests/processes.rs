//! The driver with real processes. Needs no root.

use ng_driver_command::scope::process;
use ng_driver_command::{Command, CommandDriver, CommandError, remove_leftovers};
use std::fs;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A folder of one test, gone when it is over.
struct Folder(PathBuf);

impl std::ops::Deref for Folder {
    type Target = std::path::Path;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn run_dir(name: &str) -> Folder {
    let dir = std::env::temp_dir().join(format!("ng-command-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    Folder(dir)
}

fn driver(dir: &std::path::Path, script: &str, stop_timeout: Duration) -> CommandDriver {
    let run = ["/bin/sh", "-c", script].map(String::from).to_vec();
    let service = "svc".into();
    let spec = Command { service, resource: 0, node: "n1".into(), run, stop_timeout };
    CommandDriver::new(spec, dir)
}

fn text_of(path: PathBuf) -> String {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(10) {
        match fs::read_to_string(&path) {
            Ok(text) if text.ends_with('\n') => return text,
            _ => std::thread::yield_now(),
        }
    }
    panic!("{} did not appear", path.display());
}

fn readable(fd: i32, within_ms: i32) -> bool {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd that lives for the call.
    unsafe { libc::poll(&raw mut poll, 1, within_ms) == 1 }
}

#[test]
fn the_command_knows_its_service_node_and_generation() {
    let dir = run_dir("environment");
    let out = dir.join("out");
    let script = format!(
        "echo $NETGUARD_SERVICE $NETGUARD_NODE $NETGUARD_GENERATION $HOME > {}; exec sleep 60",
        out.display()
    );
    let mut driver = driver(&dir, &script, Duration::from_secs(5));
    driver.start(17).unwrap();
    assert_eq!(text_of(out), "svc n1 17\n", "and nothing of the daemon's environment");
    assert!(matches!(driver.start(18), Err(CommandError::Running)));
    driver.stop().unwrap();
    assert!(!driver.runs() && !driver.record().exists());
}

#[test]
fn a_death_is_seen_at_once_and_says_how() {
    let dir = run_dir("death");
    let mut driver = driver(&dir, "exit 3", Duration::from_secs(5));
    driver.start(1).unwrap();
    assert!(readable(driver.watch_fd().unwrap().as_raw_fd(), 10_000));
    assert_eq!(driver.poll_exit().unwrap(), "the command ended with status 3");
    driver.stop().unwrap();
}

#[test]
fn a_stop_reaches_children_that_ignore_it_and_daemons_that_fled_the_session() {
    let dir = run_dir("flee");
    let pids = dir.join("pids");
    // One child that ignores SIGTERM, one that makes a session of its own and ignores it too.
    let script = format!(
        "trap '' TERM; sleep 60 & a=$!; setsid sh -c 'trap \"\" TERM; echo $$ > {0}.b; sleep 60' & \
         echo $a $$ > {0}; wait",
        pids.display()
    );
    let mut driver = driver(&dir, &script, Duration::from_millis(50));
    driver.start(1).unwrap();
    let mut all = text_of(pids.clone());
    all.push_str(&text_of(pids.with_extension("b")));
    let all: Vec<i32> = all.split_whitespace().map(|p| p.parse().unwrap()).collect();
    assert_eq!(all.len(), 3);
    driver.stop().unwrap();
    for pid in all {
        assert!(process(pid).is_none_or(|p| p.zombie), "{pid} still runs");
    }
}

#[test]
fn an_obedient_command_is_not_killed() {
    let dir = run_dir("obedient");
    let done = dir.join("done");
    let up = dir.join("up");
    let script = format!(
        "trap 'echo yes > {}; exit 0' TERM; echo 1 > {}; while :; do sleep 0.01; done",
        done.display(),
        up.display()
    );
    let mut driver = driver(&dir, &script, Duration::from_secs(10));
    driver.start(1).unwrap();
    text_of(up);
    driver.stop().unwrap();
    assert_eq!(text_of(done), "yes\n");
}

#[test]
fn a_restarted_daemon_kills_what_the_last_one_left() {
    let dir = run_dir("leftover");
    let pids = dir.join("pids");
    let script = format!("setsid sleep 61 & echo $! $$ > {}; sleep 60", pids.display());
    let mut lost = driver(&dir, &script, Duration::from_secs(5));
    lost.start(1).unwrap();
    let all: Vec<i32> = text_of(pids).split_whitespace().map(|p| p.parse().unwrap()).collect();
    // The daemon died, its threads did not: else the kernel would end the leader itself.
    std::mem::forget(lost);
    let found = remove_leftovers(&dir).unwrap();
    assert_eq!(found, [dir.join("svc-0.command")]);
    for pid in all {
        assert!(process(pid).is_none_or(|p| p.zombie), "{pid} still runs");
    }
    assert!(remove_leftovers(&dir).unwrap().is_empty());
}

#[test]
fn a_missing_program_leaves_nothing_behind() {
    let dir = run_dir("missing");
    let run = vec!["/no/such/program".into()];
    let (service, node) = ("svc".into(), "n1".into());
    let spec = Command { service, resource: 0, node, run, stop_timeout: Duration::ZERO };
    let mut driver = CommandDriver::new(spec, &dir);
    let error = driver.start(1).unwrap_err().to_string();
    assert!(error.contains("/no/such/program") && error.contains("check that"), "{error}");
    assert!(fs::read_dir(&*dir).unwrap().next().is_none());
}

#[test]
fn real_time_policy_is_not_inherited() {
    let dir = run_dir("policy");
    let out = dir.join("out");
    let script = format!("cut -d ' ' -f 41 /proc/$$/stat > {}; exec sleep 60", out.display());
    let mut driver = driver(&dir, &script, Duration::from_secs(5));
    let fifo = libc::sched_param { sched_priority: 1 };
    // SAFETY: one sched_param that lives for the call; 0 is this thread, which ends with the test.
    if unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const fifo) } != 0 {
        println!(
            "real_time_policy_is_not_inherited: SKIPPED: real-time priority is not allowed here"
        );
        return;
    }
    driver.start(1).unwrap();
    assert_eq!(text_of(out), "0\n", "SCHED_OTHER");
    driver.stop().unwrap();
}
