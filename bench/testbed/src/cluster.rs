//! A NetGuard cluster in a bed: its files, its daemons, its state as its own local sockets tell it.

use crate::bed::{Bed, wait_until};
use crate::error::{BedError, Context, Result};
use crate::os;
use crate::power::Cut;
use crate::programs::Programs;
use crate::spec::{NodeFiles, SERVICE, Spec, write_key};
use crate::timeline::Timeline;
use crate::topology::node_name;
use api::{Failover, MemberState, Phase, Role, Service, Status};
use base::{Duration, Instant};
use netguard::Client;
use shm::ReadMap;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Cold start, admission and state transfer all fit easily.
pub const SETTLE: Duration = Duration::from_millis(30_000);
/// A local socket that does not answer is asked again.
const ASK: std::time::Duration = std::time::Duration::from_millis(1_000);

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    bed: Bed,
    spec: Spec,
    key: PathBuf,
    alive: Vec<bool>,
}

/// A cluster at rest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settled {
    /// The node that owns the service.
    pub owner: u8,
    /// The service's generation.
    pub generation: u64,
    /// The primary of the agreement.
    pub primary: u8,
}

impl Cluster {
    /// Builds the bed, writes the files and starts every node.
    ///
    /// # Errors
    /// When something cannot be set up or started.
    pub fn start(spec: Spec, programs: &Programs) -> Result<Self> {
        let mut this = Self::prepare(spec, programs)?;
        for node in this.ids() {
            this.start_node(node)?;
        }
        Ok(this)
    }

    /// Builds the bed and writes the files; nothing runs yet.
    ///
    /// # Errors
    /// When something cannot be set up.
    pub fn prepare(spec: Spec, programs: &Programs) -> Result<Self> {
        programs.path("netguard-control")?;
        let bed = Bed::build(spec.shape, programs.clone())?;
        let key = bed.topology().run().dir().join("cluster.key");
        write_key(&key)?;
        let alive = bed.topology().ids().map(|_| false).collect();
        let this = Self { bed, spec, key, alive };
        for node in this.ids() {
            this.files(node).write(&this.spec.text(&this.key))?;
        }
        Ok(this)
    }

    /// The bed.
    #[must_use]
    pub const fn bed(&self) -> &Bed {
        &self.bed
    }
    /// The bed, to be changed.
    pub const fn bed_mut(&mut self) -> &mut Bed {
        &mut self.bed
    }
    /// What it is like.
    #[must_use]
    pub const fn spec(&self) -> &Spec {
        &self.spec
    }
    /// The key file.
    #[must_use]
    pub fn key(&self) -> &Path {
        &self.key
    }
    /// Ids of all nodes.
    pub fn ids(&self) -> impl Iterator<Item = u8> + use<> {
        self.bed.topology().ids()
    }
    /// Ids of the nodes that have power and daemons.
    #[must_use]
    pub fn alive(&self) -> Vec<u8> {
        self.ids().filter(|node| self.alive[usize::from(*node) - 1]).collect()
    }
    /// The files of a node.
    #[must_use]
    pub fn files(&self, node: u8) -> NodeFiles {
        NodeFiles::of(self.bed.topology().run().dir(), node)
    }

    /// The command that starts a node's daemons.
    ///
    /// # Errors
    /// When the program is not there.
    pub fn daemon(&self, node: u8) -> Result<Command> {
        let files = self.files(node);
        let mut command = Command::new(self.bed.programs().path("netguard-fast")?);
        command.arg("--config").arg(&files.config).args(["--node", &node_name(node)]);
        command.arg("--run-dir").arg(&files.run_dir).arg("--state-dir").arg(&files.state_dir);
        if let Some(loss) = &self.spec.loss {
            command.env("NETGUARD_TEST_LOSS", loss);
        }
        if self.spec.rehearsed {
            command.env("NETGUARD_TEST_CONFIGURE", files.rehearsal());
        }
        if let Some(level) = self.spec.levels.get(&node) {
            command.env("NETGUARD_TEST_LEVEL", level.to_string());
        }
        if self.spec.probes {
            command.env("NETGUARD_TEST_PROBES", "1");
        }
        Ok(command)
    }

