//! The daemon as a process: its start, its ends, its exit codes. This program is the test and, when
//! the daemon starts it with `--setup-fd`, also netguard-control, which behaves as the node's name
//! says. Loopback, no root.

use base::{Duration, Instant};
use shm::header::State;
use shm::{Core, Frames, Key, LinkSetup, Map, Mode, NetworkIo, ReadMap, Setup};
use std::fs::{self, File};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio, exit};
use std::thread::sleep;
use wire::{ClusterId, Incarnation, Life, NodeId, NodeSet, Nonce, Stint};

/// How long a step may take before the test gives up.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);
const STEP: std::time::Duration = std::time::Duration::from_millis(2);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.iter().any(|argument| argument == "--setup-fd") {
        act_as_control(&arguments);
    }
    if arguments.iter().any(|argument| argument == "--list") {
        return;
    }
    for (name, case) in CASES {
        println!("daemon: {name}");
        case(&Bed::new(name));
    }
    println!("daemon: {} passed", CASES.len());
}

type Case = fn(&Bed);

const CASES: [(&str, Case); 12] = [
    ("a stop is orderly", a_stop_is_orderly),
    ("real time is had or missed in words", real_time_is_had_or_missed),
    ("control's death ends the lease and the daemon", control_dies),
    ("control's stall ends the lease and the daemon", control_stalls),
    ("control's own exit code is passed on", control_refuses),
    ("a taken port is code 3 and names the port", a_port_is_taken),
    ("a held run directory is code 5", the_run_directory_is_held),
    ("a missing run directory is code 5", the_run_directory_is_missing),
    ("a missing control is code 2", control_is_missing),
    ("a broken test knob is code 2", the_knob_is_broken),
    ("without io_uring recvmmsg is used, and that is said", io_uring_is_forbidden),
    ("io_uring is code 2 where it is insisted on and not there", io_uring_is_insisted_on),
];

fn a_stop_is_orderly(bed: &Bed) {
    let daemon = bed.start("good");
    let map = bed.running();
    assert_eq!(map.header().node(), NodeId::new(1));
    assert_eq!(map.header().pid(), daemon.pid());
    wait_for("beats", || counter(&map, "fast.beats") > 2);
    daemon.terminate();
    let output = daemon.end();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(map.header().state(), State::Stopped);
    assert_eq!(map.board().lease_end(), Instant::ZERO);
    assert_eq!(counter(&map, "fast.obituaries"), 3);
}

fn real_time_is_had_or_missed(bed: &Bed) {
    let daemon = bed.start("realtime");
    let map = bed.running();
    wait_for("beats", || counter(&map, "fast.beats") > 2);
    daemon.terminate();
    let output = daemon.end();
    // Not 0 if control, too, had become real-time.
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let text = text(&output);
    assert!(text.contains("node 1 life 1: core "), "{text}");
    for (had, missed) in
        [("SCHED_FIFO 50", "no real-time priority"), ("memory locked", "no locked memory")]
    {
        assert!(text.contains(had) != text.contains(missed), "{text}");
    }
}

fn control_dies(bed: &Bed) {
    let daemon = bed.start("dies");
    let map = bed.running();
    let output = daemon.end();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("lease closed, obituary sent"), "{}", text(&output));
    assert_eq!(map.header().state(), State::Failed);
    assert_eq!(map.board().lease_end(), Instant::ZERO);
}

fn control_stalls(bed: &Bed) {
    let daemon = bed.start("stalls");
    let map = bed.running();
    let output = daemon.end();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("makes no progress"), "{}", text(&output));
    assert_eq!(map.board().lease_end(), Instant::ZERO);
}

fn control_refuses(bed: &Bed) {
    let output = bed.start("refuses").end();
    assert_eq!(output.status.code(), Some(6), "{}", text(&output));
    assert!(text(&output).contains("control says why"), "{}", text(&output));
}

fn a_port_is_taken(bed: &Bed) {
    let other = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let output = bed.start(&format!("port{port}")).end();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(text(&output).contains(&format!("UDP port {port}")), "{}", text(&output));
}

