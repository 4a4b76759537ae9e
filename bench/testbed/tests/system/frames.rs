//! Frames that are not to be believed (S9): dropped, counted by reason, and nothing else happens.

use crate::Test;
use crate::arena::Arena;
use base::Duration;
use testbed::error::Result;
use testbed::hold;
use testbed::intruder::Intruder;
use testbed::os;
use testbed::programs::Programs;
use testbed::spec::{PORT_BEATS, Spec};
use testbed::suite::Verdict;

pub(crate) const TESTS: &[Test] = &[Test { name: "frames-not-to-be-believed", run: intruder }];

/// Where fields lie in a frame (fastpath/wire/WIRE.md).
const VERSION_AT: usize = 2;
const CLUSTER_AT: usize = 8;
const TAG_AT: usize = 48;
/// So many every 20 ms.
const BURST: usize = 20;

/// Makes a bad frame of a good one.
type Make = fn(&[u8]) -> Vec<u8>;

/// Each kind: the counters of which one must grow, and how an overheard frame becomes one.
const KINDS: &[(&[&str], Make)] = &[
    (&["garbage"], |good| (0..good.len()).map(|_| os::random() as u8 | 0x80).collect()),
    (&["truncated"], |good| good[..good.len() / 3].to_vec()),
    (&["version"], |good| flipped(good, VERSION_AT)),
    (&["foreign_cluster"], |good| flipped(good, CLUSTER_AT)),
    (&["forged"], |good| flipped(good, good.len() - 1)),
    (&["forged"], |good| flipped(good, TAG_AT)),
    // An old beat is refused as older than the last, an old message as seen before.
    (&["replayed", "reordered", "duplicate"], <[u8]>::to_vec),
];

fn flipped(beat: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = beat.to_vec();
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 0x40;
    }
    bytes
}

fn intruder(programs: &Programs) -> Result<Verdict> {
    let mut arena = Arena::start(Spec::default(), programs)?;
    let (owner, primary) = (arena.rest.owner, arena.rest.primary);
    let target = arena.other(&[owner, primary]);
    let intruder = Intruder::enter(arena.cluster.bed().topology())?;
    let span = Duration::from_millis(300);
    for (side, from, port) in [("fast", owner, PORT_BEATS), ("control", primary, PORT_BEATS + 1)] {
        let good = intruder.overhear(from, port, span);
        hold!(good.len() > 2, "only {} frames of n{from} to port {port} passed", good.len());
        // A frame is replayed when newer ones have come.
        os::sleep(Duration::from_millis(200));
        for (reasons, make) in KINDS {
            let before = rejected(&arena, target, side, reasons);
            let mut sent = 0_u64;
            let stayed = arena.stays(Duration::from_millis(300), |_, _| {
                for frame in good.iter().cycle().skip(sent as usize).take(BURST) {
                    intruder.send(from, port, &make(frame));
                    sent += 1;
                }
                Ok(())
            })?;
            hold!(stayed.is_ok(), "{reasons:?} to {side}: {stayed:?}");
            let grew = rejected(&arena, target, side, reasons) - before;
            let all = arena.cluster.counters(target);
            hold!(
                grew >= sent / 2,
                "{sent} frames sent, {side} counts {grew} as {reasons:?}: {all:?}"
            );
        }
    }
    arena.end()
}

/// Frames that one process of `node` refused for one of `reasons`.
fn rejected(arena: &Arena, node: u8, side: &str, reasons: &[&str]) -> u64 {
    let counters = arena.cluster.counters(node);
    let count = |reason: &&str| counters.get(&format!("{side}.reject.{reason}")).copied();
    reasons.iter().filter_map(count).sum()
}
