//! What netguard-fast and netguard-control share: one mapped file, and one record at the start.
//!
//! The file `map` in the run directory has a fixed size and lives longer than its daemons, so that
//! tools can read a dead one. Every word is an atomic and has one writing *process* (the comment at
//! the word says which); so another process, however broken, can make the numbers wrong but not the
//! reading unsafe.
//!
//! ```text
//! offset   size    region     written by  read by
//! 0x00000  0x1000  header     fast        control, tools   who made the map, layout, state
//! 0x01000  0x2000  board      both        both, tools      heartbeat::Board: one writer per word
//! 0x03000 0x11000  events     fast        control          ring of 1024 records of 64 bytes
//! 0x14000  0x1000  counters   both        tools            512 words: a block per process
//! 0x15000 0x11000  trace      fast        tools            last 1024 records of 64 bytes
//! 0x26000 0x102000 measures  fast        control, tools   histograms: lateness, round trips, jitter
//! 0x128000                    end
//! ```
//!
//! * [`map`]: make, attach by descriptor, refuse what does not fit.
//! * [`reader`]: the map for tools, read only.
//! * [`layout`]: the regions and their sizes.
//! * [`header`]: who made the map.
//! * [`events`]: the ring from fast to control; [`event_words`]: an event as eight words.
//! * [`counters`]: named numbers.
//! * [`trace`]: what fast did last.
//! * [`measures`]: histograms of what fast measures.
//! * [`setup`]: what control tells fast once; [`setup_record`]: its bytes.
//! * [`lifeline`]: the set-up socket afterwards: each hears the other die; [`change`]: what control tells fast over it.
//! * [`error`]: what can go wrong, each with its remedy.
//! * `memory`: the mapping itself; here and in [`lifeline`] is the unsafe code.

pub mod change;
pub mod counters;
pub mod error;
pub mod event_words;
pub mod events;
pub mod header;
pub mod layout;
pub mod lifeline;
pub mod map;
pub mod measures;
mod memory;
pub mod reader;
pub mod setup;
pub mod setup_record;
pub mod trace;

pub use change::{Change, ChangeReader, ChangeWriter, Told, Took};
pub use counters::{Counter, Counters, LinkCounter, Side};
pub use error::{MapError, SetupError};
pub use events::EventRing;
pub use header::{Header, Maker, State};
pub use map::Map;
pub use reader::{BoardView, ReadMap};
pub use setup::{Core, Frames, Key, LinkSetup, Mode, NetworkIo, Setup};
pub use trace::{Trace, TraceKind, TraceRecord};
