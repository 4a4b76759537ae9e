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
    /// Why a service is where it is, or a node has no vote yet, and what would change it
    Why {
        /// The service, or the node [default: all services]
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
    /// The agreed configuration: show, compare, change it; check a file
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Nodes come and go, while the services run
    #[command(subcommand)]
    Node(NodeCommand),
    /// The last resort
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// What the heartbeats say of the network: jitter, loss, round trips; also those of a daemon that is dead
    Links,
    /// The heartbeat's counters, also those of a daemon that is dead
    Stat {
        /// Counters that are zero too
        #[arg(short, long)]
        all: bool,
        /// What the fast path did last
        #[arg(short, long)]
        trace: bool,
    },
    /// Measures on this machine what is promised, and writes a report
    #[command(subcommand)]
    Bench(BenchCommand),
    /// About the cluster's key
    #[command(subcommand)]
    Key(KeyCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// What it costs to agree: entries of 64 bytes that change nothing, one after another
    Agree {
        /// How many
        #[arg(long, value_name = "COUNT", default_value_t = 2000,
              value_parser = clap::value_parser!(u32).range(1..=100_000))]
        count: u32,
        /// Where report.html, report.json and the histograms go
        #[arg(long, value_name = "DIR", default_value = "netguard-bench")]
        out: PathBuf,
    },
    /// Cuts the power of a service's owner, and measures for how long the service's address does not answer
    ///
    /// Run it on a node that does not own the service, or on none that may: it asks the address every millisecond. The cut is
    /// your command; it finds the owner's name in NETGUARD_NODE.
    Failover {
        /// The service; it needs an address
        service: String,
        /// The command that cuts the power of $NETGUARD_NODE, run by a shell
        #[arg(long, value_name = "COMMAND")]
        cut: String,
        /// The command that gives it back, before the next trial
        #[arg(long, value_name = "COMMAND")]
        restore: Option<String>,
        /// How many cuts; more than one needs --restore
        #[arg(long, value_name = "COUNT", default_value_t = 1,
              value_parser = clap::value_parser!(u32).range(1..=1000))]
        trials: u32,
        /// You know what this does
        #[arg(long)]
        yes_cut_power: bool,
        /// Where report.html, report.json and the histograms go
        #[arg(long, value_name = "DIR", default_value = "netguard-bench")]
        out: PathBuf,
    },
    /// How exactly beats leave, beside a bare timer on the same core, and what the network does to them
    ///
    /// Reads what the running fast path measures, and does not disturb it but for the bare timer: in every other slice a
    /// real-time thread wakes on the core of the beats as often as they do. Run it as root.
    Latency {
        /// How long a slice is, in seconds
        #[arg(long, value_name = "SECONDS", default_value_t = 5,
              value_parser = clap::value_parser!(u64).range(1..=600))]
        seconds: u64,
        /// How many slices of each
        #[arg(long, value_name = "COUNT", default_value_t = 6,
              value_parser = clap::value_parser!(u32).range(1..=1000))]
        slices: u32,
        /// Where report.html, report.json and the histograms go
        #[arg(long, value_name = "DIR", default_value = "netguard-bench")]
        out: PathBuf,
    },
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
    /// The agreed document, its version, who has it, and which votes have not followed it yet
    Show {
        /// The text alone, as a file for a new node
        #[arg(long)]
        plain: bool,
    },
    /// What a file would change: each step with its cost, and what is refused
    Diff {
        /// The wanted configuration
        file: PathBuf,
    },
    /// Makes a file the agreed configuration: all of it or nothing, while the services run
    ///
    /// Shows the steps first, and waits until the votes have followed. `[local]` is not agreed: each node keeps its own.
    Apply {
        /// The wanted configuration
        file: PathBuf,
        #[command(flatten)]
        how: Applying,
    },
}

/// How a change is carried out.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Applying {
    /// Do not ask; for scripts
    #[arg(long)]
    pub(crate) yes: bool,
    /// How long to wait until the votes have followed, in seconds; 0 = not at all
    #[arg(long, value_name = "SECONDS", default_value_t = 60,
          value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub(crate) wait: u64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Adds a node to the agreed configuration
    ///
    /// Shows what happens first. Then start netguard-fast on the new machine, with the text of
    /// `ng config show --plain` as its file and a copy of the cluster's key: it joins, and gets its vote once it has the log.
    Add {
        /// Its name
        name: String,
        /// Its number, 1 to 128 [default: the one after the highest]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=128))]
        id: Option<u8>,
        /// Its own address on each link, in the order of the links
        #[arg(long = "address", value_name = "ADDRESS", num_args = 1.., required = true)]
        addresses: Vec<std::net::IpAddr>,
        /// It votes and owns nothing
        #[arg(long, conflicts_with = "no_vote")]
        witness: bool,
        /// It owns services like any other, and has no vote
        #[arg(long)]
        no_vote: bool,
        #[command(flatten)]
        how: Applying,
    },
    /// Removes a node; its services move first, and its daemons end by themselves
    Remove {
        /// Its name
        name: String,
        #[command(flatten)]
        how: Applying,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Begins anew without voters that are gone for good
    ///
    /// For when those who are left are no majority, and the others will not come back. You assert that the absent ones are
    /// off: if one still runs, its services run twice. What only they had is lost.
    Override {
        /// The voters that are off
        #[arg(long, value_name = "NODE,…", value_delimiter = ',', required = true)]
        absent: Vec<String>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Puts in force what a newer release brings, once every member runs it
    ///
    /// Until then old and new releases run side by side, at the level of the older. Afterwards an older release can take no
    /// part any more: it stops and says why.
    Upgrade,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Makes a key that only its owner can read; copy it to all nodes
    New {
        /// The file, which must not exist
        file: PathBuf,
    },
}
