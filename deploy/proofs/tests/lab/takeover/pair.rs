//! Two storage nodes and a client: one file system at a time is served, its owner loses power.

use super::trial::{Report, Trial};
use super::variants::Variant;
use super::work::{LIMIT, PROOF, Work, expect, lost, silent};
use super::{Bed, Taken};
use lab::error::Context;
use lab::message::Clock;
use lab::{Lab, LabError, Result, Running};
use std::fs;
use testbed::os;

/// The floating address.
const ADDRESS: &str = "10.20.0.100";
const CLIENT: &str = "10.20.0.4";
/// The list of connections goes here.
const LIST_PORT: u16 = 7791;
/// The work that goes on after the takeover was reported.
pub(crate) const AFTERWARDS: base::Duration = base::Duration::from_millis(600);

/// The pair, between two trials.
pub(crate) struct Pair<'a> {
    lab: &'a Lab,
    variants: &'a [Variant],
    /// Who has the address.
    owner: &'static str,
}

impl<'a> Pair<'a> {
    /// Makes every file system, serves each once, and mounts it at the client.
    pub(crate) fn prepare(lab: &'a Lab, variants: &'a [Variant]) -> Result<Self> {
        let share = lab.share();
        fs::write(share.join("drbd.conf"), configuration(variants)).context("drbd.conf")?;
        let pair = Self { lab, variants, owner: "b" };
        for name in ["a", "b"] {
            pair.boot(name)?;
            pair.lab
                .node(name)
                .sh("drbdadm create-md --force all 2>&1 | tail -5; drbdadm up all")?;
        }
        let (a, c) = (lab.node("a"), lab.node("c"));
        a.sh("drbdadm wait-connect all && sleep 1 && echo > /etc/exports")?;
        a.sh(&format!("ip address add {ADDRESS}/24 dev eth0"))?;
        for (number, variant) in variants.iter().enumerate() {
            let (name, make) = (variant.name, variant.make);
            // Both disks are empty alike: there is nothing to copy first.
            a.sh(&format!(
                "drbdadm new-current-uuid --clear-bitmap r{number}/0 && drbdadm primary r{number}; \
                 {make} /dev/drbd{number}; mkdir -p /srv/{name}; \
                 mount -t {} -o {} /dev/drbd{number} /srv/{name}; mkdir /srv/{name}/d; \
                 echo '/srv/{name} *(rw,sync,no_subtree_check,no_root_squash,insecure,fsid={})' \
                 >> /etc/exports",
                variant.filesystem,
                variant.options,
                number + 1
            ))?;
        }
        // A client's first mount asks mountd; nothing later does.
        a.sh("exportfs -ra; rpc.mountd 2>/dev/null; sleep 1")?;
        c.sh("modprobe nfs; rpcbind; rpc.statd --no-notify")?;
        for Variant { name, .. } in variants {
            c.sh(&format!(
                "mkdir -p /mnt/{name}; mount -t nfs -o vers=3,hard,nolock,proto=tcp,mountproto=tcp \
                 {ADDRESS}:/srv/{name} /mnt/{name}"
            ))?;
        }
        a.sh("kill $(pidof rpc.mountd); exportfs -f; sleep 1")?;
        for (number, Variant { name, .. }) in variants.iter().enumerate() {
            a.sh(&format!("{}; drbdadm secondary r{number}", unmount(name)))?;
        }
        for name in ["a", "b"] {
            lab.node(name).sh("drbdadm down all")?;
        }
        // For 30 s after mountd the kernel believes that somebody answers for its caches, and drops
        // requests whose supplementary groups it has to ask for: `a` begins anew, `b` is the owner.
        a.power_off(0)?;
        a.power_on()?;
        pair.boot("a")?;
        Ok(pair)
    }

