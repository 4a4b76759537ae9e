//! The few system calls that the standard library does not have.

use base::{Duration, Instant};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::os::fd::AsRawFd;

/// CLOCK_BOOTTIME, the clock of leases.
pub(crate) fn now() -> Instant {
    read(libc::CLOCK_BOOTTIME)
}

/// CLOCK_MONOTONIC, which stands still while the machine sleeps.
pub(crate) fn monotonic() -> Instant {
    read(libc::CLOCK_MONOTONIC)
}

fn read(clock: libc::clockid_t) -> Instant {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: one timespec that lives for the call; both clocks exist since 2.6.39.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    Instant(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// Sleeps until `at` on CLOCK_BOOTTIME; a signal ends it early.
pub(crate) fn sleep_until(at: Instant) {
    let time = libc::timespec {
        tv_sec: (at.0 / 1_000_000_000) as libc::time_t,
        tv_nsec: (at.0 % 1_000_000_000) as libc::c_long,
    };
    let (clock, flags) = (libc::CLOCK_BOOTTIME, libc::TIMER_ABSTIME);
    // SAFETY: a valid absolute time; no remainder is asked for.
    unsafe { libc::clock_nanosleep(clock, flags, &raw const time, std::ptr::null_mut()) };
}

/// Sleeps for `span`.
pub(crate) fn sleep(span: Duration) {
    sleep_until(now() + span);
}

/// Gives the calling thread SCHED_FIFO and exact timers; what it starts has neither.
pub(crate) fn realtime(priority: u8) -> io::Result<()> {
    let parameter = libc::sched_param { sched_priority: priority.into() };
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: one sched_param that lives for the call; 0 is the calling thread.
    check(unsafe { libc::sched_setscheduler(0, policy, &raw const parameter) })
}

/// Sleeps of the calling thread end at their moment, not up to 50 us later.
pub(crate) fn exact_timers() {
    // SAFETY: takes no pointer; concerns the calling thread only.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
}

/// Binds the calling thread to one core.
pub(crate) fn pin(core: usize) -> io::Result<()> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: an all-zero cpu_set_t is the empty set, the core is inside it, 0 is this thread.
    check(unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    })
}

/// The cores that this process may use.
pub(crate) fn allowed_cores() -> Vec<usize> {
    // SAFETY: an all-zero cpu_set_t is the empty set, which the kernel fills; each core that is
    // asked for is inside it.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        let length = size_of::<libc::cpu_set_t>();
        if libc::sched_getaffinity(0, length, &raw mut set) != 0 {
            return Vec::new();
        }
        (0..libc::CPU_SETSIZE as usize).filter(|core| libc::CPU_ISSET(*core, &set)).collect()
    }
}

/// Can this process keep its memory from being paged out? (It is given free again.)
pub(crate) fn try_lock_memory() -> io::Result<()> {
    // SAFETY: takes no pointer; changes no contents.
    let result = check(unsafe { libc::mlockall(libc::MCL_CURRENT) });
    // SAFETY: as above.
    unsafe { libc::munlockall() };
    result
}

/// Who we are.
pub(crate) fn is_root() -> bool {
    // SAFETY: takes nothing, cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// How the kernel's clock is steered.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Steering {
    /// Correction of the frequency, ppm.
    pub(crate) frequency_ppm: f64,
    /// Microseconds that a tick counts for.
    pub(crate) tick_us: i64,
    /// Microseconds that it counts for on a clock that is not steered.
    pub(crate) nominal_tick_us: i64,
    /// Something keeps the wall clock right.
    pub(crate) synchronised: bool,
}

/// Reads it; changes nothing.
pub(crate) fn steering() -> io::Result<Steering> {
    // SAFETY: an all-zero timex asks to read (modes 0); the kernel fills it.
    let (time, ticks) = unsafe {
        let mut time: libc::timex = std::mem::zeroed();
        if libc::adjtimex(&raw mut time) < 0 {
            return Err(io::Error::last_os_error());
        }
        (time, libc::sysconf(libc::_SC_CLK_TCK))
    };
    Ok(Steering {
        // The kernel's unit is 2^-16 ppm.
        frequency_ppm: time.freq as f64 / 65_536.0,
        tick_us: time.tick,
        nominal_tick_us: 1_000_000 / ticks.max(1),
        synchronised: time.status & libc::STA_UNSYNC == 0,
    })
}

/// Moves the calling thread into a new network namespace, which goes with the thread.
pub(crate) fn new_network() -> io::Result<()> {
    // SAFETY: no memory is passed; moves only this thread.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) })
}

/// The kernel's release, as `uname -r`.
pub(crate) fn kernel() -> String {
    crate::files::text("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".into())
}

/// The number of an interface in this thread's namespace.
pub(crate) fn interface_index(name: &str) -> Option<u32> {
    let name = std::ffi::CString::new(name).ok()?;
    // SAFETY: a text that ends with zero and lives for the call.
    Some(unsafe { libc::if_nametoindex(name.as_ptr()) }).filter(|index| *index != 0)
}

