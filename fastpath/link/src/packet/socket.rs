//! The two sockets of a packet link, with their options, and what they are asked.

use crate::error::OpenError;
use crate::options::{PRIORITY, SEND_BUFFER, name, set};
use crate::packet::filter;
use crate::packet::frame::Mac;
use crate::settings::Settings;
use libc::{c_int, sockaddr_ll, socklen_t};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::ffi::CStr;
use std::io;
use std::mem::size_of;
use std::os::fd::AsRawFd;
use wire::ethernet::ETHERTYPE;
use wire::{ClusterId, NodeId};

const ON: c_int = 1;

/// The one that hears: with the kernel's filter, and not bound yet, so that nothing comes before the filter and the ring are
/// there.
pub(super) fn hearing(
    settings: &Settings,
    me: NodeId,
    cluster: ClusterId,
) -> Result<Socket, OpenError> {
    let socket = open(settings)?;
    let mut program = filter::program(me, settings.interface, settings.own.port(), cluster);
    let attached = libc::sock_fprog { len: filter::LENGTH as u16, filter: program.as_mut_ptr() };
    // The kernel copies the program, which `program` holds during the call.
    set(&socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &attached)
        .map_err(named(settings, "attach the filter"))?;
    // What this machine sends is not heard here.
    set(&socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &ON)
        .map_err(named(settings, "leave out what is sent"))?;
    Ok(socket)
}

/// The one that sends, past the interface's queues.
pub(super) fn sending(settings: &Settings) -> Result<Socket, OpenError> {
    let socket = open(settings)?;
    set(&socket, libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, &ON)
        .map_err(named(settings, "send past the queues"))?;
    // Protocol 0: the kernel gives it nothing.
    bind(&socket, settings, 0)?;
    Ok(socket)
}

/// A packet socket that hears nothing until it is bound.
fn open(settings: &Settings) -> Result<Socket, OpenError> {
    let kind = Type::RAW.nonblocking().cloexec();
    let socket = Socket::new(Domain::PACKET, kind, Some(Protocol::from(0)))
        .map_err(named(settings, "open a packet socket"))?;
    let level = libc::SOL_SOCKET;
    set(&socket, level, libc::SO_PRIORITY, &PRIORITY)
        .and_then(|()| set(&socket, level, libc::SO_SNDBUF, &SEND_BUFFER))
        .map_err(named(settings, "set the socket's options"))?;
    Ok(socket)
}

/// Hears the ethertype from now on.
pub(super) fn listen(socket: &Socket, settings: &Settings) -> Result<(), OpenError> {
    bind(socket, settings, ETHERTYPE)
}

fn bind(socket: &Socket, settings: &Settings, ethertype: u16) -> Result<(), OpenError> {
    let address = sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: ethertype.to_be(),
        sll_ifindex: settings.interface as c_int,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: the closure writes one sockaddr_ll into storage that is larger and suitably aligned for every socket address,
    // and sets the length to what it wrote.
    let address = unsafe {
        SockAddr::try_init(|storage, length| {
            storage.cast::<sockaddr_ll>().write(address);
            *length = size_of::<sockaddr_ll>() as socklen_t;
            Ok(())
        })
    };
    address
        .and_then(|((), address)| socket.bind(&address))
        .map_err(named(settings, "bind to the interface"))
}

/// Has the card let through what is sent to a group.
pub(super) fn join(socket: &Socket, interface: u32, [a, b, c, d, e, f]: Mac) -> io::Result<()> {
    let request = libc::packet_mreq {
        mr_ifindex: interface as c_int,
        mr_type: libc::PACKET_MR_MULTICAST as u16,
        mr_alen: 6,
        mr_address: [a, b, c, d, e, f, 0, 0],
    };
    set(socket, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &request)
}

/// The present Ethernet address of the interface that a socket is bound to; none if that is gone or is no Ethernet.
pub(super) fn station(socket: &Socket) -> Option<Mac> {
    let address = socket.local_addr().ok()?;
    if address.family() != libc::AF_PACKET as libc::sa_family_t {
        return None;
    }
    // SAFETY: the storage of a socket address is aligned and large enough for every kind; its family says that the kernel wrote
    // a sockaddr_ll, which is integers only, and what it did not write is zero.
    let link = unsafe { &*address.as_ptr().cast::<sockaddr_ll>() };
    let [a, b, c, d, e, f, ..] = link.sll_addr;
    let ethernet = (link.sll_hatype, link.sll_halen) == (libc::ARPHRD_ETHER, 6);
    ethernet.then_some([a, b, c, d, e, f])
}

/// The name of an interface and the longest payload that it sends.
pub(super) fn room(socket: &Socket, interface: u32) -> io::Result<(String, usize)> {
    // SAFETY: an ifreq is integers and pointers, for which zero is a valid value.
    let mut request = unsafe { std::mem::zeroed::<libc::ifreq>() };
    // SAFETY: a buffer of IF_NAMESIZE bytes, as the call wants it.
    if unsafe { libc::if_indextoname(interface, request.ifr_name.as_mut_ptr()) }.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: if_indextoname has written a name and its zero.
    let name = unsafe { CStr::from_ptr(request.ifr_name.as_ptr()) };
    let name = name.to_string_lossy().into_owned();
    // SAFETY: an ifreq with a name, alive during the call, which writes the number.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFMTU, &raw mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has written this member.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    Ok((name, usize::try_from(mtu).unwrap_or(0)))
}

/// Frames that found no room in the ring since the last call.
pub(super) fn dropped(socket: &Socket) -> u64 {
    let mut counts = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    let mut length = size_of::<libc::tpacket_stats>() as socklen_t;
    // SAFETY: pointer and length describe `counts`, which the kernel fills.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut counts).cast(),
            &raw mut length,
        )
    };
    if result == 0 { counts.tp_drops.into() } else { 0 }
}

/// The error that waits on a socket, taken from it: as long as it is there, the socket counts as readable.
pub(super) fn error(socket: &Socket) -> Option<io::Error> {
    socket.take_error().ok().flatten()
}

/// The typed error of a failed step.
pub(super) fn named(settings: &Settings, doing: &'static str) -> impl Fn(io::Error) -> OpenError {
    move |e| name(settings, doing, e)
}
