//! Drivers of one node that behave badly on purpose: slow, failing, late to answer, stuck.
//!
//! What a service leaves on the node (`presence`) counts from the beginning of a start to the end
//! of a stop, and survives the daemons: only a new start of the daemons (R-START) or the loss of
//! power takes it away.

use base::{Duration, Prng};
use driver::{Done, Job};
use std::collections::VecDeque;
use wire::{Generation, ServiceId};

/// How badly the drivers behave. Chances are out of a thousand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Manners {
    /// Starts that fail.
    pub fail: u64,
    /// Jobs that take up to `slow_max`.
    pub slow: u64,
    /// The longest a slow job takes.
    pub slow_max: Duration,
    /// Outcomes that are told late.
    pub late: u64,
    /// Stops that do not succeed.
    pub stuck: u64,
    /// Starts whose service dies a little later.
    pub die: u64,
}

impl Manners {
    /// Drivers as one wants them.
    pub const GOOD: Self =
        Self { fail: 0, slow: 0, slow_max: Duration::ZERO, late: 0, stuck: 0, die: 0 };
}

/// A job that is being done.
#[derive(Clone, Copy, Debug)]
pub struct Doing {
    /// What.
    pub job: Job,
    /// How long it takes.
    pub takes: Duration,
    /// How long the outcome then takes to be told.
    pub tells: Duration,
    /// The service will be found dead that long after.
    pub dies: Option<Duration>,
    fails: bool,
}

/// The driver of one service on one machine.
#[derive(Clone, Debug, Default)]
pub struct Driver {
    jobs: VecDeque<Job>,
    doing: Option<Doing>,
    presence: Option<Generation>,
    /// Its address is on an interface: what a packet meets behind the gate.
    address: bool,
    stuck: bool,
}

/// Jobs of one service that may wait.
const JOBS_MAX: usize = 64;

/// The generation that a job is about.
#[must_use]
pub const fn generation(job: &Job) -> Generation {
    match job {
        Job::Start(right) => right.generation(),
        Job::Stop { generation, .. }
        | Job::Withdraw { generation, .. }
        | Job::Restore { generation, .. } => *generation,
    }
}

/// The service that a job is about.
#[must_use]
pub const fn service(job: &Job) -> ServiceId {
    match job {
        Job::Start(right) => right.service(),
        Job::Stop { service, .. }
        | Job::Withdraw { service, .. }
        | Job::Restore { service, .. } => *service,
    }
}

impl Driver {
    /// Takes a job; it waits for those before it.
    pub fn take(&mut self, job: Job) {
        if self.jobs.len() < JOBS_MAX {
            self.jobs.push_back(job);
        }
    }
    /// Begins the next job, if none is being done.
    pub fn begin(&mut self, dice: &mut Prng, manners: &Manners) -> Option<Doing> {
        if self.doing.is_some() {
            return None;
        }
        let job = self.jobs.pop_front()?;
        let mut takes = Duration(dice.below(400_000) + 50_000);
        if dice.chance(manners.slow, 1_000) {
            takes = takes + Duration(dice.below(manners.slow_max.0));
        }
        let late = dice.chance(manners.late, 1_000);
        let start = matches!(job, Job::Start(_));
        let stop = matches!(job, Job::Stop { .. });
        let fails = dice.chance(if start { manners.fail } else { manners.stuck }, 1_000);
        let dies = start && !fails && dice.chance(manners.die, 1_000);
        match &job {
            Job::Start(right) => {
                self.presence = Some(right.generation());
                self.address = true;
            }
            Job::Restore { .. } => self.address = self.presence.is_some(),
            Job::Stop { .. } | Job::Withdraw { .. } => {}
        }
        let doing = Doing {
            job,
            takes,
            tells: Duration(dice.below(if late { 30_000_000 } else { 100_000 })),
            dies: dies.then(|| Duration(dice.below(100_000_000))),
            fails: fails && (start || stop),
        };
        self.doing = Some(doing);
        self.doing
    }
    /// The job that is being done is done.
    pub fn finish(&mut self) -> Option<(Doing, Done)> {
        let doing = self.doing.take()?;
        let stuck = || Done::Stuck { reason: "stuck on purpose".into() };
        let result = match doing.job {
            Job::Start(_) if doing.fails => {
                (self.presence, self.address) = (None, false);
                Done::Failed { reason: "failed on purpose".into() }
            }
            Job::Start(_) => Done::Started,
            Job::Stop { .. } if doing.fails || self.stuck => {
                self.stuck = self.presence.is_some();
                if self.stuck { stuck() } else { Done::Stopped }
            }
            Job::Stop { .. } => {
                (self.presence, self.address) = (None, false);
                Done::Stopped
            }
            Job::Withdraw { .. } => {
                self.address = false;
                Done::Withdrawn
            }
            Job::Restore { .. } => Done::Restored,
        };
        Some((doing, result))
    }
    /// The threads of the drivers are gone; what they made is not.
    pub fn abandon(&mut self) {
        self.jobs.clear();
        self.doing = None;
    }
    /// Nothing of it is left: power loss, or the clean-up of a start (R-START).
    pub fn clear(&mut self) {
        *self = Self::default();
    }
    /// The generation of which something is here.
    #[must_use]
    pub const fn presence(&self) -> Option<Generation> {
        self.presence
    }
    /// Its address is on an interface of the node.
    #[must_use]
    pub const fn has_address(&self) -> bool {
        self.address
    }
    /// A stop did not succeed.
    #[must_use]
    pub const fn is_stuck(&self) -> bool {
        self.stuck
    }
}

#[cfg(test)]
mod tests {
    use super::{Driver, Manners};
    use base::Prng;
    use driver::{Done, Evidence, FencePolicy, Job, Right};
    use wire::{Generation, ServiceId};

    fn start() -> Job {
        let (service, generation) = (ServiceId(0), Generation(1));
        let policy = FencePolicy::Fenced;
        Job::Start(
            Right::grant(service, generation, Evidence::NeverOwned, policy, None, None).unwrap(),
        )
    }
    fn stop() -> Job {
        Job::Stop { service: ServiceId(0), generation: Generation(1) }
    }

    #[test]
    fn something_is_here_from_the_beginning_of_a_start_to_the_end_of_a_stop() {
        let (mut driver, mut dice) = (Driver::default(), Prng::new(1));
        driver.take(start());
        driver.take(stop());
        assert!(driver.begin(&mut dice, &Manners::GOOD).is_some());
        assert_eq!(driver.presence(), Some(Generation(1)), "before it is up");
        assert!(driver.begin(&mut dice, &Manners::GOOD).is_none(), "one job at a time");
        assert_eq!(driver.finish().unwrap().1, Done::Started);
        driver.begin(&mut dice, &Manners::GOOD);
        assert!(driver.presence().is_some());
        assert_eq!(driver.finish().unwrap().1, Done::Stopped);
        assert_eq!(driver.presence(), None);
    }

    #[test]
    fn what_is_stuck_stays_until_a_clean_up() {
        let (mut driver, mut dice) = (Driver::default(), Prng::new(1));
        let manners = Manners { stuck: 1_000, ..Manners::GOOD };
        for job in [start(), stop()] {
            driver.take(job);
            driver.begin(&mut dice, &manners);
            driver.finish();
        }
        assert!(driver.is_stuck());
        driver.abandon();
        assert_eq!(driver.presence(), Some(Generation(1)), "killed daemons leave it");
        driver.clear();
        assert_eq!(driver.presence(), None);
    }
}
