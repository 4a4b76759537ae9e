//! What runs on this node. The log says what should; after every input each service is driven one
//! step towards that, so that no order of inputs leaves anything behind: a lapse, a removal, an
//! era's end or a move are all the same question, "is this generation still this node's, and may
//! the node act now?"

use crate::lease::Lease;
use alloc::vec::Vec;
use base::{Duration, Instant};
use driver::{Done, Job, Outcome, Refused, Right};
use membership::Member;
use services::{Phase, Report, ServiceSpec, ServiceState};
use wire::{Generation, ServiceId};

/// A lapse that lasts so many deadlines stops what was only withdrawn: without quorum nothing runs
/// (S8).
pub const LAPSE_DEADLINES_MAX: u64 = 20;

base::machine! {
    /// What one service is on this node.
    pub Local {
        /// Nothing of it is here.
        Absent,
        /// The drivers bring it up.
        Starting,
        /// It is up.
        Up,
        /// Its lease-bound parts are down, or on their way, until the lease comes back.
        Withdrawn,
        /// The drivers take it down for good.
        Stopping,
        /// They could not.
        Stuck,
    }
    /// What happens to it.
    LocalEvent {
        /// The log gives it to this node.
        Begin: Absent => Starting;
        /// The drivers have brought it up.
        Started: Starting => Up;
        /// The lease lapsed.
        Lapse: Starting | Up => Withdrawn;
        /// The lease is back.
        Regain: Withdrawn => Up;
        /// It is not this node's any more.
        End: Starting | Up | Withdrawn => Stopping;
        /// Nothing of it is left.
        Gone: Starting | Up | Withdrawn | Stopping | Stuck => Absent;
        /// It could not be taken down.
        Jam: Starting | Up | Withdrawn | Stopping => Stuck;
    }
}

/// What a step makes the node do, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// The board's word.
    Open(ServiceId, Generation),
    /// To the drivers.
    Run(Job),
    /// Into the log.
    Report(ServiceId, Generation, Report),
}

/// One service on this node.
#[derive(Clone, Debug)]
struct Instance {
    id: ServiceId,
    /// The generation that is here, or the last one that was.
    generation: Generation,
    local: Local,
    open: Generation,
    /// Its start has been reported.
    reported: bool,
    /// The generation that was refused because an earlier one is in its way.
    blocked: Generation,
}

/// What the log wants of this node for one service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Want {
    Nothing,
    Run(Generation),
    Stop(Generation),
}

/// The moment in which a step is taken.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// The clock.
    pub now: Instant,
    /// This node's membership, if it is a member that may own something.
    pub me: Option<Member>,
    /// The right to act.
    pub lease: &'a Lease,
    /// The deadline D.
    pub deadline: Duration,
    /// What this node's kernel gate lacks, if it is not whole (S2b).
    pub lack: Option<&'a str>,
}

/// All services on this node.
#[derive(Clone, Debug, Default)]
pub struct Here {
    instances: Vec<Instance>,
    steps: Vec<Step>,
}

impl Here {
    /// Nothing runs.
    #[must_use]
    pub const fn new() -> Self {
        Self { instances: Vec::new(), steps: Vec::new() }
    }

    /// The instance of a service; one that the log has just got is not here yet.
    fn instance(&mut self, id: ServiceId) -> &mut Instance {
        let place = self.instances.iter().position(|it| it.id == id).unwrap_or_else(|| {
            self.instances.push(Instance {
                id,
                generation: Generation(0),
                local: Local::Absent,
                open: Generation(0),
                reported: false,
                blocked: Generation(0),
            });
            self.instances.len() - 1
        });
        &mut self.instances[place]
    }

