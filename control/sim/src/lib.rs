//! Clusters under a virtual clock: the cores of the product in a world that a seed decides, watched
//! by checkers that know nothing of them.
//!
//! * [`clock`], [`queue`]: real time, the clocks of the nodes, what happens when.
//! * [`packet`], [`network`]: what travels, and what the links do to it.
//! * [`fast`], [`control`]: the two processes of a node, as actors that can be interrupted and
//!   paused.
//! * [`drivers`]: drivers that behave badly on purpose.
//! * [`machine`], [`life`]: what survives the daemons; starts and ends.
//! * [`shape`]: what one cluster is.
//! * [`world`], [`turns`]: one thing after the other.
//! * [`faults`]: what goes wrong.
//! * [`checkers`]: what must hold.
//! * [`seed`]: one seed from start to verdict.
//! * [`scenario`]: written schedules.
#![forbid(unsafe_code)]

pub mod checkers;
pub mod clock;
pub mod control;
pub mod drivers;
pub mod fast;
pub mod faults;
pub mod life;
pub mod machine;
pub mod network;
pub mod packet;
pub mod queue;
pub mod scenario;
pub mod seed;
pub mod shape;
pub mod turns;
pub mod world;
