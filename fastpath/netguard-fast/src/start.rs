//! The start: map, control, set-up, links, real time, lease word zero, beats. Every failure has its
//! exit code and leaves nothing behind: dropping what was made takes it back.

use crate::clock;
use crate::control::{Control, Places};
use crate::engine::{self, Engine};
use crate::exit::Exit;
use crate::kernel::{EventFd, Signals, Waiter};
use crate::realtime;
use crate::watch;
use base::Duration;
use gate::Words;
use link::loss::FaultsError;
use link::{Faults, Link, OpenError, PacketLink, Ring, UdpLink, Unusable, UringLink};
use shm::header::State;
use shm::{Maker, Map, MapError, NetworkIo, Setup, SetupError, lifeline};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// How long control may take to read its configuration and to remove what a former life left.
const SETUP_WAIT_S: u64 = 60;

/// How long control may take to end after it has closed the set-up socket.
const FAREWELL: Duration = Duration::from_millis(5_000);

/// How long a port may still be taken. A former life that was killed leaves the sockets in its ring to a worker of the
/// kernel, which lets go of them some 10 ms later, under load later still.
const LET_GO: Duration = Duration::from_millis(1_000);

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The map.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The program is not there, or may not run.
    #[error(
        "cannot start {}: {source}; install netguard-control beside netguard-fast, \
         or name it with --control", program.display()
    )]
    Spawn {
        /// What was to be started.
        program: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Control has ended and has said why.
    #[error("netguard-control ended before it was ready (its message is above)")]
    ControlEnded(Exit),
    /// The set-up.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// A link.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The kernel's gate reads another clock than this process.
    #[error(
        "a time namespace puts this process's boot clock {offset} ns from the kernel's, and the \
         gate would close at the wrong moment; run NetGuard in the machine's own time namespace"
    )]
    TimeNamespace {
        /// As the kernel writes it.
        offset: String,
    },
    /// The configuration insists on what this machine has not.
    #[error(
        "network_io = \"io_uring\" cannot be had: {0}; set network_io = \"auto\" in [local] of \
         netguard.toml, and recvmmsg is used instead"
    )]
    Ring(Unusable),
    /// The test knob.
    #[error(transparent)]
    Faults(#[from] FaultsError),
    /// The system has no such descriptor left.
    #[error("cannot make {what}: {source}; raise the limit of open files (LimitNOFILE)")]
    Descriptor {
        /// What for.
        what: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

impl StartError {
    /// The exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Map(MapError::Unusable { source, .. })
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                Exit::Privilege
            }
            Self::Map(_) => Exit::Unusable,
            Self::ControlEnded(exit) => *exit,
            Self::Open(OpenError::InUse { .. }) => Exit::Taken,
            Self::Open(OpenError::Forbidden { .. }) => Exit::Privilege,
            Self::Open(OpenError::System { .. }) | Self::Setup(_) | Self::Descriptor { .. } => {
                Exit::Internal
            }
            Self::Open(_)
            | Self::Ring(_)
            | Self::Faults(_)
            | Self::Spawn { .. }
            | Self::TimeNamespace { .. } => Exit::Configuration,
        }
    }
}

/// Runs the daemon to its end.
pub fn run(places: &Places, program: &Path) -> Result<Exit, StartError> {
    let descriptor = |what| move |source| StartError::Descriptor { what, source };
    let faults = Faults::from_environment()?;
    if let Some(offset) = clock::offset() {
        return Err(StartError::TimeNamespace { offset });
    }
    let maker = Maker { pid: std::process::id(), started: clock::now() };
    let map = Map::create(&places.run_dir, maker)?;
    let gate = create_gate();
    let events = EventFd::new().map_err(descriptor("the event descriptor"))?;
    let (own, other) = UnixStream::pair().map_err(descriptor("the set-up socket"))?;
    let own = UnixStream::from(lifeline::raise(own.into()));
    // Before this thread becomes real-time and before its memory is locked: the child is neither.
    let gate_fd = gate.as_ref().map(AsFd::as_fd);
    let mut control = Control::start(program, places, map.as_fd(), &events, &other, gate_fd)
        .map_err(|source| StartError::Spawn { program: program.to_owned(), source })?;
    let signals = Signals::collect().map_err(descriptor("the signal descriptor"))?;
    drop(other);
    let setup = receive(&own, &mut control)?;
    let ring = open_ring(setup.network_io)?;
    let links = open_links(&setup, ring.as_ref(), faults)?;
    if let Some(faults) = faults {
        eprintln!("netguard-fast: TEST: frames are disturbed on purpose: {faults:?}");
    }

    let mut engine = Engine::new(&setup, map, events, links, gate);
    let io = if ring.is_some() { NetworkIo::IoUring } else { NetworkIo::Recvmmsg };
    engine.map().header().set_network_io(io);
    engine.map().header().set_running(setup.me.node, setup.me.incarnation);
    let got = realtime::take(setup.core, setup.priority);
    eprintln!(
        "netguard-fast: node {} life {}: {got}, {}",
        setup.me.node,
        setup.me.incarnation,
        io.name()
    );
    for missing in &got.missing {
        eprintln!("netguard-fast: {missing}");
    }
    // R-START: closed before the first frame, whoever wrote the word before.
    engine.close();
    let phase = watch::run(&mut engine, Waiter::new(ring), &control, own.as_fd(), &signals);
    let exit = watch::report(phase, &mut control);
    let state = if exit == Exit::Orderly { State::Stopped } else { State::Failed };
    engine.map().header().set_state(state);
    Ok(exit)
}

