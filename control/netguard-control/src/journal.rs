//! What the operator reads: lines on standard error, written by a thread that may wait.
//!
//! The event loop and the drivers never write themselves: a full pipe would stop a takeover. They
//! hand lines to a bounded channel; what does not fit is counted and the count is told later.

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Lines that may wait.
const LINES_MAX: usize = 1_024;
/// How long the end of the program may wait for the last lines.
const FLUSH_WAIT: Duration = Duration::from_millis(500);

/// The stack of this thread; all of it is locked in memory.
const STACK: usize = 256 * 1024;

/// Takes lines; cheap to clone.
#[derive(Clone, Debug)]
pub struct Journal {
    lines: Sender<String>,
    dropped: Arc<AtomicU64>,
}

/// The writing end.
#[derive(Debug)]
pub struct Writer {
    thread: JoinHandle<()>,
    done: Receiver<()>,
}

impl Journal {
    /// Starts the writing thread.
    pub fn start(node: &str) -> std::io::Result<(Self, Writer)> {
        let (lines, from) = bounded(LINES_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let (end, done) = bounded(1);
        let (count, prefix) = (Arc::clone(&dropped), format!("netguard-control {node}: "));
        let thread = std::thread::Builder::new().name("journal".into()).stack_size(STACK).spawn(
            move || {
                write_lines(&from, &count, &prefix, &mut std::io::stderr());
                let _ = end.send(());
            },
        )?;
        Ok((Self { lines, dropped }, Writer { thread, done }))
    }
    /// Hands over one line; never waits.
    pub fn say(&self, line: impl Into<String>) {
        if let Err(TrySendError::Full(_)) = self.lines.try_send(line.into()) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Writer {
    /// Waits, not for long, until all is written. All [`Journal`]s should be gone by now.
    pub fn finish(self) {
        if !matches!(self.done.recv_timeout(FLUSH_WAIT), Err(RecvTimeoutError::Timeout)) {
            let _ = self.thread.join();
        }
    }
}

fn write_lines(from: &Receiver<String>, dropped: &AtomicU64, prefix: &str, to: &mut dyn Write) {
    for line in from {
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = writeln!(to, "{prefix}{lost} lines were dropped: standard error is too slow");
        }
        let _ = writeln!(to, "{prefix}{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::{Journal, LINES_MAX, write_lines};
    use crossbeam_channel::bounded;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn a_reader_that_is_too_slow_costs_lines_not_time() {
        let (lines, from) = bounded(LINES_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let journal = Journal { lines, dropped: Arc::clone(&dropped) };
        for n in 0..LINES_MAX + 5 {
            journal.say(format!("line {n}"));
        }
        drop(journal);
        let mut text = Vec::new();
        write_lines(&from, &dropped, "p: ", &mut text);
        let text = String::from_utf8(text).unwrap();
        assert!(text.starts_with("p: 5 lines were dropped"), "{}", &text[..60]);
        assert_eq!(text.lines().count(), LINES_MAX + 1);
    }
}