    /// Ready to be cut: the client works, the standby waits.
    fn take_over(&mut self, number: usize, variant: &Variant, seed: u64) -> Result<Taken> {
        let (owner, standby) = (self.owner, other(self.owner));
        self.connect(number)?;
        let _server = self.serve(owner, number, variant)?;
        let listen = format!("{}:{LIST_PORT}", storage(standby));
        let service = format!("{ADDRESS}:2049");
        let teller = ["owner", "--service", &service, "--to", &listen];
        let _teller = self.lab.node(owner).spawn(&[&PROOF[..], &teller].concat())?;
        let _keeper = self.checkpoint(owner, variant)?;
        let mut ready = self.standby(standby, number, variant, &[])?;
        let work = Work::begin(self.lab, &format!("/mnt/{}/d", variant.name), seed, &[])?;
        os::sleep(base::Duration::from_millis(500 + seed % 500));
        let clock = self.lab.node(standby).clock()?;
        let client_clock = self.lab.node("c").clock()?;
        let load = os::load();

        let cut = self.lab.node(owner).power_off(seed)?;
        ready.write(b"go\n")?;
        let report = match report(&ready, &clock) {
            Ok(report) => report,
            Err(error) => {
                drop(work);
                return self.give_up(owner, number, &error).map(Err);
            }
        };
        os::sleep(AFTERWARDS);
        let history = work.end()?;
        self.lab.node(owner).power_on_at_once()?;
        let node = self.lab.node(standby);
        let file = format!("/srv/{}/d/written-{seed:x}", variant.name);
        let missing = lost(node, &file, seed, history.writes.len())?;
        let trial = Trial::new(cut, report, &history, &client_clock, missing);
        drop(ready);
        node.sh(&format!(
            "rm {file}; {}; drbdadm secondary r{number}; drbdadm down r{number}",
            unmount(variant.name)
        ))?;
        self.wait_for_boot(owner)?;
        self.boot(owner)?;
        self.owner = standby;
        Ok(Ok(Trial { standby, load, ..trial }))
    }

    /// The new owner could not take over: what its kernel says about it. The pair goes on with the
    /// other file systems.
    fn give_up(&mut self, dead: &'static str, number: usize, error: &LabError) -> Result<String> {
        let standby = other(dead);
        let node = self.lab.node(standby);
        let said = node.sh("dmesg | grep -E 'EXT4-fs|JBD2|XFS|fast' | tail -8")?;
        let check = format!("e2fsck -fn /dev/drbd{number} 2>&1 | tail -12; true");
        let checked =
            node.sh(&format!("{check}; drbdadm secondary r{number}; drbdadm down r{number}"))?;
        self.lab.node(dead).power_on()?;
        self.boot(dead)?;
        self.owner = standby;
        Ok(format!("{error}\n{said}\n{checked}"))
    }

    /// Modules, configuration, and an nfsd that waits; after every boot.
    fn boot(&self, name: &str) -> Result<()> {
        let node = self.lab.node(name);
        node.sh("cp /lab/share/drbd.conf /etc/drbd.conf; mkdir -p /run/lock /var/lib/nfs; \
             modprobe drbd usermode_helper=/bin/true; modprobe nfsd; \
             mount -t nfsd nfsd /proc/fs/nfsd; rpcbind; rpc.nfsd -N 4 8")?;
        Ok(())
    }

    fn wait_for_boot(&self, name: &str) -> Result<()> {
        for _ in 0..600 {
            if self.lab.node(name).run(&["true"]).is_ok() {
                return Ok(());
            }
            os::sleep(base::Duration::from_millis(100));
        }
        Err(LabError::Refused(format!("{name} does not come up again")))
    }

    /// Both copies up, connected and equal.
    fn connect(&self, number: usize) -> Result<()> {
        for name in ["a", "b"] {
            self.lab.node(name).sh(&format!("drbdadm up r{number}"))?;
        }
        let line = format!("^ *{number}: cs:Connected .*ds:UpToDate/UpToDate");
        self.lab.node(self.owner).sh(&format!(
            "for i in $(seq 600); do grep -q '{line}' /proc/drbd && exit 0; sleep 0.1; done; \
             cat /proc/drbd >&2; exit 1"
        ))?;
        Ok(())
    }

    /// The owner serves, as long as the value is kept; nobody died for that.
    fn serve(&self, name: &'static str, number: usize, variant: &Variant) -> Result<Running> {
        let mut start = self.standby(name, number, variant, &["--graceful"])?;
        start.write(b"go\n")?;
        start.next_line(LIMIT).ok_or_else(|| silent(&start, "its report"))?;
        let (folder, count) = (variant.name, variant.fill);
        let fill = "bs=4k conv=notrunc oflag=sync status=none";
        self.lab
            .node(name)
            .sh(&format!("dd if=/dev/zero of=/srv/{folder}/fill count={count} {fill}"))?;
        Ok(start)
    }

