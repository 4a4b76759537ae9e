//! Two services crosswise on two nodes, a client that works on both, and a second client that tries
//! to take the first one's locks.

use lab::error::Context;
use lab::{Lab, LabError, Result, Running};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};
use testbed::os;

/// The services; the name is also that of the DRBD resource.
pub(crate) const SERVICES: [&str; 2] = ["s1", "s2"];
/// The storage nodes.
pub(crate) const NODES: [&str; 2] = ["a", "b"];
/// Both versions, as in the names of the mounts.
pub(crate) const VERSIONS: [&str; 2] = ["v3", "v4"];
const INSTANCE: [&str; 3] = ["netguard-proof", "nfsd", "instance"];
const LIMIT: Duration = Duration::from_secs(30);
/// A resync of everything fits.
const SYNC_SECONDS: u32 = 60;

/// Both services on both nodes.
pub(crate) struct Bed<'a> {
    pub(crate) lab: &'a Lab,
    instances: BTreeMap<(&'static str, &'static str), Running>,
    /// What instances reported unasked: node, service, report.
    news: Vec<(&'static str, &'static str, Value)>,
    /// Whether the second client has mounted the services.
    pub(crate) has_second: bool,
}

/// The number of a service or node: the last part of its address.
pub(crate) fn number(name: &str) -> usize {
    let all = [SERVICES, NODES].concat();
    all.iter().position(|it| *it == name).map_or(0, |place| place % 2 + 1)
}

/// The address of a service.
pub(crate) fn address(service: &str) -> String {
    format!("10.20.0.{}", 100 + number(service))
}

/// The other storage node.
pub(crate) fn other(node: &str) -> &'static str {
    if node == "a" { "b" } else { "a" }
}

/// Where a client has a service mounted by a version.
pub(crate) fn mount(service: &str, version: &str) -> String {
    format!("/mnt/{service}-{version}")
}

impl<'a> Bed<'a> {
    /// Volumes made, all four instances standing by, nobody owner.
    pub(crate) fn prepare(lab: &'a Lab) -> Result<Self> {
        fs::write(lab.share().join("nfsd-drbd.conf"), configuration()).context("drbd.conf")?;
        let mut bed = Self { lab, instances: BTreeMap::new(), news: vec![], has_second: false };
        for node in NODES {
            bed.modules(node)?;
            bed.lab
                .node(node)
                .sh("drbdadm create-md --force all 2>&1 | tail -5; drbdadm up all")?;
        }
        // Both disks are empty alike: there is nothing to copy first.
        let a = lab.node("a");
        a.sh("drbdadm wait-connect all && sleep 1")?;
        for (service, minor) in SERVICES.iter().zip(1..) {
            a.sh(&format!(
                "drbdadm new-current-uuid --clear-bitmap {service}/0; drbdadm primary {service}; \
                 mkfs.ext4 -q -b 4096 -J size=4 /dev/drbd{minor}; drbdadm secondary {service}"
            ))?;
        }
        for node in NODES {
            bed.instances_of(node)?;
        }
        Ok(bed)
    }

    fn modules(&self, node: &str) -> Result<()> {
        self.lab
            .node(node)
            .sh("cp /lab/share/nfsd-drbd.conf /etc/drbd.conf; mkdir -p /run/lock; \
             dmesg -n 8; modprobe drbd usermode_helper=/bin/true; modprobe nfsd; modprobe macvlan")?;
        Ok(())
    }

    fn instances_of(&mut self, node: &'static str) -> Result<()> {
        for service in SERVICES {
            self.instances.remove(&(node, service));
            let (id, peer) = (number(node), number(other(node)));
            let port = 7700 + number(service);
            let words = format!(
                "--service {service} --parent eth0 --address {} --minor {} --fsid {} \
                 --client 10.20.0.3 --client 10.20.0.4 --client 10.20.0.{peer} --listen 10.20.0.{id}:{port} \
                 --tell 10.20.0.{peer}:{port}",
                address(service),
                number(service),
                100 + number(service)
            );
            let words: Vec<&str> = INSTANCE.into_iter().chain(words.split(' ')).collect();
            let running = self.lab.node(node).spawn(&words)?;
            match running.next_line(LIMIT) {
                Some(line) if line.contains("ready") => {}
                _ => return Err(silent(&running, "that it is ready")),
            }
            self.instances.insert((node, service), running);
            self.order(node, service, "hold")?;
        }
        Ok(())
    }

