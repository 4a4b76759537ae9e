//! Running a list of tests that need a whole machine: each with its verdict and its time.

use crate::os;
use std::fmt::Display;
use std::process::ExitCode;
use std::time::Instant;

/// How a test went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It holds.
    Pass,
    /// It does not, in a sentence.
    Fail(String),
    /// It cannot be run here, and why.
    Skip(String),
}

/// One test; `C` is what every test of the list gets.
#[derive(Debug)]
pub struct Test<C, E> {
    /// Its name, words with hyphens.
    pub name: &'static str,
    /// What it does.
    pub run: fn(&C) -> Result<Verdict, E>,
}

/// Fails the test that it is in, with a sentence.
#[macro_export]
macro_rules! hold {
    ($condition:expr, $($sentence:tt)+) => {
        if !$condition {
            return Ok($crate::suite::Verdict::Fail(format!($($sentence)+)));
        }
    };
}

/// Runs those whose name contains one of `filters` (all, if there are none). What is skipped is a failure
/// with `CI=true`; with an `obstacle`, all are.
pub fn run<C, E: Display>(
    tests: &[&Test<C, E>],
    filters: &[String],
    obstacle: Option<&str>,
    given: &C,
) -> ExitCode {
    let wanted = |test: &&&Test<C, E>| {
        filters.is_empty() || filters.iter().any(|it| test.name.contains(it.as_str()))
    };
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for test in tests.iter().filter(wanted) {
        if os::interrupted() {
            println!("interrupted");
            return ExitCode::FAILURE;
        }
        let begin = Instant::now();
        let verdict = match obstacle {
            Some(reason) => Verdict::Skip(reason.to_owned()),
            None => (test.run)(given).unwrap_or_else(|error| Verdict::Fail(error.to_string())),
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