fn the_run_directory_is_held(bed: &Bed) {
    let first = bed.start("good");
    let map = bed.running();
    let output = bed.start("good").end();
    assert_eq!(output.status.code(), Some(5), "{}", text(&output));
    assert!(text(&output).contains(&format!("pid {}", first.pid())), "{}", text(&output));
    assert!(map.is_current(), "the second daemon replaced the map of the first");
    first.terminate();
    assert_eq!(first.end().status.code(), Some(0));
}

fn the_run_directory_is_missing(bed: &Bed) {
    fs::remove_dir(&bed.0).unwrap();
    let output = bed.start("good").end();
    assert_eq!(output.status.code(), Some(5), "{}", text(&output));
    fs::create_dir(&bed.0).unwrap();
}

fn control_is_missing(bed: &Bed) {
    let mut command = bed.command("good");
    let output = command.args(["--control", "/nonexistent"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("/nonexistent"), "{}", text(&output));
}

fn the_knob_is_broken(bed: &Bed) {
    let output = bed.command("good").env(link::loss::VARIABLE, "loss=7").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(!bed.0.join("map").exists(), "nothing is changed");
}

fn io_uring_is_forbidden(bed: &Bed) {
    let own = std::env::current_exe().unwrap();
    let mut command = bed.command("good");
    forbid_io_uring(&mut command);
    let daemon = Daemon(Some(command.arg("--control").arg(own).spawn().unwrap()));
    let map = bed.running();
    wait_for("beats", || counter(&map, "fast.beats") > 2);
    daemon.terminate();
    let output = daemon.end();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let text = text(&output);
    assert!(text.contains("io_uring is not used: it is forbidden"), "{text}");
    assert!(text.contains("recvmmsg is"), "{text}");
    assert_eq!(map.header().network_io(), Some(NetworkIo::Recvmmsg));
    assert_eq!(counter(&map, "fast.obituaries"), 3);
}

fn io_uring_is_insisted_on(bed: &Bed) {
    let own = std::env::current_exe().unwrap();
    let mut command = bed.command("insists");
    forbid_io_uring(&mut command);
    let output = Daemon(Some(command.arg("--control").arg(&own).spawn().unwrap())).end();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("set network_io = \"auto\""), "{}", text(&output));
    let Ok(_) = link::Ring::open(1) else { return };
    // Where it is there, it is used.
    let daemon = bed.start("insists");
    let map = bed.running();
    wait_for("beats", || counter(&map, "fast.beats") > 2);
    daemon.terminate();
    let output = daemon.end();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains(", io_uring\n"), "{}", text(&output));
    assert_eq!(map.header().network_io(), Some(NetworkIo::IoUring));
    assert!(counter(&map, "fast.link0.sent") > 2);
}

/// Has the kernel answer EPERM to io_uring_setup, as a container's seccomp profile does.
fn forbid_io_uring(command: &mut Command) {
    const fn step(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
        libc::sock_filter { code: code as u16, jt, jf, k }
    }
    const FILTER: [libc::sock_filter; 4] = [
        // The number of the call, which `seccomp_data` begins with.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_io_uring_setup as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let install = || {
        let filter = FILTER.as_ptr().cast_mut();
        let program = libc::sock_fprog { len: FILTER.len() as u16, filter };
        // SAFETY: the program and its steps outlive the calls, which only read them.
        let done = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
                    == 0
        };
        if done { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec the closure makes two system calls and allocates nothing.
    unsafe { command.pre_exec(install) };
}

/// A daemon that does not outlive a failed test.
struct Daemon(Option<Child>);

impl Daemon {
    fn pid(&self) -> u32 {
        self.0.as_ref().unwrap().id()
    }
    fn terminate(&self) {
        // SAFETY: takes integers; the child has not been waited for, so the number still means it.
        unsafe { libc::kill(self.pid() as libc::pid_t, libc::SIGTERM) };
    }
    fn end(mut self) -> Output {
        let mut child = self.0.take().unwrap();
        wait_for("end", || child.try_wait().unwrap().is_some());
        child.wait_with_output().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
        }
    }
}

/// A run directory of its own.
struct Bed(PathBuf);

impl Bed {
    fn new(name: &str) -> Self {
        let name = name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        let dir = std::env::temp_dir().join(format!("ng-fast-{}-{name}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn command(&self, node: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_netguard-fast"));
        command
            .args(["--config", "none", "--node", node, "--state-dir", "none", "--run-dir"])
            .arg(&self.0)
            .env_remove(link::loss::VARIABLE)
            .stderr(Stdio::piped());
        command
    }

