//! `netguard-lab-guest`: process 1 of a lab's node.
//!
//! It makes the tree of packages writable (a tmpfs over it), brings the network up, and serves the
//! command channel, which is the serial line `ttyS0`. Process 1 itself only reaps; the agent is its child.

mod agent;
mod command;
mod init;

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::process::id() != 1 {
        eprintln!("this is process 1 of a lab's node; a person wants `cargo xtask lab`");
        return ExitCode::FAILURE;
    }
    let outcome = init::prepare().and_then(|()| {
        init::reap_beside()?;
        agent::serve()
    });
    if let Err(error) = outcome {
        // The console is standard error; the kernel panics next, and the lab sees its end.
        eprintln!("netguard-lab-guest: {error:#}");
    }
    ExitCode::FAILURE
}