    /// Drives every service one step towards what the log says. `mine` tells whether a state's
    /// owner is this very life, member or not.
    pub fn follow<'a>(
        &mut self,
        services: impl Iterator<Item = (&'a ServiceSpec, &'a ServiceState)>,
        mine: impl Fn(Member) -> bool,
        moment: &Moment<'_>,
    ) {
        let mut known = Vec::new();
        for (spec, state) in services {
            known.push(spec.id);
            let mut steps = core::mem::take(&mut self.steps);
            let instance = self.instance(spec.id);
            let owner = state.owner.filter(|o| mine(*o));
            let want = match (moment.me, owner) {
                (Some(me), Some(owner)) if me == owner => want(state),
                _ => Want::Nothing,
            };
            instance.step(spec, state, want, moment, &mut steps);
            if owner.is_some() && want != Want::Run(state.generation) {
                instance.disown(state, &mut steps);
            }
            self.steps = steps;
        }
        // What the log has forgotten can only be left of a life that nobody asks any more: it goes, and its place with it.
        let Self { instances, steps } = self;
        instances.retain_mut(|instance| {
            if known.contains(&instance.id) {
                return true;
            }
            instance.leave(moment, steps);
            instance.local != Local::Absent
        });
    }

    /// Takes what the drivers say.
    pub fn handle_outcome(&mut self, outcome: &Outcome) {
        let steps = &mut self.steps;
        let instance = self.instances.iter_mut().find(|i| i.id == outcome.service);
        if let Some(instance) = instance.filter(|i| i.generation == outcome.generation) {
            instance.outcome(&outcome.result, steps);
        }
    }

    /// What there is to do.
    pub fn take_steps(&mut self) -> Vec<Step> {
        core::mem::take(&mut self.steps)
    }
    /// True while anything is here, or on its way up or down.
    #[must_use]
    pub fn anything(&self) -> bool {
        self.instances.iter().any(|i| i.local != Local::Absent)
    }
    /// True while something of a generation before this one is here.
    #[must_use]
    pub fn anything_before(&self, generation: Generation) -> bool {
        self.instances.iter().any(|i| i.local != Local::Absent && i.generation < generation)
    }
    /// What a service is on this node.
    #[must_use]
    pub fn local(&self, id: ServiceId) -> Option<(Local, Generation)> {
        self.instances.iter().find(|i| i.id == id).map(|i| (i.local, i.generation))
    }
    /// When time alone makes a step necessary.
    #[must_use]
    pub fn deadline(&self, lease: &Lease, deadline: Duration) -> Option<Instant> {
        let is = |a, b| self.instances.iter().any(|i| i.local == a || i.local == b);
        if is(Local::Withdrawn, Local::Withdrawn) && lease.lapsed_at().is_some() {
            return lease.lapsed_at().map(|at| at + deadline * LAPSE_DEADLINES_MAX);
        }
        let closing = |i: &Instance| i.local == Local::Stopping && i.open != Generation(0);
        let live = is(Local::Starting, Local::Up) || self.instances.iter().any(closing);
        live.then(|| lease.end())
    }
}

fn want(state: &ServiceState) -> Want {
    match state.phase {
        Phase::Starting | Phase::Running => Want::Run(state.generation),
        Phase::Stopping | Phase::WaitingForFence => Want::Stop(state.generation),
        Phase::Idle | Phase::Failed => Want::Nothing,
    }
}

impl Instance {
    fn step(
        &mut self,
        spec: &ServiceSpec,
        state: &ServiceState,
        want: Want,
        moment: &Moment<'_>,
        steps: &mut Vec<Step>,
    ) {
        let stint = moment.me.map(|m| m.stint).unwrap_or_default();
        let held = moment.lease.holds(moment.now, stint);
        let ours = want == Want::Run(self.generation);
        match self.local {
            Local::Absent => {
                if let Want::Run(generation) = want
                    && generation > self.generation
                    && held
                {
                    self.begin(spec, state, moment.lack, steps);
                }
            }
            Local::Starting | Local::Up | Local::Withdrawn if !ours => self.end(held, steps),
            Local::Starting | Local::Up if !held => {
                self.open(Generation(0), steps);
                self.on(LocalEvent::Lapse);
                let (service, generation) = (self.id, self.generation);
                steps.push(Step::Run(Job::Withdraw { service, generation }));
            }
            Local::Withdrawn if held => {
                self.open(self.generation, steps);
                self.on(LocalEvent::Regain);
                let (service, generation) = (self.id, self.generation);
                steps.push(Step::Run(Job::Restore { service, generation }));
            }
            Local::Withdrawn => {
                let patience = moment.deadline * LAPSE_DEADLINES_MAX;
                let lapsed = moment.lease.lapsed_at();
                if lapsed.is_none_or(|at| moment.now.since(at) >= patience) {
                    self.end(held, steps);
                }
            }
            Local::Stuck => {
                // What is left of an earlier generation is in the way of the next.
                if let Want::Run(generation) = want
                    && generation > self.generation.max(self.blocked)
                {
                    self.blocked = generation;
                    let reason = "what is left of an earlier generation could not be taken down";
                    steps.push(Step::Report(self.id, generation, Report::Stuck(reason.into())));
                }
            }
            // It ends with its lease at the latest, and does not open again: the lease may come back in another stint,
            // when the service is another's and the slow stop still is not done (seed 4711).
            Local::Stopping if !held => self.open(Generation(0), steps),
            Local::Starting | Local::Up | Local::Stopping => {}
        }
    }

