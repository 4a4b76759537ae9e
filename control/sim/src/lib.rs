//! Clusters under a virtual clock: the cores of the product in a world that a seed decides, watched
//! by checkers that know nothing of them.
//!
//! * [`clock`], [`queue`]: real time, the clocks of the nodes, what happens when.
//! * [`packet`], [`network`]: what travels, and what the links do to it; [`streams`]: what is large.
//! * [`fast`], [`control`]: the two processes of a node, as actors that can be interrupted and
//!   paused.
//! * [`gate`], [`observer`]: the gate in the kernel, and a client outside that asks all the time.
//! * [`drivers`]: drivers that behave badly on purpose.
//! * [`machine`], [`life`]: what survives the daemons; starts and ends.
//! * [`shape`]: what one cluster is.
//! * [`world`], [`turns`], [`look`]: one thing after the other, and a look after each.
//! * [`faults`], [`mod@draw`]: what goes wrong, and how a seed decides it; [`reform`]: an operator who changes members.
//! * [`checkers`]: what must hold.
//! * [`seed`]: one seed from start to verdict.
//! * [`scenario`]: written schedules.
//! * [`large`]: the largest cluster, and what it costs; [`costs`] counts it.
#![forbid(unsafe_code)]

pub mod checkers;
pub mod clock;
pub mod control;
pub mod costs;
pub mod draw;
pub mod drivers;
pub mod fast;
pub mod faults;
pub mod gate;
pub mod large;
pub mod life;
pub mod look;
pub mod machine;
pub mod network;
pub mod observer;
pub mod packet;
pub mod queue;
pub mod reform;
pub mod scenario;
pub mod seed;
pub mod shape;
pub mod streams;
pub mod turns;
pub mod world;
