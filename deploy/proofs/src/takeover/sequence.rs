//! The takeover itself: one process, everything opened beforehand, a stamp after every step.

use crate::takeover::connections::Listener;
use crate::takeover::error::TakeoverError;
use crate::takeover::exports::Exports;
use crate::takeover::mount::Mount;
use crate::takeover::resident::{become_resident, now, syscall_cost};
use crate::takeover::tickle::{Form, Tickler};
use base::{Duration, Instant};
use drbd_glue::{Drbd, Path};
use driver_address::{Address, FloatingAddress};
use serde::Serialize;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

/// NFS.
const PORT: u16 = 2049;
/// DRBD answers in a millisecond or two; a fence handler may take longer.
const DRBD_LIMIT: std::time::Duration = std::time::Duration::from_secs(5);
/// Room for "go" and a line's end.
const INPUT_LEN: usize = 64;

/// What is taken over, and how.
#[derive(Clone, Debug, clap::Args)]
pub struct Plan {
    /// Number of the DRBD device.
    #[arg(long)]
    pub minor: u32,
    /// File system.
    #[arg(long, default_value = "ext4")]
    pub filesystem: String,
    /// Mount options.
    #[arg(long, default_value = "noatime")]
    pub options: String,
    /// Where it is mounted.
    #[arg(long)]
    pub folder: PathBuf,
    /// Number of the exported file system.
    #[arg(long)]
    pub number: u32,
    /// Clients of the export.
    #[arg(long = "client")]
    pub clients: Vec<Ipv4Addr>,
    /// The floating address.
    #[arg(long)]
    pub address: Ipv4Addr,
    /// Its interface.
    #[arg(long, default_value = "eth0")]
    pub interface: String,
    /// Where the owner's list of connections comes in.
    #[arg(long)]
    pub listen: SocketAddr,
    /// What is sent to the clients even before the address is here, so that their answers go to the
    /// dead node: to see what that does to the later ones.
    #[arg(long, value_enum, default_value_t = Form::Silent)]
    pub early: Form,
    /// What wakes the clients first.
    #[arg(long, value_enum, default_value_t = Form::Byte)]
    pub tickle: Form,
    /// What wakes them again.
    #[arg(long, value_enum, default_value_t = Form::Byte)]
    pub again: Form,
    /// When it is sent again, in milliseconds after the first time.
    #[arg(long, value_delimiter = ',', default_value = "")]
    pub again_after: Vec<String>,
    /// The peer lives and gives up by itself: no disconnect, and nobody to wake.
    #[arg(long)]
    pub graceful: bool,
}

/// When each step was done (this node's clock, ns), in the order in which they are done.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Stamps {
    /// The order came.
    pub go: u64,
    /// DRBD's connection is gone.
    pub disconnected: u64,
    /// The device is writable here.
    pub promoted: u64,
    /// The file system is mounted, its journal replayed.
    pub mounted: u64,
    /// nfsd's caches know the export.
    pub exported: u64,
    /// The address is here and announced.
    pub addressed: u64,
    /// The clients are woken.
    pub tickled: u64,
}

/// What a takeover reports: one line of JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// When what was done.
    pub stamps: Stamps,
    /// Client connections that the owner had told.
    pub connections: usize,
    /// Segments that the kernel did not take.
    pub unsent: usize,
    /// What one system call costs here, in ns.
    pub syscall_ns: u64,
    /// The copy was connected to the owner's until the order.
    pub replicated: bool,
}

/// A standby, ready.
#[derive(Debug)]
pub struct Standby {
    plan: Plan,
    drbd: Drbd,
    path: Option<Path>,
    mount: Mount,
    exports: Exports,
    address: FloatingAddress,
    listener: Listener,
    tickler: Tickler,
    again: Vec<Duration>,
    syscall_ns: u64,
}

impl Standby {
    /// Opens everything, then asks for priority and locks the memory.
    pub fn open(plan: Plan) -> Result<Self, TakeoverError> {
        let mut drbd = Drbd::open(DRBD_LIMIT)?;
        let path = drbd.describe(plan.minor)?.path;
        let device = PathBuf::from(format!("/dev/drbd{}", plan.minor));
        let mount = Mount::new(&device, &plan.folder, &plan.filesystem, &plan.options)?;
        let exports = Exports::open(&plan.folder, plan.number, &plan.clients)?;
        let address = FloatingAddress::open(Address {
            address: plan.address.into(),
            prefix: 24,
            interface: plan.interface.clone(),
        })?;
        let listener = Listener::open(plan.listen)?;
        let tickler = Tickler::open(SocketAddrV4::new(plan.address, PORT), plan.tickle)?;
        let again = plan.again_after.iter().filter(|word| !word.is_empty());
        let again = again
            .map(|word| word.parse().map(Duration::from_millis))
            .collect::<Result<_, _>>()
            .map_err(|_| TakeoverError::Asked("--again-after takes milliseconds".into()))?;
        become_resident()?;
        let syscall_ns = syscall_cost();
        Ok(Self { plan, drbd, path, mount, exports, address, listener, tickler, again, syscall_ns })
    }

