//! From the document to the sections: each key by itself.

use crate::diagnostic::Report;
use crate::model::{Core, Fence, Frames, GateSockets, NetworkIo, Placement, Resource};
use crate::raw::{
    RawCluster, RawConfig, RawLink, RawLocal, RawMode, RawNode, RawResource, RawService,
};
use crate::suggest::did_you_mean;
use crate::table::{At, Table};
use crate::value::{check_name, format_duration, parse_duration, parse_network_address, unusable};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(1);
const INTERVAL_DEFAULT: Duration = Duration::from_millis(10);
const MISSES_DEFAULT: u32 = 3;
const STOP_TIMEOUT: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(600);
const STOP_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
/// IFNAMSIZ less its zero byte.
const INTERFACE_NAME_MAX: usize = 15;
/// Words of a command line.
const WORDS_MAX: usize = 64;

/// Reads all sections. `folder` is where relative paths begin.
pub(crate) fn read(mut top: Table<'_>, folder: &Path, report: &mut Report) -> RawConfig {
    let mut raw = RawConfig::default();
    match top.table(report, "cluster") {
        Some(table) => raw.cluster = cluster(table, folder, report),
        None => need(&top, report, "cluster", "add [cluster] with name and key_file"),
    }
    raw.links = top.tables(report, "link").into_iter().map(|t| link(t, report)).collect();
    need(&top, report, "link", "add one [[link]] for each network between the nodes");
    raw.nodes = top.tables(report, "node").into_iter().map(|t| node(t, report)).collect();
    need(&top, report, "node", "add one [[node]] for each machine");
    raw.services = top.tables(report, "service").into_iter().map(|t| service(t, report)).collect();
    if let Some(table) = top.table(report, "local") {
        raw.local = local(table, report);
    }
    top.finish(report, &[]);
    raw
}

fn need(top: &Table<'_>, report: &mut Report, key: &str, remedy: &str) {
    if !top.has(key) {
        report.missing(0..0, format!("there is no {key} section"), remedy);
    }
}

fn cluster(mut table: Table<'_>, folder: &Path, report: &mut Report) -> RawCluster {
    let name = name(&mut table, report).map(|name| name.value);
    let key_file = table.string(report, "key_file").and_then(|at| {
        if at.value.is_empty() || at.value.contains('\0') {
            let remedy = "write the path of the cluster's key";
            report.error(at.span.clone(), "key_file is no path", remedy);
            return None;
        }
        // An absolute path replaces the folder.
        Some(at.map(|path| folder.join(path)))
    });
    table.require(report, "key_file", "add key_file = \"/etc/netguard/cluster.key\"");
    let interval = duration(&mut table, report, "heartbeat_interval", &INTERVAL, INTERVAL_DEFAULT);
    let misses = match table.knows("heartbeat_misses") {
        true => table.integer(report, "heartbeat_misses", 2..=20).map(|at| at.value),
        false => Some(MISSES_DEFAULT),
    };
    table.finish(report, &[]);
    RawCluster { name, key_file, interval, misses }
}

fn link(mut table: Table<'_>, report: &mut Report) -> RawLink {
    let span = table.span.clone();
    let name = name(&mut table, report);
    let modes = [
        ("multicast", RawMode::Multicast),
        ("broadcast", RawMode::Broadcast),
        ("unicast", RawMode::Unicast),
    ];
    let mode = choice(&mut table, report, "mode", &modes);
    table.require(report, "mode", "add mode = \"multicast\", \"broadcast\" or \"unicast\"");
    let group = table.string(report, "group").and_then(|at| match at.value.parse::<IpAddr>() {
        Ok(group) if group.is_multicast() => Some(at.map(|_| group)),
        Ok(_) => {
            let message = format!("group {} is not a multicast address", at.value);
            let remedy = "take one of 239.0.0.0/8, or ff05::/16 for IPv6";
            report.error(at.span, message, remedy);
            None
        }
        Err(_) => {
            let message = format!("group \"{}\" is no IPv4 or IPv6 address", at.value);
            report.error(at.span, message, "write a group such as \"239.255.77.1\"");
            None
        }
    });
    if let (Some(mode), Some(key)) = (&mode, table.key_span("group"))
        && mode.value != RawMode::Multicast
    {
        let message = format!("{} has a group, but its mode is not multicast", table.title);
        report.error(key, message, "remove group, or write mode = \"multicast\"");
    }
    if mode.as_ref().is_some_and(|mode| mode.value == RawMode::Multicast) {
        table.require(report, "group", "add a group, such as group = \"239.255.77.1\"");
    }
    let words = [("udp", Frames::Udp), ("ethernet", Frames::Ethernet)];
    let frames = choice(&mut table, report, "frames", &words);
    if let (Some(frames), Some(mode)) = (&frames, &mode)
        && frames.value == Frames::Ethernet
        && mode.value == RawMode::Unicast
    {
        let message = format!(
            "{} cannot send Ethernet frames to each peer: it does not know where they are",
            table.title
        );
        let remedy = "write mode = \"multicast\" or \"broadcast\", or frames = \"udp\"";
        report.error(frames.span.clone(), message, remedy);
    }
    let port = table
        .integer(report, "port", 1..=65534)
        .and_then(|at| u16::try_from(at.value).ok().map(|port| at.map(|_| port)));
    table.require(report, "port", "add port = 5800; the next port carries the agreement");
    table.finish(report, &[]);
    RawLink { span, name, mode, group, frames, port }
}

