//! The lab: two storage nodes, a witness and a client as User Mode Linux, with disks that can lose
//! data, power that can be cut, and a BMC in front of that power; on one machine, beside others.
//!
//! A test uses [`Lab`] and [`Node`]; a person uses `netguard-lab` (`cargo xtask lab`).
//!
//! * [`spec`]: what a lab is made of; [`image`]: the tree of Debian packages that guests run on.
//! * [`host`]: the supervisor, in namespaces of its own, with everything that it holds.
//! * [`frame`]: the bytes of the command channel and of the lab's socket; [`message`]: their words.
//! * [`client`]: the other end of that socket, for tests and for the command.
//!
//! The guest's half, process 1 of every node, is the program `netguard-lab-guest`.

pub mod client;
pub mod error;
pub mod frame;
pub mod host;
pub mod image;
pub mod message;
pub mod spec;

pub use client::{Lab, Node, Output, Running};
pub use error::{LabError, Result};
pub use spec::{DiskSpec, NodeSpec, Spec};
