//! From arguments to a daemon that may speak. Everything that can be wrong is found before anything
//! is changed; everything that a dead life left behind is gone before anything is sent (R-START).

use crate::agreed::{self, OwnFile, Sources};
use crate::exchange::Exchange;
use crate::failure::Failure;
use crate::gatekeeper::Gatekeeper;
use crate::identity::{self, Identity};
use crate::part::Part;
use crate::state::State;
use crate::system::{self, Wake};
use base::Duration;
use config::{Config, Resource};
use driver::FencePolicy;
use driver_address::{Address, FloatingAddress};
use driver_command::{Command, CommandDriver};
use gate::Words;
use membership::Names;
use services::{ResourceSpec, ServiceSpec};
use shm::{Change, Core, Frames, Key, LinkSetup, Map, Mode, NetworkIo, Setup, lifeline};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use wire::frame::Seal;
use wire::{Charter, ClusterId, Incarnation, Life, NodeId, Nonce, ServiceId};

/// Bound of the clock's rate error, ppm (PROTOCOL 5.2).
pub const RATE_PPM: u32 = 1_000;
/// For the store and the read of the lease word (PROTOCOL 5.2).
const MARGIN: Duration = Duration::from_micros(50);
/// Highest feature level that this release understands.
const LEVEL: u16 = 1;
/// The level that a cluster begins with, whatever its releases: `ng cluster upgrade` raises it.
const FIRST_LEVEL: u16 = 1;
/// The environment variable that makes it another one, for tests: two releases side by side.
const LEVEL_VARIABLE: &str = "NETGUARD_TEST_LEVEL";

/// What the command line says.
#[derive(clap::Parser, Debug)]
#[command(version, about = ABOUT, after_help = EXITS)]
pub struct Arguments {
    /// The configuration
    #[arg(long, default_value = "/etc/netguard/netguard.toml")]
    pub config: PathBuf,
    /// Name of this node in the configuration
    #[arg(long)]
    pub node: String,
    /// Directory of the shared map and the local socket
    #[arg(long, default_value = "/run/netguard")]
    pub run_dir: PathBuf,
    /// Directory of what must survive a reboot
    #[arg(long, default_value = "/var/lib/netguard")]
    pub state_dir: PathBuf,
    /// Descriptor of the shared map, from netguard-fast
    #[arg(long)]
    pub map_fd: Option<i32>,
    /// Descriptor of the event counter, from netguard-fast
    #[arg(long)]
    pub event_fd: Option<i32>,
    /// Descriptor of the set-up socket, from netguard-fast
    #[arg(long)]
    pub setup_fd: Option<i32>,
    /// Descriptor of the gate's map, from netguard-fast, if this machine can have a gate
    #[arg(long)]
    pub gate_fd: Option<i32>,
}

/// Shown above `--help`.
const ABOUT: &str = "NetGuard's control daemon; netguard-fast starts it";
/// Shown below `--help`.
const EXITS: &str = "Exit codes: 0 stopped in good order, 1 internal failure, 2 bad configuration \
or usage, 3 socket or address taken, 4 privilege missing, 5 run or state directory or map unusable, \
6 superseded by a newer life of this node";

/// What netguard-fast hands over.
#[derive(Debug)]
pub struct Inherited {
    /// The shared map.
    pub map: Map,
    /// Fast wakes us by it.
    pub event: Wake,
    /// The set-up goes there, once; afterwards it hangs up when fast dies.
    pub setup: UnixStream,
    /// The words of the gate.
    words: Option<Words>,
}

/// A daemon that may speak.
pub struct Started {
    /// Who we are.
    pub identity: Identity,
    /// What fast handed over.
    pub inherited: Inherited,
    /// This life.
    pub me: Life,
    /// Durable state.
    pub state: State,
    /// What this node holds of the agreed configuration.
    pub charter: Charter,
    /// The file of `--config`.
    pub file: OwnFile,
    /// The agreement's links.
    pub exchange: Exchange,
    /// The kernel's gate, attached and closed.
    pub gate: Gatekeeper,
    /// The resources of each service.
    pub services: Vec<Vec<Box<dyn Part>>>,
    /// The run directory by its one name: the marks of processes are made of it.
    pub run_dir: PathBuf,
    /// What fast is to be told.
    pub setup: Setup,
    /// What the operator should read about the start.
    pub notes: Vec<String>,
    /// Floating addresses that a former life left here.
    pub leftovers: Vec<IpAddr>,
}

impl Inherited {
    /// Lets fast send its first frame. Everything that could still fail has been done by now.
    pub fn release(&self, setup: &Setup) -> Result<(), Failure> {
        Ok(setup.send(&self.setup)?)
    }
}