fn node(mut table: Table<'_>, report: &mut Report) -> RawNode {
    let span = table.span.clone();
    let name = name(&mut table, report);
    let id = table
        .integer(report, "id", 1..=128)
        .and_then(|at| u8::try_from(at.value).ok().map(|id| at.map(|_| id)));
    table.require(report, "id", "add id = a number from 1 to 128 that no other node has");
    let addresses = table.strings(report, "addresses").map(|list| {
        let read = list.value.iter().map(|at| at.map(|_| own_address(at, report))).collect();
        At { value: read, span: list.span }
    });
    table.require(report, "addresses", "add addresses = [its own address on each link, in order]");
    let witness = table.boolean(report, "witness").is_some_and(|at| at.value);
    let vote = table.boolean(report, "vote");
    table.finish(report, &[]);
    RawNode { span, id, name, addresses, witness, vote }
}

fn own_address(at: &At<String>, report: &mut Report) -> Option<IpAddr> {
    let Ok(address) = at.value.parse::<IpAddr>() else {
        let message = format!("\"{}\" is no IPv4 or IPv6 address", at.value);
        let remedy = "write the address alone, such as \"10.77.1.1\" (no name, port or prefix)";
        report.error(at.span.clone(), message, remedy);
        return None;
    };
    if let Some(why) = unusable(&address) {
        let message = format!("{address} cannot be a node's address: {why}");
        report.error(at.span.clone(), message, "write the node's own address on this link");
        return None;
    }
    Some(address)
}

fn service(mut table: Table<'_>, report: &mut Report) -> RawService {
    let span = table.span.clone();
    let name = name(&mut table, report);
    let nodes = table.strings(report, "nodes");
    let placements = [("sticky", Placement::Sticky), ("fail-back", Placement::FailBack)];
    let placement = choice(&mut table, report, "placement", &placements).map(|at| at.value);
    let fences = [("fenced", Fence::Fenced), ("lease", Fence::Lease)];
    let fence = choice(&mut table, report, "fence", &fences);
    let resources = table.tables(report, "resource");
    let resources = resources.into_iter().map(|t| resource(t, report)).collect();
    table.require(report, "resource", "add at least one [[service.resource]] below it");
    table.finish(report, &[]);
    RawService { span, name, nodes, placement, fence, resources }
}

fn resource(mut table: Table<'_>, report: &mut Report) -> RawResource {
    let span = table.span.clone();
    let kinds = [("address", true), ("command", false)];
    let kind = choice(&mut table, report, "kind", &kinds);
    table.require(report, "kind", "add kind = \"address\" or \"command\"");
    let resource = match kind.map(|kind| kind.value) {
        Some(true) => {
            let resource = address(&mut table, report);
            let elsewhere = [("run", "kind = \"command\""), ("stop_timeout", "kind = \"command\"")];
            table.finish(report, &elsewhere);
            resource
        }
        Some(false) => {
            let resource = command(&mut table, report);
            let elsewhere =
                [("address", "kind = \"address\""), ("interface", "kind = \"address\"")];
            table.finish(report, &elsewhere);
            resource
        }
        // Which keys belong here is not known without the kind.
        None => None,
    };
    RawResource { span, resource }
}

fn address(table: &mut Table<'_>, report: &mut Report) -> Option<At<Resource>> {
    let interface = table.string(report, "interface").and_then(|at| {
        let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
        if at.value.is_empty() || at.value.len() > INTERFACE_NAME_MAX || at.value.contains(bad) {
            let message = format!("\"{}\" is no name of an interface", at.value);
            report.error(at.span, message, "write a name that `ip link` shows, such as \"eth0\"");
            return None;
        }
        Some(at.value)
    });
    table.require(report, "address", "add address = \"10.77.1.100/24\"");
    let at = table.string(report, "address")?;
    let (address, prefix) = match parse_network_address(&at.value) {
        Ok(read) => read,
        Err(why) => {
            let message = format!("address \"{}\" cannot be used: {why}", at.value);
            let remedy = "write address and prefix length, such as \"10.77.1.100/24\"";
            report.error(at.span, message, remedy);
            return None;
        }
    };
    if let Some(why) = unusable(&address) {
        let message = format!("{address} cannot be a floating address: {why}");
        report.error(at.span, message, "write an unused address of the clients' network");
        return None;
    }
    Some(At { value: Resource::Address { address, prefix, interface }, span: at.span })
}

