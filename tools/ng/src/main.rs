//! `ng`: the operator's command.
//!
//! Every command prints text for people or, with `-o json`, one object for programs (OUTPUT.md
//! beside this crate lists them). What went wrong comes with what to do about it, and with an exit
//! code that `ng --help` documents.
#![forbid(unsafe_code)]

mod args;
mod clock;
mod commands;
mod failure;
mod output;
mod text;

use args::Args;
use clap::Parser;
use output::Output;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = Args::parse();
    let output = Output::new(args.form());
    match commands::run(&args, &output) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output.failure(&failure);
            failure.exit.into()
        }
    }
}
