//! What happened when, for each removal. Every node keeps its own, owner or not: only so the
//! slowest survivor's agreement can be measured.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use base::Instant;
use driver::Evidence;
use heartbeat::board::Frozen;
use membership::{Member, Membership, Removal};
use services::{Phase, ServiceSpec, ServiceState};
use wire::entry::RemovalCause;
use wire::{Generation, Life, NodeId, Op, ServiceId, Stint};

/// Timelines that are kept.
pub const KEPT_MAX: usize = 64;

/// One node's end as this node saw it; a stamp is absent if this node did not see that step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failover {
    /// The removal's place in the log, once it is agreed.
    pub op: Option<Op>,
    /// The life that ended, or only its membership.
    pub life: Life,
    /// The stint that ended.
    pub stint: Stint,
    /// Why it was removed, once that is agreed.
    pub cause: Option<RemovalCause>,
    /// The last beat that this node heard of it.
    pub last_heard: Option<Instant>,
    /// When the silence became too long.
    pub deadline: Option<Instant>,
    /// When this node's fast path said so.
    pub suspected: Option<Instant>,
    /// When its obituary came.
    pub obituary: Option<Instant>,
    /// From when on this node could acknowledge the removal: the lease had ended (R-ACK).
    pub sealed: Option<Instant>,
    /// When the removal was committed, as this node learned it.
    pub agreed: Option<Instant>,
    /// The services that it owned.
    pub services: Vec<FailoverService>,
}

/// One service of the node that ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FailoverService {
    /// The service.
    pub service: ServiceId,
    /// The generation that starts in place of the lost one; the lost one while none does.
    pub generation: Generation,
    /// The new owner.
    pub to: Option<NodeId>,
    /// What its right to start rests on (S3).
    pub evidence: Option<Evidence>,
    /// When it told its drivers; known on the new owner only, like the two that follow.
    pub run: Option<Instant>,
    /// When the drivers began.
    pub began: Option<Instant>,
    /// When they were done.
    pub ended: Option<Instant>,
    /// When it was agreed that the service runs.
    pub started: Option<Instant>,
    /// When the first question to the service passed the new owner's gate.
    pub asked: Option<Instant>,
    /// When its first answer did: the end of the takeover for whoever asked.
    pub answered: Option<Instant>,
}

/// The timelines of one node.
#[derive(Clone, Debug, Default)]
pub struct Timelines {
    open: BTreeMap<NodeId, Failover>,
    agreed: VecDeque<Failover>,
}

