//! Does what the peers send to all really arrive here?
//!
//! A packet socket hears the link's interface beside the daemon, for some seconds: which peer's
//! frames come to the group, which only to this node alone. Every `ng doctor` also sends small
//! datagrams to the group (port 9, where nobody listens), so that two of them that run at the same
//! time hear each other before any daemon was started. On a link of Ethernet frames all of this goes without IP.

use crate::finding::{Area, Check, Finding};
use crate::os::{self, Cast, PacketSocket};
use crate::packet;
use api::MemberState;
use base::{Duration, Instant};
use config::Mode;
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use wire::ethernet::{self, ETHERTYPE, Envelope};
use wire::{LinkId, Reject, Seal};

const HEARD: Check = Check {
    area: Area::Links,
    name: "peer-heard",
    why: "a network that does not pass what is sent to all makes every node look dead on that link",
};
const SAME: Check = Check {
    area: Area::Cluster,
    name: "same-configuration",
    why: "frames of another key or cluster are refused, and nodes with different files do not start a cluster together",
};

/// Where probes go: nobody listens there ("discard").
const PROBE_PORT: u16 = 9;
/// How a probe begins; the number of the node follows.
const PROBE: &[u8] = b"NetGuard doctor ";
const PROBE_EVERY: Duration = Duration::from_millis(100);
/// Longer than any beat; longer frames are counted by their beginning.
const BUFFER: usize = 4096;

/// One link to hear on.
#[derive(Clone, Debug)]
pub(crate) struct Ear {
    pub(crate) link: LinkId,
    pub(crate) name: String,
    pub(crate) mode: Mode,
    pub(crate) frames: config::Frames,
    pub(crate) port: u16,
    pub(crate) interface: String,
    pub(crate) own: IpAddr,
    pub(crate) me: u8,
    /// Names and addresses.
    pub(crate) peers: Vec<(String, IpAddr)>,
    /// Their ids, in that order.
    pub(crate) ids: Vec<u8>,
    /// To check frames with; none = the key cannot be read.
    pub(crate) seal: Option<Seal>,
}

/// Something that came: from which peer, by its place, and to which port.
struct Heard<'p> {
    peer: usize,
    port: u16,
    payload: &'p [u8],
}

impl Ear {
    fn ethertype(&self) -> u16 {
        match (self.frames, self.own) {
            (config::Frames::Ethernet, _) => ETHERTYPE,
            (config::Frames::Udp, IpAddr::V4(_)) => libc::ETH_P_IP as u16,
            (config::Frames::Udp, IpAddr::V6(_)) => libc::ETH_P_IPV6 as u16,
        }
    }

    /// Reads what follows an Ethernet header.
    fn read<'p>(&self, packet: &'p [u8]) -> Option<Heard<'p>> {
        if self.frames == config::Frames::Udp {
            let packet::Datagram { from, port, payload } = packet::datagram(packet)?;
            let peer = self.peers.iter().position(|(_, address)| *address == from)?;
            return Some(Heard { peer, port, payload });
        }
        let (envelope, payload) = Envelope::decode(packet)?;
        let id = match payload.strip_prefix(PROBE) {
            Some(id) => std::str::from_utf8(id).ok()?.parse().ok()?,
            None => wire::frame::claimed_node(payload)?.get(),
        };
        let peer = self.ids.iter().position(|it| *it == id)?;
        Some(Heard { peer, port: envelope.port, payload })
    }

    fn all_stations(&self) -> [u8; 6] {
        match self.mode {
            Mode::Multicast { group } => ethernet::group_mac(group),
            Mode::Broadcast | Mode::Unicast => ethernet::BROADCAST,
        }
    }
}

/// What one peer sent.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Frames {
    /// To the group, or to all.
    pub(crate) to_all: u64,
    /// To this node alone.
    pub(crate) to_me: u64,
    /// Probes of a doctor there.
    pub(crate) probes: u64,
    /// Frames that a daemon here refuses, by reason.
    pub(crate) refused: BTreeMap<&'static str, u64>,
    /// Frames of a daemon that began with another configuration than the file here.
    pub(crate) otherwise: u64,
}

