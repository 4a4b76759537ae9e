//! Whether this kernel does what the ring asks of it: by doing it once.
//!
//! Version numbers and lists of operations say too little: a seccomp filter, a switch of the operator's or a distribution's
//! patch may stand in between.

use super::Ring;
use crate::link::{Destination, Link, Source};
use crate::settings::{Mode, Settings};
use crate::uring::UringLink;
use base::{Duration, Instant};
use io_uring::IoUring;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use wire::{LinkId, NodeId};

/// How long each step of the trial may take. Loopback takes microseconds; this is for a machine that is starting up.
const PATIENCE: Duration = Duration::from_millis(1_000);

/// Room for the frames of the trial.
pub(super) const FRAME_MAX: usize = 8;

/// Switches io_uring off, for all (2) or for those without privilege (1); since 6.6.
const DISABLED: &str = "/proc/sys/kernel/io_uring_disabled";

/// Why there is no ring.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// No such system call.
    #[error("this kernel has no io_uring")]
    Absent,
    /// Forbidden.
    #[error("{}", forbidden(switch.as_deref()))]
    Forbidden {
        /// What the operator's switch says, where there is one.
        switch: Option<String>,
    },
    /// An older kernel.
    #[error("this kernel's io_uring lacks {0}; Linux 6.1 has all that is needed")]
    Lacks(&'static str),
    /// It is there, but it does not work.
    #[error("a trial on loopback failed: {step}: {source}")]
    Failed {
        /// Which step.
        step: &'static str,
        /// What was wrong.
        source: io::Error,
    },
}

fn forbidden(switch: Option<&str>) -> String {
    match switch {
        Some("1" | "2") => "it is switched off; sysctl kernel.io_uring_disabled=0 allows it".into(),
        _ => "it is forbidden, by a seccomp filter (SystemCallFilter of the unit, a container's \
              profile) or a security module"
            .into(),
    }
}

/// Makes the ring itself.
pub(super) fn build(queue: u32, completions: u32) -> Result<IoUring, Unusable> {
    // What has come is worked off in our own calls, nowhere else: between them nothing changes under the turn.
    let io = IoUring::builder()
        .setup_cqsize(completions)
        .setup_submit_all()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .build(queue);
    let io = io.map_err(|source| match source.raw_os_error() {
        Some(libc::ENOSYS) => Unusable::Absent,
        Some(libc::EPERM | libc::EACCES) => Unusable::Forbidden {
            switch: std::fs::read_to_string(DISABLED).ok().map(|text| text.trim().to_owned()),
        },
        Some(libc::EINVAL) => Unusable::Lacks("work that is deferred"),
        _ => Unusable::Failed { step: "make a ring", source },
    })?;
    let has = io.params();
    let needed = [
        (has.is_feature_ext_arg(), "waits with a limit"),
        (has.is_feature_nodrop(), "completions that wait"),
        (has.is_feature_submit_stable(), "entries that are copied"),
        (has.is_feature_skip_cqe_on_success(), "silent success"),
    ];
    match needed.iter().find(|(has, _)| !has) {
        Some((_, lacks)) => Err(Unusable::Lacks(lacks)),
        None => Ok(io),
    }
}

/// Does once on loopback what the ring is for.
pub(super) fn run(ring: &Ring) -> Result<(), Unusable> {
    let step = |step| move |source| Unusable::Failed { step, source };
    let own = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let open = || {
        UringLink::open(
            &Settings {
                id: LinkId(0),
                mode: Mode::Unicast,
                own,
                interface: 0,
                peers: Vec::new(),
                frame_max: FRAME_MAX,
                stamped: true,
            },
            ring,
        )
    };
    let name = |error| Unusable::Failed { step: "open a link", source: io::Error::other(error) };
    let (mut a, mut b) = (open().map_err(name)?, open().map_err(name)?);
    let [one, two] = [1, 2].map(NodeId::new);
    let (Some(one), Some(two)) = (one, two) else { return Ok(()) };
    let locals = a.local().and_then(|a| Ok((a, b.local()?))).map_err(step("open a link"))?;
    a.set_peer(two, Some(locals.1));
    b.set_peer(one, Some(locals.0));
    // More than once: the receive must stay, and the second buffer follow the first.
    for frame in [&b"first"[..], b"", b"third"] {
        exchange(ring, (&mut a, two), (&mut b, locals.0), frame).map_err(step("there"))?;
        exchange(ring, (&mut b, one), (&mut a, locals.1), frame).map_err(step("and back"))?;
    }
    watch(ring).map_err(step("watch a descriptor"))?;
    sleep(ring).map_err(step("wait"))
}

/// A wait lasts as long as it shall. A signal may end one.
fn sleep(ring: &Ring) -> io::Result<()> {
    let until = now() + Duration::from_millis(1);
    for _ in 0..9 {
        ring.wait(now(), until)?;
        if now() >= until {
            return Ok(());
        }
    }
    Err(io::Error::other("it ended too soon"))
}

/// One frame from one end to the other.
fn exchange(
    ring: &Ring,
    (from, node): (&mut UringLink, NodeId),
    (to, source): (&mut UringLink, SocketAddr),
    frame: &[u8],
) -> io::Result<()> {
    if !from.send(Destination::Node(node), frame) {
        return Err(io::Error::from_raw_os_error(from.counts().last_errno));
    }
    let began = now();
    while !ring.has_arrivals() && now() < began + PATIENCE {
        ring.wait(now(), began + PATIENCE)?;
    }
    let mut right = false;
    to.receive(&mut |arrival| {
        right = arrival.frame == frame
            && arrival.source == Source::Ip(source)
            && arrival.waited.is_some();
        None
    });
    match from.counts() {
        _ if right => Ok(()),
        counts if counts.last_errno != 0 => Err(io::Error::from_raw_os_error(counts.last_errno)),
        _ => Err(io::Error::other("the frame that was sent did not come as it was")),
    }
}

/// A descriptor is ready when it is, as long as it is, and not before.
fn watch(ring: &Ring) -> io::Result<()> {
    let (reader, mut writer) = UnixStream::pair()?;
    ring.watch(0, reader.as_fd());
    ring.wait(now(), Instant::ZERO)?;
    let before = ring.ready(0);
    writer.write_all(b"x")?;
    for _ in 0..2 {
        let until = now() + PATIENCE;
        ring.wait(now(), until)?;
        while !ring.ready(0) && now() < until {
            ring.wait(now(), until)?;
        }
        if before || !ring.ready(0) {
            return Err(io::Error::other("it was not ready when it was"));
        }
    }
    ring.leave(0);
    Ok(())
}

fn now() -> Instant {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a timespec, alive during the call; this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut now) };
    Instant((now.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(now.tv_nsec as u64))
}
