//! Reads what a daemon writes, while it writes: the moment at which a line is there is the moment of the event, late by a
//! look at most.

use base::{Duration, Instant};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use testbed::os;

/// Between two looks.
const LOOK: Duration = Duration::from_micros(200);

/// One log, read to some place.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    at: u64,
}

impl Log {
    /// From its beginning on.
    pub(crate) const fn new(path: PathBuf) -> Self {
        Self { path, at: 0 }
    }

    /// What was written since the last call; nothing if it is not there yet.
    pub(crate) fn next(&mut self) -> String {
        let mut bytes = Vec::new();
        let read = File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.at))?;
            file.read_to_end(&mut bytes)
        });
        self.at += read.unwrap_or(0) as u64;
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What is there by now is not read.
    pub(crate) fn skip(&mut self) {
        self.at = std::fs::metadata(&self.path).map_or(self.at, |about| about.len());
    }

    /// All of it.
    pub(crate) fn whole(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.path).unwrap_or_default()).into_owned()
    }
}

/// When the last survivor's log has said what `says` looks for, from now on; none if that is not within the limit. The logs
/// are by node.
pub(crate) fn survivors_say(
    logs: &mut [Log],
    victim: u8,
    limit: Duration,
    says: impl Fn(&str) -> bool,
) -> Option<Instant> {
    let survivors = (1..).zip(logs).filter(|(node, _)| *node != victim).map(|(_, log)| log);
    // What was said before the cut says nothing of it.
    let mut open: Vec<_> = survivors
        .map(|log| {
            log.skip();
            (log, String::new())
        })
        .collect();
    let end = os::now() + limit;
    // The looks must not wait for the daemons that are looked at.
    let realtime = os::realtime(os::PRIORITY_OBSERVER).is_ok();
    let mut last = None;
    while !open.is_empty() && os::now() < end && !os::interrupted() {
        open.retain_mut(|(log, text)| {
            text.push_str(&log.next());
            let said = says(text);
            if said {
                last = Some(os::now());
            }
            !said
        });
        os::sleep(LOOK);
    }
    if realtime {
        os::ordinary();
    }
    last.filter(|_| open.is_empty())
}

#[cfg(test)]
mod tests {
    use super::{Log, survivors_say};
    use base::Duration;
    use std::fs::{self, OpenOptions};
    use std::io::Write;

    #[test]
    fn what_was_said_before_does_not_count_and_nor_does_the_victim() {
        let path =
            |node| std::env::temp_dir().join(format!("ng-peers-{}-{node}", std::process::id()));
        let mut logs = [1, 2].map(|node| Log::new(path(node)));
        let down = |text: &str| text.contains("down");
        let moment = Duration::from_millis(1);
        assert!(survivors_say(&mut logs, 1, moment, down).is_none(), "no file yet");
        fs::write(path(2), "down\n").unwrap();
        assert!(survivors_say(&mut logs, 1, moment, down).is_none(), "that was before");
        let seen = std::thread::scope(|scope| {
            let logs = &mut logs;
            let look = scope.spawn(|| survivors_say(logs, 1, Duration::from_millis(10_000), down));
            let mut file = OpenOptions::new().append(true).open(path(2)).unwrap();
            while !look.is_finished() {
                file.write_all(b"up -> down\n").unwrap();
                std::thread::yield_now();
            }
            look.join().unwrap()
        });
        assert!(seen.is_some());
        fs::remove_file(path(2)).unwrap();
    }
}
