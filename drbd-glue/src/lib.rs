//! DRBD by generic netlink, without a process: break a connection, promote, demote, see the state.
//!
//! A takeover has about 1.5 ms for this, and starting `drbdadm` costs more than that before it has
//! read its files. The crate speaks the kernel's own protocol on a socket that was opened beforehand;
//! a call fills a buffer that is there, sends it and waits for the one answer.
//!
//! It speaks to DRBD 8.4, the one in the kernel. DRBD 9 has another version of the same family and
//! is refused by [`Drbd::open`], because there a connection is named by other words.
//!
//! * [`drbd`]: the handle: disconnect, promote, demote, state.
//! * [`state`]: roles, disks, connection, and whether writes are frozen.
//! * [`reply`]: the kernel's answers, decoded; its codes in words.
//! * [`request`]: the messages, encoded.
//! * [`family`]: the number under which the kernel knows DRBD.
//! * [`attribute`]: netlink attributes, written and walked.
//! * [`socket`]: one netlink socket with a bounded wait.
//! * [`error`]: what can go wrong, and the remedy.
pub mod attribute;
pub mod drbd;
pub mod error;
pub mod family;
pub mod reply;
pub mod request;
pub mod socket;
pub mod state;

pub use drbd::Drbd;
pub use error::DrbdError;
pub use reply::{Description, Path};
pub use state::{Disk, Link, Role, State};
