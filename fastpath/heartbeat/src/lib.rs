//! The heartbeat core: who is heard, who is silent, how long this node may act.
//!
//! * [`board`]: the words that fast and control share, and their order (PROTOCOL 5.3b).
//! * [`event`]: what fast tells control.
//! * [`settings`]: what a life is told at its start, and the lease's arithmetic.
//! * [`peer`]: what is known of one peer; its health as a table.
//! * [`lease`]: the own lease, made of echoes.
//! * [`heart`]: the machine: beats, answers, deadlines.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod board;
pub mod event;
pub mod heart;
pub mod lease;
pub mod peer;
pub mod settings;

pub use board::Board;
pub use event::{Event, EventKind};
pub use heart::{Action, Heartbeat, Receipt};
pub use settings::Settings;

#[cfg(test)]
mod tests;
