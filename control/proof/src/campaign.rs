//! The long-running form: seed after seed, each for every target, until the time is over. What fails
//! is made small and printed, so that it can become a test.

use crate::minimise::minimise;
use crate::target::{self, Target};
use std::fmt::Write;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// How often a line tells how far it is.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How long.
    pub span: Duration,
    /// The first seed.
    pub from: u64,
    /// Only the target of this name.
    pub only: Option<String>,
}

/// What failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// Which target.
    pub target: &'static str,
    /// The seed, if it came from one.
    pub seed: Option<u64>,
    /// The input, made small.
    pub input: Vec<u8>,
    /// What the small input does.
    pub what: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (target, what, digits) = (self.target, &self.what, hex(&self.input));
        match self.seed {
            Some(seed) => writeln!(f, "{target}, seed {seed}: {what}")?,
            None => writeln!(f, "{target}: {what}")?,
        }
        writeln!(f, "  made small, {} bytes: {digits}", self.input.len())?;
        writeln!(f, "  again: cargo run -p ng-proof -- replay {target} {digits}")?;
        write!(
            f,
            "  to keep: (\"{target}\", \"{digits}\") in control/proof/tests/arbitrary.rs, ONCE"
        )
    }
}

/// How far a campaign came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Done {
    runs: u64,
    seeds: RangeInclusive<u64>,
    targets: usize,
    took: Duration,
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { runs, seeds, targets, took } = self;
        let (from, to) = (seeds.start(), seeds.end());
        write!(f, "{runs} runs: seeds {from} to {to} of {targets} targets, {} s", took.as_secs())
    }
}

/// Bytes as a person can paste them.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Bytes from hexadecimal digits.
#[must_use]
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// One input of one target; if it fails, made small.
#[must_use]
pub fn input(target: &'static Target, input: &[u8]) -> Option<Failure> {
    let first = target.run(input).err()?;
    let input = minimise(input, |input| target.run(input).is_err());
    let what = target.run(&input).err().unwrap_or(first);
    Some(Failure { target: target.name, seed: None, input, what })
}

/// One seed of one target.
pub fn seed(target: &'static Target, seed: u64) -> Result<(), Box<Failure>> {
    match input(target, &target.input(seed)) {
        None => Ok(()),
        Some(failure) => Err(Box::new(Failure { seed: Some(seed), ..failure })),
    }
}

/// Runs until the time is over or something fails.
pub fn run(plan: &Plan, mut told: impl FnMut(&str)) -> Result<Done, Box<Failure>> {
    let chosen = |target: &&Target| plan.only.as_ref().is_none_or(|name| name == target.name);
    let targets = target::all().filter(chosen).count();
    let (began, mut line_at, mut runs) = (Instant::now(), Instant::now(), 0);
    let mut number = plan.from;
    loop {
        for target in target::all().filter(chosen) {
            seed(target, number)?;
            runs += 1;
        }
        let done = Done { runs, seeds: plan.from..=number, targets, took: began.elapsed() };
        if done.took >= plan.span || number == u64::MAX {
            return Ok(done);
        }
        if line_at.elapsed() >= LINE_EVERY {
            line_at = Instant::now();
            told(&done.to_string());
        }
        number += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::{from_hex, hex};

    #[test]
    fn bytes_become_digits_and_bytes_again() {
        assert_eq!(from_hex(&hex(&[0, 0x9f, 255])), Some(vec![0, 0x9f, 255]));
        assert_eq!((from_hex("0"), from_hex("xy")), (None, None));
    }
}
