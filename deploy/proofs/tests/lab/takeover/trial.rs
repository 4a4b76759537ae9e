//! One power cut and what came of it, in times of the host.

use super::work::History;
use base::Instant;
use lab::message::{Clock, Cut};
use serde::Deserialize;

/// When the new owner had done which step.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Stamps {
    pub(crate) go: u64,
    pub(crate) disconnected: u64,
    pub(crate) promoted: u64,
    pub(crate) mounted: u64,
    pub(crate) exported: u64,
    pub(crate) addressed: u64,
    pub(crate) tickled: u64,
}

/// What the new owner says about it.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Report {
    pub(crate) stamps: Stamps,
    /// Connections that it knew of, if it says so.
    pub(crate) connections: Option<usize>,
    /// What a system call costs there, if it was measured.
    pub(crate) syscall_ns: Option<u64>,
    /// False if the copy had been disconnected before the order: what the owner wrote since is not here.
    #[serde(default = "yes")]
    pub(crate) replicated: bool,
}

const fn yes() -> bool {
    true
}

/// One takeover.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    /// When the power went.
    pub(crate) cut: Cut,
    /// What the new owner did.
    pub(crate) report: Report,
    /// The first write that it completed.
    pub(crate) write: u64,
    /// The first read.
    pub(crate) read: u64,
    /// The longest write that ended before the cut, in ns.
    pub(crate) longest_before: u64,
    /// Writes that were acknowledged in all.
    pub(crate) acknowledged: u64,
    /// What must not be: lost writes, failed operations.
    pub(crate) complaint: Option<String>,
    /// The new owner.
    pub(crate) standby: &'static str,
    /// Load of the machine.
    pub(crate) load: f64,
}

impl Stamps {
    /// From times of a guest to times of the host.
    pub(crate) fn to_host(self, clock: &Clock) -> Self {
        let host = |guest| clock.to_host(guest);
        Self {
            go: host(self.go),
            disconnected: host(self.disconnected),
            promoted: host(self.promoted),
            mounted: host(self.mounted),
            exported: host(self.exported),
            addressed: host(self.addressed),
            tickled: host(self.tickled),
        }
    }
}

impl Trial {
    /// From what the new owner and the client tell. `lost` says what is missing on the disk.
    pub(crate) fn new(
        cut: Cut,
        report: Report,
        history: &History,
        clock: &Clock,
        lost: Option<String>,
    ) -> Self {
        let after = report.stamps.mounted;
        let (write, read) =
            (first_after(&history.writes, after, clock), first_after(&history.reads, after, clock));
        let before = history.writes.iter().filter(|(_, end)| clock.to_host(*end) < cut.at);
        let longest_before = before.map(|(begin, end)| end - begin).max().unwrap_or_default();
        let silent =
            (write == u64::MAX || read == u64::MAX).then(|| "the client did not go on".to_owned());
        let count = history.errors.len();
        let failed =
            history.errors.first().map(|it| format!("{count} operations failed: {}", it.1));
        Self {
            write,
            read,
            longest_before,
            acknowledged: history.writes.len() as u64,
            complaint: lost.or(failed).or(silent),
            cut,
            report,
            standby: "",
            load: 0.0,
        }
    }

    /// The time that a stall spoils.
    pub(crate) fn span(&self) -> (Instant, Instant) {
        (Instant(self.report.stamps.go), Instant(self.write.max(self.read)))
    }

    /// Its phases in milliseconds, and the sums that matter.
    pub(crate) fn phases(&self) -> [(&'static str, f64); 11] {
        let stamps = self.report.stamps;
        let between = |from: u64, to: u64| (to as f64 - from as f64) / 1e6;
        [
            ("disconnect", between(stamps.go, stamps.disconnected)),
            ("promote", between(stamps.disconnected, stamps.promoted)),
            ("mount", between(stamps.promoted, stamps.mounted)),
            ("exports", between(stamps.mounted, stamps.exported)),
            ("address", between(stamps.exported, stamps.addressed)),
            ("wake", between(stamps.addressed, stamps.tickled)),
            ("resume", between(stamps.tickled, self.write)),
            ("go to write", between(stamps.go, self.write)),
            ("go to read", between(stamps.go, self.read)),
            ("cut to go", between(self.cut.at, stamps.go)),
            ("longest write before", self.longest_before as f64 / 1e6),
        ]
    }
}

/// The end of the first operation that ended after `when`; the end of time if there is none.
fn first_after(spans: &[(u64, u64)], when: u64, clock: &Clock) -> u64 {
    let ends = spans.iter().map(|(_, end)| clock.to_host(*end));
    ends.filter(|end| *end > when).min().unwrap_or(u64::MAX)
}
