//! House rules that no compiler knows: sizes, names, words.

use crate::run::{command, output, root};
use anyhow::{Result, bail};

/// Lines a source file may have.
const LINES_MAX: usize = 800;
/// Characters a source line may have.
const WIDTH_MAX: usize = 130;
/// File names that tell nothing.
const VAGUE: &[&str] = &["utils.rs", "util.rs", "common.rs", "helpers.rs", "manager.rs", "misc.rs"];
/// Words that stand for another one here: (in the text, say instead). Split so that this file passes.
const WORDS: &[(&str, &str)] = &[
    (concat!("split", " brain"), "two owners (or, for disks, diverged data)"),
    (concat!("black", "list"), "refused list"),
    (concat!("to", "do!("), "the code"),
    (concat!("un", "implemented!("), "the code"),
    (concat!("FIX", "ME"), "an issue"),
];
/// Sleeping for a time instead of waiting for something hides a race, except where time itself is meant.
const SLEEP: &str = concat!("thread::", "sleep");
/// Files that may sleep, each with its reason.
const MAY_SLEEP: &[(&str, &str)] = &[
    ("bench/", "paces probes and waits for a condition with a limit"),
    ("deploy/", "paces what runs in the lab's nodes, and waits for a condition with a limit"),
    ("tools/", "waits for a condition with a limit"),
    (
        "control/drivers/command/src/scope.rs",
        "looks whether processes are gone; the kernel tells no one",
    ),
    ("control/netguard-control/src/driver_threads.rs", "bounds how fast a failing wait repeats"),
    ("control/netguard-control/src/server.rs", "bounds how fast a failing wait repeats"),
    ("control/netguard-control/src/stream/worker.rs", "bounds how fast a failing wait repeats"),
    ("fastpath/shm/src/map.rs", "waits at start for the last daemon to let go of its map"),
    ("fastpath/netguard-fast/tests/", "paces the progress that control would make"),
];

/// Reads every tracked file once.
pub(crate) fn check() -> Result<()> {
    let listing =
        output(command("git", &["ls-files", "--cached", "--others", "--exclude-standard"]))?;
    let mut complaints = vec![];
    for name in listing.lines() {
        let Ok(text) = std::fs::read_to_string(root().join(name)) else { continue };
        file_name(name, &mut complaints);
        if name.ends_with(".rs") {
            source(name, &text, &mut complaints);
        }
        if name.ends_with(".md") && !text.starts_with("# ") {
            complaints.push(format!("{name}:1: a document begins with its title"));
        }
    }
    if complaints.is_empty() {
        return Ok(());
    }
    bail!("{} complaints:\n  {}", complaints.len(), complaints.join("\n  "))
}

fn file_name(name: &str, complaints: &mut Vec<String>) {
    let last = name.rsplit('/').next().unwrap_or(name);
    if VAGUE.contains(&last) {
        complaints.push(format!("{name}: a name that tells nothing; name what is in it"));
    }
}

fn source(name: &str, text: &str, complaints: &mut Vec<String>) {
    let lines = text.lines().count();
    if lines > LINES_MAX {
        complaints
            .push(format!("{name}: {lines} lines, at most {LINES_MAX}; find the rooms inside"));
    }
    for (number, line) in text.lines().enumerate() {
        let place = format!("{name}:{}", number + 1);
        if line.chars().count() > WIDTH_MAX {
            complaints.push(format!("{place}: wider than {WIDTH_MAX} characters"));
        }
        for (word, instead) in WORDS {
            if line.contains(word) {
                complaints.push(format!("{place}: `{word}`; here: {instead}"));
            }
        }
        if line.contains(SLEEP) && !MAY_SLEEP.iter().any(|(place, _)| name.starts_with(place)) {
            complaints.push(format!("{place}: sleeping; wait for a condition with a limit"));
        }
    }
}
