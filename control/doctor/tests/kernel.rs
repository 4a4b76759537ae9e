//! Samples against the running kernel: the rehearsals, and two nodes joined by a cable.
//!
//! Needs root. Each test makes network namespaces of its own, which go with its threads.

use base::Duration;
use doctor::{
    Asked, Finding, Grade, Rehearsed, Request, examine, rehearse_gate, rehearse_takeover,
};
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use wire::{ClusterId, Header, Incarnation, Kind, Life, LinkId, NodeId, Nonce, Seal, Seq};

fn as_root() {
    // SAFETY: takes nothing, cannot fail.
    let root = unsafe { libc::geteuid() } == 0;
    assert!(root, "this test makes namespaces and loads eBPF: run it as root");
}

fn run(line: &str) {
    let mut words = line.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

fn new_network() {
    // SAFETY: no memory is passed; moves only this thread.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0);
}

/// The kernel tells of a carrier up to a second late.
fn until_up(interface: &str) {
    let began = std::time::Instant::now();
    while began.elapsed() < std::time::Duration::from_secs(5) {
        let shown = Command::new("ip").args(["-o", "link", "show", interface]).output().unwrap();
        if String::from_utf8_lossy(&shown.stdout).contains("state UP") {
            return;
        }
    }
    panic!("{interface} has no carrier");
}

#[test]
fn this_kernel_s_gate_opens_and_closes() {
    as_root();
    let good = Rehearsed { open: true, closed: false, leased: true, expired: false };
    // A busy machine may be late for the short lease; it must never be late in closing.
    let rehearsed = rehearse_gate().unwrap();
    assert_eq!(Rehearsed { leased: true, ..rehearsed }, good);
}

#[test]
fn a_takeover_is_rehearsed_twenty_times_for_each_family() {
    as_root();
    for address in [None, Some(("fd07::64".parse().unwrap(), 64))] {
        let times = rehearse_takeover(address).unwrap();
        assert_eq!(times.len(), 20);
        assert!(times[0] > Duration::ZERO && times.is_sorted());
        println!("{address:?}: p50 {:?}, longest {:?}", times[10], times[19]);
    }
}

/// What the peer does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Peer {
    Multicasts,
    /// As behind a switch that forgot the group: only what is sent to us alone arrives.
    OnlyUnicasts,
    /// With another netguard.toml.
    IsConfiguredOtherwise,
    IsSilent,
    /// No daemon there either, but a doctor at the same time.
    Examines,
}

const CONFIG: &str = r#"
[cluster]
name = "doctor"
key_file = "key"
[[link]]
name = "blue"
mode = "multicast"
group = "239.255.77.9"
port = 5800
[[node]]
id = 1
name = "n1"
addresses = ["10.79.0.1"]
[[node]]
id = 2
name = "n2"
addresses = ["10.79.0.2"]
[[node]]
id = 3
name = "n3"
addresses = ["10.79.0.3"]
witness = true
"#;

/// What carries the beats.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Over {
    Ipv4,
    Ipv6,
    Ethernet,
}

fn config_text(over: Over) -> String {
    match over {
        Over::Ipv4 => CONFIG.into(),
        Over::Ipv6 => CONFIG.replace("239.255.77.9", "ff02::4e47").replace("10.79.0.", "fd79::"),
        Over::Ethernet => CONFIG.replace("port =", "frames = \"ethernet\"\nport ="),
    }
}

/// A folder with configuration and key, gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str, over: Over) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let folder = std::env::temp_dir().join(format!("ng-doctor-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("netguard.toml"), config_text(over)).unwrap();
        std::fs::write(folder.join("key"), "0a1b2c3d".repeat(8)).unwrap();
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(folder.join("key"), private).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Examines n1, while n2 at the other end of a cable with `mtu` does what `peer` says.
fn examined(peer: Peer, mtu: u32) -> Vec<Finding> {
    examined_over(Over::Ipv4, peer, mtu)
}