    /// Waits for "go" on standard input, takes over, reports, and repeats what must be repeated.
    pub fn serve(mut self) -> Result<(), TakeoverError> {
        say("ready")?;
        if !self.wait_for_go()? {
            return Ok(());
        }
        let report = self.take_over()?;
        let line = serde_json::to_string(&report)
            .map_err(|e| TakeoverError::Asked(format!("a report that is no JSON: {e}")))?;
        say(&line)?;
        self.repeat(Instant(report.stamps.tickled));
        Ok(())
    }

    fn take_over(&mut self) -> Result<Report, TakeoverError> {
        let mut stamps = Stamps { go: now().0, ..Stamps::default() };
        let replicated = self.drbd.state(self.plan.minor)?.link.has_peer();
        if let Some(path) = self.path.filter(|_| !self.plan.graceful) {
            self.drbd.disconnect(&path, true)?;
        }
        stamps.disconnected = now().0;
        self.drbd.primary(self.plan.minor, false)?;
        stamps.promoted = now().0;
        if self.plan.early != Form::Silent {
            self.listener.drain();
            self.wake(self.plan.early);
        }
        self.mount.mount()?;
        stamps.mounted = now().0;
        self.exports.write()?;
        stamps.exported = now().0;
        self.address.start(Instant(stamps.exported))?;
        stamps.addressed = now().0;
        self.listener.drain();
        let unsent = self.wake(self.plan.tickle);
        stamps.tickled = now().0;
        let connections = self.listener.clients().len();
        Ok(Report { stamps, connections, unsent, syscall_ns: self.syscall_ns, replicated })
    }

    /// One segment to every client; returns how many were not sent.
    fn wake(&mut self, form: Form) -> usize {
        if self.plan.graceful {
            return 0;
        }
        self.tickler.set_form(form);
        let tickler = &mut self.tickler;
        self.listener.clients().iter().filter(|client| !tickler.send(**client)).count()
    }

    /// Repeats the wake-up and the announcement until both are done.
    fn repeat(&mut self, woken: Instant) {
        let mut left = std::mem::take(&mut self.again).into_iter().map(|d| woken + d).peekable();
        loop {
            let announcement = self.address.poll_deadline();
            let wake_up = left.peek().copied();
            let Some(due) = [announcement, wake_up].into_iter().flatten().min() else { return };
            let wait = due.0.saturating_sub(now().0);
            std::thread::sleep(std::time::Duration::from_nanos(wait));
            let now = now();
            self.address.handle_timeout(now);
            if left.next_if(|due| *due <= now).is_some() {
                self.wake(self.plan.again);
            }
        }
    }

    /// Takes in lists of connections until standard input says something; false at its end.
    fn wait_for_go(&mut self) -> Result<bool, TakeoverError> {
        let stdin = std::io::stdin();
        let interest = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut wanted =
            [interest(stdin.as_raw_fd()), interest(self.listener.socket().as_raw_fd())];
        loop {
            // SAFETY: `wanted` is an array of its length, both descriptors are open.
            let n = unsafe { libc::poll(wanted.as_mut_ptr(), wanted.len() as libc::nfds_t, -1) };
            if n < 0 {
                let error = std::io::Error::last_os_error();
                if error.kind() == std::io::ErrorKind::Interrupted {
                    continue;
                }
                return Err(TakeoverError::io("wait for the order")(error));
            }
            let [order, list] = &wanted;
            if order.revents != 0 {
                let mut input = [0; INPUT_LEN];
                let n =
                    stdin.lock().read(&mut input).map_err(TakeoverError::io("read the order"))?;
                return Ok(n > 0);
            }
            if list.revents != 0 {
                self.listener.drain();
            }
        }
    }
}

/// One line on standard output, at once.
pub fn say(line: &str) -> Result<(), TakeoverError> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(TakeoverError::io("write a line"))
}
