//! What the driver thread of one service does with a job: all resources in order, stops in reverse.

use crate::part::Part;
use base::Instant;
use driver::{Done, Job, Outcome};
use wire::{Generation, ServiceId};

/// The resources of one service and what they are at.
pub struct ServiceDriver {
    service: ServiceId,
    parts: Vec<Box<dyn Part>>,
    /// Take their place when the next generation starts: what is up is taken down by who brought it up.
    next: Option<Vec<Box<dyn Part>>>,
    /// The generation that is up, or half up; none = nothing of the service is here.
    up: Option<Generation>,
    /// A death is reported once per generation.
    death_told: bool,
}

impl ServiceDriver {
    /// A service with nothing up.
    #[must_use]
    pub fn new(service: ServiceId, parts: Vec<Box<dyn Part>>) -> Self {
        Self { service, parts, next: None, up: None, death_told: false }
    }

    /// Other resources, from the next generation's start on.
    pub fn replace(&mut self, parts: Vec<Box<dyn Part>>) {
        self.next = Some(parts);
    }

    /// Performs one job and says what came of it. `clock` is read again at the end.
    pub fn handle_job(&mut self, job: Job, clock: fn() -> Instant) -> Outcome {
        let began = clock();
        let (generation, result) = match job {
            Job::Start(right) => (right.generation(), self.start(right.generation(), began)),
            Job::Stop { generation, .. } => (generation, self.stop(generation)),
            Job::Withdraw { generation, .. } => (generation, self.withdraw(generation)),
            Job::Restore { generation, .. } => (generation, self.restore(generation, began)),
        };
        Outcome { service: self.service, generation, result, began, ended: clock() }
    }

    /// Takes everything down because the daemon ends.
    pub fn handle_shutdown(&mut self, clock: fn() -> Instant) -> Option<Outcome> {
        let generation = self.up?;
        let job = Job::Stop { service: self.service, generation };
        Some(self.handle_job(job, clock))
    }

    /// The thread ended by a defect: what is up is in nobody's hands any more.
    #[must_use]
    pub fn handle_defect(&self, now: Instant) -> Option<Outcome> {
        let (service, generation) = (self.service, self.up?);
        let reason = "a defect in a driver (see the panic message): report it".into();
        Some(Outcome {
            service,
            generation,
            result: Done::Stuck { reason },
            began: now,
            ended: now,
        })
    }

