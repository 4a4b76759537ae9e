//! The loop. It allocates nothing: it sleeps until a frame, a deadline, the child's end or a
//! signal, and gives the engine its turn.

use crate::clock;
use crate::control::Control;
use crate::engine::Engine;
use crate::exit::Exit;
use crate::kernel::{Signals, Waiter, Waiting};
use crate::pacing::Pacing;
use base::{Duration, Instant};
use shm::TraceKind;
use std::os::fd::{AsFd, BorrowedFd};

/// How long control may take to stop all services when it is asked to. It has limits of its own,
/// and if it hangs the core sees that long before: this is only the last bound.
const STOP_WAIT: Duration = Duration::from_millis(300_000);

/// What the loop has seen of the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// None of it.
    Running,
    /// Control was asked to stop, and has until then.
    Stopping(Instant),
    /// Control has ended.
    Gone,
}

/// Beats until control ends, stalls, or a signal asks for the end; then gives the obituary.
///
/// `lifeline` hangs up as soon as control dies; its pidfd tells the same, up to 20 ms later. Until then it brings what
/// control changes. `waiter` is new, and has the ring if the links are in one.
pub fn run(
    engine: &mut Engine,
    mut waiter: Waiter,
    control: &Control,
    lifeline: BorrowedFd<'_>,
    signals: &Signals,
) -> Phase {
    engine.watch(&mut waiter);
    let child_at = waiter.add(control.pidfd());
    let lifeline_at = waiter.add(lifeline);
    let signals_at = waiter.add(signals.as_fd());
    let mut pacing = Pacing::default();
    let mut phase = Phase::Running;
    loop {
        let due = engine.deadline();
        let until = match phase {
            Phase::Stopping(limit) => due.min(limit),
            _ => due,
        };
        if !pacing.may_wake(clock::now(), engine.interval()) {
            waiter.rest(until.min(pacing.until(engine.interval())));
        }
        waiter.wait(clock::now(), until);
        let woke = clock::now();
        if woke < due {
            pacing.woke(woke, engine.interval());
        }
        if waiter.ready(signals_at) {
            signals.drain();
            if phase == Phase::Running {
                engine.map().trace().note(woke, TraceKind::Stopping);
                control.ask_to_stop();
                phase = Phase::Stopping(woke + STOP_WAIT);
            }
        }
        let hung_up = waiter.ready(lifeline_at) && !engine.follow(woke, Waiting(lifeline));
        if phase != Phase::Gone && (waiter.ready(child_at) || hung_up) {
            // Readable for good from now on.
            waiter.leave(child_at);
            waiter.leave(lifeline_at);
            phase = Phase::Gone;
            engine.handle_control_lost(woke);
        }
        if let Phase::Stopping(limit) = phase
            && woke >= limit
        {
            // It had its time: whatever still runs there must not outlive the lease.
            control.kill();
            phase = Phase::Stopping(Instant::MAX);
        }
        if engine.turn(woke, due, &waiter) {
            if phase != Phase::Gone {
                // It hangs, and the peers have just been told to take over: its end lets go of the
                // addresses (its sweeper waits for that), so it must not wait for politeness.
                control.kill();
            }
            return phase;
        }
    }
}

/// Says why the loop ended, and with which code the daemon ends.
pub fn report(phase: Phase, control: &mut Control) -> Exit {
    if phase != Phase::Gone {
        eprintln!(
            "netguard-fast: netguard-control makes no progress: lease closed, obituary sent; \
             the peers take over"
        );
        return Exit::Internal;
    }
    let code = control.wait(Duration::from_millis(100));
    match Exit::of_control(code) {
        // Control may have been asked by somebody else, systemd for instance.
        Exit::Orderly => Exit::Orderly,
        exit => {
            let how = code.map_or("was killed".to_owned(), |code| format!("ended with {code}"));
            eprintln!("netguard-fast: netguard-control {how}: lease closed, obituary sent");
            exit
        }
    }
}