    /// Starts a node's daemons and its responder.
    ///
    /// # Errors
    /// When they cannot be started.
    pub fn start_node(&mut self, node: u8) -> Result<()> {
        let command = self.daemon(node)?;
        self.bed.start(node, "daemons", command)?;
        let map = self.files(node).map();
        self.bed.start_responder(node, &["--map", &map.display().to_string()])?;
        self.alive[usize::from(node) - 1] = true;
        Ok(())
    }

    /// No longer expects anything of a node whose daemons were ended while its machine lives.
    pub fn retire(&mut self, node: u8) {
        self.alive[usize::from(node) - 1] = false;
    }

    /// Installs a release on a node that understands this feature level; in use from its next start on.
    pub fn install(&mut self, node: u8, level: u16) {
        self.spec.levels.insert(node, level);
    }

    /// Cuts a node's power.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn cut(&mut self, node: u8) -> Result<Cut> {
        self.alive[usize::from(node) - 1] = false;
        self.bed.cut(node)
    }

    /// Gives a node its power back and starts it anew: the run directory is empty, as after a boot.
    ///
    /// # Errors
    /// When something cannot be set up or started.
    pub fn restore(&mut self, node: u8) -> Result<()> {
        let run_dir = self.files(node).run_dir;
        let _ = std::fs::remove_dir_all(&run_dir);
        std::fs::create_dir_all(&run_dir).context(run_dir.display().to_string())?;
        self.bed.restore(node)?;
        self.start_node(node)
    }

    /// Connects to a node's local socket.
    ///
    /// # Errors
    /// When its daemons do not answer.
    pub fn client(&self, node: u8) -> Result<Client> {
        let mut client =
            Client::connect_in(self.files(node).run_dir).map_err(|error| no_answer(node, error))?;
        client.set_timeout(ASK);
        Ok(client)
    }

    /// A node's status.
    ///
    /// # Errors
    /// When its daemons do not answer.
    pub fn status(&self, node: u8) -> Result<Status> {
        self.client(node)?.status().map_err(|error| no_answer(node, error))
    }

    /// The service as a node sees it.
    ///
    /// # Errors
    /// When its daemons do not answer.
    pub fn service(&self, node: u8) -> Result<Service> {
        let status = self.status(node)?;
        let found = status.services.into_iter().find(|it| it.name == SERVICE);
        found.ok_or_else(|| BedError::Socket {
            node: node_name(node),
            reason: format!("its status has no service {SERVICE}"),
        })
    }

    /// The process of a node whose name begins so (the kernel keeps 15 characters).
    #[must_use]
    pub fn find(&self, node: u8, program: &str) -> Option<i32> {
        let short = &program[..program.len().min(15)];
        let named = |pid: &i32| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
            name.is_ok_and(|it| it.trim_end() == short)
        };
        self.bed.topology().node(node).processes().into_iter().find(named)
    }

    /// Sends a signal to each of a node's `programs`, as close together as it can be done; says when
    /// it began to send.
    ///
    /// # Errors
    /// When one of them does not run.
    pub fn signal(&self, node: u8, programs: &[&str], signal: i32) -> Result<Instant> {
        let mut found = Vec::new();
        for program in programs {
            let pid = self.find(node, program).ok_or_else(|| BedError::Socket {
                node: node_name(node),
                reason: format!("no {program} runs"),
            })?;
            found.push(pid);
        }
        let begin = os::now();
        found.into_iter().for_each(|pid| os::signal(pid, signal));
        Ok(begin)
    }

    /// When the lease of a node ends, as its fast path wrote it last; zero if it is closed or no
    /// life of the node ever wrote one.
    #[must_use]
    pub fn lease_end(&self, node: u8) -> Instant {
        let map = ReadMap::open(&self.files(node).map());
        map.map_or(Instant::ZERO, |it| it.board().lease_end())
    }

    /// Gives a node alone another interval while it runs, and waits until its fast path has it.
    ///
    /// # Errors
    /// When it does not take it.
    pub fn rehearse(&self, node: u8, interval: &str, misses: u32) -> Result<()> {
        let taken = || self.counters(node).get("fast.changes").copied().unwrap_or(0);
        let (before, path) = (taken(), self.files(node).rehearsal());
        let spec = Spec { interval: interval.into(), misses, ..self.spec.clone() };
        let written = path.with_extension("new");
        std::fs::write(&written, spec.text(&self.key)).context(written.display().to_string())?;
        std::fs::rename(&written, &path).context(path.display().to_string())?;
        wait_until("the other settings to be taken", Duration::from_millis(3_000), || {
            if taken() > before { Ok(()) } else { Err(format!("{} has not", node_name(node))) }
        })
    }

    /// Runs `ng` on a node, and returns what it printed and its exit code.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn ng(&self, node: u8, words: &[&str]) -> Result<(String, Option<i32>)> {
        let mut command = Command::new(self.bed.programs().path("ng")?);
        command.arg("--run-dir").arg(self.files(node).run_dir).args(words);
        let output = command.output().context("ng")?;
        let said = [output.stdout, output.stderr].concat();
        Ok((String::from_utf8_lossy(&said).into_owned(), output.status.code()))
    }

    /// What a node's daemons and responder wrote.
    #[must_use]
    pub fn log(&self, node: u8) -> String {
        let dir = self.bed.topology().run().dir();
        let read = |log: &str| std::fs::read(dir.join(format!("{}-{log}.log", node_name(node))));
        let text =
            [read("daemons"), read("responder")].map(std::io::Result::unwrap_or_default).concat();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Starts only the daemons of a node; its responder runs.
    ///
    /// # Errors
    /// When they cannot be started.
    pub fn start_daemons(&mut self, node: u8) -> Result<()> {
        let command = self.daemon(node)?;
        self.bed.processes(node).retain_mut(|it| it.ended().is_none());
        self.bed.start(node, "daemons", command)?;
        self.alive[usize::from(node) - 1] = true;
        Ok(())
    }

    /// The counters of a node that are not zero, by name; also of a dead one.
    #[must_use]
    pub fn counters(&self, node: u8) -> BTreeMap<String, u64> {
        let map = ReadMap::open(&self.files(node).map());
        map.map(|it| it.counters().filter(|(_, n)| *n > 0).collect()).unwrap_or_default()
    }

    /// Waits until every live node is a member of one view, the service runs, and its owner answers
    /// at the client.
    ///
    /// # Errors
    /// When that does not come about; with the first thing that was missing.
    pub fn settle(&mut self) -> Result<Settled> {
        self.settle_within(SETTLE)
    }

    /// The same with another limit.
    ///
    /// # Errors
    /// As above.
    pub fn settle_within(&mut self, limit: Duration) -> Result<Settled> {
        let seen = wait_until("the cluster to settle", limit, || self.at_rest());
        // A daemon that has ended says more than the peers who wait for it.
        self.daemons_run()?;
        seen.map_err(|error| self.with_views(error))
    }

    /// What every node says of itself, below what was missing first.
    fn with_views(&self, error: BedError) -> BedError {
        match error {
            BedError::Limit { what, limit, mut seen } => {
                for node in self.alive() {
                    let status =
                        self.status(node).map_or_else(|e| e.to_string(), |it| format!("{it:?}"));
                    let counters = self.counters(node);
                    seen.push_str(&format!("\n{}: {status}\n    {counters:?}", node_name(node)));
                }
                BedError::Limit { what, limit, seen }
            }
            other => other,
        }
    }

    /// Checks that no daemon has ended by itself.
    ///
    /// # Errors
    /// With its last words.
    pub fn daemons_run(&mut self) -> Result<()> {
        for node in self.alive() {
            for process in self.bed.processes(node) {
                if let Some(status) = process.ended() {
                    return Err(BedError::Ended {
                        what: format!("{} on {}", process.name(), node_name(node)),
                        status: status.to_string(),
                        said: process.last_words(20),
                    });
                }
            }
        }
        Ok(())
    }

    fn at_rest(&self) -> std::result::Result<Settled, String> {
        let alive = self.alive();
        let mut settled: Option<Settled> = None;
        for node in &alive {
            let status = self.status(*node).map_err(|error| error.to_string())?;
            let here = at_rest(&status, &alive)?;
            if let Some(other) = &settled
                && *other != here
            {
                return Err(format!("{} sees {here:?}, another {other:?}", status.node));
            }
            settled = Some(here);
        }
        let settled = settled.ok_or("no node is alive")?;
        let last = self.bed.observer().record().last_answer();
        match last {
            Some(it) if it.generation == settled.generation && fresh(it.received) => Ok(settled),
            Some(it) => Err(format!("{settled:?}, but the last answer is {it:?}")),
            None => Err(format!("{settled:?}, but nobody answers at the client")),
        }
    }

    /// The newest record of the end of `victim` on each live node, complete: agreed everywhere, and
    /// on the new owner with the drivers' stamps.
    ///
    /// # Errors
    /// When a node has no such record in time.
    pub fn timeline(&self, victim: u8, cut: Cut, answer: Instant) -> Result<Timeline> {
        let name = node_name(victim);
        wait_until("the records of the failover", Duration::from_millis(3_000), || {
            let mut records = Vec::new();
            for node in self.alive() {
                let mut client = self.client(node).map_err(|error| error.to_string())?;
                let all = client.failovers(8).map_err(|error| error.to_string())?.failovers;
                let is_ours = |it: &Failover| {
                    it.victim == name && it.agreed_ns.is_some_and(|at| at > cut.at.0)
                };
                let found = all.into_iter().find(is_ours);
                let found = found.ok_or(format!("{} has no record", node_name(node)))?;
                records.push((node, found));
            }
            let timeline = Timeline { cut: cut.at, answer, records };
            match timeline.service(SERVICE) {
                Some(_) => Ok(timeline),
                None => Err("no record has the drivers' stamps".into()),
            }
        })
    }

    /// Orders the service to another node, and waits until it answers from there.
    ///
    /// # Errors
    /// When the order is refused or not carried out.
    pub fn move_service(&mut self, to: u8) -> Result<Settled> {
        let from = self.settle()?;
        if from.owner == to {
            return Ok(from);
        }
        let mut client = self.client(from.owner)?;
        client
            .move_service(SERVICE, &node_name(to))
            .map_err(|error| no_answer(from.owner, error))?;
        wait_until("the service to move", SETTLE, || match self.at_rest() {
            Ok(settled) if settled.owner == to => Ok(settled),
            Ok(settled) => Err(format!("{settled:?}")),
            Err(seen) => Err(seen),
        })
    }

    /// Leaves everything standing and running when this value goes.
    pub fn keep(&mut self) {
        self.bed.keep();
    }
}

