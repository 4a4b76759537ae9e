//! Keeps the kernel's gate (S2b): loads it over the words that fast made, attaches it to every
//! interface before anything is sent, and puts it back wherever another tool takes it away.
//!
//! The event loop opens and closes by single stores and never waits for netlink; a thread of its own
//! listens and repairs, with the event loop's priority, because until it has repaired only the second
//! line stands. What cannot be repaired is told to the node, which tells the log.

use crate::journal::Journal;
use crate::system::{self, Poll, Wake};
use base::Instant;
use config::GateSockets;
use crossbeam_channel::{Receiver, Sender, bounded};
use gate::watch::Changed;
use gate::{Gate, GateError, Interface, Slot, Sockets, Tc, Watch, Words};
use node::GateState;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use wire::{Generation, ServiceId, Stint};

/// The machine's control groups; the root has every socket.
const GROUPS: &str = "/sys/fs/cgroup";
/// States that wait at the event loop; when it is behind, the thread waits.
const NEWS_MAX: usize = 16;
/// How often everything is looked at, should a message have been misunderstood, ms.
const LOOK_EVERY_MS: u64 = 1_000;

/// The event loop's hand on the gate.
#[derive(Debug)]
pub struct Gatekeeper {
    keeper: Option<Keeper>,
    /// The slots of each service's addresses.
    slots: BTreeMap<ServiceId, Slots>,
    /// What is known at the start.
    first: GateState,
    /// Generations whose first answer was told already.
    told: BTreeMap<ServiceId, Generation>,
}

/// The slots of a service's addresses, in configured order.
#[derive(Debug, Default)]
struct Slots {
    now: Vec<Slot>,
    /// Take their place with the first generation after the last one that was opened: that one may open again after a
    /// lapse.
    next: Option<Vec<Slot>>,
    /// The last generation that was opened.
    generation: Generation,
}

#[derive(Debug)]
struct Keeper {
    gate: Arc<Gate>,
    /// The second line, or why there is none.
    sockets: Result<Arc<Sockets>, String>,
    /// For the thread, until it has started.
    hands: Option<Hands>,
    thread: Option<Thread>,
}

/// Netlink.
#[derive(Debug)]
struct Hands {
    tc: Tc,
    watch: Watch,
    /// Interfaces that were there at the start.
    first: Vec<Interface>,
}

#[derive(Debug)]
struct Thread {
    news: Receiver<GateState>,
    stop: Arc<AtomicBool>,
    wake: Arc<Wake>,
    handle: JoinHandle<()>,
}

/// The first packets of one generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answered {
    /// The service.
    pub service: ServiceId,
    /// The generation.
    pub generation: Generation,
    /// The first question that passed.
    pub asked: Option<Instant>,
    /// The first answer that passed.
    pub answered: Instant,
}

impl Gatekeeper {
    /// Loads and attaches the gate, closed. `services` are the addresses of each service. Without
    /// addresses none is needed; a machine that cannot have one works without, and says what it lacks.
    pub fn begin(words: Option<Words>, services: &[Vec<IpAddr>], reach: GateSockets) -> Self {
        let mut this = Self {
            keeper: None,
            slots: BTreeMap::new(),
            first: GateState::default(),
            told: BTreeMap::new(),
        };
        if services.iter().all(Vec::is_empty) {
            remove_earlier();
            return this;
        }
        let lack = match words {
            None => {
                remove_earlier();
                Some("this machine cannot load it (netguard-fast said why)".to_owned())
            }
            Some(words) => this.load(words, services, reach).err().map(|e| e.to_string()),
        };
        this.first.lack = this.first.lack.take().or(lack);
        this
    }

