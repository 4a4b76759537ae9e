//! The agreed log: one primary per term orders entries, voters acknowledge, a majority commits.
//!
//! Shaped like Viewstamped Replication Revisited (Liskov, Cowling 2012), with Raft's log matching and own-term
//! commit (Ongaro,
//! Ousterhout 2014); what is ours is that the failure detector drives it, that votes belong to lives, and that a
//! removal is
//! acknowledged only when the removed life's lease has ended. PROTOCOL.md of the design names the rules (R-…) that
//! the code cites.
//!
//! * [`api`]: settings, actions, refusals, what it waits for.
//! * [`replica`]: the state of one life, and where its inputs go.
//! * [`log`], [`roster`]: entries; who votes and who is a member, derived from them.
//! * `snapshot`, `transfer`: what is instead of the entries that are not kept, and how it comes to who lacks it.
//! * `replicate`: Prepare, PrepareOk, commit, retransmission, progress; `calm`: what need not be asked meanwhile.
//! * `pace`: how fast entries are sent again.
//! * `seal`: R-ACK and R-SELF.
//! * `suspicion`: sets of suspicions and what they cause.
//! * `term_change`, `promises`: promises and the new primary's first entry.
//! * `configuration`: what the cluster is to be, and how the votes follow it.
//! * `cold_start`: the first entry of an era; `override_start`: by an operator's word.
//! * `fence`: a pair that goes on alone by evidence (R-FENCE).
//! * `admission`: joining and returning.
//! * `requests`, `clients`: numbered requests, applied once; the operator's orders.
//! * `timers`: everything that waits for a moment.
//! * `report`: what it tells about itself.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod api;
pub mod log;
pub mod replica;
pub mod roster;

mod admission;
mod calm;
mod clients;
mod cold_start;
mod configuration;
mod fence;
mod override_start;
mod pace;
mod promises;
mod replicate;
mod report;
mod requests;
mod seal;
mod snapshot;
mod suspicion;
mod term_change;
mod timers;
mod transfer;

pub use api::{
    Action, ConfigureRefused, Destination, FenceRefused, Limits, OverrideRefused, Refusal,
    Settings, Status, Waiting,
};
pub use replica::Agreement;
pub use roster::{Roster, Seat, Void};
pub use snapshot::Snapshot;
