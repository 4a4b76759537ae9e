//! The first page: who made the map, in which layout, and what the daemon is doing.

use crate::layout::{LAYOUT, Shared};
use crate::setup::NetworkIo;
use base::Instant;
use heartbeat::Board;
use std::mem::size_of;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use wire::{Incarnation, NodeId};

/// How every map begins.
pub(crate) const MAGIC_BYTES: [u8; 8] = *b"NGMAP\0\0\0";
const MAGIC: u64 = u64::from_le_bytes(MAGIC_BYTES);

/// Who makes a map.
#[derive(Clone, Copy, Debug)]
pub struct Maker {
    /// Process id of netguard-fast.
    pub pid: u32,
    /// Its start on CLOCK_BOOTTIME.
    pub started: Instant,
}

/// What the daemon is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Control has not yet told which node this is.
    Starting,
    /// It beats.
    Running,
    /// It ended in good order.
    Stopped,
    /// It ended because control died, stalled, or it failed itself.
    Failed,
}

impl State {
    /// The word that tools print.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}

/// Written by fast only.
#[repr(C)]
#[derive(Debug)]
pub struct Header {
    magic: AtomicU64,
    layout: AtomicU32,
    /// Size of the board: it belongs to another crate, and both programs must have the same.
    board: AtomicU32,
    size: AtomicU64,
    started: AtomicU64,
    pid: AtomicU32,
    node: AtomicU32,
    incarnation: AtomicU32,
    state: AtomicU32,
    network_io: AtomicU32,
}

/// What is wrong with a header; the map's path is added by the caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unfit {
    /// Not a map at all.
    Foreign,
    /// Another layout.
    Layout(u32),
}

impl Header {
    /// Fills the header; the magic number last.
    pub(crate) fn write(&self, maker: Maker) {
        self.layout.store(LAYOUT, Ordering::Relaxed);
        self.board.store(size_of::<Board>() as u32, Ordering::Relaxed);
        self.size.store(Shared::SIZE as u64, Ordering::Relaxed);
        self.started.store(maker.started.0, Ordering::Relaxed);
        self.pid.store(maker.pid, Ordering::Relaxed);
        self.magic.store(MAGIC, Ordering::Release);
    }

    /// Checks that this is a map of this layout.
    pub(crate) fn check(&self) -> Result<(), Unfit> {
        if self.magic.load(Ordering::Acquire) != MAGIC {
            return Err(Unfit::Foreign);
        }
        let layout = self.layout.load(Ordering::Relaxed);
        let fits = layout == LAYOUT
            && self.board.load(Ordering::Relaxed) == size_of::<Board>() as u32
            && self.size.load(Ordering::Relaxed) == Shared::SIZE as u64;
        if fits { Ok(()) } else { Err(Unfit::Layout(layout)) }
    }

    /// Fast: names the life that runs, and says that it does.
    pub fn set_running(&self, node: NodeId, incarnation: Incarnation) {
        self.node.store(u32::from(node.get()), Ordering::Relaxed);
        self.incarnation.store(incarnation.0, Ordering::Relaxed);
        self.set_state(State::Running);
    }
    /// Fast: says by what its frames go: not `Auto`, but what came of it.
    pub fn set_network_io(&self, io: NetworkIo) {
        let word = match io {
            NetworkIo::Auto => 0,
            NetworkIo::Recvmmsg => 1,
            NetworkIo::IoUring => 2,
        };
        self.network_io.store(word, Ordering::Relaxed);
    }
    /// Fast: says what it is doing.
    pub fn set_state(&self, state: State) {
        self.state.store(state as u32, Ordering::Release);
    }

    /// Process id of netguard-fast.
    pub fn pid(&self) -> u32 {
        self.pid.load(Ordering::Relaxed)
    }
    /// Start of netguard-fast on CLOCK_BOOTTIME.
    pub fn started(&self) -> Instant {
        Instant(self.started.load(Ordering::Relaxed))
    }
    /// By what the frames go, once the links are open.
    pub fn network_io(&self) -> Option<NetworkIo> {
        match self.network_io.load(Ordering::Relaxed) {
            1 => Some(NetworkIo::Recvmmsg),
            2 => Some(NetworkIo::IoUring),
            _ => None,
        }
    }
    /// The node, once control has told it.
    pub fn node(&self) -> Option<NodeId> {
        u8::try_from(self.node.load(Ordering::Relaxed)).ok().and_then(NodeId::new)
    }
    /// Its life, 0 before control has told it.
    pub fn incarnation(&self) -> Incarnation {
        Incarnation(self.incarnation.load(Ordering::Relaxed))
    }
    /// What the daemon was doing last; a daemon that was killed still says `Running`.
    pub fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            0 => State::Starting,
            1 => State::Running,
            2 => State::Stopped,
            _ => State::Failed,
        }
    }
}
