//! The messages between nfsd and its client tracker (`linux/nfsd/cld.h`, versions 1 and 2).
//!
//! nfsd asks over a pipe of `rpc_pipefs`; the answer is the same message with its status filled
//! in. A client record travels to the kernel as an answer "still in progress" of the command
//! `GraceStart`. The kernel checks only that the number of such an answer belongs to a question
//! that is still open, so records may also be given while a later question waits: that is how a
//! standby that stands in grace learns the records of the hour ([`crate::nfsd::keeper`]).

use thiserror::Error;

/// The longest name a client may have.
pub const LONGEST_NAME: usize = 1024;
const HASH: usize = 32;
const HEADER: usize = 8;
/// The length of a message of version 1.
pub const LENGTH_1: usize = HEADER + 2 + LONGEST_NAME;
/// The length of a message of version 2.
pub const LENGTH_2: usize = LENGTH_1 + 1 + HASH;
const VERSION: u8 = 2;

/// What nfsd asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// Remember this client: it holds state now.
    Create,
    /// Forget it: it left, or its lease ended.
    Remove,
    /// May it reclaim? (Only with trackers that know no `GraceStart`.)
    Check,
    /// Grace has ended: who did not reclaim may not any more.
    GraceDone,
    /// Grace begins: who may reclaim?
    GraceStart,
    /// Which version do you speak?
    GetVersion,
}

impl Command {
    const ALL: [Self; 6] = [
        Self::Create,
        Self::Remove,
        Self::Check,
        Self::GraceDone,
        Self::GraceStart,
        Self::GetVersion,
    ];
}

/// A client as the kernel names it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Client {
    /// The name that the client gave itself.
    pub name: Vec<u8>,
    /// The hash of its Kerberos principal, or nothing.
    pub principal: Vec<u8>,
}

/// Not a message of nfsd.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum UpcallError {
    /// Neither version's length.
    #[error("a message of {0} bytes")]
    Length(usize),
    /// An unknown command.
    #[error("unknown command {0}")]
    Command(u8),
    /// A name or hash longer than it may be.
    #[error("a name or hash of {0} bytes")]
    Name(usize),
}

/// One question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Upcall {
    /// What is asked.
    pub command: Command,
    bytes: Vec<u8>,
}

impl Upcall {
    /// Reads a question.
    pub fn read(bytes: &[u8]) -> Result<Self, UpcallError> {
        if ![LENGTH_1, LENGTH_2].contains(&bytes.len()) {
            return Err(UpcallError::Length(bytes.len()));
        }
        let code = bytes.get(1).copied().unwrap_or(u8::MAX);
        let command = *Command::ALL.get(usize::from(code)).ok_or(UpcallError::Command(code))?;
        Ok(Self { command, bytes: bytes.to_vec() })
    }

    /// The client that the question is about.
    pub fn client(&self) -> Result<Client, UpcallError> {
        let body = self.bytes.get(HEADER..).unwrap_or_default();
        let length = body.first_chunk::<2>().map_or(0, |b| usize::from(u16::from_ne_bytes(*b)));
        if length > LONGEST_NAME {
            return Err(UpcallError::Name(length));
        }
        let name = body.get(2..2 + length).unwrap_or_default().to_vec();
        // The hash begins behind the name's room; version 1 ends there.
        let hash = body.get(2 + LONGEST_NAME..).unwrap_or_default();
        let length = hash.first().map_or(0, |length| usize::from(*length));
        if length > HASH {
            return Err(UpcallError::Name(length));
        }
        let principal = hash.get(1..1 + length).unwrap_or_default().to_vec();
        Ok(Client { name, principal })
    }

    /// The answer, with 0 or a negative errno.
    #[must_use]
    pub fn answer(&self, status: i16) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        set(&mut bytes, 2, &status.to_ne_bytes());
        if self.command == Command::GetVersion {
            set(&mut bytes, HEADER, &[VERSION]);
        }
        bytes
    }

    /// One client that may reclaim, told while this question is open.
    #[must_use]
    pub fn record(&self, client: &Client) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes.get_mut(HEADER..).unwrap_or_default().fill(0);
        let in_progress = -(libc::EINPROGRESS as i16);
        set(&mut bytes, 1, &[Command::GraceStart as u8]);
        set(&mut bytes, 2, &in_progress.to_ne_bytes());
        let name = client.name.get(..LONGEST_NAME).unwrap_or(&client.name);
        set(&mut bytes, HEADER, &(name.len() as u16).to_ne_bytes());
        set(&mut bytes, HEADER + 2, name);
        let principal = client.principal.get(..HASH).unwrap_or(&client.principal);
        set(&mut bytes, LENGTH_1, &[principal.len() as u8]);
        set(&mut bytes, LENGTH_1 + 1, principal);
        bytes
    }
}

/// Writes into a message where it has room for it.
fn set(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(room) = bytes.get_mut(at..at + value.len()) {
        room.copy_from_slice(value);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Client, Command, LENGTH_1, LENGTH_2, Upcall, UpcallError};

    /// A question as the kernel writes it.
    pub(crate) fn question(command: Command, name: &[u8], length: usize) -> Upcall {
        let mut bytes = vec![0; length];
        bytes[0] = 2;
        bytes[1] = command as u8;
        bytes[4..8].copy_from_slice(&77_u32.to_ne_bytes());
        bytes[8..10].copy_from_slice(&(name.len() as u16).to_ne_bytes());
        bytes[10..10 + name.len()].copy_from_slice(name);
        Upcall::read(&bytes).unwrap()
    }

    #[test]
    fn lengths_are_those_of_the_kernel() {
        assert_eq!((LENGTH_1, LENGTH_2), (1034, 1067));
    }

    #[test]
    fn the_version_answer_names_two_in_either_length() {
        for length in [LENGTH_1, LENGTH_2] {
            let answer = question(Command::GetVersion, b"", length).answer(0);
            assert_eq!((answer.len(), answer[8], &answer[2..4]), (length, 2, &[0, 0][..]));
        }
    }

    #[test]
    fn a_record_keeps_the_number_of_the_open_question_and_is_in_progress() {
        let create = question(Command::Create, b"keeper", LENGTH_2);
        let client = Client { name: b"Linux NFSv4.1 c".to_vec(), principal: vec![9; 32] };
        let record = create.record(&client);
        assert_eq!(record[1], 4);
        assert_eq!(i16::from_ne_bytes([record[2], record[3]]), -115);
        assert_eq!(record[4..8], 77_u32.to_ne_bytes());
        assert_eq!(Upcall::read(&record).unwrap().client().unwrap(), client);
    }

    #[test]
    fn a_client_that_the_kernel_cannot_mean_is_refused() {
        let mut bytes = vec![0; LENGTH_2];
        bytes[8..10].copy_from_slice(&2000_u16.to_ne_bytes());
        assert_eq!(Upcall::read(&bytes).unwrap().client(), Err(UpcallError::Name(2000)));
        bytes[1] = 9;
        assert_eq!(Upcall::read(&bytes), Err(UpcallError::Command(9)));
        assert_eq!(Upcall::read(&bytes[1..]), Err(UpcallError::Length(1066)));
    }
}
