//! The status monitor of one instance (NSM, what `rpc.statd` and `sm-notify` do for a whole node).
//!
//! lockd asks it to watch each host that takes an NFSv3 lock, and refuses the lock if nobody
//! answers, reclaims included: so it runs beforehand on the standby too. After a takeover it tells
//! the watched hosts that the server has restarted; that is what makes them reclaim.

use crate::nfsd::ledger::Ledger;
use crate::nfsd::rpc::{self, Procedure, Request, RpcError};
use crate::nfsd::xdr::{Reader, XdrError};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

/// NSM's program.
pub const STATUS: u32 = 100_024;
/// Its version.
pub const VERSION: u32 = 1;
const LOCKD: Procedure = Procedure { program: 100_021, version: 3, number: 16 };
const LONGEST_HOST: u32 = 1024;
const UDP: u32 = 17;

/// What the caller does about a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// The answer.
    pub answer: Vec<u8>,
    /// The ledger changed: store it before answering.
    pub store: bool,
    /// A watched host has restarted: lockd of this instance must drop its locks.
    pub restarted: Option<Restarted>,
}

/// A host that has restarted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Restarted {
    /// Its name.
    pub host: String,
    /// Its state number.
    pub state: u32,
    /// What lockd gave with the order to watch it.
    pub cookie: [u8; 16],
}

/// Answers one call of lockd (from loopback) or of another host's monitor.
pub fn handle(ledger: &mut Ledger, request: Request<'_>, from: IpAddr) -> Verdict {
    let xid = request.xid;
    let refused =
        |status| Verdict { answer: rpc::unavailable(xid, status), store: false, restarted: None };
    let local = from.is_loopback();
    let mut arguments = request.arguments;
    let done = match request.procedure.number {
        0 => Ok(Verdict { answer: rpc::accepted(xid).finish(), store: false, restarted: None }),
        2 if local => watch(ledger, xid, &mut arguments),
        3 if local => name(&mut arguments).map(|host| {
            let store = ledger.unwatch(&host);
            let answer = rpc::accepted(xid).word(state(ledger)).finish();
            Verdict { answer, store, restarted: None }
        }),
        6 => notified(ledger, xid, &mut arguments, from),
        _ => return refused(3),
    };
    done.unwrap_or_else(|_| refused(4))
}

fn watch(ledger: &mut Ledger, xid: u32, arguments: &mut Reader<'_>) -> Result<Verdict, XdrError> {
    let host = name(arguments)?;
    let _who_asks = (arguments.opaque(LONGEST_HOST)?, arguments.fixed(12)?);
    let cookie = arguments.fixed(16)?.first_chunk().copied().unwrap_or_default();
    let watched = ledger.watch(&host, cookie);
    let (status, store) = match watched {
        Ok(_) => (0, true),
        Err(_) => (1, false),
    };
    let answer = rpc::accepted(xid).word(status).word(state(ledger)).finish();
    Ok(Verdict { answer, store, restarted: None })
}

/// Another host says that it restarted. It is believed if it speaks for itself.
fn notified(
    ledger: &Ledger,
    xid: u32,
    arguments: &mut Reader<'_>,
    from: IpAddr,
) -> Result<Verdict, XdrError> {
    let _name = name(arguments)?;
    let state = arguments.word()?;
    let host = from.to_string();
    let restarted = ledger.cookie(&host).map(|cookie| Restarted { host, state, cookie });
    Ok(Verdict { answer: rpc::accepted(xid).finish(), store: false, restarted })
}

fn name(arguments: &mut Reader<'_>) -> Result<String, XdrError> {
    Ok(String::from_utf8_lossy(arguments.opaque(LONGEST_HOST)?).into_owned())
}

const fn state(ledger: &Ledger) -> u32 {
    ledger.state.cast_unsigned()
}

/// Tells lockd of this instance that a client host restarted.
pub fn tell_lockd(socket: &UdpSocket, restarted: &Restarted) -> Result<(), RpcError> {
    let here = IpAddr::from([127, 0, 0, 1]);
    let patience = (3, Duration::from_millis(200));
    let port = rpc::port_of(socket, here, (LOCKD.program, LOCKD.version, UDP), patience)?;
    let xid = 0x6e67_2000;
    let message = rpc::call(xid, LOCKD)
        .opaque(restarted.host.as_bytes())
        .word(restarted.state)
        .fixed(&restarted.cookie)
        .finish();
    rpc::ask(socket, SocketAddr::new(here, port), xid, &message, patience).map(drop)
}

/// Tells one host that this service has restarted, until it acknowledges.
pub fn notify(
    service: IpAddr,
    host: IpAddr,
    state: i32,
    patience: (u32, Duration),
) -> Result<(), RpcError> {
    let socket =
        UdpSocket::bind(SocketAddr::new(service, 0)).map_err(RpcError::io("bind a socket"))?;
    let port = rpc::port_of(&socket, host, (STATUS, VERSION, UDP), patience)?;
    let xid = 0x6e67_3000;
    let procedure = Procedure { program: STATUS, version: VERSION, number: 6 };
    let message = rpc::call(xid, procedure)
        .opaque(service.to_string().as_bytes())
        .word(state.cast_unsigned())
        .finish();
    rpc::ask(&socket, SocketAddr::new(host, port), xid, &message, patience).map(drop)
}

#[cfg(test)]
mod tests {
    use super::{Restarted, STATUS, VERSION, handle};
    use crate::nfsd::ledger::Ledger;
    use crate::nfsd::rpc::{self, Procedure, results};
    use std::net::IpAddr;

    const LOCKD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 20, 0, 4));

    fn call(number: u32) -> crate::nfsd::xdr::Writer {
        rpc::call(1, Procedure { program: STATUS, version: VERSION, number })
    }

    fn watch(ledger: &mut Ledger, from: IpAddr) -> super::Verdict {
        let call = call(2)
            .opaque(b"10.20.0.4")
            .opaque(b"netguard-s1")
            .word(100_021)
            .word(3)
            .word(16)
            .fixed(&[5; 16])
            .finish();
        handle(ledger, rpc::request(&call).unwrap(), from)
    }

    #[test]
    fn a_watched_host_is_stored_before_lockd_hears_of_it() {
        let mut ledger = Ledger::default();
        ledger.take();
        let verdict = watch(&mut ledger, LOCKD);
        assert!(verdict.store);
        let mut answer = results(1, &verdict.answer).unwrap();
        assert_eq!((answer.word(), answer.word()), (Ok(0), Ok(3)));
        assert_eq!(ledger.hosts().collect::<Vec<_>>(), ["10.20.0.4"]);
    }

    #[test]
    fn only_this_node_may_say_whom_to_watch() {
        let mut ledger = Ledger::default();
        let verdict = watch(&mut ledger, CLIENT);
        assert!(results(1, &verdict.answer).is_err());
        assert_eq!(ledger.hosts().count(), 0);
    }

    #[test]
    fn a_host_speaks_for_itself_only() {
        let mut ledger = Ledger::default();
        watch(&mut ledger, LOCKD);
        let note = call(6).opaque(b"10.20.0.4").word(9).finish();
        let told = |ledger: &mut Ledger, from| {
            handle(ledger, rpc::request(&note).unwrap(), from).restarted
        };
        assert_eq!(told(&mut ledger, IpAddr::from([10, 20, 0, 9])), None);
        let restarted = Restarted { host: "10.20.0.4".into(), state: 9, cookie: [5; 16] };
        assert_eq!(told(&mut ledger, CLIENT), Some(restarted));
    }
}
