//! `netguard-testbed`: the demo, the responder that runs in every node, and the removal of what was
//! kept.

mod demo;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use testbed::programs::Programs;
use testbed::responder::{self, Fixed, FromBoard, Generations};
use testbed::{os, run, session, topology};

/// Clusters in network namespaces, to be looked at and broken.
#[derive(Parser)]
#[command(name = "netguard-testbed", version)]
struct Arguments {
    /// The folder of the programs; default: beside this one.
    #[arg(long, global = true)]
    bin_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Power cuts of the active node, again and again.
    Demo(demo::Arguments),
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

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match perform(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}"); // without a backtrace: what matters is in the sentence
            ExitCode::FAILURE
        }
    }
}

fn perform(arguments: &Arguments) -> Result<()> {
    match &arguments.command {
        Command::Demo(demo) => {
            os::catch_interrupts();
            topology::possible().map_err(anyhow::Error::msg)?;
            demo::run(demo, &Programs::find(arguments.bin_dir.as_deref()))
        }
        Command::Responder { node, map: Some(path), service, .. } => {
            let (path, service) = (path.clone(), *service);
            respond(*node, move || FromBoard::new(path.clone(), service))
        }
        Command::Responder { node, generation, .. } => {
            let fixed = Fixed(generation.unwrap_or(0));
            respond(*node, move || fixed)
        }
        Command::Down { run } => Ok(run::remove(run)?),
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

/// Answers by UDP and by TCP.
fn respond<G: Generations + Send + 'static>(
    node: u8,
    make: impl Fn() -> G + Clone + Send + 'static,
) -> Result<()> {
    let other = make.clone();
    std::thread::spawn(move || {
        if let Err(error) = session::serve(node, other) {
            eprintln!("responder: {error}");
        }
    });
    Ok(responder::serve(node, &mut make())?)
}
