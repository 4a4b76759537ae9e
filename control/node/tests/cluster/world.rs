//! The world: a network with a delay, a fast path that hears whoever is connected, drivers that
//! take a moment.

use base::{Duration, Instant};
use driver::{Done, FencePolicy, Job, Outcome};
use heartbeat::board::Frozen;
use heartbeat::{Event, EventKind};
use membership::Names;
use ng_node::{
    Action, Command, CommandDone, CommandRefused, Destination, GateState, Node, Roster, Settings,
};
use services::{Phase, Placement, ResourceSpec, ServiceSpec};
use std::collections::{BTreeMap, BTreeSet};
use wire::{
    Charter, Configuration, Generation, Incarnation, Life, Message, NodeId, NodeSet, ServiceId,
    Stint,
};

pub(crate) const INTERVAL: Duration = Duration::from_millis(10);
pub(crate) const D: Duration = Duration::from_millis(30);
/// The lease is shorter than the deadline, by the margin for the clocks.
const L: Duration = Duration::from_micros(29_890);
const STEP: Duration = Duration::from_micros(100);
const DELAY: Duration = Duration::from_micros(100);
const DRIVER: Duration = Duration::from_micros(500);

pub(crate) fn id(n: u8) -> NodeId {
    NodeId::new(n).unwrap()
}

/// One running life.
struct Actor {
    node: Node,
    life: Life,
    roster: Option<Roster>,
    lease_end: Instant,
    closed: Stint,
    frozen: BTreeMap<NodeId, Stint>,
    heard: BTreeMap<NodeId, (Instant, Life)>,
    suspects: BTreeSet<NodeId>,
    /// Services whose address answers here.
    up: BTreeMap<ServiceId, Generation>,
    open: BTreeMap<ServiceId, Generation>,
    owner: bool,
    replies: BTreeMap<u64, Result<CommandDone, CommandRefused>>,
    outcomes: Vec<(Instant, Outcome)>,
    jobs: Vec<(Instant, String)>,
    superseded: bool,
    /// Until then no echo renews the lease.
    no_renewal: Instant,
}

impl Actor {
    fn stint_of(&self, node: NodeId) -> Stint {
        let seat = self.roster.as_ref().and_then(|r| r.seat(node));
        seat.map(|s| s.stint).unwrap_or_default()
    }
    fn votes(&self) -> bool {
        self.roster.as_ref().is_some_and(|r| r.votes(self.life))
    }
    fn lease_holds(&self, now: Instant) -> bool {
        let stint = self.stint_of(self.life.node);
        stint.is_member() && self.closed != stint && now < self.lease_end
    }
}

/// The cluster.
pub(crate) struct World {
    pub(crate) now: Instant,
    nodes: u8,
    /// What a start's own file says.
    services: Vec<ServiceSpec>,
    /// What documents say: the first byte of one is its place here. Without any, documents are empty.
    documents: Vec<Vec<ServiceSpec>>,
    actors: BTreeMap<NodeId, Actor>,
    incarnations: BTreeMap<NodeId, u32>,
    eras: BTreeMap<NodeId, u32>,
    wires: Vec<(Instant, Life, NodeId, Message)>,
    /// Nodes that nobody hears and that hear nobody.
    pub(crate) cut: BTreeSet<NodeId>,
    /// Services whose start fails, by node.
    pub(crate) broken: BTreeSet<(NodeId, ServiceId)>,
    tag: u64,
}

/// A service that may run on all three nodes.
pub(crate) fn service(n: u16, fence: FencePolicy, placement: Placement) -> ServiceSpec {
    let resource = ResourceSpec {
        name: format!("10.0.0.{n}"),
        kind: "address".into(),
        lease_bound: fence == FencePolicy::Lease,
    };
    ServiceSpec {
        id: ServiceId(n),
        name: format!("s{n}"),
        nodes: vec![id(1), id(2), id(3)],
        placement,
        fence,
        resources: vec![resource],
        revision: 0,
    }
}

impl World {
    /// Three nodes that start at once.
    pub(crate) fn new(services: Vec<ServiceSpec>) -> Self {
        Self::of(3, services)
    }

