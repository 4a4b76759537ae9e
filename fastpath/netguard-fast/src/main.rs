//! The command line of the fast path daemon.

use clap::Parser;
use netguard_fast::control::Places;
use netguard_fast::exit;
use netguard_fast::start;
use std::path::PathBuf;
use std::process::ExitCode;

/// Keeps this node's heartbeat and starts netguard-control.
///
/// It runs in the foreground and logs to standard error. SIGTERM stops the node's services and then
/// the daemon.
#[derive(Parser, Debug)]
#[command(name = "netguard-fast", version, after_help = exit::TABLE)]
struct Arguments {
    /// The cluster's configuration
    #[arg(long, value_name = "FILE", default_value = "/etc/netguard/netguard.toml")]
    config: PathBuf,
    /// Which of the configured nodes this machine is
    #[arg(long, value_name = "NAME")]
    node: String,
    /// Directory for the shared map and the control socket
    #[arg(long, value_name = "DIR", default_value = "/run/netguard")]
    run_dir: PathBuf,
    /// Directory for what must survive a restart
    #[arg(long, value_name = "DIR", default_value = "/var/lib/netguard")]
    state_dir: PathBuf,
    /// The control daemon [default: netguard-control beside this program]
    #[arg(long, value_name = "FILE")]
    control: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let program = arguments.control.unwrap_or_else(|| {
        std::env::current_exe().unwrap_or_default().with_file_name("netguard-control")
    });
    let places = Places {
        config: arguments.config,
        node: arguments.node,
        run_dir: arguments.run_dir,
        state_dir: arguments.state_dir,
    };
    match start::run(&places, &program) {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("netguard-fast: {error}");
            error.exit().into()
        }
    }
}