/// The words of the kernel's gate (S2b): this daemon stores the lease end there, so it makes them, and
/// control loads the programs that read them. Without them the node works, but not for policy `lease`.
fn create_gate() -> Option<Words> {
    Words::create().inspect_err(|e| eprintln!("netguard-fast: no kernel gate: {e}")).ok()
}

/// Waits for the set-up. When control ends instead, its exit code is ours.
fn receive(socket: &UnixStream, control: &mut Control) -> Result<Setup, StartError> {
    let limit = std::time::Duration::from_secs(SETUP_WAIT_S);
    socket.set_read_timeout(Some(limit)).map_err(SetupError::Socket)?;
    match Setup::receive(socket) {
        Ok(setup) => Ok(setup),
        Err(SetupError::Closed) => {
            // 0 would say that all is well: nobody asked it to stop.
            let exit = match control.wait(FAREWELL) {
                Some(0) => Exit::Internal,
                code => Exit::of_control(code),
            };
            Err(StartError::ControlEnded(exit))
        }
        Err(SetupError::Socket(e)) if e.kind() == io::ErrorKind::WouldBlock => {
            Err(SetupError::Late { seconds: SETUP_WAIT_S }.into())
        }
        Err(e) => Err(e.into()),
    }
}

/// The ring that carries the frames, if it shall and can.
fn open_ring(io: NetworkIo) -> Result<Option<Ring>, StartError> {
    let open = || Ring::open(engine::FRAME_MAX);
    match io {
        NetworkIo::Recvmmsg => Ok(None),
        NetworkIo::IoUring => open().map(Some).map_err(StartError::Ring),
        NetworkIo::Auto => Ok(open()
            .inspect_err(|why| {
                eprintln!("netguard-fast: io_uring is not used: {why}; recvmmsg is");
            })
            .ok()),
    }
}

/// Opens every link of the set-up, in the ring if there is one.
fn open_links(
    setup: &Setup,
    ring: Option<&Ring>,
    faults: Option<Faults>,
) -> Result<Vec<Box<dyn Link>>, OpenError> {
    let node = u64::from(setup.me.node.get());
    setup
        .numbered_links()
        .map(|(id, link)| {
            let settings = link::Settings {
                id,
                mode: match (link.mode, link.target) {
                    (shm::Mode::Multicast, Some(group)) => link::Mode::Multicast(group),
                    (shm::Mode::Broadcast, Some(address)) => link::Mode::Broadcast(address),
                    _ => link::Mode::Unicast,
                },
                own: SocketAddr::new(link.own, link.port),
                interface: link.interface,
                peers: link
                    .peers
                    .iter()
                    .map(|&(node, address)| (node, SocketAddr::new(address, link.port)))
                    .collect(),
                frame_max: engine::FRAME_MAX,
                stamped: true,
            };
            let open = patiently(|| {
                Ok::<Box<dyn Link>, _>(match (link.frames, ring) {
                    (shm::Frames::Ethernet, _) => {
                        Box::new(PacketLink::open(&settings, setup.me.node, setup.cluster)?)
                    }
                    (shm::Frames::Udp, Some(ring)) => Box::new(UringLink::open(&settings, ring)?),
                    (shm::Frames::Udp, None) => Box::new(UdpLink::open(&settings)?),
                })
            })?;
            Ok(match &faults {
                Some(faults) => faults.over(open, engine::FRAME_MAX, node),
                None => open,
            })
        })
        .collect()
}

/// Opens what a former life may still hold.
fn patiently<T>(open: impl Fn() -> Result<T, OpenError>) -> Result<T, OpenError> {
    let limit = clock::now() + LET_GO;
    loop {
        let now = clock::now();
        match open() {
            Err(OpenError::InUse { .. }) if now < limit => {
                Waiter::default().wait(now, now + LET_GO / 100);
            }
            done => return done,
        }
    }
}
