//! Random faults by seed: whatever happens, the checkers of the pump stay quiet; when it stops, all is well again.

use crate::pump::{Cluster, id};
use base::Duration;

const SEEDS: u64 = 24;

/// One walk: cuts, losses, kills of a minority, restarts, writes.
fn walk(nodes: u8, seed: u64) {
    let mut c = Cluster::running(nodes);
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
                    let back = c.below(3) > 0;
                    if back {
                        c.heal();
                        c.loss_percent = 0;
                        c.until("it is back", 3_000, |c| c.stint(n).is_member() && c.agrees());
                    } else {
                        down.push(n);
                        c.kill(n);
                    }
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
        if let Some(n) = (1..=nodes).find(|n| !down.contains(n)) {
            let _ = n;
            if c.below(2) == 0 && c.machines[&id(n)].agreement.waiting().is_none() {
                c.write(n, &seed.to_le_bytes());
            }
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
    (0..SEEDS).for_each(|seed| walk(3, seed));
}

#[test]
fn five_nodes_under_random_faults() {
    (0..SEEDS / 2).for_each(|seed| walk(5, seed));
}
