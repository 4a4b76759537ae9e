//! Who is a member, by the agreed log, and what that means for an operator.
//!
//! * [`view`]: the numbered set of members, who came and who went with it, and why.
//! * [`history`]: the state machine that committed entries feed; also what it knows of lives that
//!   ended.
//! * `snapshot`: all of it as bytes.
//! * [`quorum`]: votes as an operator counts them, and the sentence that explains them.
//! * [`names`]: configured names, so that sentences speak of `n1` and not of node 1.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod history;
pub mod names;
pub mod quorum;
pub mod view;

mod snapshot;

pub use history::{Admission, Fence, Membership, Removal};
pub use names::Names;
pub use quorum::{Given, Quorum, Votes};
pub use view::{JoinCause, Joined, Left, LeftCause, Member, View};
