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
    let cost = |frame: &[u8]| -> Result<u32> {
        let mut best = u32::MAX;
        for _ in 0..ROUNDS {
            let run = stage.gate.rehearse(Framing::Ethernet, Direction::In, frame, RUNS)?;
            best = best.min(run.cost_ns);
        }
        Ok(best)
    };
    let other = cost(&frame(Ipv4Addr::new(10, 99, 0, 2)))?;
    let shut = cost(&frame(floating))?;
    stage.open();
    let open = cost(&frame(floating))?;
    let row = |what: &str, ns: u32, seen, by: &str| {
        let row = Row::new("cost of a packet", what, "program alone");
        let row =
            if seen == Seen::Closes { row.must_close(seen, by) } else { row.must_answer(seen, by) };
        row.note(format!("{ns} ns, {engine}, n={RUNS}, best of {ROUNDS}"))
    };
    Ok(vec![
        row("UDP to another address", other, Seen::Answers, "passes"),
        row("UDP to an open address", open, Seen::Answers, "passes, counted"),
        row("UDP to a closed address", shut, Seen::Closes, "stopped, counted"),
    ])
}
