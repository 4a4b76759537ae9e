//! `ng-proof`: arbitrary input for a while, or one input again.

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use ng_proof::campaign::{self, Plan};
use ng_proof::target;
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
    /// One input again.
    Replay {
        /// Which target.
        target: String,
        /// The input, in hexadecimal digits.
        input: String,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Fuzz { minutes, from, only } => {
            if let Some(name) = &only {
                target::named(name)
                    .with_context(|| format!("there is no target {name}: {}", names()))?;
            }
            // A panic is a finding, told with its input; the hook would tell every try.
            std::panic::set_hook(Box::new(|_| {}));
            let plan = Plan { span: Duration::from_secs(minutes * 60), from, only };
            match campaign::run(&plan, |line| println!("{line}")) {
                Ok(runs) => println!("{runs} runs from seed {from}: nothing found"),
                Err(failure) => bail!(
                    "{failure}\n  again: cargo run -p ng-proof -- replay {} {}",
                    failure.target,
                    campaign::hex(&failure.input)
                ),
            }
        }
        Command::Replay { target, input } => {
            let known = target::named(&target);
            let known =
                known.with_context(|| format!("there is no target {target}: {}", names()))?;
            let input = campaign::from_hex(&input).context("the input is not hexadecimal")?;
            (known.check)(&input).map_err(|what| anyhow::anyhow!(what))?;
            println!("{target}: as it must be");
        }
    }
    Ok(())
}

fn names() -> String {
    target::all().map(|target| target.name).collect::<Vec<_>>().join(", ")
}
