//! The event loop: one thread, one wait, one reading of the clock per cycle.
//!
//! What came while this thread did not run is taken in before any time-out is looked at (S10),
//! every queue is drained up to a bound, and the progress word grows with every cycle: a loop that
//! hangs is a node that ends.

use crate::budget::Budget;
use crate::effects::{Effects, MustEnd, News, Performed};
use crate::exchange::Said;
use crate::failure::Failure;
use crate::gatekeeper::Answered;
use crate::orders::Orders;
use crate::probes::Probes;
use crate::rehearsal::Rehearsal;
use crate::renewal::Renewal;
use crate::server::Server;
use crate::snapshot::{Facts, Moment, api_alarm};
use crate::storage::Stored;
use crate::sweeper::Sweeper;
use crate::system::{self, Signals, Wake, Watch};
use crate::{life, start};
use agreement::Status;
use base::{Duration, Instant};
use driver::Done;
use node::Node;
use shm::{Counter, Side};
use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use wire::Op;

/// Events of fast taken per cycle.
const EVENTS_MAX: usize = 256;
/// Outcomes taken per cycle.
const OUTCOMES_MAX: usize = 64;
/// Rounds of "perform, conclude" per cycle; what is left comes with the next, which follows at once.
const ROUNDS_MAX: usize = 8;
/// Questions answered per cycle: each builds a picture of everything.
const ASKS_MAX: usize = 4;
/// Where the descriptors stand in the watch; the links come after them.
mod place {
    pub(super) const SIGNALS: usize = 0;
    pub(super) const PARENT: usize = 1;
    pub(super) const LIFELINE: usize = 2;
    pub(super) const EVENT: usize = 3;
    pub(super) const WAKE: usize = 4;
    pub(super) const LINKS: usize = 5;
}
/// How often the peers are told that fast is gone: a frame can be lost.
const OBITUARIES: u32 = 3;
/// How long a primary that has sent entries looks for their acknowledgements before it sleeps: a round trip in a rack. To
/// fall asleep and be woken costs about as much, and whoever wrote waits for it.
const BUSY: Duration = Duration::from_micros(60);
/// Distance of two looks at alarms and link counts.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Everything the loop works with.
pub struct Daemon {
    /// The decisions.
    pub node: Node,
    /// What they act on.
    pub effects: Effects,
    /// The local socket.
    pub server: Server,
    /// Waits for the end of this process.
    pub sweeper: Sweeper,
    /// For the answers.
    pub facts: Facts,
    /// Fast wakes us.
    pub event: Wake,
    /// Our own threads wake us.
    pub wake: Arc<Wake>,
    /// Termination.
    pub signals: Signals,
    /// Readable when fast is gone.
    pub parent: OwnedFd,
    /// How long a stop may take.
    pub patience: Duration,
    /// The document in force, and how another one is followed.
    pub renewal: Renewal,
    /// A knob for tests.
    pub rehearsal: Rehearsal,
}

/// How a run ends.
#[derive(Debug)]
pub enum End {
    /// Asked to; everything is stopped.
    Stopped,
    /// Fast is gone; everything is stopped.
    Orphaned,
    /// Not in good order.
    Failed(Failure),
}

/// What the loop remembers from cycle to cycle.
struct Run {
    watch: Watch,
    orders: Orders,
    probes: Probes,
    /// The last entry that was sent, and until when its acknowledgement is looked for.
    busy: (Op, Instant),
    ending: Option<(End, Instant)>,
    /// Obituaries still to send for a fast path that is gone.
    obituaries: u32,
    alarms: BTreeMap<&'static str, node::Alarm>,
    look_at: Instant,
    budget: Budget,
    /// Fast is gone.
    orphaned: bool,
    more: bool,
    /// What was concluded gave the node something to do.
    again: bool,
}

