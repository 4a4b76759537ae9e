//! A standing TCP connection, as an NFS client keeps one: always from the same source port, so that
//! a reconnect meets whatever the server's machine still remembers of the connection before.

use crate::error::{Context, Result};
use crate::os;
use crate::responder::Generations;
use crate::topology::{CLIENT, Topology, service_of};
use socket2::{Domain, Protocol, Socket, Type};
use std::fs::File;
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
pub struct Session {
    namespace: File,
    from: SocketAddrV4,
    to: SocketAddrV4,
    stream: Option<TcpStream>,
}

impl Session {
    /// A session of the client with `address`, always from `port`; nothing is connected yet.
    ///
    /// # Errors
    /// When the client's namespace cannot be kept open.
    pub fn new(topology: &Topology, port: u16, address: Ipv4Addr) -> Result<Self> {
        let namespace = topology.client().file().try_clone().context("session")?;
        let (from, to) = (SocketAddrV4::new(CLIENT, port), SocketAddrV4::new(address, PORT));
        Ok(Self { namespace, from, to, stream: None })
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

    /// Connects on a thread of its own, because a thread that has entered a namespace stays there.
    fn connect(&self) -> Result<TcpStream> {
        std::thread::scope(|scope| {
            let connected = scope.spawn(|| {
                os::enter(&self.namespace).context("session")?;
                connect(self.from, self.to).context("session")
            });
            connected.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

fn connect(from: SocketAddrV4, to: SocketAddrV4) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    // A connection that is given up leaves nothing behind here: the port is free at once.
    socket.set_linger(Some(Duration::ZERO))?;
    socket.bind(&from.into())?;
    socket.connect_timeout(&to.into(), PATIENCE)?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}
