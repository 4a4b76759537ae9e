//! The planner: where each service runs, and why. A replicated state machine, fed with committed
//! entries.
//!
//! * [`model`]: what is configured.
//! * [`body`]: requests to the planner, as bytes in the log.
//! * [`phase`]: the life of one generation, as a table.
//! * [`state`]: what the log says about one service.
//! * [`plan`]: the decision, a pure function of configuration, state and membership.
//! * [`configure`]: another set of services, while they run.
//! * [`planner`]: applies entries, runs the plan, keeps the states.
//! * `snapshot`: all states as bytes.
//! * [`reason`], [`why`]: the decision in an operator's words.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod body;
pub mod configure;
pub mod model;
pub mod phase;
pub mod plan;
pub mod planner;
pub mod reason;
pub mod state;
pub mod why;

mod snapshot;

pub use body::{Body, Report, client_of};
pub use model::{Placement, ResourceSpec, ServiceSpec};
pub use phase::Phase;
pub use planner::{Accepted, Applied, Planner, Refusal};
pub use reason::Reason;
pub use state::{Owner, ServiceState};
pub use why::{Why, WhyNode};
