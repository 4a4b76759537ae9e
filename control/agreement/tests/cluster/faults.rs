//! Random faults by seed: whatever happens, the checkers of the pump stay quiet; when it stops, all is well again.

use crate::pump::{Cluster, id};
use base::Duration;

/// The simulator walks far more; here it is enough to see a rule break.
const SEEDS: u64 = if cfg!(debug_assertions) { 8 } else { 400 };

/// One walk: cuts, losses, kills of a minority, restarts, writes.
fn walk(nodes: u8, seed: u64, off: &[&'static str]) {
    let mut c = Cluster::running_without(nodes, off);
    c.seed(seed);
    let minority = usize::from(nodes - 1) / 2;
    let mut down: Vec<u8> = Vec::new();
    for _ in 0..25 {
        let victim = 1 + c.below(u64::from(nodes)) as u8;
        let other = 1 + c.below(u64::from(nodes)) as u8;
        match c.below(8) {
            0 if down.len() < minority && !down.contains(&victim) => {
                c.kill(victim);
                down.push(victim);
            }
            1 | 2 => {
                // Only when a majority of lives holds the log is the next restart harmless.
                if let Some(n) = down.pop() {
                    c.start(n);
                    c.heal();
                    c.loss_percent = 0;
                    c.until("it is back", 3_000, |c| c.stint(n).is_member() && c.agrees());
                }
            }
            3 if victim != other => {
                c.cut.insert((id(victim), id(other)));
            }
            4 if victim != other => {
                c.deaf.insert((id(victim), id(other)));
            }
            5 => c.isolate(victim),
            6 => c.heal(),
            _ => {
                c.loss_percent = c.below(30);
                c.duplicate_percent = c.below(30);
                c.jitter = Duration::from_millis(c.below(25));
            }
        }
        let living = (1..=nodes).find(|n| !down.contains(n)).expect("a majority lives");
        if c.below(2) == 0 && c.agreement(living).waiting().is_none() {
            c.write(living, &seed.to_le_bytes());
        }
        let wait = c.below(60);
        c.run(wait);
    }
    c.heal();
    (c.loss_percent, c.duplicate_percent, c.jitter) = (0, 0, Duration::ZERO);
    for n in down {
        c.start(n);
    }
    c.until("faults have stopped", 2_000, |c| c.all_are_members() && c.agrees());
    for m in c.machines.values() {
        assert_eq!(m.agreement.faults(), 0, "seed {seed}");
    }
}

#[test]
fn three_nodes_under_random_faults() {
    (0..SEEDS).for_each(|seed| walk(3, seed, &[]));
}

#[test]
fn five_nodes_under_random_faults() {
    (0..SEEDS / 2).for_each(|seed| walk(5, seed, &[]));
}

#[cfg(feature = "mutations")]
#[test]
fn without_a_rule_of_the_seal_somebody_holds_a_lease_and_is_no_member() {
    for rule in ["own-deadline", "freeze-echo", "self-remove"] {
        let breaks = |seed: u64| std::panic::catch_unwind(|| walk(3, seed, &[rule])).is_err();
        assert!((0..120).any(breaks), "{rule} is off and nobody notices");
    }
}
