//! ONC RPC (RFC 5531), as little of it as the keeper, the status monitor and the mount service need.

use crate::nfsd::xdr::{Reader, Writer, XdrError};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;
use thiserror::Error;

/// The port mapper's program and port.
pub const PORTMAP: u32 = 100_000;
const PORTMAP_PORT: u16 = 111;
const CALL: u32 = 0;
const REPLY: u32 = 1;
const RPC_VERSION: u32 = 2;
const AUTH_SYS: u32 = 1;
/// A record beyond this is not one of ours.
const LONGEST: usize = 64 * 1024;
const LAST_FRAGMENT: u32 = 1 << 31;

/// What can go wrong with a call.
#[derive(Debug, Error)]
pub enum RpcError {
    /// The socket.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The answer cannot be read.
    #[error("the answer is malformed: {0}")]
    Malformed(#[from] XdrError),
    /// The answer is not for this call.
    #[error("an answer to another call")]
    Stranger,
    /// The server refuses the call.
    #[error("the server refuses the call (reply state {state}, status {status})")]
    Refused {
        /// Accepted (0) or denied (1).
        state: u32,
        /// Why.
        status: u32,
    },
}

impl RpcError {
    /// An error of a socket, with what was being done.
    pub fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }
}

/// Which procedure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Procedure {
    /// Program.
    pub program: u32,
    /// Version.
    pub version: u32,
    /// Procedure.
    pub number: u32,
}

/// A call by the superuser of this machine, ready for its arguments.
#[must_use]
pub fn call(xid: u32, procedure: Procedure) -> Writer {
    let credential = Writer::default().word(0).opaque(b"netguard").word(0).word(0).word(0).finish();
    Writer::default()
        .word(xid)
        .word(CALL)
        .word(RPC_VERSION)
        .word(procedure.program)
        .word(procedure.version)
        .word(procedure.number)
        .word(AUTH_SYS)
        .opaque(&credential)
        .word(0)
        .word(0)
}

/// The results in the answer to call `xid`.
pub fn results(xid: u32, answer: &[u8]) -> Result<Reader<'_>, RpcError> {
    let mut reader = Reader::new(answer);
    if reader.word()? != xid || reader.word()? != REPLY {
        return Err(RpcError::Stranger);
    }
    let state = reader.word()?;
    if state != 0 {
        return Err(RpcError::Refused { state, status: reader.word()? });
    }
    let _verifier = (reader.word()?, reader.opaque(400)?);
    match reader.word()? {
        0 => Ok(reader),
        status => Err(RpcError::Refused { state, status }),
    }
}

/// A call that reached us.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Its number.
    pub xid: u32,
    /// What it asks for.
    pub procedure: Procedure,
    /// Its arguments.
    pub arguments: Reader<'a>,
}

/// Reads a call; credentials are skipped, the caller is judged by its address.
pub fn request(bytes: &[u8]) -> Result<Request<'_>, RpcError> {
    let mut reader = Reader::new(bytes);
    let xid = reader.word()?;
    if reader.word()? != CALL || reader.word()? != RPC_VERSION {
        return Err(RpcError::Stranger);
    }
    let (program, version, number) = (reader.word()?, reader.word()?, reader.word()?);
    for _ in ["credential", "verifier"] {
        let _skipped = (reader.word()?, reader.opaque(400)?);
    }
    let procedure = Procedure { program, version, number };
    Ok(Request { xid, procedure, arguments: reader })
}

/// An answer ready for its results.
#[must_use]
pub fn accepted(xid: u32) -> Writer {
    Writer::default().word(xid).word(REPLY).word(0).word(0).word(0).word(0)
}

/// An answer that refuses: program (1), version (2) or procedure (3) unavailable, garbage (4).
#[must_use]
pub fn unavailable(xid: u32, status: u32) -> Vec<u8> {
    Writer::default().word(xid).word(REPLY).word(0).word(0).word(0).word(status).finish()
}

/// Sends one record over TCP.
pub fn send_record(stream: &mut TcpStream, message: &[u8]) -> Result<(), RpcError> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut record = Vec::with_capacity(message.len() + 4);
    record.extend_from_slice(&(length | LAST_FRAGMENT).to_be_bytes());
    record.extend_from_slice(message);
    stream.write_all(&record).map_err(RpcError::io("send a record"))
}

