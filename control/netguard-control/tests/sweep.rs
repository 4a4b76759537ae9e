//! The broom against a real kernel, in a network namespace of its own. Needs root; says SKIPPED
//! without.

use driver_address::{Address, FloatingAddress};
use netguard_control::sweeper::Sweeper;
use shm::Map;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

fn ip(line: &str) -> bool {
    Command::new("ip").args(line.split(' ')).status().is_ok_and(|status| status.success())
}

fn is_here(address: &str) -> bool {
    let output = Command::new("ip").args(["-o", "addr"]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).contains(address)
}

fn sweeps() {
    let dir = std::env::temp_dir().join(format!("ng-sweep-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let floating = ["10.7.0.100".parse().unwrap(), "fd07::64".parse().unwrap()];
    let map = Map::nameless().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_netguard-control"));
    let sweeper = Sweeper::start(program, &dir, &floating, Some(30), &map).unwrap();
    for address in floating {
        let prefix = if address.is_ipv4() { 24 } else { 64 };
        let spec = Address { address, prefix, interface: "nga0".into() };
        FloatingAddress::open(spec).unwrap().start(base::Instant(0)).unwrap();
    }
    assert!(is_here("10.7.0.100") && is_here("fd07::64"));
    // Long enough to see that it waits, short enough for a test.
    std::thread::park_timeout(Duration::from_millis(50));
    assert!(is_here("10.7.0.100"), "it waits while control lives");
    drop(sweeper);
    let began = Instant::now();
    while is_here("10.7.0.100") || is_here("fd07::64") {
        assert!(began.elapsed() < Duration::from_secs(5), "not swept");
    }
    assert!(is_here("10.7.0.1/"), "the node's own address stays");
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn when_control_ends_its_addresses_go() {
    let done = std::thread::spawn(|| {
        // SAFETY: unshare takes no pointers; it changes only this thread, which ends with the test.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            return false;
        }
        let ready = ip("link add nga0 type veth peer name nga1")
            && ip("link set nga0 up")
            && ip("link set nga1 up")
            && ip("addr add 10.7.0.1/24 dev nga0");
        if ready {
            sweeps();
        }
        ready
    });
    match done.join() {
        Ok(true) => {}
        Ok(false) => println!("SKIPPED: needs root, network namespaces and iproute2"),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
