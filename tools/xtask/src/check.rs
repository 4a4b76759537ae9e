//! `cargo xtask check`: what a change must pass before it lands.

use crate::run::{cargo, run as run_command};
use crate::{layers, machine, tidy};
use anyhow::{Context, Result};
use std::time::Instant;

/// Which steps.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only these steps; all of them if none is named.
    #[arg(value_enum)]
    steps: Vec<Step>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Step {
    /// rustfmt.
    Fmt,
    /// Layers, file sizes, banned words, cores that are cores.
    Tidy,
    /// Licences, sources, bans.
    Deny,
    /// Clippy without warnings.
    Clippy,
    /// The documents build without warnings.
    Docs,
}

const STEPS: &[Step] = &[Step::Fmt, Step::Tidy, Step::Deny, Step::Clippy, Step::Docs];

/// Runs the steps; the first that fails ends it.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let steps = if arguments.steps.is_empty() { STEPS } else { &arguments.steps };
    for step in steps {
        let begin = Instant::now();
        one(*step).with_context(|| format!("check: step {step:?}"))?;
        eprintln!("✔ {step:?}: {:.1} s", begin.elapsed().as_secs_f64());
    }
    Ok(())
}

fn one(step: Step) -> Result<()> {
    match step {
        Step::Fmt => run_command(cargo(&["fmt", "--all", "--check"])),
        Step::Tidy => {
            layers::check()?;
            tidy::check()
        }
        Step::Deny => {
            machine::provide_deny()?;
            run_command(cargo(&["deny", "--locked", "check", "bans", "licenses", "sources"]))
        }
        Step::Clippy => {
            let list = ["clippy", "--workspace", "--all-targets", "--locked", "--quiet"];
            let mut clippy = cargo(&list);
            clippy.args(["--", "-D", "warnings"]);
            run_command(clippy)
        }
        Step::Docs => {
            let mut docs = cargo(&["doc", "--workspace", "--no-deps", "--locked", "--quiet"]);
            docs.env("RUSTDOCFLAGS", "-D warnings");
            run_command(docs)
        }
    }
}
