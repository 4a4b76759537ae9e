//! R-START: what an earlier run left behind is removed before the first frame of a new life.

use crate::destroy::Destroyer;
use crate::error::AddressError;
use crate::interface;
use crate::message;
use crate::netlink::Netlink;
use std::net::IpAddr;

/// One address that was found and removed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Removed {
    /// The address.
    pub address: IpAddr,
    /// Number of the interface it was on.
    pub interface: u32,
}

/// Removes every address of `floating` from every interface, ends the connections that an owner which
/// was killed has left on them, and returns the addresses that were there. A connection of the former
/// time would answer with stale state as soon as its address comes back to this node.
pub fn remove_leftovers(floating: &[IpAddr]) -> Result<Vec<Removed>, AddressError> {
    let mut netlink = Netlink::route()?;
    let mut removed = Vec::new();
    for at in interface::addresses(&mut netlink)? {
        if !floating.contains(&at.address) {
            continue;
        }
        let mut order = message::delete_address(at.address, at.prefix, at.interface);
        match netlink.request(&mut order, "remove a left-over address") {
            Ok(()) => removed.push(Removed { address: at.address, interface: at.interface }),
            // Gone with another of its subnet, or by somebody else's hand.
            Err(e) if e.errno() == Some(libc::EADDRNOTAVAIL) => {}
            Err(e) => return Err(e),
        }
    }
    if let Some(destroyer) = &mut Destroyer::open()? {
        for address in floating {
            destroyer.destroy(*address)?;
        }
    }
    Ok(removed)
}