/// What was heard on one link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Facts {
    pub(crate) link: String,
    pub(crate) multicast: bool,
    pub(crate) unicast: bool,
    pub(crate) ethernet: bool,
    pub(crate) span: Duration,
    pub(crate) peers: Vec<(String, Frames)>,
}

/// Hears for `span`, and sends probes meanwhile.
pub(crate) fn sample(ear: &Ear, span: Duration) -> io::Result<Facts> {
    let index = os::interface_index(&ear.interface)
        .ok_or_else(|| io::Error::other(format!("there is no interface {}", ear.interface)))?;
    let wait = std::time::Duration::from_millis(20);
    let packets = PacketSocket::open(index, ear.ethertype(), wait)?;
    // Joins the group too: without a daemon nobody here has.
    let mut prober = Prober::open(ear, index)?;
    let mut frames: Vec<Frames> = vec![Frames::default(); ear.peers.len()];
    let mut buffer = [0; BUFFER];
    let begin = os::now();
    while os::now().since(begin) < span {
        prober.probe(os::now(), &packets);
        let Ok((length, cast)) = packets.receive(&mut buffer) else { continue };
        let Some(heard) = buffer.get(..length).and_then(|packet| ear.read(packet)) else {
            continue;
        };
        let Some(frames) = frames.get_mut(heard.peer) else { continue };
        count(frames, ear, cast, heard.port, heard.payload);
    }
    let names = ear.peers.iter().map(|(name, _)| name.clone());
    Ok(Facts {
        link: ear.name.clone(),
        multicast: matches!(ear.mode, Mode::Multicast { .. }),
        unicast: ear.mode == Mode::Unicast,
        ethernet: ear.frames == config::Frames::Ethernet,
        span,
        peers: names.zip(frames).collect(),
    })
}

fn count(frames: &mut Frames, ear: &Ear, cast: Cast, port: u16, payload: &[u8]) {
    if port == PROBE_PORT && payload.starts_with(PROBE) {
        frames.probes += u64::from(cast != Cast::Other);
    } else if port == ear.port && payload.starts_with(&wire::frame::MAGIC) {
        let refusal =
            ear.seal.as_ref().and_then(|it| wire::frame::open(it, ear.link, payload).err());
        let differs = |it: &Seal| wire::frame::config_hash(payload) != Some(it.config_hash);
        frames.otherwise += u64::from(refusal.is_none() && ear.seal.as_ref().is_some_and(differs));
        match (refusal, cast) {
            (Some(reject), _) => *frames.refused.entry(reject.name()).or_default() += 1,
            (None, Cast::Multicast | Cast::Broadcast) => frames.to_all += 1,
            (None, Cast::Unicast) => frames.to_me += 1,
            (None, Cast::Other) => {}
        }
    }
}

/// Sends to all on a link.
struct Prober {
    socket: Socket,
    to: Option<SocketAddr>,
    /// On a link of Ethernet frames: where to, and all that follows the Ethernet header.
    ethernet: Option<([u8; 6], Vec<u8>)>,
    message: Vec<u8>,
    due: Instant,
}

impl Prober {
    fn open(ear: &Ear, index: u32) -> io::Result<Self> {
        let domain = if ear.own.is_ipv6() { Domain::IPV6 } else { Domain::IPV4 };
        let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        socket.bind_device(Some(ear.interface.as_bytes()))?;
        let to = match ear.mode {
            Mode::Multicast { group: IpAddr::V4(group) } => {
                let through = socket2::InterfaceIndexOrAddress::Index(index);
                socket.join_multicast_v4_n(&group, &through)?;
                socket.set_multicast_ttl_v4(1)?;
                Some(SocketAddr::from((group, PROBE_PORT)))
            }
            Mode::Multicast { group: IpAddr::V6(group) } => {
                socket.join_multicast_v6(&group, index)?;
                socket.set_multicast_if_v6(index)?;
                Some(SocketAddrV6::new(group, PROBE_PORT, 0, index).into())
            }
            Mode::Broadcast => {
                socket.set_broadcast(true)?;
                Some(SocketAddr::from((std::net::Ipv4Addr::BROADCAST, PROBE_PORT)))
            }
            Mode::Unicast => None,
        };
        if ear.own.is_ipv4() {
            socket.bind(&SocketAddr::new(ear.own, 0).into())?;
        }
        let message = [PROBE, ear.me.to_string().as_bytes()].concat();
        let envelope = Envelope { to: None, port: PROBE_PORT }.encode(message.len());
        let ethernet = envelope.filter(|_| ear.frames == config::Frames::Ethernet);
        let ethernet = ethernet.map(|before| (ear.all_stations(), [&before, &*message].concat()));
        Ok(Self { socket, to, ethernet, message, due: Instant::ZERO })
    }

