//! `ng-proof`: arbitrary input for a while, or one input again.

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use ng_proof::campaign::{self, Plan};
use ng_proof::target;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Decoders and apply against arbitrary input.
#[derive(Parser, Debug)]
#[command(name = "ng-proof")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Seed after seed until the time is over; what fails is made small and printed.
    Fuzz {
        /// How long.
        #[arg(long, default_value_t = 1)]
        minutes: u64,
        /// The first seed.
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// Only this target.
        #[arg(long)]
        only: Option<String>,
    },
    /// One input again; one that fails is made small and printed.
    Replay {
        /// Which target.
        target: String,
        /// The input: hexadecimal digits, or a file that holds it.
        input: String,
    },
    /// The names of all targets, one a line.
    Targets,
    /// Inputs of the first seeds, a file each: where a search by coverage begins.
    Seeds {
        /// Which target.
        target: String,
        /// The folder; it is made.
        folder: PathBuf,
        /// How many.
        #[arg(long, default_value_t = 200)]
        count: u64,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Fuzz { minutes, from, only } => {
            if let Some(name) = &only {
                known(name)?;
            }
            quiet();
            let plan = Plan { span: Duration::from_secs(minutes * 60), from, only };
            match campaign::run(&plan, |line| println!("{line}")) {
                Ok(done) => println!("{done}: nothing found"),
                Err(failure) => bail!("{failure}"),
            }
        }
        Command::Replay { target, input } => {
            let target = known(&target)?;
            let bytes = if Path::new(&input).is_file() {
                std::fs::read(&input).with_context(|| format!("cannot read {input}"))?
            } else {
                let digits = campaign::from_hex(&input);
                digits.with_context(|| format!("{input} is no file and no hexadecimal digits"))?
            };
            if let Some(failure) = campaign::input(target, &bytes) {
                bail!("{failure}");
            }
            println!("{}: as it must be", target.name);
        }
        Command::Targets => target::all().for_each(|target| println!("{}", target.name)),
        Command::Seeds { target, folder, count } => {
            let target = known(&target)?;
            std::fs::create_dir_all(&folder)?;
            for seed in 1..=count {
                std::fs::write(folder.join(format!("seed-{seed}")), target.input(seed))?;
            }
        }
    }
    Ok(())
}

/// A panic is a finding, told with its input; the hook would tell every try.
fn quiet() {
    std::panic::set_hook(Box::new(|_| {}));
}

fn known(name: &str) -> anyhow::Result<&'static target::Target> {
    let all = || target::all().map(|target| target.name).collect::<Vec<_>>().join(", ");
    target::named(name).with_context(|| format!("there is no target {name}: {}", all()))
}
