//! One thread per service, so that a resource that hangs holds up no other.
//!
//! A takeover runs in here, so the threads have a real-time priority (below the event loop's); the
//! processes they start do not inherit it.

use crate::journal::Journal;
use crate::part::Part;
use crate::service_driver::ServiceDriver;
use crate::system::{self, Poll, Wake};
use base::Duration;
use crossbeam_channel::{Receiver, Sender, bounded};
use driver::{Job, Outcome};
use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use wire::ServiceId;

/// Jobs that may wait at one service.
const JOBS_MAX: usize = 64;
/// Outcomes that may wait at the event loop.
const OUTCOMES_MAX: usize = 1_024;
/// The stack of a driver thread; all of it is locked in memory.
const STACK: usize = 256 * 1024;

/// Something for a driver thread to do.
enum Order {
    Run(Job),
    /// From the next start on these are the service's resources.
    Replace(Vec<Box<dyn Part>>),
    /// Stop what is up, and end.
    Shutdown,
}

/// All driver threads.
#[derive(Debug)]
pub struct DriverThreads {
    threads: BTreeMap<ServiceId, Handle>,
    outcomes: Receiver<Outcome>,
    /// For threads of services that come later.
    kit: Kit,
}

#[derive(Clone, Debug)]
struct Kit {
    outcomes: Sender<Outcome>,
    wake_loop: Arc<Wake>,
    priority: Option<u8>,
    journal: Journal,
}

#[derive(Debug)]
struct Handle {
    orders: Sender<Order>,
    wake: Arc<Wake>,
    thread: JoinHandle<()>,
}

impl DriverThreads {
    /// Starts a thread for each service, in their order. `wake` is woken with every outcome.
    pub fn start(
        services: Vec<Vec<Box<dyn Part>>>,
        priority: Option<u8>,
        wake: &Arc<Wake>,
        journal: &Journal,
    ) -> io::Result<Self> {
        let (to, outcomes) = bounded(OUTCOMES_MAX);
        let (wake_loop, journal) = (Arc::clone(wake), journal.clone());
        let kit = Kit { outcomes: to, wake_loop, priority, journal };
        let mut this = Self { threads: BTreeMap::new(), outcomes, kit };
        for (number, parts) in (0u16..).zip(services) {
            this.add(ServiceId(number), parts)?;
        }
        Ok(this)
    }

    fn add(&mut self, service: ServiceId, parts: Vec<Box<dyn Part>>) -> io::Result<()> {
        let (orders, from) = bounded(JOBS_MAX);
        let wake = Arc::new(Wake::new()?);
        let (driver, kit) = (ServiceDriver::new(service, parts), self.kit.clone());
        let mut worker = Worker { driver, orders: from, wake: Arc::clone(&wake), kit };
        let thread = std::thread::Builder::new()
            .name(format!("service-{}", service.0))
            .stack_size(STACK)
            .spawn(move || worker.survive())?;
        self.threads.insert(service, Handle { orders, wake, thread });
        Ok(())
    }

    /// Another set of resources, from the service's next start on; until then it stops what it has. A service that was not
    /// here gets its thread.
    pub fn replace(&mut self, service: ServiceId, parts: Vec<Box<dyn Part>>) -> io::Result<()> {
        let Some(handle) = self.threads.get(&service) else { return self.add(service, parts) };
        let full = || io::Error::other("a driver is too far behind to take its new resources");
        let sent = handle.orders.try_send(Order::Replace(parts)).map_err(|_| full());
        handle.wake.wake();
        sent
    }

    /// Hands a job to its service; false if too many wait there already, or there is no such
    /// service.
    pub fn run(&self, job: Job) -> bool {
        let service = match job {
            Job::Start(right) => right.service(),
            Job::Stop { service, .. }
            | Job::Withdraw { service, .. }
            | Job::Restore { service, .. } => service,
        };
        let Some(handle) = self.threads.get(&service) else { return false };
        let taken = handle.orders.try_send(Order::Run(job)).is_ok();
        handle.wake.wake();
        taken
    }

    /// The next outcome, if there is one.
    pub fn poll_outcome(&self) -> Option<Outcome> {
        self.outcomes.try_recv().ok()
    }

    /// Stops all services that are up; returns the numbers of those that did not stop within
    /// `limit`.
    pub fn shutdown(self, limit: Duration) -> Vec<ServiceId> {
        let until = system::now() + limit;
        for handle in self.threads.values() {
            // A full queue would be jobs that came before; the thread gets to this one in the end.
            let _ =
                handle.orders.send_timeout(Order::Shutdown, std::time::Duration::from_millis(10));
            handle.wake.wake();
        }
        let mut late = Vec::new();
        for (service, handle) in self.threads {
            while !handle.thread.is_finished() && system::now() < until {
                // Outcomes are drained so that no thread waits for room.
                while self.outcomes.try_recv().is_ok() {}
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            if !handle.thread.is_finished() {
                late.push(service);
            }
        }
        late
    }
}

struct Worker {
    driver: ServiceDriver,
    orders: Receiver<Order>,
    wake: Arc<Wake>,
    kit: Kit,
}

impl Worker {
    /// A defect in a driver must not look like a driver that takes its time: nobody may start the
    /// service elsewhere, and the operator must know.
    fn survive(&mut self) {
        if catch_unwind(AssertUnwindSafe(|| self.run())).is_err()
            && let Some(outcome) = self.driver.handle_defect(system::now())
        {
            self.tell(outcome);
        }
    }

