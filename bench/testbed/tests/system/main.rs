//! System tests: the real daemons in network namespaces. `system [--bin-dir DIR] [FILTER]…`
//!
//! Each test builds a bed of its own and removes it. What cannot run here is SKIP, with the reason;
//! with
//! `CI=true` that is a failure. Every test with an observer also checks that there never were two
//! owners.

mod arena;
mod bed;
mod cuts;
mod daemons;
mod frames;
mod hogs;
mod links;
mod quorum;
mod starts;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;
use testbed::os;
use testbed::programs::Programs;
use testbed::topology;

/// How a test went.
pub(crate) enum Verdict {
    Pass,
    Fail(String),
    Skip(String),
}

/// One system test.
pub(crate) struct Test {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&Programs) -> Result<Verdict, testbed::error::BedError>,
}

/// Fails the test that it is in, with a sentence.
#[macro_export]
macro_rules! hold {
    ($condition:expr, $($sentence:tt)+) => {
        if !$condition {
            return Ok($crate::Verdict::Fail(format!($($sentence)+)));
        }
    };
}

fn main() -> ExitCode {
    let (programs, filters) = arguments();
    os::catch_interrupts();
    let groups = [
        bed::TESTS,
        cuts::TESTS,
        daemons::TESTS,
        links::TESTS,
        quorum::TESTS,
        frames::TESTS,
        starts::TESTS,
        hogs::TESTS,
    ];
    let tests: Vec<&Test> = groups
        .into_iter()
        .flatten()
        .filter(|test| {
            filters.is_empty() || filters.iter().any(|it| test.name.contains(it.as_str()))
        })
        .collect();
    let obstacle = topology::possible().err();
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for test in tests {
        if os::interrupted() {
            println!("interrupted");
            return ExitCode::FAILURE;
        }
        let begin = Instant::now();
        let verdict = match &obstacle {
            Some(reason) => Verdict::Skip(reason.clone()),
            None => (test.run)(&programs).unwrap_or_else(|error| Verdict::Fail(error.to_string())),
        };
        let took = begin.elapsed().as_secs_f64();
        let name = test.name;
        match verdict {
            Verdict::Pass => {
                passed += 1;
                println!("PASS  {name}  ({took:.1} s)");
            }
            Verdict::Fail(why) => {
                failed += 1;
                println!("FAIL  {name}  ({took:.1} s)\n      {}", why.replace('\n', "\n      "));
            }
            Verdict::Skip(why) => {
                skipped += 1;
                println!("SKIP  {name}: {why}");
            }
        }
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    let strict = std::env::var("CI").is_ok_and(|it| it == "true");
    if failed > 0 || (strict && skipped > 0) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn arguments() -> (Programs, Vec<String>) {
    let mut dir: Option<PathBuf> = None;
    let mut filters = Vec::new();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--bin-dir" {
            dir = words.next().map(PathBuf::from);
        } else if !word.starts_with("--") {
            // Options of cargo's own test runner (--quiet …) mean nothing here.
            filters.push(word);
        }
    }
    (Programs::find(dir.as_deref()), filters)
}