    /// Repeats what is due (announcements).
    pub fn handle_timeout(&mut self, now: Instant) {
        for part in &mut self.parts {
            part.handle_timeout(now);
        }
    }
    /// When [`ServiceDriver::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_deadline(&self) -> Option<Instant> {
        self.parts.iter().filter_map(|part| part.poll_deadline()).min()
    }
    /// Descriptors that show a death or a loss, while one would be told.
    pub fn watch_fds(&self) -> impl Iterator<Item = i32> + '_ {
        let watching = self.up.is_some() && !self.death_told;
        self.parts.iter().filter(move |_| watching).filter_map(|part| part.watch_fd())
    }
    /// A resource that died by itself, told once.
    pub fn poll_death(&mut self, now: Instant) -> Option<Outcome> {
        let generation = self.up.filter(|_| !self.death_told)?;
        let reason = self.parts.iter_mut().find_map(|part| {
            let how = part.poll_exit()?;
            Some(format!("{}: {how}", part.name()))
        })?;
        self.death_told = true;
        let (service, result) = (self.service, Done::Died { reason });
        Some(Outcome { service, generation, result, began: now, ended: now })
    }

    fn start(&mut self, generation: Generation, now: Instant) -> Done {
        match self.up {
            Some(up) if up == generation => return Done::Started,
            Some(up) if up > generation => {
                let reason = format!("generation {up} is newer than {generation} and runs here");
                return Done::Failed { reason };
            }
            // What an older generation left must be gone first.
            Some(_) => {
                if let Err(reason) = self.take_down() {
                    return Done::Stuck { reason };
                }
            }
            None => {}
        }
        if let Some(parts) = self.next.take() {
            self.parts = parts;
        }
        self.up = Some(generation);
        self.death_told = false;
        let failed = self.parts.iter_mut().find_map(|part| {
            let reason = part.start(generation, now).err()?;
            Some(format!("{}: {reason}", part.name()))
        });
        match failed {
            None => Done::Started,
            Some(reason) => match self.take_down() {
                Ok(()) => Done::Failed { reason },
                Err(stuck) => Done::Stuck { reason: format!("{reason}; then {stuck}") },
            },
        }
    }

    fn stop(&mut self, generation: Generation) -> Done {
        match self.up {
            // A late order for a generation that has been followed by a newer one.
            Some(up) if up > generation => Done::Stopped,
            // Also with nothing up: a stop confirms that nothing is there.
            _ => match self.take_down() {
                Ok(()) => Done::Stopped,
                Err(reason) => Done::Stuck { reason },
            },
        }
    }

    fn withdraw(&mut self, generation: Generation) -> Done {
        if self.up != Some(generation) {
            return Done::Withdrawn;
        }
        match each_reversed(&mut self.parts, |part| part.withdraw()) {
            Ok(()) => Done::Withdrawn,
            Err(reason) => Done::Stuck { reason },
        }
    }

    fn restore(&mut self, generation: Generation, now: Instant) -> Done {
        if self.up != Some(generation) {
            let reason = format!("generation {generation} does not run here");
            return Done::Failed { reason };
        }
        let failed = self.parts.iter_mut().find_map(|part| {
            let reason = part.restore(now).err()?;
            Some(format!("{}: {reason}", part.name()))
        });
        match failed {
            None => Done::Restored,
            Some(reason) => match self.take_down() {
                Ok(()) => Done::Failed { reason },
                Err(stuck) => Done::Stuck { reason: format!("{reason}; then {stuck}") },
            },
        }
    }

    /// Stops every part, also after one failed: what can go goes.
    fn take_down(&mut self) -> Result<(), String> {
        let result = each_reversed(&mut self.parts, |part| part.stop());
        if result.is_ok() {
            self.up = None;
        }
        result
    }
}

