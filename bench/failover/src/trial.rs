//! Void trials, repeated and counted.

use base::Duration;
use testbed::error::Result;
use testbed::stall::StallMeter;
use testbed::trial::{Contender, REPEATS_MAX, Trial, once};

/// How many trials were void, and which stall was the longest.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Voids {
    /// Void trials, each repeated.
    pub(crate) count: u64,
    /// Trials given up after [`REPEATS_MAX`] repeats.
    pub(crate) given_up: u64,
    /// The longest stall that voided one.
    pub(crate) longest: Duration,
    /// The longest that the cut itself took, of all trials.
    pub(crate) cut_longest: Duration,
}

/// Runs one trial, again when it is void; `None` if it stayed void.
pub(crate) fn valid(
    contender: &mut dyn Contender,
    meter: &StallMeter,
    voids: &mut Voids,
) -> Result<Option<Trial>> {
    for _ in 0..=REPEATS_MAX {
        let trial = once(contender, meter)?;
        voids.cut_longest = voids.cut_longest.max(trial.cut.done.since(trial.cut.at));
        let Some(stall) = trial.stall else { return Ok(Some(trial)) };
        voids.count += 1;
        let after = (stall.from.0 as f64 - trial.cut.at.0 as f64) / 1e6;
        eprintln!(
            "     {:<11} void ({}): core {} stood still {}, from {after:+.1} ms of the cut",
            contender.name(),
            trial.took(),
            stall.core,
            stall.length()
        );
        voids.longest = voids.longest.max(stall.length());
    }
    voids.given_up += 1;
    Ok(None)
}
