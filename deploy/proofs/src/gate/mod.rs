//! Proof 2: what the gate (rule S2b) closes, and what it needs for that, case by case.
//!
//! Two machines as network namespaces, joined by cables: a node with the floating addresses and the
//! gate, a client that asks. Each case is opened first and must answer, then closed and asked
//! again; beside each measure stands the case without it, to show what it is for. The same program
//! runs on any kernel with the modules at hand; what a kernel has not is said, not left out.
//!
//! [`row`] is one line of the table, [`stage`] the two machines, [`ask`] and [`answer`] both ends
//! of a question, [`daemon`] a process to be killed, [`cases`] the cases.

mod answer;
mod ask;
mod cases;
mod daemon;
pub mod error;
mod row;
mod stage;

use crate::table::Table;
use error::{ProofError, Result};
use row::Row;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use testbed::os;

/// Modules that the gate itself and every stage need.
const MODULES: &[&str] = &["ipv6", "sch_ingress", "cls_bpf", "veth", "macvlan"];

const TITLE: &str = "The gate: what closes, and what closes it";
const CONDITIONS: &str = "each is seen to answer while open, then asked for 80 ms while closed; \
    times: middle / latest in us";

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
            lines += &format!("{}\n", row.json(&kernel));
            unexpected += usize::from(!row.is_as_wanted());
        }
        write(out, &lines)?;
    }
    println!("kernel {kernel}, load {:.2}", os::load());
    if unexpected == 0 { Ok(()) } else { Err(ProofError::Unexpected(unexpected)) }
}

/// One table of what [`run`] wrote on one kernel or more.
///
/// # Errors
/// When a file cannot be read.
pub fn table(files: &[PathBuf]) -> Result<Table> {
    let mut rows: Vec<Value> = Vec::new();
    for path in files {
        let text = fs::read_to_string(path)
            .map_err(|cause| ProofError::Write { path: path.clone(), cause })?;
        rows.extend(text.lines().filter_map(|line| serde_json::from_str(line).ok()));
    }
    let mut kernels: Vec<&str> = rows.iter().map(|row| text(row, "kernel")).collect();
    kernels.dedup();
    let columns = [&["case", "asked by", "with"], &kernels[..], &["closed by"]].concat();
    let mut table = Table::new(TITLE, CONDITIONS.to_owned(), &columns);
    let mut done: Vec<[&str; 3]> = Vec::new();
    for row in &rows {
        let key = key(row);
        if done.contains(&key) {
            continue;
        }
        done.push(key);
        let mut cells = key.map(str::to_owned).to_vec();
        for kernel in &kernels {
            let same = |it: &&Value| self::key(it) == key && text(it, "kernel") == *kernel;
            cells.push(rows.iter().find(same).map_or_else(String::new, verdict));
        }
        cells.push(text(row, "by").to_owned());
        table.rows.push(cells);
    }
    Ok(table)
}

/// What makes two rows of two kernels one.
fn key(row: &Value) -> [&str; 3] {
    ["case", "how", "measure"].map(|name| text(row, name))
}

fn text<'a>(row: &'a Value, name: &str) -> &'a str {
    row[name].as_str().unwrap_or_default()
}

/// Yes or no, with times where some were taken.
fn verdict(row: &Value) -> String {
    let closes = match row["closes"].as_bool() {
        Some(true) => "closes",
        Some(false) => "answers",
        None => "not here",
    };
    let mark = if row["as_wanted"] == true { "" } else { "!" };
    let late = &row["lateness_us"];
    match (late["p50"].as_i64(), late["max"].as_i64(), late["n"].as_u64()) {
        (Some(p50), Some(max), Some(n)) => format!("{mark}{closes}, {p50} / {max}, n {n}"),
        _ => format!("{mark}{closes}"),
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|cause| ProofError::Write { path: path.to_owned(), cause })
}

fn kernel() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    text.trim().to_owned()
}