impl Timelines {
    /// The fast path calls a life silent, which was `heard` last and then had until `deadline`.
    pub fn suspected(
        &mut self,
        now: Instant,
        life: Life,
        stint: Stint,
        (heard, deadline): (Instant, Instant),
    ) {
        let record = self.record(life, stint);
        record.suspected.get_or_insert(now);
        record.last_heard = Some(heard);
        record.deadline = Some(deadline);
    }
    /// It beats again; forgotten unless its removal is under way.
    pub fn trusted(&mut self, life: Life) {
        let sealing = self.open.get(&life.node).is_some_and(|r| r.sealed.is_some());
        if !sealing {
            self.open.remove(&life.node);
        }
    }
    /// Its obituary came.
    pub fn obituary(&mut self, now: Instant, life: Life, stint: Stint) {
        let record = self.record(life, stint);
        record.obituary.get_or_insert(now);
        // Who holds the obituary need not wait for the deadline.
        record.sealed = record.sealed.map(|sealed| sealed.min(now));
    }
    /// Its echoes are frozen; `frozen` is final from `now` on.
    pub fn frozen(&mut self, now: Instant, life: Life, stint: Stint, frozen: Frozen) {
        let Frozen { heard, end: deadline } = frozen;
        let record = self.record(life, stint);
        record.last_heard = Some(heard);
        record.deadline = Some(deadline);
        let over = record.obituary.is_some();
        let sealed = if over { now } else { now.max(deadline) };
        record.sealed.get_or_insert(sealed);
    }
    /// Its removal was truncated.
    pub fn unfrozen(&mut self, node: NodeId) {
        self.open.remove(&node);
    }
    /// Its removal is committed; `owned` are the services it had.
    pub fn removed(
        &mut self,
        now: Instant,
        removal: &Removal,
        owned: impl Iterator<Item = (ServiceId, Generation)>,
    ) {
        let Member { life, stint } = removal.member;
        let mut record = self.take(life, stint);
        record.op = Some(removal.op);
        record.cause = Some(removal.cause);
        record.agreed = Some(now);
        // Agreed before this node could acknowledge: the others sufficed.
        record.sealed = record.sealed.filter(|sealed| *sealed <= now);
        let service = |(service, generation)| FailoverService {
            service,
            generation,
            to: None,
            evidence: None,
            run: None,
            began: None,
            ended: None,
            started: None,
            asked: None,
            answered: None,
        };
        record.services = owned.map(service).collect();
        if self.agreed.len() >= KEPT_MAX {
            self.agreed.pop_front();
        }
        self.agreed.push_back(record);
    }
    /// A snapshot was installed: what was under way about lives that are no members any more was agreed meanwhile, as far
    /// as it still says so, or is over.
    pub fn installed(&mut self, now: Instant, membership: &Membership) {
        let gone = |r: &&Failover| !membership.view().has(Member { life: r.life, stint: r.stint });
        let gone: Vec<Member> = self
            .open
            .values()
            .filter(gone)
            .map(|r| Member { life: r.life, stint: r.stint })
            .collect();
        for member in gone {
            let removal = membership.removal(member.life.node).filter(|r| r.member == member);
            match removal {
                Some(removal) => self.removed(now, &removal, core::iter::empty()),
                None => self.unfrozen(member.life.node),
            }
        }
    }
    /// A service's state changed: its next generation belongs to the latest timeline that waits
    /// for it.
    pub fn planned(&mut self, now: Instant, spec: &ServiceSpec, state: &ServiceState) {
        let current = state.generation;
        let fits = |s: &&mut FailoverService| {
            s.service == spec.id
                && (s.generation == current || (s.to.is_none() && s.generation < current))
        };
        let mut all = self.agreed.iter_mut().rev().flat_map(|r| r.services.iter_mut());
        let Some(service) = all.find(fits) else { return };
        match state.phase {
            Phase::Starting if service.to.is_none() && service.generation < current => {
                service.generation = current;
                service.to = state.owner.map(|o| o.life.node);
                service.evidence = state.evidence;
            }
            Phase::Running if service.to.is_some() => {
                service.started.get_or_insert(now);
            }
            _ => {}
        }
    }
    /// This node told its drivers to start a generation.
    pub fn run(&mut self, now: Instant, service: ServiceId, generation: Generation) {
        if let Some(record) = self.service(service, generation) {
            record.run = Some(now);
        }
    }
    /// Its drivers have started it.
    pub fn driven(
        &mut self,
        service: ServiceId,
        generation: Generation,
        began: Instant,
        ended: Instant,
    ) {
        if let Some(record) = self.service(service, generation) {
            record.began = Some(began);
            record.ended = Some(ended);
        }
    }
    /// The gate's stamps of the first packets of a generation.
    pub fn answered(
        &mut self,
        service: ServiceId,
        generation: Generation,
        asked: Option<Instant>,
        answered: Instant,
    ) {
        if let Some(record) = self.service(service, generation) {
            record.asked = asked;
            record.answered = Some(answered);
        }
    }
    /// Newest first: what is under way, then what is agreed.
    pub fn newest_first(&self) -> impl Iterator<Item = &Failover> {
        self.open.values().chain(self.agreed.iter().rev())
    }