    fn start(&self, node: &str) -> Daemon {
        let own = std::env::current_exe().unwrap();
        Daemon(Some(self.command(node).arg("--control").arg(own).spawn().unwrap()))
    }

    /// The map, once the daemon beats.
    fn running(&self) -> ReadMap {
        let mut map = None;
        wait_for("a running daemon", || {
            map = ReadMap::open(&self.0.join("map")).ok();
            map.as_ref().is_some_and(|map| map.header().state() != State::Starting)
        });
        map.unwrap()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn counter(map: &ReadMap, name: &str) -> u64 {
    map.counters().find(|(counter, _)| counter == name).unwrap().1
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "no {what} within {PATIENCE:?}");
        sleep(STEP);
    }
}

/// netguard-control, reduced to what fast needs of it.
fn act_as_control(arguments: &[String]) -> ! {
    let option = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name).unwrap();
        arguments[at + 1].clone()
    };
    // SAFETY: fast opened the descriptor for this process; nobody else here owns it.
    let inherited = |name| unsafe { OwnedFd::from_raw_fd(option(name).parse().unwrap()) };
    // SAFETY: takes integers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let node = option("--node");
    if node == "refuses" {
        eprintln!("control says why");
        exit(6);
    }
    // SAFETY: takes an integer.
    if unsafe { libc::sched_getscheduler(0) } != libc::SCHED_OTHER {
        eprintln!("control inherited a real-time policy");
        exit(1);
    }
    let map = Map::attach(inherited("--map-fd")).unwrap();
    let port = node.strip_prefix("port").map_or_else(free_port, |port| port.parse().unwrap());
    let (priority, core) = match node.as_str() {
        "realtime" => (50, Core::Auto),
        _ => (0, Core::None),
    };
    let network_io = if node == "insists" { NetworkIo::IoUring } else { NetworkIo::Auto };
    let setup = Setup { priority, core, network_io, ..setup(port) };
    // Open until the end: its hang-up means that control is dead.
    let lifeline = File::from(inherited("--setup-fd"));
    setup.send(&lifeline).unwrap();
    // The only member of a cluster of one has its lease at once.
    let me = NodeId::new(1).unwrap();
    map.board().set_roster(me, Incarnation(1));
    map.board().set_voters([me].into_iter().collect());
    map.board().set_peer_stint(me, Stint(1));
    map.board().set_stint(Stint(1));
    for turn in 0.. {
        match node.as_str() {
            "dies" if turn > 100 => exit(1),
            "stalls" if turn > 100 => sleep(STEP),
            _ => {
                map.board().make_progress();
                sleep(STEP);
            }
        }
        if term_pending() {
            exit(0);
        }
    }
    unreachable!("the loop has no end")
}

/// True once SIGTERM has come; blocks it on the first call.
fn term_pending() -> bool {
    let limit = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `set` is initialized by sigemptyset before it is read; all pointers outlive the
    // calls.
    unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        libc::sigtimedwait(&raw const set, std::ptr::null_mut(), &raw const limit) == libc::SIGTERM
    }
}

fn free_port() -> u16 {
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn setup(port: u16) -> Setup {
    let me = NodeId::new(1).unwrap();
    let link = LinkSetup {
        mode: Mode::Unicast,
        frames: Frames::Udp,
        own: "127.0.0.1".parse().unwrap(),
        interface: 0,
        target: None,
        port,
        peers: vec![(NodeId::new(2).unwrap(), "127.0.0.1".parse().unwrap())],
    };
    let nodes: NodeSet = [1, 2].into_iter().filter_map(NodeId::new).collect();
    Setup {
        me: Life { node: me, incarnation: Incarnation(1) },
        nonce: Nonce(1),
        cluster: ClusterId(1),
        key: Key([7; 32]),
        key_id: 1,
        feature: 1,
        config_hash: 5,
        interval: Duration::from_millis(100),
        misses: 3,
        rate_ppm: 1_000,
        margin: Duration::from_micros(50),
        nodes,
        priority: 0,
        core: Core::None,
        network_io: NetworkIo::Auto,
        links: vec![link],
    }
}
