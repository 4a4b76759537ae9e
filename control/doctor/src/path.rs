//! What passes to each peer: an echo request, one as large as the largest beat that must not be
//! cut, and one as large as the largest agreement message, in pieces.
//!
//! An ICMP header is as long as a UDP header, so the packets have the sizes of the real ones; and
//! every kernel answers them, also where no daemon runs.

use crate::finding::{Area, Check, Finding};
use crate::os::{self, Cutting};
use crate::packet;
use base::Duration;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

const REACHED: Check = Check {
    area: Area::Links,
    name: "peer-reached",
    why: "a link on which a peer cannot be reached is no second way to it",
};
const WHOLE: Check = Check {
    area: Area::Links,
    name: "path-mtu",
    why: "beats of a large cluster go as one packet; a smaller hop on the way swallows them",
};
const PIECES: Check = Check {
    area: Area::Links,
    name: "fragments",
    why: "agreement messages of up to 16 KiB travel in pieces, which some filters drop",
};

/// What is sent to each peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Small,
    Whole,
    Pieces,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Small, Self::Whole, Self::Pieces];

    const fn payload(self) -> usize {
        match self {
            Self::Small => 32,
            Self::Whole => wire::frame::HEADER_LEN + wire::beat::BEAT_MAX,
            Self::Pieces => wire::frame::FRAME_MAX,
        }
    }
}

/// What became of one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Fate {
    #[default]
    Lost,
    Answered,
    /// The own kernel says that it does not fit.
    TooLong,
}

/// One peer on one link.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct PathFacts {
    pub(crate) link: String,
    pub(crate) peer: String,
    pub(crate) small: Fate,
    pub(crate) whole: Fate,
    pub(crate) pieces: Fate,
}

/// Where to ask.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) link: String,
    pub(crate) interface: String,
    pub(crate) own: IpAddr,
    /// Names and addresses.
    pub(crate) peers: Vec<(String, IpAddr)>,
}

/// Requests are repeated so often while an answer is missing.
const ROUNDS: u32 = 9;
/// How long a round waits.
const ROUND: Duration = Duration::from_millis(300);

/// Between two large messages: beats of this link must not wait behind them.
const PACE: Duration = Duration::from_millis(2);

/// Asks all peers of a link at once. Larger requests go only to peers that answered the small one:
/// the first may be lost to address resolution, which asks again after a second.
pub(crate) fn sample(route: &Route) -> io::Result<Vec<PathFacts>> {
    let asker = Asker::open(route)?;
    let mut fates = vec![[Fate::Lost; 3]; route.peers.len()];
    for _ in 0..ROUNDS {
        let asked = asker.ask(route, &mut fates)?;
        if asked.is_empty() {
            break;
        }
        asker.collect(&asked, &mut fates);
    }
    let facts = route.peers.iter().zip(fates).map(|((peer, _), [small, whole, pieces])| {
        PathFacts { link: route.link.clone(), peer: peer.clone(), small, whole, pieces }
    });
    Ok(facts.collect())
}

/// What became of each kind, by peer.
type Fates = [[Fate; 3]];

struct Asker {
    socket: Socket,
    ipv6: bool,
    scope: u32,
    identity: u16,
}

impl Asker {
    fn open(route: &Route) -> io::Result<Self> {
        let ipv6 = route.own.is_ipv6();
        let (domain, protocol) =
            if ipv6 { (Domain::IPV6, Protocol::ICMPV6) } else { (Domain::IPV4, Protocol::ICMPV4) };
        let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
        socket.bind_device(Some(route.interface.as_bytes()))?;
        let scope = os::interface_index(&route.interface).unwrap_or(0);
        socket.bind(&address(route.own, scope))?;
        socket.set_read_timeout(Some(std::time::Duration::from_millis(20)))?;
        let identity = (std::process::id() as u16).wrapping_add(os::now().0 as u16);
        Ok(Self { socket, ipv6, scope, identity })
    }

    /// Sends what is still to be answered; the numbers of what was sent.
    fn ask(&self, route: &Route, fates: &mut Fates) -> io::Result<Vec<usize>> {
        let mut asked = Vec::new();
        for (place, kind) in Kind::ALL.into_iter().enumerate() {
            let cutting = if kind == Kind::Pieces { Cutting::Allowed } else { Cutting::Forbidden };
            os::set_cutting(&self.socket, self.ipv6, cutting)?;
            for (peer, (of_peer, (_, to))) in fates.iter_mut().zip(&route.peers).enumerate() {
                let reached = kind == Kind::Small || of_peer[0] == Fate::Answered;
                if of_peer[place] != Fate::Lost || !reached {
                    continue;
                }
                let number = peer * Kind::ALL.len() + place;
                let message =
                    packet::echo_request(self.ipv6, self.identity, number as u16, kind.payload());
                let sent = self.socket.send_to(&message, &address(*to, self.scope));
                if sent.is_err_and(|e| e.raw_os_error() == Some(libc::EMSGSIZE)) {
                    of_peer[place] = Fate::TooLong;
                }
                asked.push(number);
                if kind == Kind::Pieces {
                    os::sleep(PACE);
                }
            }
        }
        Ok(asked)
    }

