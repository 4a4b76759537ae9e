//! The table of proof 2, from what it found on one kernel or more.

use super::error::{ProofError, Result};
use crate::table::Table;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

const TITLE: &str = "the gate: what closes a floating address, and what does not";
const NOTES: [&str; 4] = [
    "asked by: TCP is a connection that stands, NS a neighbour solicitation, 6 is over IPv6",
    "times: middle and latest of n, in us; of daemons: the last answer, from the lease's end",
    "times of a watch: how long answers came through the gap, or the gate was missing",
    "`!` marks what is not as NetGuard needs it",
];
/// Verdicts of a kernel that does not have the case.
const NOT_HERE: &str = "not here";

/// One table of what [`super::run`] wrote on each kernel. Ways to ask that came out alike share a
/// row.
///
/// # Errors
/// When a file cannot be read.
pub fn table(files: &[PathBuf]) -> Result<Table> {
    let mut rows: Vec<Value> = Vec::new();
    for path in files {
        let text = fs::read_to_string(path)
            .map_err(|cause| ProofError::Read { path: path.clone(), cause })?;
        rows.extend(text.lines().filter_map(|line| serde_json::from_str(line).ok()));
    }
    Ok(of_rows(&rows))
}

fn of_rows(rows: &[Value]) -> Table {
    let mut kernels: Vec<&str> = Vec::new();
    for row in rows {
        if !kernels.contains(&text(row, "kernel")) {
            kernels.push(text(row, "kernel"));
        }
    }
    let columns = [&["case", "asked by", "with"], &kernels[..], &["what closes it"]].concat();
    let mut table = Table::new(TITLE, conditions(rows, &kernels), &columns);
    let mut done: Vec<[&str; 3]> = Vec::new();
    for row in rows.iter().filter(|row| !row["closes"].is_null()) {
        let key = key(row);
        if done.contains(&key) {
            continue;
        }
        done.push(key);
        let [case, how, measure] = key.map(str::to_owned);
        let mut cells = vec![case, how, measure];
        cells.extend(kernels.iter().map(|kernel| cell(rows, key, kernel)));
        cells.push(text(row, "by").to_owned());
        match table.rows.last_mut() {
            Some(last) if is_alike(last, &cells) => last[1] = format!("{}, {}", last[1], cells[1]),
            _ => table.rows.push(cells),
        }
    }
    table.notes.extend(NOTES.map(str::to_owned));
    table
}

/// What makes rows of two kernels one.
fn key(row: &Value) -> [&str; 3] {
    ["case", "how", "measure"].map(|name| text(row, name))
}

/// Alike but for the way to ask.
fn is_alike(one: &[String], other: &[String]) -> bool {
    one.first() == other.first() && one.get(2..) == other.get(2..)
}

/// What one kernel showed in a case.
fn cell(rows: &[Value], key: [&str; 3], kernel: &str) -> String {
    let found = rows.iter().find(|it| self::key(it) == key && text(it, "kernel") == kernel);
    found.map_or_else(|| NOT_HERE.to_owned(), verdict)
}

/// Yes or no, with figures where some were taken.
fn verdict(row: &Value) -> String {
    let mark = if row["as_wanted"] == true { "" } else { "!" };
    let closes = match row["closes"].as_bool() {
        Some(true) => "closes",
        Some(false) => "answers",
        None => NOT_HERE,
    };
    if let Some(cost) = row["cost"].as_str() {
        return format!("{mark}{cost}");
    }
    let late = &row["lateness_us"];
    match (late["p50"].as_i64(), late["max"].as_i64(), late["n"].as_u64()) {
        (Some(p50), Some(max), Some(n)) => format!("{mark}{closes}: {p50}, {max} (n {n})"),
        _ => format!("{mark}{closes}"),
    }
}

fn conditions(rows: &[Value], kernels: &[&str]) -> String {
    let loads = kernels.iter().map(|kernel| {
        let of_kernel = rows.iter().filter(|row| text(row, "kernel") == *kernel);
        let most = of_kernel.filter_map(|row| row["load"].as_f64()).fold(0.0, f64::max);
        format!("{kernel} at load {most:.1}")
    });
    let loads: Vec<String> = loads.collect();
    format!("answers while open; closed, asked for 80 ms; {}", loads.join(", "))
}

fn text<'a>(row: &'a Value, name: &str) -> &'a str {
    row[name].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::row::{Row, Seen, Spread};
    use super::of_rows;

    #[test]
    fn kernels_stand_side_by_side_and_ways_that_came_out_alike_share_a_row() {
        let closes = |how| Row::new("bridge", how, "gate").must_close(Seen::Closes, "the filter");
        let leaks = Row::new("bridge", "TCP", "gate").must_close(Seen::Answers, "the filter");
        let killed = Row::new("killed", "UDP", "gate").must_close(Seen::Closes, "time");
        let rows = [
            closes("ARP").json("6.1", 1.0),
            closes("UDP").json("6.1", 2.0),
            leaks.json("6.1", 1.0),
            killed.late(Spread::of(vec![5, -3, 1])).json("6.1", 1.0),
            Row::new("bridge", "-", "-").not_here("no bridge").json("6.18", 0.5),
        ];
        let table = of_rows(&rows);
        let cells: Vec<Vec<&str>> =
            table.rows.iter().map(|row| row.iter().map(String::as_str).collect()).collect();
        assert_eq!(
            cells,
            [
                ["bridge", "ARP, UDP", "gate", "closes", "not here", "the filter"],
                ["bridge", "TCP", "gate", "!answers", "not here", "the filter"],
                ["killed", "UDP", "gate", "closes: 1, 5 (n 3)", "not here", "time"],
            ]
        );
        assert!(table.conditions.contains("6.1 at load 2.0, 6.18 at load 0.5"));
    }
}
