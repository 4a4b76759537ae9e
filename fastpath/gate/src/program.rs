//! What the kernel runs on every packet: find the address that the packet makes this node act as,
//! look it up, and pass the packet only while that address is open.
//!
//! ```text
//! in:  the address is the packet's destination    out: the address is the packet's source
//! key = ARP target (unless sender = target) | IPv4/IPv6 destination   … sender | source
//! slot = addresses[key]          none: pass
//! pass if generation[slot] != 0 and closed == 0 and now < lease end
//! ICMPv6 solicitation (in) or advertisement (out): the same for its target
//! ```
//!
//! "Pass" is `TC_ACT_UNSPEC` at an interface: filters of other tools still get their turn. The clock is read before
//! the lease, so that a lease that is zeroed meanwhile is seen.
//!
//! *What it reads.* On Ethernet the bytes of the frame, as they are on the wire: the kernel's own
//! idea of the protocol can be set by whoever made the packet. VLAN tags that the kernel moved out of
//! the frame are not there to be skipped; up to two that are still in it are. Addresses are in every
//! fragment, ports are not looked at. Behind IPv6 extension headers neighbour discovery is not
//! found; what answers it comes from the address itself and is stopped by that.

use crate::assembler::{Alu, Assembler, AssemblyError, If, Instruction, Label, Register, Width};
use crate::map::{self, SLOT_SHIFT, SLOTS, SLOTS_AT};

/// Which way packets go where the program sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// To this node.
    In,
    /// From this node.
    Out,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::In, Self::Out];
}

/// How the packets of an interface begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Framing {
    /// With an Ethernet header: nearly every interface, `lo` too.
    Ethernet,
    /// Otherwise (tunnels, tun, InfiniBand): the program starts where the kernel says IP or ARP
    /// begins.
    Network,
    /// With IP, always: what the sockets of a control group give and take ([`crate::sockets`]).
    Socket,
}

impl Framing {
    /// All.
    pub const ALL: [Self; 3] = [Self::Ethernet, Self::Network, Self::Socket];

    /// The verdict that stops a packet.
    #[must_use]
    pub const fn drop(self) -> i32 {
        match self {
            Self::Ethernet | Self::Network => 2,
            Self::Socket => 0,
        }
    }

    /// The verdict that lets a packet go on; a filter of another tool still gets its turn.
    #[must_use]
    pub const fn pass(self) -> i32 {
        match self {
            Self::Ethernet | Self::Network => -1,
            Self::Socket => 1,
        }
    }
}

/// The descriptors of the two maps that the program uses.
#[derive(Clone, Copy, Debug)]
pub struct Maps {
    /// Address to slot.
    pub addresses: i32,
    /// The shared words.
    pub words: i32,
}

const HELPER_MAP_LOOKUP: i32 = 1;
const HELPER_LOAD_BYTES: i32 = 26;
const HELPER_PULL_DATA: i32 = 39;
const HELPER_LOAD_BYTES_RELATIVE: i32 = 68;
const HELPER_BOOT_TIME: i32 = 125;
const FROM_NETWORK_HEADER: i32 = 1;

// Fields of `struct __sk_buff`.
const CONTEXT_LEN: i16 = 0;
const CONTEXT_PROTOCOL: i16 = 16;

// The stack, from its end (R10) downwards.
const KEY: i16 = -16;
const SHORT: i16 = -24;
const ICMP: i16 = -48;
const SENDER: i16 = -56;

/// Registers with one meaning throughout.
const CONTEXT: Register = Register::R6;
/// Where the network header begins.
const NETWORK: Register = Register::R7;
/// A value on the way; from the look-up on, the slot.
const VALUE: Register = Register::R8;
/// What kind of packet it is: [`DATA`], [`TALK`] or [`TARGET`].
const KIND: Register = Register::R9;

/// Something that the service is asked or answers: it is stamped.
const DATA: i32 = 0;
/// Address resolution: not stamped.
const TALK: i32 = 1;
/// Neighbour discovery with a target that must be looked up too.
const TARGET: i32 = 2;

