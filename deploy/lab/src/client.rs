//! A running lab, as a test or the command sees it.

use crate::error::{Context, LabError, Result};
use crate::frame::{self, Kind};
use crate::host::Folders;
use crate::message::{Answer, Clock, Cut, NodeState, Request, Start, Switch};
use crate::spec::Spec;
use base::Instant;
use disk::{Counters, Fault};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use testbed::os;

mod running;

pub use running::{Output, Running};

/// How long [`Node::run`] waits for a command.
pub const RUN_LIMIT: Duration = Duration::from_secs(120);

/// A running lab. One that was started here ends when this value goes; with the whole process, if
/// need be.
#[derive(Debug)]
pub struct Lab {
    spec: Spec,
    folders: Folders,
    owned: Option<Child>,
}

/// One node of it.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    lab: &'a Lab,
    name: &'a str,
}

impl Lab {
    /// Boots a lab and waits until every node is up and its clock measured.
    ///
    /// # Errors
    /// When something that it needs is missing, a node does not come up, or the name is taken.
    pub fn start(spec: &Spec) -> Result<Self> {
        let folders = Folders::of(&spec.name);
        folders.claim()?;
        let text = serde_json::to_string_pretty(spec)
            .map_err(|error| LabError::Refused(error.to_string()))?;
        fs::write(folders.spec(), text).context(folders.spec().display().to_string())?;
        fs::create_dir_all(&spec.logs).context(spec.logs.display().to_string())?;
        let log = spec.logs.join("supervisor.log");
        let errors = File::create(&log).context(log.display().to_string())?;
        let mut serve = Command::new(spec.programs.join("netguard-lab"));
        serve.arg("serve").arg(&folders.root);
        // Ctrl-C is for the owner; the lab follows when the owner's end of its input closes.
        serve.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors).process_group(0);
        let mut child = serve.spawn().context("netguard-lab")?;
        let said = child.stdout.take().map(|out| {
            let mut text = String::new();
            let mut out = BufReader::new(out);
            // What cannot be read is not "ready", and is told below.
            let _ = out.read_line(&mut text);
            if text.trim() != "ready" {
                let _ = out.read_to_string(&mut text);
            }
            text
        });
        let lab = Self { spec: spec.clone(), folders, owned: Some(child) };
        match said.as_deref().map(str::trim) {
            Some("ready") => Ok(lab),
            Some(reason) if !reason.is_empty() => {
                let more = log.display();
                Err(LabError::Refused(format!("the lab {} {reason} (logs: {more})", spec.name)))
            }
            _ => {
                drop(lab);
                let words = testbed::process::last_lines(&log, 8);
                Err(LabError::Refused(format!("the lab did not start: {words}")))
            }
        }
    }

    /// A lab that runs already.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn attach(name: &str) -> Result<Self> {
        let folders = Folders::of(name);
        let none = |_| LabError::Refused(format!("no lab {name} is up: `cargo xtask lab up`"));
        let text = fs::read_to_string(folders.spec()).map_err(none)?;
        let spec =
            serde_json::from_str(&text).map_err(|error| LabError::Refused(error.to_string()))?;
        let lab = Self { spec, folders, owned: None };
        lab.nodes().map_err(|_| LabError::Refused(format!("the lab {name} has ended")))?;
        Ok(lab)
    }

    /// Leaves it running when this value goes.
    ///
    /// # Errors
    /// When it has ended meanwhile.
    pub fn detach(mut self) -> Result<()> {
        if let Some(mut child) = self.owned.take() {
            let mut input = child.stdin.take();
            let told = input.as_mut().map_or(Ok(()), |it| it.write_all(b"k"));
            told.context("the lab")?;
        }
        Ok(())
    }

    /// Ends it, whoever started it, and waits for that.
    ///
    /// # Errors
    /// When it does not end.
    pub fn down(mut self) -> Result<()> {
        self.end()
    }

    /// What it is made of.
    #[must_use]
    pub const fn spec(&self) -> &Spec {
        &self.spec
    }

    /// A node of it; a wrong name is told by the first request.
    #[must_use]
    pub const fn node<'a>(&'a self, name: &'a str) -> Node<'a> {
        Node { lab: self, name }
    }

    /// All nodes as they are.
    ///
    /// # Errors
    /// When the lab has ended.
    pub fn nodes(&self) -> Result<Vec<NodeState>> {
        match self.ask(&Request::Describe)? {
            Answer::Nodes(list) => Ok(list),
            other => Err(unfitting(&other)),
        }
    }

    /// The folder that guests see as `/lab/share`.
    #[must_use]
    pub fn share(&self) -> PathBuf {
        self.folders.share()
    }

    /// Makes a disk (`a-0`) behave badly; `None` ends that.
    ///
    /// # Errors
    /// When there is no such disk.
    pub fn set_fault(&self, disk: &str, fault: Option<Fault>) -> Result<()> {
        self.ask(&Request::Fault { disk: disk.to_owned(), fault }).map(|_| ())
    }

    /// What a disk was asked so far.
    ///
    /// # Errors
    /// When there is no such disk.
    pub fn disk(&self, disk: &str) -> Result<Counters> {
        match self.ask(&Request::Disk { disk: disk.to_owned() })? {
            Answer::Disk(counters) => Ok(counters),
            other => Err(unfitting(&other)),
        }
    }

    fn ask(&self, request: &Request) -> Result<Answer> {
        let mut stream = self.connect(request)?;
        let frame = frame::read(&mut stream).context("the lab's answer")?;
        let frame = frame.ok_or_else(|| LabError::Channel("the lab has ended".into()))?;
        let answer = serde_json::from_slice(&frame.payload)
            .map_err(|error| LabError::Channel(error.to_string()))?;
        match answer {
            Answer::Refused(why) => Err(LabError::Refused(why)),
            answer => Ok(answer),
        }
    }

    fn connect(&self, request: &Request) -> Result<UnixStream> {
        if os::interrupted() {
            return Err(LabError::Interrupted);
        }
        let path = self.folders.socket();
        let mut stream = UnixStream::connect(&path).context(path.display().to_string())?;
        let text =
            serde_json::to_vec(request).map_err(|error| LabError::Channel(error.to_string()))?;
        frame::write(&mut stream, 0, Kind::Message, &text).context("request")?;
        Ok(stream)
    }

    fn end(&mut self) -> Result<()> {
        if let Some(child) = &mut self.owned {
            drop(child.stdin.take());
            let status = child.wait().context("the lab's end");
            self.owned = None;
            return status.map(|_| ());
        }
        let mut stream = self.connect(&Request::Down)?;
        // The connection ends with the lab.
        let _ = frame::read(&mut stream);
        self.folders.wait_gone()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.owned.is_some() {
            // There is nobody to tell: the kernel ends the lab in any case.
            let _ = self.end();
        }
    }
}

