//! The second line: the same judgement at the sockets of a control group (cgroup v2).
//!
//! Filters are per interface: one that comes later has none, and another tool can delete them; if
//! the daemons are stopped just then, nobody puts them back. A program at a control group needs no
//! interface. Every socket that was made in the group or below (that of a kernel service too: where
//! the process was that started it) gives and takes its packets through it, in every network
//! namespace and on every interface, and it outlives the process that put it there.
//!
//! It is no substitute: address resolution and the kernel's own answers to echo requests do not
//! pass a socket of the group, and a group without processes of the service closes nothing. And it
//! is one per group, not per namespace: two nodes on one machine need groups of their own.

use crate::attach::Lack;
use crate::bpf;
use crate::error::GateError;
use crate::gate::Gate;
use crate::program::{Direction, Framing};
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

/// The sockets of one control group.
#[derive(Debug)]
pub struct Sockets {
    group: File,
}

impl Sockets {
    /// Those of the group with this folder; the root of the hierarchy has all of the machine.
    ///
    /// # Errors
    /// When the folder cannot be opened.
    pub fn of(group: &Path) -> Result<Self, GateError> {
        let group = File::open(group)
            .map_err(|source| GateError::Kernel { doing: "open the control group", source })?;
        Ok(Self { group })
    }

    /// What keeps this gate from closing here.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn lacks(&self, gate: &Gate) -> Result<Vec<Lack>, GateError> {
        let mut lacks = Vec::new();
        for direction in Direction::ALL {
            let (_, id) = gate.filter(Framing::Socket, direction)?;
            if !bpf::attached(self.group.as_fd(), direction)?.contains(&id) {
                lacks.push(Lack::Absent(direction));
            }
        }
        Ok(lacks)
    }

    /// Puts the gate here, then takes away those of earlier lives.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn attach(&self, gate: &Gate) -> Result<(), GateError> {
        let group = self.group.as_fd();
        for direction in Direction::ALL {
            let (program, id) = gate.filter(Framing::Socket, direction)?;
            if !bpf::attached(group, direction)?.contains(&id) {
                bpf::attach(group, program, direction)?;
            }
            bpf::detach_gates(group, direction, Some(id))?;
        }
        Ok(())
    }

    /// Takes every gate away.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn detach(&self) -> Result<(), GateError> {
        for direction in Direction::ALL {
            bpf::detach_gates(self.group.as_fd(), direction, None)?;
        }
        Ok(())
    }
}