/// Receives one record over TCP.
pub fn receive_record(stream: &mut TcpStream) -> Result<Vec<u8>, RpcError> {
    let mut record = Vec::new();
    loop {
        let mut mark = [0; 4];
        stream.read_exact(&mut mark).map_err(RpcError::io("receive a record's mark"))?;
        let mark = u32::from_be_bytes(mark);
        let length = (mark & !LAST_FRAGMENT) as usize;
        let start = record.len();
        if start + length > LONGEST {
            return Err(XdrError::TooLong { length: mark, limit: LONGEST as u32 }.into());
        }
        record.resize(start + length, 0);
        let fragment = record.get_mut(start..).unwrap_or_default();
        stream.read_exact(fragment).map_err(RpcError::io("receive a record"))?;
        if mark & LAST_FRAGMENT != 0 {
            return Ok(record);
        }
    }
}

/// One call over UDP, sent again until `tries` times `patience` have passed.
pub fn ask(
    socket: &UdpSocket,
    to: SocketAddr,
    xid: u32,
    message: &[u8],
    (tries, patience): (u32, Duration),
) -> Result<Vec<u8>, RpcError> {
    socket.set_read_timeout(Some(patience)).map_err(RpcError::io("set a timeout"))?;
    let mut answer = vec![0; 2048];
    let mut last = io::Error::from(io::ErrorKind::TimedOut);
    for _ in 0..tries {
        if let Err(source) = socket.send_to(message, to) {
            last = source;
        }
        match socket.recv(&mut answer) {
            Ok(length) if answer.starts_with(&xid.to_be_bytes()) => {
                answer.truncate(length);
                return Ok(answer);
            }
            // The answer to an earlier call of this socket: this one is sent again.
            Ok(_) => {}
            Err(source) => last = source,
        }
    }
    Err(RpcError::Io { doing: "ask by UDP", source: last })
}

/// The UDP or TCP port of a program on a host, by its port mapper.
pub fn port_of(
    socket: &UdpSocket,
    host: std::net::IpAddr,
    (program, version, protocol): (u32, u32, u32),
    patience: (u32, Duration),
) -> Result<u16, RpcError> {
    let procedure = Procedure { program: PORTMAP, version: 2, number: 3 };
    let xid = 0x6e67_0001;
    let message = call(xid, procedure).word(program).word(version).word(protocol).word(0).finish();
    let answer = ask(socket, SocketAddr::new(host, PORTMAP_PORT), xid, &message, patience)?;
    Ok(u16::try_from(results(xid, &answer)?.word()?).unwrap_or(0))
}

/// Tells the port mapper of this namespace where a program listens.
pub fn register(
    socket: &UdpSocket,
    (program, version, protocol): (u32, u32, u32),
    port: u16,
) -> Result<bool, RpcError> {
    let mapper = SocketAddr::from(([127, 0, 0, 1], PORTMAP_PORT));
    let patience = (10, Duration::from_millis(200));
    for (xid, number) in [(0x6e67_0002, 2), (0x6e67_0003, 1)] {
        let procedure = Procedure { program: PORTMAP, version: 2, number };
        let message = call(xid, procedure)
            .word(program)
            .word(version)
            .word(protocol)
            .word(port.into())
            .finish();
        let answer = ask(socket, mapper, xid, &message, patience)?;
        // The first call removes what an earlier run registered; there may be nothing.
        if number == 1 {
            return Ok(results(xid, &answer)?.word()? != 0);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::{Procedure, RpcError, accepted, call, request, results, unavailable};

    const STATUS: Procedure = Procedure { program: 100_024, version: 1, number: 6 };

    #[test]
    fn a_call_is_read_as_it_was_built() {
        let bytes = call(7, STATUS).opaque(b"c").word(3).finish();
        let mut request = request(&bytes).unwrap();
        assert_eq!((request.xid, request.procedure), (7, STATUS));
        assert_eq!(request.arguments.opaque(64).unwrap(), b"c");
        assert_eq!(request.arguments.word().unwrap(), 3);
    }

    #[test]
    fn an_answer_counts_only_for_its_own_call() {
        let answer = accepted(7).word(1).finish();
        assert_eq!(results(7, &answer).unwrap().word().unwrap(), 1);
        assert!(matches!(results(8, &answer), Err(RpcError::Stranger)));
        assert!(matches!(
            results(7, &unavailable(7, 3)),
            Err(RpcError::Refused { state: 0, status: 3 })
        ));
    }
}
