//! What the checkers look at: after every turn, at every question of the observer, and when
//! something is committed anywhere for the first time.

use crate::checkers::needless::Stated;
use crate::checkers::{Violation, evidence, gate, lease, log, owner, snapshots};
use crate::machine::Machine;
use crate::observer::Answer;
use crate::shape::Sabotage;
use crate::world::{What, World};
use agreement::Status;
use driver::Evidence;
use services::{Phase, ServiceSpec, ServiceState};
use wire::{Entry, EntryKind, Generation, Life, NodeId, NodeSet, Op, ServiceId, Term};

/// Whoever has a service and is not told to stop it is configured and no witness, by the log up to the same op.
fn may_own(
    seats: Option<&log::Seats>,
    spec: &ServiceSpec,
    state: &ServiceState,
) -> Result<(), Violation> {
    let wanted = seats.and_then(|seats| seats.wanted.as_ref());
    let keeps = matches!(state.phase, Phase::Starting | Phase::Running);
    let owner = state.owner.filter(|_| keeps).map(|owner| owner.life);
    match (wanted, owner) {
        (Some(wanted), Some(owner))
            if !wanted.nodes.contains(owner.node) || wanted.witnesses.contains(owner.node) =>
        {
            let text = format!("{owner:?} keeps {}, and is a witness or a stranger", spec.name);
            Violation::found("S8 who may own", text)
        }
        _ => Ok(()),
    }
}

