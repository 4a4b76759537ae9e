//! Steps into a world.

use super::parse::{Reform, Scenario, Seen, Step, Who};
use crate::checkers::progress;
use crate::faults::Which;
use crate::machine::Machine;
use crate::network::Wall;
use crate::reform::{Change, primary};
use crate::world::World;
use agreement::Status;
use base::Duration;
use node::Command;
use std::collections::BTreeMap;
use wire::{EntryKind, NodeId, NodeSet, Op, ServiceId, Stream};

/// How closely an expectation is timed.
const STEP: Duration = Duration::from_micros(250);
/// Deadlines within which `settle` has to succeed.
const SETTLE: u64 = 40;

/// Plays a schedule; the error names the line and says what was seen instead.
pub fn play(scenario: &Scenario, told: Option<fn(&str)>) -> Result<(), String> {
    let mut world = World::new(scenario.shape.clone(), scenario.seed);
    world.told = told;
    let mut player = Player { world, names: BTreeMap::new(), removals: 0, kept: (0, Op::ZERO) };
    for (line, step) in &scenario.steps {
        player.world.tell(|| format!("line {line}: {step:?}"));
        player.step(step).map_err(|what| format!("line {line}: {what}"))?;
    }
    Ok(())
}

struct Player {
    world: World,
    names: BTreeMap<String, NodeId>,
    removals: u64,
    /// Era and last op that were committed at the last mark.
    kept: (u32, Op),
}

