//! What answers at an address: a process that echoes, and knows nothing of the gate.

use super::ask::PORT;
use socket2::{Domain, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use testbed::error::{Context, Result};
use testbed::namespace::Namespace;
use testbed::os;

/// How often the echoes look whether they are to end.
const LOOK: Duration = Duration::from_millis(20);

/// Echoes datagrams and one connection at a time; ends when dropped.
#[derive(Debug)]
pub(super) struct Answerer {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Answerer {
    /// Begins at `address` in `namespace`.
    pub(super) fn start(namespace: &Namespace, address: IpAddr) -> Result<Self> {
        let (udp, tcp) = namespace.inside(|| {
            let at = SocketAddr::new(address, PORT);
            let udp = UdpSocket::bind(at).context(format!("answer at {at}"))?;
            udp.set_read_timeout(Some(LOOK)).context("answer")?;
            Ok((udp, listen(at).context(format!("answer at {at}"))?))
        })?;
        let stop = Arc::new(AtomicBool::new(false));
        let (stop_udp, stop_tcp) = (Arc::clone(&stop), Arc::clone(&stop));
        let threads = vec![
            std::thread::spawn(move || echo_datagrams(&udp, &stop_udp)),
            std::thread::spawn(move || echo_connections(&tcp, &stop_tcp)),
        ];
        Ok(Self { stop, threads })
    }
}

impl Drop for Answerer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            // A thread that panicked has told so itself.
            let _ = thread.join();
        }
    }
}

fn listen(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&at.into())?;
    socket.listen(8)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn echo_datagrams(socket: &UdpSocket, stop: &AtomicBool) {
    // As an application that is well served: its delay is not the gate's.
    let _ = os::realtime(os::PRIORITY_RESPONDER);
    let mut bytes = [0; 8_192];
    while !stop.load(Ordering::SeqCst) {
        if let Ok((n, from)) = socket.recv_from(&mut bytes) {
            let _ = socket.send_to(bytes.get(..n).unwrap_or_default(), from);
        }
    }
}

fn echo_connections(listener: &TcpListener, stop: &AtomicBool) {
    let mut open: Vec<TcpStream> = Vec::new();
    let mut bytes = [0; 1_024];
    while !stop.load(Ordering::SeqCst) {
        if let Ok((stream, _)) = listener.accept()
            && stream.set_read_timeout(Some(Duration::from_millis(1))).is_ok()
            && stream.set_nonblocking(false).is_ok()
        {
            let _ = stream.set_nodelay(true);
            open.push(stream);
        }
        if open.is_empty() {
            os::sleep(base::Duration::from_millis(2));
        }
        for stream in &mut open {
            if let Ok(n) = stream.read(&mut bytes) {
                let _ = stream.write_all(bytes.get(..n).unwrap_or_default());
            }
        }
        // A closed stream reads nothing at once, for ever: forget it.
        open.retain(|it| !matches!(it.peek(&mut [0]), Ok(0)));
    }
}
