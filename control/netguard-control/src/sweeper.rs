//! The dead man's broom: a small process that takes the floating addresses away when control dies
//! without doing it itself (killed, crashed).
//!
//! The peers take over as soon as fast's obituary tells that this life has ended (R-OBIT), so the
//! addresses must not wait for the next start (R-START). The broom is started before anything can be
//! started here, holds nothing but a pipe from control and the lock of the shared map (a next life
//! waits until it has swept), and does one thing once when the pipe ends. It is a second net: a node
//! whose processes are all killed at once keeps its addresses until the kernel's gate exists.

use crate::failure::Failure;
use crate::system;
use shm::{Map, lifeline};
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// First argument of the program when it is the broom.
pub const WORD: &str = "sweep";
/// Tries, should the kernel be busy with another's changes.
const TRIES_MAX: usize = 10;

/// Control's end: as long as this is open, the broom waits.
#[derive(Debug)]
pub struct Sweeper {
    life: File,
}

impl Sweeper {
    /// Starts the broom as a process of this program, with `priority` if that is allowed.
    pub fn start(
        program: &Path,
        run_dir: &Path,
        floating: &[IpAddr],
        priority: Option<u8>,
        map: &Map,
    ) -> io::Result<Self> {
        let (end, life) = io::pipe()?;
        // The map's descriptor takes the place of standard output: the copy shares its lock.
        let lock = map.as_fd().try_clone_to_owned()?;
        let child = Command::new(program)
            .arg0("netguard-sweep")
            .arg(WORD)
            .arg(priority.unwrap_or(0).to_string())
            .arg(run_dir)
            .args(floating.iter().map(IpAddr::to_string))
            .stdin(Stdio::from(end))
            .stdout(Stdio::from(lock))
            .spawn()?;
        // It ends after this process does; nobody waits for it here.
        drop(child);
        // Let go of first when control dies: the addresses must not wait for the rest of its end.
        Ok(Self { life: lifeline::raise(life.into()).into() })
    }

    /// Addresses that have come since the start are swept too. Few enough for the pipe to take them at once.
    pub fn learn(&mut self, floating: &[IpAddr]) -> io::Result<()> {
        let words: String = floating.iter().map(|address| format!("{address}\n")).collect();
        self.life.write_all(words.as_bytes())
    }
}

/// What the broom is told.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Duty {
    priority: u8,
    run_dir: PathBuf,
    floating: Vec<IpAddr>,
}

impl Duty {
    fn parse(mut words: impl Iterator<Item = String>) -> Option<Self> {
        let priority = words.next()?.parse().ok()?;
        let run_dir = words.next()?.into();
        let floating = words.map(|word| word.parse().ok()).collect::<Option<_>>()?;
        Some(Self { priority, run_dir, floating })
    }

    /// More addresses, one a line; a line that is cut off or nonsense is none.
    fn learn(&mut self, said: &[u8]) {
        let text = String::from_utf8_lossy(said);
        let whole = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        self.floating.extend(whole.filter_map(|line| line.parse::<IpAddr>().ok()));
    }
}

/// The broom's own run: waits for the end of control, then sweeps. `words` follow [`WORD`].
pub fn run(words: impl Iterator<Item = String>) -> Result<(), Failure> {
    let mut duty = Duty::parse(words).ok_or_else(|| Failure::NotInherited {
        what: "`netguard-control sweep` is only for netguard-control itself".into(),
    })?;
    // The name that ps and top show; without it, only that is missing.
    let _ = std::fs::write("/proc/self/comm", "netguard-sweep");
    let _signals = system::Signals::take().map_err(Failure::kernel("take over signals"))?;
    if duty.priority > 0 {
        let _ = system::realtime(duty.priority);
    }
    let _ = system::lock_memory();
    // Everything that sweeping needs is touched once, so that it is in memory when it counts.
    driver_address::remove_leftovers(&[])?;
    duty.learn(&wait_for_end());
    sweep(&duty)
}

/// Until control is gone; what it said meanwhile.
fn wait_for_end() -> Vec<u8> {
    let (mut said, mut buffer) = (Vec::new(), [0; 256]);
    loop {
        match io::stdin().lock().read(&mut buffer) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return said,
            Ok(n) => said.extend_from_slice(buffer.get(..n).unwrap_or_default()),
        }
    }
}

/// Addresses first: they are what others take over.
fn sweep(duty: &Duty) -> Result<(), Failure> {
    let mut result = Ok(Vec::new());
    for _ in 0..TRIES_MAX {
        result = driver_address::remove_leftovers(&duty.floating);
        if result.is_ok() {
            break;
        }
    }
    for removed in result? {
        eprintln!("netguard-sweep: control has ended: removed {}", removed.address);
    }
    for record in driver_command::remove_leftovers(&duty.run_dir)? {
        eprintln!("netguard-sweep: control has ended: ended what {} names", record.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Duty;

    fn parse(line: &str) -> Option<Duty> {
        Duty::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_duty_is_read_whole_or_not_at_all() {
        let duty = parse("30 /run/netguard 10.0.0.1 fd00::1").unwrap();
        assert_eq!((duty.priority, duty.floating.len()), (30, 2));
        for line in ["", "30", "x /run 10.0.0.1", "30 /run 10.0.0.1 nonsense"] {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    #[test]
    fn addresses_that_come_later_are_learnt() {
        let mut duty = parse("30 /run/netguard 10.0.0.1").unwrap();
        duty.learn(b"10.0.0.2\nfd00::2\nnonsense\n\xff\n10.0.0.3");
        let shown: Vec<String> = duty.floating.iter().map(|it| it.to_string()).collect();
        assert_eq!(shown, ["10.0.0.1", "10.0.0.2", "fd00::2"]);
    }
}
