//! corosync as Debian has it, with the lowest timeouts that form a ring (token 36 ms, udpu). It moves
//! no address: what counts is how often it believes that a node has failed.

use crate::bed::{Bed, wait_until};
use crate::error::{Context, Result};
use crate::os;
use crate::programs::Programs;
use crate::topology::{Shape, address, node_name};
use base::Duration;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where Debian puts it.
const PROGRAM: &str = "/usr/sbin/corosync";
/// What three nodes need at most to form a ring.
const SETTLE: Duration = Duration::from_millis(20_000);
/// What it logs when the token did not come back in time, and when a ring is formed.
const FAILED: &str = "A processor failed";
const FORMED: &str = "A new membership";

/// A ring of corosync, each node in a bed of its own.
#[derive(Debug)]
pub struct Corosync {
    bed: Bed,
    logs: Vec<PathBuf>,
}

/// What its nodes have logged, over all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// A node that lives was taken for failed.
    pub failed: usize,
    /// Rings formed.
    pub formed: usize,
    /// Daemons that are gone.
    pub ended: usize,
}

impl Corosync {
    /// Why it cannot run here.
    #[must_use]
    pub fn obstacle() -> Option<String> {
        let missing = !Path::new(PROGRAM).is_file();
        missing.then(|| "corosync is not installed (apt-get install corosync)".into())
    }

    /// Builds the bed, starts it on every node, and waits until a ring has all of them.
    ///
    /// # Errors
    /// When it cannot be started, or no ring forms.
    pub fn start(nodes: u8, programs: &Programs) -> Result<Self> {
        let bed = Bed::build(Shape { nodes, links: 1 }, programs.clone())?;
        let mut this = Self { bed, logs: Vec::new() };
        let file = this.bed.topology().run().dir().join("corosync.conf");
        fs::write(&file, configuration(nodes)).context("corosync.conf")?;
        for node in 1..=nodes {
            let log = this.launch(node)?;
            this.logs.push(log);
        }
        let all = (1..=nodes).map(|it| it.to_string()).collect::<Vec<_>>().join(" ");
        let whole = format!("Members[{nodes}]: {all}");
        wait_until("corosync to form a ring", SETTLE, || {
            let texts: Vec<String> = this.logs.iter().map(|it| read(it)).collect();
            let missing = texts.iter().find(|it| !it.contains(&whole));
            missing.map_or(Ok(()), |it| Err(it.lines().last().unwrap_or("no word").to_owned()))
        })?;
        Ok(this)
    }

    /// Starts it on a node; its log is new.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch(&mut self, node: u8) -> Result<PathBuf> {
        let dir = self.bed.topology().run().dir().to_owned();
        // Its lock and its sockets have fixed names: each node gets folders of its own.
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c"]).arg(format!(
            "exec 3<'{}'; mount -t tmpfs none /run && mount -t tmpfs none /var/lib/corosync && \
             mount -t tmpfs none /dev/shm && exec {PROGRAM} -f -c /proc/self/fd/3",
            dir.join("corosync.conf").display()
        ));
        let log = format!("corosync-{:08x}", os::random() as u32);
        self.bed.start(node, &log, command)?;
        Ok(dir.join(format!("{}-{log}.log", node_name(node))))
    }

    /// The log of each node, by its place.
    pub const fn logs_mut(&mut self) -> &mut Vec<PathBuf> {
        &mut self.logs
    }

    /// Its bed.
    pub const fn bed_mut(&mut self) -> &mut Bed {
        &mut self.bed
    }

    /// Counts what has been logged so far.
    pub fn told(&mut self) -> Told {
        let mut told = Told::default();
        for text in self.logs.iter().map(|it| read(it)) {
            told.failed += text.matches(FAILED).count();
            told.formed += text.matches(FORMED).count();
        }
        for node in self.bed.topology().ids() {
            let gone = self.bed.processes(node).iter_mut().filter_map(|it| it.ended());
            told.ended += gone.count();
        }
        told
    }
}

fn read(log: &Path) -> String {
    String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned()
}

/// Without its coefficient the token's time would be 650 ms longer for each node above two.
fn configuration(nodes: u8) -> String {
    let mut text = String::from(
        "totem {\n  version: 2\n  cluster_name: soak\n  transport: udpu\n  token: 36\n  \
         token_coefficient: 0\n  token_retransmits_before_loss_const: 1\n  join: 30\n  consensus: 43\n}\n\
         quorum {\n  provider: corosync_votequorum\n}\n\
         logging {\n  to_stderr: yes\n  to_syslog: no\n  to_logfile: no\n}\nnodelist {\n",
    );
    for node in 1..=nodes {
        let _ = write!(
            text,
            "  node {{\n    ring0_addr: {}\n    nodeid: {node}\n    name: {}\n  }}\n",
            address(node, 1),
            node_name(node),
        );
    }
    text.push_str("}\n");
    text
}
