//! `netguard-testbed`: the demo, the responder that runs in every node, and the removal of what was kept.

use anyhow::Result;
use clap::{Parser, Subcommand};
use testbed::responder::{self, Fixed};
use testbed::run;

#[derive(Parser)]
#[command(
    name = "netguard-testbed",
    version,
    about = "Clusters in network namespaces, to be looked at and broken"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answer the observer's probes (runs inside a node).
    Responder {
        /// The node's id, for the replies.
        #[arg(long)]
        node: u8,
        /// Always this generation.
        #[arg(long)]
        generation: u64,
    },
    /// Remove a run that was kept.
    Down {
        /// Its name, as `netguard-testbed list` shows it.
        run: String,
    },
    /// Show the runs of this machine, after sweeping those whose process is gone.
    List,
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Responder { node, generation } => {
            Ok(responder::serve(node, &mut Fixed(generation))?)
        }
        Command::Down { run } => Ok(run::remove(&run)?),
        Command::List => {
            for id in run::sweep() {
                println!("{id}  swept: its process was gone");
            }
            for id in run::list() {
                println!("{id}");
            }
            Ok(())
        }
    }
}
