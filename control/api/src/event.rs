//! What `watch` streams.

use crate::{Alarm, Service};
use serde::{Deserialize, Serialize};

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Grows by one with every event of this daemon; a jump is a gap.
    pub seq: u64,
    /// When, CLOCK_BOOTTIME.
    pub at_ns: u64,
    /// When, wall clock.
    pub unix_ms: u64,
    /// What.
    #[serde(flatten)]
    pub event: EventKind,
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum EventKind {
    /// Another view is agreed.
    View {
        /// Its number.
        view: u64,
        /// Names of its members.
        members: Vec<String>,
        /// Who came.
        joined: Vec<String>,
        /// Who went.
        left: Vec<String>,
    },
    /// A service changed its phase, owner or generation: its new state.
    Service {
        /// The state.
        service: Service,
    },
    /// An alarm was raised or cleared.
    Alarm {
        /// True = raised.
        raised: bool,
        /// Which.
        alarm: Alarm,
    },
    /// The client read too slowly: so many events were dropped before the next one.
    Dropped {
        /// How many.
        count: u64,
    },
    /// An event of a newer daemon.
    #[serde(other)]
    Unknown,
}
