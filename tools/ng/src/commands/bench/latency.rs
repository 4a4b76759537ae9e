//! `ng bench latency`: how exactly beats leave, and what the network does to them.

use super::super::Done;
use super::{Counts, conclude, core_of, stopped};
use crate::failure::{Exit, Failure};
use crate::output::Output;
use api::Status;
use base::Duration;
use harness::page::{Figures, Page, Verdict};
use harness::plot::Curve;
use harness::surroundings::{Counters, describe};
use harness::{jitter, os};
use shm::ReadMap;
use shm::measures::{PeerSpread, Spread};
use std::collections::BTreeMap;
use std::path::Path;

/// Beats may be later than a bare timer by this, in half and in nine of ten cases.
const BESIDE_BARE_MS: f64 = 0.020;
/// A link loses no more of the beats than this, in percent.
const LOST_PERCENT: f64 = 0.1;

/// What was asked for.
pub(in super::super) struct Order<'a> {
    pub(in super::super) slice_s: u64,
    pub(in super::super) slices: u32,
    pub(in super::super) out: &'a Path,
}

/// Everything that the map has at one moment.
struct Reading {
    lateness: Spread,
    peers: Vec<PeerSpread>,
}

impl Reading {
    fn of(map: &ReadMap) -> Self {
        Self { lateness: map.lateness(), peers: map.peers().collect() }
    }
}

/// What was counted, row by row.
#[derive(Default)]
struct Counted(BTreeMap<String, Counts>);

impl Counted {
    fn add(&mut self, id: impl Into<String>, spread: &Spread) {
        self.0.entry(id.into()).or_default().extend(spread.values());
    }
}

const BEATS: &str = "wake-ups of the fast path, late by";
const BARE: &str = "wake-ups of a bare timer, late by";

pub(in super::super) fn run(
    run_dir: &Path,
    status: &Status,
    order: &Order<'_>,
    output: &Output,
) -> Done {
    os::catch_interrupts();
    let map = ReadMap::open(&run_dir.join(shm::map::NAME))?;
    let interval = Duration(status.heartbeat_interval_ns);
    let slice = Duration::from_millis(order.slice_s * 1_000);
    let core = core_of(map.header().pid());
    let before = Counters::read(core);
    let mut counted = Counted::default();
    let mut lost: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for number in 1..=order.slices {
        output.tell(|_| format!("slice {number} of {}\n", order.slices));
        let from = Reading::of(&map);
        os::sleep(slice);
        if os::interrupted() {
            return Err(stopped());
        }
        count(status, &from, &Reading::of(&map), &mut counted, &mut lost);
        let begin = os::now() + interval / 2;
        let woke = jitter::bare(core, interval, begin, begin + slice);
        let late =
            woke.iter().zip(0_u64..).map(|(at, turn)| (at.since(begin + interval * turn), 1));
        counted.0.entry(BARE.into()).or_default().extend(late);
        if !map.is_current() {
            return Err(restarted());
        }
    }
    let after = Counters::read(core);
    let mut page = page(status, order, &counted, &lost);
    page.machine = describe(core, &before, &after);
    let rows = counted.0.iter().map(|(id, counts)| (id.as_str(), counts));
    conclude(&page, rows, ("latency", order.out), output)
}

/// Adds what came between two readings.
fn count(
    status: &Status,
    from: &Reading,
    to: &Reading,
    counted: &mut Counted,
    lost: &mut BTreeMap<String, (u64, u64)>,
) {
    counted.add(BEATS, &to.lateness.since(&from.lateness));
    for (before, now) in from.peers.iter().zip(&to.peers) {
        let Some(member) = status.members.iter().find(|member| member.id == now.id) else {
            continue;
        };
        let peer = &member.name;
        let carried =
            |spread: &PeerSpread| spread.links.iter().map(|link| link.carried).sum::<u64>();
        if carried(now) == carried(before) {
            continue;
        }
        counted.add(format!("{peer}: round trip"), &now.round_trip.since(&before.round_trip));
        counted.add(format!("{peer}: jitter there"), &now.outgoing.since(&before.outgoing));
        for (number, link) in member.links.iter().enumerate() {
            let (Some(before), Some(now)) = (before.links.get(number), now.links.get(number))
            else {
                continue;
            };
            let id = format!("{peer}: jitter here on {}", link.link);
            counted.add(id, &now.jitter.since(&before.jitter));
            let sum = lost.entry(format!("{peer} on {}", link.link)).or_default();
            sum.0 += now.lost.saturating_sub(before.lost);
            sum.1 += now.carried.saturating_sub(before.carried);
        }
    }
}