impl Player {
    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Start(who) => {
                for node in self.all(who)?.iter() {
                    self.world.start(node);
                }
            }
            Step::Settle => self.settle()?,
            Step::Mark => self.mark(),
            Step::Let(name, who) => {
                let node = self.one(who)?;
                self.names.insert(name.clone(), node);
            }
            Step::Cut(who) => {
                for node in self.all(who)?.iter() {
                    self.world.cut(node);
                }
            }
            Step::Kill(who, which) => {
                let node = self.one(who)?;
                match which {
                    Which::Both => self.world.kill(node),
                    Which::Fast => self.world.kill_fast(node),
                    Which::Control => self.world.kill_control(node),
                }
            }
            Step::Leave(who) => {
                let node = self.one(who)?;
                self.world.leave(node);
            }
            Step::Pause(which, who, span) => {
                let node = self.one(who)?;
                self.world.pause(node, *which, *span);
            }
            Step::Partition(a, b) => {
                self.wall(a, b, None)?;
                self.wall(b, a, None)?;
            }
            Step::OneWay(a, b, only) => self.wall(a, b, *only)?,
            Step::Hold(a, b, only, span) => {
                let (from, to) = (self.all(a)?, self.all(b)?);
                let wall = Wall::whole(self.world.network.every_link(), from, to);
                let held = Duration::from_micros(1);
                let wall = Wall { only: *only, held, held_least: *span, ..wall };
                self.world.network.build(wall);
            }
            Step::LinkDown(link, who) => self.link_down(*link, who.as_ref())?,
            Step::Heal => self.world.network.tear_all(),
            Step::Move(service, who) => {
                let (service, to) = (self.service(service)?, self.one(who)?);
                self.world.command(to, Command::Move { service, to });
            }
            Step::ConfirmOff(who, at) => {
                let (node, at) = (self.one(who)?, self.one(at)?);
                if self.world.machines.get(&node).is_some_and(Machine::is_up) {
                    self.world.checkers.evidence.assert(node);
                    self.world.checkers.needless.says_off(node);
                }
                self.world.command(at, Command::ConfirmOff { node });
            }
            Step::Clear(service, at) => {
                let (service, at) = (self.service(service)?, self.one(at)?);
                self.world.command(at, Command::ClearFailures { service });
            }
            Step::Settings(who, timing) | Step::Retime(who, timing) => {
                let node = self.one(who)?;
                if !self.world.shape.timings().any(|known| known == *timing) {
                    return Err("the configuration does not name this timing".into());
                }
                match step {
                    Step::Retime(..) => {
                        self.world.change(node, Change::Retime(*timing));
                    }
                    _ => self.world.set_timing(node, *timing),
                }
            }
            Step::Reform(reform, at) => {
                let change = match reform {
                    Reform::Add(who, votes) => Change::Add { node: self.one(who)?, votes: *votes },
                    Reform::Drop(who) => Change::Drop(self.one(who)?),
                    Reform::Witness(who) => Change::Witness(self.one(who)?),
                    Reform::Voters(who) => Change::Voters(self.all(who)?),
                };
                let at = self.one(at)?;
                self.world.change(at, change);
            }
            Step::Override(who, at) => {
                let (absent, at) = (self.all(who)?, self.one(at)?);
                self.world.override_start(at, absent);
            }
            Step::Run(span) => self.world.run(*span).map_err(|v| v.to_string())?,
            Step::Expect(seen, within) => self.expect(seen, *within)?,
        }
        Ok(())
    }

    fn mark(&mut self) {
        let log = &self.world.checkers.log;
        self.removals = log.removals();
        self.kept = (log.era(), Op(log.length(log.era())));
    }

    fn settle(&mut self) -> Result<(), String> {
        let span = self.world.shape.deadline() * SETTLE;
        let done = self.world.run_while(span, STEP, |w| {
            let wanted = |m: &Machine| !m.wanted || m.is_up();
            w.machines.values().all(wanted) && progress::missing(w, false).is_none()
        });
        self.mark();
        match done.map_err(|v| v.to_string())? {
            Some(_) => Ok(()),
            None => {
                Err(progress::missing(&self.world, false)
                    .unwrap_or_else(|| "not all are up".into()))
            }
        }
    }

    fn expect(&mut self, seen: &Seen, within: Duration) -> Result<(), String> {
        let seen = self.resolve(seen)?;
        let removals = self.removals;
        let done = self.world.run_while(within, STEP, |w| seen.holds(w, removals));
        match done.map_err(|v| v.to_string())? {
            Some(took) => {
                self.world.tell(|| format!("seen after {took}: {seen:?}"));
                Ok(())
            }
            None => Err(format!(
                "not seen within {within}: {seen:?}; {}",
                progress::picture(&self.world)
            )),
        }
    }

    fn resolve(&self, seen: &Seen) -> Result<Fact, String> {
        Ok(match seen {
            Seen::Owner(service, who) => Fact::Owner(self.service(service)?, self.one(who)?),
            Seen::NoOwner(service) => Fact::NoOwner(self.service(service)?),
            Seen::Member(who) => Fact::Member(self.one(who)?),
            Seen::Removed(who) => Fact::Removed(self.one(who)?),
            Seen::NoRemoval => Fact::Removals(0),
            Seen::Removals(n) => Fact::Removals(*n),
            Seen::NoLease => Fact::NoLease,
            Seen::Primary(who) => Fact::Primary(self.one(who)?),
            Seen::NoQuorum => Fact::NoQuorum,
            Seen::Learned(who) => Fact::Learned(self.one(who)?),
            Seen::Kept => Fact::Kept(self.kept.0, self.kept.1),
            Seen::Votes(who) => Fact::Votes(self.all(who)?),
            Seen::Open(who) => Fact::Open(self.one(who)?),
            Seen::Down(who) => Fact::Down(self.one(who)?),
            Seen::Installed(who) => Fact::Installed(self.one(who)?),
            Seen::Answer(service, who) => {
                Fact::Answer(self.service(service)?, Some(self.one(who)?))
            }
            Seen::Silence(service) => Fact::Answer(self.service(service)?, None),
        })
    }

    fn service(&self, name: &str) -> Result<ServiceId, String> {
        self.world.shape.service(name).ok_or_else(|| format!("{name} is no service"))
    }

    fn one(&self, who: &Who) -> Result<NodeId, String> {
        let found = match who {
            Who::Node(node) => Some(*node),
            Who::Named(name) => self.names.get(name).copied(),
            Who::Owner(service) => progress::serving(&self.world, self.service(service)?),
            Who::Primary => primary(&self.world),
            Who::Other(not) => {
                let not = self.all(not)?;
                let up = self.world.machines.values().filter(|m| m.is_up()).map(|m| m.node);
                up.into_iter().find(|n| !not.contains(*n))
            }
        };
        found.ok_or_else(|| format!("nobody is {who:?}; {}", progress::picture(&self.world)))
    }

    fn all(&self, who: &[Who]) -> Result<NodeSet, String> {
        who.iter().map(|w| self.one(w)).collect()
    }

    fn wall(&mut self, from: &[Who], to: &[Who], only: Option<Stream>) -> Result<(), String> {
        let (from, to) = (self.all(from)?, self.all(to)?);
        let links = self.world.network.every_link();
        self.world.network.build(Wall { only, ..Wall::whole(links, from, to) });
        Ok(())
    }

    fn link_down(&mut self, link: u8, who: Option<&Who>) -> Result<(), String> {
        let all = self.world.shape.nodes;
        let of = match who {
            Some(who) => [self.one(who)?].into_iter().collect(),
            None => all,
        };
        for (from, to) in [(of, all), (all, of)] {
            let links = 1 << link;
            self.world.network.build(Wall::whole(links, from, to));
        }
        Ok(())
    }
}

