//! Will this machine keep NetGuard's promises, and if not, what to do?
//!
//! Each check is two things: a *sample* (I/O, a plain struct of what was found) and a *judgement*
//! (pure, over that struct), so that every judgement is tested without the machine it is about.
//! [`examine`] takes all samples, those that need seconds side by side, and gives the [`Report`].
//!
//! Nothing here disturbs daemons that run: frames are heard by a packet socket beside theirs, the
//! real-time loop runs below their priority, and what changes interfaces or loads programs happens
//! in a network namespace of its own that goes with its thread.

mod clock;
mod cluster;
mod cores;
mod examine;
mod files;
mod finding;
mod gate_rehearsal;
mod groups;
mod hearing;
mod interfaces;
mod links;
mod os;
mod packet;
mod path;
mod policy;
mod private;
mod rights;
mod stalls;
mod surroundings;
mod takeover;

pub use examine::{Asked, Request, examine};
pub use finding::{Area, Finding, Grade, Report};
pub use gate_rehearsal::{Rehearsed, rehearse_gate};
pub use takeover::rehearse as rehearse_takeover;