/// Takes the descriptors; says who starts this program if they are not there.
pub fn inherit(arguments: &Arguments) -> Result<Inherited, Failure> {
    let take = |name: &str, fd: Option<i32>| {
        let missing = || Failure::NotInherited { what: format!("--{name} is missing") };
        system::inherit(fd.ok_or_else(missing)?)
            .map_err(|e| Failure::NotInherited { what: format!("--{name}: {e}") })
    };
    let (map, event) = (take("map-fd", arguments.map_fd)?, take("event-fd", arguments.event_fd)?);
    let setup = take("setup-fd", arguments.setup_fd)?;
    let map = Map::attach(map)?;
    let words = match arguments.gate_fd {
        None => None,
        fd => Some(
            Words::open(take("gate-fd", fd)?)
                .map_err(|e| Failure::NotInherited { what: format!("--gate-fd: {e}") })?,
        ),
    };
    let setup = UnixStream::from(lifeline::raise(setup));
    let event = Wake::inherited(event).map_err(Failure::kernel("use the event descriptor"))?;
    Ok(Inherited { map, event, setup, words })
}

/// Everything up to the moment in which fast may be told to speak.
pub fn prepare(arguments: &Arguments) -> Result<Started, Failure> {
    let agreed = State::peek(&arguments.state_dir);
    let document = agreed.as_ref().map(|charter| &*charter.configuration.document);
    let sources = agreed::sources(&arguments.config, &arguments.node, document);
    let Sources { loaded, text, file } = sources.map_err(Failure::Config)?;
    let mut notes = Vec::new();
    if !loaded.warnings.diagnostics.is_empty() {
        notes.push(loaded.warnings.to_string());
    }
    let identity = identity::resolve(loaded, &arguments.node)?;
    let mut inherited = inherit(arguments)?;
    let nonce = Nonce(system::random().map_err(Failure::kernel("read random bits"))?);

    // The links first: if another daemon of this node runs, its port tells, and nothing has been
    // touched.
    let seal = seal(&identity);
    let mut exchange = Exchange::open(&identity, seal, nonce)?;
    let mut state = State::open(&arguments.state_dir)?;
    let charter = state.charter().cloned().unwrap_or_else(|| {
        Charter::of_file(agreed::configuration(&identity.config, &text, 0, FIRST_LEVEL))
    });
    let needs = charter.configuration.level;
    if needs > level() {
        return Err(Failure::Outdated { level: needs });
    }
    notes.extend(file.differs(charter.configuration.digest));
    let run_dir = arguments.run_dir.canonicalize().map_err(|source| Failure::Socket {
        path: arguments.run_dir.display().to_string(),
        source,
    })?;
    let services = resources(&identity, &run_dir)?;

    // R-START: closed, then removed, then the first frame.
    let reach = identity.config.local.gate_sockets;
    let gate = Gatekeeper::begin(inherited.words.take(), &identity.addresses(), reach);
    notes.push(gate.line());
    let mut leftovers = Vec::new();
    for removed in driver_address::remove_leftovers(&identity.floating())? {
        notes.push(format!("removed the left-over address {}", removed.address));
        leftovers.push(removed.address);
    }
    for record in driver_command::remove_leftovers(&run_dir)? {
        notes.push(format!("ended left-over processes of {}", record.display()));
    }
    let incarnation = Incarnation(state.raise_incarnation()?);
    let me = Life { node: identity.me, incarnation };
    exchange.begin(me);
    let setup = setup(&identity, me, nonce, seal);
    Ok(Started {
        identity,
        inherited,
        me,
        state,
        charter,
        file,
        exchange,
        gate,
        services,
        run_dir,
        setup,
        notes,
        leftovers,
    })
}

fn seal(identity: &Identity) -> Seal {
    Seal {
        cluster: ClusterId(identity.config.cluster_id()),
        key: identity.key,
        key_id: config::KEY_ID,
        config_hash: identity.config.frame_hash(),
        level: level(),
    }
}

fn setup(identity: &Identity, me: Life, nonce: Nonce, seal: Seal) -> Setup {
    let Identity { config, links, .. } = identity;
    let links =
        links.iter().zip(&config.links).enumerate().map(|(number, (local, link))| LinkSetup {
            mode: match link.mode {
                config::Mode::Multicast { .. } => Mode::Multicast,
                config::Mode::Broadcast => Mode::Broadcast,
                config::Mode::Unicast => Mode::Unicast,
            },
            frames: match link.frames {
                config::Frames::Udp => Frames::Udp,
                config::Frames::Ethernet => Frames::Ethernet,
            },
            own: local.own,
            interface: local.interface.index,
            target: local.target,
            port: link.port,
            peers: identity.peers(number),
        });
    Setup {
        me,
        nonce,
        cluster: seal.cluster,
        key: Key(seal.key),
        key_id: seal.key_id,
        feature: seal.level,
        config_hash: seal.config_hash,
        interval: interval(identity),
        misses: config.cluster.heartbeat_misses,
        rate_ppm: RATE_PPM,
        margin: MARGIN,
        nodes: identity.nodes(|_| true),
        priority: config.local.realtime_priority,
        core: match config.local.core {
            config::Core::Auto => Core::Auto,
            config::Core::None => Core::None,
            config::Core::Number(n) => Core::Number(n),
        },
        network_io: match config.local.network_io {
            config::NetworkIo::Auto => NetworkIo::Auto,
            config::NetworkIo::Recvmmsg => NetworkIo::Recvmmsg,
            config::NetworkIo::IoUring => NetworkIo::IoUring,
        },
        links: links.collect(),
    }
}

