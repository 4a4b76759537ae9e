//! The beats of 127 nodes, made by one thread: what the fast path of the last one of 128 has to hear.

use anyhow::{Context, Result};
use base::{Duration, Instant};
use link::{Destination, Link, Mode, Settings, UdpLink};
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use testbed::namespace::Namespace;
use testbed::os;
use testbed::spec::PORT_BEATS;
use wire::{Beat, Echo, Header, Incarnation, Kind, Life, LinkId, NodeId, Nonce, Seal, Seq, Stint};

const NODES: u8 = 128;

/// The configuration of a cluster of 128 of which the first is in the bed: seven vote.
pub(crate) fn configuration(key_file: &str) -> String {
    let mut text = format!(
        "[cluster]\nname = \"bed\"\nkey_file = \"{key_file}\"\n\
         heartbeat_interval = \"10ms\"\nheartbeat_misses = 3\n\n\
         [[link]]\nname = \"red\"\nmode = \"multicast\"\ngroup = \"239.255.77.1\"\nport = {PORT_BEATS}\n"
    );
    for node in 1..=NODES {
        let vote = if node <= 7 { "" } else { "vote = false\n" };
        let _ = write!(
            text,
            "\n[[node]]\nid = {node}\nname = \"n{node}\"\naddresses = [\"10.77.1.{node}\"]\n{vote}"
        );
    }
    text.push_str("\n[local]\ncore = \"none\"\n");
    text
}

/// Beats for 127 nodes every interval, from a namespace of the bed, until it is told to stop. Returns the beats sent.
pub(crate) fn beats(
    namespace: &Namespace,
    own: IpAddr,
    seal: &Seal,
    interval: Duration,
    stop: &AtomicBool,
) -> Result<u64> {
    let open = || {
        // SAFETY: a C string, alive during the call.
        let interface = unsafe { libc::if_nametoindex(c"eth0".as_ptr()) };
        Ok(UdpLink::open(&Settings {
            id: LinkId(0),
            mode: Mode::Multicast(IpAddr::from([239, 255, 77, 1])),
            own: SocketAddr::new(own, PORT_BEATS),
            interface,
            peers: Vec::new(),
            frame_max: wire::frame::FRAME_MAX,
            stamped: false,
        }))
    };
    let mut link = namespace.inside(open)?.context("the flood's link")?;
    let mut frame = vec![0; wire::frame::FRAME_MAX];
    let (mut seq, mut due) = (0, os::now());
    while !stop.load(Ordering::Relaxed) {
        seq += 1;
        for node in (2..=NODES).filter_map(NodeId::new) {
            let header = Header {
                kind: Kind::Beat,
                from: Life { node, incarnation: Incarnation(1) },
                nonce: Nonce(node.get().into()),
                link: LinkId(0),
                seq: Seq(seq),
            };
            let mut body = [0; wire::beat::BEAT_MAX];
            let beat = full_beat(os::now(), interval, seq);
            if let Some(frame) =
                wire::frame::seal(seal, &header, beat.encode(&mut body), &mut frame)
            {
                link.send(Destination::All, frame);
            }
        }
        due += interval;
        os::sleep_until(due);
    }
    Ok(link.counts().sent)
}

/// As long as a beat can be: it echoes everybody.
fn full_beat(sent: Instant, interval: Duration, seq: u64) -> Beat {
    let mut beat = Beat::new(Stint(1), sent, interval * 3, interval);
    for peer in (1..=NODES).filter_map(NodeId::new) {
        beat.set_echo(peer, Echo::new(Seq(seq), Incarnation(1), Duration::ZERO));
    }
    beat
}
