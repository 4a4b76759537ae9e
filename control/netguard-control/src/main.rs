//! The control daemon: started by netguard-fast, runs the agreement and moves services.

use clap::Parser;
use netguard_control::start::Arguments;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match netguard_control::life::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("netguard-control {}: {failure}", arguments.node);
            ExitCode::from(failure.exit_code())
        }
    }
}
