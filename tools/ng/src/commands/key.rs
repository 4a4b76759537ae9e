//! `ng key new`: the cluster's key.

use super::Done;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::text::clean;
use serde::Serialize;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The object. The key itself is never printed.
#[derive(Serialize)]
struct Object {
    key_file: String,
    mode: &'static str,
}

pub(super) fn new(file: &Path, output: &Output) -> Done {
    let shown = file.display().to_string();
    let mut key = [0_u8; 32];
    getrandom::fill(&mut key).map_err(|e| {
        let message = format!("the system gives no random numbers: {e}");
        Failure::new(Exit::Refused, "random", message, "try again when the machine has booted")
    })?;
    let mut text: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    text.push('\n');
    write(file, &text).map_err(|cause| {
        let (exit, code, remedy) = match cause.kind() {
            // Overwriting it would cut this node off from the others.
            io::ErrorKind::AlreadyExists => {
                (Exit::Refused, "exists", "a cluster has one key: copy this file, or remove it")
            }
            io::ErrorKind::PermissionDenied => {
                (Exit::Permission, "permission", "run as root, or give another path")
            }
            io::ErrorKind::NotFound => (Exit::Refused, "folder", "make the folder first"),
            _ => (Exit::Refused, "file", "give another path"),
        };
        Failure::new(exit, code, format!("{shown} cannot be made: {cause}"), remedy)
    })?;
    output.answer(&Object { key_file: shown.clone(), mode: "0600" }, |_| {
        format!("{} made, readable by its owner only; copy it to all nodes\n", clean(&shown))
    });
    Ok(Exit::Fine)
}

fn write(file: &Path, text: &str) -> io::Result<()> {
    let mut made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    let written = made.write_all(text.as_bytes()).and_then(|()| made.sync_all());
    if written.is_err() {
        // Half a key is worse than none.
        let _ = std::fs::remove_file(file);
    }
    written
}
