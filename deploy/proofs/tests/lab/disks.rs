//! Disks that lose data: the self-test of every test that claims nothing was lost.

use crate::Test;
use crate::arena::Arena;
use disk::{Fault, Kind};
use lab::{DiskSpec, Result};
use std::time::Duration;
use testbed::hold;
use testbed::suite::Verdict;

pub(crate) const TESTS: &[Test] = &[
    Test { name: "disk-fsync-keeps-no-fsync-loses", run: fsync_keeps_no_fsync_loses },
    Test { name: "disk-errors-stalls-and-full", run: errors_stalls_and_full },
];

/// Power cuts. That all of them spare what was not flushed would be a disk that forgets nothing.
const CUTS: u64 = 4;

/// Three workloads on three disks, the same but for their care; then the power goes.
fn fsync_keeps_no_fsync_loses(arena: &Arena) -> Result<Verdict> {
    let disk = DiskSpec { mib: 64, cache_kib: 32 * 1024 };
    let lab = arena.start(&arena.single(&[disk.clone(), disk.clone(), disk]))?;
    let node = lab.node("a");
    node.sh("mkfs.ext4 -q /dev/vda; mkfs.ext4 -q /dev/vdb")?;
    // The last one has no filesystem: no journal's flush helps it by the way.
    let workloads = [("/a/file", "fsync"), ("/b/file", "none"), ("/dev/vdc", "direct")];
    let mut lost = [0; 3];
    for cut in 0..CUTS {
        // Both must be sound: a journal that trusted flushes is not broken by lost writes.
        node.sh("mkdir -p /a /b; mount /dev/vda /a; mount /dev/vdb /b")?;
        let pieces = |order: &str, path: &str, more: &str| {
            node.sh(&format!("netguard-proof pieces {order} {path} --round {cut} {more}"))
        };
        for (path, care) in workloads {
            pieces("write", path, &format!("--care {care}"))?;
            let missing = pieces("missing", path, "")?;
            hold!(missing.is_empty(), "{path}: not there before the cut: {missing}");
        }
        node.power_off(cut)?;
        node.power_on()?;
        node.sh("mkdir -p /a /b; mount /dev/vda /a; mount /dev/vdb /b")?;
        for ((path, _), lost) in workloads.iter().zip(&mut lost) {
            *lost += pieces("missing", path, "")?.lines().count();
        }
        node.sh("umount /a /b")?;
    }
    let [fsync, none, direct] = lost;
    hold!(fsync == 0, "{fsync} pieces were fsynced, and lost");
    hold!(none > 0, "nothing was lost that was only written");
    hold!(direct > 0, "the disk forgot nothing that was not flushed");
    println!("      lost: with fsync {fsync}, without {none}, in the disk's own cache {direct}");
    Ok(Verdict::Pass)
}

fn errors_stalls_and_full(arena: &Arena) -> Result<Verdict> {
    let lab = arena.start(&arena.single(&[DiskSpec::default(), DiskSpec::default()]))?;
    let write = "dd if=/dev/zero of=/dev/vda bs=4k count=1 oflag=direct,dsync 2>&1";
    let node = lab.node("a");
    node.sh(write)?;

    lab.set_fault("a-0", Some(Fault::fail(Kind::Write)))?;
    let failed = node.run(&["sh", "-c", write])?;
    hold!(failed.stdout.contains("Input/output error"), "no error: {}", failed.stdout);
    lab.set_fault("a-0", None)?;
    node.sh(write)?;

    lab.set_fault("a-0", Some(Fault::Stall { ms: None }))?;
    let stalled = node.spawn(&["sh", "-c", write])?;
    // Another disk, and the machine itself, go on.
    node.sh(&write.replace("vda", "vdb"))?;
    hold!(stalled.is_running(), "a stalled disk answered");
    lab.set_fault("a-0", None)?;
    stalled.wait(Duration::from_secs(20))?.success()?;

    lab.set_fault("a-1", Some(Fault::Full { more: 1 << 20 }))?;
    let full = "dd if=/dev/zero of=/dev/vdb bs=64k count=64 oflag=direct 2>&1";
    let refused = node.run(&["sh", "-c", full])?;
    hold!(refused.success().is_err(), "a full disk took everything");
    lab.set_fault("a-1", None)?;

    lab.set_fault("a-0", Some(Fault::Stall { ms: None }))?;
    let hung = node.spawn(&["sh", "-c", write])?;
    hold!(hung.is_running(), "a stalled disk answered");
    node.power_off(1)?; // must not wait for the disk
    lab.set_fault("a-0", None)?;
    node.power_on()?;
    node.sh(write)?;
    Ok(Verdict::Pass)
}
