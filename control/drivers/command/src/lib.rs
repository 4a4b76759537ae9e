//! Services that are a command: started in a session of their own, watched, stopped to the last
//! process.
//!
//! * [`command`]: the driver of one command.
//! * [`scope`]: which processes belong to it, and how they are made to go.
//! * [`record`]: what a restarted daemon knows of them (R-START).
//! * [`error`]: what can go wrong, and the remedy.
pub mod command;
pub mod error;
pub mod record;
pub mod scope;

pub use command::{Command, CommandDriver};
pub use error::CommandError;
pub use record::remove_leftovers;
