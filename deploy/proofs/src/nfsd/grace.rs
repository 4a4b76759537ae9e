//! The end of grace after a takeover: when everyone has reclaimed, at the latest after two leases.
//!
//! NFSv4.1 clients say when they have reclaimed everything, and the kernel ends grace with the last
//! one by itself. NFSv3 has no word for it: hosts with locks are told to reclaim; what can be seen is
//! which have acknowledged the notice, which have asked for a lock, and whether the locks on the volume
//! still change. A host that was watched without having a lock never asks, so after a longer quiet
//! grace ends without it. While hosts reclaim, NFSv4's opens wait too: in 6.1 lockd cannot be put into
//! grace without starting it anew. A client that died with its server never reclaims: without a limit
//! a standby's grace would go on for an hour.

use crate::nfsd::instance::InstanceError;
use crate::nfsd::ledger::Standing;
use crate::nfsd::monitor;
use crate::nfsd::pipe::{News, Shared, open};
use crate::nfsd::rpc::RpcError;
use crate::nfsd::space::{self, SpaceError};
use crate::takeover::resident::now;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;

/// Ends lockd's grace of the namespace that writes to it.
const LOCKD_GRACE: &str = "/proc/fs/lockd/nlm_end_grace";
/// How often and how long a client host is told that it must reclaim.
const NOTICES: (u32, Duration) = (100, Duration::from_millis(100));
const LOOK: Duration = Duration::from_millis(50);
/// Looks without a change after which reclaiming is over, if all hosts have come: longer than a lost
/// packet takes to be sent again.
const QUIET: u32 = 10;
/// If some have not: longer than a client takes to connect when its first packet is lost.
const QUIET_WITHOUT: u32 = 60;

/// Tells the hosts with NFSv3 locks and sees to the end of grace.
pub fn see_to_the_end(
    service: IpAddr,
    volume: &Path,
    limit: Duration,
    book: &Shared,
    news: &SyncSender<News>,
) -> Result<(), InstanceError> {
    let (hosts, state) = {
        let book = open(book);
        let ledger = book.tracker.ledger();
        (ledger.hosts().map(str::to_owned).collect::<Vec<_>>(), ledger.state)
    };
    if hosts.is_empty() {
        space::write(LOCKD_GRACE, "Y")?;
    }
    let untold = Arc::new(AtomicUsize::new(hosts.len()));
    for host in hosts {
        let (news, untold) = (news.clone(), Arc::clone(&untold));
        thread::spawn(move || {
            let told = match host.parse::<IpAddr>() {
                Ok(address) => monitor::notify(service, address, state, NOTICES),
                Err(_) => Err(RpcError::Stranger),
            };
            untold.fetch_sub(1, Ordering::Relaxed);
            let _ = news.try_send(match told {
                Ok(()) => News::Noticed(host, now()),
                Err(e) => News::Trouble(format!("{host} was not told: {e}")),
            });
        });
    }
    let (book, news, volume) = (Arc::clone(book), news.clone(), volume.to_owned());
    thread::spawn(move || {
        if !wait_for_all(&volume, limit, &untold, &book) {
            let _ = news.try_send(News::Trouble(missing(&book)));
        }
        if let Err(e) = end(&book) {
            let _ = news.try_send(News::Trouble(e.to_string()));
        }
    });
    Ok(())
}

/// Ends both graces of this namespace by order.
pub fn end_grace() -> Result<(), InstanceError> {
    space::write(LOCKD_GRACE, "Y")?;
    if !nfs_ended()? {
        space::nfsd("v4_end_grace", "Y")?;
    }
    Ok(())
}

/// Has NFSv4's grace ended?
pub fn nfs_ended() -> Result<bool, SpaceError> {
    Ok(space::read(format!("{}/v4_end_grace", space::NFSD))? == "Y")
}

/// Has lockd's?
pub fn lockd_ended() -> Result<bool, SpaceError> {
    Ok(space::read(LOCKD_GRACE)? == "Y")
}

/// Who has not reclaimed its NFSv3 locks by now has lost them.
fn end(book: &Shared) -> Result<(), InstanceError> {
    {
        let mut book = open(book);
        if book.tracker.ledger_mut().end_locks() {
            book.store()?;
        }
    }
    end_grace()
}

/// Waits until every NFSv4 client has reclaimed, every NFSv3 host is told, and the locks have not
/// changed for a while. False if that did not happen in time.
fn wait_for_all(volume: &Path, limit: Duration, untold: &AtomicUsize, book: &Shared) -> bool {
    let (mut before, mut quiet) = (None, 0);
    for _ in 0..limit.as_millis() / LOOK.as_millis() {
        let (none, clients_back, hosts_back) = {
            let book = open(book);
            let ledger = book.tracker.ledger();
            (ledger.hosts().next().is_none(), ledger.clients_back(), ledger.hosts_back())
        };
        let held = locks(volume);
        let calm = held.is_some() && held == before && untold.load(Ordering::Relaxed) == 0;
        quiet = if calm { quiet + 1 } else { 0 };
        before = held;
        let looks = if hosts_back { QUIET } else { QUIET_WITHOUT };
        if clients_back && (none || quiet >= looks) {
            return true;
        }
        thread::sleep(LOOK);
    }
    false
}

/// Who has not reclaimed, and may not any more.
fn missing(book: &Shared) -> String {
    let book = open(book);
    let clients = book.tracker.ledger().clients();
    let late = clients.filter(|(_, standing)| *standing == Standing::Before);
    let names: Vec<_> = late.map(|(client, _)| String::from_utf8_lossy(&client.name)).collect();
    format!("grace ends without the NFSv4 clients [{}]", names.join(", "))
}

/// How many locks there are on a volume.
fn locks(volume: &Path) -> Option<usize> {
    let device = volume.metadata().ok()?.dev();
    let (major, minor) = (libc::major(device), libc::minor(device));
    let all = std::fs::read_to_string("/proc/locks").ok()?;
    Some(count(&all, major, minor))
}

fn count(all: &str, major: u32, minor: u32) -> usize {
    let device = format!(" {major:02x}:{minor:02x}:");
    all.lines().filter(|line| line.contains(" POSIX ") && line.contains(&device)).count()
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn only_locks_of_the_volume_count() {
        let all = "1: DELEG  ACTIVE    READ 871 93:01:26 0 EOF\n\
                   2: POSIX  ADVISORY  WRITE 847 93:01:17 0 9\n\
                   3: POSIX  ADVISORY  WRITE 871 93:02:16 0 9\n";
        assert_eq!(count(all, 0x93, 1), 1);
    }
}