    /// Gives an order and returns what the instance answers.
    pub(crate) fn order(
        &mut self,
        node: &'static str,
        service: &'static str,
        order: &str,
    ) -> Result<Value> {
        self.send(node, service, order)?;
        self.answer(node, service, order)
    }

    /// Gives an order without waiting for it.
    pub(crate) fn send(&mut self, node: &str, service: &str, order: &str) -> Result<()> {
        self.instance(node, service)?.write(format!("{order}\n").as_bytes())
    }

    /// Waits for the answer to an order.
    pub(crate) fn answer(
        &mut self,
        node: &'static str,
        service: &'static str,
        order: &str,
    ) -> Result<Value> {
        loop {
            let running = self.instance(node, service)?;
            let line = running.next_line(LIMIT).ok_or_else(|| silent(running, order))?;
            let told: Value = serde_json::from_str(&line)
                .map_err(|error| LabError::Channel(format!("{line}: {error}")))?;
            if told["order"].is_null() {
                self.news.push((node, service, told));
            } else if told["failed"].is_null() {
                return Ok(told["done"].clone());
            } else {
                return Err(LabError::Refused(format!("{service} on {node}: {told}")));
            }
        }
    }

    fn instance(&mut self, node: &str, service: &str) -> Result<&mut Running> {
        let found = self.instances.iter_mut().find(|((n, s), _)| *n == node && *s == service);
        found
            .map(|(_, running)| running)
            .ok_or_else(|| LabError::Refused(format!("{service} has no instance on {node}")))
    }

    /// What instances complained of.
    pub(crate) fn troubles(&self) -> String {
        let bad = self.news.iter().filter(|(_, _, told)| told["news"] == "trouble");
        let lines =
            bad.map(|(node, service, told)| format!("{service} on {node}: {}", told["what"]));
        lines.collect::<Vec<_>>().join("; ")
    }

    /// Stops or continues an instance's process.
    pub(crate) fn signal(&mut self, node: &str, service: &str, signal: i32) -> Result<()> {
        self.instance(node, service)?.signal(signal)
    }

    /// What an instance says about itself.
    pub(crate) fn status(&mut self, node: &'static str, service: &'static str) -> Result<Value> {
        self.order(node, service, "status")
    }

    /// Waits until a condition of an instance's status holds.
    pub(crate) fn until(
        &mut self,
        node: &'static str,
        service: &'static str,
        holds: impl Fn(&Value) -> bool,
    ) -> Result<Duration> {
        let begin = Instant::now();
        while !holds(&self.status(node, service)?) {
            if begin.elapsed() > LIMIT {
                let status = self.status(node, service)?;
                return Err(LabError::Refused(format!("{service} on {node} stays at {status}")));
            }
            os::sleep(base::Duration::from_millis(20));
        }
        Ok(begin.elapsed())
    }

    /// The power of a storage node is back: instances stand by, volumes are equal.
    pub(crate) fn revive(&mut self, node: &'static str) -> Result<()> {
        self.lab.node(node).power_on()?;
        self.modules(node)?;
        self.lab.node(node).sh("drbdadm up all")?;
        self.lab.node(other(node)).sh("drbdadm connect all 2>/dev/null || true")?;
        self.wait_for_copies()?;
        self.instances_of(node)
    }

    /// Both copies of both volumes are up to date.
    pub(crate) fn wait_for_copies(&self) -> Result<()> {
        self.lab.node("a").sh(&format!(
            "for i in $(seq {}); do [ $(grep -c 'cs:Connected.*ds:UpToDate/UpToDate' /proc/drbd) \
             = 2 ] && exit 0; sleep 0.1; done; cat /proc/drbd >&2; exit 1",
            SYNC_SECONDS * 10
        ))?;
        Ok(())
    }

