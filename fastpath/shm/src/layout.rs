//! The regions of the map, each on pages of its own. The drawing is at the top of the crate.

use crate::counters::Counters;
use crate::events::EventRing;
use crate::header::Header;
use crate::measures::Measures;
use crate::trace::Trace;
use heartbeat::Board;
use std::mem::{offset_of, size_of};

/// Number of this layout; a new one for every change of a size, an offset or a meaning.
pub const LAYOUT: u32 = 4;

/// A region, rounded up to whole pages.
#[repr(C, align(4096))]
#[derive(Debug)]
pub struct Pages<T>(pub T);

/// The whole map.
#[repr(C)]
#[derive(Debug)]
pub struct Shared {
    /// Who made it.
    pub header: Pages<Header>,
    /// The words of the heartbeat.
    pub board: Pages<Board>,
    /// From fast to control.
    pub events: Pages<EventRing>,
    /// Numbers for people.
    pub counters: Pages<Counters>,
    /// What fast did last.
    pub trace: Pages<Trace>,
    /// What fast measures.
    pub measures: Pages<Measures>,
}

impl Shared {
    /// Size of the file.
    pub const SIZE: usize = size_of::<Self>();
}

// The drawing at the top of the crate says this; a change here needs another LAYOUT.
const _: () = assert!(
    offset_of!(Shared, header) == 0
        && offset_of!(Shared, board) == 0x1000
        && offset_of!(Shared, events) == 0x3000
        && offset_of!(Shared, counters) == 0x1_4000
        && offset_of!(Shared, trace) == 0x1_5000
        && offset_of!(Shared, measures) == 0x2_6000
        && Shared::SIZE == 0x12_8000
);
