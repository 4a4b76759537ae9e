//! `netguard-proof`: what runs inside the lab's nodes, and the report of what came out.

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use proofs::gate;
use proofs::nfsd::{self, Nfsd};
use proofs::pieces::{self, Care};
use proofs::table::Table;
use proofs::takeover::{self, Takeover};
use proofs::watch;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "netguard-proof", about = "Parts of the lab's proofs", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Asks a floating address and tells who answers.
    Watch {
        /// The address.
        address: Ipv4Addr,
    },
    /// Pieces that can be recognised, written with more or less care.
    #[command(subcommand)]
    Pieces(Pieces),
    /// Proof 1: one nfsd per service.
    #[command(subcommand)]
    Nfsd(Nfsd),
    /// Proof 2: what the gate closes on this kernel, as one JSON object a case.
    Gate {
        /// Where the cases go.
        #[arg(long)]
        json: PathBuf,
    },
    /// The table of proof 2, from what it found on one kernel or more.
    GateTable {
        /// The folder that the table goes into.
        folder: PathBuf,
        /// What `gate` wrote.
        #[arg(required = true)]
        cases: Vec<PathBuf>,
    },
    /// Proof 3: the fast NFS takeover by hand.
    #[command(subcommand)]
    Takeover(Takeover),
    /// Prints the tables of the three proofs.
    Report {
        /// The folders of tables, the newest first: each proof is shown from the first that has it.
        #[arg(required = true)]
        folders: Vec<PathBuf>,
    },
}

#[derive(Subcommand)]
enum Pieces {
    /// Writes them.
    Write {
        /// Into this file or disk.
        path: PathBuf,
        /// How each is made sure of.
        #[arg(long, value_enum)]
        care: Care,
        /// Which round's.
        #[arg(long)]
        round: u64,
    },
    /// Prints the numbers of those that are not there, one a line.
    Missing {
        /// Of this file or disk.
        path: PathBuf,
        /// Which round's.
        #[arg(long)]
        round: u64,
    },
}

/// Pieces of one round.
const PIECES: u64 = 64;
/// The tables, as their files are named, with the number of their proof.
const PROOFS: [(u8, &str); 4] = [(1, "nfsd"), (2, "gate"), (3, "takeover"), (3, "takeover-wakes")];

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("netguard-proof: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Watch { address } => watch::run(address, &mut std::io::stdout()).context("watch"),
        Command::Pieces(Pieces::Write { path, care, round }) => {
            pieces::write(&path, round, PIECES, care).context(path.display().to_string())
        }
        Command::Pieces(Pieces::Missing { path, round }) => {
            let list = pieces::missing(&path, round, PIECES).context(path.display().to_string())?;
            list.iter().for_each(|number| println!("{number}"));
            Ok(())
        }
        Command::Nfsd(what) => nfsd::run(what).context("nfsd"),
        Command::Gate { json } => gate::run(&json).context("gate"),
        Command::GateTable { folder, cases } => {
            gate::table(&cases)?.save(&folder, "gate").with_context(|| folder.display().to_string())
        }
        Command::Takeover(what) => takeover::run(what).context("takeover"),
        Command::Report { folders } => report(&folders),
    }
}

fn report(folders: &[PathBuf]) -> Result<()> {
    for (number, name) in PROOFS {
        let found =
            folders.iter().find_map(|folder| Some((folder, Table::load(folder, name).ok()?)));
        let (folder, table) = found.with_context(|| format!("no figures of the proof {name}"))?;
        println!("Proof {number}: {table}({}/{name}.json)\n", folder.display());
    }
    Ok(())
}
