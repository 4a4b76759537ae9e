//! What a routine message has for consequences while all is calm is what it has when everything is asked.

use crate::pump::{Cluster, id};

/// Says the same in two clusters that differ only in whether calm is used: message by message.
fn compare(nodes: u8, seed: u64) {
    // No rule is called so: with any switched off, everything is asked after each message.
    let mut pair = [Cluster::running(nodes), Cluster::running_without(nodes, &["calm"])];
    pair.iter_mut().for_each(|c| c.seed(seed));
    let mut dice = base::Prng::new(seed);
    for step in 0..6_000 {
        let (node, other) =
            (1 + dice.below(u64::from(nodes)) as u8, 1 + dice.below(u64::from(nodes)) as u8);
        let what = dice.below(400);
        for c in &mut pair {
            let runs = c.machines.contains_key(&id(node));
            match what {
                0..40 if runs && c.all_are_members() => drop(c.write(node, &[step as u8; 64])),
                40 if runs && c.all_are_members() => c.kill(node),
                41..44 if !runs => c.start(node),
                44 if node != other => drop(c.cut.insert((id(node), id(other)))),
                45 => c.heal(),
                _ => {}
            }
            c.step();
        }
        let [one, two] = &pair;
        let said = |c: &Cluster| format!("{:?}", c.packets);
        assert_eq!(said(one), said(two), "seed {seed}, step {step}");
    }
    let [one, two] = &pair;
    assert_eq!(format!("{:?}", one.truth), format!("{:?}", two.truth));
    assert!(one.truth.len() > 100, "{}", one.truth.len());
}

#[test]
fn calm_changes_no_message() {
    for seed in 1..=6 {
        compare(3, seed);
        compare(5, seed);
    }
}
