//! WIRE.md is part of the contract: its tables have no gaps, its sizes are the code's, every reason
//! is named.

use ng_wire::Reject;
use ng_wire::beat::{BEAT_HEAD_LEN, BEAT_MAX, ECHO_BODY_LEN, ECHO_LEN};
use ng_wire::ethernet::{self, ENVELOPE_LEN};
use ng_wire::frame::{BULK_MAX, FRAME_MAX, HEADER_LEN, VERSION};

const TEXT: &str = include_str!("../WIRE.md");

/// The tables with offsets, in their order: (offset, size) by row.
fn layouts() -> Vec<Vec<(usize, usize)>> {
    let mut tables: Vec<Vec<(usize, usize)>> = vec![];
    for line in TEXT.lines() {
        if line.starts_with("| offset | size |") {
            tables.push(vec![]);
        }
        let mut cells = line.split('|').skip(1).map(str::trim);
        let numbers = (cells.next().map(str::parse), cells.next().map(str::parse));
        if let (Some(Ok(at)), Some(Ok(size))) = numbers
            && let Some(table) = tables.last_mut()
        {
            table.push((at, size));
        }
    }
    tables
}

#[test]
fn the_tables_have_no_gaps_and_are_as_long_as_the_code_says() {
    let sizes = [HEADER_LEN, ENVELOPE_LEN, BEAT_HEAD_LEN, ECHO_LEN, ECHO_BODY_LEN, 8, 4];
    let layouts = layouts();
    assert_eq!(layouts.len(), sizes.len());
    for (table, expected) in layouts.iter().zip(sizes) {
        let end = table.iter().fold(0, |end, (at, size)| {
            assert_eq!(*at, end, "a gap or overlap in {table:?}");
            end + size
        });
        assert_eq!(end, expected, "{table:?}");
    }
}

#[test]
fn every_reason_is_named_once_and_no_other_is() {
    let (_, section) = TEXT.split_once("\n## Reasons for dropping\n").expect("the section");
    let (section, _) = section.split_once("\n## ").expect("its end");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let mut named: Vec<&str> = rows.filter_map(|row| row.split('`').next()).collect();
    let mut known: Vec<&str> = Reject::ALL.iter().map(|reason| reason.name()).collect();
    named.sort_unstable();
    known.sort_unstable();
    assert_eq!(named, known);
}

#[test]
fn version_and_limits_are_those_of_the_code() {
    let grouped = |n: usize| format!("{},{:03}", n / 1_000, n % 1_000);
    let millions =
        |n: usize| format!("{},{:03},{:03}", n / 1_000_000, n / 1_000 % 1_000, n % 1_000);
    for said in [
        format!("| version | of the bytes on the wire: {VERSION} |"),
        format!("| version | of these bytes: {} |", ethernet::VERSION),
        format!("ethertype `{:02x} {:02x}`", ethernet::ETHERTYPE >> 8, ethernet::ETHERTYPE & 0xFF),
        format!("at most {} in a datagram", grouped(FRAME_MAX)),
        format!("at most {} on the stream", millions(BULK_MAX)),
        format!("(≤ {})", millions(ng_wire::entry::BODY_MAX)),
        format!("| 0 to {} |", millions(ng_wire::message::MESSAGE_MAX)),
        format!("up to {} bytes long", grouped(ng_wire::message::DATAGRAM_MAX)),
        format!("bytes (≤ {})", grouped(ng_wire::message::SLICE_MAX)),
        format!("| {BEAT_HEAD_LEN} to {} |", grouped(BEAT_MAX)),
        format!("make a frame of {} bytes", grouped(HEADER_LEN + BEAT_MAX)),
        format!("{} behind the highest", grouped(ng_wire::replay::WINDOW as usize)),
    ] {
        assert!(TEXT.contains(&said), "WIRE.md does not say: {said}");
    }
}
