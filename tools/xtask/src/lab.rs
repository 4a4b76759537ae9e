//! `cargo xtask lab`: real kernels, disks and power on this machine. Builds as the user, then lets
//! `netguard-lab` do it as root.

use crate::run::{as_root, built_test, command, run as run_command, target_dir};
use crate::{demo, machine};
use anyhow::Result;
use std::path::PathBuf;

/// What a person does with a lab.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// `up`, `down`, `status`, `run NODE -- COMMAND…`, `shell NODE`, `power NODE on|off|cycle|state`,
    /// `link NODE BRIDGE in|out`, `disk DISK`, `fault DISK FAULT`, `report`; with `--lab NAME` before
    /// it, another lab than `main`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    words: Vec<String>,
}

/// What runs in a lab and holds it.
const PROGRAMS: &[&str] =
    &["netguard-fast", "netguard-control", "ng", "ng-testbed", "ng-lab", "ng-proofs"];
/// Why root is needed.
const WHY: &str = "the lab makes namespaces and network devices, and its guests' files are root's";
/// Figures that were measured and kept, shown where this machine has none of its own.
const KEPT: &str = "deploy/proofs/results";

/// Does it.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut words = arguments.words.clone();
    let order = words.iter().find(|word| !word.starts_with('-') && !is_name(&words, word));
    match order.map(String::as_str) {
        Some("report") => return report(),
        Some("up") => {
            machine::provide(machine::LAB)?;
            demo::build(PROGRAMS)?;
            words.extend(["--cache".into(), cache().display().to_string()]);
        }
        _ => {}
    }
    run_command(as_root(program("netguard-lab"), &words, WHY)?)
}

/// True for the word after `--lab`.
fn is_name(words: &[String], word: &String) -> bool {
    words.windows(2).any(|pair| pair[0] == "--lab" && std::ptr::eq(&raw const pair[1], word))
}

/// Prints the tables of the three proofs.
fn report() -> Result<()> {
    demo::build(&["ng-proofs"])?;
    let own = cache().join("results").display().to_string();
    let program = program("netguard-proof").display().to_string();
    run_command(command(&program, &["report", &own, KEPT]))
}

/// Runs the lab tests, or with `benches` the measurements.
pub(crate) fn test(only: Option<&str>, trials: Option<u32>, benches: bool) -> Result<()> {
    machine::provide(machine::LAB)?;
    demo::build(PROGRAMS)?;
    let tests = built_test("ng-proofs", "lab")?;
    let mut list = vec!["--cache".to_owned(), cache().display().to_string()];
    list.extend(["--bin-dir".into(), target_dir().join("release").display().to_string()]);
    if let Some(trials) = trials {
        list.extend(["--trials".into(), trials.to_string()]);
    }
    if benches {
        list.push("--bench".into());
    }
    list.extend(only.map(str::to_owned));
    run_command(as_root(tests, &list, WHY)?)
}

fn program(name: &str) -> PathBuf {
    target_dir().join("release").join(name)
}

/// The guests' tree, logs and results.
fn cache() -> PathBuf {
    target_dir().join("lab")
}