    fn load(
        &mut self,
        words: Words,
        services: &[Vec<IpAddr>],
        reach: GateSockets,
    ) -> Result<(), GateError> {
        let gate = Gate::load(words)?;
        for (number, addresses) in (0u16..).zip(services) {
            let now = addresses.iter().map(|address| gate.add(*address));
            let now = now.collect::<Result<_, _>>()?;
            self.slots.insert(ServiceId(number), Slots { now, ..Slots::default() });
        }
        // The watch first: what changes while everything is attached is told afterwards.
        let (watch, mut tc) = (Watch::open()?, Tc::open()?);
        let sockets = second_line(&gate, reach);
        let first = tc.interfaces()?;
        let mut lacks = Vec::new();
        for interface in &first {
            if let Err(e) = tc.attach(&gate, interface) {
                lacks.push(format!("{}: {e}", interface.name));
            }
        }
        self.first.lack = (!lacks.is_empty()).then(|| lacks.join("; "));
        let hands = Some(Hands { tc, watch, first });
        self.keeper = Some(Keeper { gate: Arc::new(gate), sockets, hands, thread: None });
        Ok(())
    }

    /// What it is at the start.
    #[must_use]
    pub fn state(&self) -> GateState {
        self.first.clone()
    }

    /// One line about it for the operator.
    #[must_use]
    pub fn line(&self) -> String {
        match (&self.first.lack, &self.keeper) {
            (Some(lack), _) => format!("gate: {lack}"),
            (None, None) => "gate: no floating address is configured".into(),
            (None, Some(keeper)) => match &keeper.sockets {
                Ok(_) => "gate: on every interface, and at the machine's sockets".into(),
                Err(why) => format!("gate: on every interface; no second line: {why}"),
            },
        }
    }

    /// Starts the thread that keeps it attached. `wake` is woken with every news.
    pub fn start(
        mut self,
        priority: Option<u8>,
        wake: &Arc<Wake>,
        journal: &Journal,
    ) -> io::Result<Self> {
        let Some(keeper) = &mut self.keeper else { return Ok(self) };
        let Some(Hands { tc, watch, first }) = keeper.hands.take() else { return Ok(self) };
        let (to, news) = bounded(NEWS_MAX);
        let (stop, own) = (Arc::new(AtomicBool::new(false)), Arc::new(Wake::new()?));
        let mut warden = Warden {
            gate: Arc::clone(&keeper.gate),
            tc,
            watch,
            known: first.iter().map(|it| it.index).collect(),
            lasting: first.into_iter().map(|it| it.name).collect(),
            sockets: keeper.sockets.clone().ok(),
            state: self.first.clone(),
            news: to,
            stop: Arc::clone(&stop),
            own: Arc::clone(&own),
            wake: Arc::clone(wake),
            journal: journal.clone(),
        };
        let run = move || {
            if let Some(priority) = priority {
                let _ = system::realtime(priority);
            }
            warden.run();
        };
        let handle = std::thread::Builder::new().name("gate".into()).spawn(run)?;
        keeper.thread = Some(Thread { news, stop, wake: own, handle });
        Ok(self)
    }

    /// The newest state, if there is news.
    #[must_use]
    pub fn poll_news(&self) -> Option<GateState> {
        self.keeper.as_ref()?.thread.as_ref()?.news.try_iter().last()
    }

    /// Opens a service's addresses for a generation; generation 0 closes them. One store each.
    pub fn open(&mut self, service: ServiceId, generation: Generation) {
        let Some(keeper) = &self.keeper else { return };
        let Some(slots) = self.slots.get_mut(&service) else { return };
        if generation == Generation(0) {
            slots.now.iter().for_each(|slot| keeper.gate.close(*slot));
            return;
        }
        if generation > slots.generation
            && let Some(next) = slots.next.take()
        {
            slots.now.iter().for_each(|slot| keeper.gate.close(*slot));
            slots.now = next;
        }
        slots.generation = generation;
        slots.now.iter().for_each(|slot| keeper.gate.open(*slot, generation.0));
    }

