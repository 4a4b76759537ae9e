//! The command line.

use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Asks, orders and watches a NetGuard cluster through the daemon of this machine
#[derive(Debug, Parser)]
#[command(name = "ng", version, arg_required_else_help = true, after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// Socket of the daemon [default: control.sock in the run directory]
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Run directory of the daemon
    #[arg(long, global = true, value_name = "DIR", default_value = "/run/netguard")]
    pub(crate) run_dir: PathBuf,
    /// Text for people, or one JSON object (for `watch`: one per line)
    #[arg(short, long, global = true, value_enum, default_value = "text", value_name = "FORM")]
    pub(crate) output: Form,
    /// Short for `-o json`
    #[arg(long, global = true, conflicts_with = "output")]
    pub(crate) json: bool,
    /// How long the daemon may take to answer, in seconds
    #[arg(long, global = true, value_name = "SECONDS", default_value = "5",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) timeout: u64,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Args {
    /// How to print.
    pub(crate) const fn form(&self) -> Form {
        if self.json { Form::Json } else { self.output }
    }
}

const EXIT_CODES: &str = "Exit codes:
  0  done; for `status` and `doctor`: everything is fine
  1  the daemon refused, `status` found something that is not fine, or `doctor` a warning
  2  wrong usage, a configuration with errors, or `doctor` found a failure
  3  the daemon cannot be reached or did not answer
  4  permission denied

Colour is used on a terminal only, and never with NO_COLOR set.";

/// How to print.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Form {
    /// For people.
    Text,
    /// For programs.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Is everything fine, and if not, why and what to do
    Status,
    /// The nodes, their state and their links
    Members,
    /// What happened when at the latest failovers
    Failovers {
        /// How many, at most
        #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 5,
              value_parser = clap::value_parser!(u32).range(1..=64))]
        limit: u32,
    },
    /// Orders about a service
    #[command(subcommand)]
    Service(ServiceCommand),
    /// Why a service is where it is, and what would change it
    Why {
        /// The service [default: all]
        service: Option<String>,
    },
    /// Orders about fencing
    #[command(subcommand)]
    Fence(FenceCommand),
    /// Will this machine keep its promises, and if not, what to do
    ///
    /// Examines clock, scheduling, links, gate, takeover and configuration, with the daemons running
    /// or not, and disturbs neither them nor the network. Takes about five seconds; run it as root.
    Doctor {
        /// The cluster's configuration
        #[arg(long, value_name = "FILE", default_value = "/etc/netguard/netguard.toml")]
        config: PathBuf,
        /// Which of its nodes this machine is [default: found by its addresses]
        #[arg(long, value_name = "NAME")]
        node: Option<String>,
        /// How long to listen for the peers, in seconds
        ///
        /// Before any daemon runs: start it on two nodes at once, they hear each other.
        #[arg(long, value_name = "SECONDS", default_value_t = 3,
              value_parser = clap::value_parser!(u64).range(1..=600))]
        listen: u64,
    },
    /// Prints what happens, as it happens
    Watch,
    /// About configuration files
    #[command(subcommand)]
    Config(ConfigCommand),
    /// The heartbeat's counters, also those of a daemon that is dead
    Stat {
        /// Counters that are zero too
        #[arg(short, long)]
        all: bool,
        /// What the fast path did last
        #[arg(short, long)]
        trace: bool,
    },
    /// About the cluster's key
    #[command(subcommand)]
    Key(KeyCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum FenceCommand {
    /// Asserts that a node is switched off, so that others may go on without it
    ///
    /// Look before you say so: if the node still runs, its services run twice.
    Confirm {
        /// The node that is off
        node: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// Moves a service to another node; nothing remains that would hold it there
    Move {
        /// The service
        service: String,
        /// The node that is to own it
        node: String,
        /// Wait until it runs there
        #[arg(short, long)]
        wait: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Shows all that is wrong with a file, each with its place and what to do
    Check {
        /// The file
        file: PathBuf,
        /// Check that it knows this node too
        #[arg(long, value_name = "NAME")]
        node: Option<String>,
        /// Do not look at the key file, which this machine may not have
        #[arg(long)]
        skip_key: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Makes a key that only its owner can read; copy it to all nodes
    New {
        /// The file, which must not exist
        file: PathBuf,
    },
}
