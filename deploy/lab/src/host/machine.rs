//! One node: a User Mode Linux process, its power switch, its channel.

use super::channel::{Channel, lock};
use super::network::{Network, hardware_address, tap};
use super::{Folders, bmc};
use crate::error::{Context, LabError, Result};
use crate::image;
use crate::message::{Clock, Cut, NodeState};
use crate::spec::{BRIDGES, NodeSpec, Spec};
use disk::Disks;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testbed::os;

/// How long a boot may take: two seconds on an idle machine, more when many boot beside a compiler.
const BOOT_LIMIT: Duration = Duration::from_secs(60);
/// The number of block devices in the list of virtio devices.
const VIRTIO_BLOCK: u32 = 2;
/// The descriptor under which the kernel finds its end of the command channel.
const CHANNEL: i32 = 3;

/// One node.
#[derive(Debug)]
pub(crate) struct Machine {
    spec: NodeSpec,
    image: PathBuf,
    folders: Folders,
    logs: PathBuf,
    network: Arc<Network>,
    disks: Arc<Disks>,
    power: Mutex<Power>,
    bmc: Option<bmc::Bmc>,
}

#[derive(Debug, Default)]
struct Power {
    running: Option<Running>,
    boots: u32,
    clock: Option<Clock>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    channel: Arc<Channel>,
}

impl Machine {
    /// A node without power, and its BMC, which has it.
    pub(crate) fn new(
        spec: &Spec,
        node: &NodeSpec,
        folders: &Folders,
        network: Arc<Network>,
        disks: Arc<Disks>,
    ) -> Self {
        let bmc = node.bmc.then(|| bmc::Bmc::start(folders, &spec.logs, node));
        Self {
            spec: node.clone(),
            image: spec.image.clone(),
            folders: folders.clone(),
            logs: spec.logs.clone(),
            network,
            disks,
            power: Mutex::default(),
            bmc,
        }
    }

    /// What it is.
    pub(crate) const fn spec(&self) -> &NodeSpec {
        &self.spec
    }

    /// Says why its BMC is not there, if so.
    pub(crate) fn check_bmc(&self) -> Result<()> {
        self.bmc.as_ref().map_or(Ok(()), bmc::Bmc::check)
    }

    /// Switches it on; does nothing if it is on.
    pub(crate) fn on(&self) -> Result<()> {
        let mut power = lock(&self.power);
        self.notice_end(&mut power);
        if power.running.is_some() {
            return Ok(());
        }
        self.network.set_node(&self.spec, true)?;
        power.boots += 1;
        power.clock = None;
        power.running = Some(self.boot()?);
        Ok(())
    }

    /// Waits until it is up, and measures its clock.
    pub(crate) fn wait_ready(&self) -> Result<()> {
        let channel = self.line()?;
        channel.wait_ready(BOOT_LIMIT).map_err(|error| self.with_console(error))?;
        self.measure_clock().map(|_| ())
    }

    /// Cuts the power: cables, process, caches of the disks.
    pub(crate) fn off(&self, seed: u64) -> Result<Cut> {
        let mut power = lock(&self.power);
        let at = os::now();
        self.network.set_node(&self.spec, false)?;
        if let Some(running) = &power.running {
            kill_group(running.child.id());
        }
        let killed = os::now();
        let disks = (0..self.spec.disks.len())
            .map(|index| self.spec.disk_name(index))
            .filter_map(|name| {
                let disk = self.disks.disk(&name)?;
                let report = disk.cut(seed);
                Some((name, report))
            })
            .collect();
        if let Some(mut running) = power.running.take() {
            running.child.wait().context(format!("{}: its process", self.spec.name))?;
        }
        Ok(Cut { at: at.0, killed: killed.0, disks })
    }

    /// Whether it has power: a kernel that powered itself off, or panicked, has not.
    pub(crate) fn is_on(&self) -> bool {
        let mut power = lock(&self.power);
        self.notice_end(&mut power);
        power.running.is_some()
    }

    /// Its command channel.
    pub(crate) fn line(&self) -> Result<Arc<Channel>> {
        let power = lock(&self.power);
        let running = power.running.as_ref();
        let off = || LabError::Refused(format!("{} has no power", self.spec.name));
        running.map(|it| Arc::clone(&it.channel)).ok_or_else(off)
    }

    /// Measures its clock.
    pub(crate) fn measure_clock(&self) -> Result<Clock> {
        let clock = self.line()?.clock()?;
        lock(&self.power).clock = Some(clock);
        Ok(clock)
    }

    /// Its clock as measured last.
    pub(crate) fn clock(&self) -> Result<Clock> {
        let known = lock(&self.power).clock;
        known.map_or_else(|| self.measure_clock(), Ok)
    }

