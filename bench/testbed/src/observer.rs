//! The client: one probe every millisecond to the floating address, and one straight to every node.
//!
//! The normal probe takes the kernel's path, as any client's packet: neighbour table, announcement
//! and all. The direct ones carry a node's MAC address as destination, so that an old owner that
//! still has the address is seen although nobody else would talk to it any more. Both ask from the
//! same port; all replies come to one socket.

use crate::error::{Context, Result};
use crate::os;
use crate::packet::PacketSocket;
use crate::probe::{Frame, PORT, Probe, Reply, Via};
use crate::record::{Answer, Record};
use crate::topology::{CLIENT, CLIENT_MAC, FLOATING, Topology, mac};
use base::{Duration, Instant};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// One probe on each way per tick.
const TICK: Duration = Duration::from_millis(1);
/// Send times that are remembered: a reply later than that many ticks is of no use.
const SENT_MAX: usize = 1 << 16;

/// What sender, receiver and reader share.
#[derive(Debug)]
struct Shared {
    id: u64,
    sent: Box<[AtomicU64]>,
    record: Mutex<Record>,
    paused: AtomicBool,
    stop: AtomicBool,
    realtime: AtomicBool,
    late: AtomicU64,
}

/// The running observer.
#[derive(Debug)]
pub struct Observer {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Observer {
    /// Starts one for the first floating address, in the client's namespace.
    ///
    /// # Errors
    /// When its sockets cannot be opened.
    pub fn start(topology: &Topology) -> Result<Self> {
        Self::start_for(topology, FLOATING)
    }

    /// Starts one for any floating address.
    ///
    /// # Errors
    /// When its sockets cannot be opened.
    pub fn start_for(topology: &Topology, address: Ipv4Addr) -> Result<Self> {
        let shared = Arc::new(Shared {
            id: os::random(),
            sent: (0..SENT_MAX).map(|_| AtomicU64::new(0)).collect(),
            record: Mutex::default(),
            paused: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            realtime: AtomicBool::new(true),
            late: AtomicU64::new(0),
        });
        let (socket, wire) = topology.client().inside(|| {
            let socket = UdpSocket::bind(SocketAddrV4::new(CLIENT, 0)).context("observer")?;
            Ok((socket, PacketSocket::sender()?))
        })?;
        let timeout = Some(std::time::Duration::from_millis(100));
        socket.set_read_timeout(timeout).context("observer")?;
        let replies = socket.try_clone().context("observer")?;
        let from = match socket.local_addr().context("observer")? {
            SocketAddr::V4(from) => from,
            SocketAddr::V6(_) => SocketAddrV4::new(CLIENT, 0),
        };
        let to = SocketAddrV4::new(address, PORT);
        let direct = topology.ids().map(|node| {
            let probe = Probe { via: Via::Direct(node), observer: shared.id, seq: 0 };
            Frame::new((CLIENT_MAC, mac(node, 1)), from, to, &probe)
        });
        let sender = Sender { socket, wire, to, direct: direct.collect() };
        let (one, two) = (Arc::clone(&shared), Arc::clone(&shared));
        let threads = vec![
            std::thread::spawn(move || sender.run(&one)),
            std::thread::spawn(move || receive(&replies, &two)),
        ];
        Ok(Self { shared, threads })
    }

    /// The record, to be read.
    pub fn record(&self) -> MutexGuard<'_, Record> {
        self.shared.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops asking, or asks again.
    pub fn set_paused(&self, paused: bool) {
        self.shared.paused.store(paused, Ordering::Relaxed);
    }

    /// False if the kernel refused real-time priority to its threads.
    #[must_use]
    pub fn is_realtime(&self) -> bool {
        self.shared.realtime.load(Ordering::Relaxed)
    }

    /// Ticks that came more than one tick late and were left out.
    #[must_use]
    pub fn late(&self) -> u64 {
        self.shared.late.load(Ordering::Relaxed)
    }

    /// Waits until a normal probe sent after `after` has an answer that `accept` takes.
    pub fn wait_for(
        &self,
        after: Instant,
        limit: Duration,
        accept: impl Fn(&Answer) -> bool,
    ) -> Option<Answer> {
        let end = os::now() + limit;
        loop {
            let found = self.record().first_answer(after, &accept);
            if found.is_some() || os::now() > end || os::interrupted() {
                return found;
            }
            os::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

struct Sender {
    socket: UdpSocket,
    wire: PacketSocket,
    to: SocketAddrV4,
    direct: Vec<Frame>,
}

impl Sender {
    fn run(mut self, shared: &Shared) {
        if os::realtime(os::PRIORITY_OBSERVER).is_err() {
            shared.realtime.store(false, Ordering::Relaxed);
        }
        let mut due = os::now() + TICK;
        let mut seq = 0_u64;
        while !shared.stop.load(Ordering::Relaxed) {
            os::sleep_until(due);
            let now = os::now();
            let behind = now.since(due).nanos() / TICK.nanos();
            if behind > 0 {
                shared.late.fetch_add(behind, Ordering::Relaxed);
            }
            due += TICK * (behind + 1); // never a burst: a tick that is missed is left out
            if shared.paused.load(Ordering::Relaxed) {
                continue;
            }
            seq += 1;
            shared.sent[seq as usize % SENT_MAX].store(now.0, Ordering::Relaxed);
            let probe = Probe { via: Via::Kernel, observer: shared.id, seq };
            // A refused send (no neighbour, no buffer) is a probe without an answer, which is what
            // it is.
            let _ = self.socket.send_to(&probe.encode(), self.to);
            for frame in &mut self.direct {
                self.wire.send(frame.numbered(seq));
            }
        }
    }
}

fn receive(replies: &UdpSocket, shared: &Shared) {
    if os::realtime(os::PRIORITY_OBSERVER).is_err() {
        shared.realtime.store(false, Ordering::Relaxed);
    }
    let mut bytes = [0_u8; 256];
    while !shared.stop.load(Ordering::Relaxed) {
        let Ok((length, _)) = replies.recv_from(&mut bytes) else { continue };
        let received = os::now();
        let Some(reply) = Reply::decode(&bytes[..length]) else { continue };
        if reply.probe.observer != shared.id {
            continue;
        }
        let sent = shared.sent[reply.probe.seq as usize % SENT_MAX].load(Ordering::Relaxed);
        let mut record = shared.record.lock().unwrap_or_else(PoisonError::into_inner);
        record.handle_reply(Instant(sent), received, &reply);
    }
}