impl Daemon {
    /// Runs until the end.
    pub fn run(&mut self) -> End {
        let watch = match self.watch() {
            Ok(watch) => watch,
            Err(e) => return End::Failed(Failure::kernel("watch its descriptors")(e)),
        };
        let mut run = Run {
            watch,
            orders: Orders::default(),
            probes: Probes::from_environment(),
            busy: (Op::ZERO, Instant::ZERO),
            ending: None,
            obituaries: 0,
            alarms: BTreeMap::new(),
            look_at: Instant::ZERO,
            budget: Budget::new(system::now()),
            orphaned: false,
            more: false,
            again: false,
        };
        loop {
            let woke = self.wait(&mut run);
            let now = system::now();
            self.effects.map.board().make_progress();
            let counters = self.effects.map.counters();
            counters.count(Side::Control, Counter::Wakes);
            if let Err(e) = woke {
                self.effects.journal.say(format!("the event loop cannot wait: {e}"));
            }
            // Nobody is judged before everything is heard that came meanwhile (S10).
            let due = self.node.poll_deadline().is_some_and(|at| at <= now);
            let judges = due || !run.watch.any();
            run.more = self.take_inputs(now, judges, &mut run);
            if judges {
                self.node.handle_timeout(now);
            }
            // What callers ask next, as soon as they are answered, goes out with what nobody waits for.
            for _ in 0..ROUNDS_MAX {
                let performed = self.effects.perform(now, &mut self.node);
                run.again = performed.more;
                self.conclude(now, performed, &mut run);
                // Others wait for messages and answers; for what runs here nobody waits so short a time.
                if !run.again && !self.node.follow_up() {
                    break;
                }
            }
            run.more |= run.again || !self.node.is_settled();
            self.effects.perform_rest(now, &mut self.node);
            self.note_sent(&mut run);
            self.effects.fast.flush();
            if now >= run.look_at {
                run.look_at = now + LOOK_EVERY;
                self.look(now, &mut run);
            }
            let duty = system::now().since(now).micros();
            self.effects.map.counters().raise(Side::Control, Counter::DutyMaxUs, duty);
            if let Some(end) = self.ended(now, &mut run) {
                return end;
            }
        }
    }

    /// Watches everything that wakes the loop.
    fn watch(&self) -> std::io::Result<Watch> {
        let watch = Watch::new()?;
        watch.add(self.signals.fd(), place::SIGNALS)?;
        watch.add(self.parent.as_raw_fd(), place::PARENT)?;
        watch.add(self.effects.fast.lifeline.as_raw_fd(), place::LIFELINE)?;
        watch.add(self.event.fd(), place::EVENT)?;
        watch.add(self.wake.fd(), place::WAKE)?;
        for (number, fd) in self.effects.exchange.fds().enumerate() {
            watch.add(fd, place::LINKS + number)?;
        }
        Ok(watch)
    }

    fn wait(&self, run: &mut Run) -> std::io::Result<()> {
        let due = self.node.poll_deadline().into_iter().chain(self.effects.exchange.copies_due());
        let turn = system::now() + self.effects.fast.turn;
        let until = if run.more { Instant::ZERO } else { due.fold(turn, Instant::min) };
        run.watch.wait(until, run.busy.1)
    }

    /// As primary: entries went out just now, and a majority of them is awaited.
    fn note_sent(&self, run: &mut Run) {
        let agreement = self.node.agreement();
        let op = agreement.op();
        if agreement.commit() == op {
            run.busy = (op, Instant::ZERO);
        } else if op != run.busy.0 && agreement.status() == Status::Primary {
            run.busy = (op, system::now() + BUSY);
        }
    }

    /// Takes in what came; true if something may be left. `all`: from every link, whatever the poll said, because this
    /// thread may have stood still since (S10).
    fn take_inputs(&mut self, now: Instant, all: bool, run: &mut Run) -> bool {
        let board_end = self.effects.map.board().lease_end();
        if !run.orphaned && (run.watch.ready(place::PARENT) || run.watch.ready(place::LIFELINE)) {
            run.orphaned = true;
            // What was heard once stays readable for good: waiting for it again would be spinning.
            run.watch.forget(self.parent.as_raw_fd());
            run.watch.forget(self.effects.fast.lifeline.as_raw_fd());
        }
        let orphaned = run.orphaned;
        if orphaned && !matches!(run.ending, Some((End::Orphaned, _))) {
            run.obituaries = OBITUARIES;
        }
        if run.obituaries > 0 {
            // First of all: the peers take over as soon as they hear it.
            run.obituaries -= 1;
            self.effects.close_for_fast(self.node.gate_is_whole());
        }
        self.node.handle_slowest(self.effects.map.board().slowest());
        // Without fast nobody renews the lease, whatever its word says.
        self.node.handle_lease(now, if orphaned { Instant::ZERO } else { board_end });
        let asked = run.watch.ready(place::SIGNALS);
        if asked {
            run.watch.forget(self.signals.fd());
        }
        if orphaned && !matches!(run.ending, Some((End::Orphaned, _))) {
            self.effects.journal.say("netguard-fast is gone: everything is stopped");
            run.ending = Some((End::Orphaned, now + self.patience));
            self.node.handle_leave(now);
        } else if asked && run.ending.is_none() {
            self.effects.journal.say("asked to stop: services go elsewhere first");
            run.ending = Some((End::Stopped, now + self.patience));
            self.node.handle_leave(now);
        }
        // Whoever puts something into a queue wakes this loop afterwards: what nobody woke it for is not looked at, but for
        // what was left last time, and once in every turn that nothing else began.
        let all_queues = all || run.more;
        let mut more = false;
        if all_queues || run.watch.ready(place::EVENT) {
            self.event.clear();
            more |= self.take_events(now);
        }
        let woken = all_queues || run.watch.ready(place::WAKE);
        if woken {
            self.wake.clear();
        }
        let Self { node, effects, .. } = self;
        let counters = effects.map.counters();
        let on = |link| all_queues || run.watch.ready(place::LINKS + link);
        more |= effects.exchange.receive(now, counters, on, woken, &mut |from, said| match said {
            Said::Message(message) => node.handle_message(now, from, message),
            Said::Level(level) => node.handle_level(from, level),
            Said::Obituary(stint) => {
                let kind = heartbeat::EventKind::Obituary { life: from, stint };
                node.handle_event(now, heartbeat::Event { at: now, kind });
            }
        });
        if woken {
            more |= self.take_queues(now, run);
        }
        more | (run.obituaries > 0)
    }

