//! The switch's ports, by rtnetlink: one message, one answer.
//!
//! A power cut must take all links of a node at once. All its ports at the switch are in one
//! interface group, and RTM_NEWLINK with index 0 and IFLA_GROUP (what `ip link set group` sends)
//! changes the whole group under one lock. RTM_SETLINK knows no groups.

use crate::error::{BedError, Context, Result};
use crate::namespace::Namespace;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, Read};
use std::time::Duration;

const RTM_NEWLINK: u16 = 16;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST_ACK: u16 = 1 | 4;
const IFLA_IFNAME: u16 = 3;
const IFLA_GROUP: u16 = 27;
const IFF_UP: u32 = 1;

/// A socket in the switch's namespace, opened beforehand: at the cut there is one system call.
#[derive(Debug)]
pub struct Ports {
    socket: Socket,
}

impl Ports {
    /// Opens it.
    ///
    /// # Errors
    /// When the namespace cannot be entered or the kernel has no rtnetlink.
    pub fn open(switch: &Namespace) -> Result<Self> {
        switch.inside(Self::here)
    }

    /// Opens it in the namespace of the calling thread.
    ///
    /// # Errors
    /// When the kernel has no rtnetlink.
    pub fn here() -> Result<Self> {
        let kind = (Domain::from(libc::AF_NETLINK), Type::RAW, Some(Protocol::from(0)));
        let socket = Socket::new(kind.0, kind.1, kind.2).context("netlink socket")?;
        socket.set_read_timeout(Some(Duration::from_secs(5))).context("netlink socket")?;
        Ok(Self { socket })
    }

    /// All ports of one group up or down, in one call.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_group(&self, group: u32, up: bool) -> Result<()> {
        let what = format!("ports of group {group} {}", if up { "up" } else { "down" });
        self.call(&message(IFLA_GROUP, &group.to_ne_bytes(), up), what)
    }

    /// One port up or down.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_port(&self, name: &str, up: bool) -> Result<()> {
        let mut text = name.as_bytes().to_vec();
        text.push(0);
        let what = format!("port {name} {}", if up { "up" } else { "down" });
        self.call(&message(IFLA_IFNAME, &text, up), what)
    }

    fn call(&self, message: &[u8], what: String) -> Result<()> {
        self.socket.send(message).context(what.clone())?;
        let mut answer = [0_u8; 1024];
        let length = (&self.socket).read(&mut answer).context(what.clone())?;
        match error_of(&answer[..length]) {
            Some(0) => Ok(()),
            Some(code) => {
                Err(BedError::System { what, cause: io::Error::from_raw_os_error(-code) })
            }
            None => Err(BedError::System { what, cause: io::ErrorKind::InvalidData.into() }),
        }
    }
}

/// RTM_NEWLINK that sets or clears IFF_UP for whatever the attribute names.
fn message(attribute: u16, value: &[u8], up: bool) -> Vec<u8> {
    let padded = value.len().div_ceil(4) * 4;
    let length = 16 + 16 + 4 + padded;
    let mut bytes = Vec::with_capacity(length);
    bytes.extend((length as u32).to_ne_bytes());
    bytes.extend(RTM_NEWLINK.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST_ACK.to_ne_bytes());
    bytes.extend([0; 8]); // sequence, sender: one question at a time
    bytes.extend([0; 8]); // ifinfomsg: family, type, index 0 = by attribute
    bytes.extend((if up { IFF_UP } else { 0 }).to_ne_bytes());
    bytes.extend(IFF_UP.to_ne_bytes()); // of the flags, only this one
    bytes.extend((4 + value.len() as u16).to_ne_bytes());
    bytes.extend(attribute.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(length, 0);
    bytes
}

/// The code in an NLMSG_ERROR answer; 0 is an acknowledgement.
fn error_of(answer: &[u8]) -> Option<i32> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    let code = i32::from_ne_bytes(answer.get(16..20)?.try_into().ok()?);
    (kind == NLMSG_ERROR).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::{IFLA_GROUP, IFLA_IFNAME, error_of, message};

    #[test]
    fn the_message_of_a_cut_has_the_kernels_layout() {
        let cut = message(IFLA_GROUP, &101_u32.to_ne_bytes(), false);
        assert_eq!(cut.len(), 40);
        assert_eq!(cut[..4], 40_u32.to_ne_bytes());
        assert_eq!(cut[20..24], [0; 4], "index 0: the attribute says which");
        assert_eq!(cut[24..28], [0; 4], "not up");
        assert_eq!(cut[28..32], 1_u32.to_ne_bytes(), "only IFF_UP changes");
        assert_eq!(cut[32..36], [8, 0, 27, 0]);
    }

    #[test]
    fn names_are_padded_to_four_bytes() {
        assert_eq!(message(IFLA_IFNAME, b"n1a\0", true).len(), 40);
        assert_eq!(message(IFLA_IFNAME, b"n10a\0", true).len(), 44);
    }

    #[test]
    fn an_answer_is_a_code_or_nothing() {
        let mut answer = vec![0_u8; 36];
        answer[4] = 2;
        answer[16..20].copy_from_slice(&(-1_i32).to_ne_bytes());
        assert_eq!(error_of(&answer), Some(-1));
        assert_eq!(error_of(&answer[..12]), None);
    }
}
