//! `ng bench agree`: what a commit costs, from the way into the agreement until it is known.

use super::super::Done;
use super::{Counts, conclude, core_of, stopped};
use crate::failure::{Exit, Failure};
use crate::output::Output;
use api::{Role, Status};
use base::Duration;
use harness::os;
use harness::page::{Figures, Page, Verdict};
use harness::plot::Curve;
use harness::surroundings::{Counters, describe};
use netguard::Client;
use shm::ReadMap;
use std::path::Path;

/// A request as a lock or a small write is.
const BYTES: u32 = 64;
/// As many as a daemon takes in one order (`netguard-control::probes`).
const ORDER: u32 = 500;
const COMMIT: &str = "commit of 64 bytes";
const ROUND: &str = "round trip of a heartbeat, all peers";

pub(in super::super) fn run(
    client: &mut Client,
    run_dir: &Path,
    (count, out): (u32, &Path),
    output: &Output,
) -> Done {
    os::catch_interrupts();
    let status = client.status()?;
    let map = ReadMap::open(&run_dir.join(shm::map::NAME))?;
    let core = core_of(map.header().pid());
    let before = Counters::read(core);
    let (mut commits, mut refused): (Counts, u32) = (Vec::new(), 0);
    let mut left = count;
    while left > 0 {
        if os::interrupted() {
            return Err(stopped());
        }
        let now = left.min(ORDER);
        left -= now;
        output.tell(|_| format!("{} of {count}\n", count - left));
        let done = client.probe(BYTES, now, 1)?;
        commits.extend(done.nanos.iter().map(|ns| (Duration(*ns), 1)));
        refused += done.refused + done.open;
    }
    let rounds: Counts =
        map.peers().flat_map(|peer| peer.round_trip.values().collect::<Counts>()).collect();
    let mut page = page(&status, &commits, refused, &rounds)?;
    page.machine = describe(core, &before, &Counters::read(core));
    conclude(&page, [(COMMIT, &commits), (ROUND, &rounds)].into_iter(), ("agree", out), output)
}

fn page(status: &Status, commits: &Counts, refused: u32, rounds: &Counts) -> Result<Page, Failure> {
    let Some(commit) = Figures::of(COMMIT, commits) else {
        let message = "nothing was agreed";
        return Err(Failure::new(Exit::Refused, "not-agreed", message, "`ng status` says why"));
    };
    let interval_ms = status.heartbeat_interval_ns as f64 / 1e6;
    let verdicts = vec![
        Verdict { holds: refused == 0, text: format!("{} agreed, {refused} not", commit.count) },
        Verdict {
            holds: commit.p99_ms <= interval_ms,
            text: format!(
                "99 of 100 commits take {:.3} ms at most, an interval is {interval_ms:.3}",
                commit.p99_ms
            ),
        },
    ];
    let role = if status.agreement.role == Role::Primary {
        "the primary"
    } else {
        "not the primary: each goes to it first"
    };
    let curve = |(id, counts): (&str, &Counts)| Curve::of_counts(id, counts);
    Ok(Page {
        title: format!("NetGuard, agreement: {} of {}", status.node, status.cluster),
        about: format!(
            "{} entries of {BYTES} bytes that change nothing, one after another, measured inside the daemon of {}, which is \
             {role}. The round trip is from a heartbeat to its echo since the daemons' start, wake-ups included.",
            commit.count, status.node
        ),
        verdicts,
        rows: std::iter::once(commit).chain(Figures::of(ROUND, rounds)).collect(),
        machine: Vec::new(),
        plots: vec![(
            "Commits and round trips; share".into(),
            [(COMMIT, commits), (ROUND, rounds)].map(curve).into(),
        )],
    })
}

#[cfg(test)]
mod tests {
    use super::page;
    use crate::commands::samples::status;
    use base::Duration;

    #[test]
    fn what_was_not_agreed_and_what_takes_longer_than_an_interval_is_missed() {
        let commits = |ms| vec![(Duration::from_millis(ms), 100)];
        let rounds = vec![(Duration::from_micros(90), 5)];
        let interval = status().heartbeat_interval_ns / 1_000_000;
        assert!(page(&status(), &commits(interval), 0, &rounds).unwrap().holds());
        assert!(!page(&status(), &commits(interval + 1), 0, &rounds).unwrap().holds());
        assert!(!page(&status(), &commits(1), 1, &rounds).unwrap().holds());
        assert_eq!(page(&status(), &Vec::new(), 9, &rounds).unwrap_err().code, "not-agreed");
    }
}