impl World {
    /// After a turn of control: what is committed now, and whether it became primary.
    pub(crate) fn look_at_log(&mut self, life: Life) {
        let Some(machine) = self.machines.get_mut(&life.node) else { return };
        let Some(daemons) = machine.daemons.as_mut().filter(|d| d.life == life) else { return };
        let (Some(process), seen) = (&daemons.control, &mut daemons.seen) else { return };
        let (node, checkers) = (&process.actor.node, &mut self.checkers);
        let agreement = node.agreement();
        let (log, term) = (agreement.log(), agreement.term());
        let Some(era) = agreement.era() else {
            // A life without a vote that promised an era has forgotten its log, and may learn the same again (R-ERA).
            (seen.era, seen.commit, seen.snapshot) = (0, 0, 0);
            return;
        };
        if era != seen.era {
            (seen.era, seen.commit, seen.snapshot) = (era, 0, 0);
        }
        let mut found = snapshots::Snapshots::bounded(life, agreement, &self.shape.limits);
        if let Some(op) = process.actor.unreadable {
            found =
                Violation::found("total", format!("{life:?} cannot read the snapshot at {op:?}"));
        }
        if agreement.commit().0 < seen.commit {
            let (commit, before) = (agreement.commit(), seen.commit);
            let text = format!("the commit of {life:?} goes back to {commit:?} from {before}");
            found = Violation::found("I1 agreement", text);
        }
        let installed = agreement.installed().0 > seen.commit;
        if installed {
            seen.commit = agreement.installed().0;
            checkers.views.installed(life, era, agreement.installed());
            checkers.snapshots.installed();
        }
        if let Some(snapshot) = agreement.snapshot().filter(|s| s.op.0 != seen.snapshot) {
            seen.snapshot = snapshot.op.0;
            found = found.and_then(|()| checkers.snapshots.held(life, snapshot));
        }
        // What it commits as it takes office says nothing about how it came to stand.
        let stood = Op(seen.commit);
        let leads = agreement.status() == Status::Primary;
        let new_term = leads && seen.primary_in != Some((term.era, term.counter));
        let news = installed || new_term || seen.commit < agreement.commit().0;
        if found.is_ok() && !news {
            return;
        }
        let old = checkers.log.fenced(era, log.base());
        let fenced = |(at, entry): &(Op, &Entry)| {
            let counts = *at <= agreement.commit() || entry.term == term;
            counts && matches!(entry.kind, EntryKind::Fenced { .. })
        };
        let recent = log.after(Op::ZERO).filter(fenced);
        let fenced: Vec<_> = old.iter().map(|(op, entry)| (*op, entry)).chain(recent).collect();
        let by = log::Committer { life, era, term, fenced: fenced.clone() };
        let mut news = Vec::new();
        while seen.commit < agreement.commit().0 && found.is_ok() {
            seen.commit += 1;
            let op = Op(seen.commit);
            let Some(entry) = log.get(op) else { break };
            let promises = &checkers.promise;
            found = checkers.log.committed(&by, op, entry, promises).map(|first| {
                if first {
                    checkers.gate.entry(&entry.kind);
                    news.push((op, entry.kind.clone()));
                    if let Some(seats) = checkers.log.seats(era)
                        && let Some(wanted) = &seats.wanted
                    {
                        let stated = Stated::new(seats.electorate, wanted);
                        checkers.needless.states(self.now, stated);
                    }
                }
            });
            if seen.commit == agreement.commit().0 && found.is_ok() {
                let states: Vec<_> = node.planner().services().map(|(_, state)| state).collect();
                let bytes = [agreement.head(), node.encode_state()].concat();
                found = checkers.views.planned(life, era, op, &bytes, &states);
                for (spec, state) in node.planner().services() {
                    let next = gate::Next {
                        service: spec.id,
                        generation: state.generation,
                        owner: state.holder().map(|owner| owner.life),
                        by_lease: matches!(state.evidence, Some(Evidence::LeaseEnded(_))),
                        by: life,
                    };
                    found = found.and_then(|()| match checkers.gate.committed(next)? {
                        true => checkers.needless.moved(self.now, spec.id, &state.reason),
                        false => Ok(()),
                    });
                    let seats = checkers.log.seats_at(era, op);
                    found = found.and_then(|()| may_own(seats, spec, state));
                }
            }
        }
        if installed && agreement.commit() == agreement.installed() && found.is_ok() {
            let states: Vec<_> = node.planner().services().map(|(_, state)| state).collect();
            let bytes = [agreement.head(), node.encode_state()].concat();
            found = checkers.views.planned(life, era, agreement.commit(), &bytes, &states);
        }
        if new_term && found.is_ok() {
            seen.primary_in = Some((term.era, term.counter));
            let promised = checkers.promise.promised_to(term);
            let base = (log.base(), log.term_at(log.base()).unwrap_or(Term::NONE));
            found = checkers.log.became_primary(life, term, base, |op| log.get(op));
            let electorate = match log.get(Op(1)).map(|entry| &entry.kind) {
                Some(EntryKind::Cold { electorate, .. }) => *electorate,
                _ => agreement.roster().voters,
            };
            // What it has committed in its own term says nothing about how it came to lead.
            let (mut commit, base) = (agreement.commit(), log.base());
            while commit > base && log.term_at(commit) == Some(term) {
                commit = Op(commit.0 - 1);
            }
            let by = log::Elected { life, term, stood, commit, electorate, fenced };
            found = found.and_then(|()| checkers.log.elected(&by, &promised));
            news.push((Op::ZERO, EntryKind::Noop));
        }
        self.keep(found);
        for (op, kind) in news {
            match kind {
                EntryKind::Noop if op == Op::ZERO => {
                    self.tell(|| format!("{life:?} is primary of {term:?}"));
                }
                kind => {
                    self.tell(|| format!("{life:?} commits first: {op:?} {kind:?}"));
                    if let EntryKind::Remove { node, incarnation, stint, cause } = kind {
                        let of = Life { node, incarnation };
                        let found = self.checkers.needless.removed(self.now, of, stint, cause);
                        self.keep(found);
                    }
                    if let EntryKind::Fenced { node, incarnation, .. } = kind {
                        let of = Life { node, incarnation };
                        let shared = self.machines.get(&node).and_then(|m| m.shared.as_ref());
                        let over = shared.is_none_or(|shared| shared.life != of);
                        let found = self.checkers.evidence.committed(life, of, over);
                        self.keep(found);
                    }
                    self.look_at_stores(life, era, op);
                    if !matches!(kind, EntryKind::Request { .. } | EntryKind::Noop) {
                        self.look_at_all();
                    }
                }
            }
        }
    }

    /// R-CONF-DURABLE: what is committed was stored by a majority of the electorate in force before it, given votes
    /// counted.
    fn look_at_stores(&mut self, by: Life, era: u32, op: Op) {
        let log = &self.checkers.log;
        let Some(entry) = log.entry(era, op) else { return };
        let version = match &entry.kind {
            EntryKind::Configure { configuration } => configuration.version,
            EntryKind::Vote { version, .. } => *version,
            _ => return,
        };
        let Some(seats) = log.seats_at(era, Op(op.0 - 1)) else { return };
        if matches!(entry.kind, EntryKind::Vote { .. }) && seats.electorate.len() == 2 {
            // Of a pair it is stored after that.
            return;
        }
        let made = (version, entry.term);
        let has = |node: &NodeId| {
            let machine = self.machines.get(node);
            let charter = machine.and_then(|machine| machine.charter.as_ref());
            charter.is_some_and(|c| (c.version, c.term) >= made) || seats.given.contains(*node)
        };
        let stored: NodeSet = seats.electorate.iter().filter(has).collect();
        // What evidence above gives is in no seat yet.
        let log = self.machines.get(&by.node).and_then(Machine::control);
        let agreement = log.map(|control| control.node.agreement()).into_iter();
        let above = agreement.flat_map(|a| {
            a.log().after(op).filter(|(at, e)| *at <= a.commit() || e.term == a.term())
        });
        let above = above.filter(|(_, e)| matches!(e.kind, EntryKind::Fenced { .. }));
        let given = evidence::given(seats, op, above);
        if stored.union(given).len() < seats.majority() {
            let electorate = seats.electorate;
            let text = format!("{by:?} commits {made:?}: of {electorate:?} {stored:?} hold it");
            self.keep::<()>(Violation::found("R-CONF-DURABLE", text));
        }
    }

