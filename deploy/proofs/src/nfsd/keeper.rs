//! The keeper: an NFSv4.1 client of this node that an instance standing by holds grace for.
//!
//! It says four operations in all: EXCHANGE_ID, CREATE_SESSION, SEQUENCE, RECLAIM_COMPLETE. Until it
//! says the last one, the kernel waits for it and stays in grace. When it does, the kernel asks the
//! tracker to remember it, and while that question is open the tracker tells which clients may
//! reclaim (see [`crate::nfsd::tracker`]). Nothing but loopback is involved.

use crate::nfsd::rpc::{self, Procedure, RpcError};
use crate::nfsd::xdr::{Reader, Writer, XdrError};
use crate::takeover::resident::now;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;
use thiserror::Error;

const COMPOUND: Procedure = Procedure { program: 100_003, version: 4, number: 1 };
const MINOR_VERSION: u32 = 1;
const EXCHANGE_ID: u32 = 42;
const CREATE_SESSION: u32 = 43;
const SEQUENCE: u32 = 53;
const RECLAIM_COMPLETE: u32 = 58;
const PATIENCE: Duration = Duration::from_secs(5);
const PORT: u16 = 2049;
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// The most bytes of a request or reply: more than enough, above the kernel's least.
const LARGEST: u32 = 4096;

/// Why the keeper could not do its part.
#[derive(Debug, Error)]
pub enum KeeperError {
    /// The call.
    #[error("keeper: {0}")]
    Rpc(#[from] RpcError),
    /// The answer.
    #[error("keeper: the answer is malformed: {0}")]
    Malformed(#[from] XdrError),
    /// nfsd says no.
    #[error("keeper: nfsd answers {status} to operation {operation}")]
    Refused {
        /// The operation.
        operation: u32,
        /// The NFSv4 status.
        status: u32,
    },
}

/// Whom a server says it is. Clients take two servers for one if both are the same, and give up
/// their state if the scope changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Introduction {
    /// The owner's name.
    pub owner: Vec<u8>,
    /// The scope within which the owner's name means something.
    pub scope: Vec<u8>,
}

/// Asks a server who it is.
pub fn introduce(server: IpAddr) -> Result<Introduction, KeeperError> {
    let mut nobody = Keeper { session: vec![], xid: 0x6e67_4000 };
    let mut nfsd = connect(server)?;
    let answer = nobody.compound(&mut nfsd, &[identity(b"netguard asks")])?;
    let mut answer = body(&answer, nobody.xid, EXCHANGE_ID)?;
    // Client, sequence number, flags, and that nothing is protected; then the owner's number.
    let _known =
        (answer.double()?, answer.word()?, answer.word()?, answer.word()?, answer.double()?);
    let owner = answer.opaque(LARGEST)?.to_vec();
    Ok(Introduction { owner, scope: answer.opaque(LARGEST)?.to_vec() })
}

/// A keeper with its session, ready to let go.
#[derive(Debug)]
pub struct Keeper {
    session: Vec<u8>,
    xid: u32,
}

impl Keeper {
    /// Makes itself known to the nfsd of this namespace.
    pub fn enter(name: &[u8]) -> Result<Self, KeeperError> {
        let mut this = Self { session: vec![], xid: 0x6e67_1000 };
        let mut nfsd = connect(HERE)?;
        let answer = this.compound(&mut nfsd, &[identity(name)])?;
        let mut answer = body(&answer, this.xid, EXCHANGE_ID)?;
        let (client, sequence) = (answer.double()?, answer.word()?);
        let channel = [0, LARGEST, LARGEST, LARGEST, 8, 1, 0];
        let channels = [channel, channel].concat();
        let session = Writer::default().word(CREATE_SESSION).double(client).word(sequence).word(0);
        let session = channels.into_iter().fold(session, Writer::word).word(0).word(1).word(0);
        let answer = this.compound(&mut nfsd, &[session])?;
        this.session = body(&answer, this.xid, CREATE_SESSION)?.fixed(16)?.to_vec();
        Ok(this)
    }

    /// Lets go. The kernel asks the tracker before this returns.
    pub fn leave(mut self) -> Result<(), KeeperError> {
        let mut nfsd = connect(HERE)?;
        let sequence =
            Writer::default().word(SEQUENCE).fixed(&self.session).word(1).word(0).word(0).word(0);
        let complete = Writer::default().word(RECLAIM_COMPLETE).word(0);
        let answer = self.compound(&mut nfsd, &[sequence, complete])?;
        let mut answer = body(&answer, self.xid, SEQUENCE)?;
        // The sequence's own result: session, number, three slots, flags.
        answer.fixed(16)?;
        for _ in 0..5 {
            answer.word()?;
        }
        operation(&mut answer, RECLAIM_COMPLETE)
    }

    fn compound(
        &mut self,
        nfsd: &mut TcpStream,
        operations: &[Writer],
    ) -> Result<Vec<u8>, KeeperError> {
        self.xid = self.xid.wrapping_add(1);
        let count = u32::try_from(operations.len()).unwrap_or(u32::MAX);
        let mut call = rpc::call(self.xid, COMPOUND).opaque(b"").word(MINOR_VERSION).word(count);
        for operation in operations {
            call = call.fixed(&operation.clone().finish());
        }
        rpc::send_record(nfsd, &call.finish())?;
        Ok(rpc::receive_record(nfsd)?)
    }
}

/// EXCHANGE_ID without flags, state protection and description of the implementation.
fn identity(name: &[u8]) -> Writer {
    Writer::default().word(EXCHANGE_ID).double(now().0).opaque(name).word(0).word(0).word(0)
}

fn connect(server: IpAddr) -> Result<TcpStream, KeeperError> {
    let stream = TcpStream::connect_timeout(&SocketAddr::new(server, PORT), PATIENCE)
        .map_err(RpcError::io("connect to nfsd"))?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(RpcError::io("set a timeout"))?;
    stream.set_nodelay(true).map_err(RpcError::io("set TCP_NODELAY"))?;
    Ok(stream)
}

/// The answer behind the status of its first operation.
fn body<'a>(answer: &'a [u8], xid: u32, first: u32) -> Result<Reader<'a>, KeeperError> {
    let mut reader = rpc::results(xid, answer)?;
    let _status = reader.word()?;
    let _tag = reader.opaque(LARGEST)?;
    let _count = reader.word()?;
    operation(&mut reader, first)?;
    Ok(reader)
}

/// The head of one operation's result.
fn operation(reader: &mut Reader<'_>, expected: u32) -> Result<(), KeeperError> {
    let (operation, status) = (reader.word()?, reader.word()?);
    if operation != expected || status != 0 {
        return Err(KeeperError::Refused { operation, status });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{EXCHANGE_ID, KeeperError, body};
    use crate::nfsd::rpc;

    #[test]
    fn a_refusal_names_operation_and_status() {
        let answer = rpc::accepted(5).word(10).opaque(b"").word(1).word(EXCHANGE_ID).word(10_008);
        let answer = answer.finish();
        let refused = body(&answer, 5, EXCHANGE_ID).unwrap_err();
        assert!(
            matches!(refused, KeeperError::Refused { operation: EXCHANGE_ID, status: 10_008 }),
            "{refused}"
        );
    }
}
