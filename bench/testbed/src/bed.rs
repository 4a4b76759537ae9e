//! The bed as a whole: network, observer, and what runs in the nodes, whoever made it.

use crate::error::{BedError, Result};
use crate::observer::Observer;
use crate::os;
use crate::power::{self, Cut};
use crate::process::Process;
use crate::programs::Programs;
use crate::topology::{Shape, Topology, node_name};
use base::Duration;
use std::process::Command;

/// A network with an observer, and processes in its nodes. Dropping it ends and removes everything.
#[derive(Debug)]
pub struct Bed {
    observer: Observer,
    processes: Vec<Vec<Process>>,
    programs: Programs,
    topology: Topology,
}

impl Bed {
    /// Builds network and observer; the nodes are up and empty.
    ///
    /// # Errors
    /// When something cannot be set up.
    pub fn build(shape: Shape, programs: Programs) -> Result<Self> {
        let topology = Topology::build(shape)?;
        let observer = Observer::start(&topology)?;
        let processes = topology.ids().map(|_| Vec::new()).collect();
        Ok(Self { observer, processes, programs, topology })
    }

    /// The observer.
    #[must_use]
    pub const fn observer(&self) -> &Observer {
        &self.observer
    }
    /// The network.
    #[must_use]
    pub const fn topology(&self) -> &Topology {
        &self.topology
    }
    /// The programs.
    #[must_use]
    pub const fn programs(&self) -> &Programs {
        &self.programs
    }

    /// Starts a process in a node; its output goes to `RUN/NODE-LOG.log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&mut self, node: u8, log: &str, command: Command) -> Result<&mut Process> {
        let log = self.topology.run().dir().join(format!("{}-{log}.log", node_name(node)));
        let process = Process::start(self.topology.node(node), command, &log)?;
        let list = &mut self.processes[usize::from(node) - 1];
        list.push(process);
        let last = list.len() - 1;
        Ok(&mut list[last])
    }

    /// Starts the responder in a node, with the generation that `from` says.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_responder(&mut self, node: u8, from: &[&str]) -> Result<()> {
        let mut command = Command::new(self.programs.path("netguard-testbed")?);
        command.args(["responder", "--node", &node.to_string()]).args(from);
        self.start(node, "responder", command).map(drop)
    }

    /// The processes of a node.
    pub fn processes(&mut self, node: u8) -> &mut Vec<Process> {
        &mut self.processes[usize::from(node) - 1]
    }

    /// Cuts a node's power.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn cut(&mut self, node: u8) -> Result<Cut> {
        let cut = power::cut(&self.topology, node)?;
        for mut process in self.processes(node).drain(..) {
            process.wait(Duration::from_millis(500));
        }
        Ok(cut)
    }

    /// Gives a node its power back; nothing runs on it yet.
    ///
    /// # Errors
    /// When something cannot be set up.
    pub fn restore(&mut self, node: u8) -> Result<()> {
        power::restore(&self.topology, node)
    }

    /// Leaves everything standing and running when this value goes.
    pub fn keep(&mut self) {
        self.topology.keep();
    }
}

/// Asks again and again until `look` gives a value; its `Err` is what was seen last.
///
/// # Errors
/// When the limit has passed, or Ctrl-C came.
pub fn wait_until<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> std::result::Result<T, String>,
) -> Result<T> {
    let end = os::now() + limit;
    loop {
        let seen = match look() {
            Ok(value) => return Ok(value),
            Err(seen) => seen,
        };
        if os::interrupted() {
            return Err(BedError::Interrupted);
        }
        if os::now() > end {
            let limit = std::time::Duration::from_nanos(limit.nanos());
            return Err(BedError::Limit { what: what.to_owned(), limit, seen });
        }
        os::sleep(Duration::from_millis(10));
    }
}
