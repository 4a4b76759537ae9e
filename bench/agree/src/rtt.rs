//! The bare round trip: a ping-pong of UDP datagrams between two of the namespaces in which the daemons
//! run, by two threads with the priority of their event loops. It is the floor of everything that has to
//! ask another node.

use anyhow::Result;
use base::{Duration, Instant};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use testbed::cluster::Cluster;
use testbed::error::Context;
use testbed::os;
use testbed::topology::address;

/// Ports of nobody.
const PORT: u16 = 7_090;
/// As long as a Prepare of one 64-byte request with its header.
const BYTES: usize = 240;
/// A datagram that does not come back within this is lost.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(100);
/// The event loop of netguard-control has this priority by default.
const PRIORITY: i32 = 40;

/// One exchange: when it began, and how long it took.
pub(crate) type Took = (Instant, Duration);

/// Which cores the two ends run on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cores {
    /// Where the kernel wants, as the daemons do.
    Free,
    /// Each on a core of its own.
    Two,
    /// Both on one.
    One,
}

/// So many round trips between nodes `from` and `to`.
pub(crate) fn measure(
    cluster: &Cluster,
    (from, to): (u8, u8),
    cores: Cores,
    count: u32,
) -> Result<Vec<Took>> {
    let open = |node: u8| {
        let at = SocketAddr::from((address(node, 1), PORT));
        let bed = cluster.bed().topology();
        bed.node(node).inside(|| UdpSocket::bind(at).context("ping-pong"))
    };
    let (asks, answers) = (open(from)?, open(to)?);
    asks.connect(SocketAddr::from((address(to, 1), PORT))).context("ping-pong")?;
    asks.set_read_timeout(Some(PATIENCE)).context("ping-pong")?;
    answers.set_read_timeout(Some(PATIENCE)).context("ping-pong")?;
    let all = os::cores();
    let (one, other) = match (cores, all.as_slice()) {
        (Cores::Two, [one, other, ..]) => (Some(*one), Some(*other)),
        (Cores::One, [one, ..]) => (Some(*one), Some(*one)),
        _ => (None, None),
    };
    let over = AtomicBool::new(false);
    let took = std::thread::scope(|scope| {
        scope.spawn(|| answer(&answers, other, &over));
        let took = scope.spawn(|| ask(&asks, one, count)).join();
        over.store(true, Ordering::Relaxed);
        took
    });
    Ok(took.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
}

/// Not allowed is told once, by the stall meter.
fn prepare(core: Option<usize>) {
    let _ = os::realtime(PRIORITY);
    let _ = core.map(os::pin);
}

fn ask(socket: &UdpSocket, core: Option<usize>, count: u32) -> Vec<Took> {
    prepare(core);
    let mut took = Vec::with_capacity(count as usize);
    let mut buffer = [0; BYTES];
    for number in 0..count {
        buffer[..4].copy_from_slice(&number.to_le_bytes());
        let begin = os::now();
        if socket.send(&buffer).is_err() || os::interrupted() {
            break;
        }
        // An answer to an earlier question is passed over.
        while let Ok(n) = socket.recv(&mut buffer) {
            if n == BYTES && buffer[..4] == number.to_le_bytes() {
                took.push((begin, os::now().since(begin)));
                break;
            }
        }
    }
    took
}

fn answer(socket: &UdpSocket, core: Option<usize>, over: &AtomicBool) {
    prepare(core);
    let mut buffer = [0; BYTES];
    while !over.load(Ordering::Relaxed) {
        if let Ok((n, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..n], from);
        }
    }
}
