//! One node's control part: routes between agreement, membership, planner and the edge. No policy
//! of its own but this: a lapsed lease withdraws what is lease-bound, and what nobody may run any
//! more is stopped.
//!
//! * [`action`], [`command`]: what comes out; what the operator asks.
//! * `confirm`: the operator's word that a node is off. `outbox`: less to send.
//! * [`node`]: the state of one life, and where its inputs go.
//! * `snapshot`: what follows from committed entries, as bytes.
//! * [`gate`]: the kernel gate, as far as decisions need it.
//! * [`here`]: what runs on this node, driven towards what the log says.
//! * [`lease`]: the right to act, as control sees it.
//! * [`requests`]: numbered requests on their way into the log, and who waits for them.
//! * [`fail_back`]: when a service may go back to the node that comes first.
//! * [`peers`]: what the fast path says about the others.
//! * [`timeline`]: what happened when, for each removal.
//! * [`quorum`]: votes as this node sees them.
//! * [`status`]: everything `ng` shows; [`alarms`]: what needs attention.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod action;
pub mod alarms;
pub mod command;
pub mod fail_back;
pub mod gate;
pub mod here;
pub mod lease;
pub mod node;
pub mod peers;
pub mod quorum;
pub mod requests;
pub mod status;
pub mod timeline;

pub mod configure;
mod confirm;
mod outbox;
mod snapshot;

pub use action::Action;
pub use agreement::{Destination, Roster};
pub use alarms::{Alarm, Severity};
pub use command::{Command, CommandDone, CommandRefused};
pub use configure::{ConfigurationStatus, PendingVote};
pub use gate::GateState;
pub use node::{Node, Settings};
pub use status::{MemberState, MemberStatus, NodeStatus, ServiceStatus};
pub use timeline::{Failover, FailoverService};
