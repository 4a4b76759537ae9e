//! What every measurement needs, in a bed of namespaces and on a customer's machines alike.
//!
//! * [`os`]: clock, cores, priorities, Ctrl-C.
//! * [`stall`]: the stall meter.
//! * [`jitter`]: a bare timer, and how exactly something comes that should come every interval.
//! * [`report`]: percentiles as rows, for people and for programs.
//! * [`histogram`]: the same values as HdrHistogram logs.
//! * [`ping`]: an address that is asked every millisecond.
//! * [`plot`]: distributions as SVG.
//! * [`page`]: all of it as one HTML file that needs no other.
//! * [`surroundings`]: what the machine was while it was measured.

pub mod histogram;
pub mod jitter;
pub mod os;
pub mod page;
pub mod ping;
pub mod plot;
pub mod report;
pub mod stall;
pub mod surroundings;
