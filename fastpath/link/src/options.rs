//! The socket of a UDP link, with its options.

use crate::error::OpenError;
use crate::settings::{Mode, Settings};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::mem::size_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;

/// Room for what arrives while nobody reads: some seconds of beats of a full cluster.
const RECEIVE_BUFFER: libc::c_int = 4 << 20;
/// Room for one burst to all peers.
pub(crate) const SEND_BUFFER: libc::c_int = 1 << 20;
/// Highest queueing priority that needs no privilege.
pub(crate) const PRIORITY: libc::c_int = 6;
/// DSCP CS6, network control.
const TRAFFIC_CLASS: libc::c_int = 0xC0;
const ON: libc::c_int = 1;
const OFF: libc::c_int = 0;

/// Opens, sets and binds.
pub(crate) fn open(settings: &Settings) -> Result<Socket, OpenError> {
    let step = |doing| move |source| name(settings, doing, source);
    check(settings)?;
    let domain = Domain::for_address(settings.own);
    let socket = Socket::new(domain, Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))
        .map_err(step("open a socket"))?;
    if settings.interface != 0 {
        let index = settings.interface as libc::c_int;
        set(&socket, libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX, &index)
            .map_err(step("bind to the interface"))?;
    }
    set_common(&socket).map_err(step("set the socket's options"))?;
    if settings.stamped {
        set(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &ON)
            .map_err(step("ask for time stamps"))?;
    }
    match settings.own.ip() {
        IpAddr::V4(own) => set_v4(&socket, own, settings).map_err(step("set IPv4 options"))?,
        IpAddr::V6(_) => set_v6(&socket, settings).map_err(step("set IPv6 options"))?,
    }
    socket.bind(&bind_address(settings).into()).map_err(step("bind the port"))?;
    if let Mode::Multicast(group) = settings.mode {
        join(&socket, settings, group).map_err(step("join the multicast group"))?;
    }
    Ok(socket)
}

/// All addresses are of one family, and the group is one.
fn check(settings: &Settings) -> Result<(), OpenError> {
    let mismatch = |field| Err(OpenError::Mismatch { link: settings.id, field });
    let v4 = settings.own.is_ipv4();
    if settings.peers.iter().any(|(_, peer)| peer.is_ipv4() != v4) {
        return mismatch("a peer's address");
    }
    match settings.mode {
        Mode::Multicast(group) if group.is_ipv4() != v4 || !group.is_multicast() => {
            mismatch("the multicast group")
        }
        Mode::Broadcast(address) if !(v4 && address.is_ipv4()) => mismatch("the broadcast address"),
        _ => Ok(()),
    }
}

/// A group or broadcast link also gets datagrams that are sent to it alone, so it listens on every
/// address of its interface; a unicast link listens on its own only.
fn bind_address(settings: &Settings) -> SocketAddr {
    let port = settings.own.port();
    match (settings.mode, settings.own) {
        (Mode::Unicast, own) => with_scope(own, settings.interface),
        (_, SocketAddr::V4(_)) => (Ipv4Addr::UNSPECIFIED, port).into(),
        (_, SocketAddr::V6(_)) => (Ipv6Addr::UNSPECIFIED, port).into(),
    }
}

/// Link-local IPv6 addresses mean nothing without their interface.
pub(crate) fn with_scope(address: SocketAddr, interface: u32) -> SocketAddr {
    match address {
        SocketAddr::V6(mut v6) if v6.ip().is_unicast_link_local() || v6.ip().is_multicast() => {
            v6.set_scope_id(interface);
            v6.into()
        }
        other => other,
    }
}

fn set_common(socket: &Socket) -> io::Result<()> {
    // Beyond the system's limit with CAP_NET_ADMIN, else up to it.
    if set(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &RECEIVE_BUFFER).is_err() {
        set(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, &RECEIVE_BUFFER)?;
    }
    set(socket, libc::SOL_SOCKET, libc::SO_SNDBUF, &SEND_BUFFER)
}

