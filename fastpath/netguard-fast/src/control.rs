//! The child: netguard-control, with what it inherits, and its end.

use crate::clock;
use crate::kernel::{self, EventFd, Waiter};
use base::Duration;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// How long a child that must go may take before it is killed.
pub const GOODBYE: Duration = Duration::from_millis(2_000);

/// What both daemons are told on their command line.
#[derive(Clone, Debug)]
pub struct Places {
    /// The configuration.
    pub config: PathBuf,
    /// Which node this is.
    pub node: String,
    /// Map and socket.
    pub run_dir: PathBuf,
    /// What must survive.
    pub state_dir: PathBuf,
}

/// The running child. Dropping it ends it: first politely, then not.
#[derive(Debug)]
pub struct Control {
    child: Child,
    pidfd: OwnedFd,
}

impl Control {
    /// Starts `program` with the map, the event descriptor, the set-up socket and the gate's map, if
    /// there is one, inherited.
    pub fn start(
        program: &Path,
        places: &Places,
        map: BorrowedFd<'_>,
        events: &EventFd,
        setup: &UnixStream,
        gate: Option<BorrowedFd<'_>>,
    ) -> io::Result<Self> {
        let inherited = [map.as_raw_fd(), events.raw(), setup.as_raw_fd()];
        let gate = gate.map(|fd| fd.as_raw_fd());
        let mut command = Command::new(program);
        let options: [(&str, OsString); 7] = [
            ("--config", places.config.clone().into()),
            ("--node", places.node.clone().into()),
            ("--run-dir", places.run_dir.clone().into()),
            ("--state-dir", places.state_dir.clone().into()),
            ("--map-fd", inherited[0].to_string().into()),
            ("--event-fd", inherited[1].to_string().into()),
            ("--setup-fd", inherited[2].to_string().into()),
        ];
        for (option, value) in options {
            command.arg(option).arg(value);
        }
        if let Some(gate) = gate {
            command.arg("--gate-fd").arg(gate.to_string());
        }
        let keep = move || {
            for fd in inherited.into_iter().chain(gate) {
                // SAFETY: takes no pointer; the descriptors are open: they were copied with the
                // process.
                if unsafe { libc::fcntl(fd, libc::F_SETFD, 0) } < 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(())
        };
        // SAFETY: between fork and exec the closure only calls fcntl, which is safe there, and
        // reads the error number; it allocates nothing.
        unsafe { command.pre_exec(keep) };
        let child = command.spawn()?;
        let pidfd = kernel::pidfd(child.id())?;
        Ok(Self { child, pidfd })
    }

    /// Readable once the child has ended.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Asks the child to stop.
    pub fn ask_to_stop(&self) {
        self.signal(libc::SIGTERM);
    }

    /// Ends the child without asking.
    pub fn kill(&self) {
        self.signal(libc::SIGKILL);
    }

    /// Waits until the child has ended, at most so long; its exit code, or none if it was killed or
    /// is not gone.
    pub fn wait(&mut self, limit: Duration) -> Option<i32> {
        let until = clock::now() + limit;
        let mut waiter = Waiter::default();
        let at = waiter.add(self.pidfd.as_fd());
        let mut now = clock::now();
        while now < until {
            waiter.wait(now, until);
            if waiter.ready(at) {
                return self.child.try_wait().ok().flatten().and_then(|status| status.code());
            }
            now = clock::now();
        }
        None
    }

    fn signal(&self, signal: libc::c_int) {
        // SAFETY: takes integers and a null pointer. The pidfd names exactly this child, also after
        // its end.
        unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.pidfd.as_raw_fd(),
                signal,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        self.ask_to_stop();
        self.wait(GOODBYE);
        if matches!(self.child.try_wait(), Ok(None)) {
            self.kill();
            self.wait(GOODBYE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Control, Places};
    use crate::kernel::EventFd;
    use base::Duration;
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::path::Path;

    /// A child that does what the node's name says, and fast's end of its set-up socket.
    fn start(node: &str) -> (Control, UnixStream) {
        let program = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/child.sh"));
        let map = shm::Map::nameless().unwrap();
        let events = EventFd::new().unwrap();
        let (own, other) = UnixStream::pair().unwrap();
        let places = Places {
            config: "c".into(),
            node: node.into(),
            run_dir: "r".into(),
            state_dir: "s".into(),
        };
        (Control::start(program, &places, map.as_fd(), &events, &other, None).unwrap(), own)
    }

    #[test]
    fn the_child_inherits_the_descriptors_that_its_options_name() {
        let (mut control, mut own) = start("tell");
        let mut line = String::new();
        own.read_to_string(&mut line).unwrap();
        let expected = "--config c --node tell --run-dir r --state-dir s --map-fd ";
        assert!(line.starts_with(expected), "{line}");
        assert_eq!(control.wait(Duration::from_millis(10_000)), Some(6));
    }

    #[test]
    fn dropping_ends_the_child_and_a_killed_one_has_no_code() {
        let (control, mut own) = start("sleep");
        drop(control);
        assert_eq!(own.read(&mut [0]).unwrap(), 0);
        let (mut control, mut own) = start("sleep");
        control.kill();
        assert_eq!(control.wait(Duration::from_millis(10_000)), None);
        assert_eq!(own.read(&mut [0]).unwrap(), 0);
    }
}
