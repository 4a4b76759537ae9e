//! The fast path daemon: it keeps this node's heartbeat, and nothing else.
//!
//! Start, in this order: make the map, start netguard-control, get the set-up from it, open the
//! links, become real-time, close the lease word, beat. From then on: sleep, take what came, let
//! the heartbeat core decide, do what it says. No allocation after the start.
//!
//! * [`start`]: the sequence, and what can fail in it; [`exit`]: how the daemon ends.
//! * [`engine`]: one turn of the loop; [`watch`]: the loop with its child and its signals.
//! * [`control`]: the child.
//! * [`realtime`]: core, priority, memory.
//! * [`pacing`]: how often frames may wake the loop.
//! * [`meter`]: what beats and echoes say about the network.
//! * [`clock`], [`kernel`]: what is asked of the system.

pub mod clock;
pub mod control;
pub mod engine;
pub mod exit;
pub mod kernel;
pub mod meter;
pub mod pacing;
pub mod realtime;
pub mod start;
pub mod watch;
