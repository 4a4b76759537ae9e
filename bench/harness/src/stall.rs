//! The stall meter (DESIGN section 4): one SCHED_FIFO thread per core that notes when it was not
//! run.
//!
//! A virtual machine loses its cores for 10–35 ms at times, and no program in it can do anything
//! about that. A trial that overlaps such a stall says nothing about the product: it is void,
//! counted, and repeated. It is never passed, and never a reason for a longer timeout.

use crate::os;
use base::{Duration, Instant};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// How often each thread wants to run.
const PERIOD: Duration = Duration::from_micros(500);
/// Lateness that is noted.
const NOTED: Duration = Duration::from_millis(1);
/// Most stalls kept: the oldest go first.
const STALLS_MAX: usize = 100_000;

/// A time in which one core did not run what it should have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stall {
    /// When the thread should have run.
    pub from: Instant,
    /// When it did.
    pub to: Instant,
    /// On which core.
    pub core: usize,
}

impl Stall {
    /// How long.
    #[must_use]
    pub const fn length(&self) -> Duration {
        self.to.since(self.from)
    }
}

/// The stalls so far.
#[derive(Debug, Default)]
pub struct Stalls {
    list: std::collections::VecDeque<Stall>,
    forgotten: u64,
}

impl Stalls {
    /// Notes one.
    pub fn add(&mut self, stall: Stall) {
        if self.list.len() == STALLS_MAX {
            self.list.pop_front();
            self.forgotten += 1;
        }
        self.list.push_back(stall);
    }

    /// The longest stall of more than `limit` that overlaps `from..to`.
    #[must_use]
    pub fn overlapping(&self, from: Instant, to: Instant, limit: Duration) -> Option<Stall> {
        let inside = |it: &&Stall| it.length() > limit && it.from < to && it.to > from;
        self.list.iter().filter(inside).max_by_key(|it| it.length()).copied()
    }
}

/// The running meter.
#[derive(Debug)]
pub struct StallMeter {
    stalls: Arc<Mutex<Stalls>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    realtime: bool,
}

impl StallMeter {
    /// Starts one thread per core that this process may use.
    #[must_use]
    pub fn start() -> Self {
        let stalls = Arc::new(Mutex::new(Stalls::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let cores = os::cores();
        let (tell, told) = crossbeam_channel::bounded(cores.len());
        let threads: Vec<_> = cores
            .into_iter()
            .map(|core| {
                let (stalls, stop, tell) = (Arc::clone(&stalls), Arc::clone(&stop), tell.clone());
                std::thread::spawn(move || {
                    let pinned = os::pin(core).is_ok();
                    let _ = tell.send(os::realtime(os::PRIORITY_METER).is_ok() && pinned);
                    drop(tell); // the answers end when all have told
                    measure(core, &stalls, &stop);
                })
            })
            .collect();
        drop(tell);
        let realtime = told.iter().all(|got| got);
        Self { stalls, stop, threads, realtime }
    }

    /// False if the kernel refused real-time priority: then the meter also counts what other
    /// programs took.
    #[must_use]
    pub const fn is_realtime(&self) -> bool {
        self.realtime
    }

    /// The longest stall of more than `limit` that overlaps `from..to`. A stall is known once it is
    /// over, so ask a little after `to`.
    #[must_use]
    pub fn overlaps(&self, from: Instant, to: Instant, limit: Duration) -> Option<Stall> {
        let stalls = self.stalls.lock().unwrap_or_else(PoisonError::into_inner);
        stalls.overlapping(from, to, limit)
    }
}

impl Drop for StallMeter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn measure(core: usize, stalls: &Mutex<Stalls>, stop: &AtomicBool) {
    let mut due = os::now() + PERIOD;
    while !stop.load(Ordering::Relaxed) {
        os::sleep_until(due);
        let now = os::now();
        if now.since(due) > NOTED {
            let stall = Stall { from: due, to: now, core };
            stalls.lock().unwrap_or_else(PoisonError::into_inner).add(stall);
        }
        due = now + PERIOD;
    }
}

#[cfg(test)]
mod tests {
    use super::{Stall, Stalls};
    use base::{Duration, Instant};

    const MS: u64 = 1_000_000;

    #[test]
    fn only_long_stalls_that_touch_the_trial_make_it_void() {
        let mut stalls = Stalls::default();
        for (from, to) in [(10, 12), (100, 109), (300, 306)] {
            stalls.add(Stall { from: Instant(from * MS), to: Instant(to * MS), core: 0 });
        }
        let longest = |from: u64, to: u64| {
            let limit = Duration::from_millis(5);
            let found = stalls.overlapping(Instant(from * MS), Instant(to * MS), limit);
            found.map(|it| it.length().millis())
        };
        assert_eq!(longest(0, 50), None, "2 ms are no stall for a 10 ms interval");
        assert_eq!(longest(50, 104), Some(9));
        assert_eq!(longest(108, 301), Some(9));
        assert_eq!(longest(109, 300), None, "it only touches both ends");
    }

    #[test]
    fn the_oldest_are_forgotten_first() {
        let mut stalls = Stalls::default();
        for at in 0..super::STALLS_MAX as u64 + 1 {
            stalls.add(Stall { from: Instant(at * MS), to: Instant(at * MS + 9 * MS), core: 0 });
        }
        assert_eq!(stalls.list.len(), super::STALLS_MAX);
        assert_eq!(stalls.forgotten, 1);
    }
}
