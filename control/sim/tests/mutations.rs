//! Rules that are switched off one by one: a checker must see it, or it proves nothing by finding
//! nothing. Each row is a rule of PROTOCOL section 11 that concerns lease, seal, obituary, stint or
//! evidence, or a rule of the world; the cheap ones come first, and each stops at its first seed.

use ng_sim::seed::{Options, Report, run};
use ng_sim::shape::Sabotage;
use std::sync::atomic::{AtomicU64, Ordering};

/// Who holds what it must not hold, by a board, by a gate, or by two logs.
const TWO_OWNERS: &[&str] = &[
    "I4 lease in view",
    "I5 one owner",
    "I9 one era",
    "S2b one open gate",
    "S2b shut before the next",
    "S2b shut before the removal",
];
const TWO_LOGS: &[&str] = &[
    "I1 agreement",
    "I2 survival",
    "I3 one order",
    "I7 one promise",
    "I7 one primary",
    "I8 voter life",
    "I9 one era",
    "I10 quorum",
];
const NEEDLESS: &[&str] = &["no needless move"];

/// Seeds within which each must be seen.
const SEEDS: u64 = 2_000;

/// The first seed, from 1, that finds one of `rules` broken (none named: any): two threads take every other one. A rule
/// that is off may also cost progress; it is not that which must be seen.
fn first_found(options: &Options, seeds: u64, rules: &[&str]) -> Option<Report> {
    let first = AtomicU64::new(seeds + 1);
    let half = |from: u64| {
        let sooner = |seed: &u64| *seed < first.load(Ordering::Relaxed);
        let mut reports =
            (from..=seeds).step_by(2).take_while(sooner).map(|seed| run(seed, options));
        let broken = |rule: &str| rules.is_empty() || rules.contains(&rule);
        let found = reports.find(|r| r.found.as_ref().is_some_and(|found| broken(found.rule)));
        if let Some(report) = &found {
            first.fetch_min(report.seed, Ordering::Relaxed);
        }
        found
    };
    let (one, two) = std::thread::scope(|scope| {
        let other = scope.spawn(|| half(2));
        (half(1), other.join().unwrap_or_default())
    });
    one.into_iter().chain(two).min_by_key(|report| report.seed)
}

fn must_find(options: &Options, rules: &[&str]) {
    let report = first_found(options, SEEDS, rules)
        .unwrap_or_else(|| panic!("{options:?}: nothing found in {SEEDS} seeds"));
    let rule = report.found.as_ref().map_or("", |violation| violation.rule);
    println!("{:?} {:?}: seed {} finds {rule}", options.sabotage, options.mutations, report.seed);
}

fn sabotaged(sabotage: Sabotage) -> Options {
    Options { sabotage: Some(sabotage), ..Options::default() }
}

#[test]
fn a_world_that_breaks_its_promises_is_seen() {
    must_find(&sabotaged(Sabotage::LongLease), TWO_OWNERS);
    must_find(&sabotaged(Sabotage::ForgetEra), TWO_LOGS);
    must_find(&sabotaged(Sabotage::KeepLeftovers), &["S3 fenced on one machine"]);
    must_find(&sabotaged(Sabotage::GatePerNode), TWO_OWNERS);
}

/// A sleeper that accuses, and a control process whose pause silences the beats: nothing is owned
/// twice, but nodes are removed that nothing was wrong with. Fast and control as one actor would
/// also hide every order of events between the two (PROTOCOL 5.3b).
#[test]
fn a_removal_without_a_reason_is_seen() {
    must_find(&sabotaged(Sabotage::OneActor), NEEDLESS);
    must_find(&sabotaged(Sabotage::NoStallRule), NEEDLESS);
}

/// Rules that the cores can switch off.
#[cfg(feature = "mutations")]
mod rules {
    use super::{NEEDLESS, Options, TWO_LOGS, TWO_OWNERS, first_found, must_find};

    const EVIDENCE: &[&str] =
        &["R-FENCE evidence is true", "I1 agreement", "I2 survival", "I8 voter life", "I10 quorum"];

    fn without(rules: &[&'static str]) -> Options {
        Options { mutations: rules.to_vec(), ..Options::default() }
    }

    #[test]
    fn a_lease_without_one_of_its_rules_is_seen() {
        for rule in [
            "self-remove",
            "own-deadline",
            "freeze-echo",
            "obit-reflex",
            "echo-voter",
            "margin",
            "primary-ack",
            "declared-seal",
        ] {
            must_find(&without(&[rule]), TWO_OWNERS);
        }
        // With the silence judged by the wrong deadline, too, a removal without a reason may be seen first.
        must_find(&without(&["declared-deadline"]), &[TWO_OWNERS, NEEDLESS].concat());
        // Either alone suffices (R-JOIN, R-STINT).
        must_find(&without(&["join-removed-at", "beat-stint"]), TWO_OWNERS);
    }

    #[test]
    fn a_vote_without_one_of_its_rules_is_seen() {
        for rule in ["incarnation-vote", "admit-by-old-roster"] {
            must_find(&without(&[rule]), TWO_LOGS);
        }
    }

    #[test]
    fn a_commit_or_a_promise_without_one_of_its_rules_is_seen() {
        for rule in ["promise-binds", "commit-majority", "promise-majority"] {
            must_find(&without(&[rule]), TWO_LOGS);
        }
    }

    #[test]
    fn a_cold_start_without_one_of_its_rules_is_seen() {
        for rule in ["cold-majority", "cold-voters"] {
            must_find(&without(&[rule]), TWO_LOGS);
        }
    }

    #[test]
    fn evidence_without_one_of_its_rules_is_seen() {
        for rule in ["evidence", "evidence-life", "evidence-member"] {
            must_find(&without(&[rule]), EVIDENCE);
        }
    }

    /// Each by the check that is for it: what follows from it, two electorates side by side, takes a schedule.
    #[test]
    fn a_change_of_members_without_one_of_its_rules_is_seen() {
        must_find(&without(&["conf-durable"]), &["R-CONF-DURABLE"]);
        must_find(&without(&["vote-before-log"]), &["a vote only to who has the log"]);
        must_find(&without(&["cold-version"]), &["R-CONF-DURABLE", "I9 one era"]);
        must_find(&without(&["install-older"]), TWO_LOGS);
    }

    /// Rules that something else doubles, so that no schedule can miss them alone:
    ///
    /// * `join-removed-at`, `beat-stint`: one does what the other does.
    /// * `obit-stint`: an obituary is the last word of its life here. Fast says it and stops; control
    ///   says it when fast is gone, and leaves. No later stint of that life has a lease.
    /// * `fence-deadline`: evidence is about a life that has ended, and its lease with it.
    ///
    /// Others need a schedule. `learner-echo`, `select-term`, `afresh`, `barrier`, `cold-version`, `cold-wait` and
    /// `lease-conf` have one in `scenarios`; `install-era` and `install-tail` in `agreement/tests/cluster/snapshots.rs`;
    /// `own-term-commit`, `promise-roster`, `select-term` and `admit-by-old-roster` in
    /// `agreement/tests/cluster/scripts.rs`; `era-twice`, `fresh-by-commit` and `cold-binds` in
    /// `agreement/tests/cluster/eras.rs`.
    #[test]
    fn a_rule_that_is_doubled_is_not_missed_alone() {
        for rule in ["join-removed-at", "beat-stint", "obit-stint", "fence-deadline"] {
            let found = first_found(&without(&[rule]), 200, &[]);
            assert_eq!(found, None, "{rule}");
        }
    }
}
