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

/// Files of one round, 16 KiB each.
const FILES: usize = 24;
/// Power cuts. That all of them spare what was not flushed would be a disk that forgets nothing.
const CUTS: u64 = 3;

/// Two workloads on two disks, the same but for fsync; then the power goes.
fn fsync_keeps_no_fsync_loses(arena: &Arena) -> Result<Verdict> {
    let disk = DiskSpec { mib: 64, cache_kib: 32 * 1024 };
    let lab = arena.start(&arena.single(&[disk.clone(), disk]))?;
    let node = lab.node("a");
    node.sh("for d in a b; do mkfs.ext4 -q /dev/ubd$d; mkdir -p /$d; mount /dev/ubd$d /$d; done")?;
    let (mut careless, mut lost_by_careful) = (0, vec![]);
    for cut in 0..CUTS {
        // The careless one tells the disk everything too, but never asks whether it kept it: direct
        // writes into a file that exists, which no journal commit flushes for it.
        node.sh(&format!("dd if=/dev/zero of=/b/old bs=16k count={FILES} conv=fsync 2>/dev/null"))?;
        for file in 0..FILES {
            let text = pattern(cut, file);
            node.sh(&format!(
                "yes {text} | dd of=/a/{cut}-{file} bs=16k count=1 iflag=fullblock conv=fsync; \
                 yes {text} | dd of=/b/old bs=16k count=1 seek={file} iflag=fullblock \
                 conv=notrunc oflag=direct"
            ))?;
        }
        node.power_off(cut)?;
        node.power_on()?;
        // Both must be sound again: a journal that trusted flushes is not broken by lost writes.
        node.sh("for d in a b; do mkdir -p /$d; mount /dev/ubd$d /$d; done")?;
        for file in 0..FILES {
            let text = pattern(cut, file);
            let whole = format!("yes {text} | head -c 16384 | cmp -s -");
            if node.sh(&format!("{whole} /a/{cut}-{file}")).is_err() {
                lost_by_careful.push(format!("cut {cut}, file {file}"));
            }
            let place = format!("<(dd if=/b/old bs=16k count=1 skip={file} 2>/dev/null)");
            let line = format!("bash -c '{whole} {place}'");
            careless += usize::from(node.sh(&line).is_err());
        }
    }
    hold!(lost_by_careful.is_empty(), "fsynced, and lost: {}", lost_by_careful.join("; "));
    hold!(careless > 0, "{CUTS} power cuts, and nothing was lost without fsync");
    let written = FILES * CUTS as usize;
    println!("      without fsync {careless} of {written} pieces were lost, with fsync none");
    Ok(Verdict::Pass)
}

fn pattern(cut: u64, file: usize) -> String {
    format!("cut{cut}file{file}")
}

fn errors_stalls_and_full(arena: &Arena) -> Result<Verdict> {
    let lab = arena.start(&arena.single(&[DiskSpec::default(), DiskSpec::default()]))?;
    let write = "dd if=/dev/zero of=/dev/ubda bs=4k count=1 oflag=direct,dsync 2>&1";
    let node = lab.node("a");
    node.sh(write)?;

    lab.set_fault("a-0", Some(Fault::fail(Kind::Write)))?;
    let failed = node.run(&["sh", "-c", write])?;
    hold!(failed.stdout.contains("Input/output error"), "no error: {}", failed.stdout);
    lab.set_fault("a-0", None)?;
    node.sh(write)?;

    lab.set_fault("a-0", Some(Fault::Stall { ms: None }))?;
    let stalled = node.spawn(&["sh", "-c", write])?;
    node.sh(&write.replace("ubda", "null"))?;
    hold!(stalled.is_running(), "a stalled disk answered");
    lab.set_fault("a-0", None)?;
    stalled.wait(Duration::from_secs(20))?.success()?;

    lab.set_fault("a-1", Some(Fault::Full { more: 1 << 20 }))?;
    let full = "dd if=/dev/zero of=/dev/ubdb bs=64k count=64 oflag=direct 2>&1";
    let refused = node.run(&["sh", "-c", full])?;
    hold!(refused.success().is_err(), "a full disk took everything");
    lab.set_fault("a-1", None)?;

    lab.set_fault("a-0", Some(Fault::Stall { ms: None }))?;
    let hung = node.spawn(&["sh", "-c", write])?;
    hold!(hung.is_running(), "a stalled disk answered");
    node.power_off(1)?; // must not wait for the disk
    node.power_on()?;
    lab.set_fault("a-0", None)?;
    node.sh(write)?;
    Ok(Verdict::Pass)
}
