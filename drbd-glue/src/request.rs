//! The messages that this crate sends, and the headers before them.
//!
//! A message is: netlink header (16 bytes), generic header (4), DRBD's header (8: device number,
//! then flags in a request or the code in an answer), attributes. The device number is all ones
//! when the message is about a connection.

use crate::attribute::Writer;
use crate::family::VERSION;
use crate::reply::Path;

/// Netlink header and generic header.
pub const HEADER_LEN: usize = 20;
/// The DRBD header behind them.
pub const DRBD_HEADER_LEN: usize = 8;
const LENGTH_AT: usize = 0;
const FLAG_REQUEST: u16 = 1;
/// "Not about a device."
const NO_MINOR: u32 = u32::MAX;

/// What DRBD is asked to do: `enum` of commands in drbd_genl.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Command {
    /// Tell the state of a device.
    GetStatus = 2,
    /// End a connection and stay alone.
    Disconnect = 11,
    /// Make a device writable here.
    Primary = 14,
    /// Give the right to write up.
    Secondary = 15,
}

/// Attribute lists ("nests") of DRBD.
pub mod nest {
    /// Free text about a refusal.
    pub const REPLY: u16 = 1;
    /// What the message is about.
    pub const CONTEXT: u16 = 2;
    /// Parameters of a change of role.
    pub const SET_ROLE: u16 = 6;
    /// The state of a device.
    pub const STATE: u16 = 8;
    /// Parameters of a disconnect.
    pub const DISCONNECT: u16 = 12;
}

/// Fields of [`nest::CONTEXT`].
pub mod context {
    /// Number of the volume in its resource.
    pub const VOLUME: u16 = 1;
    /// Name of the resource.
    pub const RESOURCE: u16 = 2;
    /// Own end of the connection, a socket address.
    pub const MINE: u16 = 3;
    /// The peer's end.
    pub const PEER: u16 = 4;
}

/// The only parameter of both changes of role and disconnects: do it even if DRBD would rather not.
const FORCE: u16 = 1;

/// The headers of netlink and generic netlink.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// Number of the family.
    pub family: u16,
    /// Command of the family.
    pub command: u8,
    /// Version of the family's interface.
    pub version: u8,
    /// Comes back in the answer.
    pub sequence: u32,
}

impl Header {
    /// Empties the buffer and begins a message in it.
    pub fn begin(&self, buffer: &mut Vec<u8>) {
        buffer.clear();
        buffer.extend_from_slice(&[0; 4]); // the length, filled in by `finish`
        buffer.extend_from_slice(&self.family.to_ne_bytes());
        buffer.extend_from_slice(&FLAG_REQUEST.to_ne_bytes());
        buffer.extend_from_slice(&self.sequence.to_ne_bytes());
        buffer.extend_from_slice(&[0; 4]); // our port: the kernel knows it
        buffer.extend_from_slice(&[self.command, self.version, 0, 0]);
    }
    /// Fills in the length of the message that the buffer holds.
    pub fn finish(buffer: &mut [u8]) {
        let len = buffer.len() as u32;
        if let Some(place) = buffer.get_mut(LENGTH_AT..LENGTH_AT + 4) {
            place.copy_from_slice(&len.to_ne_bytes());
        }
    }
}

/// Writes requests to one family into a buffer that is used again and again.
#[derive(Debug)]
pub struct Request<'a> {
    /// The buffer; what it held is gone.
    pub buffer: &'a mut Vec<u8>,
    /// DRBD's family.
    pub family: u16,
    /// Number of this request.
    pub sequence: u32,
}

impl Request<'_> {
    /// Asks for the state of a device. The number says all: a context would come back as an echo,
    /// before the one that DRBD fills in.
    pub fn status(self, minor: u32) {
        self.write(Command::GetStatus, minor, |_| {});
    }
    /// Ends the connection over `path`.
    pub fn disconnect(self, path: &Path, force: bool) {
        self.write(Command::Disconnect, NO_MINOR, |list| {
            list.nest(nest::CONTEXT, |fields| {
                fields.bytes(context::MINE, path.mine()).bytes(context::PEER, path.peer());
            });
            list.nest(nest::DISCONNECT, |fields| {
                if force {
                    fields.u8(FORCE, 1);
                }
            });
        });
    }
    /// Changes the role of a device.
    pub fn role(self, command: Command, minor: u32, force: bool) {
        self.write(command, minor, |list| {
            list.nest(nest::SET_ROLE, |fields| {
                if force {
                    fields.u8(FORCE, 1);
                }
            });
        });
    }

    fn write(self, command: Command, minor: u32, fill: impl FnOnce(&mut Writer<'_>)) {
        let Self { buffer, family, sequence } = self;
        Header { family, command: command as u8, version: VERSION as u8, sequence }.begin(buffer);
        buffer.extend_from_slice(&minor.to_ne_bytes());
        buffer.extend_from_slice(&0u32.to_ne_bytes()); // no flags
        fill(&mut Writer::new(buffer));
        Header::finish(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::{Command, Path, Request};
    use std::net::SocketAddr;

    fn written(fill: impl FnOnce(Request<'_>)) -> Vec<u8> {
        let mut buffer = vec![0xee; 400];
        fill(Request { buffer: &mut buffer, family: 27, sequence: 5 });
        buffer
    }

    #[test]
    fn golden_promotion_with_and_without_force() {
        let head = |len: u8| [len, 0, 0, 0, 27, 0, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 14, 1, 0, 0];
        let body = [3u8, 0, 0, 0, 0, 0, 0, 0];
        let plain = written(|r| r.role(Command::Primary, 3, false));
        assert_eq!(plain, [&head(32)[..], &body, &[4, 0, 6, 0x80]].concat());
        let forced = written(|r| r.role(Command::Primary, 3, true));
        let parameter = [12u8, 0, 6, 0x80, 5, 0, 1, 0, 1, 0, 0, 0];
        assert_eq!(forced, [&head(40)[..], &body, &parameter].concat());
    }

    #[test]
    fn golden_forced_disconnect_names_the_connection_and_no_device() {
        let mine: SocketAddr = "10.20.1.1:7788".parse().unwrap();
        let peer: SocketAddr = "10.20.1.2:7788".parse().unwrap();
        let bytes = written(|r| r.disconnect(&Path::new(mine, peer), true));
        let end = |last: u8| [2, 0, 0x1e, 0x6c, 10, 20, 1, last, 0, 0, 0, 0, 0, 0, 0, 0];
        let wanted = [
            &[84u8, 0, 0, 0, 27, 0, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 11, 1, 0, 0][..],
            &[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0],
            &[44, 0, 2, 0x80, 20, 0, 3, 0],
            &end(1),
            &[20, 0, 4, 0],
            &end(2),
            &[12, 0, 12, 0x80, 5, 0, 1, 0, 1, 0, 0, 0],
        ];
        assert_eq!(bytes, wanted.concat());
    }
}