/// Figures and verdicts.
fn page(
    status: &Status,
    order: &Order<'_>,
    counted: &Counted,
    lost: &BTreeMap<String, (u64, u64)>,
) -> Page {
    let rows: Vec<Figures> =
        counted.0.iter().filter_map(|(id, counts)| Figures::of(id.as_str(), counts)).collect();
    let row = |id: &str| rows.iter().find(|row| row.id == id);
    let mut verdicts = Vec::new();
    if let (Some(beats), Some(bare)) = (row(BEATS), row(BARE)) {
        for (word, beats, bare) in
            [("half", beats.p50_ms, bare.p50_ms), ("nine of ten", beats.p90_ms, bare.p90_ms)]
        {
            verdicts.push(Verdict {
                holds: beats <= bare + BESIDE_BARE_MS,
                text: format!(
                    "{word} of the wake-ups: {beats:.3} ms late at most, a bare timer {bare:.3} \
                     (at most {BESIDE_BARE_MS:.3} more)"
                ),
            });
        }
    }
    if let Some(found) = &status.detection {
        verdicts.push(Verdict {
            holds: found.budget_ms <= found.deadline_ms,
            text: format!(
                "detection budget {:.1} ms of a deadline of {:.1}",
                found.budget_ms, found.deadline_ms
            ),
        });
    }
    for (link, (lost, carried)) in lost {
        let percent = *lost as f64 * 100.0 / (lost + carried).max(1) as f64;
        verdicts.push(Verdict {
            holds: percent <= LOST_PERCENT && *carried > 0,
            text: format!(
                "beats of {link}: {carried} came, {lost} were lost ({percent:.3} %, at most {LOST_PERCENT})"
            ),
        });
    }
    let curves = |wanted: &dyn Fn(&str) -> bool| {
        let of = counted.0.iter().filter(|(id, _)| wanted(id));
        of.map(|(id, counts)| Curve::of_counts(id.as_str(), counts)).collect()
    };
    Page {
        title: format!("NetGuard, latency: {} of {}", status.node, status.cluster),
        about: format!(
            "{} slices of {} s of the running fast path (beats every {:.3} ms), in turn with a bare real-time timer on the \
             same core. Jitter is RFC 3550's: how much further apart two beats arrived than they were sent.",
            order.slices,
            order.slice_s,
            status.heartbeat_interval_ns as f64 / 1e6
        ),
        verdicts,
        plots: vec![
            (
                "How late the timer wakes; share of the wake-ups".into(),
                curves(&|id| id == BEATS || id == BARE),
            ),
            ("The network; share of the beats".into(), curves(&|id| id != BEATS && id != BARE)),
        ],
        rows,
        machine: Vec::new(),
    }
}

fn restarted() -> Failure {
    let message = "the daemons were started anew while they were measured";
    Failure::new(
        Exit::Refused,
        "restarted",
        message,
        "run it again; `ng failovers` and the journal say why they ended",
    )
}

#[cfg(test)]
mod tests {
    use super::{BARE, BEATS, Counted, Order, Reading, count, page};
    use crate::commands::samples::status;
    use base::Duration;
    use shm::measures::{LinkSpread, PeerSpread, Spread};
    use std::collections::BTreeMap;
    use std::path::Path;

    fn spread(us: &[u64]) -> Spread {
        us.iter().map(|us| Duration::from_micros(*us)).collect()
    }

    fn reading(beats: u64) -> Reading {
        let link = LinkSpread {
            carried: beats,
            lost: beats / 100,
            jitter: spread(&[7]),
            ..LinkSpread::default()
        };
        let two =
            PeerSpread { id: 2, links: vec![link, LinkSpread::default()], ..PeerSpread::default() };
        Reading { lateness: spread(&vec![40; beats as usize]), peers: vec![two] }
    }

    #[test]
    fn what_came_meanwhile_is_judged_and_what_was_there_is_not() {
        let (mut counted, mut lost) = (Counted::default(), BTreeMap::new());
        count(&status(), &reading(1_000), &reading(1_500), &mut counted, &mut lost);
        counted.0.insert(BARE.into(), vec![(Duration::from_micros(30), 500)]);
        let order = Order { slice_s: 1, slices: 1, out: Path::new("x") };
        let page = page(&status(), &order, &counted, &lost);
        let beats = page.rows.iter().find(|row| row.id == BEATS).unwrap();
        assert_eq!(beats.count, 500);
        let verdict = |part: &str| page.verdicts.iter().find(|it| it.text.contains(part)).unwrap();
        assert!(verdict("half").holds, "{:?}", page.verdicts);
        assert!(!verdict("n2 on blue").holds, "one of a hundred was lost: {:?}", page.verdicts);
        assert!(!verdict("n2 on green").holds, "nothing came at all");
        assert!(!page.holds() && page.html().contains("MISSED"));
    }
}
