//! NetGuard lab: a disk that loses data as real ones do, served as a FUSE file.
//!
//! A guest of the lab is killed with its kernel, but its writes lie in the page cache of a host that
//! lives on: without more, no power cut would ever lose anything. So each disk of a guest is a
//! file whose every read, write and fsync comes to this crate, which keeps what was not flushed
//! in memory and forgets a part of it when the power goes.
//!
//! # What is modelled
//!
//! * A volatile write cache, bounded in bytes. When it is full, older writes go to the durable
//!   store at random and out of order, as disks do between two flushes; writes that overlap keep
//!   their order.
//! * A flush makes everything before it durable; so does nothing else.
//! * A power cut ([`Disk::cut`]): each unflushed write survives, is lost, or is torn at a boundary of
//!   512 bytes; the last one is always torn if it is longer than that. How much survives
//!   in all depends on the seed too, from nothing to everything. The same seed after the same
//!   requests gives the same disk.
//! * Requests of readers from before the cut are refused from then on, also those that waited:
//!   they come through a descriptor that was opened before. Whoever opens the file again has power.
//! * Faults ([`Fault`]): errors of reads, writes and flushes by range, number and chance; a stall of
//!   everything; a disk that is full; a flush that lies.
//!
//! # What is not
//!
//! * The host does not crash here: the durable store is a sparse file without fsync.
//! * A sector is old or new, never a mixture; there is no decay, no misdirected write, no latent
//!   error except those that a test orders.
//! * No time: the disk is as fast as the host's memory, apart from a stall.
//! * FUA does not exist at this interface: UBD turns it into a flush.
//!
//! # Rooms
//!
//! * [`cache`]: the write cache, pure. [`extents`]: which unflushed write a sector has from.
//!   [`store`]: what survives everything. [`fault`]: what a test can order.
//! * [`device`]: one request after the other on cache and faults, with counters.
//! * [`queue`]: who may use the device now, who waits, who is refused.
//! * [`serve`]: the files.

pub mod cache;
pub mod device;
mod extents;
pub mod fault;
pub mod queue;
pub mod report;
pub mod serve;
pub mod store;

pub use fault::{Fault, Kind};
pub use report::{Counters, CutReport, Tally};
pub use serve::{Disk, DiskSpec, Disks, ServeError};

/// What a disk writes as a whole or not at all, in bytes.
pub const SECTOR: u64 = 512;