    /// Keeps the owner's journal short, if the variant wants that.
    fn checkpoint(&self, name: &str, variant: &Variant) -> Result<Option<Running>> {
        if variant.checkpoint_ms == 0 {
            return Ok(None);
        }
        let (folder, every) = (format!("/srv/{}", variant.name), variant.checkpoint_ms.to_string());
        let words = ["checkpoint", "--folder", &folder, "--every-ms", &every];
        self.lab.node(name).spawn(&[&PROOF[..], &words].concat()).map(Some)
    }

    fn standby(
        &self,
        name: &'static str,
        number: usize,
        variant: &Variant,
        more: &[&str],
    ) -> Result<Running> {
        let listen = format!("{}:{LIST_PORT}", storage(name));
        let folder = format!("/srv/{}", variant.name);
        let (minor, export) = (number.to_string(), (number + 1).to_string());
        let words = [
            "standby",
            "--minor",
            &minor,
            "--number",
            &export,
            "--filesystem",
            variant.filesystem,
            "--options",
            variant.options,
            "--folder",
            &folder,
            "--client",
            CLIENT,
            "--address",
            ADDRESS,
            "--listen",
            &listen,
        ];
        let running =
            self.lab.node(name).spawn(&[&PROOF[..], &words, variant.wake, more].concat())?;
        expect(&running, "ready")?;
        Ok(running)
    }
}

impl Bed for Pair<'_> {
    fn names(&self) -> Vec<String> {
        self.variants.iter().map(|it| it.name.to_owned()).collect()
    }
    /// Serves one file system, cuts the owner's power, and lets the dead node come back.
    fn trial(&mut self, number: usize, seed: u64) -> Result<Taken> {
        let Some(variant) = self.variants.get(number).copied() else {
            return Err(LabError::Refused(format!("there is no variant {number}")));
        };
        self.take_over(number, &variant, seed)
    }
}

/// nfsd lets a file system go some time after its caches were told to forget it.
fn unmount(name: &str) -> String {
    format!("for i in $(seq 50); do exportfs -f; umount /srv/{name} && break; sleep 0.1; done 2>&1")
}

/// The other storage node.
pub(crate) fn other(name: &str) -> &'static str {
    if name == "a" { "b" } else { "a" }
}

fn storage(name: &str) -> &'static str {
    if name == "a" { "10.20.1.1" } else { "10.20.1.2" }
}

fn report(standby: &Running, clock: &Clock) -> Result<Report> {
    let line = standby.next_line(LIMIT).ok_or_else(|| silent(standby, "its report"))?;
    let told: Report = serde_json::from_str(&line)
        .map_err(|error| LabError::Channel(format!("{line}: {error}")))?;
    Ok(Report { stamps: told.stamps.to_host(clock), ..told })
}

/// One resource per file system: default activity log, flushes on, and a resync that does not hold up
/// the next trial. The time-outs are long, because the takeover waits for none: it disconnects by
/// force. With short ones a loaded machine lost the connection before the cut, and the owner, which no
/// fence policy froze, went on alone: 758 acknowledged writes were on the dead node only (S4).
fn configuration(variants: &[Variant]) -> String {
    let mut text = "global { usage-count no; }\n\
        common {\n  net { protocol C; timeout 60; ping-timeout 30; ping-int 10; connect-int 1; \
        max-buffers 8000; }\n  disk { c-plan-ahead 0; resync-rate 1000M; c-min-rate 0; }\n}\n"
        .to_owned();
    for number in 0..variants.len() {
        let disk = char::from(b'a' + number as u8);
        let port = 7800 + number;
        text += &format!(
            "resource r{number} {{ device /dev/drbd{number}; disk /dev/vd{disk}; \
             meta-disk internal; on a {{ address {}:{port}; }} on b {{ address {}:{port}; }} }}\n",
            storage("a"),
            storage("b")
        );
    }
    text
}