    /// The log does not know the service any more.
    fn leave(&mut self, moment: &Moment<'_>, steps: &mut Vec<Step>) {
        let stint = moment.me.map(|m| m.stint).unwrap_or_default();
        let held = moment.lease.holds(moment.now, stint);
        match self.local {
            Local::Starting | Local::Up | Local::Withdrawn => self.end(held, steps),
            Local::Stopping if !held => self.open(Generation(0), steps),
            Local::Absent | Local::Stopping | Local::Stuck => {}
        }
    }

    /// The log gives this node the next generation: only with a right that S3 grants.
    fn begin(
        &mut self,
        spec: &ServiceSpec,
        state: &ServiceState,
        lack: Option<&str>,
        steps: &mut Vec<Step>,
    ) {
        let generation = state.generation;
        self.generation = generation;
        self.reported = false;
        let right = state.evidence.map(|evidence| {
            Right::grant(spec.id, generation, evidence, spec.fence, spec.unbound(), lack)
        });
        match right {
            Some(Ok(right)) => {
                self.on(LocalEvent::Begin);
                self.open(generation, steps);
                steps.push(Step::Run(Job::Start(right)));
            }
            // Nothing began, and nothing is broken that stays so: the log knows that the gate is not whole,
            // and gives the service to this node again when it is.
            Some(Err(Refused::NoGate { .. })) => {
                steps.push(Step::Report(self.id, generation, Report::Stopped));
            }
            // The planner does not plan this; if it did, S3 would still hold.
            Some(Err(_)) | None => {
                let reason = "the fence policy does not allow this start";
                steps.push(Step::Report(self.id, generation, Report::Failed(reason.into())));
            }
        }
    }

    fn end(&mut self, held: bool, steps: &mut Vec<Step>) {
        if !held {
            self.open(Generation(0), steps);
        }
        self.on(LocalEvent::End);
        let (service, generation) = (self.id, self.generation);
        steps.push(Step::Run(Job::Stop { service, generation }));
    }

    /// The log holds this life responsible for a generation that it never began and will not
    /// begin: say so, because others wait for it.
    fn disown(&mut self, state: &ServiceState, steps: &mut Vec<Step>) {
        let current = state.holder().is_some() && state.ending.stopped.is_none();
        if current && self.local == Local::Absent && state.generation > self.generation {
            self.generation = state.generation;
            steps.push(Step::Report(self.id, self.generation, Report::Stopped));
        }
    }

    fn outcome(&mut self, result: &Done, steps: &mut Vec<Step>) {
        let (id, generation) = (self.id, self.generation);
        let report =
            |report, steps: &mut Vec<Step>| steps.push(Step::Report(id, generation, report));
        match result {
            Done::Started => {
                if self.local == Local::Starting {
                    self.on(LocalEvent::Started);
                }
                if matches!(self.local, Local::Up | Local::Withdrawn) && !self.reported {
                    self.reported = true;
                    report(Report::Started, steps);
                }
            }
            // Closed first: with one vote in all, a report is agreed and its consequence on its way in the same turn.
            Done::Stopped if self.local != Local::Absent => {
                self.gone(steps);
                report(Report::Stopped, steps);
            }
            Done::Failed { reason } if self.local != Local::Absent => {
                // A stop that is under way ends with its own outcome, but the report says already that another may start.
                if self.local == Local::Stopping {
                    self.open(Generation(0), steps);
                } else {
                    self.gone(steps);
                }
                report(Report::Failed(reason.clone()), steps);
            }
            Done::Stuck { reason } if self.local != Local::Absent => {
                self.on(LocalEvent::Jam);
                self.open(Generation(0), steps);
                report(Report::Stuck(reason.clone()), steps);
            }
            Done::Died { reason }
                if matches!(self.local, Local::Starting | Local::Up | Local::Withdrawn) =>
            {
                report(Report::Died(reason.clone()), steps);
            }
            Done::Withdrawn
            | Done::Restored
            | Done::Stopped
            | Done::Failed { .. }
            | Done::Stuck { .. }
            | Done::Died { .. } => {}
        }
    }

