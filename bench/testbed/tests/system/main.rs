//! System tests: the real daemons in network namespaces.
//! `system [--bin-dir DIR] [--seeds N] [--from S] [FILTER]…`
//!
//! Each test builds a bed of its own and removes it. What cannot run here is SKIP, with the reason;
//! with
//! `CI=true` that is a failure. Every test with an observer also checks that there never were two
//! owners.

mod arena;
mod bed;
mod chains;
mod changes;
mod cuts;
mod daemons;
mod draw;
mod ethernet;
mod evidence;
mod frames;
mod gate;
mod intervals;
mod large;
mod links;
mod load;
mod partitions;
mod quorum;
mod random;
mod signals;
mod starts;

use std::path::PathBuf;
use std::process::ExitCode;
use testbed::error::BedError;
use testbed::os;
use testbed::programs::Programs;
use testbed::suite;
use testbed::topology;

/// One system test.
pub(crate) type Test = suite::Test<Programs, BedError>;

fn main() -> ExitCode {
    let (programs, filters) = arguments();
    os::catch_interrupts();
    let groups = [
        bed::TESTS,
        cuts::TESTS,
        daemons::TESTS,
        signals::TESTS,
        gate::TESTS,
        partitions::TESTS,
        evidence::TESTS,
        chains::TESTS,
        random::TESTS,
        large::TESTS,
        links::TESTS,
        ethernet::TESTS,
        quorum::TESTS,
        frames::TESTS,
        starts::TESTS,
        changes::TESTS,
        load::TESTS,
        intervals::TESTS,
    ];
    let tests: Vec<&Test> = groups.into_iter().flatten().collect();
    suite::run(&tests, &filters, topology::possible().err().as_deref(), &programs)
}

fn arguments() -> (Programs, Vec<String>) {
    let mut dir: Option<PathBuf> = None;
    let mut filters = Vec::new();
    let (mut seeds, mut from) = (None, None);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--bin-dir" {
            dir = words.next().map(PathBuf::from);
        } else if word == "--seeds" {
            seeds = words.next().and_then(|it| it.parse().ok());
        } else if word == "--from" {
            from = words.next().and_then(|it| it.parse().ok());
        } else if !word.starts_with("--") {
            // Options of cargo's own test runner (--quiet …) mean nothing here.
            filters.push(word);
        }
    }
    if seeds.is_some() || from.is_some() {
        let _ = random::SEEDS.set((seeds.unwrap_or(1), from.unwrap_or(1)));
    }
    (Programs::find(dir.as_deref()), filters)
}

/// What a daemon's local socket said, as an error of the bed.
pub(crate) fn socket(node: u8) -> impl Fn(netguard::Error) -> BedError {
    move |error| BedError::Socket { node: topology::node_name(node), reason: error.to_string() }
}
