//! The second line: the gate at the sockets of a control group, with no filter anywhere.

use super::super::ask::How;
use super::super::daemon::{Daemon, Duty};
use super::super::error::Result;
use super::super::row::Row;
use super::super::stage::{Stage, client_of, delete_clsact, floating, see_closed};
use gate::Sockets;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use testbed::error::{Context, run};

const SOCKETS: &str = "gate at the sockets only";

/// All rows about the second line.
pub(in super::super) fn rows() -> Result<Vec<Row>> {
    let Some(group) = Group::enter()? else {
        let reason = "cgroup v2 cannot be mounted";
        return Ok(vec![Row::new("no filter on any interface", "-", SOCKETS).not_here(reason)]);
    };
    let mut rows = Vec::new();
    let stage = Stage::cabled()?;
    let sockets = Sockets::of(&group.dir)?;
    sockets.attach(&stage.gate)?;
    let case = "no filter on any interface";
    for to in floating() {
        for how in [How::Udp, How::Fragments, How::Tcp] {
            let seen = stage.see(case, stage.client_at(client_of(to)), to, how)?;
            rows.push(
                Row::new(case, how.name(to), SOCKETS)
                    .must_close(seen, "the program at the sockets, whatever the interface"),
            );
        }
    }
    let to = floating()[0];
    for (how, why) in [
        (How::Resolve, "nothing: ARP passes no socket"),
        (How::Echo, "nothing: the kernel's own socket is in the root group, not in this one"),
    ] {
        let seen = stage.see(case, stage.client_at(client_of(to)), to, how)?;
        rows.push(Row::new(case, how.name(to), SOCKETS).must_answer(seen, why));
    }
    rows.push(stopped_and_deleted(stage)?);
    sockets.detach()?;
    Ok(rows)
}

/// The one case in which filters alone leave the address open.
fn stopped_and_deleted(mut stage: Stage) -> Result<Row> {
    let case = "daemons SIGSTOPped, then clsact deleted";
    let to = floating()[0];
    stage.attach(None)?;
    stage.open();
    let mut asker = stage.asker(case, stage.client_at(client_of(to)), to, How::Udp)?;
    stage.close();
    let keeper = Daemon::start(&stage, Duty::Keep)?;
    keeper.signal(libc::SIGSTOP);
    delete_clsact(&stage)?;
    let seen = see_closed(&mut asker);
    Ok(Row::new(case, "UDP", "gate on every interface and at the sockets")
        .must_close(seen, "the program at the sockets"))
}

/// A control group that this process is in while the value lives.
#[derive(Debug)]
struct Group {
    hierarchy: PathBuf,
    dir: PathBuf,
    is_mounted_here: bool,
}

impl Group {
    /// Makes one and moves this process there; nothing where there is no cgroup v2.
    fn enter() -> Result<Option<Self>> {
        let found = mounted();
        let is_mounted_here = found.is_none();
        let hierarchy = found.unwrap_or_else(|| PathBuf::from("/run/netguard-proof-cgroup"));
        if is_mounted_here {
            fs::create_dir_all(&hierarchy).context("folder for cgroup v2")?;
            let words = ["-t", "cgroup2", "none"];
            if run(Command::new("mount").args(words).arg(&hierarchy)).is_err() {
                return Ok(None);
            }
        }
        let dir = hierarchy.join(format!("netguard-proof-{}", std::process::id()));
        let this = Self { hierarchy, dir, is_mounted_here };
        fs::create_dir(&this.dir).context("control group")?;
        join(&this.dir).context("control group")?;
        Ok(Some(this))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // What is left of a proof that could not tidy up is an empty group.
        let _ = join(&self.hierarchy);
        let _ = fs::remove_dir(&self.dir);
        if self.is_mounted_here {
            let _ = run(Command::new("umount").arg(&self.hierarchy));
        }
    }
}

/// Moves this process into a group.
fn join(group: &Path) -> std::io::Result<()> {
    fs::write(group.join("cgroup.procs"), "0")
}

/// Where cgroup v2 is, if it is mounted.
fn mounted() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let at = words.next()?;
        (words.next()? == "cgroup2").then(|| PathBuf::from(at))
    })
}
