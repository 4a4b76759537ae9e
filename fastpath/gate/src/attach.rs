//! Onto interfaces: a `clsact` queueing discipline and one filter each way, by rtnetlink.
//!
//! Filters, because they outlive the process that put them there; a program attached as a link
//! would leave with its owner, and the address would answer again (S2b). They stand first: preference
//! 1, and a filter of another that comes before and lets packets pass would make ours unreached, so
//! that counts as a lack too.

use crate::bpf;
use crate::error::GateError;
use crate::gate::Gate;
use crate::netlink::{Message, Netlink, attributes, number};
use crate::program::{Direction, Framing};
use std::os::fd::AsRawFd;

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWQDISC: u16 = 36;
const RTM_NEWTFILTER: u16 = 44;
const RTM_DELTFILTER: u16 = 45;
const RTM_GETTFILTER: u16 = 46;

const REQUEST: u16 = 0x01;
const ACKNOWLEDGE: u16 = 0x04;
const DUMP: u16 = 0x300;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;

const IFLA_NAME: u16 = 3;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const BPF_FD: u16 = 6;
const BPF_NAME: u16 = 7;
const BPF_FLAGS: u16 = 8;
const BPF_ID: u16 = 11;
/// The program's result is the verdict.
const DIRECT_ACTION: u32 = 1;

const CLSACT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;
const CLSACT_IN: u32 = 0xffff_fff2;
const CLSACT_OUT: u32 = 0xffff_fff3;
/// The first preference there is, for packets of every protocol.
const PREFERENCE: u32 = 1;
/// The gate's filter among those of its preference: whoever attaches again replaces it, at once and
/// without a moment between. "NG".
const HANDLE: u32 = 0x4e47;
const NAME: &[u8] = b"netguard_gate\0";
/// `struct tcmsg`.
const TC_LEN: usize = 20;
/// `struct ifinfomsg`.
const LINK_LEN: usize = 16;

const ARPHRD_ETHER: u16 = 1;
const ARPHRD_LOOPBACK: u16 = 772;
/// `BPF_TCX_INGRESS`, `BPF_TCX_EGRESS`.
const TCX: [u32; 2] = [46, 47];

/// An interface as far as the gate is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// How its packets begin.
    pub framing: Framing,
}

/// Why a direction of an interface is not closed by this gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lack {
    /// There is no filter of a gate.
    Absent(Direction),
    /// The filter is another gate's, of an earlier life of the daemons.
    Stale(Direction),
    /// Something of another tool comes before the gate and can let packets pass it by.
    Behind(Direction),
}

impl Lack {
    /// True if attaching again cures it.
    #[must_use]
    pub const fn is_curable(self) -> bool {
        !matches!(self, Self::Behind(_))
    }
}

/// Traffic control of the namespace in which it was opened.
#[derive(Debug)]
pub struct Tc {
    netlink: Netlink,
}

impl Tc {
    /// Opens it in the namespace of the calling thread.
    ///
    /// # Errors
    /// When the kernel refuses a netlink socket.
    pub fn open() -> Result<Self, GateError> {
        Ok(Self { netlink: Netlink::open()? })
    }

