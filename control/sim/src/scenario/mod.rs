//! Written schedules: small text files, one step a line, that say what happens and what must be seen.
//!
//! ```text
//! nodes 3                       configuration comes first: nodes, links, witness, service, loss, seed, interval, misses
//! service vip lease 1 2 3       name, policy, nodes in order of preference; `fail-back` may follow
//! start 1 2 3
//! settle                        within 20 deadlines: everybody that is up is a member, every service runs
//! let old = owner vip           names for nodes: owner SERVICE, primary, other NODE NODE…
//! cut old                       power off · kill NODE [fast|control] · leave NODE · restart NODE
//! expect owner vip 2 within 40ms
//! pause fast 2 50ms             or control, or both
//! partition 1 | 2 3             in both directions · oneway 1 -> 2 3 · link 0 down [NODE] · heal
//! move vip 2
//! run 100ms
//! expect removed 1 within 40ms  also: member N · no removal · removals COUNT · owner S N · no owner S · no quorum ·
//!                               primary N · no lease
//! ```
//!
//! * [`parse`]: lines into steps, with errors that name the line.
//! * [`mod@play`]: steps into a world.

pub mod parse;
pub mod play;

pub use parse::{Mistake, Scenario, Step};
pub use play::play;
