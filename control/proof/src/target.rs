//! The list of everything that gets arbitrary input, and one run of one of them.

use crate::apply;
use crate::choices::{Choices, random};
use crate::decoders;
use crate::inputs;
use base::Prng;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Something that gets arbitrary input.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// An input that it takes, or for which it is hard.
    pub sample: fn(&mut Choices<'_>) -> Vec<u8>,
    /// What must hold of any input; a panic is a failure, too.
    pub check: fn(&[u8]) -> Result<(), String>,
}

/// Those that read their input as choices.
const STRUCTURED: &[Target] = &[
    Target { name: "apply", sample: choices, check: apply::check },
    Target { name: "inputs", sample: choices, check: inputs::check },
];
/// Longest input that is read as choices.
const CHOICES_MAX: u64 = 2_000;

fn choices(c: &mut Choices<'_>) -> Vec<u8> {
    c.bytes(CHOICES_MAX)
}

/// All targets.
pub fn all() -> impl Iterator<Item = &'static Target> {
    decoders::all().chain(STRUCTURED)
}

/// The target of a name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Target> {
    all().find(|target| target.name == name)
}

impl Target {
    /// Runs one input; the error is what went wrong.
    pub fn run(&self, input: &[u8]) -> Result<(), String> {
        catch_unwind(AssertUnwindSafe(|| (self.check)(input))).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<&str>().map(ToString::to_string);
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            Err(format!("it panicked: {}", text.unwrap_or_default()))
        })
    }

    /// The input of a seed: arbitrary bytes, a sample, or a sample that was changed.
    #[must_use]
    pub fn input(&self, seed: u64) -> Vec<u8> {
        let mut dice = Prng::new(seed ^ 0xF0_2200);
        let structured = STRUCTURED.iter().any(|target| target.name == self.name);
        if structured || dice.chance(1, 8) {
            return random(&mut dice, CHOICES_MAX);
        }
        let mut bytes = (self.sample)(&mut Choices::new(&random(&mut dice, CHOICES_MAX)));
        for _ in 0..dice.below(5) {
            change(&mut dice, &mut bytes);
        }
        bytes
    }
}

/// One change: a bit, a byte, a cut, a piece doubled, moved or thrown in.
fn change(dice: &mut Prng, bytes: &mut Vec<u8>) {
    let length = bytes.len() as u64;
    let at = dice.below(length) as usize;
    let end = (at + dice.below(9) as usize).min(bytes.len());
    match dice.below(8) {
        0 | 1 if length > 0 => bytes[at] ^= 1 << dice.below(8),
        2 if length > 0 => bytes[at] = [0, 1, 0x7F, 0x80, 0xFF][dice.below(5) as usize],
        3 => bytes.truncate(at),
        4 => {
            bytes.drain(at..end);
        }
        5 => {
            let piece = bytes[at..end].to_vec();
            let to = dice.below(length + 1) as usize;
            bytes.splice(to..to, piece);
        }
        6 => {
            let piece: Vec<u8> = (0..dice.below(9)).map(|_| dice.next_u64() as u8).collect();
            bytes.splice(at..end, piece);
        }
        _ => bytes.extend((0..dice.below(9)).map(|_| dice.next_u64() as u8)),
    }
}
