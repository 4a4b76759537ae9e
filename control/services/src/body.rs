//! Requests to the planner, as bytes in the log. Tags are never reused; decoding is total, because
//! every node must do the same with the same bytes.

use alloc::string::String;
use alloc::vec::Vec;
use wire::codec::{Malformed, Reader, Writer};
use wire::entry::BODY_MAX;
use wire::{ClientId, Generation, Life, NodeId, ServiceId};

/// First byte of every body for the planner; other state machines above the log have others.
pub const PLANE: u8 = 1;
/// Longest reason a report carries, in bytes; longer ones are cut.
pub const REASON_MAX: usize = 200;

/// What an owner says about its generation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Report {
    /// All resources are up.
    Started,
    /// Nothing of it is left.
    Stopped,
    /// The start failed and nothing of it is left.
    Failed(String),
    /// Something could not be taken down.
    Stuck(String),
    /// A running resource was found dead.
    Died(String),
}

/// A request to the planner.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// An owner reports.
    Outcome {
        /// The service.
        service: ServiceId,
        /// Which generation; a report about another one changes nothing.
        generation: Generation,
        /// What happened.
        report: Report,
    },
    /// The operator moves a service.
    Move {
        /// The service.
        service: ServiceId,
        /// To this node.
        to: NodeId,
    },
    /// The operator wants nodes tried again where the service failed.
    ClearFailures {
        /// The service.
        service: ServiceId,
    },
    /// The owner finds that a more preferred node has been back for long enough.
    FailBack {
        /// The service.
        service: ServiceId,
        /// The generation that goes back; another one is not touched.
        generation: Generation,
        /// To this node.
        to: NodeId,
    },
    /// A life is about to end in good order: its services go elsewhere first.
    Leave {
        /// The life.
        life: Life,
    },
    /// A life that was admitted after the era's start: nothing of an earlier era runs on its node
    /// any more. (The lives of the cold start are fresh, R-FRESH, and a start removes what is
    /// left, R-START.)
    Clean {
        /// The life.
        life: Life,
    },
    /// A member tells that its kernel gate is not whole (S2b), or that it is again. Until it says
    /// otherwise it is: no node starts a `lease` service without seeing its own gate whole.
    Gate {
        /// The life.
        life: Life,
        /// Every packet of every floating address passes it.
        whole: bool,
    },
    /// Changes nothing: measures the log, and tests how it carries what is large.
    Probe {
        /// Bytes that travel with it, all zero.
        padding: u32,
    },
}

/// Bytes of a probe without its padding: plane, tag, length.
const PROBE_HEAD: usize = 1 + 1 + 4;

/// The numbered client that stands for one life: outcomes are believed only from the owner's.
#[must_use]
pub fn client_of(life: Life) -> ClientId {
    ClientId(u64::from(life.node.get()) << 32 | u64::from(life.incarnation.0))
}

impl Body {
    /// A probe whose body has so many bytes, as far as that is possible.
    #[must_use]
    pub const fn probe(bytes: u32) -> Self {
        let most = (BODY_MAX - PROBE_HEAD) as u32;
        let padding = bytes.saturating_sub(PROBE_HEAD as u32);
        Self::Probe { padding: if padding < most { padding } else { most } }
    }

    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(PLANE);
        match self {
            Self::Outcome { service, generation, report } => {
                w.u8(1);
                w.u16(service.0);
                w.u64(generation.0);
                encode_report(&mut w, report);
            }
            Self::Move { service, to } => {
                w.u8(2);
                w.u16(service.0);
                w.node(*to);
            }
            Self::ClearFailures { service } => {
                w.u8(3);
                w.u16(service.0);
            }
            Self::FailBack { service, generation, to } => {
                w.u8(4);
                w.u16(service.0);
                w.u64(generation.0);
                w.node(*to);
            }
            Self::Leave { life } => {
                w.u8(5);
                w.life(*life);
            }
            Self::Clean { life } => {
                w.u8(6);
                w.life(*life);
            }
            Self::Gate { life, whole } => {
                w.u8(7);
                w.life(*life);
                w.u8(u8::from(*whole));
            }
            Self::Probe { padding } => {
                w.u8(8);
                w.u32(*padding);
                w.0.resize(w.0.len() + *padding as usize, 0);
            }
        }
        w.0
    }

    /// The request, or why these bytes are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes);
        if r.u8()? != PLANE {
            return Err(Malformed::OutOfRange("plane"));
        }
        let body = match r.u8()? {
            1 => Self::Outcome {
                service: ServiceId(r.u16()?),
                generation: Generation(r.u64()?),
                report: decode_report(&mut r)?,
            },
            2 => Self::Move { service: ServiceId(r.u16()?), to: r.node()? },
            3 => Self::ClearFailures { service: ServiceId(r.u16()?) },
            4 => Self::FailBack {
                service: ServiceId(r.u16()?),
                generation: Generation(r.u64()?),
                to: r.node()?,
            },
            5 => Self::Leave { life: r.life()? },
            6 => Self::Clean { life: r.life()? },
            7 => Self::Gate {
                life: r.life()?,
                whole: match r.u8()? {
                    0 => false,
                    1 => true,
                    _ => return Err(Malformed::OutOfRange("whole")),
                },
            },
            8 => Self::Probe { padding: r.bytes(BODY_MAX, "padding")?.len() as u32 },
            _ => return Err(Malformed::OutOfRange("request")),
        };
        r.finish()?;
        Ok(body)
    }
}