    fn probe(&mut self, now: Instant, packets: &PacketSocket) {
        if now < self.due {
            return;
        }
        // An interface that is down is told by another check.
        let _ = match (&self.ethernet, self.to) {
            (Some((to, probe)), _) => packets.send(*to, probe),
            (None, Some(to)) => self.socket.send_to(&self.message, &to.into()).map(drop),
            (None, None) => Ok(()),
        };
        self.due = now + PROBE_EVERY;
    }
}

/// What else is known of a peer on this link.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Known {
    /// It answers echo requests on this link; none = not asked.
    pub(crate) reached: Option<bool>,
    /// What the daemons here say of it.
    pub(crate) state: Option<MemberState>,
}

pub(crate) fn judge(facts: &Facts, known: impl Fn(&str) -> Known) -> Vec<Finding> {
    let mut found = Vec::new();
    for (peer, frames) in &facts.peers {
        let subject = format!("{} {peer}", facts.link);
        found.push(heard(facts, peer, frames, known(peer)).about(&subject));
        let alike = same(frames).or_else(|| otherwise(frames, known(peer)));
        found.extend(alike.map(|finding| finding.about(&subject)));
    }
    found
}

fn heard(facts: &Facts, peer: &str, frames: &Frames, known: Known) -> Finding {
    let whole = if facts.multicast { "multicast" } else { "broadcast" };
    let seconds = facts.span.nanos() as f64 / 1e9;
    let Frames { to_all, to_me, probes, refused, .. } = frames;
    // Frames that are refused for what they hold have arrived all the same.
    let refused: u64 = refused.values().sum();
    if facts.unicast {
        return match to_me + refused {
            0 => silent(facts, peer, known, "nothing"),
            n => HEARD.ok(format!("{n} frames in {seconds:.1} s")),
        };
    }
    let measured = format!("{to_all} {whole} frames in {seconds:.1} s, {to_me} to this node alone");
    if to_all + refused > 0 {
        HEARD.ok(measured)
    } else if *probes > 0 {
        HEARD.ok(format!("{probes} {whole} probes of `ng doctor` there; its daemons send nothing"))
    } else if *to_me > 0 {
        HEARD.failure(format!("{measured}: {whole} does not pass"), remedy(facts))
    } else {
        silent(facts, peer, known, &format!("no {whole} frame"))
    }
}

/// Nothing came: is it the network, or is nobody there?
fn silent(facts: &Facts, peer: &str, known: Known, what: &str) -> Finding {
    let seconds = facts.span.nanos() as f64 / 1e9;
    let measured = format!("{what} in {seconds:.1} s");
    let runs = matches!(
        known.state,
        Some(MemberState::Member | MemberState::Suspect | MemberState::Joining)
    );
    match (runs, known.reached) {
        (true, Some(true)) => HEARD.failure(
            format!("{measured}, though {peer} runs and answers echo requests here"),
            remedy(facts),
        ),
        (true, _) => HEARD.warning(
            format!("{measured}, though {peer} runs"),
            format!("look at cable, switch and packet filters of link {}", facts.link),
        ),
        (false, _) => HEARD.unchecked(
            format!("{measured}: the daemons of {peer} do not run, or nothing passes"),
            "start them, or run `ng doctor` on both nodes at the same time: they hear each other",
        ),
    }
}

fn remedy(facts: &Facts) -> String {
    if facts.unicast {
        return format!("let UDP pass on link {} in the packet filters of both nodes", facts.link);
    }
    if facts.ethernet {
        return format!(
            "have the switches and hypervisors of link {} pass ethertype {ETHERTYPE:#06x}, turn on an IGMP querier there or \
             turn their snooping off, or set frames = \"udp\" for the link",
            facts.link
        );
    }
    format!(
        "turn on an IGMP querier in the switches of link {} or turn their snooping off, let UDP to \
         the group pass in packet filters, or set mode = \"unicast\" for the link",
        facts.link
    )
}

