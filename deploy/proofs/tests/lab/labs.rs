//! The lab itself: what a test relies on.

use crate::Test;
use crate::arena::Arena;
use base::Duration;
use lab::error::Context;
use lab::spec::{BMC_PASSWORD, BMC_USER, STORAGE};
use lab::{Lab, Result};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration as Limit;
use testbed::hold;
use testbed::os;
use testbed::suite::Verdict;

pub(crate) const TESTS: &[Test] = &[
    Test { name: "lab-nodes-reach-each-other", run: nodes_reach_each_other },
    Test { name: "lab-channel-carries-everything", run: channel_carries_everything },
    Test { name: "lab-bmc-works-the-power", run: bmc_works_the_power },
    Test { name: "lab-clocks-and-stalls", run: clocks_and_stalls },
    Test { name: "lab-two-side-by-side", run: two_side_by_side },
    Test { name: "lab-killed-leaves-nothing", run: killed_leaves_nothing },
];

fn nodes_reach_each_other(arena: &Arena) -> Result<Verdict> {
    let lab = arena.start(&arena.pair())?;
    for node in &lab.spec().nodes {
        for bridge in 0..2 {
            for other in &lab.spec().nodes {
                let address = other.address(bridge);
                let ping = format!("ping -q -c 1 -i 0.2 -w 3 {address}");
                lab.node(&node.name).sh(&ping)?;
            }
        }
    }
    lab.node("a").link(STORAGE, false)?;
    let cut = lab.node("b").run(&["ping", "-q", "-c", "1", "-W", "1", "10.20.1.1"])?;
    hold!(cut.success().is_err(), "the cable is out, and b reaches a over it");
    let cut = lab.node("a").run(&["ping", "-q", "-c", "1", "-W", "1", "10.20.1.2"])?;
    hold!(cut.success().is_err(), "the cable is out, and a reaches b over it");
    lab.node("b").sh("ping -q -c 1 -W 2 10.20.0.1")?;
    lab.node("a").link(STORAGE, true)?;
    lab.node("b").sh("ping -q -c 1 -i 0.2 -w 3 10.20.1.1")?;
    Ok(Verdict::Pass)
}

fn channel_carries_everything(arena: &Arena) -> Result<Verdict> {
    let lab = arena.start(&arena.single(&[]))?;
    let node = lab.node("a");
    // Two megabytes there and back, while another command talks.
    let mut chatter = node.spawn(&["sh", "-c", "while :; do echo chatter; done"])?;
    let text: String = (0..40_000).map(|number| format!("line {number:>40}\n")).collect();
    let mut cat = node.spawn(&["cat"])?;
    for piece in text.as_bytes().chunks(64 * 1024) {
        cat.write(piece)?;
    }
    cat.end_input()?;
    let back = cat.wait(Limit::from_secs(60))?;
    hold!(back.stdout == text, "{} bytes there, {} back", text.len(), back.stdout.len());
    hold!(chatter.next_line(Limit::from_secs(5)).is_some(), "the other command said nothing");
    chatter.signal(libc::SIGKILL)?;
    let end = chatter.wait(Limit::from_secs(10))?;
    hold!(end.ended == lab::message::Ended::Signal(libc::SIGKILL), "it ended by {}", end.ended);
    let failed = node.run(&["sh", "-c", "echo said >&2; exit 7"])?;
    hold!(failed.ended == lab::message::Ended::Code(7), "exit code 7 became {}", failed.ended);
    hold!(failed.stderr == "said\n", "its errors became {:?}", failed.stderr);
    let missing = node.run(&["no-such-program"]);
    hold!(missing.is_err_and(|it| it.to_string().contains("no-such-program")), "it was started");
    Ok(Verdict::Pass)
}

fn bmc_works_the_power(arena: &Arena) -> Result<Verdict> {
    let lab = arena.start(&arena.pair().only(&["a", "b"]))?;
    let chassis = |order: &str| {
        let of = lab.spec().node("a").map(lab::NodeSpec::bmc_address).unwrap_or_default();
        lab.node("b").sh(&format!(
            "ipmitool -I lanplus -C 3 -H {of} -U {BMC_USER} -P {BMC_PASSWORD} chassis power {order}"
        ))
    };
    hold!(chassis("status")?.contains("is on"), "the BMC does not see a running node");
    chassis("off")?;
    hold!(!lab.node("a").is_on()?, "switched off by its BMC, and runs");
    hold!(chassis("status")?.contains("is off"), "the BMC does not read its power back");
    chassis("on")?;
    lab.node("a").power_on()?; // waits until it is up
    lab.node("a").sh("true")?;
    let boots = lab.nodes()?.first().map(|node| node.boots);
    hold!(boots == Some(2), "two boots are {boots:?}");
    Ok(Verdict::Pass)
}

