//! The switch's ports, by rtnetlink: one message, one answer.
//!
//! A power cut must take all links of a node at once. All its ports at the switch are in one
//! interface group, and RTM_NEWLINK with index 0 and IFLA_GROUP (what `ip link set group` sends)
//! changes the whole group under one lock. RTM_SETLINK knows no groups.
//!
//! A port's filter (who is heard through it, [`crate::hearing`]) is put there the same way.

use crate::error::{BedError, Context, Result};
use crate::namespace::Namespace;
use socket2::{Domain, Protocol, Socket, Type};
use std::ffi::CString;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

const RTM_NEWLINK: u16 = 16;
const RTM_NEWQDISC: u16 = 36;
const RTM_NEWTFILTER: u16 = 44;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST_ACK: u16 = 1 | 4;
const NLM_F_CREATE: u16 = 0x400;
const IFLA_IFNAME: u16 = 3;
const IFLA_GROUP: u16 = 27;
const IFF_UP: u32 = 1;
const CLSACT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;
/// What leaves an interface, as the parent of a filter.
const CLSACT_OUT: u32 = 0xffff_fff3;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const NESTED: u16 = 0x8000;
const BPF_FD: u16 = 6;
const BPF_NAME: u16 = 7;
const BPF_FLAGS: u16 = 8;
/// The program's result is the verdict.
const DIRECT_ACTION: u32 = 1;

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

    /// Lets a program decide which frames go out of a port, towards who is plugged in there.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn filter_towards(&self, name: &str, program: &OwnedFd) -> Result<()> {
        let what = format!("a filter on port {name}");
        let text = CString::new(name).map_err(io::Error::from).context(what.clone())?;
        // SAFETY: the name is a valid C string.
        let index = unsafe { libc::if_nametoindex(text.as_ptr()) };
        let mut clsact = traffic(RTM_NEWQDISC, index, CLSACT_HANDLE, CLSACT, 0);
        attribute(&mut clsact, TCA_KIND, b"clsact\0");
        self.call(&finished(clsact), what.clone())?;
        let order = 1 << 16 | u32::from((libc::ETH_P_ALL as u16).to_be());
        let mut filter = traffic(RTM_NEWTFILTER, index, 1, CLSACT_OUT, order);
        attribute(&mut filter, TCA_KIND, b"bpf\0");
        let mut options = Vec::new();
        attribute(&mut options, BPF_FD, &program.as_raw_fd().to_ne_bytes());
        attribute(&mut options, BPF_NAME, b"bed\0");
        attribute(&mut options, BPF_FLAGS, &DIRECT_ACTION.to_ne_bytes());
        attribute(&mut filter, TCA_OPTIONS | NESTED, &options);
        self.call(&finished(filter), what)
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

/// A message about traffic control (`struct tcmsg`), to be continued by attributes.
fn traffic(kind: u16, index: u32, handle: u32, parent: u32, info: u32) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((NLM_F_REQUEST_ACK | NLM_F_CREATE).to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([0; 4]);
    for word in [index, handle, parent, info] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes
}

fn attribute(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    bytes.extend((4 + value.len() as u16).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

fn finished(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = bytes.len() as u32;
    bytes[..4].copy_from_slice(&length.to_ne_bytes());
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
    use super::{IFLA_GROUP, IFLA_IFNAME, attribute, error_of, finished, message, traffic};

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
    fn a_filter_has_its_length_and_padded_attributes() {
        let mut filter = traffic(44, 7, 1, 2, 3);
        attribute(&mut filter, 1, b"bpf\0");
        attribute(&mut filter, 7, b"x\0");
        let filter = finished(filter);
        assert_eq!(filter[..4], 52_u32.to_ne_bytes());
        assert_eq!(filter[20..24], 7_u32.to_ne_bytes());
        assert_eq!(filter[44..], [6, 0, 7, 0, b'x', 0, 0, 0]);
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
