//! Ways round the service interface: another interface, `lo`, filters deleted, interfaces that come
//! later.

use super::super::ask::{Asker, How, Origin};
use super::super::daemon::{Daemon, Duty};
use super::super::error::Result;
use super::super::row::{Row, Seen, Spread};
use super::super::stage::{
    FLOATING, FLOATING6, Stage, batch, delete_clsact, enter, floating, ip, see_closed,
};
use gate::{GateError, Tc};
use std::net::IpAddr;
use testbed::os;

const SERVICE_ONLY: &str = "gate on the service interface only";
const ALL: &str = "gate on every interface";
const WATCHED: &str = "gate on every interface, watched";
/// How often an exposure is measured.
const TRIALS: usize = 10;
/// How long after a change the address is asked.
const ASKED_FOR: base::Duration = base::Duration::from_millis(150);
/// How long an interface may take to come and to get the gate.
const COMES_MAX: base::Duration = base::Duration::from_millis(1_000);
/// Time between two questions.
const PACE: base::Duration = base::Duration::from_micros(200);

/// All rows about ways round the service interface.
pub(in super::super) fn rows() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    rows.extend(other_interface()?);
    rows.extend(loopback()?);
    rows.extend(deleted()?);
    rows.extend(later("interface that appears later", "e1")?);
    rows.extend(later("service interface deleted and made again", "e0")?);
    Ok(rows)
}

/// A second cable, by which the client sends to the floating address of the first.
fn second_cable(stage: &Stage, name: &str) -> Result<()> {
    stage.cable(name, name)?;
    batch(
        &stage.node,
        &format!("addr add 10.98.0.2/24 dev {name}\naddr add fd98::2/64 dev {name} nodad\n"),
    )?;
    batch(
        &stage.client,
        &format!(
            "addr add 10.98.0.1/24 dev {name}\naddr add fd98::1/64 dev {name} nodad\n\
             route replace {FLOATING}/32 via 10.98.0.2 dev {name}\n\
             route replace {FLOATING6}/128 via fd98::2 dev {name}\n"
        ),
    )
}

/// The client on the second cable.
fn other_way<'a>(stage: &'a Stage, name: &'a str, to: IpAddr) -> Origin<'a> {
    let own = ip(if to.is_ipv4() { "10.98.0.1" } else { "fd98::1" });
    Origin { namespace: &stage.client, interface: name, own }
}

/// ARP answers for addresses of other interfaces, neighbour discovery does not.
fn ways() -> Vec<(IpAddr, How)> {
    let [v4, v6] = floating();
    vec![
        (v4, How::Resolve),
        (v4, How::Udp),
        (v4, How::Echo),
        (v4, How::Tcp),
        (v6, How::Udp),
        (v6, How::Tcp),
    ]
}

fn other_interface() -> Result<Vec<Row>> {
    let case = "asked through another interface";
    let mut rows = Vec::new();
    let mut stage = Stage::cabled()?;
    second_cable(&stage, "e1")?;
    stage.attach(Some(&["e0"]))?;
    for (to, how) in ways() {
        let seen = stage.see(case, other_way(&stage, "e1", to), to, how)?;
        rows.push(
            Row::new(case, how.name(to), SERVICE_ONLY)
                .must_answer(seen, "nothing: it answers on any interface (weak host model)"),
        );
    }
    stage.attach(None)?;
    for (to, how) in ways() {
        let seen = stage.see(case, other_way(&stage, "e1", to), to, how)?;
        rows.push(Row::new(case, how.name(to), ALL).must_close(seen, "the filter there"));
    }
    Ok(rows)
}

fn loopback() -> Result<Vec<Row>> {
    let case = "asked from the node itself, over lo";
    let mut rows = Vec::new();
    let mut stage = Stage::cabled()?;
    for (only, measure) in [(Some(&["e0"][..]), SERVICE_ONLY), (None, ALL)] {
        stage.attach(only)?;
        for to in floating() {
            let own = ip(if to.is_ipv4() { "10.99.0.2" } else { "fd99::2" });
            let from = Origin { namespace: &stage.node, interface: "lo", own };
            for how in [How::Udp, How::Echo, How::Tcp] {
                let seen = stage.see(case, from, to, how)?;
                let row = Row::new(case, how.name(to), measure);
                rows.push(match only {
                    Some(_) => row.must_answer(seen, "nothing: lo has no filter"),
                    None => row.must_close(seen, "the filter on lo"),
                });
            }
        }
    }
    Ok(rows)
}