/// Its daemons began with another configuration. Who is a member acts by the agreed one all the same; those that have agreed
/// on nothing yet do not begin together.
fn otherwise(frames: &Frames, known: Known) -> Option<Finding> {
    let count = frames.otherwise;
    let measured =
        format!("{count} frames of a daemon that began with another configuration than this file");
    if count == 0 {
        None
    } else if matches!(known.state, Some(MemberState::Member | MemberState::Suspect)) {
        Some(
            SAME.notice(measured, "`ng config show` prints what is agreed; put that into the file"),
        )
    } else {
        Some(SAME.failure(
            measured,
            "put one netguard.toml on all nodes (`ng config check` shows its hash), or what `ng config show` prints elsewhere",
        ))
    }
}

/// Frames that came and are refused for what they are.
fn same(frames: &Frames) -> Option<Finding> {
    let (reason, count) = frames.refused.iter().max_by_key(|(_, count)| **count)?;
    let measured = format!("{count} frames refused: {reason}");
    let is = |reject: Reject| *reason == reject.name();
    Some(if is(Reject::Forged) || is(Reject::ForeignKey) {
        SAME.failure(measured, "copy one key file to all nodes and restart the daemons")
    } else if is(Reject::ForeignCluster) {
        SAME.failure(measured, "give the clusters different groups or ports, or one name")
    } else if is(Reject::Version) {
        SAME.failure(measured, "install the same release on all nodes")
    } else if is(Reject::WrongLink) {
        SAME.failure(
            measured,
            "two links share a network: give each its own, or correct the cabling",
        )
    } else {
        SAME.warning(measured, "look at the fast.reject counters of `ng stat`")
    })
}

#[cfg(test)]
mod tests {
    use super::{Ear, Facts, Frames, Known, PROBE, PROBE_PORT, count, judge};
    use crate::finding::Grade;
    use crate::os::Cast;
    use api::MemberState;
    use base::Duration;
    use config::Mode;
    use wire::ethernet::Envelope;
    use wire::{ClusterId, Header, Incarnation, Kind, Life, LinkId, NodeId, Nonce, Seal, Seq};

    fn facts(frames: Frames) -> Facts {
        Facts {
            link: "blue".into(),
            multicast: true,
            unicast: false,
            ethernet: false,
            span: Duration::from_millis(3_000),
            peers: vec![("n2".into(), frames)],
        }
    }

    fn grade(frames: Frames, reached: Option<bool>, state: Option<MemberState>) -> Grade {
        judge(&facts(frames), |_| Known { reached, state })[0].grade
    }

    #[test]
    fn what_comes_to_the_group_is_fine_and_what_comes_only_to_us_is_not() {
        let frames = |to_all, to_me| Frames { to_all, to_me, ..Frames::default() };
        assert_eq!(grade(frames(300, 0), None, None), Grade::Ok);
        assert_eq!(grade(frames(0, 20), None, None), Grade::Failure);
        let found = judge(&facts(frames(0, 20)), |_| Known::default()).remove(0);
        assert!(found.measured.ends_with("multicast does not pass"), "{}", found.measured);
        assert!(found.remedy.contains("IGMP querier"), "{}", found.remedy);
    }

    #[test]
    fn silence_is_judged_by_what_else_is_known() {
        let silent = Frames::default;
        assert_eq!(grade(silent(), Some(true), Some(MemberState::Member)), Grade::Failure);
        assert_eq!(grade(silent(), Some(false), Some(MemberState::Member)), Grade::Warning);
        assert_eq!(grade(silent(), Some(true), None), Grade::Notice, "it may just not run");
        assert_eq!(grade(silent(), Some(true), Some(MemberState::Down)), Grade::Notice);
        let probes = Frames { probes: 20, ..Frames::default() };
        assert_eq!(grade(probes, None, None), Grade::Ok);
    }

    fn seal(config_hash: u32) -> Seal {
        Seal { cluster: ClusterId(7), key: [3; 32], key_id: 1, config_hash, level: 1 }
    }

