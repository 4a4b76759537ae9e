//! One life of the daemon: its parts put together, run, and taken down again, however it ends.

use crate::daemon::{Daemon, End};
use crate::driver_threads::DriverThreads;
use crate::effects::Effects;
use crate::failure::Failure;
use crate::journal::Journal;
use crate::server::Server;
use crate::snapshot::Facts;
use crate::start::{self, Arguments, Started};
use crate::storage::Storage;
use crate::system::{self, Signals, Wake};
use base::Duration;
use node::Node;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Besides the services' own time-outs: leaving by the log, and the last kill.
const STOP_EXTRA: Duration = Duration::from_millis(9_000);

/// Runs until the daemon has to end; nothing of any service is left then.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    // Before the first thread, so that every thread has them blocked.
    let signals = Signals::take().map_err(Failure::kernel("take over signals"))?;
    let parent = system::watch_parent().map_err(Failure::kernel("watch netguard-fast"))?;
    let started = start::prepare(arguments)?;
    let (journal, writer) =
        Journal::start(&arguments.node).map_err(Failure::kernel("start a thread"))?;
    let result = assemble(arguments, started, signals, parent, &journal).and_then(live);
    drop(journal);
    writer.finish();
    result
}

/// Starts the threads, and lets fast speak once nothing can fail any more.
fn assemble(
    arguments: &Arguments,
    mut started: Started,
    signals: Signals,
    parent: OwnedFd,
    journal: &Journal,
) -> Result<Daemon, Failure> {
    let begun = system::now();
    for note in started.notes.drain(..) {
        journal.say(note);
    }
    let wake = Arc::new(Wake::new().map_err(Failure::kernel("make an event descriptor"))?);
    let server = Server::start(&arguments.run_dir, Arc::clone(&wake)).map_err(|source| {
        let path = arguments.run_dir.join(api::SOCKET_NAME).display().to_string();
        Failure::Socket { path, source }
    })?;
    let priorities = Priorities::below(started.identity.config.local.realtime_priority);
    let services = std::mem::take(&mut started.services);
    let drivers = DriverThreads::start(services, priorities.drivers, &wake, journal)
        .map_err(Failure::kernel("start a driver thread"))?;
    let settings = start::node_settings(&started);
    let patience = start::longest_stop(&started.identity) + STOP_EXTRA;
    journal.say(standing(&started, priorities));
    started.release()?;

    let Started { identity, inherited, me, state, exchange, .. } = started;
    let storage = Storage::start(state, Arc::clone(&wake))
        .map_err(Failure::kernel("start the storage thread"))?;
    Ok(Daemon {
        facts: Facts::new(&identity, me, begun),
        node: Node::new(settings, system::now()),
        effects: Effects {
            me,
            map: inherited.map,
            exchange,
            drivers,
            storage,
            journal: journal.clone(),
        },
        server,
        event: inherited.event,
        wake,
        signals,
        parent,
        turn: start::interval(&identity) / 4,
        patience,
    })
}

/// Runs the loop; whatever ends it, nothing of any service stays.
fn live(mut daemon: Daemon) -> Result<(), Failure> {
    let end = catch_unwind(AssertUnwindSafe(|| daemon.run()));
    let Daemon { effects: Effects { map, drivers, journal, .. }, patience, .. } = daemon;
    for service in 0..heartbeat::board::SERVICES_MAX {
        map.board().set_open(service, 0);
    }
    map.board().set_owner(false);
    for late in drivers.shutdown(patience) {
        journal.say(format!("service number {late} did not stop in time: switch this node off"));
    }
    match end {
        Ok(End::Stopped) => {
            journal.say("stopped in good order");
            Ok(())
        }
        Ok(End::Orphaned) => Err(Failure::Orphaned),
        Ok(End::Failed(failure)) => Err(failure),
        // The panic's own message has been printed by the runtime.
        Err(_) => Err(Failure::Panic),
    }
}

/// SCHED_FIFO priorities below the heartbeat's; none if the configuration wants none.
#[derive(Clone, Copy)]
struct Priorities {
    event_loop: Option<u8>,
    drivers: Option<u8>,
}

impl Priorities {
    fn below(fast: u8) -> Self {
        let under = |steps: u8| (fast > 0).then(|| fast.saturating_sub(steps).max(1));
        Self { event_loop: under(10), drivers: under(20) }
    }
}

/// Takes what the machine gives, and says in one line what it did not give and what that costs.
fn standing(started: &Started, priorities: Priorities) -> String {
    let real_time = match priorities.event_loop.map(system::realtime) {
        None => {
            "without real-time priority (as configured): a loaded machine delays takeovers".into()
        }
        Some(Ok(())) => format!(
            "real-time priority {} (drivers {})",
            priorities.event_loop.unwrap_or(0),
            priorities.drivers.unwrap_or(0)
        ),
        Some(Err(e)) => format!(
            "without real-time priority ({e}; give CAP_SYS_NICE): a loaded machine delays takeovers"
        ),
    };
    let memory = match system::lock_memory() {
        Ok(()) => "memory locked".into(),
        Err(e) => format!(
            "memory not locked ({e}; give CAP_IPC_LOCK): a machine short of memory delays takeovers"
        ),
    };
    format!("life {} begins; {real_time}; {memory}", started.me.incarnation)
}
