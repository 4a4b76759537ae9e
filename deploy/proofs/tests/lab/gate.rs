//! Proof 2: what the gate closes, on the guests' kernel and on this one.

use crate::Test;
use crate::arena::Arena;
use lab::Result;
use lab::error::Context;
use proofs::gate;
use std::fs;
use std::process::Command;
use std::time::Duration;
use testbed::hold;
use testbed::suite::Verdict;

pub(crate) const TESTS: &[Test] = &[Test { name: "gate-closes", run: gate_closes }];

/// Every case waits for silence: the run is made of waiting.
const LIMIT: Duration = Duration::from_secs(400);

/// The same program in a node and here, at the same time; every row must be as NetGuard needs it.
fn gate_closes(arena: &Arena) -> Result<Verdict> {
    let lab = arena.start(&arena.single(&[]))?;
    let folder = arena.results.join("gate");
    fs::create_dir_all(&folder).context(folder.display().to_string())?;
    let (there, here) = (lab.share().join("gate.json"), folder.join("host.json"));
    let program = lab.spec().programs.join("netguard-proof");
    let mut own = Command::new(program);
    let own = own.arg("gate").arg("--json").arg(&here).stdout(std::process::Stdio::piped());
    let own = own.spawn().context("netguard-proof")?;
    let mut guest =
        lab.node("a").spawn(&["netguard-proof", "gate", "--json", "/lab/share/gate.json"])?;
    guest.end_input()?;
    let guest = guest.wait(LIMIT)?;
    let own = own.wait_with_output().context("netguard-proof")?;
    let kept = folder.join("guest.json");
    fs::copy(&there, &kept).context(there.display().to_string())?;
    let table = gate::table(&[kept, here]);
    let table = table.map_err(|error| lab::LabError::Refused(error.to_string()))?;
    table.save(&arena.results, "gate").context("results")?;
    let complaints = |text: &str| {
        let lines = text.lines().filter(|line| line.contains('!'));
        lines.map(str::to_owned).collect::<Vec<_>>().join("\n")
    };
    let said = String::from_utf8_lossy(&own.stdout).into_owned();
    let guests = complaints(&guest.stdout) + &guest.stderr;
    hold!(guest.success().is_ok(), "in the guest:\n{guests}");
    hold!(own.status.success(), "on this host:\n{}", complaints(&said));
    Ok(Verdict::Pass)
}
