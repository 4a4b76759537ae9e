//! Proof 2: what the gate (rule S2b) closes, and what it needs for that, case by case.
//!
//! Two machines as network namespaces, joined by cables: a node with the floating addresses and the
//! gate, a client that asks. Each case is opened first and must answer, then closed and asked
//! again; beside each measure stands the case without it, to show what it is for. The same program
//! runs on any kernel with the modules at hand; what a kernel has not is said, not left out.
//!
//! [`row`] is one line of the table, [`stage`] the two machines, [`ask`] and [`answer`] both ends
//! of a question, [`daemon`] a process to be killed, [`cases`] the cases, [`report`] the table of all kernels.

mod answer;
mod ask;
mod cases;
mod daemon;
pub mod error;
mod report;
mod row;
mod stage;

pub use report::table;

use error::{ProofError, Result};
use row::Row;
use std::fs;
use std::path::Path;
use testbed::os;

/// Modules that the gate itself and every stage need.
const MODULES: &[&str] = &["ipv6", "sch_ingress", "cls_bpf", "veth", "macvlan"];

/// Runs every case on this kernel, prints a line for each, and writes them to `out` as one JSON
/// object a line.
///
/// # Errors
/// When a case cannot be set up, or a row is not as NetGuard needs it.
pub fn run(out: &Path) -> Result<()> {
    if !os::is_root() {
        return Err(ProofError::Privilege);
    }
    cases::layers::load_modules(MODULES);
    let kernel = kernel();
    let mut lines = String::new();
    let mut unexpected = 0;
    let parts: [fn() -> Result<Vec<Row>>; 6] = [
        cases::closing::rows,
        cases::elsewhere::rows,
        cases::layers::rows,
        cases::daemons::rows,
        cases::sockets::rows,
        cases::cost::rows,
    ];
    for part in parts {
        for row in part()? {
            println!("{}", row.line());
            lines += &format!("{}\n", row.json(&kernel, os::load()));
            unexpected += usize::from(!row.is_as_wanted());
        }
        write(out, &lines)?;
    }
    println!("kernel {kernel}, load {:.2}", os::load());
    if unexpected == 0 { Ok(()) } else { Err(ProofError::Unexpected(unexpected)) }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|cause| ProofError::Write { path: path.to_owned(), cause })
}

fn kernel() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    text.trim().to_owned()
}
