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

    /// All of it.
    pub(crate) fn whole(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.path).unwrap_or_default()).into_owned()
    }
}

/// When the last of these logs has said what `says` looks for; none if that is not within the limit. Looks from where each
/// was read to.
pub(crate) fn all_say<'l>(
    logs: impl Iterator<Item = &'l mut Log>,
    limit: Duration,
    says: impl Fn(&str) -> bool,
) -> Option<Instant> {
    let end = os::now() + limit;
    let mut open: Vec<_> = logs.map(|log| (log, String::new())).collect();
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
    use super::{Log, all_say};
    use base::Duration;
    use std::io::Write;

    #[test]
    fn a_line_is_seen_once_it_is_there_and_not_again() {
        let path = std::env::temp_dir().join(format!("ng-peers-log-{}", std::process::id()));
        let mut log = Log::new(path.clone());
        let (soon, now) = (Duration::from_millis(5_000), Duration::from_millis(1));
        assert!(
            all_say(std::iter::once(&mut log), now, |text| text.contains("down")).is_none(),
            "no file yet"
        );
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(b"up -> down\n").unwrap();
        assert!(all_say(std::iter::once(&mut log), soon, |text| text.contains("down")).is_some());
        assert!(
            all_say(std::iter::once(&mut log), now, |text| text.contains("down")).is_none(),
            "that was read"
        );
        drop(file);
        std::fs::remove_file(path).unwrap();
    }
}
