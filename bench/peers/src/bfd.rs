//! FRR's bfdd: sessions between three nodes, each with zebra, which knows the interfaces.

use crate::log::{self, Log};
use crate::peer::{self, NODES, Peer};
use anyhow::{Context, Result};
use base::{Duration, Instant};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;
use testbed::bed::{Bed, wait_until};
use testbed::os;
use testbed::power::Cut;
use testbed::programs::Programs;
use testbed::topology::{Shape, address, node_name};

const FOLDER: &str = "/usr/lib/frr";
const SETTLE: Duration = Duration::from_millis(30_000);
/// What bfdd writes when a session that was up is not.
const DOWN: &str = "up -> down";

/// A session between every two of three.
pub(crate) struct Bfd {
    bed: Bed,
    logs: Vec<Log>,
    downs: usize,
}

impl Bfd {
    pub(crate) fn start(programs: &Programs) -> Result<Self> {
        let bed = Bed::build(Shape { nodes: NODES, links: 1 }, programs.clone())?;
        let mut this = Self { bed, logs: Vec::new(), downs: 0 };
        for node in 1..=NODES {
            let log = this.launch(node)?;
            this.logs.push(log);
        }
        Ok(this)
    }

    fn launch(&mut self, node: u8) -> Result<Log> {
        let dir = self.bed.topology().run().dir().to_owned();
        let file = dir.join(format!("{}-bfdd.conf", node_name(node)));
        std::fs::write(&file, configuration(node)).context("bfdd.conf")?;
        // Their sockets have fixed names, and they become a user of their own. Standard input is the file: /run is hidden.
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c"]).arg(format!(
            "cp '{}' /tmp/ng-bfdd-$$.conf; mount -t tmpfs none /run && mkdir /run/frr && chown frr:frr /run/frr; \
             mv /tmp/ng-bfdd-$$.conf /run/frr/bfdd.conf && chown frr:frr /run/frr/bfdd.conf; \
             {FOLDER}/zebra -f /dev/null --log stdout -A 127.0.0.1 >/dev/null & sleep 1; \
             exec {FOLDER}/bfdd -f /run/frr/bfdd.conf --log stdout --log-level debug -A 127.0.0.1",
            file.display()
        ));
        let log = format!("bfdd-{:08x}", os::random() as u32);
        self.bed.start(node, &log, command)?;
        Ok(Log::new(dir.join(format!("{}-{log}.log", node_name(node)))))
    }
}

fn configuration(node: u8) -> String {
    let mut text = String::from("debug bfd peer\nbfd\n");
    for other in (1..=NODES).filter(|other| *other != node) {
        let _ = write!(
            text,
            " peer {} local-address {} interface eth0\n  receive-interval 10\n  transmit-interval 10\n  \
             detect-multiplier 3\n  no shutdown\n !\n",
            address(other, 1),
            address(node, 1)
        );
    }
    text.push_str("!\n");
    text
}

/// The last state of each session that a log names, by the peer's address.
fn sessions(text: &str) -> BTreeMap<&str, &str> {
    let changes = text.lines().filter(|line| line.contains("state-change"));
    changes
        .filter_map(|line| {
            let peer = line.split("peer:").nth(1)?.split(' ').next()?;
            let state = line.split(" -> ").nth(1)?.split(' ').next()?;
            Some((peer, state))
        })
        .collect()
}

impl Peer for Bfd {
    fn settle(&mut self) -> Result<u8> {
        wait_until("every BFD session to be up", SETTLE, || {
            for log in &self.logs {
                let text = log.whole();
                let sessions = sessions(&text);
                let up = sessions.values().filter(|state| **state == "up").count();
                if up != usize::from(NODES) - 1 {
                    return Err(format!("{sessions:?}"));
                }
            }
            Ok(())
        })?;
        Ok(1 + (os::random() % u64::from(NODES)) as u8)
    }

    fn cut(&mut self, node: u8, limit: Duration) -> Result<(Cut, Option<Instant>)> {
        let Self { bed, logs, .. } = self;
        let peer = format!("peer:{} ", address(node, 1));
        let down =
            |text: &str| text.lines().any(|line| line.contains(&peer) && line.contains(DOWN));
        peer::cut_and_look(bed, node, || log::survivors_say(logs, node, limit, down))
    }

    fn restore(&mut self, node: u8) -> Result<()> {
        peer::restore(&mut self.bed, node)?;
        self.logs[usize::from(node) - 1] = self.launch(node)?;
        Ok(())
    }

    fn mistakes(&mut self) -> Result<u64> {
        let downs = self.logs.iter().map(|log| log.whole().matches(DOWN).count()).sum();
        let before = std::mem::replace(&mut self.downs, downs);
        Ok(downs.saturating_sub(before) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::sessions;

    #[test]
    fn the_last_state_of_a_session_counts() {
        let change = |peer: &str, change: &str| {
            format!(
                "BFD: [J1C6V] state-change: [mhop:no peer:{peer} local:10.77.1.1 vrf:default ifname:eth0] {change}\n"
            )
        };
        let text = [
            change("10.77.1.2", "init -> up"),
            "BFD: session-new: mhop:no peer:10.77.1.3\n".to_owned(),
            change("10.77.1.3", "init -> up"),
            change("10.77.1.3", "up -> down reason:control-expired"),
        ]
        .concat();
        let sessions = sessions(&text);
        assert_eq!((sessions["10.77.1.2"], sessions["10.77.1.3"]), ("up", "down"));
    }
}
