//! corosync: a membership, as its log tells it.

use crate::log::{self, Log};
use crate::peer::{self, NODES, Peer};
use anyhow::Result;
use base::{Duration, Instant};
use testbed::bed::wait_until;
use testbed::corosync::Corosync;
use testbed::os;
use testbed::power::Cut;
use testbed::programs::Programs;

const SETTLE: Duration = Duration::from_millis(30_000);

/// A ring of three.
pub(crate) struct Ring {
    corosync: Corosync,
    logs: Vec<Log>,
    failures: usize,
}

impl Ring {
    pub(crate) fn start(programs: &Programs) -> Result<Self> {
        let mut corosync = Corosync::start(NODES, programs)?;
        let logs = corosync.logs_mut().iter().cloned().map(Log::new).collect();
        Ok(Self { corosync, logs, failures: 0 })
    }
}

/// The last membership that a log names, as `Members[2]: 1 3`.
fn members(text: &str) -> Option<&str> {
    let at = text.rfind("Members[")?;
    text.get(at..)?.lines().next()
}

impl Peer for Ring {
    fn settle(&mut self) -> Result<u8> {
        let whole = format!("Members[{NODES}]");
        wait_until("corosync to form a ring of all", SETTLE, || {
            let texts: Vec<_> = self.logs.iter().map(Log::whole).collect();
            let missing =
                texts.iter().find(|text| !members(text).is_some_and(|it| it.starts_with(&whole)));
            missing.map_or(Ok(()), |text| Err(members(text).unwrap_or("no membership").to_owned()))
        })?;
        Ok(1 + (os::random() % u64::from(NODES)) as u8)
    }

    fn cut(&mut self, node: u8, limit: Duration) -> Result<(Cut, Option<Instant>)> {
        let Self { corosync, logs, .. } = self;
        let left = format!("Members[{}]", NODES - 1);
        let look = || log::survivors_say(logs, node, limit, |text| text.contains(&left));
        peer::cut_and_look(corosync.bed_mut(), node, look)
    }

    fn restore(&mut self, node: u8) -> Result<()> {
        peer::restore(self.corosync.bed_mut(), node)?;
        let log = self.corosync.launch(node)?;
        let place = usize::from(node) - 1;
        self.corosync.logs_mut()[place].clone_from(&log);
        self.logs[place] = Log::new(log);
        Ok(())
    }

    fn mistakes(&mut self) -> Result<u64> {
        let failures = self.corosync.told().failed;
        let new = failures.saturating_sub(std::mem::replace(&mut self.failures, failures));
        Ok(new as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::members;

    #[test]
    fn the_last_membership_counts() {
        let text =
            "x [TOTEM ] A new membership (1.2) was formed. Members[3]: 1 2 3\ny Members[2]: 1 3\nz";
        assert_eq!(members(text), Some("Members[2]: 1 3"));
        assert_eq!(members("nothing"), None);
    }
}