fn set_v4(socket: &Socket, own: Ipv4Addr, settings: &Settings) -> io::Result<()> {
    set(socket, libc::IPPROTO_IP, libc::IP_TOS, &TRAFFIC_CLASS)?;
    // After IP_TOS, which sets a priority of its own.
    set(socket, libc::SOL_SOCKET, libc::SO_PRIORITY, &PRIORITY)?;
    match settings.mode {
        Mode::Broadcast(_) => set(socket, libc::SOL_SOCKET, libc::SO_BROADCAST, &ON),
        Mode::Multicast(_) => {
            let through = membership(Ipv4Addr::UNSPECIFIED, own, settings.interface);
            set(socket, libc::IPPROTO_IP, libc::IP_MULTICAST_IF, &through)?;
            set(socket, libc::IPPROTO_IP, libc::IP_MULTICAST_TTL, &ON)?;
            set(socket, libc::IPPROTO_IP, libc::IP_MULTICAST_LOOP, &OFF)?;
            // Only the group joined here, not those that others on this host have joined.
            set(socket, libc::IPPROTO_IP, libc::IP_MULTICAST_ALL, &OFF)
        }
        Mode::Unicast => Ok(()),
    }
}

fn set_v6(socket: &Socket, settings: &Settings) -> io::Result<()> {
    set(socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, &ON)?;
    set(socket, libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &TRAFFIC_CLASS)?;
    set(socket, libc::SOL_SOCKET, libc::SO_PRIORITY, &PRIORITY)?;
    if let Mode::Multicast(_) = settings.mode {
        let index = settings.interface as libc::c_int;
        set(socket, libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_IF, &index)?;
        set(socket, libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_HOPS, &ON)?;
        set(socket, libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_LOOP, &OFF)?;
        set(socket, libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_ALL, &OFF)?;
    }
    Ok(())
}

fn join(socket: &Socket, settings: &Settings, group: IpAddr) -> io::Result<()> {
    match (group, settings.own.ip()) {
        (IpAddr::V4(group), IpAddr::V4(own)) => {
            let membership = membership(group, own, settings.interface);
            set(socket, libc::IPPROTO_IP, libc::IP_ADD_MEMBERSHIP, &membership)
        }
        (IpAddr::V6(group), _) => socket.join_multicast_v6(&group, settings.interface),
        _ => Err(io::Error::from(io::ErrorKind::InvalidInput)),
    }
}

fn membership(group: Ipv4Addr, own: Ipv4Addr, interface: u32) -> libc::ip_mreqn {
    let raw = |address: Ipv4Addr| libc::in_addr { s_addr: u32::from(address).to_be() };
    libc::ip_mreqn {
        imr_multiaddr: raw(group),
        imr_address: raw(own),
        imr_ifindex: interface as libc::c_int,
    }
}

/// Sets one option; `T` is the C type that the option takes.
pub(crate) fn set<T: Copy>(socket: &Socket, level: i32, option: i32, value: &T) -> io::Result<()> {
    // SAFETY: pointer and length describe `value`, which outlives the call; the kernel only reads
    // it. The descriptor is open because `socket` is borrowed.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The typed error of a failed step.
pub(crate) fn name(settings: &Settings, doing: &'static str, source: io::Error) -> OpenError {
    let (link, own) = (settings.id, settings.own);
    match source.raw_os_error() {
        Some(libc::EADDRINUSE) => OpenError::InUse { link, own },
        Some(libc::EADDRNOTAVAIL) => OpenError::NotLocal { link, own },
        Some(libc::ENODEV | libc::ENXIO) => {
            OpenError::NoInterface { link, own, interface: settings.interface }
        }
        Some(libc::EPERM | libc::EACCES) => OpenError::Forbidden { link, doing, source },
        _ => OpenError::System { link, doing, source },
    }
}
