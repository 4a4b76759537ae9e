//! Answers whose interrupt a guest has lost are told again.
//!
//! User Mode Linux 6.1 loses an interrupt now and then: its handler walks a list of waiting events that
//! is the same for all, a network interrupt in the middle runs the handler again, and what the inner
//! run writes over, the outer one never sees; the events are told once only. A disk whose last
//! interrupt is lost so stands still for ever, everything answered: the guest waits for a flush, and
//! asks for nothing more. So, when a disk has been quiet for a moment after an answer, its
//! interrupt is raised again, a few times. One that finds nothing new costs the guest a look.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::{self, Thread};
use std::time::Duration;

/// A disk that is quiet for so long may have lost an interrupt.
const QUIET: Duration = Duration::from_millis(10);
/// How often it is told again: each time could be lost too.
const TIMES: u32 = 5;

/// Raises the interrupt that was raised last.
type Again = Box<dyn Fn() + Send>;

/// Watches the answers of one disk.
pub(crate) struct Reminder {
    answers: AtomicU64,
    /// The thread sleeps until the next answer.
    resting: AtomicBool,
    again: Mutex<Option<Again>>,
    thread: Mutex<Option<Thread>>,
}

impl Reminder {
    /// Starts its thread, which ends with the last owner of the value.
    pub(crate) fn start() -> Arc<Self> {
        let this = Arc::new(Self {
            answers: AtomicU64::new(0),
            resting: AtomicBool::new(false),
            again: Mutex::default(),
            thread: Mutex::default(),
        });
        let watched = Arc::downgrade(&this);
        let thread = thread::spawn(move || watch(&watched)).thread().clone();
        *this.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        this
    }

    /// How the interrupt is raised from now on: a guest has booted.
    pub(crate) fn raise_by(&self, again: Again) {
        *self.again.lock().unwrap_or_else(PoisonError::into_inner) = Some(again);
    }

    /// A request was answered and its interrupt raised.
    pub(crate) fn answered(&self) {
        self.answers.fetch_add(1, Ordering::Release);
        if self.resting.swap(false, Ordering::AcqRel) {
            self.wake();
        }
    }

    fn wake(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        thread.iter().for_each(Thread::unpark);
    }
}

impl Drop for Reminder {
    fn drop(&mut self) {
        self.wake();
    }
}

fn watch(watched: &Weak<Reminder>) {
    let (mut seen, mut left) = (0, 0);
    while let Some(this) = watched.upgrade() {
        let answers = this.answers.load(Ordering::Acquire);
        if answers != seen {
            (seen, left) = (answers, TIMES);
        } else if left > 0 {
            left -= 1;
            let again = this.again.lock().unwrap_or_else(PoisonError::into_inner);
            again.iter().for_each(|raise| raise());
        } else {
            this.resting.store(true, Ordering::Release);
            // An answer in between has found nobody resting, and left its number.
            if this.answers.load(Ordering::Acquire) == seen {
                drop(this);
                thread::park();
            }
            continue;
        }
        drop(this);
        thread::sleep(QUIET);
    }
}

#[cfg(test)]
mod tests {
    use super::{Reminder, TIMES};
    use std::sync::mpsc::{RecvTimeoutError, channel};
    use std::time::Duration;

    #[test]
    fn an_answer_is_told_again_a_few_times_and_then_no_more() {
        let reminder = Reminder::start();
        let (tell, told) = channel();
        reminder.raise_by(Box::new(move || tell.send(()).unwrap()));
        for _round in 0..2 {
            reminder.answered();
            for _ in 0..TIMES {
                assert_eq!(told.recv_timeout(Duration::from_secs(10)), Ok(()));
            }
            let more = told.recv_timeout(Duration::from_millis(50));
            assert_eq!(more, Err(RecvTimeoutError::Timeout));
        }
        drop(reminder);
        // The closure goes with its owner, and the thread sees that there is none.
        let end = told.recv_timeout(Duration::from_secs(10));
        assert_eq!(end, Err(RecvTimeoutError::Disconnected));
    }
}
