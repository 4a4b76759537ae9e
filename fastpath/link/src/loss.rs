//! A link that loses, doubles and disorders what it receives, by a seed: the same seed, the same
//! frames, the same losses. For tests; netem is not everywhere, and the simulator has a network of
//! its own.
//!
//! A delayed frame is given out after one to three later ones, so on a silent link it stays away:
//! to whoever waits for it that is a loss.

use crate::link::{Arrival, Counts, Destination, Hear, Link, Source};
use base::Prng;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use wire::{LinkId, NodeId};

/// The environment variable that both daemons read.
pub const VARIABLE: &str = "NETGUARD_TEST_LOSS";

/// Frames that can be held back at a time; one more is given out at once.
const HELD_MAX: usize = 16;

const MILLION: u64 = 1_000_000;

/// What goes wrong how often, in parts per million.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Faults {
    /// The seed.
    pub seed: u64,
    /// Frames lost.
    pub loss: u64,
    /// Frames given out twice.
    pub dup: u64,
    /// Frames given out late.
    pub reorder: u64,
    /// Only on this link; none = on all.
    pub link: Option<LinkId>,
}

/// Why a description of faults was not understood.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{VARIABLE}: \"{part}\" is not understood; give seed=N,loss=0.01,dup=0.01,reorder=0.01,link=N"
)]
pub struct FaultsError {
    part: String,
}

impl Faults {
    /// Reads `seed=7,loss=0.01,dup=0.001,reorder=0.05,link=0`; what is left out is zero.
    pub fn parse(text: &str) -> Result<Self, FaultsError> {
        let mut faults = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let wrong = || FaultsError { part: part.to_owned() };
            let (name, value) = part.split_once('=').ok_or_else(wrong)?;
            let share = || match value.parse::<f64>() {
                Ok(share) if (0.0..=1.0).contains(&share) => Ok((share * MILLION as f64) as u64),
                _ => Err(wrong()),
            };
            match name {
                "seed" => faults.seed = value.parse().map_err(|_| wrong())?,
                "loss" => faults.loss = share()?,
                "dup" => faults.dup = share()?,
                "reorder" => faults.reorder = share()?,
                "link" => faults.link = Some(LinkId(value.parse().map_err(|_| wrong())?)),
                _ => return Err(wrong()),
            }
        }
        Ok(faults)
    }

    /// The faults that the environment asks for, if it does.
    pub fn from_environment() -> Result<Option<Self>, FaultsError> {
        match std::env::var_os(VARIABLE) {
            None => Ok(None),
            Some(text) => Self::parse(&text.to_string_lossy()).map(Some),
        }
    }

    /// `link` with these faults, if they are meant for it. `salt` keeps two receivers with one seed
    /// apart.
    #[must_use]
    pub fn over(&self, link: Box<dyn Link>, frame_max: usize, salt: u64) -> Box<dyn Link> {
        if self.link.is_some_and(|only| only != link.id()) {
            return link;
        }
        Box::new(Lossy::new(link, *self, frame_max, salt))
    }
}

/// A frame that is held back.
struct Held {
    buffer: Box<[u8]>,
    length: usize,
    source: Option<Source>,
    /// Given out after so many further frames.
    after: u64,
}

/// What decides about each frame.
struct Disturbance {
    faults: Faults,
    prng: Prng,
    held: Vec<Held>,
    count: u64,
}

/// A link with faults on its receiving side.
pub struct Lossy {
    inner: Box<dyn Link>,
    disturbance: Disturbance,
}

impl Lossy {
    /// Puts `faults` over `inner`, whose frames are at most `frame_max` long.
    #[must_use]
    pub fn new(inner: Box<dyn Link>, faults: Faults, frame_max: usize, salt: u64) -> Self {
        let salt = salt << 8 | u64::from(inner.id().0);
        let held = (0..HELD_MAX)
            .map(|_| Held {
                buffer: vec![0; frame_max].into_boxed_slice(),
                length: 0,
                source: None,
                after: 0,
            })
            .collect();
        let prng = Prng::new(faults.seed ^ salt.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        Self { inner, disturbance: Disturbance { faults, prng, held, count: 0 } }
    }
}

impl Disturbance {
    fn handle(&mut self, arrival: Arrival<'_>, each: &mut Hear<'_>) -> Option<NodeId> {
        let Faults { loss, dup, reorder, .. } = self.faults;
        // Always three draws, so that one rate does not shift the others' sequence.
        let lost = self.prng.chance(loss, MILLION);
        let doubled = self.prng.chance(dup, MILLION);
        let late = self.prng.chance(reorder, MILLION);
        let mut from = None;
        if lost {
            self.count += 1;
        } else {
            if !(late && self.hold(&arrival)) {
                from = each(arrival);
            }
            if doubled && !self.hold(&arrival) {
                each(arrival);
            }
            self.count += u64::from(late) + u64::from(doubled);
        }
        for held in &mut self.held {
            if let Some(source) = held.source {
                if held.after == 0 {
                    held.source = None;
                    // It comes now.
                    each(Arrival { frame: &held.buffer[..held.length], source, waited: None });
                } else {
                    held.after -= 1;
                }
            }
        }
        from
    }

