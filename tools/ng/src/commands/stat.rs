//! `ng stat`: the shared map, read without the daemon's help.

use super::Done;
use crate::failure::Exit;
use crate::output::Output;
use crate::text::{Paint, Table, Tone, clean};
use serde::Serialize;
use shm::{NetworkIo, ReadMap};
use std::collections::BTreeMap;
use std::path::Path;

/// The object.
#[derive(Serialize)]
struct Object {
    map: String,
    pid: u32,
    /// True if a process with that pid runs (it may be another one, if the pid was used again).
    pid_alive: bool,
    /// `starting`, `running`, `stopped` or `failed`; a daemon that was killed still says `running`.
    state: &'static str,
    node_id: Option<u8>,
    life: u32,
    started_ns: u64,
    /// By what the heartbeats go: `recvmmsg` or `io_uring`; null before the links are open.
    network_io: Option<&'static str>,
    /// Every counter by its name, zero or not.
    counters: BTreeMap<String, u64>,
    /// With `--trace`: what the fast path did last, the oldest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<Vec<Step>>,
}

#[derive(Serialize)]
struct Step {
    at_ns: u64,
    what: String,
}

pub(super) fn run(run_dir: &Path, all: bool, trace: bool, output: &Output) -> Done {
    let path = run_dir.join(shm::map::NAME);
    let map = ReadMap::open(&path)?;
    let header = map.header();
    let steps = || {
        map.trace()
            .map(|record| Step { at_ns: record.at.0, what: format!("{:?}", record.kind) })
            .collect()
    };
    let object = Object {
        map: path.display().to_string(),
        pid: header.pid(),
        pid_alive: Path::new(&format!("/proc/{}", header.pid())).exists(),
        state: header.state().name(),
        node_id: header.node().map(|node| node.get()),
        life: header.incarnation().0,
        started_ns: header.started().0,
        network_io: header.network_io().map(NetworkIo::name),
        counters: map.counters().collect(),
        trace: trace.then(steps),
    };
    output.answer(&object, |paint| show(&object, all, paint));
    Ok(Exit::Fine)
}

fn show(object: &Object, all: bool, paint: Paint) -> String {
    let (tone, word) = match (object.state, object.pid_alive) {
        ("running" | "starting", true) => (Tone::Good, object.state),
        ("running" | "starting", false) => (Tone::Bad, "dead, it was killed"),
        ("failed", _) => (Tone::Bad, "failed"),
        _ => (Tone::Warning, object.state),
    };
    let node = object.node_id.map_or_else(|| "node not known".into(), |id| format!("node {id}"));
    let io = object.network_io.map(|io| format!("; heartbeats by {io}")).unwrap_or_default();
    let mut text = format!(
        "{}: {node}, life {}, pid {}: {}{io}\n",
        clean(&object.map),
        object.life,
        object.pid,
        paint.tone(tone, word)
    );
    let shown: Vec<_> = object.counters.iter().filter(|(_, count)| all || **count > 0).collect();
    if shown.is_empty() {
        text.push_str("every counter is zero\n");
    } else {
        let mut table = Table::new(&["COUNTER", "VALUE"]);
        for (name, count) in shown {
            let rejected = name.contains(".reject.") && *count > 0;
            let tone = if rejected { Tone::Warning } else { Tone::Plain };
            table.row(vec![(tone, name.clone()), (Tone::Plain, count.to_string())]);
        }
        text.push('\n');
        text.push_str(&table.show(paint));
    }
    if let Some(steps) = &object.trace {
        text.push_str("\nlast steps, in seconds since the machine booted\n");
        for step in steps {
            let (s, ns) = (step.at_ns / 1_000_000_000, step.at_ns % 1_000_000_000);
            text.push_str(&format!("{s:>8}.{ns:09}  {}\n", clean(&step.what)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Object, Step, show};
    use crate::text::Paint;

    fn object() -> Object {
        Object {
            map: "/run/netguard/map".into(),
            pid: 7,
            pid_alive: false,
            state: "running",
            node_id: Some(2),
            life: 4,
            started_ns: 1,
            network_io: Some("io_uring"),
            counters: [("fast.beats", 10), ("fast.reject.forged", 2), ("fast.stalls", 0)]
                .map(|(name, count)| (name.to_owned(), count))
                .into(),
            trace: Some(vec![Step { at_ns: 1_000_000_005, what: "Running".into() }]),
        }
    }

    #[test]
    fn a_killed_daemon_is_told_from_a_running_one() {
        let shown = show(&object(), false, Paint { colour: false });
        assert_eq!(
            shown,
            "/run/netguard/map: node 2, life 4, pid 7: dead, it was killed; heartbeats by io_uring\n\n\
             COUNTER             VALUE\n\
             fast.beats          10\n\
             fast.reject.forged  2\n\n\
             last steps, in seconds since the machine booted\n       1.000000005  Running\n"
        );
        let living = Object { pid_alive: true, ..object() };
        assert!(show(&living, true, Paint { colour: false }).contains("pid 7: running; "));
        assert!(show(&living, true, Paint { colour: false }).contains("fast.stalls"));
    }
}