const ETHERNET_LEN: i32 = 14;
const ETHERTYPE_AT: i32 = 12;
const TAG_LEN: i32 = 4;
/// VLAN tags in the frame itself that are skipped.
const TAGS_MAX: usize = 2;
const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;
const VLAN_OUTER: u16 = 0x88a8;
const IPV6_LEN: i32 = 40;
const NEXT_HEADER_AT: i32 = 6;
const ICMPV6: i32 = 58;
const ICMP_TARGET: i16 = 8;
const SOLICITATION: i32 = 135;
const ADVERTISEMENT: i32 = 136;
/// As much of a packet as any address can be in: IPv6 and a solicitation, or an InfiniBand ARP.
const LOOKED_AT: i32 = 64;
/// The middle of an IPv4 address written as IPv6, ::ffff:a.b.c.d, as a word in memory.
const MAPPED: i32 = i32::from_ne_bytes([0, 0, 0xff, 0xff]);

/// Builds the program for one direction and framing.
///
/// # Errors
/// Never, as its tests show; the type says so for the assembler's sake.
pub fn build(
    maps: Maps,
    framing: Framing,
    direction: Direction,
) -> Result<Vec<Instruction>, AssemblyError> {
    let mut asm = Assembler::default();
    let labels = Labels {
        arp: asm.label(),
        ipv4: asm.label(),
        ipv6: asm.label(),
        judge: asm.label(),
        pass: asm.label(),
        shut: asm.label(),
    };
    let mut it = Builder { asm, maps, framing, direction, labels };
    it.asm.copy(CONTEXT, Register::R1);
    match framing {
        Framing::Ethernet => it.find_in_frame(),
        Framing::Network => it.find_in_packet(),
        Framing::Socket => it.find_version(),
    }
    it.arp();
    it.ipv4();
    it.ipv6();
    it.judge();
    it.verdicts();
    it.asm.finish()
}

#[derive(Clone, Copy)]
struct Labels {
    arp: Label,
    ipv4: Label,
    ipv6: Label,
    judge: Label,
    pass: Label,
    shut: Label,
}

struct Builder {
    asm: Assembler,
    maps: Maps,
    framing: Framing,
    direction: Direction,
    labels: Labels,
}

impl Builder {
    /// Ethernet: the type, behind up to two tags, says what follows.
    fn find_in_frame(&mut self) {
        let Labels { arp, ipv4, ipv6, pass, .. } = self.labels;
        self.asm.set(NETWORK, 0);
        self.fetch(ETHERTYPE_AT, SHORT, 2, pass);
        self.asm.load(Width::Half, VALUE, Register::R10, SHORT);
        self.asm.set(NETWORK, ETHERNET_LEN);
        let untagged = self.asm.label();
        for _ in 0..TAGS_MAX {
            let tagged = self.asm.label();
            self.asm.jump_if(If::Equal, VALUE, wire(VLAN), tagged);
            self.asm.jump_if(If::Differs, VALUE, wire(VLAN_OUTER), untagged);
            self.asm.place(tagged);
            self.fetch(2, SHORT, 2, pass);
            self.asm.load(Width::Half, VALUE, Register::R10, SHORT);
            self.asm.alu(Alu::Add, NETWORK, TAG_LEN);
        }
        self.asm.place(untagged);
        self.asm.jump_if(If::Equal, VALUE, wire(IPV4), ipv4);
        self.asm.jump_if(If::Equal, VALUE, wire(IPV6), ipv6);
        self.asm.jump_if(If::Equal, VALUE, wire(ARP), arp);
        self.asm.jump(pass);
    }

    /// No Ethernet: the version in the first byte, which no sender can deny; else perhaps ARP.
    fn find_in_packet(&mut self) {
        // The helper that counts from the network header reads only the packet's first piece of
        // memory: have there what will be looked at.
        let enough = self.asm.label();
        self.asm.load(Width::Word, Register::R2, CONTEXT, CONTEXT_LEN);
        self.asm.jump_if(If::AtMost, Register::R2, LOOKED_AT, enough);
        self.asm.set(Register::R2, LOOKED_AT);
        self.asm.place(enough);
        self.asm.copy(Register::R1, CONTEXT);
        self.asm.call(HELPER_PULL_DATA);
        self.find_version();
    }

    fn find_version(&mut self) {
        let Labels { arp, ipv4, ipv6, pass, .. } = self.labels;
        self.asm.set(NETWORK, 0);
        self.fetch(0, SHORT, 1, pass);
        self.asm.load(Width::Byte, VALUE, Register::R10, SHORT);
        self.asm.alu(Alu::ShiftRight, VALUE, 4);
        self.asm.jump_if(If::Equal, VALUE, 4, ipv4);
        self.asm.jump_if(If::Equal, VALUE, 6, ipv6);
        self.asm.load(Width::Word, VALUE, CONTEXT, CONTEXT_PROTOCOL);
        self.asm.jump_if(If::Equal, VALUE, wire(ARP), arp);
        self.asm.jump(pass);
    }