fn examined_over(over: Over, peer: Peer, mtu: u32) -> Vec<Finding> {
    as_root();
    let folder = Folder::new(&format!("{peer:?}-{mtu}-{over:?}"), over);
    let address = |n: u8| {
        if over == Over::Ipv6 { format!("fd79::{n}/64 nodad") } else { format!("10.79.0.{n}/24") }
    };
    let done = AtomicBool::new(false);
    let (mine, here) = mpsc::channel();
    let (ready, plugged) = mpsc::channel();
    std::thread::scope(|scope| {
        let (done, folder) = (&done, &folder);
        scope.spawn(move || {
            new_network();
            // SAFETY: takes nothing, cannot fail.
            mine.send(unsafe { libc::gettid() }).unwrap();
            plugged.recv().unwrap();
            run("ip link set lo up");
            run(&format!("ip addr add {} dev ngd1", address(2)));
            run(&format!("ip link set ngd1 mtu {mtu} up"));
            if peer == Peer::Examines {
                until_up("ngd1");
                assert_eq!(examine(&request(folder)).node.as_deref(), Some("n2"));
            } else {
                speak(over, peer, done);
            }
        });
        let report = scope.spawn(move || {
            new_network();
            run("ip link add ngd0 type veth peer name ngd1");
            run(&format!("ip link set ngd1 netns {}", here.recv().unwrap()));
            run("ip link set lo up");
            run(&format!("ip addr add {} dev ngd0", address(1)));
            run("ip link set ngd0 up");
            ready.send(()).unwrap();
            until_up("ngd0");
            let report = examine(&request(folder));
            done.store(true, Ordering::SeqCst);
            assert_eq!(report.node.as_deref(), Some("n1"), "{report:?}");
            report.findings
        });
        report.join().unwrap()
    })
}

/// An examination that is short, of a machine without daemons.
fn request(folder: &Folder) -> Request {
    Request {
        config: folder.0.join("netguard.toml"),
        node: None,
        listen: Duration::from_millis(1_500),
        measure: Duration::from_millis(100),
        asked: Asked {
            status: Err("no daemon in this test".into()),
            failovers: api::Failovers::default(),
            counters: Default::default(),
            pid: None,
        },
    }
}

/// Sends a beat every 10 ms, as n2.
fn speak(over: Over, peer: Peer, done: &AtomicBool) {
    let (config, _) = config::parse("test", &config_text(over)).unwrap_or_else(|e| panic!("{e}"));
    let other = u32::from(peer == Peer::IsConfiguredOtherwise);
    let seal = Seal {
        cluster: ClusterId(config.cluster_id()),
        key: [0x0a, 0x1b, 0x2c, 0x3d].repeat(8).try_into().unwrap(),
        key_id: config::KEY_ID,
        config_hash: config.frame_hash() ^ other,
        level: 1,
    };
    let to = |address: &str| address.parse::<SocketAddr>().unwrap();
    let (own, alone, mut group) = if over == Over::Ipv6 {
        (to("[fd79::2]:0"), to("[fd79::1]:5800"), to("[ff02::4e47]:5800"))
    } else {
        (to("10.79.0.2:0"), to("10.79.0.1:5800"), to("239.255.77.9:5800"))
    };
    if let SocketAddr::V6(group) = &mut group {
        // SAFETY: a text that ends with zero.
        group.set_scope_id(unsafe { libc::if_nametoindex(c"ngd1".as_ptr()) });
    }
    let socket = UdpSocket::bind(own).unwrap();
    let to = if peer == Peer::OnlyUnicasts { alone } else { group };
    let from = Life { node: NodeId::new(2).unwrap(), incarnation: Incarnation(1) };
    let mut buffer = [0; 256];
    for number in 1.. {
        if done.load(Ordering::SeqCst) {
            return;
        }
        let (link, kind, nonce) = (LinkId(0), Kind::Beat, Nonce(1));
        let header = Header { kind, from, nonce, link, seq: Seq(number) };
        let frame = wire::frame::seal(&seal, &header, &[0; 48], &mut buffer).unwrap();
        if peer != Peer::IsSilent {
            // The other end may not be up yet.
            let _ = socket.send_to(frame, to);
        }
        std::thread::park_timeout(std::time::Duration::from_millis(10));
    }
}

