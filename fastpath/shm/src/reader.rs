//! The map for tools: read only, also of a daemon that is dead.

use crate::counters::Counters;
use crate::error::MapError;
use crate::header::Header;
use crate::map::map_checked;
use crate::measures::{PeerSpread, Spread};
use crate::memory::Memory;
use crate::trace::TraceRecord;
use base::Instant;
use heartbeat::Board;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use wire::{Incarnation, NODES_MAX, NodeId, NodeSet, Stint};

/// A map opened by its path, for reading.
#[derive(Debug)]
pub struct ReadMap {
    memory: Memory,
    path: PathBuf,
    /// Device and inode: a restarted daemon makes a new file.
    identity: (u64, u64),
}

impl ReadMap {
    /// Opens the map at `path` (the run directory's `map`).
    pub fn open(path: &Path) -> Result<Self, MapError> {
        let file = File::open(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => MapError::Missing { path: path.to_owned() },
            io::ErrorKind::PermissionDenied => MapError::Denied { path: path.to_owned() },
            _ => MapError::Unusable { path: path.to_owned(), doing: "open", source },
        })?;
        let about = file.metadata().map_err(|source| MapError::Unusable {
            path: path.to_owned(),
            doing: "look at",
            source,
        })?;
        let memory = map_checked(&file, path, false)?;
        Ok(Self { memory, path: path.to_owned(), identity: (about.dev(), about.ino()) })
    }

    /// False once a newer daemon has put another map in place: open it anew then.
    pub fn is_current(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|about| (about.dev(), about.ino()) == self.identity)
    }

    /// Who made the map.
    pub fn header(&self) -> HeaderView<'_> {
        HeaderView(&self.memory.shared().header.0)
    }
    /// The words of the heartbeat.
    pub fn board(&self) -> BoardView<'_> {
        BoardView(&self.memory.shared().board.0)
    }
    /// All counters that are not reserved, by name.
    pub fn counters(&self) -> impl Iterator<Item = (String, u64)> + '_ {
        self.counter_words().iter()
    }
    /// What fast did last, the oldest first.
    pub fn trace(&self) -> impl Iterator<Item = TraceRecord> + '_ {
        self.memory.shared().trace.0.records()
    }
    /// How late the fast path's wake-ups were.
    #[must_use]
    pub fn lateness(&self) -> Spread {
        self.memory.shared().measures.0.lateness.snapshot()
    }
    /// What was measured of each peer, heard or not.
    pub fn peers(&self) -> impl Iterator<Item = PeerSpread> + '_ {
        let nodes = (0..NODES_MAX).filter_map(NodeId::from_index);
        nodes.map(|node| self.memory.shared().measures.0.peer(node).snapshot(node))
    }
    /// Events that control has not yet taken.
    pub fn events_waiting(&self) -> u64 {
        self.memory.shared().events.0.waiting()
    }

    fn counter_words(&self) -> &Counters {
        &self.memory.shared().counters.0
    }
}

macro_rules! getters {
    ($view:ident: $($(#[$m:meta])* $name:ident($($arg:ident: $t:ty),*) -> $r:ty;)+) => {
        impl $view<'_> {
            $(
                $(#[$m])*
                #[must_use]
                pub fn $name(&self $(, $arg: $t)*) -> $r { self.0.$name($($arg),*) }
            )+
        }
    };
}

/// The getters of the header.
#[derive(Clone, Copy, Debug)]
pub struct HeaderView<'m>(&'m Header);

getters! { HeaderView:
    /// Process id of netguard-fast.
    pid() -> u32;
    /// Its start on CLOCK_BOOTTIME.
    started() -> Instant;
    /// The node, once known.
    node() -> Option<NodeId>;
    /// Its life, 0 before it is known.
    incarnation() -> Incarnation;
    /// What the daemon was doing last.
    state() -> crate::header::State;
    /// By what the frames go, once the links are open.
    network_io() -> Option<crate::setup::NetworkIo>;
}

/// The getters of the board. A reader's mapping cannot be written, so it gives no `&Board`.
#[derive(Clone, Copy, Debug)]
pub struct BoardView<'m>(&'m Board);

getters! { BoardView:
    /// End of the own lease; zero = closed.
    lease_end() -> Instant;
    /// The own stint that is closed.
    closed() -> Stint;
    /// The own stint.
    stint() -> Stint;
    /// True while the node may act as a member at `now` of CLOCK_BOOTTIME.
    lease_holds(now: Instant) -> bool;
    /// Last receipt of `node` that was made echoable.
    heard(node: NodeId) -> Instant;
    /// The frozen stint of `node`.
    frozen(node: NodeId) -> Stint;
    /// A peer's stint by applied entries.
    peer_stint(node: NodeId) -> Stint;
    /// The life that holds a slot's vote, 0 = none.
    roster(node: NodeId) -> Incarnation;
    /// The configured voters.
    voters() -> NodeSet;
    /// True while the node owns a service.
    owner() -> bool;
    /// Generation of a service held open there, 0 = not there.
    open(service: usize) -> u64;
    /// Control's progress count.
    progress() -> u64;
}