    /// So many nodes that start at once.
    pub(crate) fn of(nodes: u8, services: Vec<ServiceSpec>) -> Self {
        Self::with_documents(nodes, services, Vec::new())
    }

    /// The same with documents, of which all agree on the first.
    pub(crate) fn with_documents(
        nodes: u8,
        services: Vec<ServiceSpec>,
        documents: Vec<Vec<ServiceSpec>>,
    ) -> Self {
        let mut world = Self {
            now: Instant(1_000_000_000),
            nodes,
            services,
            documents,
            actors: BTreeMap::new(),
            incarnations: BTreeMap::new(),
            eras: BTreeMap::new(),
            wires: Vec::new(),
            cut: BTreeSet::new(),
            broken: BTreeSet::new(),
            tag: 0,
        };
        (1..=nodes).for_each(|n| world.start(n));
        world
    }

    /// Starts a new life of a node.
    pub(crate) fn start(&mut self, n: u8) {
        let node = id(n);
        let incarnation = self.incarnations.entry(node).or_insert(0);
        *incarnation += 1;
        let life = Life { node, incarnation: Incarnation(*incarnation) };
        let voters: NodeSet = (1..=self.nodes).map(id).collect();
        let agreement = agreement::Settings {
            me: life,
            charter: Charter::of_file(self.configuration(voters, 0)),
            interval: INTERVAL,
            misses: 3,
            longest: D,
            rate_ppm: 1_000,
            era_promised: self.eras.get(&node).copied().unwrap_or(0),
            level: 1,
            limits: agreement::Limits::default(),
        };
        let names = self.names();
        let settings = Settings { agreement, services: self.services.clone(), names };
        let actor = Actor {
            node: Node::new(settings, self.now),
            life,
            roster: None,
            lease_end: Instant::ZERO,
            closed: Stint::NONE,
            frozen: BTreeMap::new(),
            heard: BTreeMap::new(),
            suspects: BTreeSet::new(),
            up: BTreeMap::new(),
            open: BTreeMap::new(),
            owner: false,
            replies: BTreeMap::new(),
            outcomes: Vec::new(),
            jobs: Vec::new(),
            superseded: false,
            no_renewal: Instant::ZERO,
        };
        self.actors.insert(node, actor);
    }

    fn names(&self) -> Names {
        Names::new((1..=self.nodes).map(|n| (id(n), format!("n{n}"))))
    }

    fn configuration(&self, voters: NodeSet, document: u8) -> Configuration {
        let document = if self.documents.is_empty() { vec![] } else { vec![document] };
        Configuration { document: document.into(), ..Configuration::plain(voters, NodeSet::EMPTY) }
    }

    /// Agrees on another document.
    pub(crate) fn configure(&mut self, n: u8, document: u8) -> Result<CommandDone, CommandRefused> {
        let charter = self.node(n).configuration().charter;
        let version = charter.version + 1;
        let wanted = self.configuration(charter.configuration.voters, document);
        let (now, tag) = (self.now, self.next_tag());
        let node = &mut self.actor(id(n)).node;
        node.handle_configure(now, tag, Configuration { version, ..wanted });
        self.perform(id(n));
        self.reply(n, tag)
    }

    fn next_tag(&mut self) -> u64 {
        self.tag += 1;
        self.tag
    }

    fn reply(&mut self, n: u8, tag: u64) -> Result<CommandDone, CommandRefused> {
        self.until("a reply", Duration::from_millis(3_000), |w| {
            w.actors[&id(n)].replies.contains_key(&tag)
        });
        self.actor(id(n)).replies.remove(&tag).unwrap()
    }

    /// Power off: everything of the node is gone at once.
    pub(crate) fn kill(&mut self, n: u8) {
        self.actors.remove(&id(n));
    }

    pub(crate) fn node(&self, n: u8) -> &Node {
        &self.actors[&id(n)].node
    }

