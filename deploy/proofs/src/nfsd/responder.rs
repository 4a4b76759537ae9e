//! The small RPC services of one instance, in one thread on one port: the status monitor, and the
//! part of the mount service that an NFSv3 mount needs. They run beforehand, so that a takeover
//! starts no process.

use crate::nfsd::door;
use crate::nfsd::monitor::{self, Restarted};
use crate::nfsd::pipe::{News, Shared, open};
use crate::nfsd::rpc::{self, Request, RpcError};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;

const MOUNT: u32 = 100_005;
const MOUNT_VERSION: u32 = 3;
const TCP: u32 = 6;
const UDP: u32 = 17;
/// A connection that says nothing for so long makes room for the next.
const IDLE: Duration = Duration::from_secs(1);
const LONGEST_CALL: usize = 8192;
const ERR_NOENT: u32 = 2;
const AUTH_SYS: u32 = 1;
/// The port mapper of the instance takes registrations from ports of the superuser only.
const PORT: u16 = 661;

/// Opens the ports, registers both programs, serves them for as long as the process lives.
///
/// lockd has one thread for all namespaces of a node, and that thread waits for the monitor's
/// answer: a namespace without a monitor delays the locks of every service.
pub fn serve(book: Shared, folder: PathBuf, news: SyncSender<News>) -> Result<(), RpcError> {
    let socket = UdpSocket::bind(SocketAddr::from(([0, 0, 0, 0], PORT)))
        .map_err(RpcError::io("bind the monitor's port"))?;
    let lockd = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], PORT)))
        .map_err(RpcError::io("bind the monitor's port for lockd"))?;
    let caller = UdpSocket::bind(SocketAddr::from(([0, 0, 0, 0], PORT + 1)))
        .map_err(RpcError::io("bind the caller's port"))?;
    rpc::register(&caller, (monitor::STATUS, monitor::VERSION, UDP), PORT)?;
    rpc::register(&caller, (monitor::STATUS, monitor::VERSION, TCP), PORT)?;
    rpc::register(&caller, (MOUNT, MOUNT_VERSION, UDP), PORT)?;
    let (lockds_book, lockds_news) = (Arc::clone(&book), news.clone());
    thread::spawn(move || {
        loop {
            // lockd opens a connection for each question and closes it after the answer.
            let Ok((mut stream, _)) = lockd.accept() else { continue };
            let _ = serve_lockd(&mut stream, &lockds_book, &lockds_news);
        }
    });
    thread::spawn(move || {
        let mut bytes = [0; LONGEST_CALL];
        loop {
            let Ok((length, from)) = socket.recv_from(&mut bytes) else { continue };
            let call = bytes.get(..length).unwrap_or_default();
            let Ok(request) = rpc::request(call) else { continue };
            let (answer, restarted) = match request.procedure.program {
                monitor::STATUS => watch(&book, request, from.ip(), &news),
                MOUNT => (mount(request, &folder), None),
                _ => (rpc::unavailable(request.xid, 1), None),
            };
            let _ = socket.send_to(&answer, from);
            if let Some(restarted) = restarted
                && let Err(e) = monitor::tell_lockd(&caller, &restarted)
            {
                let _ = news.try_send(News::Trouble(format!("tell lockd: {e}")));
            }
        }
    });
    Ok(())
}

fn serve_lockd(
    stream: &mut TcpStream,
    book: &Shared,
    news: &SyncSender<News>,
) -> Result<(), RpcError> {
    stream.set_read_timeout(Some(IDLE)).map_err(RpcError::io("set a timeout"))?;
    loop {
        let record = rpc::receive_record(stream)?;
        let request = rpc::request(&record)?;
        let answer = match request.procedure.program {
            monitor::STATUS => watch(book, request, Ipv4Addr::LOCALHOST.into(), news).0,
            _ => rpc::unavailable(request.xid, 1),
        };
        rpc::send_record(stream, &answer)?;
    }
}

fn watch(
    book: &Shared,
    request: Request<'_>,
    from: IpAddr,
    news: &SyncSender<News>,
) -> (Vec<u8>, Option<Restarted>) {
    let mut book = open(book);
    let xid = request.xid;
    let verdict = monitor::handle(book.tracker.ledger_mut(), request, from);
    if verdict.store
        && let Err(e) = book.store()
    {
        let _ = news.try_send(News::Trouble(e.to_string()));
        // lockd refuses the lock, rather than give one that a takeover would forget.
        return (rpc::accepted(xid).word(1).word(0).finish(), None);
    }
    (verdict.answer, verdict.restarted)
}

fn mount(request: Request<'_>, folder: &Path) -> Vec<u8> {
    let mut arguments = request.arguments;
    match request.procedure.number {
        // Null, and the two procedures that take a mount out of a list nobody keeps.
        0 | 3 | 4 => rpc::accepted(request.xid).finish(),
        1 => {
            let path = arguments.opaque(1024).unwrap_or_default();
            let ours = path == folder.as_os_str().as_encoded_bytes();
            let handle = ours.then(|| door::root_handle(folder).ok()).flatten();
            let answer = rpc::accepted(request.xid);
            match handle {
                Some(handle) => answer.word(0).opaque(&handle).word(1).word(AUTH_SYS).finish(),
                None => answer.word(ERR_NOENT).finish(),
            }
        }
        _ => rpc::unavailable(request.xid, 3),
    }
}