fn deleted() -> Result<Vec<Row>> {
    let case = "another tool deleted clsact";
    let [to, _] = floating();
    let mut stage = Stage::cabled()?;
    stage.attach(None)?;
    stage.open();
    let mut asker = stage.asker(case, stage.client_at(ip("10.99.0.1")), to, How::Udp)?;
    stage.close();
    delete_clsact(&stage)?;
    let bare = see_closed(&mut asker);
    stage.attach(None)?;
    let _keeper = Daemon::start(&stage, Duty::Keep)?;
    asker.never_wait()?;
    let mut exposed = Vec::new();
    let mut seen = Seen::Closes;
    for _ in 0..TRIALS {
        let (spent, after) = exposure(&mut asker, || delete_clsact(&stage))?;
        exposed.push(spent);
        if after {
            seen = Seen::Answers;
        }
    }
    Ok(vec![
        Row::new(case, "UDP", ALL).must_answer(bare, "nothing: the filters went with it"),
        Row::new(case, "UDP", WATCHED)
            .must_close(seen, "the watch attaches again")
            .late(Spread::of(exposed))
            .note("times: first to last answer that came through the gap"),
    ])
}

/// Asks all the time while `change` happens and for a while after: from the first answer to the
/// last, in microseconds, and whether it still answers at the end.
fn exposure(asker: &mut Asker, change: impl FnOnce() -> Result<()> + Send) -> Result<(i64, bool)> {
    let mut heard: Option<(base::Instant, base::Instant)> = None;
    let until = std::thread::scope(|scope| {
        let change = scope.spawn(change);
        let mut until = None;
        while until.is_none_or(|until| os::now() < until) {
            asker.ask();
            os::sleep(PACE);
            while asker.hear().is_some() {
                let at = asker.heard_at().unwrap_or_else(os::now);
                heard = Some((heard.map_or(at, |it| it.0), at));
            }
            if until.is_none() && change.is_finished() {
                until = Some(os::now() + ASKED_FOR);
            }
        }
        match change.join() {
            Ok(done) => done.map(|()| until.unwrap_or_else(os::now)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })?;
    let spent = heard.map_or(0, |(first, last)| last.since(first).micros() as i64);
    let recent = until - ASKED_FOR / 2;
    Ok((spent, heard.is_some_and(|it| it.1 > recent)))
}

/// An interface that comes when the gate is already everywhere.
fn later(case: &str, name: &str) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for watched in [false, true] {
        let mut stage = Stage::bare()?;
        stage.cable("e0", "e0")?;
        stage.address("e0", "e0")?;
        stage.attach(None)?;
        // Before anything answers: the process would hold those sockets open for ever.
        let _keeper = if watched { Some(Daemon::start(&stage, Duty::Keep)?) } else { None };
        stage.answer()?;
        let mut gaps = Vec::new();
        for _ in 0..if watched { TRIALS } else { 1 } {
            stage.hush();
            // The first trial of a second cable has none to delete.
            let _ = batch(&stage.node, &format!("link del {name}\n"));
            gaps.extend(gap(&stage, name)?);
            stage.answer()?;
        }
        let [to, _] = floating();
        let from = match name {
            "e0" => stage.client_at(ip("10.99.0.1")),
            _ => other_way(&stage, name, to),
        };
        let seen = stage.see(case, from, to, How::Udp)?;
        rows.push(match watched {
            false => Row::new(case, "UDP", ALL)
                .must_answer(seen, "nothing: the new interface has no filter"),
            true => Row::new(case, "UDP", WATCHED)
                .must_close(seen, "the watch attaches there")
                .late(Spread::of(gaps))
                .note("times: from when the interface is there until it has the gate"),
        });
    }
    Ok(rows)
}

/// Makes the interface and watches it come: microseconds from when it is there until it has the
/// gate; nothing if it does not get it.
fn gap(stage: &Stage, name: &str) -> Result<Option<i64>> {
    std::thread::scope(|scope| {
        let look = scope.spawn(|| enter(&stage.node, || watch_come(stage, name)));
        match name {
            "e0" => stage.cable("e0", "e0").and_then(|()| stage.address("e0", "e0"))?,
            _ => second_cable(stage, name)?,
        }
        look.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn watch_come(stage: &Stage, name: &str) -> std::result::Result<Option<i64>, GateError> {
    let mut tc = Tc::open()?;
    let until = os::now() + COMES_MAX;
    let mut came = None;
    while os::now() < until {
        if let Some(it) = tc.interfaces()?.iter().find(|it| it.name == name) {
            let came = *came.get_or_insert_with(os::now);
            if tc.lacks(&stage.gate, it)?.is_empty() {
                return Ok(Some(os::now().since(came).micros() as i64));
            }
        }
        os::sleep(PACE);
    }
    Ok(None)
}
