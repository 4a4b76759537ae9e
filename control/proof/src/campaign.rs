//! The long-running form: seed after seed, each for every target, until the time is over. What fails
//! is made small and printed, so that it can become a test.

use crate::minimise::minimise;
use crate::target::{self, Target};
use std::fmt::Write;
use std::time::{Duration, Instant};

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
    /// The seed.
    pub seed: u64,
    /// The input, made small.
    pub input: Vec<u8>,
    /// What the small input does.
    pub what: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}, seed {}: {}", self.target, self.seed, self.what)?;
        write!(f, "  input of {} bytes: {}", self.input.len(), hex(&self.input))
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

/// One seed of one target.
pub fn seed(target: &'static Target, seed: u64) -> Result<(), Box<Failure>> {
    let input = target.input(seed);
    let Err(first) = target.run(&input) else { return Ok(()) };
    let input = minimise(&input, |input| target.run(input).is_err());
    let what = target.run(&input).err().unwrap_or(first);
    Err(Box::new(Failure { target: target.name, seed, input, what }))
}

/// Runs until the time is over or something fails; the number of runs.
pub fn run(plan: &Plan, mut told: impl FnMut(&str)) -> Result<u64, Box<Failure>> {
    let chosen = |target: &&Target| plan.only.as_ref().is_none_or(|name| name == target.name);
    let (began, mut line_at, mut runs) = (Instant::now(), Instant::now(), 0);
    for number in plan.from.. {
        for target in target::all().filter(chosen) {
            seed(target, number)?;
            runs += 1;
        }
        if line_at.elapsed() >= Duration::from_secs(10) {
            line_at = Instant::now();
            told(&format!("{runs} runs, up to seed {number}, {} s", began.elapsed().as_secs()));
        }
        if began.elapsed() >= plan.span {
            break;
        }
    }
    Ok(runs)
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