    fn run(&mut self) {
        // Not allowed is told once, by the start of the daemon.
        let _ = self.kit.priority.map(system::realtime);
        let mut poll = Poll::default();
        loop {
            self.wake.clear();
            while let Ok(order) = self.orders.try_recv() {
                match order {
                    Order::Run(job) => {
                        let outcome = self.driver.handle_job(job, system::now);
                        self.tell(outcome);
                    }
                    Order::Replace(parts) => self.driver.replace(parts),
                    Order::Shutdown => {
                        if let Some(outcome) = self.driver.handle_shutdown(system::now) {
                            self.tell(outcome);
                        }
                        return;
                    }
                }
            }
            let now = system::now();
            self.driver.handle_timeout(now);
            if let Some(death) = self.driver.poll_death(now) {
                self.tell(death);
            }
            poll.clear();
            poll.add(self.wake.fd());
            for fd in self.driver.watch_fds() {
                poll.add(fd);
            }
            let limit = self.driver.poll_deadline().map(|at| at.since(system::now()));
            if let Err(e) = poll.wait(limit) {
                // Out of kernel memory at worst: go on looking, at a pace that lets others live.
                self.kit.journal.say(format!("a driver thread cannot wait: {e}"));
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        }
    }

    /// The event loop drains outcomes every cycle; should it not, the thread waits with what it
    /// knows.
    fn tell(&self, outcome: Outcome) {
        let _ = self.kit.outcomes.send(outcome);
        self.kit.wake_loop.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::DriverThreads;
    use crate::journal::Journal;
    use crate::part::Part;
    use crate::system::{Poll, Wake};
    use base::{Duration, Instant};
    use driver::{Done, Evidence, FencePolicy, Job, Outcome, Right};
    use std::sync::Arc;
    use wire::{Generation, ServiceId};

    struct Fake {
        breaks: bool,
    }

    impl Part for Fake {
        fn name(&self) -> String {
            "fake".into()
        }
        fn start(&mut self, _: Generation, _: Instant) -> Result<(), String> {
            assert!(!self.breaks, "a defect that this test makes");
            Ok(())
        }
        fn stop(&mut self) -> Result<(), String> {
            Ok(())
        }
        fn withdraw(&mut self) -> Result<(), String> {
            Ok(())
        }
        fn restore(&mut self, _: Instant) -> Result<(), String> {
            Ok(())
        }
    }

    fn start(service: u16) -> Job {
        let (service, evidence) = (ServiceId(service), Evidence::NeverOwned);
        let right = Right::grant(service, Generation(1), evidence, FencePolicy::Fenced, None, None);
        Job::Start(right.unwrap())
    }

    fn threads(services: Vec<Vec<Box<dyn Part>>>, wake: &Arc<Wake>) -> DriverThreads {
        let (journal, _writer) = Journal::start("test").unwrap();
        DriverThreads::start(services, None, wake, &journal).unwrap()
    }

    #[test]
    fn jobs_are_done_and_a_defect_in_one_driver_is_told_and_holds_up_no_other() {
        let wake = Arc::new(Wake::new().unwrap());
        let part = |breaks| -> Vec<Box<dyn Part>> { vec![Box::new(Fake { breaks })] };
        let parts = vec![part(true), part(false)];
        let threads = threads(parts, &wake);
        let next = || -> Outcome {
            let mut poll = Poll::default();
            poll.add(wake.fd());
            loop {
                if let Some(outcome) = threads.poll_outcome() {
                    return outcome;
                }
                poll.wait(Some(Duration::from_millis(100))).unwrap();
                wake.clear();
            }
        };
        assert!(threads.run(start(0)));
        let outcome = next();
        assert!(matches!(outcome.result, Done::Stuck { .. }), "{outcome:?}");
        assert!(threads.run(start(1)));
        assert_eq!((next().service, threads.run(start(2))), (ServiceId(1), false));
        assert_eq!(threads.shutdown(Duration::from_millis(10_000)), []);
    }

    #[test]
    fn a_service_that_comes_later_gets_its_thread() {
        let wake = Arc::new(Wake::new().unwrap());
        let mut threads = threads(Vec::new(), &wake);
        assert!(!threads.run(start(3)));
        threads.replace(ServiceId(3), vec![Box::new(Fake { breaks: false })]).unwrap();
        assert!(threads.run(start(3)));
        threads.replace(ServiceId(3), Vec::new()).unwrap();
        assert_eq!(threads.shutdown(Duration::from_millis(10_000)), []);
    }
}
