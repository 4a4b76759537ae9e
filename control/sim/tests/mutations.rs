//! Rules that are switched off one by one: the checkers must see it within some hundred seeds. A
//! checker that never finds anything proves nothing.

use ng_sim::seed::{Options, Report, run};
use ng_sim::shape::Sabotage;

/// The first seed, from 1, that finds something.
fn first_found(options: &Options, seeds: u64) -> Option<Report> {
    (1..=seeds).map(|seed| run(seed, options)).find(|report| report.found.is_some())
}

fn must_find(options: &Options, seeds: u64, rules: &[&str]) {
    let report = first_found(options, seeds)
        .unwrap_or_else(|| panic!("{options:?}: nothing found in {seeds} seeds"));
    let rule = report.found.as_ref().map_or("", |violation| violation.rule);
    println!("{options:?}: seed {} finds {rule}", report.seed);
    assert!(rules.contains(&rule), "{options:?}: {report:?}");
}

#[test]
fn a_world_that_breaks_its_promises_is_seen() {
    let sabotaged = |sabotage| Options { sabotage: Some(sabotage), ..Options::default() };
    must_find(&sabotaged(Sabotage::LongLease), 400, &["I4 lease in view", "I5 one owner"]);
    must_find(
        &sabotaged(Sabotage::ForgetEra),
        2_000,
        &["I1 agreement", "I2 survival", "I9 one era"],
    );
    must_find(&sabotaged(Sabotage::KeepLeftovers), 400, &["S3 fenced on one machine"]);
}

#[cfg(feature = "mutations")]
#[test]
fn an_agreement_without_one_of_its_rules_is_seen() {
    let without = |rule| Options { mutations: vec![rule], ..Options::default() };
    let lease = ["I4 lease in view", "I5 one owner", "I9 one era"];
    must_find(&without("own-deadline"), 400, &lease);
    must_find(&without("freeze-echo"), 400, &lease);
    must_find(&without("self-remove"), 1_000, &lease);
    must_find(&without("incarnation-vote"), 400, &["I10 quorum", "I1 agreement", "I2 survival"]);
    must_find(&without("admit-by-old-roster"), 400, &["I10 quorum", "I1 agreement", "I2 survival"]);
}