/// What one node's status says about rest, or the first thing that is missing.
///
/// # Errors
/// With that thing.
pub fn at_rest(status: &Status, alive: &[u8]) -> std::result::Result<Settled, String> {
    let me = &status.node;
    if !status.quorum.held {
        return Err(format!("{me}: no quorum: {}", status.quorum.why));
    }
    if !status.lease.held {
        return Err(format!("{me}: no lease"));
    }
    for member in &status.members {
        let expected = alive.contains(&member.id);
        if expected != (member.state == MemberState::Member) {
            let state = format!("{} is {:?}", member.name, member.state);
            return Err(format!("{me}: {state} {}", member.reason));
        }
        // A candidate for the next cut must be a full voter, or the cut would cost the majority.
        let wanted = &status.configuration.wanted;
        if expected && !member.voter && (wanted.is_empty() || wanted.contains(&member.name)) {
            return Err(format!("{me}: {} has no vote yet", member.name));
        }
    }
    if status.agreement.role == Role::Learner {
        return Err(format!("{me}: still a learner"));
    }
    let service = status.services.iter().find(|it| it.name == SERVICE);
    let service = service.ok_or(format!("{me}: no service {SERVICE}"))?;
    if service.phase != Phase::Running {
        return Err(format!("{me}: {SERVICE} is {:?}: {}", service.phase, service.reason));
    }
    let number = |name: Option<&String>| {
        let found = status.members.iter().find(|it| Some(&it.name) == name);
        found.map(|it| it.id)
    };
    let owner = number(service.owner.as_ref()).ok_or(format!("{me}: no owner"))?;
    let primary = number(status.agreement.primary.as_ref()).ok_or(format!("{me}: no primary"))?;
    Ok(Settled { owner, generation: service.generation, primary })
}

fn fresh(received: Instant) -> bool {
    os::now().since(received) < Duration::from_millis(100)
}

fn no_answer(node: u8, error: netguard::Error) -> BedError {
    BedError::Socket { node: node_name(node), reason: error.to_string() }
}
