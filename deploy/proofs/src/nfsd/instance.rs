//! One nfsd instance: the service's nfsd, lockd, records and address in the service's namespace.
//!
//! It is always in one of two conditions: *standing by*, threads running and held in grace, or
//! *owner*. The takeover is a handful of system calls in this resident process; nothing is started.

use crate::nfsd::door;
use crate::nfsd::grace;
use crate::nfsd::keeper::{Keeper, KeeperError};
use crate::nfsd::ledger::LedgerError;
use crate::nfsd::pipe::{self, Book, News, Shared, Stopped, open};
use crate::nfsd::rpc::RpcError;
use crate::nfsd::settings::Settings;
use crate::nfsd::space::{self, SpaceError};
use crate::nfsd::tracker::Tracker;
use crate::takeover::connections::{Listener, Teller};
use crate::takeover::error::TakeoverError;
use crate::takeover::exports::Exports;
use crate::takeover::mount::Mount;
use crate::takeover::resident::now;
use crate::takeover::tickle::{Form, Tickler};
use base::Instant;
use drbd_glue::{Drbd, DrbdError, Path};
use driver_address::{Address, AddressError, FloatingAddress};
use std::fs;
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use thiserror::Error;

const NFS_PORT: u16 = 2049;
/// lockd listens at the same port on both nodes: a client asks for it anew once a minute at most, and
/// tries a wrong one again after 3 s. The setting is the node's, the port each namespace's own.
const LOCKD_PORT: &str = "4045";
const LOCKD_PORTS: [&str; 2] = ["/proc/sys/fs/nfs/nlm_tcpport", "/proc/sys/fs/nfs/nlm_udpport"];
const THREADS: &str = "8";
/// The kernel's longest. A standby is renewed before it ends.
const LONGEST_GRACE: &str = "3600";
const UNMOUNT_TRIES: u32 = 100;
const UNMOUNT_PAUSE: Duration = Duration::from_millis(20);
const DRBD_LIMIT: Duration = Duration::from_secs(5);
/// A client answers a first wrong segment, and a later one only if it carries a byte.
const WAKE_AGAIN: Duration = Duration::from_millis(5);
const TELL_EVERY: Duration = Duration::from_millis(100);

