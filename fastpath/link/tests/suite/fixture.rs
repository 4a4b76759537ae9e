//! One end of a link, and how each back end is opened and waited for.

use base::Instant as Moment;
use ng_link::{
    Arrival, Counts, Destination, Hear, Link, OpenError, PacketLink, Ring, Settings, Source,
    UdpLink, Unusable, UringLink,
};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};
use wire::{ClusterId, LinkId, NodeId};

/// How long a frame that must come may take.
pub(crate) const SOON: Duration = Duration::from_secs(1);

/// A back end under test.
#[derive(Clone, Copy)]
pub(crate) struct BackEnd {
    /// What this machine lacks for it.
    pub(crate) lacks: fn() -> Option<String>,
    /// Opens one end.
    pub(crate) open: fn(&Settings) -> Result<End, OpenError>,
    /// It can send to each peer by its address.
    pub(crate) unicast: bool,
}

/// UDP by recvmmsg.
pub(crate) const RECVMMSG: BackEnd = BackEnd {
    lacks: || None,
    open: |settings| {
        let link = UdpLink::open(settings)?;
        let port = link.local().unwrap().port();
        let local = SocketAddr::new(settings.own.ip(), port);
        Ok(End { link: Box::new(link), local, wait: Box::new(poll) })
    },
    unicast: true,
};

/// UDP on io_uring, each end with a ring of its own.
pub(crate) const IO_URING: BackEnd = BackEnd {
    lacks: || match Ring::open(1) {
        Ok(_) => None,
        Err(Unusable::Failed { step, source }) => panic!("a ring that is there: {step}: {source}"),
        Err(why) => Some(why.to_string()),
    },
    open: |settings| {
        let ring = Ring::open(settings.frame_max).expect("io_uring");
        let link = UringLink::open(settings, &ring)?;
        let port = link.local().unwrap().port();
        let local = SocketAddr::new(settings.own.ip(), port);
        let wait = move |_: &dyn Link, limit: Duration| {
            let now = now();
            let limit = base::Duration(limit.as_nanos() as u64);
            ring.wait(now, now + limit).unwrap();
            ring.has_arrivals()
        };
        Ok(End { link: Box::new(link), local, wait: Box::new(wait) })
    },
    unicast: true,
};

/// True if this machine can do a case; else says why not.
pub(crate) fn can(back_ends: &[&BackEnd]) -> bool {
    let lacks = back_ends.iter().find_map(|back_end| (back_end.lacks)());
    if let Some(why) = &lacks {
        println!("SKIPPED: {why}");
    }
    lacks.is_none()
}

