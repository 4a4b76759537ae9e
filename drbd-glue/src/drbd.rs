//! The handle: what a takeover, a move and a status need of DRBD.

use crate::error::DrbdError;
use crate::family;
use crate::reply::{self, Description, Path};
use crate::request::{Command, Request};
use crate::socket::Netlink;
use crate::state::State;
use std::time::Duration;

/// A request fits into this many bytes; the buffer never grows.
const REQUEST_MAX: usize = 512;

/// DRBD, spoken to over a socket that is open already.
///
/// Calls block: a promotion waits for DRBD's own work, and for its fence handler if one is configured. A
/// thread that must not wait gives them to another.
#[derive(Debug)]
pub struct Drbd {
    netlink: Netlink,
    family: u16,
    buffer: Vec<u8>,
}

impl Drbd {
    /// Opens the socket and asks for DRBD's family; every later call waits at most `limit`.
    pub fn open(limit: Duration) -> Result<Self, DrbdError> {
        let mut netlink = Netlink::open(limit)?;
        let mut buffer = Vec::with_capacity(REQUEST_MAX);
        let doing = "ask for DRBD's netlink family";
        family::ask(&mut buffer, netlink.next_sequence());
        let family = family::read(netlink.exchange(&buffer, doing)?.accepted(doing)?)?;
        Ok(Self { netlink, family, buffer })
    }

    /// Ends a connection; this side stays alone (`StandAlone`) until told to connect again.
    ///
    /// Forced, it does not ask the peer. A graceful disconnect from a living primary outdates one's
    /// *own* disk; from a dead one it waits for a time-out first.
    pub fn disconnect(&mut self, path: &Path, force: bool) -> Result<(), DrbdError> {
        self.ask("disconnect from the DRBD peer", |r| r.disconnect(path, force)).map(|_| ())
    }
    /// Makes the device writable here.
    ///
    /// Forced, it takes a disk that is not known to be up to date for such, and data can be lost. With a
    /// peer that still looks connected and primary it takes DRBD's ping time-out (200 ms and more):
    /// [`Self::disconnect`] first.
    pub fn primary(&mut self, minor: u32, force: bool) -> Result<(), DrbdError> {
        self.ask("promote a DRBD device", |r| r.role(Command::Primary, minor, force)).map(|_| ())
    }
    /// Gives the right to write up; refused while the device is mounted or open.
    pub fn secondary(&mut self, minor: u32) -> Result<(), DrbdError> {
        self.ask("demote a DRBD device", |r| r.role(Command::Secondary, minor, false)).map(|_| ())
    }
    /// The state of a device.
    pub fn state(&mut self, minor: u32) -> Result<State, DrbdError> {
        let doing = "read the state of a DRBD device";
        let list = self.ask(doing, |r| r.status(minor))?;
        reply::state(list).ok_or(DrbdError::Answer { doing })
    }
    /// The resource, volume and connection of a device.
    pub fn describe(&mut self, minor: u32) -> Result<Description, DrbdError> {
        let doing = "ask what a DRBD device belongs to";
        let list = self.ask(doing, |r| r.status(minor))?;
        reply::description(list).ok_or(DrbdError::Answer { doing })
    }

    /// One request and the attributes of its answer.
    fn ask(
        &mut self,
        doing: &'static str,
        write: impl FnOnce(Request<'_>),
    ) -> Result<&[u8], DrbdError> {
        let sequence = self.netlink.next_sequence();
        write(Request { buffer: &mut self.buffer, family: self.family, sequence });
        self.netlink.exchange(&self.buffer, doing)?.granted(doing)
    }
}
