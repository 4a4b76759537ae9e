//! `cargo xtask fuzz`: arbitrary input for every decoder, for `apply` and for the node, in a process of its own.
//!
//! Overflow is checked, as in no release: a number that wraps is a finding. With `--guided` libFuzzer looks for inputs that
//! reach new code, one target after the other. The stable compiler makes the counters that it wants, by flags of its own.
//! What each search has found to be of interest is kept below `target/fuzz/corpus`, and the next one begins there.

use crate::run::{cargo, output, run as run_command, target_dir};
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::path::Path;
use std::process::Command;

/// Counters at every edge, and what comparisons compare (libFuzzer steers by both).
const COUNTERS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing";
/// Longest input of a search, in bytes.
const INPUT_MAX: usize = 2_000;

/// How long, and what.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How long: all targets together.
    #[arg(long, default_value_t = 1)]
    minutes: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Only this target.
    #[arg(long)]
    only: Option<String>,
    /// Look for inputs that reach new code (libFuzzer; needs a C++ compiler).
    #[arg(long, conflicts_with = "from")]
    guided: bool,
}

/// Builds `ng-proof` with checks, optimised, and runs it.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.guided {
        return guided(arguments);
    }
    let (minutes, from) = (arguments.minutes.to_string(), arguments.from.to_string());
    let mut command = proof(&["fuzz", "--minutes", &minutes, "--from", &from]);
    if let Some(only) = &arguments.only {
        command.args(["--only", only]);
    }
    run_command(command)
}

/// A cargo command whose builds check what no release checks.
fn checked(list: &[&str], folder: &str) -> Command {
    let mut command = cargo(list);
    // A folder of its own: the other flags would build everything else anew each time.
    command.env("CARGO_TARGET_DIR", target_dir().join(folder));
    command.env("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "true");
    command.env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true");
    command
}

fn proof(arguments: &[&str]) -> Command {
    let list = ["run", "--release", "--locked", "--quiet", "--package", "ng-proof"];
    let mut command = checked(&list, "fuzz");
    command.args(["--bin", "ng-proof", "--"]).args(arguments);
    command
}

/// One search after the other, in equal shares of the time.
fn guided(arguments: &Arguments) -> Result<()> {
    let names = output(proof(&["targets"]))?;
    let wanted = |name: &&str| arguments.only.as_ref().is_none_or(|only| only == name);
    let targets: Vec<&str> = names.lines().filter(wanted).collect();
    if targets.is_empty() {
        bail!("there is no such target: {}", names.lines().collect::<Vec<_>>().join(", "));
    }
    // With a target named, the flags do not reach build scripts and macros, which have no counters to give.
    let host = host()?;
    let package = ["--package", "ng-proof", "--features", "guided", "--bin", "ng-proof-guided"];
    let mut build = checked(&["build", "--release", "--locked", "--quiet"], "fuzz-guided");
    build.args(package).args(["--target", &host]).env("RUSTFLAGS", COUNTERS);
    run_command(build)?;
    let program = target_dir().join("fuzz-guided").join(&host).join("release/ng-proof-guided");
    let seconds = (arguments.minutes * 60 / targets.len() as u64).max(1);
    for target in targets {
        search(&program, target, seconds)?;
    }
    println!("nothing found");
    Ok(())
}

/// Searches for so long, and tells in one line what was done. What fails is kept as a file, made small, and told.
fn search(program: &Path, target: &str, seconds: u64) -> Result<()> {
    let folder = target_dir().join("fuzz");
    let (corpus, found, logs) =
        (folder.join("corpus").join(target), folder.join("found"), folder.join("log"));
    for needed in [&found, &logs] {
        std::fs::create_dir_all(needed)
            .with_context(|| format!("cannot make {}", needed.display()))?;
    }
    output(proof(&["seeds", target, &corpus.to_string_lossy()]))?;
    let log = logs.join(target);
    let mut command = Command::new(program);
    command.env("NETGUARD_TARGET", target).arg(&corpus);
    command.arg(format!("-max_total_time={seconds}")).arg(format!("-max_len={INPUT_MAX}"));
    command.arg(format!("-artifact_prefix={}/{target}-", found.display()));
    command.args(["-verbosity=0", "-print_funcs=0", "-print_final_stats=1", "-timeout=10"]);
    command.stderr(File::create(&log)?);
    let before = files(&found)?;
    let ended = command.status().with_context(|| format!("cannot start {}", program.display()))?;
    if let Some(file) = files(&found)?.into_iter().find(|file| !before.contains(file)) {
        println!("{target}: an input that fails, kept as {file}");
        return run_command(proof(&["replay", target, &file]));
    }
    let text = String::from_utf8_lossy(&std::fs::read(&log)?).into_owned();
    let runs = text.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    let Some(runs) = runs.filter(|_| ended.success()) else {
        bail!("{target}: the search failed ({ended}): {}", log.display());
    };
    let kept = files(&corpus)?.len();
    println!("{target}: {} runs in {seconds} s, {kept} inputs in its corpus", runs.trim());
    Ok(())
}

/// The files of a folder.
fn files(folder: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(folder)?;
    entries.map(|entry| Ok(entry?.path().to_string_lossy().into_owned())).collect()
}

/// The machine that this compiler builds for.
fn host() -> Result<String> {
    let version = output({
        let mut command = Command::new(std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into()));
        command.arg("-vV");
        command
    })?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc does not say what it builds for")
}
