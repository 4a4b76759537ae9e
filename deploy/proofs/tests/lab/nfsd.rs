//! Proof 1: one nfsd per service, crosswise on two nodes; a table of what is separate and what not.

mod bed;
mod history;
mod shared;

use crate::Test;
use crate::arena::Arena;
use bed::{Bed, NODES, SERVICES, VERSIONS, address};
use history::{ALL, DATA};
use lab::error::Context;
use lab::{DiskSpec, LabError, Result};
use proofs::table::Table;
use serde_json::Value;
use std::fmt::{self, Display};
use testbed::hold;
use testbed::os;
use testbed::suite::Verdict;

pub(crate) const TESTS: &[Test] = &[Test { name: "nfsd-per-service", run: per_service }];

/// Undisturbed work before an event: what its pauses are compared with.
const CALM: base::Duration = base::Duration::from_millis(3_000);
/// After grace has ended everything that waited for it has gone on: NFSv3's clients ask for a lock
/// every 5 s, NFSv4's for an open at growing intervals.
const AFTER: base::Duration = base::Duration::from_millis(7_000);
/// A neighbour's pause beyond this is a disturbance, and no longer a busy machine's: NFSv4's grace
/// would last for a lease of 10 s, a refused NFSv3 lock is asked for again after 5 s.
pub(crate) const DISTURBED_MS: f64 = 2_000.0;

/// The table as it grows.
pub(crate) struct Rows(Table);

impl Rows {
    fn new() -> Self {
        let columns = ["case", "version", "holds", "figure", "note"];
        let title = "One nfsd per service, each in a network namespace of its own";
        let load = format!("kernel 6.1, DRBD 8.4 with flushes; load {:.1}", os::load());
        Self(Table::new(title, load, &columns))
    }

    /// One more.
    pub(crate) fn add(
        &mut self,
        case: &str,
        version: &str,
        holds: bool,
        figure: &dyn Display,
        note: &str,
    ) {
        let holds = if holds { "yes" } else { "no" };
        self.0.row(&[&case, &version.trim_start_matches('v'), &holds, figure, &note]);
    }
}

fn per_service(arena: &Arena) -> Result<Verdict> {
    let disk = DiskSpec { mib: 128, ..DiskSpec::default() };
    let lab = arena.start(&arena.pair().with_disks(&[disk.clone(), disk]))?;
    let mut bed = Bed::prepare(&lab)?;
    let mut rows = Rows::new();
    let verdict = cases(&mut bed, &mut rows)?;
    rows.0.save(&arena.results, "nfsd").context("results")?;
    print!("{}", rows.0);
    println!("      reported: {}", bed.troubles());
    Ok(match verdict {
        Verdict::Fail(why) => Verdict::Fail(format!("{why}\nreported: {}", bed.troubles())),
        other => other,
    })
}

/// Passes a verdict on unless it is "holds".
macro_rules! pass {
    ($verdict:expr) => {
        match $verdict? {
            Verdict::Pass => {}
            other => return Ok(other),
        }
    };
}

fn cases(bed: &mut Bed<'_>, rows: &mut Rows) -> Result<Verdict> {
    pass!(graces_end_alone(bed, rows));
    bed.order("a", "s1", "take")?;
    bed.order("b", "s2", "take")?;
    bed.mount("c")?;
    let before = introductions(bed)?;
    let distinct = before.first() != before.last();
    let case = "server owner and scope are the service's own";
    rows.add(case, "4.1", distinct, &before.join(", "), "");
    hold!(distinct, "both services introduce themselves as {before:?}");
    pass!(shared::renewals(bed, rows, "b"));

    pass!(disturb(bed, rows, Event { moved: "s1", from: "a", to: "b", cut: true }));
    pass!(disturb(bed, rows, Event { moved: "s1", from: "b", to: "a", cut: false }));
    pass!(disturb(bed, rows, Event { moved: "s2", from: "b", to: "a", cut: true }));
    let after = introductions(bed)?;
    rows.add("they stay with it", "4.1", before == after, &after.join(", "), "");
    hold!(before == after, "was {before:?}, is now {after:?}");
    // Both services are on a now.
    pass!(shared::standstills(bed, rows, "a"));
    pass!(disturb(bed, rows, Event { moved: "s2", from: "a", to: "b", cut: false }));
    pass!(shared::only_the_recorded(bed, rows, "a"));
    // And now on b.
    shared::lock_managers(bed, rows, "b")
}

/// Each instance stands in grace; ordered to end it, one ends its own.
fn graces_end_alone(bed: &mut Bed<'_>, rows: &mut Rows) -> Result<Verdict> {
    let both = |status: &Value, ended: bool| {
        status["nfs_grace_ended"] == ended && status["lock_grace_ended"] == ended
    };
    for (node, service) in NODES.into_iter().flat_map(|n| SERVICES.map(|s| (n, s))) {
        let status = bed.status(node, service)?;
        hold!(both(&status, false), "{service} does not stand in grace on {node}: {status}");
    }
    bed.order("a", "s1", "end grace")?;
    let took = bed.until("a", "s1", |status| both(status, true))?;
    let other = bed.status("a", "s2")?;
    hold!(both(&other, false), "ending s1's grace ended s2's: {other}");
    // Renewed, it stands in grace again.
    bed.order("a", "s1", "hold")?;
    let again = bed.status("a", "s1")?;
    hold!(both(&again, false), "renewed, s1 does not stand in grace: {again}");
    let case = "grace is ended in one instance, its neighbour stays in it";
    rows.add(case, "3, 4.1", true, &format!("{} ms", took.as_millis()), "both graces, both ways");
    Ok(Verdict::Pass)
}

