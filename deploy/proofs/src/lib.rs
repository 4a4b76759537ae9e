//! What the lab is asked: the parts of its proofs and tests that run inside the nodes, and the tables
//! that come out.
//!
//! The other half, which holds the lab and breaks it, is `tests/lab`.
//!
//! * [`gate`]: proof 2, what the gate closes.
//! * [`nfsd`]: proof 1, one nfsd per service.
//! * [`pieces`]: a workload whose every piece can be recognised.
//! * [`table`]: a proof's figures, as a file and as text.
//! * [`takeover`]: proof 3, the NFS takeover by hand.
//! * [`watch`]: a client that asks an address and tells who answers.

pub mod gate;
pub mod nfsd;
pub mod pieces;
pub mod table;
pub mod takeover;
pub mod watch;