    /// Takes answers until none is missing or the round is over.
    fn collect(&self, asked: &[usize], fates: &mut Fates) {
        let kinds = Kind::ALL.len();
        let end = os::now() + ROUND;
        let mut buffer = vec![0; 1 << 16];
        let lost = |fates: &Fates, number: usize| {
            fates.get(number / kinds).is_some_and(|of_peer| of_peer[number % kinds] == Fate::Lost)
        };
        while os::now() < end && asked.iter().any(|number| lost(fates, *number)) {
            let mut from: &Socket = &self.socket;
            let Ok(length) = from.read(&mut buffer) else { continue };
            let received = buffer.get(..length).unwrap_or_default();
            let number = packet::echo_answer(self.ipv6, self.identity, received).map(usize::from);
            let Some(number) = number else { continue };
            if let Some(of_peer) = fates.get_mut(number / kinds) {
                of_peer[number % kinds] = Fate::Answered;
            }
        }
    }
}

fn address(address: IpAddr, scope: u32) -> SockAddr {
    let address = match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => SocketAddrV6::new(v6, 0, 0, scope).into(),
        other => SocketAddr::new(other, 0),
    };
    address.into()
}

pub(crate) fn judge(all: &[PathFacts]) -> Vec<Finding> {
    let mut found = Vec::new();
    for facts in all {
        let subject = format!("{} {}", facts.link, facts.peer);
        let of_peer = |finding: Finding| finding.about(&subject);
        if facts.small != Fate::Answered {
            found.push(of_peer(REACHED.warning(
                "does not answer echo requests",
                format!(
                    "start {}, look at cable and switch of link {}; a filter may also drop ICMP",
                    facts.peer, facts.link
                ),
            )));
            continue;
        }
        found.push(of_peer(REACHED.ok("answers")));
        found.push(of_peer(whole(facts)));
        found.push(of_peer(match facts.pieces {
            Fate::Answered => PIECES.ok(format!("{} bytes pass", Kind::Pieces.payload())),
            _ => PIECES.warning(
                format!("{} bytes do not pass, though small packets do", Kind::Pieces.payload()),
                "let fragments pass in the packet filters of both nodes and between them",
            ),
        }));
    }
    found
}

fn whole(facts: &PathFacts) -> Finding {
    let bytes = Kind::Whole.payload() + 28;
    match facts.whole {
        Fate::Answered => WHOLE.ok(format!("{bytes} bytes pass uncut")),
        Fate::TooLong => WHOLE.warning(
            format!("{bytes} bytes do not fit the interface"),
            "raise its MTU to 1500: `ip link set INTERFACE mtu 1500`",
        ),
        Fate::Lost => WHOLE.warning(
            format!("{bytes} bytes uncut do not pass, though small packets do"),
            "give every interface and switch port of this link the same MTU, 1500 or more",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{Fate, Kind, PathFacts, judge};
    use crate::finding::Grade;

    fn grades(small: Fate, whole: Fate, pieces: Fate) -> Vec<Grade> {
        let facts = PathFacts { link: "blue".into(), peer: "n2".into(), small, whole, pieces };
        judge(&[facts]).iter().map(|finding| finding.grade).collect()
    }

    #[test]
    fn a_peer_that_answers_everything_is_fine() {
        assert_eq!(grades(Fate::Answered, Fate::Answered, Fate::Answered), [Grade::Ok; 3]);
    }

    #[test]
    fn only_a_peer_that_is_reached_is_judged_by_sizes() {
        assert_eq!(grades(Fate::Lost, Fate::Lost, Fate::Lost), [Grade::Warning]);
        assert_eq!(grades(Fate::Answered, Fate::Lost, Fate::Answered)[1], Grade::Warning);
        assert_eq!(grades(Fate::Answered, Fate::TooLong, Fate::Lost)[1..], [Grade::Warning; 2]);
    }

    #[test]
    fn numbers_of_all_peers_and_kinds_fit_the_echo_s_number() {
        assert!(wire::NODES_MAX * Kind::ALL.len() < usize::from(u16::MAX));
    }
}
