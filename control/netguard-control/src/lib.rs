//! The control daemon: decisions come from the cores, everything that touches the world is here.
//!
//! * [`life`]: one life, from start to end; [`start`] and [`identity`]: from arguments to a daemon
//!   that may speak.
//! * [`agreed`]: the agreed document and the file, which of them says what; [`renewal`]: another document, followed.
//! * [`daemon`]: the event loop. [`effects`]: the one file that performs what the node decides.
//! * [`standing`]: what the machine gives, and what it costs where it does not.
//! * [`exchange`]: agreement messages on the links, `copies`: when on which; [`stream`]: those that fit no datagram.
//! * [`gatekeeper`]: keeps the kernel's gate where it must be.
//! * [`driver_threads`], [`service_driver`], [`part`]: a thread per service, its jobs, its
//!   resources.
//! * [`state`], [`storage`]: what survives a power cut, and the thread that waits for the disk.
//! * [`server`], [`connection`], [`orders`], [`snapshot`]: the local socket.
//! * [`probes`]: entries that measure the agreement, for tests.
//! * [`journal`]: lines for the operator. [`failure`]: why it ends, with exit codes.
//! * [`sweeper`]: takes the addresses away when this program dies.
//! * [`rehearsal`]: a knob for tests.
//! * [`system`]: system calls, the only unsafe code.

pub mod agreed;
pub mod budget;
pub mod connection;
mod copies;
pub mod daemon;
pub mod driver_threads;
pub mod effects;
pub mod exchange;
pub mod failure;
pub mod gatekeeper;
pub mod identity;
pub mod journal;
pub mod life;
pub mod orders;
pub mod part;
pub mod probes;
pub mod rehearsal;
pub mod renewal;
pub mod server;
pub mod service_driver;
pub mod snapshot;
pub mod standing;
pub mod start;
pub mod state;
pub mod storage;
pub mod stream;
pub mod sweeper;
pub mod system;
#[cfg(test)]
mod test_folder;
