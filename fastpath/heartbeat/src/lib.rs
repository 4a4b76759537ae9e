//! The heartbeat core: who is heard, who is silent, how long this node may act.
//!
//! * [`board`]: the words that fast and control share, and their order (PROTOCOL 5.3b).
//! * [`event`]: what fast tells control.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod board;
pub mod event;

pub use board::Board;
pub use event::{Event, EventKind};
