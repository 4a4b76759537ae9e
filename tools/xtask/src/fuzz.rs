//! `cargo xtask fuzz`: arbitrary input for every decoder, for `apply` and for the node, in a process of its own.
//!
//! Overflow is checked, as in no release: a number that wraps is a finding.

use crate::run::{cargo, run as run_command, target_dir};
use anyhow::Result;

/// How long, and what.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How long.
    #[arg(long, default_value_t = 1)]
    minutes: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Only this target.
    #[arg(long)]
    only: Option<String>,
}

/// Builds `ng-proof` with checks, optimised, and runs it.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let (minutes, from) = (arguments.minutes.to_string(), arguments.from.to_string());
    let mut command = cargo(&["run", "--release", "--locked", "--quiet", "--package", "ng-proof"]);
    // A folder of its own: the other flags would build everything else anew each time.
    command.env("CARGO_TARGET_DIR", target_dir().join("fuzz"));
    command.env("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "true");
    command.env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true");
    command.args(["--", "fuzz", "--minutes", &minutes, "--from", &from]);
    if let Some(only) = &arguments.only {
        command.args(["--only", only]);
    }
    run_command(command)
}