/// Flags and largest packet of an interface, in this thread's namespace.
pub(crate) fn interface_state(name: &str) -> Option<(InterfaceFlags, i64)> {
    let bytes = name.as_bytes();
    if bytes.len() >= libc::IFNAMSIZ {
        return None;
    }
    // SAFETY: an all-zero ifreq is one without a name.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    let ask = |request: &mut libc::ifreq, order| {
        // SAFETY: an open socket and an ifreq with a name that ends with zero, which the kernel
        // fills.
        unsafe { libc::ioctl(socket.as_raw_fd(), order, &raw mut *request) >= 0 }
    };
    if !ask(&mut request, libc::SIOCGIFFLAGS) {
        return None;
    }
    // SAFETY: the kernel has just filled this member.
    let flags = i32::from(unsafe { request.ifr_ifru.ifru_flags });
    if !ask(&mut request, libc::SIOCGIFMTU) {
        return None;
    }
    // SAFETY: as above.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    let flags = InterfaceFlags {
        up: flags & libc::IFF_UP != 0,
        carrier: flags & libc::IFF_RUNNING != 0,
        multicast: flags & libc::IFF_MULTICAST != 0,
    };
    Some((flags, mtu.into()))
}

/// What an interface is and can.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct InterfaceFlags {
    pub(crate) up: bool,
    pub(crate) carrier: bool,
    pub(crate) multicast: bool,
}

/// How a packet came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cast {
    Unicast,
    Multicast,
    Broadcast,
    /// To another machine, or our own.
    Other,
}

/// Hears what an interface receives, beside whoever it is for; packets begin behind their Ethernet header.
#[derive(Debug)]
pub(crate) struct PacketSocket {
    socket: Socket,
    place: libc::sockaddr_ll,
}

impl PacketSocket {
    pub(crate) fn open(
        interface: u32,
        ethertype: u16,
        wait: std::time::Duration,
    ) -> io::Result<Self> {
        // Without a protocol it hears nothing until it is bound to the one interface.
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(0)))?;
        let place = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: ethertype.to_be(),
            sll_ifindex: interface as libc::c_int,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: a valid sockaddr_ll with its own length, which the kernel reads.
        check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const place).cast(), length) })?;
        socket.set_read_timeout(Some(wait))?;
        // Up to the system's limit: room for what comes while nobody reads.
        let _ = socket.set_recv_buffer_size(1 << 20);
        Ok(Self { socket, place })
    }

    /// Sends what follows the Ethernet header to a station, a group or all.
    pub(crate) fn send(&self, to: [u8; 6], payload: &[u8]) -> io::Result<()> {
        let mut place = self.place;
        place.sll_halen = 6;
        place.sll_addr[..6].copy_from_slice(&to);
        // SAFETY: payload and address with their lengths, which the kernel reads.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                payload.as_ptr().cast(),
                payload.len(),
                libc::MSG_DONTWAIT,
                (&raw const place).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The next packet, cut to the buffer, and how it came; `WouldBlock` if none comes in time.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Cast)> {
        // SAFETY: an all-zero sockaddr_ll is valid to be filled.
        let mut from: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        let mut length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: buffer and address with their lengths, which the kernel fills and keeps to.
        let count = unsafe {
            libc::recvfrom(
                self.socket.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                0,
                (&raw mut from).cast(),
                &raw mut length,
            )
        };
        let Ok(count) = usize::try_from(count) else { return Err(io::Error::last_os_error()) };
        let cast = match from.sll_pkttype {
            libc::PACKET_HOST => Cast::Unicast,
            libc::PACKET_MULTICAST => Cast::Multicast,
            libc::PACKET_BROADCAST => Cast::Broadcast,
            _ => Cast::Other,
        };
        Ok((count, cast))
    }
}

/// Whether packets may be cut on their way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cutting {
    Allowed,
    /// Not allowed, and what the kernel believes of the path is not asked.
    Forbidden,
}

/// Sets that for what a socket sends from now on.
pub(crate) fn set_cutting(socket: &Socket, ipv6: bool, cutting: Cutting) -> io::Result<()> {
    let (level, discover, allowed, forbidden) = if ipv6 {
        let (allowed, forbidden) = (libc::IPV6_PMTUDISC_DONT, libc::IPV6_PMTUDISC_PROBE);
        (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, allowed, forbidden)
    } else {
        let (allowed, forbidden) = (libc::IP_PMTUDISC_DONT, libc::IP_PMTUDISC_PROBE);
        (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, allowed, forbidden)
    };
    let value = if cutting == Cutting::Allowed { allowed } else { forbidden };
    set(socket, level, discover, value)?;
    // For raw IPv6 sockets this one alone says that the sender cuts nothing either.
    let uncut = libc::c_int::from(cutting == Cutting::Forbidden);
    if ipv6 { set(socket, level, libc::IPV6_DONTFRAG, uncut) } else { Ok(()) }
}

fn set(socket: &Socket, level: i32, option: i32, value: libc::c_int) -> io::Result<()> {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: pointer and length describe `value`, which outlives the call.
    check(unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), length)
    })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::{allowed_cores, monotonic, now, pin, steering};

    #[test]
    fn a_core_outside_every_set_is_an_error_and_no_panic() {
        assert!(pin(usize::MAX).is_err());
        assert!(!allowed_cores().is_empty());
    }

    #[test]
    fn clocks_are_read_and_the_tick_has_its_unit() {
        let monotonic = monotonic();
        assert!(now() >= monotonic);
        let steering = steering().unwrap();
        assert!((1_000..=100_000).contains(&steering.nominal_tick_us), "{steering:?}");
    }
}
