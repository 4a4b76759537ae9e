//! The real daemon as a child of a test that plays netguard-fast: a cluster of one node with one
//! command. Needs no root: the links are on the loopback, and a command needs no privilege.

use api::{Answer, Phase, Reply, ReplyBody, Request};
use base::{Duration, Instant};
use shm::{Map, Setup};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const CONFIG: &str = r#"
[cluster]
name = "daemon-test"
key_file = "key"
[[link]]
name = "only"
mode = "unicast"
port = PORT
[[node]]
id = 1
name = "n1"
addresses = ["127.0.0.1"]
[[service]]
name = "job"
[[service.resource]]
kind = "command"
run = ["/bin/sleep", "1000"]
stop_timeout = "2s"
"#;

/// A daemon, and the fast path that it believes in.
struct Bench {
    dir: PathBuf,
    child: Child,
    map: Arc<Map>,
    setup: Setup,
    /// Its hang-up would mean that fast is dead.
    _lifeline: UnixStream,
    beats: Option<(Arc<AtomicBool>, std::thread::JoinHandle<()>)>,
}

impl Bench {
    fn new(name: &str, port: u16) -> Self {
        let dir = std::env::temp_dir().join(format!("ng-daemon-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("run")).unwrap();
        fs::write(dir.join("key"), "0123456789abcdef".repeat(4)).unwrap();
        fs::set_permissions(dir.join("key"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(dir.join("netguard.toml"), CONFIG.replace("PORT", &port.to_string())).unwrap();
        let maker = shm::Maker { pid: std::process::id(), started: now() };
        let map = Map::create(&dir.join("run"), maker).unwrap();
        let event = netguard_control::system::Wake::new().unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let map_fd: OwnedFd =
            fs::OpenOptions::new().read(true).write(true).open(dir.join("run/map")).unwrap().into();
        let fds = [map_fd.as_raw_fd(), event.fd(), theirs.as_raw_fd()];
        let mut command = Command::new(env!("CARGO_BIN_EXE_netguard-control"));
        command.arg("--config").arg(dir.join("netguard.toml")).args(["--node", "n1"]);
        command.arg("--run-dir").arg(dir.join("run")).arg("--state-dir").arg(dir.join("state"));
        for (name, fd) in ["--map-fd", "--event-fd", "--setup-fd"].iter().zip(fds) {
            command.arg(name).arg(fd.to_string());
        }
        command.stderr(Stdio::from(fs::File::create(dir.join("log")).unwrap()));
        // SAFETY: between fork and exec only fcntl is called, on descriptors that were copied with
        // the process.
        unsafe {
            command.pre_exec(move || {
                for fd in fds {
                    libc::fcntl(fd, libc::F_SETFD, 0);
                }
                Ok(())
            });
        }
        let child = command.spawn().unwrap();
        drop(theirs);
        let setup = Setup::receive(&ours).unwrap_or_else(|e| {
            panic!("{e}: {}", fs::read_to_string(dir.join("log")).unwrap_or_default())
        });
        Self { dir, child, map: Arc::new(map), setup, _lifeline: ours, beats: None }
    }

    /// Renews the lease from now on, as fast would: a node alone is its own majority.
    fn beat(&mut self) {
        let (map, stop) = (Arc::clone(&self.map), Arc::new(AtomicBool::new(false)));
        let ended = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                map.board().set_lease_end(now() + Duration::from_millis(1_000));
                std::thread::park_timeout(std::time::Duration::from_millis(5));
            }
        });
        self.beats = Some((stop, thread));
    }
    fn stop_beating(&mut self) {
        if let Some((stop, thread)) = self.beats.take() {
            stop.store(true, Ordering::Relaxed);
            thread.join().unwrap();
        }
        self.map.board().set_lease_end(Instant::ZERO);
    }

    fn ask(&self, request: Request) -> Reply {
        let path = self.dir.join("run").join(api::SOCKET_NAME);
        let mut stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        stream.write_all(api::encode_request(1, request).as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        api::parse_reply(line.as_bytes()).unwrap()
    }
    fn status(&self) -> api::Status {
        match self.ask(Request::Status).body {
            ReplyBody::Answer(Answer::Status(status)) => *status,
            other => panic!("{other:?}"),
        }
    }
    /// Asks until `wanted` holds.
    fn until(&self, what: &str, wanted: impl Fn(&api::Status) -> bool) -> api::Status {
        let began = now();
        loop {
            let status = self.status();
            if wanted(&status) {
                return status;
            }
            let log = || fs::read_to_string(self.dir.join("log")).unwrap_or_default();
            assert!(now().since(began).millis() < 10_000, "not {what}: {status:#?}\n{}", log());
            std::thread::park_timeout(std::time::Duration::from_millis(5));
        }
    }
    fn job_runs(&self) -> bool {
        let mark = self.dir.join("run").canonicalize().unwrap().join("job-0.command");
        let mark = mark.to_string_lossy().into_owned();
        !driver_command::scope::Scope { leader: None, mark }.members().is_empty()
    }
    fn signal(&self, number: i32) {
        let pid = i32::try_from(self.child.id()).unwrap();
        // SAFETY: takes no pointers; the child has not been waited for, so the number is its own.
        unsafe { libc::kill(pid, number) };
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop_beating();
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = driver_command::remove_leftovers(&self.dir.join("run"));
        if std::thread::panicking() {
            eprintln!("its log is in {}", self.dir.display());
        } else {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

fn now() -> Instant {
    netguard_control::system::now()
}

#[test]
fn one_life_from_the_first_frame_to_the_last_process() {
    let mut bench = Bench::new("life", 45_810);
    assert_eq!(bench.setup.me.incarnation.0, 1, "durable before fast may speak");
    assert_eq!(
        fs::read_to_string(bench.dir.join("state/incarnation")).unwrap().lines().nth(1),
        Some("1")
    );
    bench.beat();
    let running = |s: &api::Status| s.services.iter().all(|s| s.phase == Phase::Running);
    let status = bench.until("running", running);
    assert!(status.quorum.held && status.lease.held, "{status:#?}");
    assert_eq!(status.services[0].owner.as_deref(), Some("n1"));
    assert!(bench.job_runs());
    assert_eq!(bench.map.board().open(0), status.services[0].generation);
    let before = bench.map.board().progress();
    std::thread::park_timeout(std::time::Duration::from_millis(200));
    assert!(bench.map.board().progress() > before + 20, "an idle loop still turns");

    bench.signal(libc::SIGTERM);
    assert_eq!(bench.child.wait().unwrap().code(), Some(0));
    assert!(!bench.job_runs(), "nothing is left");
    assert_eq!(bench.map.board().open(0), 0);
}

#[test]
fn a_killed_daemon_leaves_no_process_to_the_next_life() {
    let mut bench = Bench::new("killed", 45_820);
    bench.beat();
    bench.until("running", |s| s.services.iter().all(|s| s.phase == Phase::Running));
    bench.signal(libc::SIGKILL);
    bench.child.wait().unwrap();
    driver_command::remove_leftovers(&bench.dir.join("run")).unwrap();
    assert!(!bench.job_runs());
}

#[test]
fn orders_that_make_no_sense_are_refused_with_a_remedy() {
    let mut bench = Bench::new("orders", 45_830);
    bench.beat();
    bench.until("running", |s| s.services.iter().all(|s| s.phase == Phase::Running));
    let refused = |request| match bench.ask(request).body {
        ReplyBody::Error(refusal) => (refusal.code, refusal.remedy),
        other => panic!("{other:?}"),
    };
    let (job, n1) = ("job".to_owned(), "n1".to_owned());
    let to_nowhere = Request::Move { service: job.clone(), to: "n9".into() };
    assert_eq!(refused(to_nowhere).0, api::ErrorCode::UnknownNode);
    let nothing = refused(Request::Move { service: "jab".into(), to: n1.clone() });
    assert_eq!(nothing.0, api::ErrorCode::UnknownService);
    assert!(nothing.1.contains("job"), "{}", nothing.1);
    let there = Request::Move { service: job, to: n1.clone() };
    assert_eq!(refused(there).0, api::ErrorCode::AlreadyThere);
    assert_eq!(refused(Request::ConfirmOff { node: n1 }).0, api::ErrorCode::NodeIsAlive);
}