    /// Runs for a while.
    pub(crate) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.step();
        }
    }

    /// Runs until something holds; fails with `what` when it does not within `limit`. Returns how
    /// long it took.
    pub(crate) fn until(
        &mut self,
        what: &str,
        limit: Duration,
        holds: impl Fn(&Self) -> bool,
    ) -> Duration {
        let begin = self.now;
        while !holds(self) {
            assert!(self.now.since(begin) < limit, "{what} within {limit}\n{}", self.describe());
            self.step();
        }
        self.now.since(begin)
    }

    /// The node on which a service answers: up and under a lease.
    pub(crate) fn serving(&self, service: u16) -> Option<u8> {
        let serves = |a: &&Actor| a.up.contains_key(&ServiceId(service)) && a.lease_holds(self.now);
        self.actors.values().find(serves).map(|a| a.life.node.get())
    }
    /// True if the service answers on `n`, and every live node that is not cut off knows that it
    /// runs there.
    pub(crate) fn settled(&self, service: u16, n: u8) -> bool {
        let known = |a: &Actor| {
            let status = a.node.service(ServiceId(service)).unwrap();
            status.phase == Phase::Running && status.owner == Some(id(n))
        };
        let connected = |a: &&Actor| !self.cut.contains(&a.life.node);
        self.serving(service) == Some(n) && self.actors.values().filter(connected).all(known)
    }
    /// What the drivers of a node were told since the last question.
    pub(crate) fn jobs(&mut self, n: u8) -> Vec<String> {
        let actor = self.actors.get_mut(&id(n)).unwrap();
        std::mem::take(&mut actor.jobs).into_iter().map(|(_, job)| job).collect()
    }
    /// The board's words of a node: what it holds open, and whether it owns anything.
    pub(crate) fn board(&self, n: u8, service: u16) -> (u64, bool) {
        let actor = &self.actors[&id(n)];
        (actor.open.get(&ServiceId(service)).map_or(0, |g| g.0), actor.owner)
    }
    /// Orders something and waits for the answer.
    pub(crate) fn order(&mut self, n: u8, command: Command) -> Result<CommandDone, CommandRefused> {
        let (now, tag) = (self.now, self.next_tag());
        self.actor(id(n)).node.handle_command(now, tag, command);
        self.perform(id(n));
        self.reply(n, tag)
    }
    /// The daemon of a node is to end in good order.
    pub(crate) fn leave(&mut self, n: u8) {
        let now = self.now;
        self.actor(id(n)).node.handle_leave(now);
        self.perform(id(n));
    }

    /// The gate of a node, as its edge sees it.
    pub(crate) fn gate(&mut self, n: u8, lack: Option<&str>) {
        let now = self.now;
        let state = GateState { lack: lack.map(Into::into), ..GateState::default() };
        self.actor(id(n)).node.handle_gate(now, state);
        self.perform(id(n));
    }
    /// The fast path of a node saw something.
    pub(crate) fn event(&mut self, n: u8, kind: EventKind) {
        let at = self.now;
        self.actor(id(n)).node.handle_event(at, Event { at, kind });
        self.perform(id(n));
    }
    /// True once a node was told to end because of a newer life.
    pub(crate) fn superseded(&self, n: u8) -> bool {
        self.actors[&id(n)].superseded
    }

    /// No echo renews the lease of a node for a while, though all hear it.
    pub(crate) fn stall_lease(&mut self, n: u8, span: Duration) {
        self.actor(id(n)).no_renewal = self.now + span;
        self.run(span);
    }

    fn describe(&self) -> String {
        let mut text = format!("at {:?}\n", self.now);
        for actor in self.actors.values() {
            let status = actor.node.status(self.now);
            text += &format!("{:?} {:?} {:?}\n", actor.life, status.role, status.quorum);
            for service in status.services {
                text += &format!(
                    "  {} {:?} {:?} {:?} {}: {}\n",
                    service.name,
                    service.phase,
                    service.owner,
                    service.here,
                    service.generation,
                    service.reason
                );
            }
        }
        text
    }

    fn actor(&mut self, node: NodeId) -> &mut Actor {
        self.actors.get_mut(&node).unwrap()
    }

    fn step(&mut self) {
        self.now += STEP;
        if self.now.0.is_multiple_of(INTERVAL.0) {
            self.beat();
        }
        let nodes: Vec<_> = self.actors.keys().copied().collect();
        for node in nodes {
            self.fast_path(node);
            self.deliver(node);
            self.drivers(node);
            let now = self.now;
            let actor = self.actor(node);
            if actor.node.poll_deadline().is_some_and(|at| at <= now) {
                actor.node.handle_timeout(now);
            }
            self.perform(node);
        }
        self.check_one_owner();
    }

    fn connected(&self, a: NodeId, b: NodeId) -> bool {
        a == b || (!self.cut.contains(&a) && !self.cut.contains(&b))
    }

    /// Every connected pair hears each other; who is echoed by a majority renews its lease.
    fn beat(&mut self) {
        let now = self.now;
        let lives: Vec<Life> = self.actors.values().map(|a| a.life).collect();
        for to in &lives {
            for from in &lives {
                let member = self.actors[&from.node].stint_of(from.node);
                let connected = self.connected(to.node, from.node);
                let actor = self.actor(to.node);
                let frozen = actor.frozen.get(&from.node).is_some_and(|s| *s == member);
                if from != to && connected && !frozen {
                    let before = actor.heard.insert(from.node, (now, *from));
                    let new = before.is_none_or(|(_, life)| life != *from);
                    let trusted = actor.suspects.remove(&from.node) && !new;
                    let stint = actor.stint_of(from.node);
                    if new {
                        let kind = EventKind::Appeared { life: *from };
                        actor.node.handle_event(now, Event { at: now, kind });
                    } else if trusted {
                        let kind = EventKind::Trusted { life: *from, stint };
                        actor.node.handle_event(now, Event { at: now, kind });
                    }
                }
            }
            self.perform(to.node);
        }
        for life in lives {
            let stint = self.actors[&life.node].stint_of(life.node);
            let echoes = |a: &&Actor| {
                self.connected(life.node, a.life.node)
                    && a.votes()
                    && a.stint_of(life.node) == stint
                    && a.frozen.get(&life.node) != Some(&stint)
            };
            let roster = self.actors[&life.node].roster.as_ref();
            let given = roster.map_or(0, |roster| roster.void().len());
            let enough = self.actors.values().filter(echoes).count() + given >= 2;
            let renews = now >= self.actors[&life.node].no_renewal;
            if stint.is_member() && enough && renews {
                self.actor(life.node).lease_end = now + L;
            }
        }
    }

    fn fast_path(&mut self, node: NodeId) {
        let now = self.now;
        let actor = self.actor(node);
        let heard: Vec<_> = actor.heard.iter().map(|(n, h)| (*n, *h)).collect();
        for (peer, (at, life)) in heard {
            if now.since(at) >= D && actor.suspects.insert(peer) {
                let stint = actor.stint_of(peer);
                let kind = EventKind::Suspected { life, stint, heard: at, deadline: at + D };
                actor.node.handle_event(now, Event { at: now, kind });
            }
        }
        let end = actor.lease_end;
        actor.node.handle_lease(now, end);
        self.perform(node);
    }

    fn deliver(&mut self, node: NodeId) {
        let now = self.now;
        let due = |w: &(Instant, Life, NodeId, Message)| w.0 <= now && w.2 == node;
        let (mine, rest) = self.wires.drain(..).partition(due);
        self.wires = rest;
        let mine: Vec<_> = mine;
        for (_, from, _, message) in mine {
            self.actor(node).node.handle_message(now, from, message);
            self.perform(node);
        }
    }

    fn drivers(&mut self, node: NodeId) {
        let now = self.now;
        let actor = self.actor(node);
        let (due, rest) = actor.outcomes.drain(..).partition(|(at, _)| *at <= now);
        actor.outcomes = rest;
        let due: Vec<(Instant, Outcome)> = due;
        for (_, outcome) in due {
            let actor = self.actor(node);
            match outcome.result {
                Done::Started | Done::Restored => {
                    actor.up.insert(outcome.service, outcome.generation);
                }
                _ => {
                    actor.up.remove(&outcome.service);
                }
            }
            actor.node.handle_outcome(now, &outcome);
            self.perform(node);
        }
    }

    fn perform(&mut self, node: NodeId) {
        while let Some(action) = self.actor(node).node.poll_action() {
            self.effect(node, action);
        }
    }

    fn effect(&mut self, node: NodeId, action: Action) {
        let now = self.now;
        match action {
            Action::Send { to, message } => self.send(node, to, &message),
            Action::Freeze { node: peer, stint } => {
                let actor = self.actor(node);
                actor.frozen.insert(peer, stint);
                let heard = actor.heard.get(&peer).map_or(Instant::ZERO, |(at, _)| *at);
                actor.node.handle_frozen(now, peer, stint, Frozen { heard, end: heard + D });
            }
            Action::Unfreeze { node: peer } => {
                self.actor(node).frozen.remove(&peer);
            }
            Action::CloseLease { stint } => self.actor(node).closed = stint,
            Action::ReopenLease => self.actor(node).closed = Stint::NONE,
            Action::StoreConfiguration { charter } => {
                let edition = charter.edition();
                self.actor(node).node.handle_configuration_stored(now, edition);
            }
            Action::Configured(configuration) => {
                let place = usize::from(configuration.document[0]);
                let (services, names) = (self.documents[place].clone(), self.names());
                self.actor(node).node.handle_document(now, services, names);
            }
            Action::Dropped => {}
            Action::StoreEra { era } => {
                self.eras.insert(node, era);
                self.actor(node).node.handle_era_stored(now, era);
            }
            Action::Publish(roster) => self.actor(node).roster = Some(roster),
            Action::Run(job) => self.run_job(node, job),
            Action::Open { service, generation } => {
                self.actor(node).open.insert(service, generation);
            }
            Action::Owner(owner) => self.actor(node).owner = owner,
            Action::Reply { tag, result } => {
                self.actor(node).replies.insert(tag, result);
            }
            Action::Superseded { .. }
            | Action::Renumber { .. }
            | Action::Outdated { .. }
            | Action::SaidOff
            | Action::Unreadable { .. } => {
                self.actor(node).superseded = true;
                self.actor(node).jobs.push((now, "end".into()));
            }
            Action::ViewChanged(_) | Action::ServiceChanged(_) => {}
        }
    }

    fn send(&mut self, from: NodeId, to: Destination, message: &Message) {
        let life = self.actors[&from].life;
        let all = (1..=self.nodes).map(id);
        let to: Vec<_> = match to {
            Destination::All => all.filter(|n| *n != from).collect(),
            Destination::Node(n) => vec![n],
        };
        for to in to {
            if self.connected(from, to) {
                self.wires.push((self.now + DELAY, life, to, message.clone()));
            }
        }
    }

    fn run_job(&mut self, node: NodeId, job: Job) {
        let (began, ended) = (self.now, self.now + DRIVER);
        let (word, service, generation, result) = match job {
            Job::Start(right) if self.broken.contains(&(node, right.service())) => {
                let reason = "the drivers are broken on purpose".into();
                ("start", right.service(), right.generation(), Done::Failed { reason })
            }
            Job::Start(right) => ("start", right.service(), right.generation(), Done::Started),
            Job::Stop { service, generation } => ("stop", service, generation, Done::Stopped),
            Job::Withdraw { service, generation } => {
                ("withdraw", service, generation, Done::Withdrawn)
            }
            Job::Restore { service, generation } => {
                ("restore", service, generation, Done::Restored)
            }
        };
        let now = self.now;
        let actor = self.actor(node);
        actor.jobs.push((now, word.into()));
        // The address goes when the job begins, and comes when it ends.
        if matches!(result, Done::Stopped | Done::Withdrawn) {
            actor.up.remove(&service);
        }
        actor.outcomes.push((ended, Outcome { service, generation, result, began, ended }));
    }

    /// S3: never do two nodes answer under a lease.
    fn check_one_owner(&self) {
        for spec in &self.services {
            let serves = |a: &&Actor| a.up.contains_key(&spec.id) && a.lease_holds(self.now);
            let owners: Vec<_> = self.actors.values().filter(serves).map(|a| a.life).collect();
            assert!(owners.len() <= 1, "{} on {owners:?}\n{}", spec.name, self.describe());
        }
    }
}
