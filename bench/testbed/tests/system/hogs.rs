//! Somebody else's work takes all cores: the heartbeat goes on (S10), because it is real-time and
//! does little.

use crate::Test;
use crate::arena::Arena;
use base::Duration;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use testbed::error::Result;
use testbed::hold;
use testbed::os;
use testbed::programs::Programs;
use testbed::spec::Spec;
use testbed::suite::Verdict;

pub(crate) const TESTS: &[Test] = &[Test { name: "cpu-hogs", run: hogs }];

/// Four on two cores; more cores, more hogs.
fn count() -> usize {
    (os::cores().len() * 2).max(4)
}

/// Ordinary threads that never sleep, until dropped.
struct Hogs {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Hogs {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let hog = |stop: Arc<AtomicBool>| {
            move || {
                let mut n = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    n = black_box(n.wrapping_mul(31).wrapping_add(7));
                }
            }
        };
        let threads = (0..count()).map(|_| std::thread::spawn(hog(Arc::clone(&stop)))).collect();
        Self { stop, threads }
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn hogs(programs: &Programs) -> Result<Verdict> {
    if os::realtime(1).is_err() {
        return Ok(Verdict::Skip("no real-time priority here (CAP_SYS_NICE)".into()));
    }
    os::ordinary();
    let mut arena = Arena::start(Spec::default(), programs)?;
    let hogs = Hogs::start();
    let stayed = arena.stays(Duration::from_millis(60_000), |_, _| Ok(()))?;
    drop(hogs);
    hold!(stayed.is_ok(), "{stayed:?}");
    arena.end()
}
