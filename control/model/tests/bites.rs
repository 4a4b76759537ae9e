//! Rules that are switched off one by one: the exploration must find where it leads, or that it is complete proves
//! nothing. And rules that something else doubles: off, and still nothing is found in everything that can happen within
//! the bounds. (A random search can only say that it found nothing.)
#![cfg(feature = "mutations")]

use ng_model::explore::{Limits, Outcome};
use ng_model::scenario::Scenario;
use ng_model::state::Roles;
use std::time::Duration;
use wire::{NodeId, NodeSet};

const LEASE: &str = "I4 lease in view";

/// One thread, so that what is found is a shortest schedule.
const LIMITS: Limits = Limits { threads: 1, states: 20_000_000, time: Duration::from_secs(1_200) };

fn scenario(name: &str) -> Scenario {
    Scenario::named(name).unwrap()
}

fn without(scenario: &Scenario, rules: &[&'static str]) -> Outcome {
    let outcome = scenario.exploration(scenario.quick.unwrap(), rules).run(&LIMITS);
    println!("{} without {rules:?}: {} states", scenario.name, outcome.unique);
    outcome
}

fn must_find(scenario: &Scenario, rule: &'static str, broken: &str) {
    let outcome = without(scenario, &[rule]);
    let (found, path) = outcome.broken.unwrap_or_else(|| panic!("{rule}: nothing found"));
    path.iter().for_each(|line| println!("{line}"));
    assert_eq!(found, broken, "{rule}");
}

fn must_be_doubled(scenario: &Scenario, rule: &'static str) {
    let outcome = without(scenario, &[rule]);
    assert!(outcome.is_clean(), "{rule}: {outcome:?}");
}

#[test]
fn a_removal_without_one_of_its_rules_is_found() {
    for rule in ["own-deadline", "freeze-echo", "self-remove"] {
        must_find(&scenario("removal"), rule, LEASE);
    }
}

/// The primary must have heard the member itself.
#[test]
fn a_primary_that_does_not_wait_for_its_own_deadline_is_found() {
    let nodes = |nodes: &[u8]| nodes.iter().filter_map(|n| NodeId::new(*n)).collect::<NodeSet>();
    let mut removal = scenario("removal");
    removal.shape.roles = Roles(vec![("removals", nodes(&[3])), ("beats", nodes(&[1, 3]))]);
    must_find(&removal, "primary-ack", LEASE);
}

#[test]
fn evidence_that_nobody_gave_is_found() {
    must_find(&scenario("pair"), "evidence", "R-FENCE evidence is true");
}

#[test]
fn a_lease_without_its_margin_is_found() {
    must_find(&scenario("clocks"), "margin", LEASE);
}

#[test]
fn an_admission_by_the_roster_that_it_makes_is_found() {
    must_find(&scenario("admission"), "admit-by-old-roster", "I10 quorum");
}

/// * `fence-deadline`: evidence is about a life that has ended, and its lease with it.
/// * `barrier`: two majorities of a pair differ only when votes are configured anew.
#[test]
fn what_a_pair_doubles_is_not_missed_alone() {
    for rule in ["fence-deadline", "barrier"] {
        must_be_doubled(&scenario("pair"), rule);
    }
}

/// `obit-stint`: an obituary is the last word of its life; no later stint of that life has a lease.
#[test]
fn an_obituary_is_the_last_word_of_its_life() {
    must_be_doubled(&scenario("restart"), "obit-stint");
}
