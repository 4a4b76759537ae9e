//! The reclaim of NFSv3 locks after a takeover: hosts are told, and grace ends when they are done.
//!
//! NFSv3 has no word for "I have reclaimed everything". What can be seen is that every host has
//! acknowledged the notice, or cannot be reached, and that the locks on the volume do not change any
//! more. Grace ends then, at the latest after a time that is configured. As long as it lasts NFSv4's
//! opens wait too: in 6.1 lockd cannot be put into grace without starting it anew.

use crate::nfsd::instance::InstanceError;
use crate::nfsd::monitor;
use crate::nfsd::pipe::{News, Shared, open};
use crate::nfsd::rpc::RpcError;
use crate::nfsd::space;
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
pub const LOCKD_GRACE: &str = "/proc/fs/lockd/nlm_end_grace";
/// How often and how long a client host is told that it must reclaim.
const NOTICES: (u32, Duration) = (20, Duration::from_millis(50));
const LOOK: Duration = Duration::from_millis(50);
/// Looks without a change after which reclaiming is taken to be over: longer than a lost packet takes
/// to be sent again.
const QUIET: u32 = 10;

/// Tells the hosts and sees to the end of grace. With no such host, lockd's grace ends at once and
/// NFSv4's with its last client.
pub fn call(
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
        return Ok(space::write(LOCKD_GRACE, "Y")?);
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
        wait_for_quiet(&volume, limit, &untold);
        if let Err(e) = end(&book) {
            let _ = news.try_send(News::Trouble(e.to_string()));
        }
    });
    Ok(())
}

/// Ends both graces of this namespace by order.
pub fn end_grace() -> Result<(), InstanceError> {
    space::write(LOCKD_GRACE, "Y")?;
    space::nfsd("v4_end_grace", "Y")?;
    Ok(())
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

fn wait_for_quiet(volume: &Path, limit: Duration, untold: &AtomicUsize) {
    let (mut before, mut quiet) = (None, 0);
    for _ in 0..limit.as_millis() / LOOK.as_millis() {
        thread::sleep(LOOK);
        let told = untold.load(Ordering::Relaxed) == 0;
        let held = locks(volume);
        quiet = if told && held.is_some() && held == before { quiet + 1 } else { 0 };
        before = held;
        if quiet >= QUIET {
            return;
        }
    }
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
