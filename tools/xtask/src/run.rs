//! Running a command: its line is printed first, its failure names it.

use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The checkout that this xtask was built in.
pub(crate) fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).map_or_else(|| here.clone(), PathBuf::from)
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A command that runs in the checkout.
pub(crate) fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root());
    command
}

/// `cargo` with the same toolchain that runs this.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    command(&cargo, arguments)
}

/// The command line as a person would type it.
fn line(command: &Command) -> String {
    let program = PathBuf::from(command.get_program());
    let name = program.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let arguments = command.get_args().map(|a| a.to_string_lossy().into_owned());
    std::iter::once(name).chain(arguments).collect::<Vec<_>>().join(" ")
}

/// Prints and runs; an exit code other than 0 is an error.
pub(crate) fn run(mut command: Command) -> Result<()> {
    let line = line(&command);
    eprintln!("\n▶ {line}");
    let status = command.status().with_context(|| format!("`{line}` could not be started"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// Runs quietly and returns what it printed on standard output.
pub(crate) fn output(mut command: Command) -> Result<String> {
    let line = line(&command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("`{line}` could not be started"))?;
    if !output.status.success() {
        bail!("`{line}` failed ({})", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Builds an integration test and asks cargo where it is.
pub(crate) fn built_test(package: &str, test: &str) -> Result<PathBuf> {
    let list = ["test", "--release", "--locked", "--package", package, "--test", test];
    let mut build = cargo(&list);
    build.args(["--no-run", "--message-format=json"]);
    output(build)?
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == test)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("cargo did not say where it built the test {test} of {package}"))
}

/// True if this process may do everything.
pub(crate) fn is_root() -> bool {
    // SAFETY: geteuid has no preconditions and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// The same command, through sudo if this is not root; `why` is printed before the password is asked.
pub(crate) fn as_root(program: PathBuf, arguments: &[String], why: &str) -> Result<Command> {
    let mut command = if is_root() {
        Command::new(&program)
    } else if has("sudo") {
        eprintln!("\nRoot is needed: {why}. sudo may ask for your password.");
        let mut sudo = Command::new("sudo");
        sudo.arg("--preserve-env=CI,NO_COLOR").arg(&program);
        sudo
    } else {
        bail!("root is needed: {why}. Run this as root, or install sudo.");
    };
    command.args(arguments).current_dir(root());
    Ok(command)
}

/// True if `program` is on the PATH or where Debian keeps system programs.
pub(crate) fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|folder| folder.join(program).is_file())
}
