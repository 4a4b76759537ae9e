//! Seeds: the same one is the same run, and the first ones are clean.

use ng_sim::seed::{Options, run};

#[test]
fn a_seed_is_the_same_run_every_time() {
    for seed in [3, 4] {
        assert_eq!(run(seed, &Options::default()), run(seed, &Options::default()));
    }
}

#[test]
fn the_first_seeds_are_clean() {
    for seed in 1..=12 {
        let report = run(seed, &Options::default());
        assert_eq!(report.found, None, "seed {seed}");
        assert!(report.entries > 3, "seed {seed} commits: {report:?}");
    }
}
