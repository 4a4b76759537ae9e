//! The driver of one floating address.

use crate::announce::Announcer;
use crate::destroy::{Destroyer, Ended};
use crate::error::AddressError;
use crate::events::Events;
use crate::interface::{self, Interface};
use crate::message;
use crate::netlink::Netlink;
use base::{Duration, Instant};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

/// How often the kernel is told that the address is still wanted: it may miss three times.
const RENEW_EVERY: Duration = Duration::from_millis(message::LIFETIME_S as u64 * 1_000 / 4);

/// From the first sign that the address may be missing to the look after it: the gate's watch hears the same and has its
/// filters on a new interface by then, and a machine whose interfaces change all the time costs no more.
const LOOK_AFTER: Duration = Duration::from_millis(10);

/// What is configured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Address {
    /// The address.
    pub address: IpAddr,
    /// Its prefix length.
    pub prefix: u8,
    /// The interface it goes on.
    pub interface: String,
}

/// What a release did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Released {
    /// The connections ended; `None` if this kernel cannot end them.
    pub ended: Option<Ended>,
}

/// One floating address, its sockets open and its messages built, so that a start takes three
/// system calls.
#[derive(Debug)]
pub struct FloatingAddress {
    spec: Address,
    netlink: Netlink,
    destroyer: Option<Destroyer>,
    ready: Option<Ready>,
    /// When the kernel is to be told again that the address is wanted; none while it is not.
    renew_at: Option<Instant>,
    events: Events,
    /// The address may be missing: when to look.
    look_at: Option<Instant>,
}

/// Everything that depends on the interface; made anew when the interface changes.
#[derive(Debug)]
struct Ready {
    interface: Interface,
    add: Vec<u8>,
    renew: Vec<u8>,
    delete: Vec<u8>,
    announcer: Option<Announcer>,
}

impl FloatingAddress {
    /// Opens the sockets and, if the interface is there already, prepares the messages. A missing
    /// interface is no error yet: it may come before the first start.
    pub fn open(spec: Address) -> Result<Self, AddressError> {
        let longest = if spec.address.is_ipv4() { 32 } else { 128 };
        if spec.prefix > longest {
            return Err(AddressError::Prefix { address: spec.address, prefix: spec.prefix });
        }
        let netlink = Netlink::route()?;
        let destroyer = Destroyer::open()?;
        let events = Events::open()?;
        let (ready, renew_at, look_at) = (None, None, None);
        let mut this = Self { spec, netlink, destroyer, ready, renew_at, events, look_at };
        match this.prepare() {
            Ok(()) | Err(AddressError::NoInterface { .. } | AddressError::InterfaceDown { .. }) => {
            }
            Err(e) => return Err(e),
        }
        keep_secondaries(&this.spec);
        Ok(this)
    }

    /// What is configured.
    #[must_use]
    pub const fn spec(&self) -> &Address {
        &self.spec
    }
    /// False if this kernel cannot end the connections of a released address.
    #[must_use]
    pub const fn ends_connections(&self) -> bool {
        self.destroyer.is_some()
    }

    /// Adds the address and announces it. An address that is already there is as good as added.
    pub fn start(&mut self, now: Instant) -> Result<(), AddressError> {
        match self.add() {
            // The interface was made anew since the messages were built.
            Err(e) if e.errno() == Some(libc::ENODEV) => {
                self.ready = None;
                let _ = self.add()?;
            }
            other => {
                let _ = other?;
            }
        }
        self.renew_at = Some(now + RENEW_EVERY);
        if let Some(announcer) = self.ready.as_mut().and_then(|r| r.announcer.as_mut()) {
            announcer.start(now);
        }
        Ok(())
    }

    /// Takes the address away at once; connections stay, they go on should the address come back.
    pub fn withdraw(&mut self) -> Result<(), AddressError> {
        (self.renew_at, self.look_at) = (None, None);
        if let Some(announcer) = self.ready.as_mut().and_then(|r| r.announcer.as_mut()) {
            announcer.stop();
        }
        let Some(ready) = &mut self.ready else { return Ok(()) };
        match self.netlink.request(&mut ready.delete, "remove the address") {
            Ok(()) => Ok(()),
            Err(e) => match e.errno() {
                // Not there, or its interface is gone: what was wanted.
                Some(libc::EADDRNOTAVAIL) => Ok(()),
                Some(libc::ENODEV) => {
                    self.ready = None;
                    Ok(())
                }
                _ => Err(e),
            },
        }
    }

