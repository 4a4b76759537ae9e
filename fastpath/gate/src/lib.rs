//! The gate (rule S2b): the kernel passes a floating address's packets only while this node may own it.
//!
//! Closing must not depend on a process that can be killed, stopped or starved. So a small eBPF
//! program on every interface of the namespace compares each packet of a floating address with
//! words in shared memory: a lease end that `netguard-fast` stores with every renewal, a generation
//! per address that control stores, a word that closes everything. Nobody has to act for the gate
//! to close: the clock passes the lease end.
//!
//! *What it stops* is the node's **role as the address**: packets that come in for it and packets
//! that go out from it. A node that is a client of an address which a peer owns is not touched.
//!
//! | | in | out |
//! |---|---|---|
//! | ARP | asks for the address (an announcement of its owner passes) | the address is the sender |
//! | IPv4, IPv6 | the address is the destination | the address is the source |
//! | neighbour discovery | a solicitation asks for the address | an advertisement tells of it |
//!
//! Reading order: [`map`] (the words), [`program`] (what the kernel runs), [`gate`] (loading),
//! [`attach`] (onto interfaces), [`watch`] (that it stays there), [`sockets`] (a second line behind
//! every interface).

pub mod assembler;
pub mod attach;
mod bpf;
pub mod error;
pub mod gate;
pub mod map;
mod netlink;
pub mod program;
pub mod sockets;
pub mod watch;

pub use attach::{Interface, Lack, Tc};
pub use error::GateError;
pub use gate::{Gate, Slot, Verdict};
pub use map::Words;
pub use program::{Direction, Framing};
pub use sockets::Sockets;
pub use watch::Watch;