fn each_reversed(
    parts: &mut [Box<dyn Part>],
    mut act: impl FnMut(&mut dyn Part) -> Result<(), String>,
) -> Result<(), String> {
    let mut first = Ok(());
    for part in parts.iter_mut().rev() {
        if let Err(reason) = act(part.as_mut()) {
            let named = Err(format!("{}: {reason}", part.name()));
            first = first.and(named);
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use super::ServiceDriver;
    use crate::part::Part;
    use base::Instant;
    use driver::{Done, Evidence, FencePolicy, Job, Right};
    use std::sync::{Arc, Mutex};
    use wire::{Generation, ServiceId};

    type Log = Arc<Mutex<Vec<String>>>;

    struct Fake {
        name: &'static str,
        log: Log,
        fails: &'static [&'static str],
        exit: Arc<Mutex<Option<String>>>,
    }

    impl Fake {
        fn does(&self, what: &str) -> Result<(), String> {
            self.log.lock().unwrap().push(format!("{what} {}", self.name));
            if self.fails.contains(&what) { Err(format!("no {what}")) } else { Ok(()) }
        }
    }

    impl Part for Fake {
        fn name(&self) -> String {
            self.name.into()
        }
        fn start(&mut self, _: Generation, _: Instant) -> Result<(), String> {
            self.does("start")
        }
        fn stop(&mut self) -> Result<(), String> {
            self.does("stop")
        }
        fn withdraw(&mut self) -> Result<(), String> {
            self.does("withdraw")
        }
        fn restore(&mut self, _: Instant) -> Result<(), String> {
            self.does("restore")
        }
        fn poll_exit(&mut self) -> Option<String> {
            self.exit.lock().unwrap().clone()
        }
    }

    struct Bench {
        driver: ServiceDriver,
        log: Log,
        exit: Arc<Mutex<Option<String>>>,
    }

    fn bench(fails_b: &'static [&'static str]) -> Bench {
        let (log, exit) = (Log::default(), Arc::default());
        let part = |name, fails| -> Box<dyn Part> {
            Box::new(Fake { name, log: Arc::clone(&log), fails, exit: Arc::clone(&exit) })
        };
        let driver = ServiceDriver::new(ServiceId(0), vec![part("a", &[]), part("b", fails_b)]);
        Bench { driver, log, exit }
    }

    impl Bench {
        fn run(&mut self, job: Job) -> (Done, String) {
            let outcome = self.driver.handle_job(job, || Instant(1));
            let log = self.log.lock().unwrap().drain(..).collect::<Vec<_>>().join(", ");
            (outcome.result, log)
        }
    }

    fn start(g: u64) -> Job {
        let (service, evidence) = (ServiceId(0), Evidence::NeverOwned);
        let right = Right::grant(service, Generation(g), evidence, FencePolicy::Fenced, None, None);
        Job::Start(right.unwrap())
    }
    fn stop(g: u64) -> Job {
        Job::Stop { service: ServiceId(0), generation: Generation(g) }
    }

    #[test]
    fn starts_in_order_and_stops_in_reverse() {
        let mut bench = bench(&[]);
        assert_eq!(bench.run(start(1)), (Done::Started, "start a, start b".into()));
        assert_eq!(bench.run(start(1)), (Done::Started, String::new()), "idempotent");
        assert_eq!(bench.run(stop(1)), (Done::Stopped, "stop b, stop a".into()));
    }

    #[test]
    fn a_failed_start_takes_everything_down_again() {
        let mut bench = bench(&["start"]);
        let (done, log) = bench.run(start(1));
        assert_eq!(done, Done::Failed { reason: "b: no start".into() });
        assert_eq!(log, "start a, start b, stop b, stop a");
    }

    #[test]
    fn what_cannot_be_stopped_is_stuck_and_the_rest_still_goes() {
        let mut bench = bench(&["stop"]);
        bench.run(start(1));
        let (done, log) = bench.run(stop(1));
        assert_eq!(done, Done::Stuck { reason: "b: no stop".into() });
        assert_eq!(log, "stop b, stop a");
        assert!(matches!(bench.run(start(2)).0, Done::Stuck { .. }), "nothing new beside it");
    }

    #[test]
    fn old_orders_do_not_touch_a_newer_generation() {
        let mut bench = bench(&[]);
        bench.run(start(5));
        assert_eq!(bench.run(stop(4)), (Done::Stopped, String::new()));
        assert!(matches!(bench.run(start(4)).0, Done::Failed { .. }));
        let (service, generation) = (ServiceId(0), Generation(4));
        assert_eq!(bench.run(Job::Withdraw { service, generation }).1, "");
        let restored = bench.run(Job::Restore { service, generation }).0;
        assert!(matches!(restored, Done::Failed { .. }));
    }

    #[test]
    fn a_newer_generation_never_starts_beside_an_older_one() {
        let mut bench = bench(&[]);
        bench.run(start(1));
        assert_eq!(bench.run(start(2)).1, "stop b, stop a, start a, start b");
    }

    #[test]
    fn a_death_is_told_once_per_generation() {
        let mut bench = bench(&[]);
        assert_eq!(bench.driver.poll_death(Instant(2)), None);
        bench.run(start(1));
        *bench.exit.lock().unwrap() = Some("ended".into());
        let told = bench.driver.poll_death(Instant(2)).unwrap();
        assert_eq!(told.result, Done::Died { reason: "a: ended".into() });
        assert_eq!(bench.driver.poll_death(Instant(3)), None);
        bench.run(start(2));
        assert!(bench.driver.poll_death(Instant(4)).is_some());
    }

    #[test]
    fn a_shutdown_stops_what_is_up_and_nothing_else() {
        let mut bench = bench(&[]);
        assert!(bench.driver.handle_shutdown(|| Instant(1)).is_none());
        bench.run(start(3));
        let outcome = bench.driver.handle_shutdown(|| Instant(1)).unwrap();
        assert_eq!((outcome.generation, outcome.result), (Generation(3), Done::Stopped));
    }
}
