//! A standing TCP connection, as an NFS client keeps one: always from the same source port, so that
//! a reconnect meets whatever the server's machine still remembers of the connection before.

use crate::error::{Context, Result};
use crate::responder::Generations;
use crate::topology::{CLIENT, Topology, service_of};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The TCP port that responders listen on.
pub const PORT: u16 = 7078;
/// Connections served at once; more are refused.
const CONNECTIONS_MAX: usize = 64;
const ANSWER_LEN: usize = 16;
/// An exchange or a connection that takes longer has failed.
const PATIENCE: Duration = Duration::from_millis(100);

/// Serves until the process ends, each connection on a thread of its own.
///
/// # Errors
/// When the port is taken.
pub fn serve<G: Generations + Send + 'static>(node: u8, make: impl Fn() -> G) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).context("responder")?;
    let served = Arc::new(AtomicUsize::new(0));
    loop {
        let Ok((stream, _)) = listener.accept() else { continue };
        if served.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
            served.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let (served, mut generations) = (Arc::clone(&served), make());
        std::thread::spawn(move || {
            // Its end is the client's affair, or the kernel's, when the address is taken away.
            let _ = converse(stream, node, &mut generations);
            served.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

fn converse(mut stream: TcpStream, node: u8, generations: &mut impl Generations) -> io::Result<()> {
    let service = match stream.local_addr()?.ip() {
        IpAddr::V4(address) => service_of(address),
        IpAddr::V6(_) => 0,
    };
    stream.set_nodelay(true)?;
    let mut question = [0_u8; 8];
    loop {
        stream.read_exact(&mut question)?;
        let mut answer = [0_u8; ANSWER_LEN];
        answer[..8].copy_from_slice(&u64::from(node).to_le_bytes());
        answer[8..].copy_from_slice(&generations.read(service).to_le_bytes());
        stream.write_all(&answer)?;
    }
}

/// The client's side.
#[derive(Debug)]
pub struct Session<'t> {
    topology: &'t Topology,
    from: SocketAddrV4,
    to: SocketAddrV4,
    stream: Option<TcpStream>,
}

impl<'t> Session<'t> {
    /// A session with `address`, always from `port`; nothing is connected yet.
    #[must_use]
    pub const fn new(topology: &'t Topology, port: u16, address: Ipv4Addr) -> Self {
        let from = SocketAddrV4::new(CLIENT, port);
        Self { topology, from, to: SocketAddrV4::new(address, PORT), stream: None }
    }

    /// Asks who serves, on the connection that there is or a new one: node and generation. `None`
    /// if there is no answer now; then the next question comes on a new connection.
    pub fn ask(&mut self) -> Option<(u8, u64)> {
        let answer = self.exchange();
        if answer.is_none() {
            self.stream = None;
        }
        answer
    }

    fn exchange(&mut self) -> Option<(u8, u64)> {
        if self.stream.is_none() {
            self.stream = Some(self.connect().ok()?);
        }
        let stream = self.stream.as_mut()?;
        stream.write_all(&[0; 8]).ok()?;
        let mut answer = [0_u8; ANSWER_LEN];
        stream.read_exact(&mut answer).ok()?;
        let generation = u64::from_le_bytes(*answer.last_chunk()?);
        Some((answer[0], generation))
    }

    fn connect(&self) -> Result<TcpStream> {
        self.topology.client().inside(|| {
            let what = "session";
            let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP));
            let socket = socket.context(what)?;
            socket.set_reuse_address(true).context(what)?;
            // A connection that is given up leaves nothing behind here: the port is free at once.
            socket.set_linger(Some(Duration::ZERO)).context(what)?;
            socket.bind(&self.from.into()).context(what)?;
            socket.connect_timeout(&self.to.into(), PATIENCE).context(what)?;
            let stream = TcpStream::from(socket);
            stream.set_nodelay(true).context(what)?;
            stream.set_read_timeout(Some(PATIENCE)).context(what)?;
            stream.set_write_timeout(Some(PATIENCE)).context(what)?;
            Ok(stream)
        })
    }
}
