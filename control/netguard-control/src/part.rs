//! One resource of a service, whatever its kind.

use base::Instant;
use driver_address::FloatingAddress;
use driver_command::CommandDriver;
use std::os::fd::{AsRawFd, RawFd};
use wire::Generation;

/// What every kind of resource can do. Errors are what the operator reads.
pub trait Part: Send {
    /// What it is, in one line.
    fn name(&self) -> String;
    /// Brings it up; one that is up already is as good as brought up.
    fn start(&mut self, generation: Generation, now: Instant) -> Result<(), String>;
    /// Takes it down until nothing of it is left.
    fn stop(&mut self) -> Result<(), String>;
    /// Takes it down at once because the lease ended; what is not lease-bound stays.
    fn withdraw(&mut self) -> Result<(), String>;
    /// Brings back what [`Part::withdraw`] took down.
    fn restore(&mut self, now: Instant) -> Result<(), String>;
    /// When [`Part::handle_timeout`] wants to be called.
    fn poll_deadline(&self) -> Option<Instant> {
        None
    }
    /// Does what is due.
    fn handle_timeout(&mut self, _now: Instant) {}
    /// Readable when the resource may have died, or wants [`Part::handle_timeout`] to look after it.
    fn watch_fd(&self) -> Option<RawFd> {
        None
    }
    /// False if connections to it outlive its stop on this kernel.
    fn ends_connections(&self) -> bool {
        true
    }
    /// How it died, once it has.
    fn poll_exit(&mut self) -> Option<String> {
        None
    }
}

/// A resource that a changed configuration wants here and that cannot be had: its start fails, so that another node gets
/// the service.
pub struct Unusable {
    /// What it is.
    pub name: String,
    /// Why it cannot be had.
    pub reason: String,
}

impl Part for Unusable {
    fn name(&self) -> String {
        self.name.clone()
    }
    fn start(&mut self, _generation: Generation, _now: Instant) -> Result<(), String> {
        Err(self.reason.clone())
    }
    fn stop(&mut self) -> Result<(), String> {
        Ok(())
    }
    fn withdraw(&mut self) -> Result<(), String> {
        Ok(())
    }
    fn restore(&mut self, _now: Instant) -> Result<(), String> {
        Err(self.reason.clone())
    }
}

impl Part for FloatingAddress {
    fn name(&self) -> String {
        format!("address {}/{}", self.spec().address, self.spec().prefix)
    }
    fn start(&mut self, _generation: Generation, now: Instant) -> Result<(), String> {
        Self::start(self, now).map_err(|e| e.to_string())
    }
    fn stop(&mut self) -> Result<(), String> {
        Self::stop(self).map(drop).map_err(|e| e.to_string())
    }
    fn withdraw(&mut self) -> Result<(), String> {
        Self::withdraw(self).map_err(|e| e.to_string())
    }
    fn restore(&mut self, now: Instant) -> Result<(), String> {
        Self::start(self, now).map_err(|e| e.to_string())
    }
    fn poll_deadline(&self) -> Option<Instant> {
        Self::poll_deadline(self)
    }
    fn handle_timeout(&mut self, now: Instant) {
        Self::handle_timeout(self, now);
    }
    fn watch_fd(&self) -> Option<RawFd> {
        Some(Self::watch_fd(self).as_raw_fd())
    }
    fn ends_connections(&self) -> bool {
        Self::ends_connections(self)
    }
}

impl Part for CommandDriver {
    fn name(&self) -> String {
        format!("command {}", self.spec().run.first().map_or("", String::as_str))
    }
    fn start(&mut self, generation: Generation, _now: Instant) -> Result<(), String> {
        Self::start(self, generation.0).map_err(|e| e.to_string())
    }
    fn stop(&mut self) -> Result<(), String> {
        Self::stop(self).map_err(|e| e.to_string())
    }
    /// A process is not lease-bound (S3): it goes on, and goes only with a stop.
    fn withdraw(&mut self) -> Result<(), String> {
        Ok(())
    }
    fn restore(&mut self, _now: Instant) -> Result<(), String> {
        Ok(())
    }
    fn watch_fd(&self) -> Option<RawFd> {
        Self::watch_fd(self).map(|fd| fd.as_raw_fd())
    }
    fn poll_exit(&mut self) -> Option<String> {
        Self::poll_exit(self)
    }
}
