//! What a packet costs, as the kernel measures it itself.

use super::super::error::Result;
use super::super::row::{Row, Seen};
use super::super::stage::{FLOATING, Stage};
use gate::{Direction, Framing};
use std::net::Ipv4Addr;
use testbed::packet;

/// Runs that are averaged, and how often that is done: the least disturbed counts.
const RUNS: u32 = 20_000;
const ROUNDS: usize = 5;

/// One row for each fate of a packet.
pub(in super::super) fn rows() -> Result<Vec<Row>> {
    let stage = Stage::bare()?;
    let floating: Ipv4Addr = FLOATING.parse().unwrap_or(Ipv4Addr::UNSPECIFIED);
    let client = ([2, 0, 0, 0, 0, 1], "10.99.0.1:1000".parse().ok());
    let frame = |to: Ipv4Addr| {
        let to = ([2, 0, 0, 0, 0, 2], std::net::SocketAddrV4::new(to, 2_049));
        client.1.map(|from| packet::udp((client.0, from), to, &[0; 64])).unwrap_or_default()
    };
    let jit = std::fs::read_to_string("/proc/sys/net/core/bpf_jit_enable");
    let engine = if jit.is_ok_and(|it| it.trim() != "0") { "compiled" } else { "interpreted" };
    let row = |what: &str, frame: &[u8]| -> Result<Row> {
        let mut passes = false;
        let mut best = u32::MAX;
        for _ in 0..ROUNDS {
            let run = stage.gate.rehearse(Framing::Ethernet, Direction::In, frame, RUNS)?;
            passes = run.passes;
            best = best.min(run.cost_ns);
        }
        let seen = if passes { Seen::Answers } else { Seen::Closes };
        let row = Row::new("cost of a packet", what, "program alone")
            .cost(format!("{best} ns, {engine}"));
        let row = match what {
            SHUT => row.must_close(seen, "stopped and counted"),
            _ => row.must_answer(seen, "passes"),
        };
        Ok(row.note(format!("n={RUNS}, best of {ROUNDS}")))
    };
    let other = row("UDP to another address", &frame(Ipv4Addr::new(10, 99, 0, 2)))?;
    let shut = row(SHUT, &frame(floating))?;
    stage.open();
    let open = row("UDP to an open address", &frame(floating))?;
    Ok(vec![other, open, shut])
}

const SHUT: &str = "UDP to a closed address";