    /// Keeps a frame for later; false if there is no room.
    fn hold(&mut self, Arrival { frame, source, .. }: &Arrival<'_>) -> bool {
        let after = 1 + self.prng.below(3);
        let Some(free) = self.held.iter_mut().find(|held| held.source.is_none()) else {
            return false;
        };
        let Some(room) = free.buffer.get_mut(..frame.len()) else { return false };
        room.copy_from_slice(frame);
        free.length = frame.len();
        free.source = Some(*source);
        free.after = after;
        true
    }
}

impl Link for Lossy {
    fn id(&self) -> LinkId {
        self.inner.id()
    }
    fn send(&mut self, to: Destination, frame: &[u8]) -> bool {
        self.inner.send(to, frame)
    }
    fn receive(&mut self, each: &mut Hear<'_>) -> usize {
        let disturbance = &mut self.disturbance;
        self.inner.receive(&mut |arrival| disturbance.handle(arrival, each))
    }
    fn flush(&mut self) {
        self.inner.flush();
    }
    fn set_peer(&mut self, node: NodeId, address: Option<SocketAddr>) {
        self.inner.set_peer(node, address);
    }
    fn fd(&self) -> BorrowedFd<'_> {
        self.inner.fd()
    }
    fn counts(&self) -> Counts {
        Counts { disturbed: self.disturbance.count, ..self.inner.counts() }
    }
}

#[cfg(test)]
mod tests {
    use super::{Faults, HELD_MAX, Lossy};
    use crate::link::{Arrival, Counts, Destination, Hear, Link, Source};
    use std::net::SocketAddr;
    use std::os::fd::{AsFd, BorrowedFd};
    use wire::{LinkId, NodeId};

    /// A link that gives out the numbers from 0, one a call.
    struct Numbers {
        next: u32,
        fd: std::fs::File,
    }

    impl Link for Numbers {
        fn id(&self) -> LinkId {
            LinkId(1)
        }
        fn send(&mut self, _: Destination, _: &[u8]) -> bool {
            true
        }
        fn receive(&mut self, each: &mut Hear<'_>) -> usize {
            let source = Source::Ip(([127, 0, 0, 1], 1).into());
            each(Arrival { frame: &self.next.to_le_bytes(), source, waited: None });
            self.next += 1;
            1
        }
        fn set_peer(&mut self, _: NodeId, _: Option<SocketAddr>) {}
        fn fd(&self) -> BorrowedFd<'_> {
            self.fd.as_fd()
        }
        fn counts(&self) -> Counts {
            Counts { received: self.next.into(), ..Counts::default() }
        }
    }

    fn numbers() -> Box<dyn Link> {
        Box::new(Numbers { next: 0, fd: std::fs::File::open("/dev/null").unwrap() })
    }

    /// What comes out of `count` frames, and how many were disturbed.
    fn run(faults: &str, salt: u64, count: usize) -> (Vec<u32>, u64) {
        let mut link = Lossy::new(numbers(), Faults::parse(faults).unwrap(), 64, salt);
        let mut out = Vec::new();
        for _ in 0..count {
            link.receive(&mut |arrival| {
                out.push(u32::from_le_bytes(arrival.frame.try_into().unwrap()));
                None
            });
        }
        (out, link.counts().disturbed)
    }

    #[test]
    fn without_faults_nothing_changes() {
        assert_eq!(run("seed=1", 0, 1000), ((0..1000).collect(), 0));
    }

    #[test]
    fn loss_loses_about_its_share_and_the_seed_decides_which() {
        let (out, disturbed) = run("seed=1,loss=0.1", 0, 10_000);
        assert!((8_800..9_200).contains(&out.len()), "{}", out.len());
        assert!(out.is_sorted());
        assert_eq!(disturbed as usize, 10_000 - out.len());
        assert_eq!(run("seed=1,loss=0.1", 0, 10_000).0, out);
        assert_ne!(run("seed=2,loss=0.1", 0, 10_000).0, out);
        assert_ne!(run("seed=1,loss=0.1", 1, 10_000).0, out);
    }

    #[test]
    fn doubles_come_later_and_disorder_is_bounded() {
        let (out, _) = run("seed=3,dup=0.1", 0, 1_000);
        assert!((1_050..1_150).contains(&out.len()), "{}", out.len());
        let (out, disturbed) = run("seed=3,reorder=0.1", 0, 1_000);
        assert!(disturbed > 50);
        assert!(!out.is_sorted());
        for (place, number) in out.iter().enumerate() {
            assert!(place.abs_diff(*number as usize) <= HELD_MAX, "{number} at {place}");
        }
    }

    #[test]
    fn faults_of_another_link_leave_this_one_alone() {
        let faults = Faults::parse("seed=1,loss=1,link=0").unwrap();
        let mut link = faults.over(numbers(), 64, 0);
        let mut count = 0;
        link.receive(&mut |_| {
            count += 1;
            None
        });
        assert_eq!(count, 1);
    }

    #[test]
    fn a_description_that_is_not_understood_is_quoted() {
        let all = Faults::parse("seed=7, loss=0.01,dup=0.5,reorder=1,link=3").unwrap();
        let want = Faults {
            seed: 7,
            loss: 10_000,
            dup: 500_000,
            reorder: 1_000_000,
            link: Some(LinkId(3)),
        };
        assert_eq!(all, want);
        assert_eq!(Faults::parse(""), Ok(Faults::default()));
        for bad in ["loss", "loss=2", "loss=-1", "loss=x", "delay=1", "link=300"] {
            let error = Faults::parse(bad).unwrap_err().to_string();
            assert!(error.contains(bad), "{error}");
        }
    }
}
