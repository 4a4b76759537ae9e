//! Starts that cannot succeed: one clear message with the remedy, the documented exit code, nothing
//! changed.

use crate::Test;
use base::Duration;
use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;
use testbed::cluster::Cluster;
use testbed::error::{Context, Result, run};
use testbed::hold;
use testbed::process::Process;
use testbed::programs::Programs;
use testbed::spec::{PORT_BEATS, Spec};
use testbed::suite::Verdict;
use testbed::topology::FLOATING;

pub(crate) const TESTS: &[Test] = &[
    Test { name: "start-bad-config", run: |programs| refused(programs, &BAD_CONFIG) },
    Test { name: "start-key-missing", run: |programs| refused(programs, &KEY_MISSING) },
    Test { name: "start-key-readable-by-all", run: |programs| refused(programs, &KEY_OPEN) },
    Test { name: "start-beat-port-taken", run: |programs| refused(programs, &BEATS_TAKEN) },
    Test { name: "start-agreement-port-taken", run: |programs| refused(programs, &TALK_TAKEN) },
    Test { name: "start-no-privilege", run: |programs| refused(programs, &NO_PRIVILEGE) },
    Test { name: "start-unknown-name", run: |programs| refused(programs, &UNKNOWN_NAME) },
    Test { name: "start-wrong-machine", run: |programs| refused(programs, &WRONG_MACHINE) },
    Test { name: "start-map-unusable", run: |programs| refused(programs, &MAP_UNUSABLE) },
    Test { name: "start-twice", run: start_twice },
    Test { name: "map-truncated", run: map_truncated },
];

/// nobody.
const NOBODY: u32 = 65_534;

/// A start that must be refused.
struct Refusal {
    /// What is made wrong before; what it returns is held until the daemon has ended.
    spoil: fn(&Cluster) -> Result<Option<UdpSocket>>,
    /// The name that the daemon is given.
    name: &'static str,
    user: Option<u32>,
    code: i32,
    /// Words that the message must have (in any case).
    says: &'static [&'static str],
}

const BAD_CONFIG: Refusal = Refusal {
    spoil: |cluster| {
        let file = cluster.files(1).config;
        let text = fs::read_to_string(&file).context("config")?;
        let text = text.replace("heartbeat_interval", "heartbeat_intervall");
        fs::write(&file, text.replace("\"floating\"", "17")).context("config").map(|()| None)
    },
    name: "n1",
    user: None,
    code: 2,
    says: &["netguard.toml:", "heartbeat_interval", "name"],
};
const KEY_MISSING: Refusal = Refusal {
    spoil: |cluster| fs::remove_file(cluster.key()).context("key").map(|()| None),
    name: "n1",
    user: None,
    code: 2,
    says: &["cluster.key", "ng key new"],
};
const KEY_OPEN: Refusal = Refusal {
    spoil: |cluster| {
        let open = Permissions::from_mode(0o644);
        fs::set_permissions(cluster.key(), open).context("key").map(|()| None)
    },
    name: "n1",
    user: None,
    code: 2,
    says: &["cluster.key", "chmod"],
};
const BEATS_TAKEN: Refusal = Refusal {
    spoil: |cluster| take(cluster, PORT_BEATS).map(Some),
    name: "n1",
    user: None,
    code: 3,
    says: &["5800"],
};
const TALK_TAKEN: Refusal = Refusal {
    spoil: |cluster| take(cluster, PORT_BEATS + 1).map(Some),
    name: "n1",
    user: None,
    code: 3,
    says: &["5801"],
};
const NO_PRIVILEGE: Refusal = Refusal {
    // Everything that file permissions can give is given; what is missing is the privilege.
    spoil: |cluster| {
        let files = cluster.files(1);
        let key = cluster.key().to_owned();
        for path in [files.run_dir, files.state_dir, key] {
            chown(&path, Some(NOBODY), Some(NOBODY)).context(path.display().to_string())?;
        }
        Ok(None)
    },
    name: "n1",
    user: Some(NOBODY),
    code: 4,
    says: &["CAP_NET_ADMIN"],
};
const UNKNOWN_NAME: Refusal =
    Refusal { spoil: |_| Ok(None), name: "n11", user: None, code: 2, says: &["n11", "--node"] };