    #[test]
    fn frames_are_opened_as_a_daemon_opens_them() {
        let life = Life { node: NodeId::new(2).unwrap(), incarnation: Incarnation(1) };
        let (link, kind) = (LinkId(0), Kind::Beat);
        let header = Header { kind, from: life, nonce: Nonce(1), link, seq: Seq(1) };
        let mut buffer = [0; 128];
        let good = wire::frame::seal(&seal(5), &header, &[0; 8], &mut buffer).unwrap();
        let ear = |seal| Ear {
            link,
            name: "blue".into(),
            mode: Mode::Unicast,
            frames: config::Frames::Udp,
            port: 5800,
            interface: "eth0".into(),
            own: "10.0.0.1".parse().unwrap(),
            me: 1,
            peers: vec![],
            ids: vec![],
            seal,
        };
        let mut frames = Frames::default();
        count(&mut frames, &ear(Some(seal(5))), Cast::Multicast, 5800, good);
        count(&mut frames, &ear(None), Cast::Unicast, 5800, good);
        count(&mut frames, &ear(Some(seal(5))), Cast::Multicast, 5801, good);
        count(&mut frames, &ear(Some(seal(5))), Cast::Other, 5800, good);
        count(&mut frames, &ear(Some(seal(5))), Cast::Multicast, 5800, b"NG");
        count(&mut frames, &ear(Some(seal(5))), Cast::Multicast, PROBE_PORT, b"NetGuard doctor 2");
        assert_eq!((frames.to_all, frames.to_me, frames.probes), (1, 1, 1));
        assert_eq!(frames.refused, [("truncated", 1)].into());
        count(&mut frames, &ear(Some(seal(6))), Cast::Multicast, 5800, good);
        count(&mut frames, &ear(Some(seal(6))), Cast::Multicast, 5800, good);
        frames.refused.clear();
        assert_eq!((frames.to_all, frames.otherwise), (3, 2), "they are heard all the same");
        let found = judge(&facts(frames.clone()), |_| Known::default()).remove(1);
        assert_eq!((found.check, found.grade), ("same-configuration", Grade::Failure));
        assert!(
            found.measured.starts_with("2 frames of a daemon that began with another"),
            "{found:?}"
        );
        let member = Known { state: Some(MemberState::Member), ..Known::default() };
        assert_eq!(judge(&facts(frames), |_| member).remove(1).grade, Grade::Notice);
    }

    #[test]
    fn in_an_ethernet_frame_the_peer_is_who_it_says() {
        let life = Life { node: NodeId::new(3).unwrap(), incarnation: Incarnation(1) };
        let header =
            Header { kind: Kind::Beat, from: life, nonce: Nonce(1), link: LinkId(0), seq: Seq(1) };
        let mut buffer = [0; 128];
        let beat = wire::frame::seal(&seal(5), &header, &[0; 8], &mut buffer).unwrap();
        let ear = Ear {
            link: LinkId(0),
            name: "blue".into(),
            mode: Mode::Broadcast,
            frames: config::Frames::Ethernet,
            port: 5800,
            interface: "eth0".into(),
            own: "10.0.0.1".parse().unwrap(),
            me: 1,
            peers: ["n2", "n3"].map(|name| (name.into(), "10.0.0.2".parse().unwrap())).into(),
            ids: vec![2, 3],
            seal: None,
        };
        let packet = |port, payload: &[u8]| {
            let before = Envelope { to: None, port }.encode(payload.len()).unwrap();
            [&before, payload, &[0; 20]].concat()
        };
        let heard = |packet: &[u8]| ear.read(packet).map(|it| (it.peer, it.port));
        assert_eq!(heard(&packet(5800, beat)), Some((1, 5800)));
        assert_eq!(heard(&packet(PROBE_PORT, &[PROBE, b"2"].concat())), Some((0, PROBE_PORT)));
        for none in [&[PROBE, b"1"].concat(), &[PROBE, b"x"].concat(), &vec![0; 7]] {
            assert_eq!(heard(&packet(PROBE_PORT, none)), None);
        }
        assert_eq!(heard(&packet(5800, beat)[..40]), None);
        assert_eq!((ear.ethertype(), ear.all_stations()), (0x88B5, [0xFF; 6]));
    }
}
