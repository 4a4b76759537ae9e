//! keepalived as Debian has it, set up as well as it can be: adverts every 10 ms, real-time
//! priority, and the limit on real-time run time raised (with its default of 10 ms keepalived is
//! killed by the kernel under load).

use crate::bed::{Bed, wait_until};
use crate::error::{BedError, Context, Result};
use crate::os;
use crate::power::Cut;
use crate::programs::Programs;
use crate::timeline::Timeline;
use crate::topology::{FLOATING, Shape};
use crate::trial::Contender;
use base::{Duration, Instant};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Where Debian puts it.
const PROGRAM: &str = "/usr/sbin/keepalived";
/// What it needs at most to see each other again.
const SETTLE: Duration = Duration::from_millis(20_000);
/// Nodes with keepalived.
#[derive(Debug)]
pub struct Keepalived {
    bed: Bed,
}

impl Keepalived {
    /// Why it cannot run here.
    #[must_use]
    pub fn obstacle() -> Option<String> {
        let missing = !Path::new(PROGRAM).is_file();
        missing.then(|| "keepalived is not installed (apt-get install keepalived)".into())
    }

    /// Builds the bed and starts it on every node.
    ///
    /// # Errors
    /// When something cannot be set up or started.
    pub fn start(nodes: u8, programs: &Programs) -> Result<Self> {
        let mut this = Self { bed: Bed::build(Shape { nodes, links: 1 }, programs.clone())? };
        for node in 1..=nodes {
            this.launch(node)?;
        }
        Ok(this)
    }

    fn launch(&mut self, node: u8) -> Result<()> {
        let dir = self.bed.topology().run().dir().to_owned();
        let file = dir.join(format!("n{node}-keepalived.conf"));
        fs::write(&file, configuration(node)).context("keepalived.conf")?;
        let mut command = Command::new(PROGRAM);
        command.args(["--vrrp", "--dont-fork", "--log-console", "--use-file"]).arg(&file);
        for (option, file) in [("--pid", "keepalived.pid"), ("--vrrp_pid", "vrrp.pid")] {
            let file = dir.join(format!("n{node}-{file}"));
            let _ = fs::remove_file(&file); // a machine that has just booted has none
            command.arg(option).arg(file);
        }
        self.bed.start(node, "keepalived", command)?;
        self.bed.start_responder(node, &["--generation", "0"])
    }
}

/// All nodes start as backups and stay where they are (nopreempt), as our `sticky`. The priorities
/// are the highest there are, because the wait for the master grows with what is missing to 256.
fn configuration(node: u8) -> String {
    let priority = 255 - node;
    format!(
        "global_defs {{\n  router_id n{node}\n  vrrp_version 3\n  vrrp_rt_priority 50\n  \
         vrrp_rlimit_rttime 2000000\n  vrrp_no_swap\n}}\n\
         vrrp_instance floating {{\n  state BACKUP\n  interface eth0\n  virtual_router_id 51\n  \
         priority {priority}\n  nopreempt\n  advert_int 0.01\n  \
         virtual_ipaddress {{\n    {FLOATING}/24 dev eth0\n  }}\n}}\n"
    )
}

impl Contender for Keepalived {
    fn name(&self) -> &'static str {
        "keepalived"
    }

    fn bed_mut(&mut self) -> &mut Bed {
        &mut self.bed
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(10)
    }

    fn settle(&mut self) -> Result<u8> {
        let begin = os::now();
        let observer = self.bed.observer();
        wait_until("keepalived to answer", SETTLE, || {
            let first = observer.record().first_answer(begin, |_| true);
            first.map(|_| ()).ok_or_else(|| "no answer".into())
        })?;
        let last = observer.record().last_answer();
        for node in self.bed.topology().ids() {
            for process in self.bed.processes(node) {
                if let Some(status) = process.ended() {
                    return Err(BedError::Ended {
                        what: format!("{} on n{node}", process.name()),
                        status: status.to_string(),
                        said: process.last_words(5),
                    });
                }
            }
        }
        Ok(last.map_or(1, |it| it.node))
    }

    fn cut(&mut self, node: u8) -> Result<Cut> {
        self.bed.cut(node)
    }

    fn restore(&mut self, node: u8) -> Result<()> {
        self.bed.restore(node)?;
        self.launch(node)
    }

    fn timeline(&mut self, _: u8, _: Cut, _: Instant) -> Result<Option<Timeline>> {
        Ok(None)
    }
    fn explain(&mut self, _victim: u8) -> String {
        String::new()
    }
}
