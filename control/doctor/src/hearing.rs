//! Does what the peers send to all really arrive here?
//!
//! A packet socket hears the link's interface beside the daemon, for some seconds: which peer's
//! frames come to the group, which only to this node alone. Every `ng doctor` also sends small
//! datagrams to the group (port 9, where nobody listens), so that two of them that run at the same
//! time hear each other before any daemon was started.

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
    pub(crate) port: u16,
    pub(crate) interface: String,
    pub(crate) own: IpAddr,
    pub(crate) me: u8,
    /// Names and addresses.
    pub(crate) peers: Vec<(String, IpAddr)>,
    /// To check frames with; none = the key cannot be read.
    pub(crate) seal: Option<Seal>,
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
    pub(crate) span: Duration,
    pub(crate) peers: Vec<(String, Frames)>,
}

/// Hears for `span`, and sends probes meanwhile.
pub(crate) fn sample(ear: &Ear, span: Duration) -> io::Result<Facts> {
    let index = os::interface_index(&ear.interface)
        .ok_or_else(|| io::Error::other(format!("there is no interface {}", ear.interface)))?;
    let wait = std::time::Duration::from_millis(20);
    let packets = PacketSocket::open(index, ear.own.is_ipv6(), wait)?;
    // Joins the group too: without a daemon nobody here has.
    let mut prober = Prober::open(ear, index)?;
    let mut frames: Vec<Frames> = vec![Frames::default(); ear.peers.len()];
    let mut buffer = [0; BUFFER];
    let begin = os::now();
    while os::now().since(begin) < span {
        prober.probe(os::now());
        let Ok((length, cast)) = packets.receive(&mut buffer) else { continue };
        let Some(datagram) = buffer.get(..length).and_then(packet::datagram) else { continue };
        let peer = ear.peers.iter().position(|(_, address)| *address == datagram.from);
        let Some(frames) = peer.and_then(|peer| frames.get_mut(peer)) else { continue };
        count(frames, ear, cast, datagram.port, datagram.payload);
    }
    let names = ear.peers.iter().map(|(name, _)| name.clone());
    Ok(Facts {
        link: ear.name.clone(),
        multicast: matches!(ear.mode, Mode::Multicast { .. }),
        unicast: ear.mode == Mode::Unicast,
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
        Ok(Self { socket, to, message, due: Instant::ZERO })
    }

    fn probe(&mut self, now: Instant) {
        if let Some(to) = self.to.filter(|_| now >= self.due) {
            // An interface that is down is told by another check.
            let _ = self.socket.send_to(&self.message, &to.into());
            self.due = now + PROBE_EVERY;
        }
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
    use super::{Ear, Facts, Frames, Known, PROBE_PORT, count, judge};
    use crate::finding::Grade;
    use crate::os::Cast;
    use api::MemberState;
    use base::Duration;
    use config::Mode;
    use wire::{ClusterId, Header, Incarnation, Kind, Life, LinkId, NodeId, Nonce, Seal, Seq};

    fn facts(frames: Frames) -> Facts {
        Facts {
            link: "blue".into(),
            multicast: true,
            unicast: false,
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
            port: 5800,
            interface: "eth0".into(),
            own: "10.0.0.1".parse().unwrap(),
            me: 1,
            peers: vec![],
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
}
