//! One trial: settle, cut at a random phase, wait for the answer, judge by the stall meter, bring the node back.

use crate::contender::{Contender, Trial};
use anyhow::{Context, Result, bail};
use base::Duration;
use testbed::os;
use testbed::stall::{Stall, StallMeter};

/// A void trial is repeated this often at most.
const REPEATS_MAX: u32 = 3;
/// An address that does not come back at all.
const ANSWER_LIMIT: Duration = Duration::from_millis(10_000);

/// How many trials were void, and which stall was the longest.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Voids {
    /// Void trials, each repeated.
    pub(crate) count: u64,
    /// Trials given up after [`REPEATS_MAX`] repeats.
    pub(crate) given_up: u64,
    /// The longest stall that voided one.
    pub(crate) longest: Duration,
}

/// Runs one trial, again when it is void; `None` if it stayed void.
pub(crate) fn valid(
    contender: &mut dyn Contender,
    meter: &StallMeter,
    voids: &mut Voids,
) -> Result<Option<Trial>> {
    for _ in 0..=REPEATS_MAX {
        let (trial, stall) = once(contender, meter)?;
        let Some(stall) = stall else { return Ok(Some(trial)) };
        voids.count += 1;
        voids.longest = voids.longest.max(stall.length());
    }
    voids.given_up += 1;
    Ok(None)
}

fn once(contender: &mut dyn Contender, meter: &StallMeter) -> Result<(Trial, Option<Stall>)> {
    let name = contender.name();
    let interval = contender.interval();
    let victim = contender.settle().with_context(|| format!("{name} does not settle"))?;
    let bed = contender.bed();
    bed.observer().record().begin_window();
    // Somewhere in the interval between two beats, everywhere with the same likelihood.
    os::sleep(interval * 4 + Duration::from_nanos(os::random() % interval.nanos()));
    let cut = bed.cut(victim)?;
    let answer = bed.observer().wait_for(cut.at, ANSWER_LIMIT, |it| it.node != victim);
    let Some(answer) = answer else {
        if os::interrupted() {
            bail!("interrupted");
        }
        bail!("{name}: nobody answers {ANSWER_LIMIT} after the cut of n{victim}");
    };
    // A stall is known when it is over; also one that touched the last beats before the cut counts.
    os::sleep(Duration::from_millis(20));
    let stall = meter.overlaps(cut.at - interval * 2, answer.received, interval / 2);
    contender.bed().restore(victim)?;
    contender.revive(victim)?;
    Ok((Trial { victim, cut: cut.at, answer }, stall))
}
