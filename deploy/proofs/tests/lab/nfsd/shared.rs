//! What two instances on one node do not share, and what they do: lockd's one thread, the start of
//! nfsd, and the machine.

use super::Rows;
use super::bed::{Bed, address, mount, other};
use super::history::{ALL, DATA, History};
use disk::Fault;
use lab::error::Context;
use lab::{LabError, Result, Running};
use std::time::Duration;
use testbed::hold;
use testbed::os;
use testbed::suite::Verdict;

const LIMIT: Duration = Duration::from_secs(30);
/// How long something stands still on purpose.
const STILL: base::Duration = base::Duration::from_millis(3_000);
const CALM: base::Duration = base::Duration::from_millis(2_000);
const RENEWALS: usize = 10;
/// A client that was not told of may take what an unrecorded one held.
const RECORD_OF_W: &str = "2077";

/// Ends the work and reads its history.
pub(crate) fn finish(bed: &Bed<'_>, mut work: Running) -> Result<History> {
    let clock = bed.lab.node("c").clock()?;
    work.write(b"stop\n")?;
    work.wait(LIMIT)?.success()?;
    let path = bed.lab.share().join("nfsd-history");
    let history = History::load(&path, &clock)?;
    std::fs::remove_file(&path).context(path.display().to_string())?;
    Ok(history)
}

/// Renews the standby of one service again and again beside the working other.
pub(crate) fn renewals(bed: &mut Bed<'_>, rows: &mut Rows, node: &'static str) -> Result<Verdict> {
    // `node` owns s2 and stands by for s1.
    let work = bed.work()?;
    os::sleep(CALM);
    let from = os::now();
    let mut took = vec![];
    for _ in 0..RENEWALS {
        let phases = bed.order(node, "s1", "hold")?;
        took.push(phases["keeper"].as_f64().unwrap_or(f64::NAN) / 1e3);
    }
    let to = os::now();
    let history = finish(bed, work)?;
    took.sort_by(f64::total_cmp);
    let middle = took.get(took.len() / 2).copied().unwrap_or_default();
    let most = took.last().copied().unwrap_or_default();
    let figure = format!("p50 {middle:.0} ms, max {most:.0} ms, n {RENEWALS}");
    rows.add("a standby is renewed (stopped, started, held)", "3, 4.1", true, &figure, "");
    for version in ["v3", "v4"] {
        let (begin, end) = (from.0, to.0);
        let pause = history.longest(("s2", version), ALL, (begin, end));
        let before = history.longest(("s2", version), ALL, (begin - CALM.nanos(), begin));
        let figure = format!("{pause:.0} ms (before {before:.0})");
        let undisturbed = pause < super::DISTURBED_MS;
        rows.add("meanwhile the other service goes on", version, undisturbed, &figure, "");
        hold!(undisturbed, "renewing a standby of s1 disturbed s2 {version}: {figure}");
    }
    hold!(history.errors.is_empty(), "failed: {:?}", history.errors.first());
    Ok(Verdict::Pass)
}

