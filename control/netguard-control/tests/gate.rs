//! The keeper of the gate against a real kernel, in a network namespace of its own. Needs root; says
//! SKIPPED without.

use base::Instant;
use config::GateSockets;
use gate::{Tc, Words};
use netguard_control::gatekeeper::Gatekeeper;
use netguard_control::journal::Journal;
use netguard_control::system::{self, Poll, Wake};
use node::GateState;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use wire::{Generation, ServiceId, Stint};

const ADDRESS: &str = "10.7.0.100";
const WEB: ServiceId = ServiceId(0);

/// Runs `test` in a fresh namespace where the address is on `lo`; SKIPPED where that cannot be.
fn in_namespace(test: fn()) {
    let done = std::thread::spawn(move || {
        // SAFETY: unshare takes no pointers; it changes only this thread, which ends with the test.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 || Words::create().is_err() {
            return false;
        }
        let ready = run("ip link set lo up") && run(&format!("ip addr add {ADDRESS}/32 dev lo"));
        if ready {
            test();
        }
        ready
    })
    .join();
    match done {
        Ok(true) => {}
        Ok(false) => println!("SKIPPED: needs root, eBPF, network namespaces and iproute2"),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn run(line: &str) -> bool {
    let mut words = line.split(' ');
    let program = words.next().unwrap();
    Command::new(program).args(words).status().is_ok_and(|status| status.success())
}

/// True if the address answers within the namespace.
fn answers() -> bool {
    let server = UdpSocket::bind((ADDRESS, 0)).unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let _ = client.send_to(b"x", server.local_addr().unwrap());
    server.recv_from(&mut [0; 8]).is_ok()
}

/// The words as fast has them, and a keeper over the same map.
fn keeper() -> (Words, Gatekeeper, Arc<Wake>) {
    let fast = Words::create().unwrap();
    let map = fast.as_fd().try_clone_to_owned().unwrap();
    let addresses: Vec<IpAddr> = vec![ADDRESS.parse().unwrap()];
    let keeper =
        Gatekeeper::begin(Some(Words::open(map).unwrap()), &[addresses], GateSockets::None);
    assert_eq!(keeper.state(), GateState::default(), "whole from the start");
    let wake = Arc::new(Wake::new().unwrap());
    let (journal, _writer) = Journal::start("n1").unwrap();
    let keeper = keeper.start(None, &wake, &journal).unwrap();
    (fast, keeper, wake)
}

/// True if the gate's filter is there both ways.
fn is_whole(on: &gate::Interface) -> bool {
    ["ingress", "egress"].iter().all(|way| {
        let show = ["filter", "show", "dev", &on.name, way];
        let shown = Command::new("tc").args(show).output().unwrap();
        String::from_utf8_lossy(&shown.stdout).contains("netguard_gate")
    })
}

/// Waits for the thread's next word.
fn news(keeper: &Gatekeeper, wake: &Wake) -> GateState {
    for _ in 0..100 {
        if let Some(state) = keeper.poll_news() {
            return state;
        }
        let mut poll = Poll::default();
        poll.add(wake.fd());
        poll.wait(Some(base::Duration::from_millis(100))).unwrap();
        wake.clear();
    }
    panic!("the keeper says nothing");
}

#[test]
fn an_address_answers_while_the_lease_runs_and_its_generation_is_open() {
    in_namespace(|| {
        assert!(answers(), "the namespace itself works");
        let (fast, mut keeper, _wake) = keeper();
        assert!(!answers(), "closed from the start");
        keeper.open(WEB, Generation(3));
        assert!(!answers(), "open, but no lease");
        let far = Instant(system::now().0 + 60_000_000_000);
        fast.set_lease_end(far);
        assert!(answers());
        let first = keeper.poll_answered();
        assert!(first.is_empty(), "nothing was answered yet, only asked");
        keeper.close(Stint(9));
        assert!(!answers(), "R-SELF");
        keeper.follow_stint(Stint(9));
        assert!(!answers(), "the stint that was closed goes on");
        keeper.follow_stint(Stint(12));
        assert!(answers());
        keeper.open(WEB, Generation(0));
        assert!(!answers());
        keeper.open(WEB, Generation(4));
        keeper.end_lease();
        keeper.reopen();
        assert!(!answers(), "fast is dead, and a truncated removal opens nothing");
        fast.set_lease_end(Instant(system::now().0 - 1));
        assert!(!answers(), "the lease is over, and nobody did anything");
    });
}

#[test]
fn what_another_tool_takes_away_is_put_back_and_told() {
    in_namespace(|| {
        let (_fast, keeper, wake) = keeper();
        assert!(run("tc qdisc del dev lo clsact"));
        let state = news(&keeper, &wake);
        assert_eq!((state.lack.as_deref(), state.last_cure.as_str()), (None, "lo"));
        assert!(state.cured >= 1);
        assert!(!answers());
        // What comes later gets it too, and nobody is alarmed by that; but by its loss there.
        assert!(run("ip link add new0 type bridge"));
        let new = |it: &gate::Interface| it.name == "new0";
        let new = Tc::open().unwrap().interfaces().unwrap().into_iter().find(new).unwrap();
        while !is_whole(&new) {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        assert!(run("tc qdisc del dev new0 clsact"));
        assert_eq!(news(&keeper, &wake).last_cure, "new0");
    });
}

#[test]
fn a_stop_in_good_order_frees_the_address_and_any_other_end_leaves_it_closed() {
    in_namespace(|| {
        let (_fast, killed, _wake) = keeper();
        killed.end(false).unwrap();
        assert!(!answers());
        let (_fast, orderly, _wake) = keeper();
        orderly.end(true).unwrap();
        assert!(answers());
        // A configuration without addresses takes away what an earlier life left.
        let (_fast, killed, _wake) = keeper();
        killed.end(false).unwrap();
        assert!(!answers());
        let none = Gatekeeper::begin(None, &[Vec::new()], GateSockets::None);
        assert_eq!(none.state(), GateState::default());
        assert!(answers());
        let mut tc = Tc::open().unwrap();
        assert!(!tc.interfaces().unwrap().is_empty());
    });
}

#[test]
fn a_machine_without_a_gate_says_so() {
    in_namespace(|| {
        let addresses: Vec<IpAddr> = vec![ADDRESS.parse().unwrap()];
        let none = Gatekeeper::begin(None, &[addresses], GateSockets::None);
        assert!(none.state().lack.is_some_and(|lack| lack.contains("cannot load it")));
    });
}
