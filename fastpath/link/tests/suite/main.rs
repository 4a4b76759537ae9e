//! One suite for all back ends: what a link does is the same, whatever carries its frames.
//!
//! * `fixture`: one end of a link with the way to wait for it, and the table of back ends. A new back end is one more
//!   entry there, and one more line where the cases are listed.
//! * `loopback`: UDP without root.
//! * `cable`: two namespaces and what joins them; `wire`: the cases over it (needs root; says SKIPPED without).
//! * `packet`: what only links of Ethernet frames do; `allocations`: that they allocate nothing meanwhile.

mod allocations;
mod cable;
mod fixture;
mod loopback;
mod packet;
mod wire;