/// Both services on `node`: one's lock monitor stands still, then one's disk.
pub(crate) fn standstills(
    bed: &mut Bed<'_>,
    rows: &mut Rows,
    node: &'static str,
) -> Result<Verdict> {
    let work = bed.work()?;
    // A host that this instance has never seen: the other storage node, as a client.
    let stranger = bed.lab.node(other(node));
    let (server, v3) = (address("s1"), mount("s1", "v3"));
    stranger.sh(&format!(
        "modprobe nfs; mkdir -p /run/rpcbind {v3}; rpcbind; rpc.statd; \
         mount -t nfs -o vers=3,hard,mountproto=udp {server}:/srv/s1/data {v3}; touch {v3}/new"
    ))?;
    os::sleep(CALM);
    let begin = os::now().0;
    bed.signal(node, "s1", libc::SIGSTOP)?;
    let new = stranger.spawn(&["flock", &format!("{v3}/new"), "true"])?;
    os::sleep(STILL);
    bed.signal(node, "s1", libc::SIGCONT)?;
    new.wait(LIMIT)?.success()?;
    let end = os::now().0;
    stranger.sh(&format!("umount {v3}"))?;
    os::sleep(CALM);
    let disk = format!("{node}-0");
    let stall = Fault::Stall { ms: Some(STILL.nanos() / 1_000_000) };
    let stalled = os::now().0;
    bed.lab.set_fault(&disk, Some(stall))?;
    os::sleep(STILL + CALM);
    bed.lab.set_fault(&disk, None)?;
    let over = os::now().0;
    let history = finish(bed, work)?;
    let case = "s1's lock monitor stands still 3 s while a new host locks there";
    let longest = |version, kinds, span| history.longest(("s2", version), kinds, span);
    let locks = longest("v3", &["lock"], (begin, end));
    rows.add(
        &format!("{case}: NFSv3 locks of s2"),
        "3",
        locks < super::DISTURBED_MS,
        &format!("{locks:.0} ms"),
        "lockd has one thread for all namespaces, and it asks the monitor and waits",
    );
    for version in ["v3", "v4"] {
        let data = longest(version, DATA, (begin, end));
        let holds = data < super::DISTURBED_MS;
        rows.add(&format!("{case}: data of s2"), version, holds, &format!("{data:.0} ms"), "");
        hold!(holds, "s2 {version} waited {data:.0} ms for s1's lock monitor");
    }
    for version in ["v3", "v4"] {
        let own = history.longest(("s1", version), DATA, (stalled, over));
        let pause = longest(version, ALL, (stalled, over));
        let holds = pause < super::DISTURBED_MS;
        let figure = format!("{pause:.0} ms (s1 itself {own:.0})");
        rows.add("s1's disk stands still 3 s: s2 goes on", version, holds, &figure, "");
        hold!(own > 2_000.0, "the disk of s1 did not stand still: {own:.0} ms");
        hold!(holds, "s2 {version} waited {pause:.0} ms for the disk of s1");
    }
    hold!(history.errors.is_empty(), "failed: {:?}", history.errors.first());
    Ok(Verdict::Pass)
}

/// Both services on `node`: dropping one's NFSv3 locks leaves the other's.
pub(crate) fn lock_managers(
    bed: &mut Bed<'_>,
    rows: &mut Rows,
    node: &'static str,
) -> Result<Verdict> {
    let work = bed.work()?;
    let before = bed.lost_locks()?;
    bed.order(node, "s1", "unlock")?;
    let after = bed.lost_locks()?;
    finish(bed, work)?;
    let holds = before.is_empty() && after == ["s1 v3"];
    let figure = format!("taken by a second client: {after:?}");
    rows.add("s1's NFSv3 locks are dropped by order, s2's stay", "3", holds, &figure, "");
    hold!(holds, "before {before:?}, after {after:?}");
    Ok(Verdict::Pass)
}

/// s1 moves away from `node`; of two clients with locks one is struck from the ledger meanwhile.
pub(crate) fn only_the_recorded(
    bed: &mut Bed<'_>,
    rows: &mut Rows,
    node: &'static str,
) -> Result<Verdict> {
    let mine = format!("{}/struck", mount("s1", "v4"));
    let keep = ["flock", &mine, "sleep", "1000"];
    let mut holder = bed.lab.node("w").spawn(&keep)?;
    let work = bed.work()?;
    let taken = |bed: &Bed<'_>| {
        Ok::<_, LabError>(bed.lab.node("c").run(&["flock", "-n", &mine, "true"])?.success().is_ok())
    };
    os::sleep(CALM);
    let before = taken(bed)?;
    bed.order(node, "s1", "give")?;
    let struck = bed.lab.node(node).sh(&format!(
        "drbdadm primary s1; mkdir -p /mnt/ledger; mount /dev/drbd1 /mnt/ledger; \
         grep -c '{RECORD_OF_W} ' /mnt/ledger/netguard.ledger; \
         sed -i '/{RECORD_OF_W} /d' /mnt/ledger/netguard.ledger; \
         umount /mnt/ledger; drbdadm secondary s1"
    ))?;
    bed.order(other(node), "s1", "take")?;
    bed.until(other(node), "s1", |status| status["nfs_grace_ended"] == true)?;
    os::sleep(CALM);
    let after = taken(bed)?;
    let kept = bed.lost_locks()?;
    holder.signal(libc::SIGKILL)?;
    finish(bed, work)?;
    let holds = !before && after && kept.is_empty() && struck.trim() == "1";
    let figure = format!("its lock could be taken: before {before}, after {after}");
    rows.add("who is not in the ledger cannot reclaim, who is can", "4.1", holds, &figure, "");
    hold!(holds, "{figure}; of the recorded client: {kept:?}; struck {struck}");
    Ok(Verdict::Pass)
}
