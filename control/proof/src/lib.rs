//! What must hold whatever comes in: no bytes and no entries panic a daemon, what is written is read
//! back, and the same entries make the same state on every node.
//!
//! One input is a string of bytes. A decoder gets it as it is; a test that needs structure reads it as
//! a list of [`choices`], so that the same bytes are always the same case, a shorter string is a
//! smaller case, and a fuzzer that watches coverage can steer both.
//!
//! * [`choices`]: bytes as decisions.
//! * [`arbitrary`]: values of the wire, by choices.
//! * [`decoders`]: each decoder, with samples and with what must hold of what it takes.
//! * [`apply`]: entries through the committed path of several nodes at once.
//! * [`inputs`]: messages, events and outcomes into one node, in any order.
//! * [`target`]: the list of all, and one run of one of them.
//! * [`minimise`]: a failing input made small.
//! * [`campaign`]: the long-running form; `guided.rs`: the same targets under libFuzzer, which looks for inputs that reach
//!   code of their own (`cargo xtask fuzz --guided`; the stable compiler and a C++ compiler are enough).
//!
//! The differential check against another engine is in `tests/differential`: that engine is a
//! dependency of the tests only.
#![forbid(unsafe_code)]

pub mod apply;
pub mod arbitrary;
pub mod campaign;
pub mod choices;
pub mod decoders;
pub mod inputs;
pub mod minimise;
pub mod target;