    /// Mounts both services by both versions at a client.
    pub(crate) fn mount(&self, client: &str) -> Result<()> {
        let node = self.lab.node(client);
        node.sh("modprobe nfs; mkdir -p /run/rpcbind; rpcbind; rpc.statd")?;
        for service in SERVICES {
            let server = address(service);
            let (v3, v4) = (mount(service, "v3"), mount(service, "v4"));
            node.sh(&format!(
                "mkdir -p {v3} {v4}; mount -t nfs -o vers=4.1,hard {server}:/ {v4}; \
                 mount -t nfs -o vers=3,hard,mountproto=udp {server}:/srv/{service}/data {v3}"
            ))?;
        }
        Ok(())
    }

    /// Starts the client's work on all four mounts.
    pub(crate) fn work(&self) -> Result<Running> {
        let folders: Vec<String> = mounts().map(|(s, v)| folder(s, v)).collect();
        let mut words = vec!["netguard-proof", "nfsd", "work", "--out", "/lab/share/nfsd-history"];
        words.extend(folders.iter().map(String::as_str));
        let work = self.lab.node("c").spawn(&words)?;
        match work.next_line(LIMIT) {
            Some(line) if line == "running" => Ok(work),
            _ => Err(silent(&work, "that it is running")),
        }
    }

    /// Locks of `c` that `w` could take, which must be none.
    pub(crate) fn lost_locks(&mut self) -> Result<Vec<String>> {
        if !self.has_second {
            self.mount("w")?;
            self.has_second = true;
        }
        let mut lost = vec![];
        for (service, version) in mounts() {
            let file = format!("{}/{version}/held", mount(service, version));
            let tried = self.lab.node("w").run(&["flock", "-n", &file, "true"])?;
            if tried.success().is_ok() {
                lost.push(format!("{service} {version}"));
            }
        }
        Ok(lost)
    }

    /// Requests of `c` on a service that the server answered with an error so far.
    pub(crate) fn refusals(&self, service: &str) -> Result<u64> {
        let all = self.lab.node("c").sh("cat /proc/self/mountstats")?;
        let mounted = VERSIONS.map(|version| format!(" mounted on {} ", mount(service, version)));
        let wanted = ["OPEN:", "LOCK:", "LOCKU:", "READ:", "WRITE:", "COMMIT:", "SEQUENCE:"];
        let (mut here, mut sum) = (false, 0);
        for line in all.lines() {
            if line.starts_with("device ") {
                here = mounted.iter().any(|it| line.contains(it));
            }
            let mut words = line.split_ascii_whitespace();
            let operation = words.next().unwrap_or_default();
            // The last of nine figures is that of errors.
            if here && wanted.contains(&operation) {
                sum += words.nth(8).and_then(|it| it.parse::<u64>().ok()).unwrap_or_default();
            }
        }
        Ok(sum)
    }
}

/// Every mount of a client.
pub(crate) fn mounts() -> impl Iterator<Item = (&'static str, &'static str)> {
    SERVICES.into_iter().flat_map(|service| VERSIONS.map(|version| (service, version)))
}

/// Where the work on a mount is done: both versions show the same files, each has a folder.
pub(crate) fn folder(service: &str, version: &str) -> String {
    format!("{}/{version}", mount(service, version))
}

/// What a process said instead of what was expected.
pub(crate) fn silent(running: &Running, what: &str) -> LabError {
    let (out, errors) = running.so_far();
    LabError::Refused(format!("instead of {what} it said: {out}{errors}"))
}

/// One resource per service: default activity log, flushes on, short time-outs.
fn configuration() -> String {
    let mut text = "global { usage-count no; }\n\
        common {\n  net { protocol C; timeout 5; ping-timeout 1; ping-int 1; connect-int 1; \
        max-buffers 8000; }\n  disk { c-plan-ahead 0; resync-rate 1000M; c-min-rate 0; }\n}\n"
        .to_owned();
    for (service, disk) in SERVICES.iter().zip(["a", "b"]) {
        let (minor, port) = (number(service), 7800 + number(service));
        text += &format!(
            "resource {service} {{ device /dev/drbd{minor} minor {minor}; disk /dev/vd{disk}; \
             meta-disk internal; on a {{ address 10.20.1.1:{port}; }} \
             on b {{ address 10.20.1.2:{port}; }} }}\n"
        );
    }
    text
}