fn command(table: &mut Table<'_>, report: &mut Report) -> Option<At<Resource>> {
    let stop_timeout = duration(table, report, "stop_timeout", &STOP_TIMEOUT, STOP_TIMEOUT_DEFAULT);
    table.require(report, "run", "add run = [\"/usr/bin/program\", \"argument\"]");
    let run = table.strings(report, "run")?;
    let refuse = |report: &mut Report, message: &str, remedy: &str| {
        report.error(run.span.clone(), message, remedy);
        None
    };
    let absolute = "write the whole path, such as run = [\"/usr/bin/program\", \"argument\"]";
    match run.value.first() {
        None => return refuse(report, "run is empty", absolute),
        Some(program) if !program.value.starts_with('/') => {
            let message = format!("the program \"{}\" is not an absolute path", program.value);
            report.error(program.span.clone(), message, absolute);
            return None;
        }
        Some(_) if run.value.len() > WORDS_MAX => {
            let message = format!("run has more than {WORDS_MAX} words");
            return refuse(report, &message, "call a script that holds them");
        }
        Some(_) => {}
    }
    if run.value.iter().any(|word| word.value.contains('\0')) {
        return refuse(report, "run has a zero character", "remove it");
    }
    let words = run.value.into_iter().map(|word| word.value).collect();
    let value = Resource::Command { run: words, stop_timeout: stop_timeout? };
    Some(At { value, span: run.span })
}

fn local(mut table: Table<'_>, report: &mut Report) -> RawLocal {
    let want = "\"auto\", \"none\" or the number of a core";
    let core = table.word_or_number(report, "core", want).and_then(|at| match at.value.as_str() {
        "auto" => Some(Core::Auto),
        "none" => Some(Core::None),
        number => match number.parse::<u16>() {
            Ok(number) if number < 1024 => Some(Core::Number(number)),
            _ => {
                report.error(
                    at.span,
                    format!("there is no core \"{number}\""),
                    format!("write {want}"),
                );
                None
            }
        },
    });
    let priority = table
        .integer(report, "realtime_priority", 30..=90)
        .and_then(|at| u8::try_from(at.value).ok());
    let words = [
        ("auto", GateSockets::Auto),
        ("machine", GateSockets::Machine),
        ("none", GateSockets::None),
    ];
    let gate_sockets = choice(&mut table, report, "gate_sockets", &words).map(|at| at.value);
    let words = [
        ("auto", NetworkIo::Auto),
        ("recvmmsg", NetworkIo::Recvmmsg),
        ("io_uring", NetworkIo::IoUring),
    ];
    let network_io = choice(&mut table, report, "network_io", &words).map(|at| at.value);
    table.finish(report, &[]);
    RawLocal { core, priority, gate_sockets, network_io }
}

/// The `name` that every section but `[local]` has; it becomes part of the section's title.
fn name(table: &mut Table<'_>, report: &mut Report) -> Option<At<String>> {
    table.require(report, "name", "add name = \"…\"");
    let at = table.string(report, "name")?;
    if let Err(why) = check_name(&at.value) {
        let message = format!("the name of {} cannot be used: {why}", table.title);
        let remedy = "write a short name of letters, digits, '.', '_' and '-', such as \"n1\"";
        report.error(at.span, message, remedy);
        return None;
    }
    if table.title.starts_with("[[") {
        table.title = format!("{} \"{}\"", table.title, at.value);
    }
    Some(at)
}

/// One of some words.
fn choice<T: Copy>(
    table: &mut Table<'_>,
    report: &mut Report,
    key: &'static str,
    words: &[(&'static str, T)],
) -> Option<At<T>> {
    let at = table.string(report, key)?;
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == at.value) {
        return Some(at.map(|_| *value));
    }
    let all: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
    let remedy = match did_you_mean(&at.value, words.iter().map(|(word, _)| *word)) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("write one of {}", all.join(", ")),
    };
    let shown: String = at.value.chars().take(40).collect();
    report.error(at.span, format!("{key} in {} cannot be \"{shown}\"", table.title), remedy);
    None
}

/// A duration of a range. One that is there and wrong is told and stays missing.
fn duration(
    table: &mut Table<'_>,
    report: &mut Report,
    key: &'static str,
    range: &RangeInclusive<Duration>,
    default: Duration,
) -> Option<Duration> {
    if !table.knows(key) {
        return Some(default);
    }
    let at = table.string(report, key)?;
    let (least, most) = (format_duration(*range.start()), format_duration(*range.end()));
    let remedy = format!("write a number with its unit, from \"{least}\" to \"{most}\"");
    match parse_duration(&at.value) {
        Ok(duration) if range.contains(&duration) => Some(duration),
        Ok(duration) => {
            let long = if duration < *range.start() { "short" } else { "long" };
            report.error(at.span, format!("{key} {} is too {long}", at.value), remedy);
            None
        }
        Err(why) => {
            let shown: String = at.value.chars().take(40).collect();
            report.error(at.span, format!("{key} \"{shown}\" is no duration: {why}"), remedy);
            None
        }
    }
}
