//! `ng links`: what the fast path has measured of the network, also one that is dead.

use super::Done;
use crate::failure::Exit;
use crate::output::Output;
use crate::text::{Paint, Table, Tone, clean};
use api::{Detection, Status};
use serde::Serialize;
use shm::ReadMap;
use shm::measures::{PeerSpread, Spread};
use std::path::Path;

/// The object.
#[derive(Serialize)]
struct Object {
    map: String,
    /// The measuring node, by the daemon if it answers.
    node: Option<String>,
    /// False if the daemon did not answer: then there are numbers instead of names.
    names_known: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    detection: Option<Detection>,
    /// How late the fast path's timer woke it.
    lateness: Figures,
    peers: Vec<Peer>,
}

#[derive(Serialize)]
struct Peer {
    id: u8,
    node: String,
    /// From a beat to its echo, less the time for which the peer held it.
    round_trip: Figures,
    /// By how much the way there varies.
    outgoing_jitter: Figures,
    links: Vec<Link>,
}

#[derive(Serialize)]
struct Link {
    number: usize,
    link: String,
    carried: u64,
    lost: u64,
    doubled: u64,
    reordered: u64,
    /// By how much the way here varies.
    jitter: Figures,
}

/// A histogram in five numbers; milliseconds.
#[derive(Clone, Copy, Serialize)]
struct Figures {
    count: u64,
    p50_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    max_ms: f64,
}

impl From<&Spread> for Figures {
    fn from(spread: &Spread) -> Self {
        let ms = |span: base::Duration| span.nanos() as f64 / 1e6;
        let at = |per_million| spread.quantile(per_million).map_or(0.0, ms);
        Self {
            count: spread.count(),
            p50_ms: at(500_000),
            p99_ms: at(990_000),
            p999_ms: at(999_000),
            max_ms: ms(spread.largest()),
        }
    }
}

/// `status`: what the daemon says, for the names.
pub(super) fn run(run_dir: &Path, status: Option<&Status>, output: &Output) -> Done {
    let path = run_dir.join(shm::map::NAME);
    let map = ReadMap::open(&path)?;
    let object = Object {
        map: path.display().to_string(),
        node: status
            .map(|status| status.node.clone())
            .or_else(|| map.header().node().map(|node| format!("node {node}"))),
        names_known: status.is_some(),
        detection: status.and_then(|status| status.detection),
        lateness: Figures::from(&map.lateness()),
        peers: map.peers().filter_map(|spread| peer(&spread, status)).collect(),
    };
    output.answer(&object, |paint| show(&object, paint));
    Ok(Exit::Fine)
}

/// One that was ever heard.
fn peer(spread: &PeerSpread, status: Option<&Status>) -> Option<Peer> {
    let id = spread.id;
    let member = status.and_then(|s| s.members.iter().find(|member| member.id == id));
    let name = |number: usize| {
        let known = member.and_then(|member| member.links.get(number));
        known.map_or_else(|| format!("link {number}"), |link| link.link.clone())
    };
    let links: Vec<_> = spread
        .links
        .iter()
        .enumerate()
        .filter(|(_, spread)| spread.carried > 0)
        .map(|(number, spread)| Link {
            number,
            link: name(number),
            carried: spread.carried,
            lost: spread.lost,
            doubled: spread.doubled,
            reordered: spread.reordered,
            jitter: Figures::from(&spread.jitter),
        })
        .collect();
    (!links.is_empty()).then(|| Peer {
        id,
        node: member.map_or_else(|| format!("node {id}"), |member| member.name.clone()),
        round_trip: Figures::from(&spread.round_trip),
        outgoing_jitter: Figures::from(&spread.outgoing),
        links,
    })
}