    fn gone(&mut self, steps: &mut Vec<Step>) {
        self.on(LocalEvent::Gone);
        self.open(Generation(0), steps);
    }

    fn open(&mut self, generation: Generation, steps: &mut Vec<Step>) {
        if self.open != generation {
            self.open = generation;
            steps.push(Step::Open(self.id, generation));
        }
    }

    /// Every caller has matched the state; an event that the table does not have leaves it.
    fn on(&mut self, event: LocalEvent) {
        self.local = self.local.on(event).unwrap_or(self.local);
    }
}

#[cfg(test)]
mod tests {
    use super::{Here, LAPSE_DEADLINES_MAX, Local, Moment, Step};
    use crate::lease::Lease;
    use base::{Duration, Instant};
    use driver::{Done, Evidence, FencePolicy, Job, Outcome};
    use membership::Member;
    use services::{Phase, Placement, Report, ServiceSpec, ServiceState};
    use wire::{Generation, Incarnation, Life, NodeId, Op, ServiceId, Stint};

    const D: Duration = Duration::from_millis(30);
    const ID: ServiceId = ServiceId(0);

    fn member(stint: u64) -> Member {
        let life = Life { node: NodeId::new(1).unwrap(), incarnation: Incarnation(1) };
        Member { life, stint: Stint(stint) }
    }

    /// One service on one node, driven by hand.
    struct Bench {
        here: Here,
        spec: ServiceSpec,
        state: ServiceState,
        me: Option<Member>,
        lease: Lease,
        lack: Option<&'static str>,
        now: Instant,
    }

    impl Bench {
        /// Generation 1 is assigned to this node, and it holds a lease.
        fn new() -> Self {
            let spec = ServiceSpec {
                id: ID,
                name: "vip".into(),
                nodes: vec![member(4).life.node],
                placement: Placement::Sticky,
                fence: FencePolicy::Lease,
                resources: Vec::new(),
                revision: 0,
            };
            let mut state = ServiceState::at_era(0);
            state.phase = Phase::Starting;
            state.generation = Generation(1);
            state.owner = Some(member(4));
            state.evidence = Some(Evidence::NeverOwned);
            let mut lease = Lease::default();
            lease.set_end(Instant::MAX);
            let me = Some(member(4));
            let here = Here::new();
            Self { here, spec, state, me, lease, lack: None, now: Instant(1) }
        }
        fn follow(&mut self) -> Vec<String> {
            let stint = self.me.map(|m| m.stint).unwrap_or_default();
            self.lease.observe(self.now, stint);
            let (now, me, lack) = (self.now, self.me, self.lack);
            let moment = Moment { now, me, lease: &self.lease, deadline: D, lack };
            let services = [(&self.spec, &self.state)].into_iter();
            self.here.follow(services, |o| o.life == member(4).life, &moment);
            self.steps()
        }
        fn outcome(&mut self, generation: u64, result: Done) -> Vec<String> {
            let (service, generation) = (ID, Generation(generation));
            let (began, ended) = (self.now, self.now);
            self.here.handle_outcome(&Outcome { service, generation, result, began, ended });
            self.steps()
        }
        fn steps(&mut self) -> Vec<String> {
            let words = |step: &Step| match step {
                Step::Open(_, g) => format!("open {}", g.0),
                Step::Run(Job::Start(right)) => format!("start {}", right.generation().0),
                Step::Run(Job::Stop { generation, .. }) => format!("stop {}", generation.0),
                Step::Run(Job::Withdraw { generation, .. }) => format!("withdraw {}", generation.0),
                Step::Run(Job::Restore { generation, .. }) => format!("restore {}", generation.0),
                Step::Report(_, g, Report::Started) => format!("started {}", g.0),
                Step::Report(_, g, Report::Stopped) => format!("stopped {}", g.0),
                Step::Report(_, g, Report::Failed(_)) => format!("failed {}", g.0),
                Step::Report(_, g, Report::Stuck(_)) => format!("stuck {}", g.0),
                Step::Report(_, g, Report::Died(_)) => format!("died {}", g.0),
            };
            self.here.take_steps().iter().map(words).collect()
        }
        fn up() -> Self {
            let mut bench = Self::new();
            bench.follow();
            bench.outcome(1, Done::Started);
            bench.state.phase = Phase::Running;
            bench
        }
        fn assign(&mut self, generation: u64) {
            self.state.phase = Phase::Starting;
            self.state.generation = Generation(generation);
        }
        fn local(&self) -> Local {
            self.here.local(ID).unwrap().0
        }
    }

