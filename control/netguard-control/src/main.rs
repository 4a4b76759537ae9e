//! The control daemon: started by netguard-fast, runs the agreement and moves services.

use clap::Parser;
use netguard_control::failure::Failure;
use netguard_control::start::Arguments;
use netguard_control::sweeper;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    if words.next().as_deref() == Some(sweeper::WORD) {
        return exit("sweep", sweeper::run(words));
    }
    let arguments = Arguments::parse();
    exit(&arguments.node, netguard_control::life::run(&arguments))
}

fn exit(who: &str, result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("netguard-control {who}: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}
