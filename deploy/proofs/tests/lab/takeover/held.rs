//! The same takeover as the product will have it: the service in namespaces of its own, its nfsd
//! running on the standby and held in grace (proof 1), by both versions, NFSv4.1 with a lock held.

use super::pair::{AFTERWARDS, other};
use super::trial::{Report, Stamps, Trial};
use super::work::{LIMIT, Work, lost, silent};
use super::{Bed, Taken};
use lab::error::Context;
use lab::message::Clock;
use lab::{Lab, LabError, Result, Running};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use testbed::os;

const SERVICE: &str = "s1";
const ADDRESS: &str = "10.20.0.101";
/// Of its file system; part of every file handle.
const NUMBER: u32 = 101;
const LIST_PORT: u16 = 7701;
/// How the client has it mounted, and what else its work does.
const VERSIONS: [(&str, &[&str]); 2] = [("v3", &[]), ("v4.1", &["--lock"])];

/// The service's instances, between two trials.
pub(crate) struct Held<'a> {
    lab: &'a Lab,
    owner: &'static str,
    instances: BTreeMap<&'static str, Running>,
}

impl<'a> Held<'a> {
    /// The volume made, both instances standing, one of them the owner, the client's mounts there.
    pub(crate) fn prepare(lab: &'a Lab) -> Result<Self> {
        let configuration = "global { usage-count no; }\n\
            resource s1 {\n net { protocol C; timeout 5; ping-timeout 1; ping-int 1; \
            connect-int 1; max-buffers 8000; }\n disk { c-plan-ahead 0; resync-rate 1000M; \
            c-min-rate 0; }\n device /dev/drbd0; disk /dev/vda; meta-disk internal;\n \
            on a { address 10.20.1.1:7800; }\n on b { address 10.20.1.2:7800; }\n}\n";
        fs::write(lab.share().join("drbd.conf"), configuration).context("drbd.conf")?;
        let mut held = Self { lab, owner: "a", instances: BTreeMap::new() };
        for name in ["a", "b"] {
            held.modules(name)?;
            lab.node(name).sh("drbdadm create-md --force all 2>&1 | tail -5; drbdadm up all")?;
        }
        lab.node("a").sh(
            "drbdadm wait-connect all && sleep 1; drbdadm new-current-uuid --clear-bitmap s1/0; \
             drbdadm primary s1; mkfs.ext4 -q -b 4096 -J size=4 /dev/drbd0; drbdadm secondary s1",
        )?;
        held.instance("a")?;
        held.instance("b")?;
        held.order("a", "take")?;
        lab.node("c").sh(&format!(
            "modprobe nfs; mkdir -p /mnt/v3 /mnt/v4.1; rpcbind; rpc.statd --no-notify; \
             mount -t nfs -o vers=4.1,hard {ADDRESS}:/ /mnt/v4.1; \
             mount -t nfs -o vers=3,hard,nolock,mountproto=udp {ADDRESS}:/srv/s1/data /mnt/v3; \
             mkdir /mnt/v4.1/d"
        ))?;
        Ok(held)
    }

    fn modules(&self, name: &str) -> Result<()> {
        self.lab.node(name).sh("cp /lab/share/drbd.conf /etc/drbd.conf; mkdir -p /run/lock; \
             modprobe drbd usermode_helper=/bin/true; modprobe nfsd; modprobe macvlan")?;
        Ok(())
    }

    /// Starts a node's instance and lets it stand by.
    fn instance(&mut self, name: &'static str) -> Result<()> {
        self.instances.remove(name);
        let (own, peer) = if name == "a" { (1, 2) } else { (2, 1) };
        let words = format!(
            "netguard-proof nfsd instance --service {SERVICE} --address {ADDRESS} --minor 0 \
             --fsid {NUMBER} --client 10.20.0.4 --listen 10.20.0.{own}:{LIST_PORT} \
             --tell 10.20.0.{peer}:{LIST_PORT}"
        );
        let words: Vec<&str> = words.split(' ').filter(|word| !word.is_empty()).collect();
        let running = self.lab.node(name).spawn(&words)?;
        match running.next_line(LIMIT) {
            Some(line) if line.contains("ready") => {}
            _ => return Err(silent(&running, "that it is ready")),
        }
        self.instances.insert(name, running);
        self.order(name, "hold").map(|_| ())
    }

