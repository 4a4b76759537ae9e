//! The system test bed: real daemons in network namespaces, real power cuts, a client that watches.

pub mod bed;
pub mod bpf;
pub mod cluster;
pub mod corosync;
pub mod error;
pub mod hearing;
pub mod intruder;
pub mod keepalived;
pub mod load;
pub mod namespace;
pub mod netlink;
pub mod observer;
pub mod packet;
pub mod power;
pub mod probe;
pub mod process;
pub mod programs;
pub mod record;
pub mod responder;
pub mod run;
pub mod session;
pub mod spec;
pub mod suite;
pub mod timeline;
pub mod topology;
pub mod trial;
pub mod waiter;

pub use harness::{jitter, os, plot, report, stall};
