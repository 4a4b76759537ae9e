//! A network namespace of one's own, for what would disturb a real one; it goes with its thread.

use crate::os;
use driver_address::netlink::Netlink;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};

/// One end of a pair of interfaces: what a service's address goes on.
pub(crate) const INTERFACE: &str = "ngdoctor0";
const OTHER_END: &str = "ngdoctor1";

/// Runs `work` in a new namespace, where `lo` and a pair of interfaces are up.
pub(crate) fn inside<T: Send>(
    work: impl FnOnce() -> Result<T, String> + Send,
) -> Result<T, String> {
    std::thread::scope(|scope| {
        let run = scope.spawn(|| {
            os::new_network().map_err(|e| format!("no namespace of its own: {e}"))?;
            prepare()?;
            work()
        });
        run.join().unwrap_or_else(|_| Err("the thread that tried it died".into()))
    })
}

fn prepare() -> Result<(), String> {
    let mut netlink = Netlink::route().map_err(|e| e.to_string())?;
    let mut send = |message: LinkMessage, flags, doing| {
        let body = RouteNetlinkMessage::NewLink(message);
        netlink.request(&mut finish(body, flags), doing).map_err(|e| e.to_string())
    };
    send(pair(), NLM_F_CREATE | NLM_F_EXCL, "make a pair of interfaces")?;
    for name in ["lo", INTERFACE, OTHER_END] {
        send(up(name), 0, "bring an interface up")?;
    }
    Ok(())
}

fn pair() -> LinkMessage {
    let mut other = LinkMessage::default();
    other.attributes.push(LinkAttribute::IfName(OTHER_END.into()));
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(INTERFACE.into()));
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(other))),
    ]));
    message
}

fn up(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    message.attributes.push(LinkAttribute::IfName(name.into()));
    message
}

fn finish(body: RouteNetlinkMessage, flags: u16) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(body));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}