    fn service(&mut self, id: ServiceId, generation: Generation) -> Option<&mut FailoverService> {
        let mut all = self.agreed.iter_mut().rev().flat_map(|r| r.services.iter_mut());
        all.find(|s| s.service == id && s.generation == generation && s.to.is_some())
    }
    fn record(&mut self, life: Life, stint: Stint) -> &mut Failover {
        let fresh = Self::fresh(life, stint);
        let record = self.open.entry(life.node).or_insert_with(|| fresh.clone());
        if (record.life, record.stint) != (life, stint) {
            *record = fresh;
        }
        record
    }
    fn take(&mut self, life: Life, stint: Stint) -> Failover {
        let open = self.open.remove(&life.node);
        open.filter(|r| (r.life, r.stint) == (life, stint))
            .unwrap_or_else(|| Self::fresh(life, stint))
    }
    const fn fresh(life: Life, stint: Stint) -> Failover {
        Failover {
            op: None,
            life,
            stint,
            cause: None,
            last_heard: None,
            deadline: None,
            suspected: None,
            obituary: None,
            sealed: None,
            agreed: None,
            services: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{KEPT_MAX, Timelines};
    use base::Instant;
    use heartbeat::board::Frozen;
    use membership::{Member, Removal};
    use wire::entry::RemovalCause;
    use wire::{Generation, Incarnation, Life, NodeId, Op, ServiceId, Stint};

    /// Heard then, with a deadline of 30 ms.
    fn frozen(at: u64) -> Frozen {
        Frozen { heard: ms(at), end: ms(at + 30) }
    }

    fn life() -> Life {
        Life { node: NodeId::new(1).unwrap(), incarnation: Incarnation(1) }
    }

    fn removal(op: u64) -> Removal {
        let member = Member { life: life(), stint: Stint(4) };
        Removal { member, op: Op(op), cause: RemovalCause::Silent }
    }

    fn ms(n: u64) -> Instant {
        Instant(n * 1_000_000)
    }

    #[test]
    fn the_seal_is_the_later_of_freeze_and_deadline_and_never_after_the_agreement() {
        let mut t = Timelines::default();
        t.suspected(ms(130), life(), Stint(4), (ms(100), ms(130)));
        t.frozen(ms(131), life(), Stint(4), frozen(101));
        t.removed(ms(132), &removal(9), [(ServiceId(0), Generation(1))].into_iter());
        let record = t.newest_first().next().unwrap();
        assert_eq!(record.sealed, Some(ms(131)));
        assert_eq!(record.deadline, Some(ms(131)));
        assert_eq!((record.op, record.agreed), (Some(Op(9)), Some(ms(132))));
        assert_eq!(record.services[0].to, None);

        t.frozen(ms(205), life(), Stint(4), frozen(200));
        t.removed(ms(220), &removal(11), core::iter::empty());
        let record = t.newest_first().next().unwrap();
        assert_eq!(record.sealed, None, "it was agreed without this node");
    }

    #[test]
    fn an_obituary_ends_the_wait() {
        let mut t = Timelines::default();
        t.frozen(ms(100), life(), Stint(4), frozen(99));
        t.obituary(ms(102), life(), Stint(4));
        assert_eq!(t.newest_first().next().unwrap().sealed, Some(ms(102)));
    }

    #[test]
    fn a_false_suspicion_leaves_no_timeline_unless_the_removal_is_under_way() {
        let mut t = Timelines::default();
        t.suspected(ms(130), life(), Stint(4), (ms(100), ms(130)));
        t.trusted(life());
        assert_eq!(t.newest_first().count(), 0);
        t.frozen(ms(131), life(), Stint(4), frozen(101));
        t.trusted(life());
        assert_eq!(t.newest_first().count(), 1);
        t.unfrozen(life().node);
        assert_eq!(t.newest_first().count(), 0);
    }

    #[test]
    fn only_the_last_ones_are_kept() {
        let mut t = Timelines::default();
        for op in 0..100 {
            t.removed(ms(op), &removal(op), core::iter::empty());
        }
        assert_eq!(t.newest_first().count(), KEPT_MAX);
        assert_eq!(t.newest_first().next().unwrap().op, Some(Op(99)));
    }
}
