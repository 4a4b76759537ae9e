//! One trial: settle, cut at a random phase, wait for the answer, judge by the stall meter, bring
//! the node back.

use crate::bed::Bed;
use crate::cluster::Cluster;
use crate::error::{BedError, Result};
use crate::os;
use crate::power::Cut;
use crate::record::Answer;
use crate::stall::{Stall, StallMeter};
use crate::timeline::Timeline;
use base::{Duration, Instant};

/// A void trial is repeated this often at most.
pub const REPEATS_MAX: u32 = 3;
/// Between a node's return and the next cut.
const REST: Duration = Duration::from_millis(500);
/// An address that does not come back at all.
const ANSWER_LIMIT: Duration = Duration::from_millis(10_000);

/// One way to keep an address alive, ours or a peer's, on a bed of its own.
pub trait Contender {
    /// Its name, as in tables.
    fn name(&self) -> &'static str;
    /// Its bed.
    fn bed_mut(&mut self) -> &mut Bed;
    /// Interval between its signs of life.
    fn interval(&self) -> Duration;
    /// Waits until every node is up and ready to take over, and returns the one that answers.
    ///
    /// # Errors
    /// When that does not come about.
    fn settle(&mut self) -> Result<u8>;
    /// Cuts the power of a node.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn cut(&mut self, node: u8) -> Result<Cut>;
    /// Gives a node its power back and starts everything on it.
    ///
    /// # Errors
    /// When something cannot be started.
    fn restore(&mut self, node: u8) -> Result<()>;
    /// What it recorded itself of this failover.
    ///
    /// # Errors
    /// When it should have a record, and has none.
    fn timeline(&mut self, victim: u8, cut: Cut, answer: Instant) -> Result<Option<Timeline>>;
    /// What those that are left say of themselves, for whoever looks into a trial that failed.
    fn explain(&mut self, victim: u8) -> String;
}

/// One power cut of the active node, and what came of it.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The node that was cut.
    pub victim: u8,
    /// When.
    pub cut: Cut,
    /// The first answer of the next owner.
    pub answer: Answer,
    /// The contender's own record.
    pub timeline: Option<Timeline>,
    /// The stall that makes it void.
    pub stall: Option<Stall>,
}

impl Trial {
    /// From the cut to the first answer.
    #[must_use]
    pub const fn took(&self) -> Duration {
        self.answer.received.since(self.cut.at)
    }
}

/// Runs one trial.
///
/// # Errors
/// When the contender does not settle, does not take over, or Ctrl-C comes.
pub fn once(contender: &mut dyn Contender, meter: &StallMeter) -> Result<Trial> {
    let interval = contender.interval();
    contender.settle()?;
    // Starting a node is work for the machine, and its first moments are not what is measured.
    os::sleep(REST);
    let victim = contender.settle()?;
    contender.bed_mut().observer().record().begin_window();
    // Somewhere in the interval between two beats, everywhere with the same likelihood.
    os::sleep(interval * 4 + Duration::from_nanos(os::random() % interval.nanos().max(1)));
    let cut = contender.cut(victim)?;
    let observer = contender.bed_mut().observer();
    let answer = observer.wait_for(cut.at, ANSWER_LIMIT, |it| it.node != victim);
    let Some(answer) = answer else {
        if os::interrupted() {
            return Err(BedError::Interrupted);
        }
        return Err(BedError::Limit {
            what: format!("{} to take over from n{victim}", contender.name()),
            limit: std::time::Duration::from_nanos(ANSWER_LIMIT.nanos()),
            seen: format!("no answer of another node. {}", contender.explain(victim)),
        });
    };
    // A stall is known when it is over. One that touched the last beats before the cut counts too.
    os::sleep(Duration::from_millis(20));
    let stall = meter.overlaps(cut.at - interval * 2, answer.received, interval / 2);
    let timeline = contender.timeline(victim, cut, answer.received)?;
    contender.restore(victim)?;
    Ok(Trial { victim, cut, answer, timeline, stall })
}

impl Contender for Cluster {
    fn name(&self) -> &'static str {
        "netguard"
    }
    fn bed_mut(&mut self) -> &mut Bed {
        Self::bed_mut(self)
    }
    fn interval(&self) -> Duration {
        self.spec().interval_length()
    }
    fn settle(&mut self) -> Result<u8> {
        Self::settle(self).map(|it| it.owner)
    }
    fn cut(&mut self, node: u8) -> Result<Cut> {
        Self::cut(self, node)
    }
    fn restore(&mut self, node: u8) -> Result<()> {
        Self::restore(self, node)
    }
    fn timeline(&mut self, victim: u8, cut: Cut, answer: Instant) -> Result<Option<Timeline>> {
        Self::timeline(self, victim, cut, answer).map(Some)
    }
    fn explain(&mut self, victim: u8) -> String {
        let nodes = (1..=self.spec().shape.nodes).filter(|node| *node != victim);
        let state = |node| match self.status(node) {
            Ok(status) => format!("n{node}: {status:?}"),
            Err(error) => format!("n{node}: {error}"),
        };
        nodes.map(state).collect::<Vec<_>>().join("\n")
    }
}