    /// What the other threads of this process have for the loop.
    fn take_queues(&mut self, now: Instant, run: &mut Run) -> bool {
        if let Some(state) = self.effects.gate.poll_news() {
            self.node.handle_gate(now, state);
        }
        while let Ok(stored) = self.effects.storage.results.try_recv() {
            self.take_stored(now, stored);
        }
        self.take_outcomes(now) | self.take_asks(now, run)
    }

    fn take_events(&mut self, now: Instant) -> bool {
        let mut taken = 0;
        while taken < EVENTS_MAX {
            let Some(event) = self.effects.map.events().pop() else { break };
            self.node.handle_event(now, event);
            taken += 1;
        }
        let lost = self.effects.map.events().take_lost();
        if lost > 0 {
            self.effects.map.counters().add(Side::Control, Counter::EventsLost, lost);
            self.effects.journal.say(format!(
                "{lost} events of the fast path were lost: this process did not run for long"
            ));
        }
        taken == EVENTS_MAX
    }

    fn take_stored(&mut self, now: Instant, stored: Stored) {
        match stored {
            Stored::Done(crate::storage::Order::Era(era)) => self.node.handle_era_stored(now, era),
            Stored::Done(crate::storage::Order::Charter(charter)) => {
                self.node.handle_configuration_stored(now, charter.edition());
            }
            Stored::Done(crate::storage::Order::HigherThan(_)) => {}
            Stored::Failed(order, reason) => {
                self.effects.journal.say(format!("cannot store {order:?}: {reason}"));
            }
        }
    }

    fn take_outcomes(&mut self, now: Instant) -> bool {
        for _ in 0..OUTCOMES_MAX {
            let Some(outcome) = self.effects.drivers.poll_outcome() else { return false };
            if let Done::Failed { reason } | Done::Stuck { reason } | Done::Died { reason } =
                &outcome.result
            {
                let (service, generation) = (outcome.service, outcome.generation);
                let name = self.node.service(service).map(|s| s.name).unwrap_or_default();
                self.effects.journal.say(format!("service {name}, {generation:?}: {reason}"));
            }
            self.node.handle_outcome(now, &outcome);
        }
        true
    }

    fn take_asks(&mut self, now: Instant, run: &mut Run) -> bool {
        for _ in 0..ASKS_MAX {
            let Ok(ask) = self.server.asks.try_recv() else { return false };
            let token = ask.token;
            if matches!(ask.request, api::Request::Probe { .. }) {
                if let Some(refused) = run.probes.begin(&ask, &mut self.node) {
                    self.server.answer(token, refused);
                }
                continue;
            }
            let board = self.effects.map.board();
            let at = Moment::at(now);
            let present = self.renewal.config();
            if let Some(body) =
                run.orders.handle(at, ask, &self.facts, &mut self.node, board, present)
            {
                self.server.answer(token, body);
            }
        }
        true
    }

