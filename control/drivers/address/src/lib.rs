//! Floating addresses: added, announced, withdrawn, and their connections cut.
//!
//! The takeover path is three system calls on sockets and messages prepared beforehand: one
//! RTM_NEWADDR with its acknowledgement, then the announcement frames. Whatever else there is to do
//! (repeats, resolving an interface anew) happens outside it.
//!
//! * [`floating`]: the driver of one address: start, withdraw, stop, repeats.
//! * [`announce`]: gratuitous ARP and unsolicited NA frames and when to repeat them.
//! * [`events`]: tells when an address may be missing.
//! * [`interface`]: interfaces and the addresses on them.
//! * [`leftover`]: what an earlier run left behind (R-START).
//! * [`destroy`]: ends the TCP connections of a released address.
//! * [`message`]: rtnetlink messages, built once.
//! * [`netlink`]: one blocking netlink socket.
//! * [`error`]: what can go wrong, and the remedy.
pub mod announce;
pub mod destroy;
pub mod error;
pub mod events;
pub mod floating;
pub mod interface;
pub mod leftover;
pub mod message;
pub mod netlink;

pub use error::AddressError;
pub use floating::{Address, FloatingAddress, Released};
pub use interface::Interface;
pub use leftover::{Removed, remove_leftovers};