    /// Every interface that there is now.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn interfaces(&mut self) -> Result<Vec<Interface>, GateError> {
        let message = Message::new(RTM_GETLINK, REQUEST | DUMP, &[0; LINK_LEN]);
        let mut all = Vec::new();
        self.netlink.exchange(message, "list interfaces", |kind, payload| {
            if kind == RTM_NEWLINK {
                all.extend(interface(payload));
            }
        })?;
        Ok(all)
    }

    /// What keeps this gate from closing an interface; nothing if it does.
    ///
    /// # Errors
    /// When the kernel does not tell. (An interface that has gone lacks nothing.)
    pub fn lacks(&mut self, gate: &Gate, on: &Interface) -> Result<Vec<Lack>, GateError> {
        let mut lacks = Vec::new();
        for (direction, attach_kind) in Direction::ALL.into_iter().zip(TCX) {
            let (_, ours) = gate.filter(on.framing, direction)?;
            let Some(found) = self.filters(on.index, direction)? else { return Ok(Vec::new()) };
            let before = bpf::programs_before_filters(on.index, attach_kind);
            lacks.extend(judge(&found, ours, before, direction));
        }
        Ok(lacks)
    }

    /// Puts the gate on an interface, both ways, in place of an earlier gate's filters.
    ///
    /// # Errors
    /// When the kernel refuses; [`GateError::Taken`] if another tool's filter is where ours must be.
    /// (An interface that has gone needs no gate.)
    pub fn attach(&mut self, gate: &Gate, on: &Interface) -> Result<(), GateError> {
        let request = Message::new(
            RTM_NEWQDISC,
            REQUEST | ACKNOWLEDGE | CREATE | EXCLUSIVE,
            &header(on.index, CLSACT_HANDLE, CLSACT, 0),
        );
        let answer = self.netlink.exchange(
            request.attribute(TCA_KIND, b"clsact\0"),
            "add clsact to an interface",
            |_, _| {},
        );
        match answer {
            Err(error) if error.errno() == Some(libc::EEXIST) => {}
            Err(error) if error.errno() == Some(libc::ENODEV) => return Ok(()),
            other => other?,
        }
        for direction in Direction::ALL {
            match self.add_filter(gate, on, direction) {
                Err(error) if error.errno() == Some(libc::ENODEV) => {}
                other => other?,
            }
        }
        Ok(())
    }

    fn add_filter(
        &mut self,
        gate: &Gate,
        on: &Interface,
        direction: Direction,
    ) -> Result<(), GateError> {
        let (program, _) = gate.filter(on.framing, direction)?;
        let options: [(u16, &[u8]); 3] = [
            (BPF_FD, &program.as_raw_fd().to_ne_bytes()),
            (BPF_NAME, NAME),
            (BPF_FLAGS, &DIRECT_ACTION.to_ne_bytes()),
        ];
        let fixed = header(on.index, HANDLE, parent(direction), order());
        let request = Message::new(RTM_NEWTFILTER, REQUEST | ACKNOWLEDGE | CREATE, &fixed)
            .attribute(TCA_KIND, b"bpf\0")
            .nested(TCA_OPTIONS, &options);
        let answer = self.netlink.exchange(request, "add the gate to an interface", |_, _| {});
        match answer {
            Err(error) if error.errno() == Some(libc::EINVAL) => {
                Err(GateError::Taken { interface: on.name.clone() })
            }
            other => other,
        }
    }

    /// Takes the gate's filters off; `clsact` stays, it may have others.
    ///
    /// # Errors
    /// When the kernel refuses. (A filter that is not there is no error.)
    pub fn detach(&mut self, on: &Interface) -> Result<(), GateError> {
        for direction in Direction::ALL {
            let fixed = header(on.index, HANDLE, parent(direction), order());
            let request = Message::new(RTM_DELTFILTER, REQUEST | ACKNOWLEDGE, &fixed)
                .attribute(TCA_KIND, b"bpf\0");
            let doing = "take the gate from an interface";
            match self.netlink.exchange(request, doing, |_, _| {}) {
                // No filter, no clsact, no interface.
                Err(GateError::Missing { .. }) => {}
                Err(error) if is_gone(&error) => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// The filters of one direction, in the order in which the kernel asks them; `None` if the
    /// interface has gone.
    fn filters(&mut self, index: u32, way: Direction) -> Result<Option<Vec<Filter>>, GateError> {
        let fixed = header(index, 0, parent(way), 0);
        let request = Message::new(RTM_GETTFILTER, REQUEST | DUMP, &fixed);
        let mut all = Vec::new();
        let answer = self.netlink.exchange(request, "list filters", |kind, payload| {
            if kind == RTM_NEWTFILTER {
                all.extend(filter(payload));
            }
        });
        match answer {
            Err(error) if error.errno() == Some(libc::ENODEV) => Ok(None),
            other => other.map(|()| Some(all)),
        }
    }
}

/// One filter found on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Filter {
    handle: u32,
    /// The program's number, if it has one.
    program: Option<u32>,
}

/// The lack, if any, of one direction.
fn judge(found: &[Filter], ours: u32, before: u32, direction: Direction) -> Option<Lack> {
    let Some(place) = found.iter().position(|it| it.program == Some(ours)) else {
        let stale = found.iter().any(|it| it.handle == HANDLE && it.program.is_some());
        return Some(if stale { Lack::Stale(direction) } else { Lack::Absent(direction) });
    };
    (place > 0 || before > 0).then_some(Lack::Behind(direction))
}

fn is_gone(error: &GateError) -> bool {
    matches!(error.errno(), Some(libc::ENODEV | libc::EINVAL))
}

const fn parent(direction: Direction) -> u32 {
    match direction {
        Direction::In => CLSACT_IN,
        Direction::Out => CLSACT_OUT,
    }
}

/// Preference and protocol, as `tcm_info` has them.
const fn order() -> u32 {
    PREFERENCE << 16 | (libc::ETH_P_ALL as u16).to_be() as u32
}

/// `struct tcmsg`.
fn header(index: u32, handle: u32, parent: u32, info: u32) -> [u8; TC_LEN] {
    let mut bytes = [0; TC_LEN];
    for (field, place) in [index, handle, parent, info].iter().zip(bytes[4..].chunks_mut(4)) {
        place.copy_from_slice(&field.to_ne_bytes());
    }
    bytes
}

fn interface(payload: &[u8]) -> Option<Interface> {
    let kind = u16::from_ne_bytes(*payload.get(2..)?.first_chunk::<2>()?);
    let index = number(payload, 4)?;
    let name = attributes(payload.get(LINK_LEN..)?).find(|it| it.0 == IFLA_NAME)?.1;
    let name = String::from_utf8_lossy(name).trim_end_matches('\0').to_owned();
    let framing = match kind {
        ARPHRD_ETHER | ARPHRD_LOOPBACK => Framing::Ethernet,
        _ => Framing::Network,
    };
    Some(Interface { index, name, framing })
}

/// A filter of a dump; the heads of lists, which have no handle, are none.
fn filter(payload: &[u8]) -> Option<Filter> {
    let handle = number(payload, 8).filter(|handle| *handle != 0)?;
    let options = attributes(payload.get(TC_LEN..)?).find(|it| it.0 == TCA_OPTIONS);
    let program = options.and_then(|(_, inner)| attributes(inner).find(|it| it.0 == BPF_ID));
    Some(Filter { handle, program: program.and_then(|(_, value)| number(value, 0)) })
}

#[cfg(test)]
mod tests {
    use super::{Direction, Filter, Framing, HANDLE, Lack, header, interface, judge, order};

    const OURS: Filter = Filter { handle: HANDLE, program: Some(7) };
    const OTHER: Filter = Filter { handle: 1, program: None };

    #[test]
    fn only_our_program_at_the_first_place_lacks_nothing() {
        let judge = |found: &[Filter], before| judge(found, 7, before, Direction::Out);
        assert_eq!(judge(&[OURS], 0), None);
        assert_eq!(judge(&[OURS, OTHER], 0), None);
        assert_eq!(judge(&[], 0), Some(Lack::Absent(Direction::Out)));
        assert_eq!(judge(&[OTHER], 0), Some(Lack::Absent(Direction::Out)));
        let earlier = Filter { handle: HANDLE, program: Some(3) };
        assert_eq!(judge(&[earlier], 0), Some(Lack::Stale(Direction::Out)));
        assert_eq!(judge(&[OTHER, OURS], 0), Some(Lack::Behind(Direction::Out)));
        assert_eq!(judge(&[OURS], 1), Some(Lack::Behind(Direction::Out)));
        assert!(!Lack::Behind(Direction::Out).is_curable());
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn preference_comes_first_and_covers_all_protocols() {
        assert_eq!(order(), 0x0001_0300);
        let bytes = header(5, 6, 7, 8);
        assert_eq!(bytes[..4], [0; 4]);
        assert_eq!(bytes[4..], [5, 0, 0, 0, 6, 0, 0, 0, 7, 0, 0, 0, 8, 0, 0, 0]);
    }

    #[test]
    fn framing_is_read_from_the_interface_and_cut_messages_are_none() {
        let mut payload = vec![0_u8; 16];
        payload[2..4].copy_from_slice(&772_u16.to_ne_bytes());
        payload[4..8].copy_from_slice(&1_u32.to_ne_bytes());
        payload.extend([7, 0, 3, 0, b'l', b'o', 0, 0]);
        let it = interface(&payload).unwrap();
        assert_eq!((it.index, it.name.as_str(), it.framing), (1, "lo", Framing::Ethernet));
        payload[2..4].copy_from_slice(&65_534_u16.to_ne_bytes());
        assert_eq!(interface(&payload).unwrap().framing, Framing::Network);
        for len in 0..payload.len() - 4 {
            assert_eq!(interface(&payload[..len]), None);
        }
    }
}