    /// Gates the addresses that a service has from its next generation on, closed. The error is what the gate lacks from
    /// now on: a node that had no address to gate when it started has no gate.
    pub fn replace(&mut self, service: ServiceId, addresses: &[IpAddr]) -> Result<(), String> {
        let Some(keeper) = &self.keeper else {
            return match addresses {
                [] => Ok(()),
                _ => Err("no address was configured when its daemons started: restart them".into()),
            };
        };
        let next =
            addresses.iter().map(|address| keeper.gate.add(*address).map_err(|e| e.to_string()));
        let next = next.collect::<Result<Vec<Slot>, String>>()?;
        self.slots.entry(service).or_default().next = Some(next);
        Ok(())
    }

    /// Closes everything for one stint (R-SELF).
    pub fn close(&self, stint: Stint) {
        if let Some(keeper) = &self.keeper {
            keeper.gate.words().close(stint.0);
        }
    }

    /// Takes [`Gatekeeper::close`] back: the own removal was truncated.
    pub fn reopen(&self) {
        if let Some(keeper) = &self.keeper {
            keeper.gate.words().reopen();
        }
    }

    /// The own stint by applied entries: a close that was meant for another one is over.
    pub fn follow_stint(&self, stint: Stint) {
        if let Some(keeper) = &self.keeper
            && stint.is_member()
            && keeper.gate.words().closed() != stint.0
        {
            keeper.gate.words().reopen();
        }
    }

    /// Fast is dead, so that nobody else writes the lease end any more: it is over, and no later
    /// [`Gatekeeper::reopen`] brings it back.
    pub fn end_lease(&self) {
        if let Some(keeper) = &self.keeper {
            keeper.gate.words().set_lease_end(Instant::ZERO);
        }
    }

    /// Generations whose first answer has passed since the last call.
    pub fn poll_answered(&mut self) -> Vec<Answered> {
        let Some(keeper) = &self.keeper else { return Vec::new() };
        let mut all = Vec::new();
        for (service, slots) in &self.slots {
            let service = *service;
            let looks = slots.now.iter().map(|slot| keeper.gate.look(*slot));
            let first = looks.filter_map(|look| {
                let generation = Generation(look.generation);
                let answered = look.first_answered?;
                Some(Answered { service, generation, asked: look.first_asked, answered })
            });
            let Some(answered) = first.min_by_key(|it| it.answered) else { continue };
            let new = self.told.insert(service, answered.generation) != Some(answered.generation);
            if new && answered.generation != Generation(0) {
                all.push(answered);
            }
        }
        all
    }

    /// Ends the thread. After a stop in good order the gate goes too: nothing is left that it could
    /// close, and the addresses are free for whoever wants them. Every other end leaves it, closed.
    pub fn end(self, in_order: bool) -> Result<(), GateError> {
        let Some(Keeper { gate, sockets, thread, .. }) = self.keeper else { return Ok(()) };
        if let Some(Thread { stop, wake, handle, .. }) = thread {
            stop.store(true, Ordering::SeqCst);
            wake.wake();
            let _ = handle.join();
        }
        if !in_order {
            gate.words().close(1);
            return Ok(());
        }
        let mut tc = Tc::open()?;
        for interface in tc.interfaces()? {
            tc.detach(&interface)?;
        }
        sockets.map_or(Ok(()), |sockets| sockets.detach())
    }
}

/// What an earlier life attached stays closed for good, also for whom the addresses are now. Who may not
/// remove it has none of his own either, and cannot do more about it.
fn remove_earlier() {
    let Ok(mut tc) = Tc::open() else { return };
    for interface in tc.interfaces().unwrap_or_default() {
        let _ = tc.detach(&interface);
    }
}

/// Puts the second line in place where it is wanted and this machine can have it.
fn second_line(gate: &Gate, reach: GateSockets) -> Result<Arc<Sockets>, String> {
    if !is_alone(reach) {
        return Err("other nodes may share this machine (`gate_sockets` in [local])".into());
    }
    let sockets = Sockets::of(Path::new(GROUPS)).map_err(|e| e.to_string())?;
    sockets.attach(gate).map_err(|e| e.to_string())?;
    Ok(Arc::new(sockets))
}

