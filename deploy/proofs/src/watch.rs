//! A client that asks a floating address every two milliseconds and tells, a line each, when another
//! node answers, another generation, or the same after a silence.

use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::net::{SocketAddrV4, UdpSocket};
use testbed::os;
use testbed::probe::{PORT, Probe, Reply, Via};

/// One question this often.
const TICK: base::Duration = base::Duration::from_millis(2);
/// A silence that is told.
const SILENCE: base::Duration = base::Duration::from_millis(20);

/// A change, in times of the node that watches.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Change {
    /// When the last answer before it came; 0 if there was none.
    pub last: u64,
    /// When the first answer came.
    pub first: u64,
    /// Who answered.
    pub node: u8,
    /// As owner of which generation.
    pub generation: u64,
}

/// Asks until the process ends.
///
/// # Errors
/// When there is no socket, or nobody reads any more.
pub fn run(address: std::net::Ipv4Addr, out: &mut impl Write) -> io::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_nonblocking(true)?;
    let to = SocketAddrV4::new(address, PORT);
    let observer = os::random();
    let mut known: Option<Change> = None;
    let mut heard = base::Instant(0);
    for seq in 0_u64.. {
        let due = os::now() + TICK;
        // Without an owner there may be no neighbour either: asking again is all a client can do.
        let _ = socket.send_to(&Probe { via: Via::Kernel, observer, seq }.encode(), to);
        while os::now() < due {
            wait_readable(&socket, due);
            let mut bytes = [0; 64];
            let Ok((length, _)) = socket.recv_from(&mut bytes) else { continue };
            let reply = bytes.get(..length).and_then(Reply::decode);
            let Some(reply) = reply.filter(|it| it.probe.observer == observer) else { continue };
            let now = os::now();
            let same =
                known.is_some_and(|it| (it.node, it.generation) == (reply.node, reply.generation));
            if !same || now.since(heard) > SILENCE {
                let Reply { node, generation, .. } = reply;
                let change = Change { last: heard.0, first: now.0, node, generation };
                known = Some(change);
                let line = serde_json::to_string(&change).map_err(io::Error::other)?;
                writeln!(out, "{line}")?;
                out.flush()?;
            }
            heard = now;
        }
    }
    Ok(())
}

fn wait_readable(socket: &UdpSocket, due: base::Instant) {
    let left = due.since(os::now());
    os::wait_readable(socket, left);
}