    /// What a round of actions left: news for outside, or the end.
    fn conclude(&mut self, now: Instant, performed: Performed, run: &mut Run) {
        for news in performed.news {
            let at = Moment::at(now);
            match news {
                News::Reply(tag, result) if run.probes.take(tag, &result, &mut self.node) => {
                    // The next one waits in the node.
                    run.again = true;
                }
                News::Reply(token, result) => {
                    let body = run.orders.answer(token, &result, &self.facts, &self.node);
                    self.server.answer(token, body);
                }
                News::View(view) => {
                    let names: Vec<_> =
                        view.members.keys().map(|n| self.facts.node_name(*n)).collect();
                    let (number, names) = (view.number, names.join(", "));
                    self.effects.journal.say(format!("view {number}: {names}"));
                    self.renewal.handle_view(&view, &mut self.effects);
                    self.server.publish(now, at.unix_ms, self.facts.view(&view));
                }
                News::Document(configuration) => {
                    // The node takes nothing more before it has this answer.
                    run.again = true;
                    let Self { renewal, node, effects, facts, sweeper, .. } = self;
                    let text = &configuration.document;
                    match renewal.handle_document(now, text, node, effects, facts, sweeper) {
                        Ok(()) => {
                            let version = configuration.version;
                            self.effects
                                .journal
                                .say(format!("configuration version {version} is agreed"));
                            self.patience =
                                start::longest_stop(self.renewal.config()) + life::STOP_EXTRA;
                        }
                        Err(failure) => self.fail(now, failure, run),
                    }
                }
                News::Service(id) => {
                    let Some(status) = self.node.service(id) else { continue };
                    let service = self.facts.service(at, &status);
                    self.server.publish(now, at.unix_ms, api::EventKind::Service { service });
                }
            }
        }
        if let Some((token, body)) = run.probes.poll(now) {
            self.server.answer(token, body);
        }
        let Some(end) = performed.end else { return };
        let failure = match end {
            MustEnd::Superseded(highest) => Failure::Superseded { highest: highest.0 },
            MustEnd::SaidOff => Failure::SaidOff,
            MustEnd::Unreadable(op) => Failure::Unreadable { op: op.0 },
            MustEnd::Renumbered(above) => Failure::Renumbered { highest: above.0 },
            MustEnd::Dropped => Failure::Dropped,
            MustEnd::Outdated(level) => Failure::Outdated { level },
        };
        self.fail(now, failure, run);
    }

    /// The life ends, not in good order; the first reason counts.
    fn fail(&mut self, now: Instant, failure: Failure, run: &mut Run) {
        if !matches!(run.ending, Some((End::Failed(_), _))) {
            self.effects.journal.say(failure.to_string());
            run.ending = Some((End::Failed(failure), now + self.patience));
            self.node.handle_leave(now);
        }
    }

    /// Alarms that came or went, for those who watch; counts for `ng stat`.
    fn look(&mut self, now: Instant, run: &mut Run) {
        self.effects.exchange.publish_counts(self.effects.map.counters());
        self.rehearse();
        for first in self.effects.gate.poll_answered() {
            let Answered { service, generation, asked, answered } = first;
            self.node.handle_answered(service, generation, asked, answered);
        }
        let at = Moment::at(now);
        let mut alarms = self.node.status(now).alarms;
        alarms.extend(self.measure(now, run));
        let alarms: BTreeMap<_, _> = alarms.into_iter().map(|alarm| (alarm.code, alarm)).collect();
        let raised = alarms.iter().filter(|(code, _)| !run.alarms.contains_key(*code));
        let cleared = run.alarms.iter().filter(|(code, _)| !alarms.contains_key(*code));
        for (raised, (_, alarm)) in raised.map(|a| (true, a)).chain(cleared.map(|a| (false, a))) {
            if raised {
                self.effects.journal.say(format!("{}; {}", alarm.message, alarm.remedy));
            }
            let event = api::EventKind::Alarm { raised, alarm: api_alarm(at, alarm) };
            self.server.publish(now, at.unix_ms, event);
        }
        run.alarms = alarms;
    }

    /// How long the peers may have to wait for this node's beats; the alarm if that is too long.
    fn measure(&mut self, now: Instant, run: &mut Run) -> Option<node::Alarm> {
        let map = &self.effects.map;
        run.budget.look(now, map.measures(), self.effects.exchange.peers(), self.facts.cadence());
        let found = run.budget.found();
        let us = found.map_or(0, |found| found.budget().micros());
        map.counters().set(Side::Control, Counter::DetectionBudgetUs, us);
        self.facts.carried_by(map.header().network_io());
        self.facts.measured(now, found).cloned()
    }

    /// Tests only: settings of this node alone.
    fn rehearse(&mut self) {
        let Some(taken) = self.rehearsal.take() else { return };
        let done =
            taken.and_then(|config| self.effects.configure(&config).map_err(|e| e.to_string()));
        self.effects.journal.say(format!("TEST: other settings for this node alone: {done:?}"));
    }

    fn ended(&self, now: Instant, run: &mut Run) -> Option<End> {
        let (_, until) = run.ending.as_ref()?;
        let left = self.node.has_left(now) && self.effects.storage.idle() && !run.more;
        if !left && now < *until {
            return None;
        }
        if !left {
            self.effects.journal.say("not everything could be stopped in time");
        }
        run.ending.take().map(|(end, _)| end)
    }
}