fn encode_report(w: &mut Writer, report: &Report) {
    let (tag, reason) = match report {
        Report::Started => (1, None),
        Report::Stopped => (2, None),
        Report::Failed(reason) => (3, Some(reason)),
        Report::Stuck(reason) => (4, Some(reason)),
        Report::Died(reason) => (5, Some(reason)),
    };
    w.u8(tag);
    if let Some(reason) = reason {
        w.bytes(cut(reason).as_bytes());
    }
}

fn decode_report(r: &mut Reader<'_>) -> Result<Report, Malformed> {
    let tag = r.u8()?;
    if tag == 1 {
        return Ok(Report::Started);
    }
    if tag == 2 {
        return Ok(Report::Stopped);
    }
    let reason = r.bytes(REASON_MAX, "reason")?;
    let reason = core::str::from_utf8(reason).map_err(|_| Malformed::OutOfRange("reason"))?;
    let reason = String::from(reason);
    match tag {
        3 => Ok(Report::Failed(reason)),
        4 => Ok(Report::Stuck(reason)),
        5 => Ok(Report::Died(reason)),
        _ => Err(Malformed::OutOfRange("report")),
    }
}

/// At most [`REASON_MAX`] bytes of `text`, whole characters.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(REASON_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Body, REASON_MAX, Report, client_of};
    use proptest::prelude::{any, proptest};
    use wire::{Generation, Incarnation, Life, NodeId, ServiceId};

    fn bodies() -> Vec<Body> {
        let (service, generation) = (ServiceId(3), Generation(9));
        let node = NodeId::new(2).unwrap();
        let long = "ä".repeat(500);
        let reports = [
            Report::Started,
            Report::Stopped,
            Report::Failed("no such interface".into()),
            Report::Stuck(String::new()),
            Report::Died("ü".repeat(REASON_MAX / 2)),
        ];
        let outcome = |report| Body::Outcome { service, generation, report };
        let mut all: Vec<_> = reports.into_iter().map(outcome).collect();
        assert!(outcome(Report::Failed(long)).encode().len() < 1_024, "fits one Ethernet frame");
        all.push(Body::Move { service, to: node });
        all.push(Body::ClearFailures { service });
        all.push(Body::FailBack { service, generation, to: node });
        let life = Life { node, incarnation: Incarnation(7) };
        all.push(Body::Leave { life });
        all.push(Body::Clean { life });
        all.push(Body::Gate { life, whole: false });
        all.push(Body::probe(64));
        all.push(Body::Gate { life, whole: true });
        all
    }

    #[test]
    fn what_is_written_is_read() {
        for body in bodies() {
            assert_eq!(Body::decode(&body.encode()), Ok(body));
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let report = Report::Failed(format!("x{}", "ä".repeat(500)));
        let body = Body::Outcome { service: ServiceId(0), generation: Generation(1), report };
        let Ok(Body::Outcome { report: Report::Failed(reason), .. }) = Body::decode(&body.encode())
        else {
            panic!("not read back")
        };
        assert_eq!(reason.len(), REASON_MAX - 1);
        assert!(!reason.contains('\u{fffd}'));
    }

    #[test]
    fn any_cut_or_longer_body_is_refused() {
        for body in bodies() {
            let bytes = body.encode();
            for end in 0..bytes.len() {
                assert!(Body::decode(&bytes[..end]).is_err(), "{body:?} cut at {end}");
            }
            assert!(Body::decode(&[bytes, vec![0]].concat()).is_err());
        }
    }

    #[test]
    fn two_lives_of_a_node_are_two_clients() {
        let life = |i| Life { node: NodeId::new(1).unwrap(), incarnation: Incarnation(i) };
        assert_ne!(client_of(life(1)), client_of(life(2)));
        assert_eq!(client_of(life(2)).0, 1 << 32 | 2);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(body) = Body::decode(&bytes) {
                assert_eq!(Body::decode(&body.encode()), Ok(body));
            }
        }
    }
}