    /// Out: who claims to be the sender. In: who is asked for, unless the sender speaks of itself,
    /// as the owner elsewhere does when it announces: this node's own clients must hear that.
    fn arp(&mut self) {
        let Labels { arp, judge, pass, .. } = self.labels;
        self.asm.place(arp);
        self.asm.set(KIND, TALK);
        self.mapped();
        // The sender's address follows 8 bytes and a hardware address; the target's another
        // hardware address later.
        self.fetch(4, SHORT, 1, pass);
        self.asm.load(Width::Byte, VALUE, Register::R10, SHORT);
        self.asm.alu_with(Alu::Add, NETWORK, VALUE);
        match self.direction {
            Direction::Out => self.fetch(8, KEY + 12, 4, pass),
            Direction::In => {
                self.fetch(8, SENDER, 4, pass);
                self.asm.alu_with(Alu::Add, NETWORK, VALUE);
                self.fetch(12, KEY + 12, 4, pass);
                self.asm.load(Width::Word, Register::R1, Register::R10, SENDER);
                self.asm.load(Width::Word, Register::R2, Register::R10, KEY + 12);
                self.asm.jump_if_with(If::Equal, Register::R1, Register::R2, pass);
            }
        }
        self.asm.jump(judge);
    }

    fn ipv4(&mut self) {
        let Labels { ipv4, judge, pass, .. } = self.labels;
        self.asm.place(ipv4);
        self.asm.set(KIND, DATA);
        self.mapped();
        let at = if self.direction == Direction::In { 16 } else { 12 };
        self.fetch(at, KEY + 12, 4, pass);
        self.asm.jump(judge);
    }

    fn ipv6(&mut self) {
        let Labels { ipv6, judge, pass, .. } = self.labels;
        self.asm.place(ipv6);
        self.asm.set(KIND, DATA);
        let at = if self.direction == Direction::In { 24 } else { 8 };
        self.fetch(at, KEY, 16, pass);
        self.fetch(NEXT_HEADER_AT, SHORT, 1, judge);
        self.asm.load(Width::Byte, VALUE, Register::R10, SHORT);
        self.asm.jump_if(If::Differs, VALUE, ICMPV6, judge);
        self.fetch(IPV6_LEN, ICMP, 24, judge);
        self.asm.load(Width::Byte, VALUE, Register::R10, ICMP);
        let (looked_up, other) = match self.direction {
            Direction::In => (SOLICITATION, ADVERTISEMENT),
            Direction::Out => (ADVERTISEMENT, SOLICITATION),
        };
        let discovery = self.asm.label();
        self.asm.jump_if(If::Equal, VALUE, looked_up, discovery);
        self.asm.jump_if(If::Differs, VALUE, other, judge);
        self.asm.set(KIND, TALK);
        self.asm.jump(judge);
        self.asm.place(discovery);
        self.asm.set(KIND, TARGET);
    }

    /// The address, and for neighbour discovery its target.
    fn judge(&mut self) {
        let Labels { judge, pass, .. } = self.labels;
        self.asm.place(judge);
        let next = self.asm.label();
        self.look_up(KEY, next);
        self.require_open();
        self.count_and_stamp(next);
        self.asm.place(next);
        self.asm.jump_if(If::Differs, KIND, TARGET, pass);
        self.look_up(ICMP + ICMP_TARGET, pass);
        self.require_open();
    }

    /// The slot of the address at `key`, or on to `ungated`.
    fn look_up(&mut self, key: i16, ungated: Label) {
        self.asm.map(Register::R1, self.maps.addresses);
        self.asm.copy(Register::R2, Register::R10);
        self.asm.alu(Alu::Add, Register::R2, i32::from(key));
        self.asm.call(HELPER_MAP_LOOKUP);
        self.asm.jump_if(If::Equal, Register::R0, 0, ungated);
        self.asm.load(Width::Word, VALUE, Register::R0, 0);
        // The verifier wants to see that the slot is inside the map.
        self.asm.alu(Alu::And, VALUE, SLOTS as i32 - 1);
        self.asm.alu(Alu::ShiftLeft, VALUE, SLOT_SHIFT as i32);
        self.asm.map_value(Register::R1, self.maps.words, SLOTS_AT as i32);
        self.asm.alu_with(Alu::Add, Register::R1, VALUE);
        self.asm.copy(VALUE, Register::R1);
    }

