//! Who hears whom: any partition and any one-way loss between nodes, by one store.
//!
//! A filter on each port of the switch looks at the frames that leave towards a node, and drops
//! those of senders whom that node is not to hear. The client hears and is heard by everybody
//! meanwhile, so the observer sees both sides of a partition: an owner in the minority that still
//! answers would be seen.

use crate::bpf::{self, Words};
use crate::error::{BedError, Result};
use crate::netlink::Ports;
use crate::topology::{LINKS_MAX, NODES_MAX, Shape, Topology, mac, port};
use gate::assembler::{Alu, Assembler, AssemblyError, If, Instruction, Register, Width};
use std::io;
use std::os::fd::OwnedFd;

const LOAD_BYTES: i32 = 26;
const SENDER_AT: i32 = 6;
const PASS: i32 = -1;
const DROP: i32 = 2;

/// The switch's power over its ports. Without one (the default) everybody hears everybody.
#[derive(Debug)]
pub struct Hearing {
    words: Words,
    shape: Shape,
    _programs: Vec<OwnedFd>,
}

impl Hearing {
    /// Puts the filters on every port of a node.
    ///
    /// # Errors
    /// When the kernel refuses them (no CAP_BPF, no `cls_bpf`).
    pub fn install(topology: &Topology) -> Result<Self> {
        let words = Words::create()?;
        let shape = topology.shape();
        let mut programs = Vec::new();
        for node in topology.ids() {
            for link in 1..=shape.links {
                let code = program(words.descriptor(), word(node, link)).map_err(|cause| {
                    let cause = io::Error::new(io::ErrorKind::InvalidData, cause);
                    BedError::System { what: "the program of the bed's cables".into(), cause }
                })?;
                let program = bpf::load(&code)?;
                topology
                    .on_switch(|| Ports::here()?.filter_towards(&port(node, link), &program))?;
                programs.push(program);
            }
        }
        Ok(Self { words, shape, _programs: programs })
    }

    /// On `link` (0: on all), `node` hears nobody of `whom` from now on, and everybody else.
    pub fn set_deaf(&self, node: u8, link: u8, whom: &[u8]) {
        let senders = whom.iter().fold(0_u64, |set, it| set | 1 << (it & 63));
        for link in (1..=self.shape.links).filter(|it| link == 0 || link == *it) {
            self.words.store(word(node, link), senders);
        }
    }

    /// Nodes hear those of their own group and nobody else. Who is in none, is alone.
    pub fn split(&self, groups: &[&[u8]]) {
        for node in 1..=self.shape.nodes {
            let own = groups.iter().find(|group| group.contains(&node)).copied();
            let others = (1..=self.shape.nodes)
                .filter(|it| *it != node && !own.is_some_and(|group| group.contains(it)));
            self.set_deaf(node, 0, &others.collect::<Vec<_>>());
        }
    }

    /// Everybody hears everybody.
    pub fn heal(&self) {
        for node in 1..=self.shape.nodes {
            self.set_deaf(node, 0, &[]);
        }
    }

    /// True if nobody is deaf.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let mut nodes = 1..=self.shape.nodes;
        nodes.all(|node| (1..=self.shape.links).all(|it| self.words.load(word(node, it)) == 0))
    }
}

/// The word whose bit N says that the frames of node N do not reach this node on this link.
const fn word(node: u8, link: u8) -> usize {
    const _: () = assert!((NODES_MAX as usize + 1) * LINKS_MAX as usize <= 512);
    node as usize * LINKS_MAX as usize + link as usize - 1
}

/// Drops the frame if its sender's bit is set in the word; the sender is known by its MAC address.
fn program(map: i32, word: usize) -> std::result::Result<Vec<Instruction>, AssemblyError> {
    let mut it = Assembler::default();
    let pass = it.label();
    it.copy(Register::R3, Register::R10);
    it.alu(Alu::Add, Register::R3, -8);
    it.set(Register::R2, SENDER_AT);
    it.set(Register::R4, 6);
    it.call(LOAD_BYTES);
    it.jump_if(If::Differs, Register::R0, 0, pass);
    for (at, byte) in mac(0, 0).iter().take(4).enumerate() {
        it.load(Width::Byte, Register::R0, Register::R10, at as i16 - 8);
        it.jump_if(If::Differs, Register::R0, i32::from(*byte), pass);
    }
    it.load(Width::Byte, Register::R7, Register::R10, 5 - 8);
    it.jump_if(If::AtLeast, Register::R7, 64, pass);
    it.map_value(Register::R1, map, word as i32 * 8);
    it.load(Width::Double, Register::R8, Register::R1, 0);
    it.alu_with(Alu::ShiftRight, Register::R8, Register::R7);
    it.alu(Alu::And, Register::R8, 1);
    it.jump_if(If::Equal, Register::R8, 0, pass);
    it.set(Register::R0, DROP);
    it.exit();
    it.place(pass);
    it.set(Register::R0, PASS);
    it.exit();
    it.finish()
}

#[cfg(test)]
mod tests {
    use super::{program, word};
    use std::collections::BTreeSet;

    #[test]
    fn every_port_has_a_word_of_its_own() {
        let all: Vec<usize> =
            (1..=16).flat_map(|node| (1..=4).map(move |link| word(node, link))).collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        assert!(program(3, word(16, 4)).is_ok_and(|code| code.len() < 64));
    }
}