fn grade(findings: &[Finding], check: &str, subject: &str) -> Option<Grade> {
    let found = findings.iter().find(|it| it.check == check && it.subject == subject);
    found.map(|finding| finding.grade)
}

#[test]
fn a_cable_that_passes_everything_is_fine() {
    let found = examined(Peer::Multicasts, 1500);
    for (check, subject) in [
        ("configuration", ""),
        ("key", ""),
        ("interface", "blue"),
        ("mtu", "blue"),
        ("peer-reached", "blue n2"),
        ("path-mtu", "blue n2"),
        ("fragments", "blue n2"),
        ("peer-heard", "blue n2"),
        ("gate-rehearsal", ""),
        ("votes", ""),
    ] {
        let grade = grade(&found, check, subject);
        assert_eq!(grade, Some(Grade::Ok), "{check} {subject}: {found:#?}");
    }
    assert_eq!(grade(&found, "peer-reached", "blue n3"), Some(Grade::Warning), "nobody is there");
    assert_eq!(grade(&found, "peer-heard", "blue n3"), Some(Grade::Notice));
}

#[test]
fn ipv6_is_as_good() {
    let found = examined_over(Over::Ipv6, Peer::Multicasts, 1500);
    for check in ["peer-reached", "path-mtu", "fragments", "peer-heard"] {
        assert_eq!(grade(&found, check, "blue n2"), Some(Grade::Ok), "{check}: {found:#?}");
    }
    let found = examined_over(Over::Ipv6, Peer::Examines, 1300);
    assert_eq!(grade(&found, "peer-heard", "blue n2"), Some(Grade::Ok), "{found:#?}");
}

#[test]
fn a_group_that_does_not_pass_is_told_from_a_peer_that_is_silent() {
    let found = examined(Peer::OnlyUnicasts, 1500);
    assert_eq!(grade(&found, "peer-heard", "blue n2"), Some(Grade::Failure), "{found:#?}");
    let found = examined(Peer::IsSilent, 1500);
    assert_eq!(grade(&found, "peer-heard", "blue n2"), Some(Grade::Notice), "{found:#?}");
    assert_eq!(grade(&found, "peer-reached", "blue n2"), Some(Grade::Ok));
}

#[test]
fn two_doctors_hear_each_other_before_any_daemon_runs() {
    let found = examined(Peer::Examines, 1500);
    assert_eq!(grade(&found, "peer-heard", "blue n2"), Some(Grade::Ok), "{found:#?}");
}

#[test]
fn on_a_link_of_ethernet_frames_that_ethertype_is_heard_and_udp_is_not() {
    let found = examined_over(Over::Ethernet, Peer::Examines, 1500);
    assert_eq!(grade(&found, "peer-heard", "blue n2"), Some(Grade::Ok), "{found:#?}");
    // Beats by UDP are not those of this link.
    let found = examined_over(Over::Ethernet, Peer::Multicasts, 1500);
    assert_eq!(grade(&found, "peer-heard", "blue n2"), Some(Grade::Notice), "{found:#?}");
}

#[test]
fn a_peer_with_another_configuration_is_named() {
    let found = examined(Peer::IsConfiguredOtherwise, 1500);
    assert_eq!(grade(&found, "same-configuration", "blue n2"), Some(Grade::Failure), "{found:#?}");
}

#[test]
fn a_smaller_hop_is_found_though_small_packets_pass() {
    let found = examined(Peer::Multicasts, 900);
    assert_eq!(grade(&found, "peer-reached", "blue n2"), Some(Grade::Ok), "{found:#?}");
    assert_eq!(grade(&found, "path-mtu", "blue n2"), Some(Grade::Warning), "{found:#?}");
}
