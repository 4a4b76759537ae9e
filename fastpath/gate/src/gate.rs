//! Loading: maps, programs, and which address has which slot.

use crate::bpf;
use crate::error::GateError;
use crate::map::{Look, SLOTS, Words};
use crate::program::{self, Direction, Framing, Maps};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

/// The place of one address among the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot(pub usize);

/// What the program said to a frame in a rehearsal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The frame passes.
    pub passes: bool,
    /// What one run took on average, ns.
    pub cost_ns: u32,
}

/// The gate of one node. Its filters stay on the interfaces when it goes, and stay closed once the
/// lease has ended.
#[derive(Debug)]
pub struct Gate {
    words: Words,
    addresses: OwnedFd,
    slots: Mutex<BTreeMap<IpAddr, Slot>>,
    programs: Vec<Program>,
}

#[derive(Debug)]
struct Program {
    framing: Framing,
    direction: Direction,
    descriptor: OwnedFd,
    id: u32,
}

impl Gate {
    /// Loads the programs over `words`. No address is gated yet, nothing is attached.
    ///
    /// # Errors
    /// When the kernel does not allow it or refuses the program.
    pub fn load(words: Words) -> Result<Self, GateError> {
        let addresses = bpf::create_addresses(SLOTS)?;
        let maps = Maps { addresses: addresses.as_raw_fd(), words: words.as_fd().as_raw_fd() };
        let mut programs = Vec::new();
        for framing in Framing::ALL {
            for direction in Direction::ALL {
                let code = program::build(maps, framing, direction)?;
                let descriptor = bpf::load(&code, framing, direction)?;
                let id = bpf::program_id(descriptor.as_fd())?;
                programs.push(Program { framing, direction, descriptor, id });
            }
        }
        Ok(Self { words, addresses, slots: Mutex::default(), programs })
    }

    /// The shared words; their descriptor can be handed to another process.
    #[must_use]
    pub const fn words(&self) -> &Words {
        &self.words
    }

    /// Gates an address, closed. One that is gated keeps its slot.
    ///
    /// # Errors
    /// When every slot is taken, or the kernel refuses.
    pub fn add(&self, address: IpAddr) -> Result<Slot, GateError> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(&address) {
            return Ok(*slot);
        }
        let free = |slot: &Slot| !slots.values().any(|taken| taken == slot);
        let slot = (0..SLOTS).map(Slot).find(free).ok_or(GateError::Full { address })?;
        self.words.clear_slot(slot.0);
        bpf::set(self.addresses.as_fd(), key(address), slot.0 as u32)?;
        slots.insert(address, slot);
        Ok(slot)
    }

    /// Takes an address out: its packets pass from now on. It must be off every interface before.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove(&self, address: IpAddr) -> Result<(), GateError> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(&address).copied() {
            bpf::remove(self.addresses.as_fd(), key(address))?;
            self.words.close_slot(slot.0);
            slots.remove(&address);
        }
        Ok(())
    }

    /// Opens an address for a generation: one store, if the lease holds.
    pub fn open(&self, slot: Slot, generation: u64) {
        self.words.open_slot(slot.0, generation);
    }

    /// Closes an address: one store.
    pub fn close(&self, slot: Slot) {
        self.words.close_slot(slot.0);
    }

    /// Whether it is open, its stamps and its counters.
    #[must_use]
    pub fn look(&self, slot: Slot) -> Look {
        self.words.look(slot.0)
    }

    /// Asks a program about an Ethernet frame without sending it: is the gate what it should be? The
    /// run counts and stamps as a packet does.
    ///
    /// # Errors
    /// When the kernel cannot rehearse.
    pub fn rehearse(
        &self,
        framing: Framing,
        direction: Direction,
        frame: &[u8],
        repeat: u32,
    ) -> Result<Verdict, GateError> {
        let program = self.program(framing, direction)?;
        let (result, cost_ns) = bpf::test_run(program.descriptor.as_fd(), frame, repeat)?;
        Ok(Verdict { passes: result == framing.pass(), cost_ns })
    }

    /// The program to attach, and its number.
    pub(crate) fn filter(
        &self,
        framing: Framing,
        direction: Direction,
    ) -> Result<(BorrowedFd<'_>, u32), GateError> {
        let program = self.program(framing, direction)?;
        Ok((program.descriptor.as_fd(), program.id))
    }

    fn program(&self, framing: Framing, direction: Direction) -> Result<&Program, GateError> {
        self.programs
            .iter()
            .find(|it| it.framing == framing && it.direction == direction)
            .ok_or(GateError::Answer { doing: "find a program of the gate" })
    }
}

/// The key of an address: IPv4 as ::ffff:a.b.c.d.
fn key(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}
