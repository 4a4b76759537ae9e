//! One life of the daemon: its parts put together, run, and taken down again, however it ends.

use crate::daemon::{Daemon, End};
use crate::driver_threads::DriverThreads;
use crate::effects::{Effects, Fast};
use crate::failure::Failure;
use crate::journal::Journal;
use crate::rehearsal::Rehearsal;
use crate::renewal::Renewal;
use crate::server::Server;
use crate::snapshot::Facts;
use crate::standing::{Priorities, Standing};
use crate::start::{self, Arguments, Started};
use crate::storage::Storage;
use crate::sweeper::Sweeper;
use crate::system::{self, Signals, Wake};
use base::Duration;
use node::Node;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use wire::{Generation, ServiceId};

/// Besides the services' own time-outs: leaving by the log, and the last kill.
pub const STOP_EXTRA: Duration = Duration::from_millis(9_000);

/// Runs until the daemon has to end; nothing of any service is left then.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    // Before the first thread, so that every thread has them blocked.
    let signals = Signals::take().map_err(Failure::kernel("take over signals"))?;
    let parent = system::watch_parent().map_err(Failure::kernel("watch netguard-fast"))?;
    let started = start::prepare(arguments)?;
    let (journal, writer) =
        Journal::start(&arguments.node).map_err(Failure::kernel("start a thread"))?;
    let result = assemble(started, signals, parent, &journal).and_then(live);
    drop(journal);
    writer.finish();
    result
}

/// Starts the threads, and lets fast speak once nothing can fail any more.
fn assemble(
    started: Started,
    signals: Signals,
    parent: OwnedFd,
    journal: &Journal,
) -> Result<Daemon, Failure> {
    let begun = system::now();
    let Started {
        identity,
        inherited,
        me,
        state,
        charter,
        file,
        mut exchange,
        gate,
        services,
        run_dir,
        setup,
        notes,
        leftovers,
    } = started;
    for note in notes {
        journal.say(note);
    }
    let wake = Arc::new(Wake::new().map_err(Failure::kernel("make an event descriptor"))?);
    let server = Server::start(&run_dir, Arc::clone(&wake)).map_err(|source| {
        let path = run_dir.join(api::SOCKET_NAME).display().to_string();
        Failure::Socket { path, source }
    })?;
    let longest = Duration::from_micros(state.longest_us().into());
    let settings = start::node_settings(&identity, me, charter, state.era(), longest);
    let storage = Storage::start(state, Arc::clone(&wake))
        .map_err(Failure::kernel("start the storage thread"))?;
    let priorities = Priorities::below(identity.config.local.realtime_priority);
    let program = std::env::current_exe().map_err(Failure::kernel("find its own program"))?;
    let (floating, map) = (identity.floating(), &inherited.map);
    let sweeper = Sweeper::start(&program, &run_dir, &floating, priorities.drivers, map)
        .map_err(Failure::kernel("start the process that cleans up after this one"))?;
    let ends_connections = services.iter().flatten().all(|part| part.ends_connections());
    let drivers = DriverThreads::start(services, priorities.drivers, &wake, journal)
        .map_err(Failure::kernel("start a driver thread"))?;
    exchange
        .start_stream(priorities.stream, &wake)
        .map_err(Failure::kernel("start the thread of the stream"))?;
    let gate = gate
        .start(priorities.event_loop, &wake, journal)
        .map_err(Failure::kernel("start the thread that keeps the gate"))?;
    // The last of all threads is there: from here on this one has its priority.
    let mut standing = Standing::take(priorities, ends_connections);
    standing.note_leftovers(&leftovers);
    journal.say(format!("life {} begins; {}", me.incarnation, standing.line));
    inherited.release(&setup)?;

    let mut node = Node::new(settings, system::now());
    node.handle_gate(system::now(), gate.state());
    Ok(Daemon {
        facts: Facts::new(&identity, me, begun, file, standing.alarms),
        node,
        effects: Effects {
            me,
            map: inherited.map,
            exchange,
            fast: Fast::new(inherited.setup, &setup)
                .map_err(Failure::kernel("use the set-up socket"))?,
            gate,
            drivers,
            storage,
            journal: journal.clone(),
        },
        server,
        sweeper,
        event: inherited.event,
        wake,
        signals,
        parent,
        patience: start::longest_stop(&identity.config) + STOP_EXTRA,
        renewal: Renewal::new(identity, run_dir),
        rehearsal: Rehearsal::from_environment(),
    })
}

/// Runs the loop; whatever ends it, nothing of any service stays.
fn live(mut daemon: Daemon) -> Result<(), Failure> {
    let end = catch_unwind(AssertUnwindSafe(|| daemon.run()));
    let Daemon { effects: Effects { map, mut gate, drivers, journal, .. }, patience, .. } = daemon;
    for service in 0..heartbeat::board::SERVICES_MAX {
        gate.open(ServiceId(service as u16), Generation(0));
        map.board().set_open(service, 0);
    }
    map.board().set_owner(false);
    for late in drivers.shutdown(patience) {
        journal.say(format!("service number {late} did not stop in time: switch this node off"));
    }
    let in_order = matches!(end, Ok(End::Stopped));
    if let Err(e) = gate.end(in_order) {
        journal.say(format!("the gate stays on some interfaces, closed: {e}"));
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
