//! Rules that are switched off one by one: a checker must see it, or it proves nothing by finding
//! nothing. Each row is a rule of PROTOCOL section 11 that concerns lease, seal, obituary, stint or
//! evidence, or a rule of the world; the cheap ones come first, and each stops at its first seed.

use ng_sim::seed::{Options, Report, run};
use ng_sim::shape::Sabotage;

/// Who holds what it must not hold, by a board, by a gate, or by two logs.
const TWO_OWNERS: &[&str] = &[
    "I4 lease in view",
    "I5 one owner",
    "I9 one era",
    "S2b one open gate",
    "S2b shut before the next",
    "S2b shut before the removal",
];
const TWO_LOGS: &[&str] =
    &["I1 agreement", "I2 survival", "I3 one order", "I9 one era", "I10 quorum"];
const EVIDENCE: &[&str] =
    &["R-FENCE evidence is true", "I1 agreement", "I2 survival", "I10 quorum"];
const NEEDLESS: &[&str] = &["no needless move"];

/// Seeds within which each must be seen.
const SEEDS: u64 = 2_000;

/// The first seed, from 1, that finds something: two threads take every other one.
fn first_found(options: &Options, seeds: u64) -> Option<Report> {
    let half = |from: u64| {
        let mut seeds = (from..=seeds).step_by(2).map(|seed| run(seed, options));
        seeds.find(|report| report.found.is_some())
    };
    let (one, two) = std::thread::scope(|scope| {
        let other = scope.spawn(|| half(2));
        (half(1), other.join().unwrap_or_default())
    });
    one.into_iter().chain(two).min_by_key(|report| report.seed)
}

fn must_find(options: &Options, rules: &[&str]) {
    let report = first_found(options, SEEDS)
        .unwrap_or_else(|| panic!("{options:?}: nothing found in {SEEDS} seeds"));
    let rule = report.found.as_ref().map_or("", |violation| violation.rule);
    println!("{:?} {:?}: seed {} finds {rule}", options.sabotage, options.mutations, report.seed);
    assert!(rules.contains(&rule), "{options:?}: {report:?}");
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

#[cfg(feature = "mutations")]
fn without(rules: &[&'static str]) -> Options {
    Options { mutations: rules.to_vec(), ..Options::default() }
}

#[cfg(feature = "mutations")]
#[test]
fn a_lease_without_one_of_its_rules_is_seen() {
    for rule in [
        "self-remove",
        "own-deadline",
        "freeze-echo",
        "obit-reflex",
        "primary-ack",
        "margin",
        "echo-voter",
    ] {
        must_find(&without(&[rule]), TWO_OWNERS);
    }
    // Either alone suffices.
    must_find(&without(&["join-removed-at", "beat-stint"]), TWO_OWNERS);
}

#[cfg(feature = "mutations")]
#[test]
fn a_vote_without_one_of_its_rules_is_seen() {
    for rule in ["incarnation-vote", "admit-by-old-roster"] {
        must_find(&without(&[rule]), TWO_LOGS);
    }
}

#[cfg(feature = "mutations")]
#[test]
fn evidence_without_one_of_its_rules_is_seen() {
    for rule in ["evidence", "evidence-life", "evidence-member"] {
        must_find(&without(&[rule]), EVIDENCE);
    }
}
