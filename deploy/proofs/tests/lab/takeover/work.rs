//! The client's work during a trial, and its check on the new owner's disk.

use lab::error::Context;
use lab::{Lab, LabError, Node, Result, Running};
use serde::Deserialize;
use std::fs;
use std::time::Duration;

/// How the program for the nodes is called.
pub(crate) const PROOF: [&str; 2] = ["netguard-proof", "takeover"];
/// Everything that is waited for comes sooner, or not at all.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// What the client did: begin and end of every operation, in its own time.
#[derive(Debug, Deserialize)]
pub(crate) struct History {
    pub(crate) writes: Vec<(u64, u64)>,
    pub(crate) reads: Vec<(u64, u64)>,
    pub(crate) errors: Vec<(u64, String)>,
}

#[derive(Debug, Deserialize)]
struct Checked {
    checked: u64,
    wrong: u64,
    first_wrong: Vec<u64>,
}

/// A client at work.
pub(crate) struct Work<'a> {
    lab: &'a Lab,
    seed: u64,
    running: Running,
}

impl<'a> Work<'a> {
    /// Begins in a folder of the client; it runs when this returns. `more`: its other arguments.
    pub(crate) fn begin(lab: &'a Lab, folder: &str, seed: u64, more: &[&str]) -> Result<Self> {
        let (name, out) = (seed.to_string(), format!("/lab/share/history-{seed:x}"));
        let words = ["client", "--folder", folder, "--seed", &name, "--out", &out];
        let running = lab.node("c").spawn(&[&PROOF[..], &words, more].concat())?;
        expect(&running, "running")?;
        Ok(Self { lab, seed, running })
    }

    /// Ends it.
    pub(crate) fn end(mut self) -> Result<History> {
        self.running.write(b"stop\n")?;
        self.running.wait(LIMIT)?.success()?;
        let path = self.lab.share().join(format!("history-{:x}", self.seed));
        let text = fs::read(&path).context(path.display().to_string())?;
        // It was read; a file that stays is no harm.
        let _ = fs::remove_file(&path);
        serde_json::from_slice(&text)
            .map_err(|error| LabError::Channel(format!("the client's history: {error}")))
    }
}

/// What is missing of `count` acknowledged writes in a file on a server's disk, byte for byte (S4).
pub(crate) fn lost(node: Node<'_>, file: &str, seed: u64, count: usize) -> Result<Option<String>> {
    let (seed, count) = (seed.to_string(), count.to_string());
    let words = ["verify", "--file", file, "--seed", &seed, "--count", &count];
    let text = node.run(&[&PROOF[..], &words].concat())?.success()?;
    let found: Checked = serde_json::from_str(text.trim())
        .map_err(|error| LabError::Channel(format!("{text}: {error}")))?;
    let Checked { checked, wrong, first_wrong } = found;
    let told = format!("{wrong} of {checked} acknowledged writes are lost: {first_wrong:?}");
    Ok((wrong > 0).then_some(told))
}

/// Waits for a line.
pub(crate) fn expect(running: &Running, word: &str) -> Result<()> {
    match running.next_line(LIMIT) {
        Some(line) if line == word => Ok(()),
        _ => Err(silent(running, word)),
    }
}

/// What a process said instead of what was expected.
pub(crate) fn silent(running: &Running, what: &str) -> LabError {
    let (out, errors) = running.so_far();
    LabError::Refused(format!("instead of {what} it said: {out}{errors}"))
}
