//! Nobody there to act: daemons killed, stopped, started again.

use super::super::ask::{Asker, How};
use super::super::daemon::{Daemon, Duty, LEASE};
use super::super::error::Result;
use super::super::row::{Row, Seen, Spread};
use super::super::stage::{
    FLOATING, Stage, batch, client_of, delete_clsact, floating, ip, see_closed,
};
use gate::{Gate, Words};
use std::net::IpAddr;
use testbed::os;
use testbed::stall::StallMeter;

const ALL: &str = "gate on every interface";
const TRIALS: usize = 20;
/// Trials that are void and repeated.
const VOID_MAX: usize = 3;
/// Time between two questions.
const PACE: base::Duration = base::Duration::from_micros(200);
/// How long a renewing daemon is asked without a gap.
const RENEWED_FOR: base::Duration = base::Duration::from_millis(1_500);
/// How long `valid_lft 1` may take: a second, rounded, and the kernel's worker.
const LIFETIME_MAX: base::Duration = base::Duration::from_millis(3_500);

/// Silence that tells that the address has gone.
const QUIET: base::Duration = base::Duration::from_millis(200);
/// How often a lifetime is let run out.
const LIFETIMES: usize = 5;

/// All rows about daemons that do not act.
pub(in super::super) fn rows() -> Result<Vec<Row>> {
    let mut rows = vec![renewed()?];
    for to in floating() {
        for (signal, what) in [(libc::SIGKILL, "SIGKILLed"), (libc::SIGSTOP, "SIGSTOPped")] {
            rows.push(ended(to, signal, what)?);
        }
    }
    rows.extend(restarted()?);
    rows.extend(nobody_watches()?);
    Ok(rows)
}

/// A lease that is renewed by single stores: is there a gap? A machine that stalls for half a lease
/// makes one, and the trial void.
fn renewed() -> Result<Row> {
    let case = "lease renewed by one store every 5 ms";
    let (mut stage, to) = (Stage::cabled()?, floating()[0]);
    stage.attach(None)?;
    stage.open();
    let _daemon = Daemon::start(&stage, Duty::Renew)?;
    let mut asker = stage.asker(case, stage.client_at(client_of(to)), to, How::Udp)?;
    let meter = StallMeter::start();
    let row = Row::new(case, "UDP", ALL);
    for void in 0..=VOID_MAX {
        let begin = os::now();
        let (passed, dropped) = ask_without_pause(&stage, &mut asker, begin + RENEWED_FOR);
        os::sleep(LEASE);
        if meter.overlaps(begin, begin + RENEWED_FOR, LEASE / 2).is_some() {
            continue;
        }
        let seen = if dropped == 0 && passed > 0 { Seen::Answers } else { Seen::Closes };
        let note = format!("{passed} packets passed, {dropped} stopped; {void} void trials");
        return Ok(row.must_answer(seen, "open: no gap between renewals").note(note));
    }
    Ok(row.not_here("the machine stalled for half a lease in every trial"))
}

/// Packets that the gate passed and stopped meanwhile.
fn ask_without_pause(stage: &Stage, asker: &mut Asker, until: base::Instant) -> (u64, u64) {
    let before = stage.gate.look(stage.slots[0]);
    let mut asked = 0;
    while os::now() < until {
        asker.ask();
        asked += 1;
        while asker.hear().is_some_and(|number| number < asked) {}
    }
    let after = stage.gate.look(stage.slots[0]);
    (after.passed - before.passed, after.dropped - before.dropped)
}

/// The daemon that renews is killed or stopped; nobody does anything.
fn ended(to: IpAddr, signal: i32, what: &str) -> Result<Row> {
    let case = format!("daemons {what}");
    let mut stage = Stage::cabled()?;
    stage.attach(None)?;
    let mut late = Vec::new();
    let mut seen = Seen::Closes;
    for trial in 0..TRIALS {
        stage.open();
        let daemon = Daemon::start(&stage, Duty::Renew)?;
        let mut asker = stage.asker(&case, stage.client_at(client_of(to)), to, How::Udp)?;
        asker.never_wait()?;
        // The end comes at another phase of the renewal each time.
        let phase = base::Duration::from_micros(20_000 + 250 * trial as u64);
        let before = ask_until(&mut asker, os::now() + phase);
        daemon.signal(signal);
        let last = ask_until(&mut asker, os::now() + LEASE + LEASE).or(before);
        let end = stage.gate.words().lease_end();
        if let Some(last) = last {
            late.push(signed_micros(last, end));
        }
        if stage.see_stopped(&case, &mut asker, to)? == Seen::Answers {
            seen = Seen::Answers;
        }
    }
    Ok(Row::new(&case, How::Udp.name(to), ALL)
        .must_close(seen, "the lease end, nobody acting")
        .late(Spread::of(late))
        .note("times: from the lease's end; the kernel's stamp at the client"))
}

