//! The client library of NetGuard: ask the daemon of this machine, order it, watch it.
//!
//! ```no_run
//! # fn main() -> Result<(), netguard::Error> {
//! let mut client = netguard::Client::connect_in("/run/netguard")?;
//! let status = client.status()?;
//! println!("{} sees view {}", status.node, status.agreement.view);
//! let mut watch = client.watch()?;
//! while let Some(event) = watch.next(None)? {
//!     println!("{event:?}");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Everything blocks, with a limit ([`Client::set_timeout`]). Who has an event loop polls the file
//! descriptor of a [`Watch`] and calls [`Watch::next`] with a zero limit until it gives nothing.
#![forbid(unsafe_code)]

mod client;
mod error;
mod lines;
mod watch;

pub use api;
pub use client::Client;
pub use error::Error;
pub use watch::Watch;