    /// Takes its processor away for a time.
    pub(crate) fn freeze(&self, span: base::Duration) -> Result<()> {
        let pid = self.state().pid;
        let off = || LabError::Refused(format!("{} has no power", self.spec.name));
        let pid = pid.ok_or_else(off)?;
        os::signal(pid, libc::SIGSTOP);
        os::sleep(span);
        os::signal(pid, libc::SIGCONT);
        Ok(())
    }

    /// One cable in or out.
    pub(crate) fn cable(&self, bridge: &str, up: bool) -> Result<()> {
        let number = BRIDGES.iter().position(|it| *it == bridge).ok_or_else(|| {
            LabError::Refused(format!("no bridge {bridge}; there are {}", BRIDGES.join(" and ")))
        })?;
        self.network.set_cable(&self.spec, number, up)
    }

    /// How it is.
    pub(crate) fn state(&self) -> NodeState {
        let mut power = lock(&self.power);
        self.notice_end(&mut power);
        NodeState {
            name: self.spec.name.clone(),
            on: power.running.is_some(),
            pid: power.running.as_ref().map(|it| it.child.id() as i32),
            boots: power.boots,
            clock: power.clock,
        }
    }

    fn notice_end(&self, power: &mut Power) {
        let ended = power.running.as_mut().and_then(|it| it.child.try_wait().ok().flatten());
        if let Some(status) = ended {
            eprintln!("{}: its machine ended by itself ({status})", self.spec.name);
            if let Some(running) = power.running.take() {
                kill_group(running.child.id());
            }
        }
    }

    fn with_console(&self, error: LabError) -> LabError {
        let said = testbed::process::last_lines(&self.console(), 12);
        match error {
            LabError::Limit { node, what, seconds, .. } => {
                let hint = format!("the end of its console:\n{said}");
                LabError::Limit { node, what, seconds, hint }
            }
            other => LabError::Channel(format!("{other}; the end of its console:\n{said}")),
        }
    }

    fn console(&self) -> PathBuf {
        self.logs.join(format!("{}-console.log", self.spec.name))
    }

    fn boot(&self) -> Result<Running> {
        let console = self.console();
        let log = File::options().create(true).append(true).open(&console);
        let log = log.context(console.display().to_string())?;
        let (ours, theirs) = Channel::pair()?;
        let kernel = image::kernel(&self.image);
        let mut command = Command::new(&kernel);
        command.args(self.arguments()).stdin(Stdio::null());
        command.stderr(log.try_clone().context("console")?).stdout(log);
        command.process_group(0);
        command.env("HOME", &self.folders.root).env("TMPDIR", "/dev/shm");
        let number = theirs.as_raw_fd();
        let hand_over = move || {
            // SAFETY: between fork and exec only system calls; both numbers are open descriptors.
            let done = unsafe {
                if number == CHANNEL {
                    libc::fcntl(number, libc::F_SETFD, 0)
                } else {
                    libc::dup2(number, CHANNEL)
                }
            };
            if done < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
        };
        // SAFETY: see above; nothing allocates or locks.
        unsafe { command.pre_exec(hand_over) };
        let child = command.spawn().context(kernel.display().to_string())?;
        Ok(Running { child, channel: Channel::open(&self.spec.name, ours)? })
    }

    fn arguments(&self) -> Vec<String> {
        let node = &self.spec;
        let mut words = vec![
            format!("mem={}M", node.memory_mib),
            "root=/dev/root".to_owned(),
            "rootfstype=hostfs".to_owned(),
            format!("rootflags={}", self.image.display()),
            "ro".to_owned(),
            "init=/lab/bin/netguard-lab-guest".to_owned(),
            "con=null".to_owned(),
            "con0=null,fd:1".to_owned(),
            format!("ssl0=fd:{CHANNEL}"),
            format!("uml_dir={}", self.folders.root.join("uml").display()),
            format!("umid={}", node.name),
            "quiet".to_owned(),
            "panic=-1".to_owned(),
            // Words that the kernel does not know become the environment of process 1.
            format!("lab_node={}", node.name),
            format!("lab_id={}", node.id),
            format!("lab_share={}", self.folders.share().display()),
        ];
        for bridge in 0..BRIDGES.len() {
            let (tap, mac) = (tap(node, bridge), hardware_address(node, bridge));
            words.push(format!("vec{bridge}:transport=tap,ifname={tap},depth=128,gro=1,mac={mac}"));
        }
        for index in 0..node.disks.len() {
            let path = self.disks.path(&node.disk_name(index));
            words.push(format!("virtio_uml.device={}:{VIRTIO_BLOCK}", path.display()));
        }
        words
    }
}

/// A power cut: every process of the group, which is the machine.
fn kill_group(leader: u32) {
    if leader > 1 {
        // SAFETY: kill has no memory arguments; the group is the one made at `boot`.
        unsafe { libc::kill(-(leader as i32), libc::SIGKILL) };
    }
}
