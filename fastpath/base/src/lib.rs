//! Ground floor: what every core needs and `core` does not have.
//!
//! * [`time`]: instants and durations in nanoseconds; nobody here reads a clock.
//! * [`prng`]: seeded random numbers.
//! * [`transition`]: state machines as tables, with their matrix and drawing.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod prng;
pub mod time;
pub mod transition;

pub use prng::Prng;
pub use time::{Duration, Instant};
