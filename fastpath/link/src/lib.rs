//! Links: how frames get to the peers and back. One trait, its back ends, one decorator that loses frames on purpose.
//!
//! A link never waits and never fails for good: what cannot be sent is counted, and the detector
//! sees the silence that follows. After opening it allocates nothing.
//!
//! * [`link`](mod@link): the trait, destinations, counts.
//! * [`settings`]: what a link must be told.
//! * [`error`]: why a link cannot be opened, with the remedy.
//! * [`udp`]: UDP by recvmmsg and sendmsg.
//! * [`uring`]: UDP in an io_uring; [`ring`]: that ring, in which the thread waits for everything else too.
//! * [`packet`]: Ethernet frames without IP.
//! * [`loss`]: seeded loss, doubles and disorder over any link, for tests.
//! * `batch`: recvmmsg and sendmmsg; `options`: socket options; `name`: socket addresses; `stamp`: the kernel's time of
//!   receipt. The unsafe code is in these, in `ring` and in `packet`.

mod batch;
pub mod error;
pub mod link;
pub mod loss;
mod name;
mod options;
pub mod packet;
pub mod ring;
pub mod settings;
mod stamp;
pub mod udp;
pub mod uring;

pub use error::OpenError;
pub use link::{Arrival, Counts, Destination, Hear, Link, Source};
pub use loss::{Faults, Lossy};
pub use packet::PacketLink;
pub use ring::{Ring, Unusable};
pub use settings::{Mode, Settings};
pub use udp::{BATCH, UdpLink};
pub use uring::UringLink;
