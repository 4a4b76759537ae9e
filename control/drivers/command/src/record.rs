//! What a restarted daemon knows of the commands that an earlier one left behind.
//!
//! One small text file per command in the run directory: `netguard-command 1`, then pid, start time
//! and boot id. It is made before the process, so that there is no moment in which a process runs
//! that no file tells of; its path is the mark that the process carries.

use crate::error::CommandError;
use crate::scope::Scope;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

const TITLE: &str = "netguard-command 1";
const SUFFIX: &str = ".command";
/// Most records that one start looks at.
const RECORDS_MAX: usize = 4_096;

/// The record of one command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    path: PathBuf,
}

impl Record {
    /// The record of resource number `resource` of `service`. The name is made of plain characters
    /// only.
    #[must_use]
    pub fn new(run_dir: &Path, service: &str, resource: usize) -> Self {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let name: String = service.chars().map(plain).collect();
        Self { path: run_dir.join(format!("{name}-{resource}{SUFFIX}")) }
    }
    /// The mark that its processes carry.
    #[must_use]
    pub fn mark(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }
    /// Says that a process may exist from now on.
    pub fn open(&self) -> Result<(), CommandError> {
        self.write(&format!("{TITLE}\n"))
    }
    /// Says which process it is.
    pub fn set(&self, pid: i32, start: u64) -> Result<(), CommandError> {
        self.write(&format!("{TITLE}\npid {pid}\nstart {start}\nboot {}\n", boot_id()))
    }
    /// Says that no process is left.
    pub fn remove(&self) -> Result<(), CommandError> {
        match fs::remove_file(&self.path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(self.fail(e)),
            _ => Ok(()),
        }
    }

    /// The directory may be on a disk: written beside and renamed, a reader never sees half a
    /// record.
    fn write(&self, text: &str) -> Result<(), CommandError> {
        let beside = self.path.with_extension("new");
        let written = fs::File::create(&beside)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .and_then(|()| fs::rename(&beside, &self.path));
        written.map_err(|e| self.fail(e))
    }
    fn fail(&self, source: io::Error) -> CommandError {
        CommandError::Record { path: self.path.clone(), source }
    }
    fn scope(&self) -> Result<Scope, CommandError> {
        let text = fs::read_to_string(&self.path).map_err(|e| self.fail(e))?;
        Ok(Scope { leader: parse(&text, &boot_id()), mark: self.mark() })
    }
}

/// The leader, if the record names one of this boot; anything else leaves only the mark to go by.
fn parse(text: &str, boot: &str) -> Option<(i32, u64)> {
    let mut lines = text.lines();
    if lines.next() != Some(TITLE) {
        return None;
    }
    let pid = lines.next()?.strip_prefix("pid ")?.parse().ok().filter(|pid| *pid > 1)?;
    let start = lines.next()?.strip_prefix("start ")?.parse().ok()?;
    (lines.next()?.strip_prefix("boot ")? == boot).then_some((pid, start))
}

fn boot_id() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

/// R-START: kills what the commands of an earlier daemon left behind. Returns the records that
/// named something. The daemons died, so there is no order to keep any more: SIGKILL at once.
pub fn remove_leftovers(run_dir: &Path) -> Result<Vec<PathBuf>, CommandError> {
    let fail = |source| CommandError::Record { path: run_dir.to_owned(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(run_dir).map_err(fail)?.take(RECORDS_MAX) {
        let path = entry.map_err(fail)?.path();
        if !path.to_string_lossy().ends_with(SUFFIX) {
            continue;
        }
        let record = Record { path };
        let scope = record.scope()?;
        if !scope.members().is_empty() {
            scope.end(Duration::ZERO, &mut || {})?;
            found.push(record.path.clone());
        }
        record.remove()?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{Record, parse};
    use base::Prng;
    use std::path::Path;

    #[test]
    fn a_record_of_another_boot_or_a_broken_one_names_nobody() {
        let text = "netguard-command 1\npid 77\nstart 5\nboot abc\n";
        assert_eq!(parse(text, "abc"), Some((77, 5)));
        assert_eq!(parse(text, "other"), None);
        for n in 0..text.len() - 1 {
            assert_eq!(parse(&text[..n], "abc"), None, "cut to {n} bytes");
        }
        assert_eq!(
            parse("netguard-command 1\npid 1\nstart 5\nboot abc\n", "abc"),
            None,
            "not init"
        );
    }

    #[test]
    fn service_names_cannot_leave_the_directory() {
        let record = Record::new(Path::new("/run/netguard"), "../../etc/x y", 0);
        assert_eq!(record.mark(), "/run/netguard/______etc_x_y-0.command");
    }

    /// Whatever is in the file, it names init or nobody's process never.
    #[test]
    fn any_text_is_a_record_or_none() {
        let text = "netguard-command 1\npid 77\nstart 5\nboot abc\n";
        let mut dice = Prng::new(1);
        for _ in 0..20_000 {
            let mut bytes = text.as_bytes().to_vec();
            for _ in 0..1 + dice.below(3) {
                let at = dice.below(bytes.len() as u64) as usize;
                bytes[at] =
                    [b'\n', b' ', b'-', b'0', b'9', dice.next_u64() as u8][dice.below(6) as usize];
            }
            let found = parse(&String::from_utf8_lossy(&bytes), "abc");
            assert!(found.is_none_or(|(pid, _)| pid > 1), "{found:?}");
        }
    }
}