fn show(object: &Object, paint: Paint) -> String {
    let who = object.node.as_deref().unwrap_or("a node that is not known yet");
    let mut text = format!("{}: measured since the daemon's start, in ms\n", clean(who));
    if let Some(detection) = &object.detection {
        let enough = detection.budget_ms <= detection.deadline_ms;
        let budget = format!(
            "{:.1} of {:.1} ms: beats may be late by {:.3} (wake-up) + {:.3} (jitter)",
            detection.budget_ms, detection.deadline_ms, detection.late_ms, detection.jitter_ms
        );
        let tone = if enough { Tone::Good } else { Tone::Warning };
        text.push_str(&format!("detection budget {}\n", paint.tone(tone, &budget)));
    }
    let heading = ["", "", "COUNT", "P50", "P99", "P99.9", "MAX", "LOST", "TWICE", "DISORDER"];
    let mut table = Table::new(&heading);
    table.row(row("wake-ups", "late", &object.lateness));
    for peer in &object.peers {
        table.row(row(&peer.node, "round trip", &peer.round_trip));
        table.row(row("", "jitter there", &peer.outgoing_jitter));
        for link in &peer.links {
            let mut cells = row("", &format!("jitter here, {}", link.link), &link.jitter);
            let all = link.carried + link.lost;
            let share = link.lost as f64 * 100.0 / all.max(1) as f64;
            let tone = |count| if count > 0 { Tone::Warning } else { Tone::Plain };
            let lost = match link.lost {
                0 => "0".to_owned(),
                lost => format!("{lost} ({share:.2} %)"),
            };
            cells.push((tone(link.lost), lost));
            cells.push((tone(link.doubled), link.doubled.to_string()));
            cells.push((tone(link.reordered), link.reordered.to_string()));
            table.row(cells);
        }
    }
    text.push('\n');
    text.push_str(&table.show(paint));
    if object.peers.is_empty() {
        text.push_str("\nno peer was ever heard\n");
    }
    text
}

fn row(who: &str, what: &str, figures: &Figures) -> Vec<(Tone, String)> {
    let mut cells = vec![
        (Tone::Strong, who.to_owned()),
        (Tone::Plain, what.to_owned()),
        (Tone::Plain, figures.count.to_string()),
    ];
    let of = [figures.p50_ms, figures.p99_ms, figures.p999_ms, figures.max_ms];
    cells.extend(of.map(|ms| {
        (Tone::Plain, if figures.count == 0 { "-".to_owned() } else { format!("{ms:.3}") })
    }));
    cells
}

#[cfg(test)]
mod tests {
    use super::{Figures, Object, peer, show};
    use crate::commands::samples::status;
    use crate::text::Paint;
    use shm::measures::{LinkSpread, PeerSpread, Spread};

    #[test]
    fn each_peer_that_was_heard_has_its_links_by_name_and_what_they_lost() {
        let us = base::Duration::from_micros;
        let jitter = [us(40); 3].into_iter().collect();
        let green = LinkSpread { carried: 3, lost: 3, jitter, ..LinkSpread::default() };
        let spread = PeerSpread {
            id: 2,
            round_trip: [us(90)].into_iter().collect(),
            links: vec![LinkSpread::default(), green],
            ..PeerSpread::default()
        };
        let status = status();
        let object = |known: bool| {
            let status = known.then_some(&status);
            Object {
                map: "m".into(),
                node: Some("n1".into()),
                names_known: known,
                detection: None,
                lateness: Figures::from(&Spread::default()),
                peers: peer(&spread, status).into_iter().collect(),
            }
        };
        let shown = show(&object(true), Paint { colour: false });
        assert!(shown.contains("n2        round trip          1"), "{shown}");
        assert!(
            shown.contains("jitter here, green  3      0.040  0.040  0.040  0.040  3 (50.00 %)"),
            "{shown}"
        );
        assert!(!shown.contains("blue"), "nothing came there: {shown}");
        let shown = show(&object(false), Paint { colour: false });
        assert!(shown.contains("node 2") && shown.contains("jitter here, link 1"), "{shown}");
    }
}