    fn look_at_all(&mut self) {
        let nodes: Vec<_> = self.machines.keys().copied().collect();
        for node in nodes {
            self.look(node);
        }
    }

    /// After a turn: the lease of this node, and what is open anywhere.
    pub(crate) fn look(&mut self, node: NodeId) {
        let at = self.now;
        let Some(machine) = self.machines.get_mut(&node) else { return };
        let era = machine.daemons.as_ref().map_or(0, |d| d.seen.era);
        if let Some(shared) = machine.shared.as_mut() {
            let stint = shared.board.stint();
            if stint.0 != shared.stint {
                (shared.stint, shared.era) = (stint.0, era);
            }
        }
        if let Some((shared, _)) = machine.lease(at) {
            let (life, era, stint) = (shared.life, shared.era, shared.board.stint());
            let found = lease::check(lease::Held { life, era, stint }, &self.checkers.log);
            self.keep(found);
        }
        self.look_at_owners();
        self.look_at_gates();
    }

    /// Which services are held open under a lease, by the words of the boards.
    fn look_at_owners(&mut self) {
        let mut open = Vec::new();
        for machine in self.machines.values() {
            let Some((shared, _)) = machine.lease(self.now) else { continue };
            for service in 0..self.shape.services.len() {
                let generation = Generation(shared.board.open(service));
                if generation.0 != 0 {
                    let (service, life) = (ServiceId(service as u16), shared.life);
                    open.push(owner::Open { service, life, generation });
                }
            }
        }
        let found = self.checkers.owner.check(&open);
        self.keep(found);
    }

    /// Which gates would let a packet pass. A gate per node is one only for an address that is
    /// there: the others are nobody's.
    pub(crate) fn look_at_gates(&mut self) {
        let per_node = self.shape.sabotage == Some(Sabotage::GatePerNode);
        let mut passing = Vec::new();
        for machine in self.machines.values() {
            let Some(shared) = &machine.shared else { continue };
            let now = machine.clock.local(self.now);
            for index in 0..self.shape.services.len() {
                let pass = if per_node {
                    machine.answers(self.now, index, true).map(|(_, generation)| generation)
                } else {
                    shared.gate.passes(now, index)
                };
                let (service, life) = (ServiceId(index as u16), shared.life);
                passing.extend(pass.map(|generation| gate::Passing { service, life, generation }));
            }
        }
        let found = self.checkers.gate.check(&passing, &self.checkers.log);
        self.keep(found);
    }

    /// The observer asks each address on every node, all at one instant.
    pub(crate) fn ask(&mut self) {
        let per_node = self.shape.sabotage == Some(Sabotage::GatePerNode);
        for index in 0..self.shape.services.len() {
            let service = ServiceId(index as u16);
            if !self.shape.is_address(service) {
                continue;
            }
            let at = self.now;
            let machines = self.machines.values();
            let answer = machines.filter_map(|m| m.answers(at, index, per_node)).next();
            let answer = answer.map(|(life, generation)| Answer { life, generation, at });
            self.observer.asks(service, answer);
        }
        self.look_at_gates();
        self.queue.push(self.now.after(self.shape.observe), What::Ask);
    }

    /// On which machines something of a fenced service is.
    pub(crate) fn look_at_fenced(&mut self, service: ServiceId) {
        let index = usize::from(service.0);
        let fenced = self.shape.services.get(index).is_some_and(|s| s.unbound().is_some());
        if !fenced {
            return;
        }
        let presence = |m: &Machine| Some((m.node, m.drivers.get(index)?.presence()?));
        let present: Vec<_> = self.machines.values().filter_map(presence).collect();
        let found = owner::check_fenced(service, &present);
        self.keep(found);
    }
}