    /// Takes the address away for good and ends its connections.
    pub fn stop(&mut self) -> Result<Released, AddressError> {
        self.withdraw()?;
        let address = self.spec.address;
        let ended = self.destroyer.as_mut().map(|d| d.destroy(address)).transpose()?;
        Ok(Released { ended })
    }

    /// When [`FloatingAddress::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_deadline(&self) -> Option<Instant> {
        let announcer = self.ready.as_ref().and_then(|ready| ready.announcer.as_ref());
        let announcement = announcer.and_then(Announcer::poll_deadline);
        announcement.into_iter().chain(self.renew_at).chain(self.look_at).min()
    }
    /// Readable when the address may be missing: [`FloatingAddress::handle_timeout`] looks.
    #[must_use]
    pub fn watch_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }
    /// Renews the address and repeats the announcement if they are due; brings the address back if it was lost.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.events.changed() && self.renew_at.is_some() && self.look_at.is_none() {
            self.look_at = Some(now + LOOK_AFTER);
        }
        if self.look_at.is_some_and(|at| now >= at) {
            self.look_at = None;
            self.regain(now);
        }
        if self.renew_at.is_some_and(|at| now >= at) {
            self.renew_at = Some(now + RENEW_EVERY);
            self.renew(now);
        }
        if let Some(announcer) = self.ready.as_mut().and_then(|r| r.announcer.as_mut()) {
            announcer.handle_timeout(now);
        }
    }

    /// What fails now is tried again long before the address ends. An interface that was made anew
    /// gets the address back, and the neighbours hear of it.
    fn renew(&mut self, now: Instant) {
        let anew = self.ready.is_none();
        if anew && self.prepare().is_err() {
            return;
        }
        let Some(ready) = &mut self.ready else { return };
        match self.netlink.request(&mut ready.renew, "renew the address") {
            Ok(()) => {
                if let Some(announcer) = ready.announcer.as_mut().filter(|_| anew) {
                    announcer.start(now);
                }
            }
            Err(e) if e.errno() == Some(libc::ENODEV) && !anew => {
                self.ready = None;
                self.renew(now);
            }
            Err(_) => {}
        }
    }

    /// Brings back an address that somebody took away, or that went with its interface, and tells the neighbours. What
    /// fails is tried again with the next change, or the next renewal.
    fn regain(&mut self, now: Instant) {
        let added = match self.add() {
            Err(e) if e.errno() == Some(libc::ENODEV) => {
                self.ready = None;
                self.add()
            }
            other => other,
        };
        let announcer = self.ready.as_mut().and_then(|ready| ready.announcer.as_mut());
        if let (Ok(true), Some(announcer)) = (added, announcer) {
            announcer.start(now);
        }
    }

    /// True if it was not there.
    fn add(&mut self) -> Result<bool, AddressError> {
        if self.ready.is_none() {
            self.prepare()?;
        }
        let Some(ready) = &mut self.ready else { return Err(self.no_interface()) };
        match self.netlink.request(&mut ready.add, "add the address") {
            Err(e) if e.errno() == Some(libc::EEXIST) => Ok(false),
            other => other.map(|()| true),
        }
    }

    fn prepare(&mut self) -> Result<(), AddressError> {
        let found = interface::interfaces(&mut self.netlink)?
            .into_iter()
            .find(|i| i.name == self.spec.interface)
            .ok_or_else(|| self.no_interface())?;
        let Address { address, prefix, .. } = self.spec;
        if !found.up {
            return Err(AddressError::InterfaceDown { name: found.name, address });
        }
        self.ready = Some(Ready {
            add: message::new_address(address, prefix, found.index),
            renew: message::renew_address(address, prefix, found.index),
            delete: message::delete_address(address, prefix, found.index),
            announcer: Announcer::open(address, &found)?,
            interface: found,
        });
        Ok(())
    }

    fn no_interface(&self) -> AddressError {
        AddressError::NoInterface { name: self.spec.interface.clone(), address: self.spec.address }
    }

    /// The interface as it was when the messages were built.
    #[must_use]
    pub fn interface(&self) -> Option<&Interface> {
        self.ready.as_ref().map(|r| &r.interface)
    }
}

/// Without this setting the kernel takes all addresses of a subnet away together with the first:
/// releasing one service would silently take another's address. Where /proc is read-only the
/// distribution has to set it.
fn keep_secondaries(spec: &Address) {
    let plain = !spec.interface.contains(['/', '.']);
    if spec.address.is_ipv4() && plain {
        let path = format!("/proc/sys/net/ipv4/conf/{}/promote_secondaries", spec.interface);
        let _ = std::fs::write(path, "1");
    }
}
