//! The words spoken on the two channels: test or command → supervisor, supervisor → guest.

use base::Instant;
use disk::{Counters, CutReport, Fault};
use serde::{Deserialize, Serialize};

/// What a command is started with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Start {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Rows and columns of the terminal that it runs on, if it runs on one.
    pub terminal: Option<(u16, u16)>,
}

/// Supervisor → guest. Standard input travels as bytes; an empty piece ends it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ToGuest {
    /// Starts a command under the frame's id.
    Start(Start),
    /// Sends the command a signal.
    Signal(i32),
    /// Its terminal has another size.
    Resize(u16, u16),
    /// What time is it?
    Ping,
    /// The longest stall over the limit (ns) between two times of the guest's clock?
    Stalls {
        /// From here,
        from: u64,
        /// to here;
        to: u64,
        /// only longer ones.
        limit: u64,
    },
}

/// Guest → supervisor. Output travels as bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum FromGuest {
    /// The node is up, its network configured.
    Ready,
    /// So many more bytes of the line were read.
    Took(usize),
    /// The command could not be started.
    Failed(String),
    /// The command ended; all its output came before.
    Ended(Ended),
    /// The guest's clock, in nanoseconds.
    Pong(u64),
    /// The longest stall: from, to.
    Stalls(Option<(u64, u64)>),
}

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Ended {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Its node lost power, or its channel broke.
    Lost,
}

impl std::fmt::Display for Ended {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(out, "exit code {code}"),
            Self::Signal(signal) => write!(out, "signal {signal}"),
            Self::Lost => write!(out, "its node: no power, or a broken channel"),
        }
    }
}

/// What to do with a node's power.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Switch {
    /// Cut it, with this seed for the disks.
    Off(u64),
    /// Switch it on and wait until the node is ready.
    On,
    /// Switch it on and do not wait.
    OnAtOnce,
}

/// Test or command → supervisor: one request a connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    /// Runs a command in a node; the connection then carries its input and output.
    Run {
        /// Where.
        node: String,
        /// What.
        start: Start,
    },
    /// Works the power switch.
    Power {
        /// Of which node.
        node: String,
        /// How.
        switch: Switch,
    },
    /// Is it on?
    PowerState {
        /// Which node.
        node: String,
    },
    /// Plugs or unplugs a node's cable.
    Link {
        /// Which node.
        node: String,
        /// Which bridge.
        bridge: String,
        /// In or out.
        up: bool,
    },
    /// Stops a node's machine for a time, as a host that gives it no processor.
    Freeze {
        /// Which node.
        node: String,
        /// For how long, in nanoseconds.
        span: u64,
    },
    /// Makes a disk behave badly; `None` ends all of it.
    Fault {
        /// Which disk (`a-0`).
        disk: String,
        /// How.
        fault: Option<Fault>,
    },
    /// What a disk was asked so far.
    Disk {
        /// Which disk.
        disk: String,
    },
    /// Measures a guest's clock against the host's.
    Clock {
        /// Which node.
        node: String,
    },
    /// The longest stall that a node's meter saw; host times.
    Stalls {
        /// Which node.
        node: String,
        /// From here,
        from: u64,
        /// to here;
        to: u64,
        /// only longer ones.
        limit: u64,
    },
    /// What is running.
    Describe,
    /// Ends the lab.
    Down,
}

/// Supervisor → test or command.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// Done.
    Done,
    /// It cannot be done, and why.
    Refused(String),
    /// The power is off.
    Cut(Cut),
    /// On or off.
    Power(bool),
    /// A disk's counters.
    Disk(Counters),
    /// A guest's clock.
    Clock(Clock),
    /// The longest stall, in host times.
    Stalls(Option<(u64, u64)>),
    /// The nodes.
    Nodes(Vec<NodeState>),
    /// The command ended.
    Ended(Ended),
}

/// A power cut.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cut {
    /// When the network was cut (host clock, CLOCK_BOOTTIME, ns); the process was gone at once after.
    pub at: u64,
    /// When the kill had been sent.
    pub killed: u64,
    /// What each disk lost.
    pub disks: Vec<(String, CutReport)>,
}

impl Cut {
    /// When the network was cut.
    #[must_use]
    pub const fn instant(&self) -> Instant {
        Instant(self.at)
    }
}

/// A guest's clock: guest time = host time + offset, give or take the error.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Clock {
    /// In nanoseconds.
    pub offset: i64,
    /// Half of the best round trip, in nanoseconds.
    pub error: u64,
}

impl Clock {
    /// A time of the guest as one of the host.
    #[must_use]
    pub const fn to_host(&self, guest: u64) -> u64 {
        guest.wrapping_add_signed(-self.offset)
    }

    /// A time of the host as one of the guest.
    #[must_use]
    pub const fn to_guest(&self, host: u64) -> u64 {
        host.wrapping_add_signed(self.offset)
    }
}

/// One node, as `lab status` shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeState {
    /// Its name.
    pub name: String,
    /// Whether its power is on.
    pub on: bool,
    /// The process that is its machine, as the supervisor sees it.
    pub pid: Option<i32>,
    /// How often it was switched on.
    pub boots: u32,
    /// Its clock, as measured last.
    pub clock: Option<Clock>,
}
