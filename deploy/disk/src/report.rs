//! What a disk tells about itself. These travel over the lab's socket.

use serde::{Deserialize, Serialize};

/// A number of writes and their bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Tally {
    /// How many writes.
    pub writes: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.writes += 1;
        self.bytes += bytes;
    }
}

/// What a power cut did to the writes that no flush had made durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CutReport {
    /// Survived as a whole.
    pub kept: Tally,
    /// Gone as a whole.
    pub lost: Tally,
    /// Survived with its first sectors only; the bytes are those that survived.
    pub torn: Tally,
    /// What torn writes lost, in bytes.
    pub torn_off: u64,
}

impl CutReport {
    /// Bytes that were written, not flushed, and are gone.
    #[must_use]
    pub fn bytes_lost(&self) -> u64 {
        self.lost.bytes + self.torn_off
    }
}

/// What a disk did since it is served.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Reads that were answered.
    pub reads: u64,
    /// Bytes of them.
    pub bytes_read: u64,
    /// Writes that went into the cache.
    pub writes: u64,
    /// Bytes of them.
    pub bytes_written: u64,
    /// Discards and orders to write zeroes.
    pub zeroes: u64,
    /// Flushes that made everything durable.
    pub flushes: u64,
    /// Flushes that answered well and did nothing (ordered: [`crate::Fault::LyingFlush`]).
    pub lies: u64,
    /// Errors that a test ordered, a full disk included.
    pub errors_injected: u64,
    /// Requests beyond the end, in the wrong form, from before a power cut, or beyond the queue.
    pub refused: u64,
    /// Errors of the host's file: the answers of the disk are not to be trusted any more.
    pub store_errors: u64,
    /// Writes that left the cache for lack of room, without a flush.
    pub destaged: u64,
    /// Writes in the cache now.
    pub unflushed: Tally,
    /// Requests that wait now, because the disk stalls or is at work.
    pub waiting: u64,
    /// Power cuts.
    pub cuts: u64,
}