fn clocks_and_stalls(arena: &Arena) -> Result<Verdict> {
    let lab = arena.start(&arena.single(&[]))?;
    let node = lab.node("a");
    let clock = node.clock()?;
    hold!(clock.error < 5_000_000, "the clock is known to {} ns only", clock.error);
    let before = os::now();
    // A reader of its own clock that cannot be right unless the offset is.
    let text = node.sh("cut -d' ' -f1 /proc/uptime")?;
    let after = os::now();
    let seconds: f64 = text.trim().parse().unwrap_or(f64::NAN);
    let there = clock.to_host((seconds * 1e9) as u64);
    let tick = 20_000_000; // two ticks: uptime is told in hundredths
    hold!(
        there + tick > before.0 && there < after.0 + tick,
        "the node read its clock at {there}, between {} and {}",
        before.0,
        after.0
    );
    // A stopped machine is a stalled one, and its meter says so when it runs again.
    let from = os::now();
    node.freeze(Duration::from_millis(300))?;
    let to = os::now();
    let stall = node.stall(from, to, Duration::from_millis(100))?;
    let length = stall.map(|(from, to)| to.since(from).millis()).unwrap_or_default();
    hold!((200..2_000).contains(&length), "stopped for 300 ms, the meter saw {length} ms");
    Ok(Verdict::Pass)
}

fn two_side_by_side(arena: &Arena) -> Result<Verdict> {
    let (first, second) = (arena.pair().only(&["a"]), arena.pair().only(&["a"]));
    let (one, two) = (arena.start(&first)?, arena.start(&second)?);
    let again = Lab::start(&first);
    hold!(again.is_err(), "two labs of one name");
    two.node("a").sh("ip address add 10.20.0.77/24 dev eth0")?;
    let ping = one.node("a").run(&["ping", "-q", "-c", "1", "-W", "1", "10.20.0.77"])?;
    hold!(ping.success().is_err(), "one lab reaches into the other");
    one.node("a").power_off(1)?;
    two.node("a").sh("ping -q -c 1 10.20.0.1")?;
    Ok(Verdict::Pass)
}

/// The owner of a lab dies as hard as can be: process, namespaces, mounts and folder are gone.
fn killed_leaves_nothing(arena: &Arena) -> Result<Verdict> {
    let spec = arena.pair().only(&["a", "b"]);
    let mut owner = Command::new(spec.programs.join("netguard-lab"));
    owner.args(["--lab", &spec.name, "up", "--hold", "--cache"]).arg(arena.cache());
    owner.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut owner = owner.spawn().context("netguard-lab")?;
    let mut said = owner.stdout.take().map(|out| BufReader::new(out).lines());
    // It says where its nodes are once all are up.
    let up = said.as_mut().and_then(Iterator::next);
    hold!(up.is_some_and(|line| line.is_ok()), "the lab did not come up");
    let folder = Lab::attach(&spec.name)?.share().parent().map(Path::to_owned);
    let folder = folder.unwrap_or_default();
    let name = format!("/{}/", spec.name);
    hold!(folder.is_dir() && !processes_of(&name).is_empty(), "no lab in {}", folder.display());
    // SIGKILL: nothing of the owner runs any more, only the kernel.
    owner.kill().context("the owner")?;
    owner.wait().context("the owner")?;
    let end = os::now() + Duration::from_millis(10_000);
    while folder.exists() && os::now() < end {
        os::sleep(Duration::from_millis(10));
    }
    hold!(!folder.exists(), "{} is still there", folder.display());
    let left = processes_of(&name);
    hold!(left.is_empty(), "still running: {}", left.join("; "));
    Lab::start(&spec).map(drop)?;
    Ok(Verdict::Pass)
}

/// Command lines of this machine that have a word in them.
fn processes_of(word: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir("/proc") else { return vec![] };
    entries
        .flatten()
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(word))
        .collect()
}