    fn order(&mut self, name: &'static str, order: &str) -> Result<Value> {
        self.running(name)?.write(format!("{order}\n").as_bytes())?;
        self.answer(name, order)
    }

    /// What an instance answers to an order.
    fn answer(&mut self, name: &'static str, order: &str) -> Result<Value> {
        let running = self.running(name)?;
        loop {
            let line = running.next_line(LIMIT).ok_or_else(|| silent(running, order))?;
            let told: Value = serde_json::from_str(&line)
                .map_err(|error| LabError::Channel(format!("{line}: {error}")))?;
            if !told["failed"].is_null() {
                return Err(LabError::Refused(format!("{name}: {told}")));
            }
            if told["order"] == order {
                return Ok(told);
            }
        }
    }

    fn running(&mut self, name: &str) -> Result<&mut Running> {
        let found = self.instances.get_mut(name);
        found.ok_or_else(|| LabError::Refused(format!("{name} has no instance")))
    }

    /// The dead node comes back and stands by.
    fn revive(&mut self, name: &'static str) -> Result<()> {
        self.lab.node(name).power_on()?;
        self.modules(name)?;
        self.lab.node(name).sh("drbdadm up all")?;
        self.lab.node(other(name)).sh("drbdadm connect all")?;
        self.lab.node(name).sh(
            "for i in $(seq 600); do grep -q 'cs:Connected .*ds:UpToDate/UpToDate' /proc/drbd \
             && exit 0; sleep 0.1; done; cat /proc/drbd >&2; exit 1",
        )?;
        self.instance(name)
    }
}

impl Bed for Held<'_> {
    fn names(&self) -> Vec<String> {
        VERSIONS.iter().map(|(version, _)| format!("ext4-4m-4k {version} in grace")).collect()
    }

    fn trial(&mut self, number: usize, seed: u64) -> Result<Taken> {
        let Some((version, more)) = VERSIONS.get(number) else {
            return Err(LabError::Refused(format!("there is no variant {number}")));
        };
        let (owner, standby) = (self.owner, other(self.owner));
        let work = Work::begin(self.lab, &format!("/mnt/{version}/d"), seed, more)?;
        os::sleep(base::Duration::from_millis(1_000 + seed % 500));
        let clock = self.lab.node(standby).clock()?;
        let client_clock = self.lab.node("c").clock()?;
        let load = os::load();

        let cut = self.lab.node(owner).power_off(seed)?;
        self.running(standby)?.write(b"take forced\n")?;
        let told = self.answer(standby, "take forced")?;
        let report = report(&told, &clock)?;
        os::sleep(AFTERWARDS);
        let history = work.end()?;
        // The volume is mounted in the namespace of the instance only.
        let file = format!(
            "/proc/$(pidof netguard-proof | cut -d' ' -f1)/root/srv/s1/data/d/written-{seed:x}"
        );
        let node = self.lab.node(standby);
        let file = node.sh(&format!("echo {file}"))?;
        let missing = lost(node, file.trim(), seed, history.writes.len())?;
        node.sh(&format!("rm {}", file.trim()))?;
        let trial = Trial::new(cut, report, &history, &client_clock, missing);
        self.revive(owner)?;
        self.owner = standby;
        Ok(Ok(Trial { standby, load, ..trial }))
    }
}

/// An instance tells how long after the order each step was done, in microseconds.
fn report(told: &Value, clock: &Clock) -> Result<Report> {
    let unclear = || LabError::Channel(format!("no report of a takeover: {told}"));
    let at = told["at"].as_u64().ok_or_else(unclear)?;
    let after = |step: &str| told["done"][step].as_u64().ok_or_else(unclear);
    let go = at - after("all")? * 1_000;
    let done = |step: &str| after(step).map(|us| go + us * 1_000);
    let stamps = Stamps {
        go,
        disconnected: go,
        promoted: done("promoted")?,
        mounted: done("mounted")?,
        exported: done("exported")?,
        addressed: done("addressed")?,
        tickled: done("woken")?,
    };
    Ok(Report {
        stamps: stamps.to_host(clock),
        connections: None,
        syscall_ns: None,
        replicated: true,
    })
}
