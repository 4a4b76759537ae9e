//! Messages of the local socket: one JSON object per line, in both directions.
//!
//! A request is `{"version":1,"id":7,"request":{"kind":"status"}}`; its reply carries the same `id`
//! and either `"answer"` or `"error"`. After [`Request::Watch`] lines with `"event"` follow until
//! the client hangs up.
//!
//! Compatibility: fields are only added, never renamed or reused; a reader ignores fields it does
//! not know, and reads a value of a closed set that it does not know as `unknown`. [`VERSION`]
//! grows only when that does not do.
//!
//! Units are in the names: `_ns` is CLOCK_BOOTTIME of the answering node in nanoseconds (comparable
//! between the stamps of one node, and between nodes only if they share a kernel), `unix_ms` is
//! wall clock and only for display.
#![forbid(unsafe_code)]

mod configuration;
mod event;
mod failover;
mod health;
mod line;
mod reply;
mod request;
mod status;

pub use configuration::{
    Configuration, ConfigurationAnswer, Configured, Holder, Overridden, PendingVote,
};
pub use event::{Event, EventKind};
pub use failover::{Evidence, Failover, FailoverCause, FailoverService, Failovers};
pub use health::{Health, Problem};
pub use line::{LineError, REPLY_LINE_MAX, REQUEST_LINE_MAX, encode_reply, encode_request};
pub use line::{parse_reply, parse_request};
pub use reply::{
    Answer, ConfirmedOff, ErrorCode, Moved, Probed, Refusal, Reply, ReplyBody, Why, WhyNode,
    WhyService,
};
pub use request::{Request, RequestLine};
pub use status::{
    Agreement, Alarm, Detection, Fence, Gate, Lease, LinkState, Member, MemberState, Members,
    NodeFailure, Phase, Placement, Quorum, Resource, Role, Service, Severity, Status,
};

/// Version of these messages; a daemon refuses others by [`ErrorCode::Version`].
pub const VERSION: u32 = 1;

/// File name of the socket in the run directory.
pub const SOCKET_NAME: &str = "control.sock";

/// Most failovers one answer holds.
pub const FAILOVERS_MAX: u32 = 64;