/// An expectation whose nodes are known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fact {
    Owner(ServiceId, NodeId),
    NoOwner(ServiceId),
    Member(NodeId),
    Removed(NodeId),
    Removals(u64),
    NoLease,
    Primary(NodeId),
    NoQuorum,
    Learned(NodeId),
    Kept(u32, Op),
    Votes(NodeSet),
    Open(NodeId),
    Down(NodeId),
    Installed(NodeId),
    Answer(ServiceId, Option<NodeId>),
}

impl Fact {
    fn holds(self, world: &World, removals: u64) -> bool {
        let log = &world.checkers.log;
        let member = |node| {
            let seats = log.seats(log.era());
            seats.and_then(|s| s.members().map(|(life, _)| life).find(|life| life.node == node))
        };
        let mut machines = world.machines.values();
        match self {
            Self::Owner(service, node) => progress::serving(world, service) == Some(node),
            Self::NoOwner(service) => progress::serving(world, service).is_none(),
            Self::Member(node) => {
                let life = world.machines.get(&node).and_then(Machine::life);
                life.is_some() && member(node) == life
            }
            Self::Removed(node) => member(node).is_none(),
            Self::Removals(n) => log.removals() == removals + n,
            Self::NoLease => machines.all(|m| m.lease(world.now).is_none()),
            Self::Primary(node) => primary(world) == Some(node),
            Self::Learned(node) => has_learned(world, node),
            Self::Kept(era, op) => world.machines.values().any(|m| has_kept(m, era, op)),
            Self::Votes(voters) => progress::electorate(world) == voters,
            Self::Open(node) => holds_open_change(world, node),
            Self::Down(node) => !world.machines.get(&node).is_some_and(Machine::is_up),
            Self::Installed(node) => {
                let control = world.machines.get(&node).and_then(Machine::control);
                control.is_some_and(|c| c.node.agreement().installed() > Op::ZERO)
            }
            Self::Answer(service, node) => progress::answering(world, service) == node,
            Self::NoQuorum => {
                let has = |m: &Machine| m.control().is_some_and(|c| c.node.quorum().held);
                machines.all(|m| !has(m))
            }
        }
    }
}

/// True if this machine leads and has committed `op` of that era: which entry stands there is I1's.
fn has_kept(machine: &Machine, era: u32, op: Op) -> bool {
    machine.control().is_some_and(|control| {
        let agreement = control.node.agreement();
        let leads = agreement.status() == Status::Primary && agreement.term().era == era;
        leads && agreement.commit() >= op
    })
}

/// True if the node's log has a change above its own commit.
fn holds_open_change(world: &World, node: NodeId) -> bool {
    let control = world.machines.get(&node).and_then(Machine::control);
    control.is_some_and(|control| {
        let agreement = control.node.agreement();
        let change =
            |kind: &EntryKind| matches!(kind, EntryKind::Configure { .. } | EntryKind::Vote { .. });
        agreement.log().after(agreement.commit()).any(|(_, entry)| change(&entry.kind))
    })
}

/// True if the node knows all that is committed and has no vote by it.
fn has_learned(world: &World, node: NodeId) -> bool {
    let log = &world.checkers.log;
    let control = world.machines.get(&node).and_then(Machine::control);
    control.is_some_and(|control| {
        let agreement = control.node.agreement();
        agreement.status() == Status::Learner && agreement.commit().0 == log.length(log.era())
    })
}