impl<'a> Node<'a> {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'a str {
        self.name
    }

    /// Starts a command.
    ///
    /// # Errors
    /// When the node is not up.
    pub fn spawn(&self, argv: &[&str]) -> Result<Running> {
        self.begin(argv, None)
    }

    /// Starts a command on a terminal of its own.
    ///
    /// # Errors
    /// When the node is not up.
    pub fn spawn_on_terminal(&self, argv: &[&str], rows: u16, columns: u16) -> Result<Running> {
        self.begin(argv, Some((rows, columns)))
    }

    /// Runs a command, without input, to its end.
    ///
    /// # Errors
    /// When it cannot be started, or goes on for longer than [`RUN_LIMIT`].
    pub fn run(&self, argv: &[&str]) -> Result<Output> {
        let mut running = self.spawn(argv)?;
        running.end_input()?;
        running.wait(RUN_LIMIT)
    }

    /// Runs a line of shell and returns what it printed.
    ///
    /// # Errors
    /// As [`Node::run`], and when it fails.
    pub fn sh(&self, line: &str) -> Result<String> {
        self.run(&["sh", "-ec", line])?.success()
    }

    /// Cuts its power; `seed` says what its disks forget.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn power_off(&self, seed: u64) -> Result<Cut> {
        match self.lab.ask(&self.power(Switch::Off(seed)))? {
            Answer::Cut(cut) => Ok(cut),
            other => Err(unfitting(&other)),
        }
    }

    /// Switches it on and waits until it is up.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn power_on(&self) -> Result<()> {
        self.lab.ask(&self.power(Switch::On)).map(|_| ())
    }

    /// Switches it on, as a BMC does: without waiting.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn power_on_at_once(&self) -> Result<()> {
        self.lab.ask(&self.power(Switch::OnAtOnce)).map(|_| ())
    }

    /// Whether it has power.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn is_on(&self) -> Result<bool> {
        match self.lab.ask(&Request::PowerState { node: self.name.to_owned() })? {
            Answer::Power(on) => Ok(on),
            other => Err(unfitting(&other)),
        }
    }

    /// Plugs one of its cables in or out.
    ///
    /// # Errors
    /// When there is no such node or bridge.
    pub fn link(&self, bridge: &str, up: bool) -> Result<()> {
        let (node, bridge) = (self.name.to_owned(), bridge.to_owned());
        self.lab.ask(&Request::Link { node, bridge, up }).map(|_| ())
    }

    /// Stops its machine for a time, as a host that gives it no processor, and waits for the end of that.
    ///
    /// # Errors
    /// When it has no power.
    pub fn freeze(&self, span: base::Duration) -> Result<()> {
        let node = self.name.to_owned();
        self.lab.ask(&Request::Freeze { node, span: span.nanos() }).map(|_| ())
    }

    /// Measures its clock against this machine's CLOCK_BOOTTIME.
    ///
    /// # Errors
    /// When it is not up.
    pub fn clock(&self) -> Result<Clock> {
        match self.lab.ask(&Request::Clock { node: self.name.to_owned() })? {
            Answer::Clock(clock) => Ok(clock),
            other => Err(unfitting(&other)),
        }
    }

    /// The longest stall over `limit` that the node's own meter saw between two times of the host.
    ///
    /// # Errors
    /// When it is not up.
    pub fn stall(
        &self,
        from: Instant,
        to: Instant,
        limit: base::Duration,
    ) -> Result<Option<(Instant, Instant)>> {
        let node = self.name.to_owned();
        let (from, to, limit) = (from.0, to.0, limit.nanos());
        match self.lab.ask(&Request::Stalls { node, from, to, limit })? {
            Answer::Stalls(found) => Ok(found.map(|(from, to)| (Instant(from), Instant(to)))),
            other => Err(unfitting(&other)),
        }
    }

    fn power(&self, switch: Switch) -> Request {
        Request::Power { node: self.name.to_owned(), switch }
    }

    fn begin(&self, argv: &[&str], terminal: Option<(u16, u16)>) -> Result<Running> {
        let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
        let line = argv.join(" ");
        let start = Start { argv, terminal };
        let node = self.name.to_owned();
        let stream = self.lab.connect(&Request::Run { node: node.clone(), start })?;
        Running::new(node, line, stream)
    }
}

fn unfitting(answer: &Answer) -> LabError {
    LabError::Channel(format!("the lab gave an answer that fits nothing: {answer:?}"))
}