    #[test]
    fn a_start_opens_first_runs_once_and_is_reported_once() {
        let mut bench = Bench::new();
        assert_eq!(bench.follow(), ["open 1", "start 1"]);
        assert!(bench.follow().is_empty());
        assert_eq!(bench.outcome(1, Done::Started), ["started 1"]);
        assert!(bench.outcome(1, Done::Started).is_empty());
    }

    #[test]
    fn without_a_lease_nothing_starts() {
        let mut bench = Bench::new();
        bench.lease.set_end(bench.now);
        assert!(bench.follow().is_empty());
        bench.lease.set_end(bench.now + D);
        assert_eq!(bench.follow(), ["open 1", "start 1"]);
    }

    #[test]
    fn a_lapse_withdraws_at_once_and_the_lease_restores() {
        let mut bench = Bench::up();
        bench.lease.set_end(bench.now + D);
        assert!(bench.follow().is_empty());
        assert_eq!(bench.here.deadline(&bench.lease, D), Some(bench.now + D));
        bench.now += D;
        assert_eq!(bench.follow(), ["open 0", "withdraw 1"]);
        assert!(bench.outcome(1, Done::Withdrawn).is_empty());
        bench.lease.set_end(bench.now + D);
        assert_eq!(bench.follow(), ["open 1", "restore 1"]);
        assert!(bench.outcome(1, Done::Restored).is_empty());
        assert_eq!(bench.local(), Local::Up);
    }

    #[test]
    fn a_lapse_during_the_start_is_no_reason_to_forget_that_it_started() {
        let mut bench = Bench::new();
        bench.follow();
        bench.lease.set_end(bench.now);
        assert_eq!(bench.follow(), ["open 0", "withdraw 1"]);
        assert_eq!(bench.outcome(1, Done::Started), ["started 1"]);
        bench.lease.set_end(Instant::MAX);
        assert_eq!(bench.follow(), ["open 1", "restore 1"]);
    }

    #[test]
    fn a_lapse_that_lasts_stops_for_good_and_frees_the_service() {
        let mut bench = Bench::up();
        bench.lease.set_end(bench.now);
        bench.follow();
        let late = bench.now + D * LAPSE_DEADLINES_MAX;
        assert_eq!(bench.here.deadline(&bench.lease, D), Some(late));
        bench.now = late - Duration(1);
        assert!(bench.follow().is_empty());
        bench.now = late;
        assert_eq!(bench.follow(), ["stop 1"]);
        assert_eq!(bench.outcome(1, Done::Stopped), ["stopped 1"]);
        assert!(bench.follow().is_empty(), "this generation does not start again");
    }

    #[test]
    fn a_removal_closes_and_stops_whatever_the_lease_says() {
        let mut bench = Bench::up();
        bench.me = None;
        assert_eq!(bench.follow(), ["open 0", "stop 1"]);
        assert_eq!(bench.outcome(1, Done::Stopped), ["stopped 1"]);
    }

    #[test]
    fn a_life_that_returns_does_not_own_what_its_last_stint_had() {
        let mut bench = Bench::up();
        bench.me = Some(member(9));
        assert_eq!(bench.follow(), ["stop 1"]);
    }

    #[test]
    fn a_planned_stop_stays_open_until_nothing_is_left() {
        let mut bench = Bench::up();
        bench.state.phase = Phase::Stopping;
        assert_eq!(bench.follow(), ["stop 1"]);
        assert_eq!(bench.outcome(1, Done::Stopped), ["open 0", "stopped 1"]);
    }

