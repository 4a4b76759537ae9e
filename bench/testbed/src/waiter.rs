//! Waiting for many sockets at once.

use base::Duration;
use std::os::fd::{AsRawFd, RawFd};

/// What is waited for; the sockets must live as long as they are in it.
#[derive(Debug, Default)]
pub struct Waiter(Vec<libc::pollfd>);

impl Waiter {
    /// Waits for nothing any more.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Waits for this one too; returns its place.
    pub fn add(&mut self, socket: &impl AsRawFd) -> usize {
        let fd: RawFd = socket.as_raw_fd();
        self.0.push(libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
        self.0.len() - 1
    }

    /// Waits until something can be read, at most for `limit`; returns early when a signal comes.
    pub fn wait(&mut self, limit: Duration) {
        let time = libc::timespec {
            tv_sec: (limit.nanos() / 1_000_000_000) as libc::time_t,
            tv_nsec: (limit.nanos() % 1_000_000_000) as libc::c_long,
        };
        let count = self.0.len() as libc::nfds_t;
        // SAFETY: the entries are valid and as many as the count says; the time is valid, no mask is given.
        let ready =
            unsafe { libc::ppoll(self.0.as_mut_ptr(), count, &raw const time, std::ptr::null()) };
        if ready <= 0 {
            // Nothing, or interrupted: what the entries say is not from this call.
            self.0.iter_mut().for_each(|entry| entry.revents = 0);
        }
    }

    /// True if the one at `place` can be read, by the last wait.
    #[must_use]
    pub fn ready(&self, place: usize) -> bool {
        self.0.get(place).is_some_and(|entry| entry.revents != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::Waiter;
    use base::Duration;
    use std::net::UdpSocket;

    #[test]
    fn only_what_can_be_read_is_ready() {
        let (a, b) =
            (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let mut waiter = Waiter::default();
        let places = (waiter.add(&a), waiter.add(&b));
        waiter.wait(Duration::ZERO);
        assert!(!waiter.ready(places.0) && !waiter.ready(places.1));
        a.send_to(b"x", b.local_addr().unwrap()).unwrap();
        waiter.wait(Duration::from_millis(1_000));
        assert!(!waiter.ready(places.0) && waiter.ready(places.1));
    }
}
