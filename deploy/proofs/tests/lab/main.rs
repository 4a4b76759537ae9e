//! Lab tests: real kernels, disks and power. `lab --cache DIR --bin-dir DIR [--trials N] [--bench] [FILTER]…`
//!
//! Each test has a lab of its own and removes it. `cargo xtask test lab` builds and calls this.

mod arena;
mod disks;
mod failover;
mod gate;
mod labs;
mod nfsd;
mod takeover;

use arena::Arena;
use lab::LabError;
use std::process::ExitCode;
use testbed::{os, suite};

/// One lab test.
pub(crate) type Test = suite::Test<Arena, LabError>;

fn main() -> ExitCode {
    let (arena, filters) = match Arena::from_arguments(std::env::args().skip(1)) {
        Ok(given) => given,
        Err(reason) => {
            eprintln!("{reason}");
            return ExitCode::FAILURE;
        }
    };
    os::catch_interrupts();
    let groups =
        [labs::TESTS, disks::TESTS, failover::TESTS, nfsd::TESTS, gate::TESTS, takeover::TESTS];
    let kind = |test: &&Test| test.name.starts_with("bench-") == arena.benches;
    let tests: Vec<&Test> = groups.into_iter().flatten().filter(kind).collect();
    let root = (!os::is_root()).then_some("root is needed for namespaces and taps");
    suite::run(&tests, &filters, root, &arena)
}
