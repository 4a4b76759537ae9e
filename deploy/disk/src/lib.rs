//! NetGuard lab: a disk that loses data as real ones do, served to a guest as a virtio block device.
//!
//! A guest of the lab is killed with its kernel, but its writes lie in the page cache of a host that
//! lives on: without more, no power cut would ever lose anything. So each disk of a guest is served
//! by this crate, which keeps what was not flushed in memory and forgets a part of it when the power
//! goes. The guest's kernel takes it with the word `virtio_uml.device=SOCKET:2` and the module
//! `virtio_blk`, and calls it `/dev/vda` and so on.
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
//! * What a guest from before the cut still asks is refused; the next boot has power.
//! * Faults ([`Fault`]): errors of reads, writes and flushes by range, number and chance; a stall of
//!   everything; a disk that is full; a flush that lies.
//!
//! # What is not
//!
//! * The host does not crash here: the durable store is a sparse file without fsync.
//! * A sector is old or new, never a mixture; there is no decay, no misdirected write, no latent
//!   error except those that a test orders.
//! * No time: the disk is as fast as the host's memory, apart from a stall.
//! * No FUA: virtio has none, the guest's kernel makes a write and a flush of it.
//!
//! # Why not a file
//!
//! User Mode Linux's own block device, UBD, opens a file of the host. It says that it has a volatile
//! cache, and never flushes it: a flush has no data, so it has no parts, and its I/O thread only looks
//! at parts (6.1; by the source and by its system calls). A disk behind it would lose what was fsynced.
//!
//! # Rooms
//!
//! * [`cache`]: the write cache, pure. `extents`: which unflushed write a sector has its content from.
//!   [`store`]: what survives everything. [`fault`]: what a test can order.
//! * [`device`]: one request after the other on cache and faults, with counters.
//! * [`queue`]: who may use the device now, who waits, who is refused.
//! * [`serve`]: the disks and their sockets. `vhost`: the virtio device. `relay`: what User Mode Linux
//!   says too much. `remind`: what it does not hear.

pub mod cache;
pub mod device;
mod extents;
pub mod fault;
pub mod queue;
mod relay;
mod remind;
pub mod report;
pub mod serve;
pub mod store;
mod vhost;

pub use fault::{Fault, Kind};
pub use report::{Counters, CutReport, Tally};
pub use serve::{Disk, DiskSpec, Disks, ServeError};

/// What a disk writes as a whole or not at all, in bytes.
pub const SECTOR: u64 = 512;