const WRONG_MACHINE: Refusal =
    Refusal { spoil: |_| Ok(None), name: "n2", user: None, code: 2, says: &["10.77.1.2"] };
const MAP_UNUSABLE: Refusal = Refusal {
    spoil: |cluster| fs::create_dir(cluster.files(1).map()).context("map").map(|()| None),
    name: "n1",
    user: None,
    code: 5,
    says: &["map"],
};

fn take(cluster: &Cluster, port: u16) -> Result<UdpSocket> {
    let node = cluster.bed().topology().node(1);
    node.inside(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).context("taking the port"))
}

/// A daemon that is started as it is, its end, and what it said.
fn attempt(cluster: &Cluster, refusal: &Refusal) -> Result<(Option<i32>, String)> {
    let files = cluster.files(1);
    let mut command = Command::new(cluster.bed().programs().path("netguard-fast")?);
    command.arg("--config").arg(&files.config).args(["--node", refusal.name]);
    command.arg("--run-dir").arg(&files.run_dir).arg("--state-dir").arg(&files.state_dir);
    let log = cluster.bed().topology().run().dir().join("refused.log");
    let node = cluster.bed().topology().node(1);
    let mut process = Process::start_as(refusal.user, node, command, &log)?;
    let status = process.wait(Duration::from_millis(10_000));
    process.signal(libc::SIGKILL);
    Ok((status.and_then(|it| it.code()), process.last_words(40)))
}

fn refused(programs: &Programs, refusal: &Refusal) -> Result<Verdict> {
    let cluster = Cluster::prepare(Spec::default(), programs)?;
    // For nobody: the way to the files must be open. (Nothing secret is in them but the key.)
    let held = (refusal.spoil)(&cluster)?;
    let before = state(&cluster);
    let (code, said) = attempt(&cluster, refusal)?;
    drop(held);
    hold!(code == Some(refusal.code), "exit code {code:?}, not {}; it said:\n{said}", refusal.code);
    for word in refusal.says {
        let has = said.to_lowercase().contains(&word.to_lowercase());
        hold!(has, "the message has no {word:?}:\n{said}");
    }
    hold!(!said.contains("panicked"), "it panicked:\n{said}");
    let lines = said.lines().filter(|line| line.contains("error")).count();
    hold!(lines <= 3, "{lines} errors instead of one message:\n{said}");
    let after = state(&cluster);
    hold!(before == after, "something changed: {before:?}, {after:?}");
    Ok(Verdict::Pass)
}

/// What a refused start must leave as it was: the node's addresses, and nobody running.
fn state(cluster: &Cluster) -> (Vec<i32>, bool, bool) {
    let node = cluster.bed().topology().node(1);
    let list = run(Command::new("ip").args(["-n", node.name(), "address"])).unwrap_or_default();
    let own = list.contains("10.77.1.1/24");
    (node.processes(), own, list.contains(&FLOATING.to_string()))
}

fn start_twice(programs: &Programs) -> Result<Verdict> {
    let mut cluster = Cluster::start(Spec::default(), programs)?;
    let before = cluster.settle()?;
    let second = Refusal { spoil: |_| Ok(None), name: "n1", user: None, code: 5, says: &[] };
    let (code, said) = attempt(&cluster, &second)?;
    hold!(matches!(code, Some(3 | 5)), "exit code {code:?}; it said:\n{said}");
    hold!(said.contains("run"), "it does not say what is in use:\n{said}");
    let after = cluster.settle()?;
    hold!(before == after, "the running node was disturbed: {before:?}, {after:?}");
    Ok(Verdict::Pass)
}

/// A map cut short while nobody runs: tools say so, and the next start makes a new one.
fn map_truncated(programs: &Programs) -> Result<Verdict> {
    let mut cluster = Cluster::prepare(Spec::default(), programs)?;
    fs::write(cluster.files(1).map(), "NGMAP").context("map")?;
    let mut command = Command::new(programs.path("ng")?);
    command.arg("--run-dir").arg(cluster.files(1).run_dir).arg("stat");
    let output = command.output().context("ng")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    hold!(!output.status.success(), "ng stat calls a truncated map good");
    hold!(said.contains("map") && !said.contains("panicked"), "ng stat says:\n{said}");
    for node in cluster.ids() {
        cluster.start_node(node)?;
    }
    cluster.settle()?;
    Ok(Verdict::Pass)
}
