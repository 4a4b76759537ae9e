//! The wire: ids, the frame header with its keyed tag, every frame and its bytes. WIRE.md has the tables.
//!
//! * [`ids`]: the words of the protocol as types.
//! * [`codec`]: bounded little-endian reader and writer; bad bytes are an error, never a panic.
//! * [`entry`]: entries of the agreed log.
//! * [`message`]: agreement messages.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod codec;
pub mod entry;
pub mod ids;
pub mod message;

pub use entry::{Entry, EntryKind};
pub use ids::{
    ClientId, ClusterId, Epoch, Generation, Incarnation, Life, LinkId, NODES_MAX, NodeId, NodeSet, Nonce, Op,
    Seq, ServiceId, Stint, Term,
};
pub use message::Message;
