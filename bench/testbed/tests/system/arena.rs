//! What most tests share: a cluster at rest with a stall meter beside it, and the verdict that each
//! of them ends with.

use base::{Duration, Instant};
use std::collections::BTreeMap;
use std::process::Command;
use testbed::cluster::{Cluster, Settled};
use testbed::error::{Result, run};
use testbed::os;
use testbed::programs::Programs;
use testbed::spec::Spec;
use testbed::stall::StallMeter;
use testbed::suite::Verdict;
use testbed::topology::{FLOATING, node_name};
use testbed::trial::REPEATS_MAX;

/// A settled cluster.
pub(crate) struct Arena {
    pub(crate) cluster: Cluster,
    pub(crate) meter: StallMeter,
    pub(crate) rest: Settled,
}

impl Arena {
    pub(crate) fn start(spec: Spec, programs: &Programs) -> Result<Self> {
        let mut cluster = Cluster::start(spec, programs)?;
        let rest = cluster.settle()?;
        Ok(Self { cluster, meter: StallMeter::start(), rest })
    }

    /// A node that is not among `taken`.
    pub(crate) fn other(&self, taken: &[u8]) -> u8 {
        self.cluster.alive().into_iter().find(|node| !taken.contains(node)).unwrap_or(1)
    }

    /// Moves the service off the primary, or onto it.
    pub(crate) fn place(&mut self, on_primary: bool) -> Result<()> {
        let primary = self.rest.primary;
        let to = if on_primary { primary } else { self.other(&[primary]) };
        self.rest = self.cluster.move_service(to)?;
        Ok(())
    }

    /// From deadline to answer there are 10 ms, as 40 ms for 10 ms × 3.
    pub(crate) fn budget(&self) -> Duration {
        self.cluster.spec().deadline() + Duration::from_millis(10)
    }

    /// True if the node's kernel has the floating address.
    pub(crate) fn has_address(&self, node: u8) -> bool {
        let name = self.cluster.bed().topology().node(node).name();
        let list = run(Command::new("ip").args(["-n", name, "address"])).unwrap_or_default();
        list.contains(&FLOATING.to_string())
    }

    /// The verdict that every test ends with: nobody saw two owners, and no daemon ended by itself.
    pub(crate) fn end(mut self) -> Result<Verdict> {
        self.cluster.daemons_run()?;
        let record = self.cluster.bed().observer().record();
        let (answers, direct) = record.answers();
        if record.violation_count() > 0 {
            let list = record.violations().join("\n");
            return Ok(Verdict::Fail(format!("two owners ({answers} answers):\n{list}")));
        }
        if direct == 0 {
            return Ok(Verdict::Fail(
                "no direct probe was ever answered: nothing was checked".into(),
            ));
        }
        Ok(Verdict::Pass)
    }

    /// Lets `disturb` work for `span` (called every 20 ms with the time since the begin); the
    /// membership and the owner must stay as they are. A change while the machine stood still for
    /// two intervals says nothing: once more.
    pub(crate) fn stays(
        &mut self,
        span: Duration,
        mut disturb: impl FnMut(&mut Cluster, Duration) -> Result<()>,
    ) -> Result<std::result::Result<(), String>> {
        for _ in 0..=REPEATS_MAX {
            self.rest = self.cluster.settle()?;
            let before = self.lives()?;
            let stalled = self.stalled();
            let begin = os::now();
            while os::now().since(begin) < span && !os::interrupted() {
                disturb(&mut self.cluster, os::now().since(begin))?;
                os::sleep(Duration::from_millis(20));
            }
            let end = os::now();
            let after = self.lives()?;
            let generation = self.cluster.service(self.rest.owner)?.generation;
            if before == after && generation == self.rest.generation {
                return Ok(Ok(()));
            }
            let seen = format!(
                "members before {before:?}, after {after:?}; generation {} and {generation}",
                self.rest.generation
            );
            match self.excuse(begin, end, &stalled) {
                Some(excuse) => println!("      void: {seen}\n      {excuse}"),
                None => return Ok(Err(seen)),
            }
        }
        Ok(Err("void again and again: the machine stands still".into()))
    }

    /// A stall of two intervals, seen by the bed's meter or by a node's own.
    fn excuse(
        &self,
        begin: Instant,
        end: Instant,
        before: &BTreeMap<u8, Duration>,
    ) -> Option<String> {
        let limit = self.cluster.spec().interval_length() * 2;
        if let Some(stall) = self.meter.overlaps(begin, end, limit) {
            return Some(format!("core {} stood still {}", stall.core, stall.length()));
        }
        self.stalled().into_iter().find_map(|(node, sum)| {
            let earlier = before.get(&node).map_or(0, |it| it.micros());
            let lost = Duration::from_micros(sum.micros().saturating_sub(earlier));
            (lost >= limit).then(|| format!("{} says itself: {lost} stalled", node_name(node)))
        })
    }

    /// How long each node's fast path has stalled so far, by its own count.
    fn stalled(&self) -> BTreeMap<u8, Duration> {
        let sum = |node| {
            let sum = self.cluster.counters(node).get("fast.stalled_us").copied().unwrap_or(0);
            (node, Duration::from_micros(sum))
        };
        self.cluster.alive().into_iter().map(sum).collect()
    }

    /// Each member's life and stint, as the owner sees them: a removal changes one, whatever came
    /// after it.
    fn lives(&self) -> Result<BTreeMap<String, (u32, Option<u64>)>> {
        let status = self.cluster.status(self.rest.owner)?;
        let members = status.members.into_iter();
        Ok(members.map(|it| (it.name, (it.life, it.stint))).collect())
    }
}
