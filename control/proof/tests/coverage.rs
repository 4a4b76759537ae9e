//! Which decoder gets arbitrary input where. A file of the product that reads bytes and is not in the list fails here.

use ng_proof::target;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Where a decoder gets its arbitrary input.
enum Where {
    /// As these targets of this crate.
    Targets(&'static [&'static str]),
    /// By tests beside the code: what reads is private, or in a program, which nothing imports.
    Beside(&'static [&'static str]),
}
use Where::{Beside, Targets};

const DECODERS: &[(&str, Where)] = &[
    // Frames and messages.
    ("fastpath/wire/src/frame.rs", Targets(&["frame"])),
    ("fastpath/wire/src/ethernet.rs", Targets(&["envelope"])),
    ("fastpath/link/src/packet/frame.rs", Beside(&["any_bytes_are_survived"])),
    ("fastpath/link/src/packet/ring.rs", Beside(&["a_frame_lies_inside_its_slot_or_nowhere"])),
    ("fastpath/wire/src/beat.rs", Targets(&["beat", "echo", "obituary"])),
    ("fastpath/wire/src/message.rs", Targets(&["message"])),
    ("fastpath/wire/src/entry.rs", Targets(&["entry", "apply"])),
    ("fastpath/wire/src/configuration.rs", Targets(&["configuration", "edition", "charter"])),
    (
        "control/netguard-control/src/stream/incoming.rs",
        Beside(&["any_bytes_in_pieces_are_frames_or_refused"]),
    ),
    // What is agreed, and snapshots of it: head and slices.
    ("control/services/src/body.rs", Targets(&["body"])),
    ("control/membership/src/snapshot.rs", Targets(&["membership", "snapshot"])),
    ("control/services/src/snapshot.rs", Targets(&["planner", "snapshot"])),
    ("control/node/src/snapshot.rs", Targets(&["snapshot"])),
    ("control/agreement/src/snapshot.rs", Targets(&["snapshot"])),
    ("control/agreement/src/roster.rs", Targets(&["snapshot"])),
    ("control/agreement/src/clients.rs", Targets(&["snapshot"])),
    ("control/agreement/src/transfer.rs", Targets(&["snapshot", "inputs"])),
    // Applications, operators, their documents.
    ("control/api/src/line.rs", Targets(&["request-line", "reply-line"])),
    ("control/config/src/load.rs", Targets(&["config"])),
    ("control/config/src/value.rs", Targets(&["config"])),
    ("control/config/src/edit.rs", Targets(&["document"])),
    ("control/config/src/key.rs", Beside(&["refuses_the_rest"])),
    ("fastpath/link/src/loss.rs", Beside(&["a_description_that_is_not_understood_is_quoted"])),
    // The other daemon, and what tools see of it.
    ("fastpath/shm/src/setup.rs", Targets(&["setup"])),
    ("fastpath/shm/src/change.rs", Targets(&["change"])),
    ("fastpath/shm/src/event_words.rs", Targets(&["event"])),
    ("fastpath/shm/src/trace.rs", Targets(&["trace"])),
    ("control/netguard-control/src/sweeper.rs", Beside(&["a_duty_is_read_whole_or_not_at_all"])),
    // Files of former lives.
    ("control/netguard-control/src/state.rs", Beside(&["any_bytes_are_a_record_or_none"])),
    ("control/drivers/command/src/record.rs", Beside(&["any_text_is_a_record_or_none"])),
    // The kernel.
    ("control/drivers/command/src/scope.rs", Beside(&["any_line_is_a_process_or_none"])),
    ("control/drivers/address/src/interface.rs", Beside(&["any_bytes_are_survived"])),
    ("drbd-glue/src/reply.rs", Beside(&["any_bytes_are_survived"])),
];

/// What the name of a function that reads begins with.
const READS: &[&str] = &["fn decode", "fn parse", "fn from_raw", "fn from_text", "fn from_words"];
/// Programs and crates that are no part of a running cluster.
const ELSEWHERE: &[&str] = &["control/sim/", "control/proof/", "control/model/"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The sources below a folder.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "tests") {
            sources(&path, found);
        } else if path.extension().is_some_and(|it| it == "rs") && !path.ends_with("tests.rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_file_that_reads_bytes_is_in_the_list() {
    let root = root();
    let mut files = Vec::new();
    for folder in ["fastpath", "control", "drbd-glue", "tools/ng"] {
        sources(&root.join(folder), &mut files);
    }
    let listed: BTreeSet<&str> = DECODERS.iter().map(|(file, _)| *file).collect();
    for file in files {
        let name = file.strip_prefix(&root).unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        let product = text.split("\nmod tests {").next().unwrap_or_default();
        let reads = READS.iter().find(|sign| product.contains(**sign));
        let product = !ELSEWHERE.iter().any(|folder| name.starts_with(folder));
        if let Some(sign) = reads.filter(|_| product) {
            assert!(listed.contains(name), "{name} has a `{sign}…` and is not in DECODERS");
        }
    }
}

#[test]
fn the_list_names_what_is_there() {
    for (file, place) in DECODERS {
        let text =
            std::fs::read_to_string(root().join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        match place {
            Targets(names) => {
                for name in *names {
                    assert!(target::named(name).is_some(), "{file}: there is no target {name}");
                }
            }
            Beside(tests) => {
                for test in *tests {
                    assert!(text.contains(&format!("fn {test}(")), "{file} has no test {test}");
                }
            }
        }
    }
    let named = |target: &&target::Target| {
        DECODERS.iter().any(|(_, place)| matches!(place, Targets(it) if it.contains(&target.name)))
    };
    let idle: Vec<&str> = target::all().filter(|it| !named(it)).map(|it| it.name).collect();
    assert_eq!(idle, Vec::<&str>::new(), "targets that no decoder of the list has");
}