/// What both services say they are.
fn introductions(bed: &Bed<'_>) -> Result<Vec<String>> {
    let ask = |service| {
        let words = ["netguard-proof", "nfsd", "ask", &address(service)];
        let text = bed.lab.node("c").run(&words)?.success()?;
        let told: Value = serde_json::from_str(text.trim())
            .map_err(|error| LabError::Channel(format!("{text}: {error}")))?;
        Ok(told["scope"].as_str().unwrap_or_default().to_owned())
    };
    SERVICES.into_iter().map(ask).collect()
}

/// A service goes to another node.
#[derive(Clone, Copy)]
struct Event {
    moved: &'static str,
    from: &'static str,
    to: &'static str,
    /// Because its node loses power; else by order.
    cut: bool,
}

impl Display for Event {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { moved, from, to, cut } = self;
        let how = if *cut { "power cut" } else { "move" };
        write!(out, "{how}, {moved} from {from} to {to}")
    }
}

impl Event {
    /// The service that stays where it is.
    fn stays(&self) -> &'static str {
        if self.moved == "s1" { "s2" } else { "s1" }
    }

    /// Where that is.
    const fn where_it_stays(&self) -> &'static str {
        if self.cut { self.to } else { self.from }
    }

    /// Does it; returns when it began, and the phases of the takeover.
    fn perform(&self, bed: &mut Bed<'_>) -> Result<(u64, Value)> {
        let Self { moved, from, to, cut } = *self;
        if cut {
            let cut = bed.lab.node(from).power_off(os::random())?;
            bed.send(to, moved, "take forced")?;
            bed.send(to, self.stays(), "go alone")?;
            let phases = bed.answer(to, moved, "take forced")?;
            bed.answer(to, self.stays(), "go alone")?;
            return Ok((cut.at, phases));
        }
        let at = os::now().0;
        bed.order(from, moved, "give")?;
        let phases = bed.order(to, moved, "take")?;
        bed.order(from, moved, "hold")?;
        Ok((at, phases))
    }
}

/// One event while the client works on both services: one moves, the other must not notice.
fn disturb(bed: &mut Bed<'_>, rows: &mut Rows, event: Event) -> Result<Verdict> {
    let (moved, stays) = (event.moved, event.stays());
    let work = bed.work()?;
    // The first time there is one client only; the second one then stays, and is idle.
    let idle = bed.has_second;
    let early = if idle { bed.lost_locks()? } else { vec![] };
    hold!(early.is_empty(), "the second client got {early:?} before {event}");
    os::sleep(CALM);
    let refused = bed.refusals(stays)?;
    let (at, phases) = event.perform(bed)?;
    let neighbour = bed.status(event.where_it_stays(), stays)?;
    let ended =
        |status: &Value| status["nfs_grace_ended"] == true && status["lock_grace_ended"] == true;
    bed.until(event.to, moved, ended)?;
    let grace = history::ms(os::now().0 - at);
    os::sleep(AFTER);
    let refused = bed.refusals(stays)? - refused;
    let lost = bed.lost_locks()?;
    let (calm, window) = ((at - CALM.nanos(), at), (at, os::now().0));
    let history = shared::finish(bed, work)?;

    for version in VERSIONS {
        let longest =
            |service, kinds: &[&str], span| history.longest((service, version), kinds, span);
        let pauses =
            ALL.iter().map(|kind| format!("{kind} {:.0}", longest(moved, &[*kind], window)));
        let figure = format!("{} ms", pauses.collect::<Vec<_>>().join(", "));
        let kept = !lost.contains(&format!("{moved} {version}"));
        let clients = if idle { "two clients, one idle" } else { "one client" };
        let note = format!("{clients}; grace {grace:.0} ms; {}", in_order(&phases));
        rows.add(&format!("{event}: goes on, lock kept"), version, kept, &figure, &note);
        let (pause, data) = (longest(stays, ALL, window), longest(stays, DATA, window));
        let before = longest(stays, ALL, calm);
        let figure =
            format!("{pause:.0} ms, data {data:.0} (before {before:.0}), {refused} refused");
        let holds = pause < DISTURBED_MS && refused == 0;
        rows.add(&format!("{event}: {stays} undisturbed"), version, holds, &figure, "");
        hold!(holds, "{event}: {stays} {version} was disturbed: {figure}");
    }
    hold!(neighbour["nfs_grace_ended"] == true, "{event}: {stays} went into grace: {neighbour}");
    hold!(lost.is_empty(), "{event}: the second client got the locks {lost:?}");
    hold!(history.errors.is_empty(), "{event}: failed: {:?}", history.errors.first());
    hold!(history.count() > 1_000, "{event}: only {} operations", history.count());
    if event.cut {
        bed.revive(event.from)?;
    } else {
        bed.wait_for_copies()?;
    }
    Ok(Verdict::Pass)
}

/// The phases of a takeover in the order in which they ended, in ms after the order.
fn in_order(phases: &Value) -> String {
    let mut all: Vec<(f64, &str)> = phases
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, us)| (us.as_f64().unwrap_or_default() / 1e3, name.as_str()))
        .collect();
    all.sort_by(|one, other| one.0.total_cmp(&other.0));
    all.iter().map(|(ms, name)| format!("{name} {ms:.1}")).collect::<Vec<_>>().join(", ")
}