/// A step that failed.
#[derive(Debug, Error)]
pub enum InstanceError {
    /// A file of the kernel, a mount, a namespace.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// The keeper.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    /// The small RPC services.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// A step that proof 3 has too.
    #[error(transparent)]
    Takeover(#[from] TakeoverError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The volume's replication.
    #[error(transparent)]
    Drbd(#[from] DrbdError),
    /// An order that does not fit the condition.
    #[error("{0}")]
    Condition(&'static str),
}

/// When each step of an order ended, in microseconds after the order.
pub type Phases = Vec<(&'static str, u64)>;

/// What must be opened outside the service's namespaces: it belongs to the node.
#[derive(Debug)]
pub struct Outside {
    drbd: Drbd,
    path: Option<Path>,
    listener: Listener,
}

impl Outside {
    /// Opens it; the volume is configured already.
    pub fn open(settings: &Settings) -> Result<Self, InstanceError> {
        let mut drbd = Drbd::open(DRBD_LIMIT)?;
        let path = drbd.describe(settings.minor)?.path;
        Ok(Self { drbd, path, listener: Listener::open(settings.listen)? })
    }
}

/// One instance.
#[derive(Debug)]
pub struct Instance {
    settings: Settings,
    outside: Outside,
    book: Shared,
    news: SyncSender<News>,
    mount: Mount,
    exports: Exports,
    address: FloatingAddress,
    tickler: Tickler,
    stopped: Stopped,
    keeper: Option<Keeper>,
    telling: bool,
}

impl Instance {
    /// In the service's namespaces already.
    pub fn new(
        settings: Settings,
        outside: Outside,
        news: SyncSender<News>,
    ) -> Result<Self, InstanceError> {
        let tracker = Tracker::new(keeper_name(&settings.service).as_bytes());
        let book = Arc::new(Mutex::new(Book { tracker, file: None }));
        let stopped = pipe::serve(Arc::clone(&book), news.clone())
            .map_err(TakeoverError::io("serve the tracker's pipe"))?;
        let device = PathBuf::from(format!("/dev/drbd{}", settings.minor));
        let mount = Mount::new(&device, &settings.volume(), &settings.filesystem, "noatime")?;
        let exports = Exports::open(&settings.folder(), settings.fsid, &settings.clients)?;
        let address = FloatingAddress::open(Address {
            address: settings.address.into(),
            prefix: 24,
            interface: space::interface(&settings.service),
        })?;
        let service = SocketAddrV4::new(settings.address, NFS_PORT);
        let tickler = Tickler::open(service, Form::Bare)?;
        let (keeper, telling) = (None, false);
        Ok(Self {
            settings,
            outside,
            book,
            news,
            mount,
            exports,
            address,
            tickler,
            stopped,
            keeper,
            telling,
        })
    }

    /// The tracker and its ledger.
    #[must_use]
    pub fn book(&self) -> Shared {
        Arc::clone(&self.book)
    }

    /// Stands by: nfsd runs, knows nobody, and stays in grace. Also renews a standby.
    pub fn hold(&mut self) -> Result<Phases, InstanceError> {
        let mut phases = Stopwatch::start();
        if open(&self.book).file.is_some() {
            return Err(InstanceError::Condition("the service is here: give it away first"));
        }
        self.keeper = None;
        self.stop_nfsd()?;
        phases.lap("stopped");
        let starts = open(&self.book).tracker.starts();
        space::nfsd("versions", "-2 +3 +4 -4.0 +4.1 +4.2")?;
        space::nfsd("nfsv4leasetime", &self.settings.lease.to_string())?;
        space::nfsd("nfsv4gracetime", LONGEST_GRACE)?;
        for port in LOCKD_PORTS {
            space::write(port, LOCKD_PORT)?;
        }
        space::nfsd("threads", THREADS)?;
        if open(&self.book).tracker.starts() == starts {
            return Err(InstanceError::Condition("nfsd has started without asking its tracker"));
        }
        phases.lap("started");
        door::admit_keeper()?;
        self.keeper = Some(Keeper::enter(keeper_name(&self.settings.service).as_bytes())?);
        phases.lap("keeper");
        Ok(phases.laps)
    }

    /// Takes the service: volume, records, export, address, and wakes the clients. `forced`: its
    /// owner is dead, and the caller has seen to that.
    pub fn take(&mut self, forced: bool) -> Result<Phases, InstanceError> {
        let mut phases = Stopwatch::start();
        let not_ready = InstanceError::Condition("this instance does not stand by");
        let keeper = self.keeper.take().ok_or(not_ready)?;
        if let Some(path) = self.outside.path.filter(|_| forced) {
            self.outside.drbd.disconnect(&path, true)?;
        }
        self.outside.drbd.primary(self.settings.minor, false)?;
        phases.lap("promoted");
        self.mount.mount()?;
        phases.lap("mounted");
        fs::create_dir_all(self.settings.folder())
            .map_err(TakeoverError::io("make the exported folder"))?;
        open(&self.book).take(self.settings.ledger())?;
        keeper.leave()?;
        phases.lap("records told");
        self.exports.write()?;
        phases.lap("exported");
        self.address.start(now())?;
        phases.lap("addressed");
        self.outside.listener.drain();
        self.wake(Form::Bare);
        phases.lap("woken");
        // As long as the kernel waits for clients that are not done: an idle one speaks up after two
        // thirds of a lease, and may have to wait for its connection.
        let limit = 2 * Duration::from_secs(self.settings.lease.into());
        let service = self.settings.address.into();
        grace::see_to_the_end(service, &self.settings.volume(), limit, &self.book, &self.news)?;
        thread::sleep(WAKE_AGAIN);
        self.wake(Form::Byte);
        self.tell()?;
        phases.lap("all");
        Ok(phases.laps)
    }

    /// Releases the service: its volume is unmounted and may be promoted elsewhere.
    pub fn give(&mut self) -> Result<Phases, InstanceError> {
        let mut phases = Stopwatch::start();
        self.address.stop()?;
        phases.lap("address gone");
        self.stop_nfsd()?;
        phases.lap("stopped");
        // lockd goes on for other namespaces, and keeps the locks of this one until told otherwise.
        self.unlock()?;
        let mut tries = UNMOUNT_TRIES;
        while let Err(e) = space::unmount(&self.settings.volume()) {
            tries -= 1;
            if tries == 0 {
                return Err(e.into());
            }
            thread::sleep(UNMOUNT_PAUSE);
        }
        phases.lap("unmounted");
        self.outside.drbd.secondary(self.settings.minor)?;
        phases.lap("demoted");
        let mut book = open(&self.book);
        book.file = None;
        book.tracker.stand_by();
        Ok(phases.laps)
    }

    /// The peer is dead: an owner whose volume would wait for it goes on without.
    pub fn go_alone(&mut self) -> Result<(), InstanceError> {
        if let Some(path) = self.outside.path {
            self.outside.drbd.disconnect(&path, true)?;
        }
        Ok(())
    }

    /// Drops the NFSv3 locks of the service. (`unlock_ip` does nothing in 6.1: it compares the
    /// address with the wrong thing, and answers well.)
    pub fn unlock(&self) -> Result<(), InstanceError> {
        Ok(space::nfsd("unlock_filesystem", &self.settings.volume().to_string_lossy())?)
    }

    /// Repeats the announcement if it is due, takes in the owner's list of connections.
    pub fn tick(&mut self) {
        self.address.handle_timeout(now());
        self.outside.listener.drain();
    }

    /// Tells the peer the connections of the service's clients, from now on.
    fn tell(&mut self) -> Result<(), InstanceError> {
        if std::mem::replace(&mut self.telling, true) {
            return Ok(());
        }
        let service = SocketAddrV4::new(self.settings.address, NFS_PORT);
        let mut teller = Teller::open(service, self.settings.tell)?;
        thread::spawn(move || {
            loop {
                // A list that cannot be told is told 100 ms later.
                let _ = teller.tell();
                thread::sleep(TELL_EVERY);
            }
        });
        Ok(())
    }

    fn stop_nfsd(&mut self) -> Result<(), InstanceError> {
        space::nfsd("threads", "0")?;
        Ok(self.stopped.tell().map_err(TakeoverError::io("tell the tracker's pipe"))?)
    }

    fn wake(&mut self, form: Form) {
        self.tickler.set_form(form);
        for client in self.outside.listener.clients() {
            self.tickler.send(*client);
        }
    }
}

fn keeper_name(service: &str) -> String {
    format!("netguard keeper of {service}")
}

struct Stopwatch {
    start: Instant,
    laps: Phases,
}

impl Stopwatch {
    fn start() -> Self {
        Self { start: now(), laps: vec![] }
    }

    fn lap(&mut self, name: &'static str) {
        self.laps.push((name, now().since(self.start).micros()));
    }
}
