//! What the bench asks of whoever keeps an address alive, ours or a peer.

use base::{Duration, Instant};
use testbed::bed::Bed;
use testbed::error::Result;
use testbed::record::Answer;

/// One way to move an address when its node dies, on a bed of its own.
pub(crate) trait Contender {
    /// Its name, as in the table.
    fn name(&self) -> &'static str;
    /// The id of its row from cut to answer.
    fn row(&self) -> &'static str;
    /// Its bed.
    fn bed(&mut self) -> &mut Bed;
    /// Interval between its signs of life.
    fn interval(&self) -> Duration;
    /// Waits until every node is up and ready to take over, and returns the one that answers.
    fn settle(&mut self) -> Result<u8>;
    /// Starts it again on a node that has its power back.
    fn revive(&mut self, node: u8) -> Result<()>;
    /// Further figures of a trial: row id and value.
    fn inside(&mut self, trial: &Trial) -> Result<Vec<(&'static str, Duration)>>;
}

/// One power cut and what came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trial {
    /// The node that was cut.
    pub(crate) victim: u8,
    /// Just before its ports went down.
    pub(crate) cut: Instant,
    /// The first answer of the next owner.
    pub(crate) answer: Answer,
}
