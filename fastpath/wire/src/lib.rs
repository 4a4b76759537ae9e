//! The wire: ids, the frame header with its keyed tag, every frame and its bytes. WIRE.md has the tables.
//!
//! * [`ids`]: the words of the protocol as types.
//! * [`frame`]: header, tag, seal and open; [`replay`]: which frames are new; [`reject`]: why one was dropped.
//! * [`beat`]: bodies of the fast path: beat, echo, obituary.
//! * [`codec`]: bounded little-endian reader and writer; bad bytes are an error, never a panic.
//! * [`configuration`]: what the cluster is to be, and what is in force of it.
//! * [`entry`]: entries of the agreed log.
//! * [`ethernet`]: what stands before a frame that travels without IP.
//! * [`message`]: agreement messages.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod beat;
pub mod codec;
pub mod configuration;
pub mod entry;
pub mod ethernet;
pub mod frame;
pub mod ids;
pub mod message;
pub mod number;
pub mod reject;
pub mod replay;

pub use beat::{Beat, Echo, EchoBody, Obituary};
pub use configuration::{Charter, Configuration, Edition};
pub use entry::{Entry, EntryKind};
pub use frame::{Header, Kind, Seal, Stream};
pub use ids::{
    ClientId, ClusterId, Epoch, Generation, Incarnation, Life, LinkId, NODES_MAX, NodeId, NodeSet,
    Nonce, Op, Seq, ServiceId, Stint, Term,
};
pub use message::Message;
pub use reject::Reject;
pub use replay::Replay;