    /// Falls through, with the time in R0, only while the slot is open.
    fn require_open(&mut self) {
        let shut = self.labels.shut;
        self.asm.load(Width::Double, Register::R1, VALUE, map::GENERATION_AT);
        self.asm.jump_if(If::Equal, Register::R1, 0, shut);
        self.asm.call(HELPER_BOOT_TIME);
        self.asm.map_value(Register::R1, self.maps.words, 0);
        self.asm.load(Width::Double, Register::R2, Register::R1, map::CLOSED_AT);
        self.asm.jump_if(If::Differs, Register::R2, 0, shut);
        self.asm.load(Width::Double, Register::R2, Register::R1, map::LEASE_AT);
        self.asm.jump_if_with(If::AtLeast, Register::R0, Register::R2, shut);
    }

    /// One packet more; the first of the service's own gets its time into the slot.
    fn count_and_stamp(&mut self, done: Label) {
        let stamp = match self.direction {
            Direction::In => map::FIRST_ASKED_AT,
            Direction::Out => map::FIRST_ANSWERED_AT,
        };
        self.asm.set(Register::R2, 1);
        self.asm.atomic_add(VALUE, map::PASSED_AT, Register::R2);
        self.asm.jump_if(If::Differs, KIND, DATA, done);
        self.asm.load(Width::Double, Register::R1, VALUE, stamp);
        self.asm.jump_if(If::Differs, Register::R1, 0, done);
        self.asm.copy(Register::R2, Register::R0);
        self.asm.set(Register::R0, 0);
        self.asm.compare_exchange(VALUE, stamp, Register::R2);
    }

    fn verdicts(&mut self) {
        let Labels { pass, shut, .. } = self.labels;
        self.asm.place(pass);
        self.asm.set(Register::R0, self.framing.pass());
        self.asm.exit();
        self.asm.place(shut);
        self.asm.set(Register::R2, 1);
        self.asm.atomic_add(VALUE, map::DROPPED_AT, Register::R2);
        self.asm.set(Register::R0, self.framing.drop());
        self.asm.exit();
    }

    /// Bytes of the packet onto the stack; a packet that has not so many goes to `short`.
    fn fetch(&mut self, at: i32, into: i16, len: i32, short: Label) {
        self.asm.copy(Register::R1, CONTEXT);
        self.asm.copy(Register::R2, NETWORK);
        self.asm.alu(Alu::Add, Register::R2, at);
        self.asm.copy(Register::R3, Register::R10);
        self.asm.alu(Alu::Add, Register::R3, i32::from(into));
        self.asm.set(Register::R4, len);
        match self.framing {
            Framing::Ethernet | Framing::Socket => self.asm.call(HELPER_LOAD_BYTES),
            Framing::Network => {
                self.asm.set(Register::R5, FROM_NETWORK_HEADER);
                self.asm.call(HELPER_LOAD_BYTES_RELATIVE);
            }
        }
        self.asm.jump_if(If::Negative, Register::R0, 0, short);
    }

    /// The first twelve bytes of an IPv4 address as a key.
    fn mapped(&mut self) {
        self.asm.store(Width::Double, Register::R10, KEY, 0);
        self.asm.store(Width::Word, Register::R10, KEY + 8, MAPPED);
    }
}

/// A number of two bytes as a program sees it that loads the wire's bytes.
fn wire(number: u16) -> i32 {
    i32::from(number.to_be())
}

#[cfg(test)]
mod tests {
    use super::{Direction, Framing, Maps, build, wire};

    const MAPS: Maps = Maps { addresses: 3, words: 4 };

    /// Kernels since 5.2 take a million; what counts is the cost of an interpreter.
    const INSTRUCTIONS_MAX: usize = 200;

    #[test]
    fn every_variant_assembles_and_stays_small() {
        for framing in Framing::ALL {
            for direction in Direction::ALL {
                let code = build(MAPS, framing, direction).unwrap();
                let n = code.len();
                assert!(n < INSTRUCTIONS_MAX, "{framing:?} {direction:?}: {n} instructions");
            }
        }
    }

    #[test]
    fn variants_differ_by_direction_and_framing() {
        let all: Vec<_> = Framing::ALL
            .into_iter()
            .flat_map(|f| Direction::ALL.map(|d| build(MAPS, f, d).unwrap()))
            .collect();
        for (i, one) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|other| other != one));
        }
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn types_are_compared_as_they_lie_in_memory() {
        assert_eq!(wire(0x0806), 0x0608);
        assert_eq!(super::MAPPED, 0xffff_0000_u32 as i32);
    }
}
