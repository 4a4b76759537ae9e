//! Power cuts, as a node's peers see them: all its links go dead at once, and nothing of it runs
//! any more.

use crate::error::Result;
use crate::os;
use crate::topology::{Topology, group};
use base::Instant;

/// The moment of a cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cut {
    /// Just before the ports went down: what figures count from, so that they never flatter.
    pub at: Instant,
    /// When the call had returned: from here on no frame of the node came through.
    pub done: Instant,
}

/// Cuts the power of one node: all its ports at the switch down by one call, then SIGKILL of
/// everything in it.
///
/// # Errors
/// When the kernel refuses to take the ports down.
pub fn cut(topology: &Topology, node: u8) -> Result<Cut> {
    // The thread must not lose the core between stamp and call; if it may not be real-time, the
    // stamp is only early.
    let realtime = os::realtime(os::PRIORITY_CUT).is_ok();
    let at = os::now();
    let result = topology.ports().set_group(group(node), false);
    let done = os::now();
    if realtime {
        os::ordinary();
    }
    result?;
    topology.node(node).kill_all();
    Ok(Cut { at, done })
}

/// Gives the power back: the addresses are those of a machine that has just booted, then the ports
/// come up. What runs on it is the caller's to start.
///
/// # Errors
/// When a set-up command or the kernel refuses.
pub fn restore(topology: &Topology, node: u8) -> Result<()> {
    topology.node(node).kill_all();
    topology.forget_addresses(node)?;
    topology.ports().set_group(group(node), true)
}
