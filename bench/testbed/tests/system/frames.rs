//! Frames that are not to be believed (S9): dropped, counted by reason, and nothing else happens.

use crate::arena::Arena;
use crate::{Test, Verdict, hold};
use base::Duration;
use std::collections::BTreeMap;
use testbed::error::Result;
use testbed::intruder::Intruder;
use testbed::os;
use testbed::programs::Programs;
use testbed::spec::{PORT_BEATS, Spec};

pub(crate) const TESTS: &[Test] = &[Test { name: "frames-not-to-be-believed", run: intruder }];

/// Where fields lie in a frame (fastpath/wire/WIRE.md).
const VERSION_AT: usize = 2;
const CLUSTER_AT: usize = 8;
const TAG_AT: usize = 48;

/// Makes a bad frame of a good one.
type Make = fn(&[u8]) -> Vec<u8>;

/// Each kind: the counter that must grow, and how an overheard beat becomes one.
const KINDS: &[(&str, Make)] = &[
    ("garbage", |beat| (0..beat.len()).map(|at| (os::random() >> (at % 8)) as u8 | 0x80).collect()),
    ("truncated", |beat| beat[..beat.len() / 3].to_vec()),
    ("version", |beat| flipped(beat, VERSION_AT)),
    ("foreign_cluster", |beat| flipped(beat, CLUSTER_AT)),
    ("forged", |beat| flipped(beat, beat.len() - 1)),
    ("forged", |beat| flipped(beat, TAG_AT)),
    ("replayed", <[u8]>::to_vec),
];
/// So many of each kind, to both ports.
const EACH: usize = 200;

fn flipped(beat: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = beat.to_vec();
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 0x40;
    }
    bytes
}

fn intruder(programs: &Programs) -> Result<Verdict> {
    let mut arena = Arena::start(Spec::default(), programs)?;
    let owner = arena.rest.owner;
    let victim = arena.other(&[owner]);
    let intruder = Intruder::enter(arena.cluster.bed().topology())?;
    let beats = intruder.overhear(owner, Duration::from_millis(300));
    hold!(beats.len() > 5, "only {} beats of n{owner} were overheard", beats.len());
    // A beat is replayed when newer ones have come.
    os::sleep(Duration::from_millis(100));
    for (reason, make) in KINDS {
        let before = rejected(&arena, victim);
        let mut sent = 0;
        let stayed = arena.stays(Duration::from_millis(400), |_, _| {
            for beat in beats.iter().cycle().skip(sent).take(EACH / 10) {
                let frame = make(beat);
                intruder.send(owner, PORT_BEATS, &frame);
                intruder.send(owner, PORT_BEATS + 1, &frame);
                sent += 1;
            }
            Ok(())
        })?;
        hold!(stayed.is_ok(), "{reason}: {stayed:?}");
        let after = rejected(&arena, victim);
        let count = |counts: &BTreeMap<String, u64>, side: &str| {
            counts.get(&format!("{side}.reject.{reason}")).copied().unwrap_or(0)
        };
        for side in ["fast", "control"] {
            // A beat on the agreement's port is refused too, but for its kind if it is authentic.
            let grew = count(&after, side) - count(&before, side);
            let authentic = *reason == "replayed" && side == "control";
            hold!(
                authentic || grew >= sent as u64 / 2,
                "{sent} frames sent, {side} counts {grew} as {reason}: before {before:?}, after \
                 {after:?}"
            );
        }
    }
    arena.end()
}

fn rejected(arena: &Arena, node: u8) -> BTreeMap<String, u64> {
    let mut counters = arena.cluster.counters(node);
    counters.retain(|name, _| name.contains(".reject."));
    counters
}