/// True if the second line may reach all sockets of the machine: nobody else keeps a gate here.
fn is_alone(reach: GateSockets) -> bool {
    match reach {
        GateSockets::Machine => true,
        GateSockets::None => false,
        GateSockets::Auto => {
            let namespace = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/net")).ok();
            namespace("self").is_some_and(|own| Some(own) == namespace("1"))
        }
    }
}

/// The thread.
struct Warden {
    gate: Arc<Gate>,
    tc: Tc,
    watch: Watch,
    /// Interfaces that have had the gate, by the kernel's number.
    known: BTreeSet<u32>,
    /// Names from the start: one of them under another number was made anew.
    lasting: BTreeSet<String>,
    sockets: Option<Arc<Sockets>>,
    state: GateState,
    news: Sender<GateState>,
    stop: Arc<AtomicBool>,
    own: Arc<Wake>,
    wake: Arc<Wake>,
    journal: Journal,
}

impl Warden {
    fn run(&mut self) {
        let mut poll = Poll::default();
        let mut everything = true;
        while !self.stop.load(Ordering::SeqCst) {
            let before = self.state.clone();
            if let Err(e) = self.look(everything) {
                self.state.lack = Some(e.to_string());
            }
            if self.state != before {
                let _ = self.news.send(self.state.clone());
                self.wake.wake();
            }
            poll.clear();
            poll.add(self.watch.as_fd().as_raw_fd());
            poll.add(self.own.fd());
            if poll.wait(Some(base::Duration::from_millis(LOOK_EVERY_MS))).is_err() {
                self.journal.say("the thread that keeps the gate cannot wait");
            }
            self.own.clear();
            everything = !poll.ready(0);
        }
    }

    /// Looks where something changed, or everywhere; attaches what is missing.
    fn look(&mut self, everything: bool) -> Result<(), GateError> {
        let changed = self.watch.changed()?;
        let mut lacks = Vec::new();
        let interfaces = self.tc.interfaces()?;
        self.known.retain(|index| interfaces.iter().any(|it| it.index == *index));
        for interface in interfaces {
            let concerned = match &changed {
                _ if everything || self.state.lack.is_some() => true,
                Changed::Everything => true,
                Changed::Interfaces(at) => at.contains(&interface.index),
            };
            if concerned && let Err(lack) = self.mend(&interface) {
                lacks.push(format!("{}: {lack}", interface.name));
            }
        }
        if let Some(sockets) = self.sockets.clone()
            && !sockets.lacks(&self.gate)?.is_empty()
        {
            sockets.attach(&self.gate)?;
            self.cured("the machine's sockets");
        }
        self.state.lack = (!lacks.is_empty()).then(|| lacks.join("; "));
        Ok(())
    }

    /// Puts the gate on one interface if it is not there. The error says what cannot be cured.
    fn mend(&mut self, interface: &Interface) -> Result<(), String> {
        let words = |e: GateError| e.to_string();
        let lacks = self.tc.lacks(&self.gate, interface).map_err(words)?;
        if lacks.is_empty() {
            return Ok(());
        }
        if lacks.iter().any(|lack| lack.is_curable()) {
            self.tc.attach(&self.gate, interface).map_err(words)?;
            let is_new = self.known.insert(interface.index);
            if is_new && !self.lasting.contains(&interface.name) {
                self.journal.say(format!("{} is new: it has the gate", interface.name));
            } else {
                self.cured(&interface.name);
            }
        }
        match self.tc.lacks(&self.gate, interface).map_err(words)?.first() {
            None => Ok(()),
            Some(_) => {
                Err("a filter or program of another tool lets packets pass before the gate".into())
            }
        }
    }

    fn cured(&mut self, what: &str) {
        self.state.cured += 1;
        self.state.last_cure = what.to_owned();
        self.journal.say(format!("the gate was missing from {what} and was put back"));
    }
}