/// The one clock.
fn now() -> Moment {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a timespec, alive during the call.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    Moment(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// Ethernet frames, of the node that the address ends with.
pub(crate) const PACKET: BackEnd = BackEnd {
    lacks: || None,
    open: |settings| {
        let me =
            node(settings.own.ip().to_string().rsplit(['.', ':']).next().unwrap().parse().unwrap());
        let link = Framed(PacketLink::open(settings, me, CLUSTER)?);
        Ok(End { link: Box::new(link), local: settings.own, wait: Box::new(poll) })
    },
    unicast: false,
};

/// The cluster that the kernel's filter of Ethernet frames looks for.
pub(crate) const CLUSTER: ClusterId = ClusterId(0x0102_0304_A5B6_C7D8);

/// What that filter sees of one of our frames; `text` follows.
pub(crate) fn framed(ClusterId(cluster): ClusterId, text: &[u8]) -> Vec<u8> {
    [b"NG\x02\x01\0\0\x01\0", &cluster.to_le_bytes()[..], text].concat()
}

/// A link whose frames begin as real ones do, so that the filter knows them; the cases see what follows.
struct Framed(PacketLink);

impl Link for Framed {
    fn id(&self) -> LinkId {
        self.0.id()
    }
    fn send(&mut self, to: Destination, frame: &[u8]) -> bool {
        self.0.send(to, &framed(CLUSTER, frame))
    }
    fn receive(&mut self, each: &mut Hear<'_>) -> usize {
        self.0.receive(&mut |arrival| each(Arrival { frame: &arrival.frame[16..], ..arrival }))
    }
    fn set_peer(&mut self, node: NodeId, address: Option<SocketAddr>) {
        self.0.set_peer(node, address);
    }
    fn fd(&self) -> BorrowedFd<'_> {
        self.0.fd()
    }
    fn counts(&self) -> Counts {
        self.0.counts()
    }
}

/// Hands over what was put down, then waits until something can be received; false if nothing came in time.
type Wait = dyn FnMut(&dyn Link, Duration) -> bool;

/// Waits by poll(2).
pub(crate) fn poll(link: &dyn Link, limit: Duration) -> bool {
    let mut waiting = libc::pollfd { fd: link.fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd, alive during the call.
    unsafe { libc::poll(&raw mut waiting, 1, limit.as_millis() as libc::c_int) == 1 }
}

/// Lets time pass.
pub(crate) fn pause(time: Duration) {
    // SAFETY: no descriptor, so no pointer is read.
    unsafe { libc::poll(std::ptr::null_mut(), 0, time.as_millis() as libc::c_int) };
}

/// A frame that came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Came {
    pub(crate) frame: Vec<u8>,
    pub(crate) source: Source,
    pub(crate) waited: Option<base::Duration>,
}

/// One end of a link.
pub(crate) struct End {
    pub(crate) link: Box<dyn Link>,
    /// Where frames to it alone go.
    pub(crate) local: SocketAddr,
    pub(crate) wait: Box<Wait>,
}

impl End {
    /// Sends and hands over. False if the kernel did not take all of it.
    pub(crate) fn send(&mut self, to: Destination, frame: &[u8]) -> bool {
        let before = self.counts().unsent();
        let known = self.link.send(to, frame);
        self.link.flush();
        (self.wait)(&*self.link, Duration::ZERO);
        let all = self.counts().unsent() == before;
        assert!(
            known || !all,
            "what is known not to have gone out is counted: {:?}",
            self.counts()
        );
        all
    }

    pub(crate) fn set_peer(&mut self, node: NodeId, address: impl Into<Option<SocketAddr>>) {
        self.link.set_peer(node, address.into());
    }

    pub(crate) fn counts(&self) -> Counts {
        self.link.counts()
    }

    /// Takes one batch without waiting; nobody's frames are proven.
    pub(crate) fn receive(&mut self) -> (usize, Vec<Came>) {
        let mut all = Vec::new();
        let taken = self.link.receive(&mut |arrival| {
            let frame = arrival.frame.to_vec();
            all.push(Came { frame, source: arrival.source, waited: arrival.waited });
            None
        });
        (taken, all)
    }

    /// Everything that comes until `count` frames are there; less if for a time nothing comes.
    pub(crate) fn take(&mut self, count: usize, patience: Duration) -> Vec<Came> {
        let mut all = Vec::new();
        let mut last = Instant::now();
        while all.len() < count {
            let left = patience.saturating_sub(last.elapsed());
            let ready = (self.wait)(&*self.link, left);
            let came = self.receive().1;
            if !came.is_empty() {
                last = Instant::now();
            } else if !ready || left.is_zero() {
                break;
            }
            all.extend(came);
        }
        all
    }

    /// The frames of [`Self::take`], without who sent them.
    pub(crate) fn frames(&mut self, count: usize) -> Vec<Vec<u8>> {
        self.take(count, SOON).into_iter().map(|came| came.frame).collect()
    }

    /// Asserts that nothing is there.
    #[track_caller]
    pub(crate) fn assert_silent(&mut self) {
        assert_eq!(self.take(1, Duration::ZERO), [], "{:?}", self.counts());
    }
}

pub(crate) fn node(n: u8) -> NodeId {
    NodeId::new(n).unwrap()
}