/// Asks until `until`; when the last answer came.
fn ask_until(asker: &mut Asker, until: base::Instant) -> Option<base::Instant> {
    let mut last = None;
    while os::now() < until {
        asker.ask();
        os::sleep(PACE);
        while asker.hear().is_some() {
            last = asker.heard_at();
        }
    }
    last
}

/// Asks until nothing has come for a while, or `until`; when the last answer came.
fn ask_until_silent(asker: &mut Asker, until: base::Instant) -> Option<base::Instant> {
    let mut last = None;
    while os::now() < until {
        match ask_until(asker, os::now() + QUIET) {
            None => break,
            heard => last = heard,
        }
    }
    last
}

fn signed_micros(at: base::Instant, from: base::Instant) -> i64 {
    at.since(from).micros() as i64 - from.since(at).micros() as i64
}

/// A life ends with its address still up; the next begins.
fn restarted() -> Result<Vec<Row>> {
    let to = floating()[0];
    let mut stage = Stage::cabled()?;
    stage.attach(None)?;
    stage.open();
    let case = "daemons dead, address still on the interface";
    let mut asker = stage.asker(case, stage.client_at(client_of(to)), to, How::Udp)?;
    stage.close();
    let next = Gate::load(Words::create()?)?;
    let slot = next.add(to)?;
    // The dead life's descriptors are gone; its filters hold its program.
    stage.gate = next;
    let dead = see_closed(&mut asker);
    stage.slots = [slot, stage.gate.add(floating()[1])?];
    stage.attach(None)?;
    let started = see_closed(&mut asker);
    stage.open();
    let opened = asker.is_answered_within(std::time::Duration::from_secs(1));
    let note = if opened { "opened by the new life, it answers" } else { "it never opens again" };
    Ok(vec![
        Row::new(case, "UDP", ALL).must_close(dead, "the dead life's filters, lease over"),
        Row::new("daemons started again, before the first beat", "UDP", ALL)
            .must_close(started, "a new gate starts with zeros and replaces the old filters")
            .note(note),
    ])
}

/// Filters deleted while the daemons are stopped: what is left.
fn nobody_watches() -> Result<Vec<Row>> {
    let case = "daemons SIGSTOPped, then clsact deleted";
    let to = floating()[0];
    let mut stage = Stage::cabled()?;
    stage.attach(None)?;
    stage.open();
    let mut asker = stage.asker(case, stage.client_at(ip("10.99.0.1")), to, How::Udp)?;
    stage.close();
    let keeper = Daemon::start(&stage, Duty::Keep)?;
    keeper.signal(libc::SIGSTOP);
    delete_clsact(&stage)?;
    let bare = see_closed(&mut asker);
    asker.never_wait()?;
    let mut late = Vec::new();
    for _ in 0..LIFETIMES {
        let begin = os::now();
        let lifetime = "valid_lft 1 preferred_lft 1";
        batch(&stage.node, &format!("addr replace {FLOATING}/24 dev e0 {lifetime}\n"))?;
        let last = ask_until_silent(&mut asker, begin + LIFETIME_MAX);
        late.extend(last.map(|last| signed_micros(last, begin)));
    }
    let seen = see_closed(&mut asker);
    Ok(vec![
        Row::new(case, "UDP", ALL).must_answer(bare, "nothing while nobody watches"),
        Row::new(case, "UDP", "… and the address had valid_lft 1 s")
            .must_close(seen, "the kernel removes the address")
            .late(Spread::of(late))
            .note("times: from the last renewal of the lifetime"),
    ])
}
