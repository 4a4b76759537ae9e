//! `netguard-testbed`: the demo, the responder that runs in every node, and the removal of what was kept.

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use testbed::responder::{self, Fixed, FromBoard};
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
        /// The map of the node's daemons, which has the generation.
        #[arg(long, required_unless_present = "generation")]
        map: Option<PathBuf>,
        /// Which service's generation.
        #[arg(long, default_value_t = 0)]
        service: usize,
        /// Always this generation: for owners that are not NetGuard.
        #[arg(long, conflicts_with = "map")]
        generation: Option<u64>,
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
        Command::Responder { node, map: Some(path), service, .. } => {
            Ok(responder::serve(node, &mut FromBoard::new(path, service))?)
        }
        Command::Responder { node, generation, .. } => {
            Ok(responder::serve(node, &mut Fixed(generation.unwrap_or(0)))?)
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
