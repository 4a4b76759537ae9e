//! The cases, by what they are about.

pub(super) mod closing;
pub(super) mod cost;
pub(super) mod daemons;
pub(super) mod elsewhere;
pub(super) mod layers;
pub(super) mod sockets;
