//! `cargo xtask model`: every schedule within bounds, on the agreement and the heartbeat themselves.

use crate::run::{cargo, run as run_command};
use anyhow::Result;

/// Which explorations, within which bounds.
#[derive(clap::Args, Default)]
pub(crate) struct Arguments {
    /// The larger bounds, which take minutes each.
    #[arg(long)]
    large: bool,
    /// Anything else goes to the model as it is: scenarios, `--budget ticks=3,beats=2`, `--seconds N`.
    #[arg(last = true)]
    more: Vec<String>,
}

/// Explores and prints what was visited.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut list = vec!["run", "--release", "--locked", "--quiet", "--package", "ng-model", "--"];
    list.extend(arguments.large.then_some("--large"));
    list.extend(arguments.more.iter().map(String::as_str));
    run_command(cargo(&list))
}

/// The quick bounds, and rules switched off that must be missed.
pub(crate) fn test() -> Result<()> {
    let list = ["test", "--release", "--locked", "--quiet", "--package", "ng-model"];
    let mut bites = cargo(&list);
    bites.args(["--features", "mutations"]);
    run_command(bites)?;
    run(&Arguments::default())
}
