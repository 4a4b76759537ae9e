//! corosync: a membership, as its log tells it.

use crate::log::{Log, all_say};
use crate::peer::{NODES, Peer};
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

    fn survivors(&mut self, victim: u8) -> impl Iterator<Item = &mut Log> {
        (1..).zip(&mut self.logs).filter(move |(node, _)| *node != victim).map(|(_, log)| log)
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

    fn cut(&mut self, node: u8) -> Result<Cut> {
        for log in &mut self.logs {
            let _ = log.next();
        }
        Ok(self.corosync.bed_mut().cut(node)?)
    }

    fn seen(&mut self, victim: u8, _: Cut, limit: Duration) -> Result<Option<Instant>> {
        let left = format!("Members[{}]", NODES - 1);
        Ok(all_say(self.survivors(victim), limit, |text| text.contains(&left)))
    }

    fn restore(&mut self, node: u8) -> Result<()> {
        self.corosync.bed_mut().restore(node)?;
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