/// The configured interval as the cores count it.
pub fn interval(identity: &Identity) -> Duration {
    interval_of(&identity.config)
}

/// The same of a document.
pub fn interval_of(config: &Config) -> Duration {
    Duration::from_nanos(config.cluster.heartbeat_interval.as_nanos() as u64)
}

/// What fast is told when the configuration changes while it runs.
#[must_use]
pub fn change(config: &Config, me: NodeId) -> Change {
    Change {
        interval: Duration::from_nanos(config.cluster.heartbeat_interval.as_nanos() as u64),
        misses: config.cluster.heartbeat_misses,
        rate_ppm: RATE_PPM,
        margin: MARGIN,
        nodes: config.nodes.iter().filter_map(|node| NodeId::new(node.id)).collect(),
        peers: (0..config.links.len()).map(|link| identity::peers(config, me, link)).collect(),
    }
}

/// The highest feature level that this release understands.
#[must_use]
pub fn level() -> u16 {
    let other = std::env::var(LEVEL_VARIABLE).ok().and_then(|level| level.parse().ok());
    other.unwrap_or(LEVEL)
}

/// The longest that a service of this configuration may take to stop.
pub fn longest_stop(config: &Config) -> Duration {
    let times = config.services.iter().map(|service| {
        let stops = service.resources.iter().map(|resource| match resource {
            Resource::Command { stop_timeout, .. } => stop_timeout.as_nanos() as u64,
            Resource::Address { .. } => 0,
        });
        stops.fold(0, u64::saturating_add)
    });
    Duration::from_nanos(times.max().unwrap_or(0))
}

/// The services as the planner knows them.
pub fn specs(identity: &Identity) -> Vec<ServiceSpec> {
    let services = (0u16..).zip(&identity.config.services).map(|(number, service)| ServiceSpec {
        id: ServiceId(number),
        name: service.name.clone(),
        nodes: service.nodes.iter().filter_map(|id| NodeId::new(*id)).collect(),
        placement: match service.placement {
            config::Placement::Sticky => services::Placement::Sticky,
            config::Placement::FailBack => services::Placement::FailBack,
        },
        fence: match service.fence {
            config::Fence::Fenced => FencePolicy::Fenced,
            config::Fence::Lease => FencePolicy::Lease,
        },
        resources: service.resources.iter().map(resource_spec).collect(),
        revision: service.revision(),
    });
    services.collect()
}

fn resource_spec(resource: &Resource) -> ResourceSpec {
    ResourceSpec {
        name: resource.name(),
        kind: resource.kind().into(),
        lease_bound: resource.lease_bound(),
    }
}

/// The nodes' names.
#[must_use]
pub fn names(identity: &Identity) -> Names {
    let named = |n: &config::Node| Some((NodeId::new(n.id)?, n.name.clone()));
    Names::new(identity.config.nodes.iter().filter_map(named))
}

/// What the cores of this life are told.
#[must_use]
pub fn node_settings(
    identity: &Identity,
    me: Life,
    charter: Charter,
    era_promised: u32,
    longest: Duration,
) -> node::Settings {
    node::Settings {
        agreement: agreement::Settings {
            me,
            charter,
            interval: interval(identity),
            misses: identity.config.cluster.heartbeat_misses,
            longest: longest
                .max(interval(identity) * u64::from(identity.config.cluster.heartbeat_misses)),
            rate_ppm: RATE_PPM,
            era_promised,
            level: level(),
            limits: agreement::Limits::default(),
        },
        services: specs(identity),
        names: names(identity),
    }
}

/// Opens the drivers of every service.
fn resources(identity: &Identity, run_dir: &Path) -> Result<Vec<Vec<Box<dyn Part>>>, Failure> {
    identity.config.services.iter().map(|service| parts(identity, service, run_dir)).collect()
}

/// Opens the drivers of one service; one that may not run here gets none.
pub fn parts(
    identity: &Identity,
    service: &config::Service,
    run_dir: &Path,
) -> Result<Vec<Box<dyn Part>>, Failure> {
    let first_link = identity.links.first().map_or("", |link| link.interface.name.as_str());
    let here = service.nodes.contains(&identity.me.get());
    let mut parts: Vec<Box<dyn Part>> = Vec::new();
    for (number, resource) in service.resources.iter().enumerate().filter(|_| here) {
        parts.push(match resource {
            Resource::Address { address, prefix, interface } => {
                Box::new(FloatingAddress::open(Address {
                    address: *address,
                    prefix: *prefix,
                    interface: interface.clone().unwrap_or_else(|| first_link.to_owned()),
                })?)
            }
            Resource::Command { run, stop_timeout } => {
                let spec = Command {
                    service: service.name.clone(),
                    resource: number,
                    node: identity.name.clone(),
                    run: run.clone(),
                    stop_timeout: *stop_timeout,
                };
                Box::new(CommandDriver::new(spec, run_dir))
            }
        });
    }
    Ok(parts)
}