    #[test]
    fn a_slow_stop_closes_with_the_lease_and_stays_closed_in_the_next_stint() {
        let mut bench = Bench::up();
        bench.state.phase = Phase::Stopping;
        assert_eq!(bench.follow(), ["stop 1"]);
        bench.lease.set_end(Instant::ZERO);
        assert_eq!(bench.follow(), ["open 0"]);
        assert_eq!(bench.here.deadline(&bench.lease, D), None, "nothing more to do by time alone");
        bench.lease.set_end(Instant::MAX);
        assert_eq!(bench.follow(), [""; 0]);
    }

    #[test]
    fn a_start_that_fails_under_a_stop_closes_before_it_is_told() {
        let mut bench = Bench::new();
        bench.follow();
        bench.state.phase = Phase::Stopping;
        assert_eq!(bench.follow(), ["stop 1"]);
        let reason = "no".into();
        assert_eq!(bench.outcome(1, Done::Failed { reason }), ["open 0", "failed 1"]);
        assert_eq!(bench.outcome(1, Done::Stopped), ["stopped 1"]);
    }

    #[test]
    fn the_next_generation_waits_for_the_end_of_the_last() {
        let mut bench = Bench::up();
        bench.me = None;
        bench.follow();
        bench.me = Some(member(9));
        bench.state.owner = bench.me;
        bench.assign(2);
        assert!(bench.follow().is_empty());
        bench.outcome(1, Done::Stopped);
        assert_eq!(bench.follow(), ["open 2", "start 2"]);
        assert!(bench.outcome(1, Done::Stopped).is_empty(), "late news of generation 1");
        assert_eq!(bench.local(), Local::Starting);
    }

    #[test]
    fn what_is_stuck_blocks_the_next_generation_and_says_so_once() {
        let mut bench = Bench::up();
        bench.state.phase = Phase::Stopping;
        bench.follow();
        let reason = String::from("netlink");
        assert_eq!(bench.outcome(1, Done::Stuck { reason }), ["open 0", "stuck 1"]);
        bench.assign(2);
        assert_eq!(bench.follow(), ["stuck 2"]);
        assert!(bench.follow().is_empty());
        assert_eq!(bench.outcome(1, Done::Stopped), ["stopped 1"], "it was done in the end");
        bench.state.phase = Phase::WaitingForFence;
        assert_eq!(bench.follow(), ["stopped 2"], "generation 2 never began");
    }

    #[test]
    fn a_generation_that_never_began_is_disowned() {
        let mut bench = Bench::new();
        bench.me = None;
        assert_eq!(bench.follow(), ["stopped 1"]);
        assert!(bench.follow().is_empty());
        bench.me = Some(member(4));
        assert!(bench.follow().is_empty(), "and it will not begin");
    }

    #[test]
    fn s3_is_checked_where_the_start_is_made() {
        let mut bench = Bench::new();
        bench.spec.fence = FencePolicy::Fenced;
        bench.state.evidence = Some(Evidence::LeaseEnded(Op(7)));
        assert_eq!(bench.follow(), ["failed 1"]);
        assert_eq!(bench.local(), Local::Absent);
    }

    #[test]
    fn a_lease_service_starts_only_behind_a_whole_gate_and_stays_when_the_gate_is_lost() {
        let mut bench = Bench::new();
        bench.lack = Some("eth0 has no filter");
        assert_eq!(bench.follow(), ["stopped 1"], "the next node may have it");
        assert_eq!(bench.local(), Local::Absent);
        let mut bench = Bench::up();
        bench.lack = Some("eth0 has no filter");
        assert!(bench.follow().is_empty());
        let mut bench = Bench::new();
        bench.lack = Some("eth0 has no filter");
        bench.spec.fence = FencePolicy::Fenced;
        assert_eq!(bench.follow(), ["open 1", "start 1"], "proof needs no gate");
    }

    #[test]
    fn what_died_is_reported_and_stopped_by_the_log() {
        let mut bench = Bench::up();
        assert_eq!(bench.outcome(1, Done::Died { reason: "gone".into() }), ["died 1"]);
        assert!(bench.follow().is_empty());
        bench.state.phase = Phase::Stopping;
        assert_eq!(bench.follow(), ["stop 1"]);
    }
}
